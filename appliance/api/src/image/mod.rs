//! The image API: Glance's v2 under `/image`, for the images that are deployed on machines.
//!
//! In: requests of unmodified clients. Out: Glance's documents; bytes into and out of the engine's store of images. Who
//! sees an image is its owner's word (`visibility`, members), who may do what the rules' ([`access`]); both hold when
//! it is deployed, too ([`deploy`]).
//!
//! An extension of our own, for large files over bad lines: `PUT /v2/images/{id}/stage` takes a part of the file where
//! the request has `Content-Range: bytes FIRST-LAST/TOTAL` (or `/*`), and answers with `Upload-Offset`, the place where
//! the next part begins. `HEAD /v2/images/{id}/stage` tells that place at any time, also after a part that was cut off
//! and after a restart of the box; a part that begins elsewhere is 409, with the right place in the header. When all is
//! here, `POST /v2/images/{id}/import` with the method `glance-direct` makes the image of it. Without `Content-Range`
//! `stage` is Glance's own: the whole file at once.

mod access;
mod data;
mod deploy;
mod discovery;
mod document;
mod fault;
mod images;
mod list;
mod members;
mod patch;

pub(crate) use deploy::{check_source, may_deploy};

use crate::Api;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post, put};

/// A refusal that comes before any handler, in this service's form.
pub(crate) fn refused(error: crate::error::ApiError) -> axum::response::Response {
    axum::response::IntoResponse::into_response(fault::Fault::from(error))
}

pub(crate) fn router(api: &Api) -> Router<Api> {
    let v2 = Router::new()
        .route("/images", get(list::list).post(images::create))
        .route("/images/{id}", get(images::show).patch(patch::change).delete(images::remove))
        .route("/images/{id}/tags/{tag}", put(images::add_tag).delete(images::remove_tag))
        .route("/images/{id}/actions/deactivate", post(images::deactivate))
        .route("/images/{id}/actions/reactivate", post(images::reactivate))
        .route("/images/{id}/members", get(members::list).post(members::add))
        .route("/images/{id}/members/{member}", get(members::show).put(members::answer).delete(members::remove))
        .route("/images/{id}/import", post(data::import))
        .route("/info/import", get(discovery::import_methods))
        .route("/info/usage", get(discovery::usage))
        .route("/schemas/{name}", get(discovery::schema))
        .fallback(fault::no_such_path)
        .layer(DefaultBodyLimit::max(api.limits.settings.image_body));
    let data = Router::new()
        .route("/images/{id}/file", get(data::download).put(data::upload))
        .route("/images/{id}/stage", get(data::staged).put(data::stage))
        .layer(DefaultBodyLimit::disable());
    Router::new()
        .route("/image", get(discovery::versions))
        .route("/image/", get(discovery::versions))
        .route("/image/versions", get(discovery::versions_again))
        .nest("/image/v2", v2.merge(data))
        .method_not_allowed_fallback(fault::no_such_method)
}
