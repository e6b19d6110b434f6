//! What versions there are: asked without credentials, before anything else.

use super::base::Base;
use axum::Json;
use axum::http::StatusCode;
use serde_json::{Value, json};

fn version(base: &str) -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": format!("{base}/identity/v3/")}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    })
}

/// 300: there is one choice.
pub(super) async fn versions(Base(base): Base) -> (StatusCode, Json<Value>) {
    (StatusCode::MULTIPLE_CHOICES, Json(json!({"versions": {"values": [version(&base)]}})))
}

pub(super) async fn v3(Base(base): Base) -> Json<Value> {
    Json(json!({"version": version(&base)}))
}
