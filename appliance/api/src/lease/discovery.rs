//! What the API is: its one version.

use crate::identity::base::Base;
use axum::Json;
use serde_json::{Value, json};

/// `/` and `/v1`, without credentials.
pub(super) async fn versions(Base(base): Base) -> Json<Value> {
    let version = json!({
        "id": "v1",
        "status": "CURRENT",
        "min_version": "1.0",
        "version": "1.0",
        "links": [{"rel": "self", "href": format!("{base}/lease/v1")}],
    });
    Json(json!({
        "name": "ESI Leap API",
        "description": "Offers and leases of bare-metal nodes.",
        "default_version": version,
        "versions": [version],
    }))
}
