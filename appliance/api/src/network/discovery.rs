//! What the API is: versions, resources, extensions.

use super::fault::{Asker, Fault};
use crate::identity::base::Base;
use axum::Json;
use axum::extract::Path;
use serde_json::{Value, json};

/// Parts of Neutron's API beyond its core that are there: alias, name.
const EXTENSIONS: [(&str, &str); 19] = [
    ("binding", "Port Binding"),
    ("external-net", "Neutron external network"),
    ("net-mtu", "Network MTU"),
    ("net-mtu-writable", "Network MTU (writable)"),
    ("pagination", "Pagination support"),
    ("port-mac-address-regenerate", "Neutron Port MAC address regenerate"),
    ("project-id", "project_id field enabled"),
    ("provider", "Provider Network"),
    ("quotas", "Quota management support"),
    ("quota_details", "Quota details management support"),
    ("revision-if-match", "If-Match constraints based on revision_number"),
    ("sorting", "Sorting support"),
    ("standard-attr-description", "standard-attr-description"),
    ("standard-attr-revisions", "Resource revision numbers"),
    ("standard-attr-tag", "Tag support for resources with standard attribute"),
    ("standard-attr-timestamp", "Resource timestamps"),
    ("filter-validation", "Filter parameters validation"),
    ("trunk", "Trunk Extension"),
    ("trunk-details", "Trunk port details"),
];

/// `/`, without credentials.
pub(super) async fn versions(base: Base) -> Json<Value> {
    Json(json!({"versions": [{
        "id": "v2.0",
        "status": "CURRENT",
        "links": [{"rel": "self", "href": format!("{}/network/v2.0/", base.0)}],
    }]}))
}

/// `/v2.0`, without credentials.
pub(super) async fn resources(base: Base) -> Json<Value> {
    let entry = |name: &str, collection: &str| {
        let href = format!("{}/network/v2.0/{collection}", base.0);
        json!({"links": [{"rel": "self", "href": href}], "name": name, "collection": collection})
    };
    let all = [("network", "networks"), ("subnet", "subnets"), ("port", "ports"), ("extension", "extensions")];
    Json(json!({"resources": all.map(|(name, collection)| entry(name, collection))}))
}

fn document(alias: &str, name: &str) -> Value {
    json!({"alias": alias, "name": name, "description": name, "updated": "2026-01-01T00:00:00-00:00", "links": []})
}

pub(super) async fn extensions(_: Asker) -> Json<Value> {
    Json(json!({"extensions": EXTENSIONS.map(|(alias, name)| document(alias, name))}))
}

pub(super) async fn extension(_: Asker, Path(alias): Path<String>) -> Result<Json<Value>, Fault> {
    let found = EXTENSIONS.iter().find(|(known, _)| *known == alias);
    let (alias, name) = found.ok_or_else(|| Fault::not_found("Extension", &alias))?;
    Ok(Json(json!({"extension": document(alias, name)})))
}

/// Addresses of an outside network that lead inside: there are none, and clients ask before they list ports.
pub(super) async fn no_floating_ips(_: Asker) -> Json<Value> {
    Json(json!({"floatingips": []}))
}

/// There is one box, and no agents of Neutron's.
pub(super) async fn no_agents(_: Asker) -> Json<Value> {
    Json(json!({"agents": []}))
}
