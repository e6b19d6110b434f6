//! `/v1/ports`: network cards of nodes.

use super::asked::{Asked, Body, find, object};
use super::document::port_document;
use super::query::{self, Parameters, flag};
use super::version::Version;
use crate::Api;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use leasehold_domain::View;
use leasehold_domain::command::{Answer, Command};
use leasehold_domain::id::{NodeId, PortId};
use leasehold_domain::mac::Mac;
use leasehold_domain::port::{Port, PortSettings};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use uuid::Uuid;

const PARAMETERS: [&str; 11] = [
    "fields",
    "detail",
    "limit",
    "marker",
    "sort_key",
    "sort_dir",
    "address",
    "node",
    "node_uuid",
    "physical_network",
    "shard",
];
const LIST_FIELDS: [&str; 3] = ["uuid", "address", "links"];

/// The port that a path names: UUID, MAC address or name.
fn find_port<'a>(view: &'a View, ident: &str) -> Result<&'a Arc<Port>, ApiError> {
    let by_id = Uuid::parse_str(ident).ok().and_then(|uuid| view.port(PortId(uuid)));
    let port = by_id.or_else(|| ident.parse().ok().and_then(|mac| view.port_by_mac(mac)));
    port.or_else(|| view.port_by_name(ident))
        .ok_or_else(|| ApiError::not_found(format!("Port {ident} could not be found.")))
}

pub(super) async fn list(state: State<Api>, asked: Asked, query: Query<Parameters>) -> Result<Json<Value>, ApiError> {
    let detail = query.get("detail").map(|text| flag("detail", text)).transpose()?.unwrap_or(false);
    page(&state, &asked, &query, detail, if detail { "ports/detail" } else { "ports" }, None)
}

pub(super) async fn list_detail(
    state: State<Api>,
    asked: Asked,
    query: Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    page(&state, &asked, &query, true, "ports/detail", None)
}

pub(super) async fn list_of_node(
    state: State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    query: Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&state.engine.view(), &ident)?.id;
    page(&state, &asked, &query, false, &format!("nodes/{node}/ports"), Some(node))
}

fn page(
    api: &Api,
    asked: &Asked,
    parameters: &Parameters,
    detail: bool,
    path: &str,
    node: Option<NodeId>,
) -> Result<Json<Value>, ApiError> {
    query::only(parameters, &PARAMETERS)?;
    let limit = query::limit(parameters)?;
    let view = api.engine.view();
    let node = match (node, parameters.get("node").or(parameters.get("node_uuid"))) {
        (Some(node), _) => Some(node),
        (None, Some(ident)) => Some(find(&view, ident)?.id),
        (None, None) => None,
    };
    let address = match parameters.get("address") {
        Some(text) => Some(text.parse::<Mac>().map_err(|error| ApiError::bad_request(error.to_string()))?),
        None => None,
    };
    let network = parameters.get("physical_network");
    let mut ports: Vec<&Arc<Port>> = match (node, address) {
        (Some(node), _) => view.ports_of(node).collect(),
        (None, Some(mac)) => view.port_by_mac(mac).into_iter().collect(),
        (None, None) => view.ports().collect(),
    };
    ports.retain(|port| {
        address.is_none_or(|mac| port.settings.address == mac)
            && network.is_none_or(|name| port.settings.physical_network.as_ref() == Some(name))
    });
    ports.sort_by_key(|port| (port.created_at, port.id));
    let start = match parameters.get("marker") {
        Some(ident) => {
            let id = find_port(&view, ident)?.id;
            ports.iter().position(|port| port.id == id).map_or(0, |at| at + 1)
        }
        None => 0,
    };
    let wanted = fields(parameters, asked.version)?;
    let rows: Vec<Value> = ports
        .iter()
        .skip(start)
        .take(limit)
        .map(|port| {
            let mut document = port_document(port, &asked.base, asked.version);
            match &wanted {
                Some(wanted) => document.retain(|name, _| wanted.contains(name)),
                None if !detail => document.retain(|name, _| LIST_FIELDS.contains(&name.as_str()) || name == "name"),
                None => {}
            }
            Value::Object(document)
        })
        .collect();
    let mut body = json!({"ports": rows});
    if ports.len() > start + limit
        && let Some(last) = ports.get(start + limit - 1)
    {
        body["next"] = query::next_link(&asked.base, path, parameters, limit, &last.id.to_string());
    }
    Ok(Json(body))
}

/// The members that `fields=` names, if all exist.
fn fields(parameters: &Parameters, version: Version) -> Result<Option<Vec<String>>, ApiError> {
    let Some(text) = parameters.get("fields") else { return Ok(None) };
    const KNOWN: [(&str, u16); 14] = [
        ("uuid", 1),
        ("address", 1),
        ("node_uuid", 1),
        ("extra", 1),
        ("created_at", 1),
        ("updated_at", 1),
        ("links", 1),
        ("internal_info", 18),
        ("local_link_connection", 19),
        ("pxe_enabled", 19),
        ("portgroup_uuid", 24),
        ("physical_network", 34),
        ("is_smartnic", 53),
        ("name", 88),
    ];
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    let exists = |name: &String| KNOWN.iter().any(|(known, since)| known == name && *since <= version.0);
    match names.iter().find(|name| !exists(name)) {
        Some(unknown) => Err(ApiError::bad_request(format!("Field(s) \"{unknown}\" are not valid."))),
        None => Ok(Some(names)),
    }
}

pub(super) async fn show(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    query::only(&parameters, &["fields"])?;
    let wanted = fields(&parameters, asked.version)?;
    let view = api.engine.view();
    let mut document = port_document(find_port(&view, &ident)?, &asked.base, asked.version);
    document.retain(|name, _| wanted.as_ref().is_none_or(|wanted| wanted.contains(name)));
    Ok(Json(Value::Object(document)))
}

pub(super) async fn create(State(api): State<Api>, asked: Asked, body: Body) -> Result<Response, ApiError> {
    let body = object(body)?;
    let id = match body.get("uuid").and_then(Value::as_str) {
        Some(text) => {
            Uuid::parse_str(text).map_err(|_| ApiError::bad_request(format!("Expected a UUID but received {text}.")))?
        }
        None => Uuid::new_v4(),
    };
    let settings = settings(&api.engine.view(), &body)?;
    let id = PortId(id);
    let committed = api.submit(Command::CreatePort { id, settings: Box::new(settings) }, asked.caller.actor()).await?;
    let document = document_of(&asked, &committed.answer)?;
    let place = format!("{}/v1/ports/{id}", asked.base);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(document)).into_response())
}

fn document_of(asked: &Asked, answer: &Answer) -> Result<Value, ApiError> {
    match answer {
        Answer::Port(port) => Ok(Value::Object(port_document(port, &asked.base, asked.version))),
        _ => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The change brought no port.")),
    }
}

/// Reads a whole port document.
fn settings(view: &View, members: &Map<String, Value>) -> Result<PortSettings, ApiError> {
    const KNOWN: [&str; 10] = [
        "uuid",
        "address",
        "node_uuid",
        "extra",
        "local_link_connection",
        "pxe_enabled",
        "physical_network",
        "is_smartnic",
        "name",
        "portgroup_uuid",
    ];
    if let Some(unknown) = members.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(ApiError::bad_request(format!("Unknown attribute '{unknown}' of a port.")));
    }
    let text = |name: &str| match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(ApiError::bad_request(format!("{name} must be a string."))),
    };
    let truth = |name: &str, default: bool| match members.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(given)) => Ok(*given),
        Some(Value::String(given)) => flag(name, given),
        Some(_) => Err(ApiError::bad_request(format!("{name} must be true or false."))),
    };
    let map = |name: &str| match members.get(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map.clone()),
        Some(_) => Err(ApiError::bad_request(format!("{name} must be an object."))),
    };
    if text("portgroup_uuid")?.is_some() {
        return Err(ApiError::bad_request("Port groups are not supported: leave portgroup_uuid out."));
    }
    let address =
        text("address")?.ok_or_else(|| ApiError::bad_request("A port needs the address (MAC) of its card."))?;
    let node = text("node_uuid")?.ok_or_else(|| ApiError::bad_request("A port needs the node_uuid of its node."))?;
    let node = find(view, &node).map_err(|error| ApiError::bad_request(error.message))?.id;
    Ok(PortSettings {
        node,
        address: address
            .parse()
            .map_err(|error: leasehold_domain::mac::BadMac| ApiError::bad_request(error.to_string()))?,
        name: text("name")?,
        pxe_enabled: truth("pxe_enabled", true)?,
        physical_network: text("physical_network")?,
        local_link_connection: map("local_link_connection")?,
        extra: map("extra")?,
        is_smartnic: truth("is_smartnic", false)?,
    })
}

pub(super) async fn change(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let Json(body) = body.map_err(|rejection| ApiError::new(rejection.status(), rejection.body_text()))?;
    let patch: json_patch::Patch = serde_json::from_value(body)
        .map_err(|error| ApiError::bad_request(format!("The body must be a JSON patch (RFC 6902): {error}.")))?;
    let view = api.engine.view();
    let port = find_port(&view, &ident)?;
    let mut document = port_document(port, &asked.base, super::version::MAX);
    document
        .retain(|name, _| !matches!(name.as_str(), "uuid" | "created_at" | "updated_at" | "links" | "internal_info"));
    let mut document = Value::Object(document);
    json_patch::patch(&mut document, &patch.0)
        .map_err(|error| ApiError::bad_request(format!("Couldn't apply patch: {error}")))?;
    let Value::Object(members) = document else {
        return Err(ApiError::bad_request("A patch cannot replace the whole port."));
    };
    let settings = Box::new(settings(&view, &members)?);
    let command = Command::ChangePort { id: port.id, revision: port.revision, settings };
    let committed = api.submit(command, asked.caller.actor()).await?;
    document_of(&asked, &committed.answer).map(Json)
}

pub(super) async fn remove(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = find_port(&api.engine.view(), &ident)?.id;
    api.submit(Command::DeletePort { id }, asked.caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
