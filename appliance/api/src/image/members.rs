//! The projects that an image is shared with, and what they say to that.

use super::access::{OfImage, is_admin, may, seen};
use super::document::member_document;
use super::fault::{Asker, Fault};
use super::images::submit;
use crate::Api;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use leasehold_domain::image::{Acceptance, Image, ImageCommand, Visibility};
use serde_json::{Value, json};

type Body = Result<Json<Value>, JsonRejection>;

/// A member sees itself only; the owner sees all.
fn shows(asker: &Asker, image: &Image, project: &str) -> bool {
    let own = asker.credentials.project_id.as_deref();
    is_admin(asker) || own.is_some_and(|own| own == project || image.card.is_owned_by(own))
}

fn must_be_shared(image: &Image) -> Result<(), Fault> {
    match image.card.visibility {
        Visibility::Shared => Ok(()),
        _ => Err(Fault::new(StatusCode::FORBIDDEN, "Only shared images have members.")),
    }
}

fn one(image: &Image, project: &str) -> Result<Value, Fault> {
    let member = image.card.members.get(project);
    member.map(|member| member_document(image, project, member)).ok_or_else(|| no_member(project))
}

fn no_member(project: &str) -> Fault {
    Fault::new(StatusCode::NOT_FOUND, format!("{project} not found in the member list of the image."))
}

pub(super) async fn list(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
) -> Result<Json<Value>, Fault> {
    let image = may(&api.engine.view(), &asker, &ident, "get_members")?;
    if image.card.visibility != Visibility::Shared {
        return Err(Fault::new(StatusCode::NOT_FOUND, "Only shared images have members."));
    }
    let members = image.card.members.iter().filter(|(project, _)| shows(&asker, &image, project));
    let members: Vec<Value> = members.map(|(project, member)| member_document(&image, project, member)).collect();
    Ok(Json(json!({"members": members, "schema": "/v2/schemas/members"})))
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Path((ident, project)): Path<(String, String)>,
) -> Result<Json<Value>, Fault> {
    let image = may(&api.engine.view(), &asker, &ident, "get_member")?;
    if !shows(&asker, &image, &project) {
        return Err(no_member(&project));
    }
    one(&image, &project).map(Json)
}

pub(super) async fn add(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let image = may(&api.engine.view(), &asker, &ident, "add_member")?;
    must_be_shared(&image)?;
    let Json(body) = body?;
    let project = body.get("member").and_then(Value::as_str);
    let project =
        project.ok_or_else(|| Fault::bad_request("Member to be added not specified: {\"member\": PROJECT}."))?;
    let image = submit(&api, ImageCommand::AddMember { id: image.id, project: project.to_owned() }, &asker).await?;
    one(&image, project).map(Json)
}

pub(super) async fn answer(
    State(api): State<Api>,
    asker: Asker,
    Path((ident, project)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let image = seen(&api.engine.view(), &asker, &ident)?;
    must_be_shared(&image)?;
    if !shows(&asker, &image, &project) {
        return Err(no_member(&project));
    }
    // The owner shares; whether it is taken is the member's word.
    if !asker.allows("modify_member", &OfImage::and_member(&image.card, &project)) {
        return Err(Fault::forbidden("modify_member"));
    }
    let Json(body) = body?;
    let acceptance = body.get("status").and_then(Value::as_str).and_then(Acceptance::named);
    let acceptance = acceptance.ok_or_else(|| Fault::bad_request("status is one of pending, accepted, rejected."))?;
    let command = ImageCommand::Answer { id: image.id, project: project.clone(), acceptance };
    let image = submit(&api, command, &asker).await?;
    one(&image, &project).map(Json)
}

pub(super) async fn remove(
    State(api): State<Api>,
    asker: Asker,
    Path((ident, project)): Path<(String, String)>,
) -> Result<StatusCode, Fault> {
    let image = may(&api.engine.view(), &asker, &ident, "delete_member")?;
    must_be_shared(&image)?;
    submit(&api, ImageCommand::RemoveMember { id: image.id, project }, &asker).await?;
    Ok(StatusCode::NO_CONTENT)
}
