//! Images: made, shown, tagged, put out of use, deleted.

use super::access::{OfImage, is_admin, may, needs, seen};
use super::document::{MEMBERS, document};
use super::fault::{Asker, Fault};
use crate::Api;
use crate::identity::base::Base;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use leasehold_domain::View;
use leasehold_domain::command::{Answer, Command};
use leasehold_domain::id::ImageId;
use leasehold_domain::image::{Card, Image, ImageCommand, ImageStatus, Visibility};
use serde_json::{Map, Value};
use std::sync::Arc;
use uuid::Uuid;

/// The header that tells clients how they may import.
const METHODS: HeaderName = HeaderName::from_static("openstack-image-import-methods");
pub(super) const IMPORT_METHODS: &str = "glance-direct,web-download";

/// Members that nobody sets.
pub(super) const READ_ONLY: [&str; 15] = [
    "status",
    "checksum",
    "os_hash_algo",
    "os_hash_value",
    "size",
    "virtual_size",
    "created_at",
    "updated_at",
    "self",
    "file",
    "schema",
    "locations",
    "direct_url",
    "leasehold_reason",
    "id",
];

pub(super) async fn submit(api: &Api, command: ImageCommand, asker: &Asker) -> Result<Arc<Image>, Fault> {
    match api.submit(Command::Image(command), asker.actor()).await?.answer {
        Answer::Image(image) => Ok(image),
        _ => Err(Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "The change brought no image.")),
    }
}

/// What a member of the document is to be.
pub(super) fn set(name: &mut Option<String>, card: &mut Card, member: &str, value: &Value) -> Result<(), Fault> {
    let bad = |what: &str| {
        Fault::bad_request(format!("Provided object does not match schema 'image': {member} must be {what}."))
    };
    let text = || value.as_str().map(str::to_owned).ok_or_else(|| bad("a string"));
    let maybe_text = || if value.is_null() { Ok(None) } else { text().map(Some) };
    let truth = || value.as_bool().ok_or_else(|| bad("true or false"));
    let number = || value.as_u64().and_then(|number| u32::try_from(number).ok()).ok_or_else(|| bad("a number"));
    match member {
        "name" => *name = maybe_text()?,
        "visibility" => {
            let wanted = value.as_str().and_then(Visibility::named);
            card.visibility = wanted.ok_or_else(|| bad("one of public, private, shared, community"))?;
        }
        "owner" => card.owner = maybe_text()?,
        "protected" => card.protected = truth()?,
        "os_hidden" => card.hidden = truth()?,
        "min_disk" => card.min_disk = number()?,
        "min_ram" => card.min_ram = number()?,
        "disk_format" => card.disk_format = maybe_text()?,
        "container_format" => card.container_format = maybe_text()?,
        "tags" => {
            let tags = value.as_array().ok_or_else(|| bad("a list of strings"))?;
            let tags = tags.iter().map(|tag| tag.as_str().map(str::to_owned)).collect::<Option<_>>();
            card.tags = tags.ok_or_else(|| bad("a list of strings"))?;
        }
        _ if READ_ONLY.contains(&member) => {
            return Err(Fault::new(StatusCode::FORBIDDEN, format!("Attribute '{member}' is read-only.")));
        }
        _ if member.starts_with("os_glance") => {
            return Err(Fault::new(StatusCode::FORBIDDEN, format!("Attribute '{member}' is reserved.")));
        }
        _ => {
            card.properties.insert(member.to_owned(), text()?);
        }
    }
    Ok(())
}

/// The rules about visibility and owner of what a request would make of an image.
pub(super) fn check_change(asker: &Asker, before: Option<&Card>, after: &Card) -> Result<(), Fault> {
    let new = before.is_none_or(|before| before.visibility != after.visibility);
    match after.visibility {
        Visibility::Public if new => needs(asker, "publicize_image", after)?,
        Visibility::Community if new => needs(asker, "communitize_image", after)?,
        _ => {}
    }
    let moved = before.is_some_and(|before| before.owner != after.owner);
    if moved && !is_admin(asker) {
        return Err(Fault::new(StatusCode::FORBIDDEN, "Only an administrator can give an image to another project."));
    }
    Ok(())
}

pub(super) async fn create(
    State(api): State<Api>,
    asker: Asker,
    base: Base,
    body: Result<Json<Map<String, Value>>, JsonRejection>,
) -> Result<Response, Fault> {
    let Json(mut body) = body?;
    let id = match body.remove("id") {
        None | Some(Value::Null) => Uuid::new_v4(),
        Some(value) => value
            .as_str()
            .and_then(|text| Uuid::parse_str(text).ok())
            .ok_or_else(|| Fault::bad_request("Provided object does not match schema 'image': id must be a UUID."))?,
    };
    let id = ImageId(id);
    let owner = asker.credentials.project_id.clone();
    let (mut name, mut card) = (None, Card { owner, visibility: Visibility::Shared, ..Card::default() });
    for (member, value) in &body {
        set(&mut name, &mut card, member, value)?;
    }
    if !asker.allows("add_image", &OfImage::of(&card, &asker)) {
        return Err(Fault::forbidden("add_image"));
    }
    check_change(&asker, None, &card)?;
    let limit = api.tenants.images;
    let image = submit(&api, ImageCommand::Create { id, name, card: Box::new(card), limit }, &asker).await?;
    let place = format!("{}/image/v2/images/{id}", base.0);
    let headers = [(header::LOCATION, place), (METHODS, IMPORT_METHODS.to_owned())];
    Ok((StatusCode::CREATED, headers, Json(document(&api, &image))).into_response())
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
) -> Result<Json<Map<String, Value>>, Fault> {
    let image = seen(&api.engine.view(), &asker, &ident)?;
    Ok(Json(document(&api, &image)))
}

pub(super) async fn remove(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
) -> Result<StatusCode, Fault> {
    let image = may(&api.engine.view(), &asker, &ident, "delete_image")?;
    api.engine.images.delete(&api.engine.store, image.id, asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The command that leaves the image with another card.
fn with(image: &Image, change: impl FnOnce(&mut Card)) -> ImageCommand {
    let mut card = image.card.clone();
    change(&mut card);
    ImageCommand::Change { id: image.id, revision: image.card.revision, name: image.name.clone(), card: Box::new(card) }
}

pub(super) async fn add_tag(
    State(api): State<Api>,
    asker: Asker,
    Path((ident, tag)): Path<(String, String)>,
) -> Result<StatusCode, Fault> {
    let image = may(&api.engine.view(), &asker, &ident, "modify_image")?;
    submit(
        &api,
        with(&image, |card| {
            card.tags.insert(tag);
        }),
        &asker,
    )
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove_tag(
    State(api): State<Api>,
    asker: Asker,
    Path((ident, tag)): Path<(String, String)>,
) -> Result<StatusCode, Fault> {
    let image = may(&api.engine.view(), &asker, &ident, "modify_image")?;
    if !image.card.tags.contains(&tag) {
        return Err(Fault::new(StatusCode::NOT_FOUND, format!("The image has no tag '{tag}'.")));
    }
    submit(
        &api,
        with(&image, |card| {
            card.tags.remove(&tag);
        }),
        &asker,
    )
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn deactivate(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
) -> Result<StatusCode, Fault> {
    let image = may(&api.engine.view(), &asker, &ident, "deactivate")?;
    submit(&api, ImageCommand::SetActive { id: image.id, on: false }, &asker).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn reactivate(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
) -> Result<StatusCode, Fault> {
    let image = may(&api.engine.view(), &asker, &ident, "reactivate")?;
    submit(&api, ImageCommand::SetActive { id: image.id, on: true }, &asker).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Images of a project: how many, and their bytes as they were given.
pub(super) fn used(view: &View, project: Option<&str>) -> (u64, u64) {
    let own = view.images().filter(|image| !image.is_cache() && image.card.owner.as_deref() == project);
    own.fold((0, 0), |(count, bytes), image| (count + 1, bytes + image.given_size()))
}

/// The member of the document is a property that the owner made up.
pub(super) fn is_property(member: &str) -> bool {
    !MEMBERS.contains(&member)
}

/// The image has data.
pub(super) fn is_filled(image: &Image) -> bool {
    image.status == ImageStatus::Active
}
