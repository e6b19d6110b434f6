//! What the API is: versions, schemas, ways to import, what a project has used.

use super::fault::{Asker, Fault};
use super::images::{IMPORT_METHODS, used};
use crate::Api;
use crate::identity::base::Base;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// The newest minor version whose calls are there.
const NEWEST: u8 = 15;

fn document(base: &Base) -> Value {
    let entry = |minor: u8| {
        let status = if minor == NEWEST { "CURRENT" } else { "SUPPORTED" };
        let href = format!("{}/image/v2/", base.0);
        json!({"id": format!("v2.{minor}"), "status": status, "links": [{"rel": "self", "href": href}]})
    };
    json!({"versions": (0..=NEWEST).rev().map(entry).collect::<Vec<_>>()})
}

/// `/`, without credentials: 300, as Glance has it.
pub(super) async fn versions(base: Base) -> Response {
    (StatusCode::MULTIPLE_CHOICES, Json(document(&base))).into_response()
}

pub(super) async fn versions_again(base: Base) -> Json<Value> {
    Json(document(&base))
}

pub(super) async fn import_methods(_: Asker) -> Json<Value> {
    let methods: Vec<_> = IMPORT_METHODS.split(',').collect();
    Json(json!({"import-methods": {
        "description": "Import methods available.", "type": "array", "value": methods,
    }}))
}

/// What the caller's project may have, and has.
pub(super) async fn usage(State(api): State<Api>, asker: Asker) -> Json<Value> {
    let (count, bytes) = used(&api.engine.view(), asker.credentials.project_id.as_deref());
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let limit = api.tenants.image_bytes;
    Json(json!({"usage": {
        "image_size_total": {"limit": if limit < 0 { limit } else { limit >> 20 }, "usage": mib(bytes)},
        "image_count_total": {"limit": api.tenants.images, "usage": count},
    }}))
}

pub(super) async fn schema(_: Asker, Path(name): Path<String>) -> Result<Json<Value>, Fault> {
    let list = |name: &str, of: Value| {
        json!({
            "name": name,
            "properties": {
                name: {"type": "array", "items": of},
                "first": {"type": "string"},
                "next": {"type": "string"},
                "schema": {"type": "string"},
            },
            "links": [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}, {"rel": "describedby", "href": "{schema}"}],
        })
    };
    match name.as_str() {
        "image" => Ok(Json(image())),
        "images" => Ok(Json(list("images", image()))),
        "member" => Ok(Json(member())),
        "members" => Ok(Json(list("members", member()))),
        _ => Err(Fault::new(StatusCode::NOT_FOUND, format!("There is no schema '{name}'."))),
    }
}

fn image() -> Value {
    let text = json!({"type": ["null", "string"]});
    let fixed = json!({"type": ["null", "string"], "readOnly": true});
    let number = json!({"type": ["null", "integer"], "readOnly": true});
    json!({
        "name": "image",
        "properties": {
            "id": {"type": "string", "pattern": "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"},
            "name": {"type": ["null", "string"], "maxLength": 255},
            "status": {
                "type": "string", "readOnly": true,
                "enum": ["queued", "saving", "active", "killed", "deleted", "uploading", "importing", "deactivated"],
            },
            "visibility": {"type": "string", "enum": ["community", "public", "private", "shared"]},
            "owner": text,
            "protected": {"type": "boolean"},
            "os_hidden": {"type": "boolean"},
            "checksum": fixed,
            "os_hash_algo": fixed,
            "os_hash_value": fixed,
            "size": number,
            "virtual_size": number,
            "min_disk": {"type": "integer"},
            "min_ram": {"type": "integer"},
            "disk_format": {"type": ["null", "string"], "enum": [null, "raw", "qcow2"]},
            "container_format": {"type": ["null", "string"], "enum": [null, "bare"]},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 255}},
            "created_at": {"type": "string", "readOnly": true},
            "updated_at": {"type": "string", "readOnly": true},
            "self": {"type": "string", "readOnly": true},
            "file": {"type": "string", "readOnly": true},
            "schema": {"type": "string", "readOnly": true},
            "leasehold_reason": {"type": "string", "readOnly": true, "description": "Why the image has no data yet."},
        },
        "additionalProperties": {"type": "string"},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    })
}

fn member() -> Value {
    json!({
        "name": "member",
        "properties": {
            "image_id": {"type": "string"},
            "member_id": {"type": "string"},
            "status": {"type": "string", "enum": ["pending", "accepted", "rejected"]},
            "created_at": {"type": "string"},
            "updated_at": {"type": "string"},
            "schema": {"type": "string", "readOnly": true},
        },
    })
}
