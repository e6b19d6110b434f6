//! What most handlers of the bare-metal API begin with: who asks in which version, which node is meant, what the body says.

use super::version::Version;
use crate::auth::Caller;
use crate::error::ApiError;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use leasehold_domain::View;
use leasehold_domain::id::NodeId;
use leasehold_domain::node::Node;
use leasehold_engine::bmcs::DRIVERS;
use serde_json::{Map, Value};
use std::sync::Arc;
use uuid::Uuid;

/// A JSON body, or why it is none.
pub(super) type Body = Result<Json<Value>, JsonRejection>;

/// The request's circumstances that most handlers need.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) base: String,
    pub(super) version: Version,
    pub(super) caller: Caller,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, _: &S) -> Result<Asked, ApiError> {
        let base = super::base_of(&parts.headers, &parts.extensions);
        let missing = || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The request was not authenticated.");
        let version = *parts.extensions.get::<Version>().ok_or_else(missing)?;
        let caller = parts.extensions.get::<Caller>().ok_or_else(missing)?.clone();
        Ok(Asked { base, version, caller })
    }
}

/// The node that a path names, by UUID or name.
pub(super) fn find<'a>(view: &'a View, ident: &str) -> Result<&'a Arc<Node>, ApiError> {
    let node = match Uuid::parse_str(ident) {
        Ok(uuid) => view.node(NodeId(uuid)),
        Err(_) => view.node_by_name(ident),
    };
    node.ok_or_else(|| ApiError::not_found(format!("Node {ident} could not be found.")))
}

/// A JSON object, or a clear refusal.
pub(super) fn object(body: Body) -> Result<Map<String, Value>, ApiError> {
    match body {
        Ok(Json(Value::Object(map))) => Ok(map),
        Ok(_) => Err(ApiError::bad_request("The body must be a JSON object.")),
        Err(rejection) => {
            Err(ApiError::new(rejection.status(), format!("The body is not usable: {}.", rejection.body_text())))
        }
    }
}

/// A driver of ours, or a refusal that names them.
pub(super) fn known_driver(name: &str) -> Result<(), ApiError> {
    if DRIVERS.contains(&name) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "No valid host was found. Reason: the driver '{name}' is not enabled here; drivers: {}.",
        DRIVERS.join(", ")
    )))
}
