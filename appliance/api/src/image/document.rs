//! An image as Glance's document.

use crate::Api;
use jiff::Timestamp;
use leasehold_domain::image::{HashAlgorithm, Image, ImageStatus, Member};
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

/// The disk itself.
const RAW: &str = "raw";

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

/// What a download of an image gives.
struct Download<'a> {
    format: &'a str,
    /// In bytes.
    size: u64,
    /// Its digest, and by which algorithm.
    digest: Option<(HashAlgorithm, &'a str)>,
    md5: Option<&'a str>,
}

/// The file as it was given, where it was kept for whoever gave it; else the disk that was made of it, which is another
/// file than the one that was brought if that was qcow2. `None`: there is nothing to download.
fn download(image: &Image) -> Option<Download<'_>> {
    let content = image.content.as_ref()?;
    let of_given = image.checksum.as_ref().map(|checksum| (checksum.algorithm, checksum.hex.as_str()));
    Some(match &image.card.given {
        Some(given) => {
            Download { format: &content.given_format, size: given.size, digest: of_given, md5: Some(&given.md5) }
        }
        None => {
            let of_disk = Some((HashAlgorithm::Sha256, content.raw_sha256.as_str()));
            let digest = if content.given_format == RAW { of_given.or(of_disk) } else { of_disk };
            Download { format: RAW, size: content.raw_size, digest, md5: None }
        }
    })
}

pub(super) fn document(api: &Api, image: &Image) -> Map<String, Value> {
    let card = &image.card;
    let download = download(image);
    let digest = download.as_ref().and_then(|download| download.digest);
    let format = download.as_ref().map(|download| download.format);
    let reason = match &image.status {
        ImageStatus::Failed(reason) => Some(reason),
        _ => card.reason.as_ref(),
    };
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
        ("checksum", json!(download.as_ref().and_then(|download| download.md5))),
        ("os_hash_algo", json!(digest.map(|(algorithm, _)| algorithm.name()))),
        ("os_hash_value", json!(digest.map(|(_, hex)| hex))),
        ("size", json!(download.as_ref().map(|download| download.size))),
        ("virtual_size", json!(image.content.as_ref().map(|content| content.raw_size))),
        ("min_disk", json!(card.min_disk)),
        ("min_ram", json!(card.min_ram)),
        ("disk_format", json!(format.or(card.disk_format.as_deref()))),
        ("container_format", json!(card.container_format.as_deref().or(download.as_ref().map(|_| "bare")))),
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
