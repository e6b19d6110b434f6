//! An image as Glance's document.

use crate::Api;
use jiff::Timestamp;
use leasehold_domain::image::{Image, ImageStatus, Member};
use serde_json::{Map, Value, json};

/// What the document has beside its owner's own properties; none of those may be called so.
pub(super) const MEMBERS: [&str; 25] = [
    "id",
    "name",
    "status",
    "visibility",
    "owner",
    "protected",
    "os_hidden",
    "checksum",
    "os_hash_algo",
    "os_hash_value",
    "size",
    "virtual_size",
    "min_disk",
    "min_ram",
    "disk_format",
    "container_format",
    "tags",
    "created_at",
    "updated_at",
    "self",
    "file",
    "schema",
    "locations",
    "direct_url",
    "leasehold_reason",
];

pub(super) fn time(at: Timestamp) -> Value {
    json!(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Glance's word for how far the image has come.
pub(super) fn status(api: &Api, image: &Image) -> &'static str {
    match &image.status {
        ImageStatus::Active if image.card.deactivated => "deactivated",
        ImageStatus::Active => "active",
        ImageStatus::Failed(_) => "killed",
        ImageStatus::Queued if api.engine.images.is_being_filled(image.id) => "saving",
        // The box's administrator named a URL.
        ImageStatus::Queued if !image.card.kept => "importing",
        // Clients import what was staged only then.
        ImageStatus::Queued if api.engine.images.is_staged(image.id) => "uploading",
        ImageStatus::Queued => "queued",
    }
}

pub(super) fn document(api: &Api, image: &Image) -> Map<String, Value> {
    let card = &image.card;
    let has_data = image.content.is_some();
    let checksum = image.checksum.as_ref().filter(|_| has_data);
    let reason = match &image.status {
        ImageStatus::Failed(reason) => Some(reason),
        _ => card.reason.as_ref(),
    };
    // What the box's administrator brought is what it was found to be.
    let found = image.content.as_ref().map(|content| content.given_format.clone());
    let mut document: Map<String, Value> =
        card.properties.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let members = [
        ("id", json!(image.id)),
        ("name", json!(image.name)),
        ("status", json!(status(api, image))),
        ("visibility", json!(card.visibility.name())),
        ("owner", json!(card.owner)),
        ("protected", json!(card.protected)),
        ("os_hidden", json!(card.hidden)),
        ("checksum", json!(card.given.as_ref().map(|given| &given.md5))),
        ("os_hash_algo", json!(checksum.map(|checksum| checksum.algorithm.name()))),
        ("os_hash_value", json!(checksum.map(|checksum| &checksum.hex))),
        ("size", json!(card.given.as_ref().map(|given| given.size))),
        ("virtual_size", json!(image.content.as_ref().map(|content| content.raw_size))),
        ("min_disk", json!(card.min_disk)),
        ("min_ram", json!(card.min_ram)),
        ("disk_format", json!(card.disk_format.clone().or(found))),
        ("container_format", json!(card.container_format.clone().or(has_data.then(|| "bare".into())))),
        ("tags", json!(card.tags)),
        ("created_at", time(image.created_at)),
        ("updated_at", time(card.updated_at.unwrap_or(image.created_at))),
        ("self", json!(format!("/v2/images/{}", image.id))),
        ("file", json!(format!("/v2/images/{}/file", image.id))),
        ("schema", json!("/v2/schemas/image")),
    ];
    document.extend(members.into_iter().map(|(name, value)| (name.to_owned(), value)));
    if let Some(reason) = reason {
        document.insert("leasehold_reason".into(), json!(reason));
    }
    document
}

pub(super) fn member_document(image: &Image, project: &str, member: &Member) -> Value {
    json!({
        "image_id": image.id,
        "member_id": project,
        "status": member.acceptance.name(),
        "created_at": time(member.created_at),
        "updated_at": time(member.updated_at),
        "schema": "/v2/schemas/member",
    })
}
