//! The services of this box: what a token's catalog names, and the calls that list them. They are what the program
//! serves; nobody adds to them.

use super::access::Facts;
use super::base::Base;
use super::fault::{Asker, Fault};
use super::list::Filters;
use crate::Api;
use crate::auth::secret::sha256;
use axum::Json;
use axum::extract::{Path, State};
use leasehold_domain::identity::{folded, id_text};
use serde_json::{Value, json};
use uuid::Uuid;

/// Type, name and path. A path has no version but identity's: clients add theirs.
const SERVICES: &[(&str, &str, &str)] = &[
    ("identity", "keystone", "/identity/v3"),
    ("baremetal", "ironic", "/baremetal"),
    ("lease", "esi-leap", "/lease"),
    ("network", "neutron", "/network"),
    ("image", "glance", "/image"),
];
const INTERFACES: [&str; 3] = ["public", "internal", "admin"];

/// The same id at each start, and on each box.
fn id_of(text: &str) -> String {
    let digest = sha256(text.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    id_text(Uuid::from_bytes(bytes))
}

fn service_id(kind: &str) -> String {
    id_of(&format!("service {kind}"))
}

fn endpoint_id(kind: &str, interface: &str) -> String {
    id_of(&format!("endpoint {kind} {interface}"))
}

/// The catalog of a token.
pub(super) fn catalog(base: &str, region: &str) -> Value {
    let endpoint = |kind: &str, path: &str, interface: &str| {
        json!({
            "id": endpoint_id(kind, interface),
            "interface": interface,
            "region": region,
            "region_id": region,
            "url": format!("{base}{path}"),
        })
    };
    let service = |(kind, name, path): &(&str, &str, &str)| {
        let endpoints: Vec<_> = INTERFACES.iter().map(|interface| endpoint(kind, path, interface)).collect();
        json!({"id": service_id(kind), "type": kind, "name": name, "endpoints": endpoints})
    };
    SERVICES.iter().map(service).collect()
}

fn service_documents(base: &str) -> impl Iterator<Item = Value> {
    SERVICES.iter().map(move |(kind, name, _)| {
        let id = service_id(kind);
        let link = format!("{base}/identity/v3/services/{id}");
        json!({"id": id, "type": kind, "name": name, "enabled": true, "description": "", "links": {"self": link}})
    })
}

fn endpoint_documents(base: &str, region: &str) -> impl Iterator<Item = Value> {
    SERVICES.iter().flat_map(move |(kind, _, path)| {
        INTERFACES.iter().map(move |interface| {
            let id = endpoint_id(kind, interface);
            json!({
                "id": id,
                "service_id": service_id(kind),
                "interface": interface,
                "region": region,
                "region_id": region,
                "url": format!("{base}{path}"),
                "enabled": true,
                "links": {"self": format!("{base}/identity/v3/endpoints/{id}")},
            })
        })
    })
}

fn region_document(base: &str, region: &str) -> Value {
    let link = format!("{base}/identity/v3/regions/{region}");
    json!({"id": region, "description": "", "parent_region_id": null, "links": {"self": link}})
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Every caller finds these in his token's catalog anyway: no rule is asked.
pub(super) async fn services(_: Asker, Base(base): Base, filters: Filters) -> Result<Json<Value>, Fault> {
    let rows = service_documents(&base)
        .filter(|row| filters.takes("type", text(row, "type")) && filters.takes_name(text(row, "name")));
    Ok(Json(filters.page("services", &format!("{base}/identity/v3/services"), rows)?))
}

pub(super) async fn service(_: Asker, Base(base): Base, Path(id): Path<String>) -> Result<Json<Value>, Fault> {
    let found = service_documents(&base).find(|row| text(row, "id") == id);
    found.map(|row| Json(json!({"service": row}))).ok_or_else(|| Fault::not_found("service", &id))
}

pub(super) async fn endpoints(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    filters: Filters,
) -> Result<Json<Value>, Fault> {
    may_list(&asker, "identity:list_endpoints")?;
    let rows = endpoint_documents(&base, &api.guard.settings.region).filter(|row| {
        filters.takes("service_id", text(row, "service_id"))
            && filters.takes("interface", text(row, "interface"))
            && filters.takes("region_id", text(row, "region_id"))
    });
    Ok(Json(filters.page("endpoints", &format!("{base}/identity/v3/endpoints"), rows)?))
}

pub(super) async fn endpoint(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    may_list(&asker, "identity:get_endpoint")?;
    let found = endpoint_documents(&base, &api.guard.settings.region).find(|row| text(row, "id") == id);
    found.map(|row| Json(json!({"endpoint": row}))).ok_or_else(|| Fault::not_found("endpoint", &id))
}

pub(super) async fn regions(
    State(api): State<Api>,
    _: Asker,
    Base(base): Base,
    filters: Filters,
) -> Result<Json<Value>, Fault> {
    let row = region_document(&base, &api.guard.settings.region);
    Ok(Json(filters.page("regions", &format!("{base}/identity/v3/regions"), std::iter::once(row))?))
}

pub(super) async fn region(
    State(api): State<Api>,
    _: Asker,
    Base(base): Base,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let region = &api.guard.settings.region;
    if folded(&id) != folded(region) {
        return Err(Fault::not_found("region", &id));
    }
    Ok(Json(json!({"region": region_document(&base, region)})))
}

fn may_list(asker: &Asker, rule: &str) -> Result<(), Fault> {
    if asker.asks(rule, &Facts::default(), None) { Ok(()) } else { Err(Fault::forbidden(rule)) }
}
