//! `/v1/nodes`: lists, one node, creation, change, removal, traits, inventory, validation.

use super::document::{Shown, time};
use super::fields::LIST_FIELDS;
use super::patch;
use super::query::{self, Parameters, flag};
use super::version::{Version, needs};
use crate::Api;
use crate::auth::Caller;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use leasehold_domain::View;
use leasehold_domain::command::{Answer, Command};
use leasehold_domain::id::NodeId;
use leasehold_domain::image::wanted_image;
use leasehold_domain::node::Node;
use leasehold_domain::provision::ProvisionState;
use leasehold_engine::bmcs::DRIVERS;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use uuid::Uuid;

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

/// A node as this caller is shown it.
fn shown<'a>(api: &'a Api, asked: &'a Asked, view: &'a View, node: &'a Node) -> Shown<'a> {
    Shown { node, view, base: &asked.base, hostname: &api.hostname }
}

const LIST_PARAMETERS: [&str; 20] = [
    "fields",
    "detail",
    "limit",
    "marker",
    "sort_key",
    "sort_dir",
    "associated",
    "maintenance",
    "provision_state",
    "driver",
    "resource_class",
    "conductor_group",
    "owner",
    "lessee",
    "fault",
    "retired",
    "instance_uuid",
    "description_contains",
    "include_children",
    "project",
];

/// A filter of a list: true for the nodes that stay.
fn filter(parameters: &Parameters) -> Result<impl Fn(&Node) -> bool, ApiError> {
    let text = |name: &str| parameters.get(name).cloned();
    let truth = |name: &str| parameters.get(name).map(|value| flag(name, value)).transpose();
    let (associated, maintenance, retired) = (truth("associated")?, truth("maintenance")?, truth("retired")?);
    let state = match text("provision_state") {
        Some(name) => Some(
            ProvisionState::from_name(&name)
                .ok_or_else(|| ApiError::bad_request(format!("Provision state \"{name}\" is not valid")))?,
        ),
        None => None,
    };
    let instance = match text("instance_uuid") {
        Some(text) => Some(
            Uuid::parse_str(&text)
                .map_err(|_| ApiError::bad_request(format!("Expected a UUID but received {text}.")))?,
        ),
        None => None,
    };
    let (driver, class, owner) = (text("driver"), text("resource_class"), text("owner"));
    let (lessee, project, fault) = (text("lessee"), text("project"), text("fault"));
    let (group, contains) = (text("conductor_group"), text("description_contains"));
    Ok(move |node: &Node| {
        let settings = &node.settings;
        associated.is_none_or(|wanted| settings.instance_uuid.is_some() == wanted)
            && maintenance.is_none_or(|wanted| node.maintenance == wanted)
            && retired.is_none_or(|wanted| settings.retired == wanted)
            && state.is_none_or(|wanted| node.provision_state == wanted)
            && instance.is_none_or(|wanted| settings.instance_uuid == Some(wanted))
            && driver.as_ref().is_none_or(|wanted| settings.driver == *wanted)
            && class.as_ref().is_none_or(|wanted| settings.resource_class.as_ref() == Some(wanted))
            && owner.as_ref().is_none_or(|wanted| settings.owner.as_ref() == Some(wanted))
            && lessee.as_ref().is_none_or(|wanted| settings.lessee.as_ref() == Some(wanted))
            && project.as_ref().is_none_or(|wanted| {
                settings.owner.as_ref() == Some(wanted) || settings.lessee.as_ref() == Some(wanted)
            })
            && fault.as_ref().is_none_or(|wanted| node.fault.as_ref() == Some(wanted))
            && group.as_ref().is_none_or(|wanted| {
                settings.labels.get("conductor_group").and_then(Value::as_str).unwrap_or_default() == wanted
            })
            && contains.as_ref().is_none_or(|wanted| {
                settings.description.as_ref().is_some_and(|text| text.to_lowercase().contains(&wanted.to_lowercase()))
            })
    })
}

pub(super) async fn list(state: State<Api>, asked: Asked, query: Query<Parameters>) -> Result<Response, ApiError> {
    let detail = query.get("detail").map(|text| flag("detail", text)).transpose()?.unwrap_or(false);
    if detail && query.contains_key("fields") {
        return Err(ApiError::bad_request("Can't fetch a subset of fields with 'detail' set"));
    }
    page(&state, &asked, &query, detail)
}

pub(super) async fn list_detail(
    state: State<Api>,
    asked: Asked,
    query: Query<Parameters>,
) -> Result<Response, ApiError> {
    page(&state, &asked, &query, true)
}

fn page(api: &Api, asked: &Asked, parameters: &Parameters, detail: bool) -> Result<Response, ApiError> {
    query::only(parameters, &LIST_PARAMETERS)?;
    let limit = query::limit(parameters)?;
    let stays = filter(parameters)?;
    let wanted = query::node_fields(parameters, asked.version)?;
    let default: Vec<String> = LIST_FIELDS.iter().map(|name| (*name).to_owned()).collect();
    let fields = if detail { None } else { Some(wanted.unwrap_or(default)) };
    let view = api.engine.view();
    let marker = match parameters.get("marker") {
        Some(ident) => Some(find(&view, ident)?.id),
        None => None,
    };
    let select = |node: &Arc<Node>| (node.id, shown(api, asked, &view, node).select(fields.as_deref(), asked.version));
    // A sorted list has no cheap order: all of it is sorted. Without `sort_key` only the page is looked at.
    if parameters.contains_key("sort_key") {
        let mut nodes: Vec<&Arc<Node>> = view.nodes_after(None).filter(|node| stays(node)).collect();
        query::sort(&mut nodes, parameters, asked.version, |node, key| shown(api, asked, &view, node).member(key))?;
        let start = marker.and_then(|id| nodes.iter().position(|node| node.id == id)).map_or(0, |at| at + 1);
        return answer(asked, parameters, detail, limit, nodes.into_iter().skip(start).map(select));
    }
    let rows = view.nodes_after(marker).filter(|node| stays(node)).map(select);
    answer(asked, parameters, detail, limit, rows)
}

/// One page of documents and, if there are more, the link to the next. Written node by node: as one value, a page of a
/// thousand nodes would be a tree of some hundred thousand small allocations.
fn answer(
    asked: &Asked,
    parameters: &Parameters,
    detail: bool,
    limit: usize,
    rows: impl Iterator<Item = (NodeId, Value)>,
) -> Result<Response, ApiError> {
    let unwritable = |error: serde_json::Error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let mut rows = rows.peekable();
    let mut body = br#"{"nodes":["#.to_vec();
    let mut last = None;
    for (id, row) in rows.by_ref().take(limit) {
        if last.is_some() {
            body.push(b',');
        }
        last = Some(id);
        serde_json::to_writer(&mut body, &row).map_err(unwritable)?;
    }
    body.push(b']');
    if let Some(last) = last.filter(|_| rows.peek().is_some()) {
        let path = if detail { "nodes/detail" } else { "nodes" };
        let link = query::next_link(&asked.base, path, parameters, limit, &last.to_string());
        body.extend_from_slice(br#","next":"#);
        serde_json::to_writer(&mut body, &link).map_err(unwritable)?;
    }
    body.push(b'}');
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

pub(super) async fn show(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    query::only(&parameters, &["fields"])?;
    let fields = query::node_fields(&parameters, asked.version)?;
    let view = api.engine.view();
    let node = find(&view, &ident)?;
    Ok(Json(shown(&api, &asked, &view, node).select(fields.as_deref(), asked.version)))
}

/// The node of an answer, as a document.
pub(super) fn document_of(api: &Api, asked: &Asked, answer: &Answer) -> Result<Value, ApiError> {
    let Answer::Node(node) = answer else {
        return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The change brought no node."));
    };
    let view = api.engine.view();
    Ok(shown(api, asked, &view, node).select(None, asked.version))
}

pub(super) async fn create(
    State(api): State<Api>,
    asked: Asked,
    body: Result<Json<Value>, axum::extract::rejection::JsonRejection>,
) -> Result<Response, ApiError> {
    let body = object(body)?;
    let id = match body.get("uuid") {
        None | Some(Value::Null) => Uuid::new_v4(),
        Some(Value::String(text)) => {
            Uuid::parse_str(text).map_err(|_| ApiError::bad_request(format!("Expected a UUID but received {text}.")))?
        }
        Some(_) => return Err(ApiError::bad_request("uuid must be a string.")),
    };
    let id = NodeId(id);
    let settings = patch::new_settings(&api, id, &body, asked.version)?;
    let maintenance = patch::wanted_maintenance(&body, (false, None))?;
    let command = Command::CreateNode { id, settings: Box::new(settings) };
    let mut answer = api.submit(command, asked.caller.actor()).await?.answer;
    if let Some(patch::Maintenance { on, reason }) = maintenance {
        let command = Command::SetMaintenance { node: id, on, reason };
        answer = api.submit(command, asked.caller.actor()).await?.answer;
    }
    let document = document_of(&api, &asked, &answer)?;
    let place = format!("{}/v1/nodes/{id}", asked.base);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(document)).into_response())
}

/// A JSON object, or a clear refusal.
pub(super) fn object(
    body: Result<Json<Value>, axum::extract::rejection::JsonRejection>,
) -> Result<Map<String, Value>, ApiError> {
    match body {
        Ok(Json(Value::Object(map))) => Ok(map),
        Ok(_) => Err(ApiError::bad_request("The body must be a JSON object.")),
        Err(rejection) => {
            Err(ApiError::new(rejection.status(), format!("The body is not usable: {}.", rejection.body_text())))
        }
    }
}

pub(super) async fn change(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Result<Json<Value>, axum::extract::rejection::JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let Json(body) = body.map_err(|rejection| {
        ApiError::new(rejection.status(), format!("The body is not usable: {}.", rejection.body_text()))
    })?;
    // Somebody else's change between our reading and writing is no reason to bother the caller.
    const TRIES: usize = 5;
    let mut last = None;
    for _ in 0..TRIES {
        let view = api.engine.view();
        let node = find(&view, &ident)?;
        let (changed, maintenance) = patch::changed_settings(&api, node, &view, &asked, &body)?;
        let answer = match api.submit(changed, asked.caller.actor()).await {
            Ok(committed) => committed.answer,
            Err(leasehold_store::SubmitError::Refused(refusal @ leasehold_domain::Refusal::Conflict { .. })) => {
                last = Some(refusal);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let mut answer = answer;
        if let Some(patch::Maintenance { on, reason }) = maintenance {
            let node = node.id;
            answer = api.submit(Command::SetMaintenance { node, on, reason }, asked.caller.actor()).await?.answer;
        }
        return document_of(&api, &asked, &answer).map(Json);
    }
    Err(last.map_or_else(|| ApiError::bad_request("The node changes too fast."), ApiError::from))
}

pub(super) async fn remove(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = find(&api.engine.view(), &ident)?.id;
    api.submit(Command::DeleteNode { id }, asked.caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What each interface needs, and whether it is there (`baremetal node validate`).
pub(super) async fn validate(
    State(api): State<Api>,
    Extension(_): Extension<Caller>,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let view = api.engine.view();
    let node = find(&view, &ident)?;
    let verdict = |result: Result<(), String>| match result {
        Ok(()) => json!({"result": true}),
        Err(reason) => json!({"result": false, "reason": reason}),
    };
    let bmc = api.engine.bmcs.validate(node).map_err(|error| error.to_string());
    let boot_port = view.ports_of(node.id).any(|port| port.settings.pxe_enabled);
    let boot = if boot_port {
        Ok(())
    } else {
        Err(format!(
            "Node {} has no port with pxe_enabled: create one with the MAC of its boot network card.",
            node.title()
        ))
    };
    let deploy = wanted_image(node).map(|_| ());
    let unsupported = |what: &str| json!({"result": null, "reason": format!("The driver {} does not support {what}.", node.settings.driver)});
    Ok(Json(json!({
        "power": verdict(bmc.clone()),
        "management": verdict(bmc),
        "boot": verdict(boot.clone()),
        "inspect": verdict(boot),
        "deploy": verdict(deploy),
        "network": {"result": true},
        "storage": {"result": true},
        "bios": unsupported("BIOS settings"),
        "console": unsupported("consoles"),
        "firmware": unsupported("firmware updates"),
        "raid": unsupported("RAID"),
        "rescue": unsupported("rescue"),
    })))
}

pub(super) async fn inventory(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 81, "The inventory of a node")?;
    let node = find(&api.engine.view(), &ident)?.clone();
    let found = api
        .engine
        .store
        .inventory(node.id)
        .await
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let found = found
        .ok_or_else(|| ApiError::not_found(format!("Node {} has no inventory yet: inspect it first.", node.title())))?;
    let inventory = found.get("inventory").cloned().unwrap_or_else(|| found.clone());
    let mut plugin_data = match found {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    plugin_data.remove("inventory");
    Ok(Json(json!({"inventory": inventory, "plugin_data": plugin_data})))
}

/// Attachments to tenant networks: none are made by this appliance yet, so none exist.
pub(super) async fn no_vifs(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 28, "The list of VIFs")?;
    find(&api.engine.view(), &ident)?;
    Ok(Json(json!({"vifs": []})))
}

/// What went wrong and what was done: the ends of the node's jobs.
pub(super) async fn history(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 78, "The history of a node")?;
    let node = find(&api.engine.view(), &ident)?.clone();
    let jobs = api
        .engine
        .store
        .jobs_of(node.id, 100)
        .await
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let rows: Vec<Value> = jobs
        .iter()
        .filter_map(|job| {
            let reason = match &job.state {
                leasehold_domain::job::JobState::Failed(reason) => Some(reason.clone()),
                leasehold_domain::job::JobState::Superseded(reason) => Some(format!("superseded: {reason}")),
                _ => None,
            }?;
            Some(json!({
                "uuid": job.id, "created_at": job.ended_at.map(time), "severity": "ERROR", "event_type": job.kind,
                "event": reason, "conductor": *api.hostname, "user": job.actor,
            }))
        })
        .collect();
    Ok(Json(json!({"history": rows})))
}

pub(super) async fn traits(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 37, "Node traits")?;
    let view = api.engine.view();
    Ok(Json(json!({"traits": find(&view, &ident)?.settings.traits})))
}

async fn put_traits(api: &Api, asked: &Asked, node: NodeId, traits: Vec<String>) -> Result<StatusCode, ApiError> {
    api.submit(Command::SetTraits { node, traits }, asked.caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn set_traits(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Result<Json<Value>, axum::extract::rejection::JsonRejection>,
) -> Result<StatusCode, ApiError> {
    needs(asked.version, 37, "Node traits")?;
    let body = object(body)?;
    let names =
        body.get("traits").and_then(Value::as_array).ok_or_else(|| ApiError::bad_request("traits must be a list."))?;
    let names: Option<Vec<String>> = names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    let names = names.ok_or_else(|| ApiError::bad_request("traits must be a list of strings."))?;
    let id = find(&api.engine.view(), &ident)?.id;
    put_traits(&api, &asked, id, names).await
}

pub(super) async fn clear_traits(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    needs(asked.version, 37, "Node traits")?;
    let id = find(&api.engine.view(), &ident)?.id;
    put_traits(&api, &asked, id, Vec::new()).await
}

pub(super) async fn add_trait(
    State(api): State<Api>,
    asked: Asked,
    Path((ident, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    needs(asked.version, 37, "Node traits")?;
    let node = find(&api.engine.view(), &ident)?.clone();
    let mut names = node.settings.traits.clone();
    names.insert(name);
    put_traits(&api, &asked, node.id, names.into_iter().collect()).await
}

pub(super) async fn remove_trait(
    State(api): State<Api>,
    asked: Asked,
    Path((ident, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    needs(asked.version, 37, "Node traits")?;
    let node = find(&api.engine.view(), &ident)?.clone();
    let mut names = node.settings.traits.clone();
    if !names.remove(&name) {
        return Err(ApiError::not_found(format!("Node {} doesn't have a trait '{name}'", node.title())));
    }
    put_traits(&api, &asked, node.id, names.into_iter().collect()).await
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
