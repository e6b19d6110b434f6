//! The appliance's images: listed, uploaded, fetched, deleted.
//!
//! `GET|POST /appliance/v1/images`, `GET|DELETE /appliance/v1/images/{id or name}`; for users on the public listener,
//! for the command line on the local socket. A POST with a JSON body (`{"url", "checksum", "name"}`) has the appliance
//! fetch the image; with any other body that body is the image, named and vouched for by the query (`name`,
//! `checksum`) or the header `X-Checksum`. A body is streamed to disk, never held.

use crate::Api;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::import_folder;
use crate::serve::Connection;
use axum::body::{Body, HttpBody};
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http_body_util::{BodyExt, Limited};
use leasehold_domain::command::Actor;
use leasehold_domain::image::{Checksum, Image, ImageStatus};
use leasehold_engine::images::{ImageError, Upload, find};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Bytes of a JSON request: a URL and a digest.
const JSON_LIMIT: usize = 64 << 10;
/// A client that sends nothing for so long has gone.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);
/// What is still read of a body that was refused, so that the client comes to read the refusal.
const DRAINED: u64 = 64 << 20;
const DRAINED_FOR: Duration = Duration::from_secs(5);

/// The routes; whoever uses them has put an [`Actor`] into the request's extensions.
fn routes() -> Router<Api> {
    Router::new()
        .route("/appliance/v1/images", get(list).post(add))
        .route("/appliance/v1/images/{image}", get(show).delete(delete))
        .route("/appliance/v1/import-folder", get(import_folder::list).post(import_folder::import))
}

/// For users.
pub(crate) fn public_router(api: &Api) -> Router<Api> {
    routes().layer(middleware::from_fn_with_state(api.clone(), user_actor))
}

/// The box's own images, and an account of all of them, are its administrators' business; projects have the image API.
async fn user_actor(State(_): State<Api>, caller: Caller, mut request: Request, next: Next) -> Response {
    if let Err(refused) = caller.needs("appliance:images", &()) {
        return refused.into_response();
    }
    request.extensions_mut().insert(caller.actor());
    next.run(request).await
}

/// For the local socket: who is there, is known by the socket's peer credentials.
pub(crate) fn local_router() -> Router<Api> {
    routes().layer(middleware::from_fn(local_actor))
}

/// Puts the local user into the request's extensions.
pub(crate) async fn local_actor(
    Extension(connection): Extension<Connection>,
    mut request: Request,
    next: Next,
) -> Response {
    match connection.uid {
        Some(uid) => request.extensions_mut().insert(Actor::Local(uid)),
        None => return ApiError::new(StatusCode::FORBIDDEN, "This socket is for local users.").into_response(),
    };
    next.run(request).await
}

impl From<ImageError> for ApiError {
    fn from(error: ImageError) -> ApiError {
        let status = match &error {
            ImageError::Store(error) => return error.clone().into(),
            ImageError::Unknown(_) => StatusCode::NOT_FOUND,
            ImageError::NotReady(..) | ImageError::Stopped | ImageError::Offset { .. } | ImageError::Filling => {
                StatusCode::CONFLICT
            }
            ImageError::Unready(_) => StatusCode::BAD_REQUEST,
            ImageError::Fetch { .. } | ImageError::Checksum { .. } | ImageError::Format(_) | ImageError::Forgotten => {
                StatusCode::BAD_REQUEST
            }
            ImageError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            ImageError::NoSpace { .. } | ImageError::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
            ImageError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            ImageError::Io(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, sentence(&error.to_string()))
    }
}

/// A first letter in upper case and a full stop, as all answers have.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().map(|letter| letter.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

fn document(image: &Image) -> Value {
    let content = image.content.as_ref();
    let reason = match &image.status {
        ImageStatus::Failed(reason) => Some(reason),
        _ => None,
    };
    json!({
        "id": image.id,
        "name": image.name,
        "status": image.status.name(),
        "reason": reason,
        "source_url": image.source_url,
        "owner": image.card.owner,
        "visibility": image.card.visibility.name(),
        "checksum": image.checksum.as_ref().map(|checksum| format!("{}:{}", checksum.algorithm.name(), checksum.hex)),
        "format": content.map(|content| &content.given_format),
        "size": content.map(|content| content.raw_size),
        "sha256": content.map(|content| &content.raw_sha256),
        "stored_size": content.map(|content| content.stored_size),
        "created_at": image.created_at,
        "used_at": image.used_at,
    })
}

async fn list(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let view = api.engine.view();
    let mut images: Vec<_> = view.images().collect();
    images.sort_by_key(|image| (image.created_at, image.id));
    let usage = api.engine.images.usage(&view).map_err(ImageError::from)?;
    Ok(Json(json!({
        "images": images.into_iter().map(|image| document(image)).collect::<Vec<_>>(),
        "space": {
            "used": usage.stored,
            "temporary": usage.temporary,
            "free": usage.free,
            "evictable": usage.evictable,
            "quota": usage.quota,
        },
    })))
}

fn one(api: &Api, ident: &str) -> Result<Arc<Image>, ApiError> {
    let unknown = || ApiError::not_found(format!("There is no image with name or UUID '{ident}'."));
    find(&api.engine.view(), ident).cloned().ok_or_else(unknown)
}

async fn show(State(api): State<Api>, Path(ident): Path<String>) -> Result<Json<Value>, ApiError> {
    Ok(Json(document(&*one(&api, &ident)?)))
}

async fn delete(
    State(api): State<Api>,
    Extension(actor): Extension<Actor>,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let image = one(&api, &ident)?;
    api.engine.images.delete(&api.engine.store, image.id, actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn add(
    State(api): State<Api>,
    Extension(actor): Extension<Actor>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        return add_by_url(&api, actor, body).await;
    }
    let mut body = Limitless(body);
    match upload(&api, actor, &query, &headers, &mut body).await {
        Ok(image) => Ok(created(StatusCode::CREATED, &image)),
        Err(error) => {
            body.drain().await;
            Err(error)
        }
    }
}

pub(crate) fn created(status: StatusCode, image: &Image) -> Response {
    let location = format!("/appliance/v1/images/{}", image.id);
    (status, [(header::LOCATION, location)], Json(document(image))).into_response()
}

pub(crate) fn checksum(text: Option<&str>) -> Result<Checksum, ApiError> {
    let text = text.ok_or_else(|| {
        ApiError::bad_request(
            "The image's SHA-256 or SHA-512 is missing: give it as checksum, as its publisher tells it (sha256:…).",
        )
    })?;
    Checksum::parse(None, text).ok_or_else(|| {
        ApiError::bad_request(format!(
            "'{text}' is not a SHA-256 or SHA-512 digest in hex; MD5 and SHA-1 can be forged and are not taken."
        ))
    })
}

fn name(text: Option<&str>) -> Result<&str, ApiError> {
    text.filter(|text| !text.is_empty())
        .ok_or_else(|| ApiError::bad_request("The image's name is missing: it is what deployments call it by."))
}

/// What a request for an import by URL says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByUrl {
    url: String,
    checksum: Option<String>,
    name: Option<String>,
}

async fn add_by_url(api: &Api, actor: Actor, body: Body) -> Result<Response, ApiError> {
    let bytes = match timeout(SILENCE, Limited::new(body, JSON_LIMIT).collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) => return Err(ApiError::bad_request(format!("The request could not be read: {error}."))),
        Err(_) => return Err(silent()),
    };
    let asked: ByUrl = serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request(format!("The request is not what is expected: {error}.")))?;
    let (name, checksum) = (name(asked.name.as_deref())?, checksum(asked.checksum.as_deref())?);
    let images = &api.engine.images;
    let image = images.add_by_url(&api.engine.store, actor, name, &asked.url, checksum).await?;
    let status = if image.status == ImageStatus::Active { StatusCode::CREATED } else { StatusCode::ACCEPTED };
    Ok(created(status, &image))
}

pub(crate) fn silent() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, format!("Nothing came for {} s.", SILENCE.as_secs()))
}

async fn upload(
    api: &Api,
    actor: Actor,
    query: &BTreeMap<String, String>,
    headers: &HeaderMap,
    body: &mut Limitless,
) -> Result<Arc<Image>, ApiError> {
    if let Some(key) = query.keys().find(|key| !matches!(key.as_str(), "name" | "checksum")) {
        return Err(ApiError::bad_request(format!("'{key}' is not known here: name and checksum are.")));
    }
    let in_header = headers.get("x-checksum").and_then(|value| value.to_str().ok());
    let checksum = checksum(query.get("checksum").map(String::as_str).or(in_header))?;
    let name = name(query.get("name").map(String::as_str))?;
    let length = body.0.size_hint().exact();
    let images = &api.engine.images;
    let mut upload: Upload = images.begin_upload(&api.engine.store, actor, name, checksum, length).await?;
    loop {
        let frame = timeout(SILENCE, body.0.frame()).await.map_err(|_| silent())?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| ApiError::bad_request(format!("The upload was cut off: {error}.")))?;
        if let Ok(bytes) = frame.into_data() {
            upload.take(&bytes).await?;
        }
    }
    Ok(upload.finish().await?)
}

/// A body that is read to whatever end; the upload has a limit of its own.
pub(crate) struct Limitless(pub(crate) Body);

impl Limitless {
    /// Reads on for a moment: a client that is still sending would otherwise see a reset instead of the answer.
    pub(crate) async fn drain(&mut self) {
        let drained = async {
            let mut left = DRAINED;
            while let Some(Ok(frame)) = self.0.frame().await {
                let length = frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
                match left.checked_sub(length) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        };
        // A client that sends no more gets its answer all the same.
        drop(timeout(DRAINED_FOR, drained).await);
    }
}
