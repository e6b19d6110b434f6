//! The bare-metal API: Ironic's v1 under `/baremetal`, microversions 1.1 to 1.115.
//!
//! In: requests of unmodified clients. Out: Ironic's documents and refusals. One table ([`fields`]) says which member of
//! a node exists since which version, who is shown it and who may change it; lists, documents and patches go by it.

mod allocations;
mod asked;
mod bios;
mod chassis;
mod deploy_templates;
mod details;
mod document;
mod drivers;
mod fields;
mod filter;
mod history;
mod indicators;
mod inspection_rules;
mod list;
mod management;
mod masks;
mod nodes;
mod operations;
mod patch;
mod port_document;
mod portgroups;
mod ports;
mod provision;
mod query;
mod ramdisk;
mod records;
mod routes;
mod runbooks;
mod selection;
mod shape;
mod states;
mod steps;
mod vendor;
mod version;
mod vifs;
mod volume;

pub use selection::Orders;

use crate::Api;
use axum::Router;
use axum::extract::Request;
use axum::http::{Extensions, HeaderMap, Uri};
use axum::routing::get;
use axum::{Json, middleware};
use serde_json::{Value, json};

pub(crate) fn router(api: &Api) -> Router<Api> {
    let v1 = Router::new()
        .merge(routes::of_nodes())
        .merge(routes::of_ports())
        .merge(routes::of_the_box())
        .merge(allocations::routes())
        .merge(chassis::routes())
        .merge(deploy_templates::routes())
        .merge(inspection_rules::routes())
        .merge(portgroups::routes())
        .merge(runbooks::routes())
        .merge(volume::routes())
        .layer(middleware::from_fn_with_state(api.clone(), version::negotiate));
    Router::new()
        .route("/baremetal", get(root))
        .route("/baremetal/", get(root))
        .route("/baremetal/v1", get(v1_document).layer(middleware::from_fn_with_state(api.clone(), version::negotiate)))
        .route(
            "/baremetal/v1/",
            get(v1_document).layer(middleware::from_fn_with_state(api.clone(), version::negotiate)),
        )
        .nest("/baremetal/v1", v1.clone())
        // Without a version it is the only one that there is: what bookmarks point to.
        .nest("/baremetal", v1)
}

/// The URL under which the caller reaches this API, from his own request.
pub(crate) fn base_of(uri: &Uri, headers: &HeaderMap, extensions: &Extensions) -> String {
    format!("{}/baremetal", crate::identity::base::of(uri, headers, extensions))
}

fn version_entry(base: &str) -> Value {
    json!({
        "id": "v1",
        "links": [{"href": format!("{base}/v1/"), "rel": "self"}],
        "status": "CURRENT",
        "min_version": version::text(version::MIN),
        "version": version::text(version::MAX),
    })
}

/// Discovery: what openstacksdk asks for first, without credentials.
async fn root(request: Request) -> Json<Value> {
    let base = base_of(request.uri(), request.headers(), request.extensions());
    Json(json!({
        "name": "OpenStack Ironic API",
        "description": "Leasehold speaks the bare-metal API of OpenStack Ironic.",
        "versions": [version_entry(&base)],
        "default_version": version_entry(&base),
    }))
}

async fn v1_document(request: Request) -> Json<Value> {
    let base = base_of(request.uri(), request.headers(), request.extensions());
    let version = request.extensions().get::<version::Version>().copied().unwrap_or(version::MIN);
    let mut document = json!({
        "id": "v1",
        "links": [{"href": format!("{base}/v1/"), "rel": "self"}],
        "media_types": [{"base": "application/json", "type": "application/vnd.openstack.ironic.v1+json"}],
        "version": version_entry(&base),
    });
    for (name, since) in RESOURCES {
        if since <= version.0 {
            document[name] = json!([
                {"href": format!("{base}/v1/{name}/"), "rel": "self"},
                {"href": format!("{base}/{name}/"), "rel": "bookmark"},
            ]);
        }
    }
    Json(document)
}

/// What can be asked for, and since which version.
const RESOURCES: [(&str, u16); 16] = [
    ("allocations", 52),
    ("chassis", 1),
    ("conductors", 49),
    ("deploy_templates", 55),
    ("drivers", 1),
    ("events", 54),
    ("heartbeat", 22),
    ("inspection_rules", 96),
    ("lookup", 22),
    ("nodes", 1),
    ("portgroups", 23),
    ("ports", 1),
    ("runbooks", 92),
    ("shards", 82),
    ("volume", 32),
    ("continue_inspection", 84),
];
