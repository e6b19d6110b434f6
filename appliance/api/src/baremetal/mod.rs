//! The bare-metal API: Ironic's v1 under `/baremetal`, microversions 1.1 to 1.115.
//!
//! In: requests of unmodified clients. Out: Ironic's documents and refusals. One table ([`fields`]) says which member of
//! a node exists since which version and who may change it; documents are made from it, patches checked against it.

mod asked;
mod details;
mod document;
mod drivers;
mod fields;
mod nodes;
mod patch;
mod ports;
mod query;
mod states;
mod version;

use crate::Api;
use axum::Router;
use axum::extract::Request;
use axum::http::header;
use axum::routing::{delete, get, put};
use axum::{Json, middleware};
use serde_json::{Value, json};

pub(crate) fn router(api: &Api) -> Router<Api> {
    let v1 = Router::new()
        .route("/nodes", get(nodes::list).post(nodes::create))
        .route("/nodes/", get(nodes::list).post(nodes::create))
        .route("/nodes/detail", get(nodes::list_detail))
        .route("/nodes/{node}", get(nodes::show).patch(nodes::change).delete(nodes::remove))
        .route("/nodes/{node}/validate", get(details::validate))
        .route("/nodes/{node}/inventory", get(details::inventory))
        .route("/nodes/{node}/vifs", get(details::no_vifs))
        .route("/nodes/{node}/history", get(details::history))
        .route("/nodes/{node}/ports", get(ports::list_of_node))
        .route("/nodes/{node}/traits", get(details::traits).put(details::set_traits).delete(details::clear_traits))
        .route("/nodes/{node}/traits/{name}", put(details::add_trait).delete(details::remove_trait))
        .route("/nodes/{node}/maintenance", put(states::set_maintenance).delete(states::clear_maintenance))
        .route("/nodes/{node}/states", get(states::show))
        .route("/nodes/{node}/states/provision", put(states::provision))
        .route("/nodes/{node}/states/power", put(states::power))
        .route("/nodes/{node}/states/console", get(states::console))
        .route("/nodes/{node}/management/boot_device", get(states::boot_device).put(states::set_boot_device))
        .route("/nodes/{node}/management/boot_device/supported", get(states::supported_boot_devices))
        .route("/ports", get(ports::list).post(ports::create))
        .route("/ports/", get(ports::list).post(ports::create))
        .route("/ports/detail", get(ports::list_detail))
        .route("/ports/{port}", get(ports::show).patch(ports::change))
        .route("/ports/{port}", delete(ports::remove))
        .route("/drivers", get(drivers::list))
        .route("/drivers/{name}", get(drivers::show))
        .route("/drivers/{name}/properties", get(drivers::properties))
        .route("/conductors", get(drivers::conductors))
        .route("/conductors/{hostname}", get(drivers::conductor))
        .layer(middleware::from_fn_with_state(api.clone(), version::negotiate));
    Router::new()
        .route("/baremetal", get(root))
        .route("/baremetal/", get(root))
        .route("/baremetal/v1", get(v1_document).layer(middleware::from_fn_with_state(api.clone(), version::negotiate)))
        .route(
            "/baremetal/v1/",
            get(v1_document).layer(middleware::from_fn_with_state(api.clone(), version::negotiate)),
        )
        .nest("/baremetal/v1", v1)
}

/// The URL under which the caller reaches this API, from his own `Host`.
fn base_url(request_host: Option<&str>, secure: bool) -> String {
    let scheme = if secure { "https" } else { "http" };
    format!("{scheme}://{}/baremetal", request_host.unwrap_or("localhost"))
}

/// The base URL as a request shows it.
pub(crate) fn base_of(headers: &axum::http::HeaderMap, extensions: &axum::http::Extensions) -> String {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let secure = extensions.get::<crate::serve::Connection>().is_some_and(|connection| connection.secure);
    base_url(host, secure)
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
    let base = base_of(request.headers(), request.extensions());
    Json(json!({
        "name": "OpenStack Ironic API",
        "description": "Leasehold speaks the bare-metal API of OpenStack Ironic.",
        "versions": [version_entry(&base)],
        "default_version": version_entry(&base),
    }))
}

async fn v1_document(request: Request) -> Json<Value> {
    let base = base_of(request.headers(), request.extensions());
    let links = |name: &str| json!([{"href": format!("{base}/v1/{name}/"), "rel": "self"}]);
    Json(json!({
        "id": "v1",
        "links": [{"href": format!("{base}/v1/"), "rel": "self"}],
        "media_types": [{"base": "application/json", "type": "application/vnd.openstack.ironic.v1+json"}],
        "version": version_entry(&base),
        "nodes": links("nodes"),
        "ports": links("ports"),
        "drivers": links("drivers"),
        "conductors": links("conductors"),
    }))
}
