//! The import folder: what lies in it, and a file of it made an image.
//!
//! `GET /appliance/v1/import-folder` lists, `POST` imports: `{"file", "name", "checksum", "project", "visibility"}`, of
//! which only the file is needed. For the box's administrators, on the public listener and the local socket. The answer
//! comes when the image is ready; a client that hangs up before stops the import, and nothing is left of it.

use crate::Api;
use crate::error::ApiError;
use crate::images::{checksum, created};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use leasehold_domain::View;
use leasehold_domain::command::Actor;
use leasehold_domain::id::ProjectId;
use leasehold_domain::identity::{DEFAULT_DOMAIN, parse_id};
use leasehold_domain::image::Visibility;
use leasehold_engine::images::FromFolder;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

pub(crate) async fn list(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let files = api.engine.images.import_folder().await?;
    let files = files.into_iter().map(|file| json!({"name": file.name, "size": file.size, "modified": file.modified}));
    Ok(Json(json!({"files": files.collect::<Vec<_>>()})))
}

/// What a request says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Path below the folder.
    file: String,
    /// Default: the file's name without its ending.
    name: Option<String>,
    checksum: Option<String>,
    /// Id or name of the project that is to own the image; without it, the box does.
    project: Option<String>,
    /// Default: public for the box's own, private for a project's.
    visibility: Option<String>,
}

impl Wanted {
    fn read(self, view: &View) -> Result<FromFolder, ApiError> {
        let stem = || Path::new(&self.file).file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
        let name = self.name.clone().or_else(stem).ok_or_else(|| ApiError::bad_request("The image needs a name."))?;
        let checksum = self.checksum.as_deref().map(|text| checksum(Some(text))).transpose()?;
        let owner = self.project.as_deref().map(|ident| project(view, ident)).transpose()?;
        let visibility = match self.visibility.as_deref() {
            None if owner.is_some() => Visibility::Private,
            None => Visibility::Public,
            Some(word) => Visibility::named(word).ok_or_else(|| {
                ApiError::bad_request(format!("'{word}' is none of public, community, shared and private."))
            })?,
        };
        if owner.is_none() && matches!(visibility, Visibility::Private | Visibility::Shared) {
            return Err(ApiError::bad_request(format!(
                "A {} image is a project's: say which, or nobody could use it.",
                visibility.name()
            )));
        }
        Ok(FromFolder { file: self.file, name, checksum, owner, visibility })
    }
}

/// The id of a project as images have it.
fn project(view: &View, ident: &str) -> Result<String, ApiError> {
    let directory = &view.identity;
    let by_id = parse_id(ident).and_then(|id| directory.project(ProjectId(id)));
    let found = by_id.or_else(|| directory.project_by_name(DEFAULT_DOMAIN, ident)).filter(|found| !found.is_domain());
    let found = found.ok_or_else(|| ApiError::not_found(format!("There is no project with name or id '{ident}'.")))?;
    Ok(found.id_text())
}

pub(crate) async fn import(
    State(api): State<Api>,
    Extension(actor): Extension<Actor>,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(wanted) = body.map_err(|refused| ApiError::bad_request(format!("{}.", refused.body_text())))?;
    let wanted = wanted.read(&api.engine.view())?;
    let image = api.engine.images.import_from_folder(&api.engine.store, actor, wanted).await?;
    Ok(created(StatusCode::CREATED, &image))
}
