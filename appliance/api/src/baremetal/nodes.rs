//! `/v1/nodes`: lists, one node, creation, change, removal.

use super::asked::{Asked, Body, find, object};
use super::document::Shown;
use super::fields::LIST_FIELDS;
use super::patch;
use super::query::{self, Parameters, flag};
use crate::Api;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use leasehold_domain::View;
use leasehold_domain::command::{Answer, Command};
use leasehold_domain::id::NodeId;
use leasehold_domain::node::Node;
use leasehold_domain::provision::ProvisionState;
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;

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
        let mut nodes: Vec<&Arc<Node>> =
            view.nodes_after(None).filter(|node| stays(node) && asked.caller.sees(node)).collect();
        query::sort(&mut nodes, parameters, asked.version, |node, key| shown(api, asked, &view, node).member(key))?;
        let start = marker.and_then(|id| nodes.iter().position(|node| node.id == id)).map_or(0, |at| at + 1);
        return answer(asked, parameters, detail, limit, nodes.into_iter().skip(start).map(select));
    }
    let rows = view.nodes_after(marker).filter(|node| stays(node) && asked.caller.sees(node)).map(select);
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
    asked.caller.may("baremetal:node:get", node, &ident)?;
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

pub(super) async fn create(State(api): State<Api>, asked: Asked, body: Body) -> Result<Response, ApiError> {
    let body = object(body)?;
    let id = match body.get("uuid") {
        None | Some(Value::Null) => Uuid::new_v4(),
        Some(Value::String(text)) => {
            Uuid::parse_str(text).map_err(|_| ApiError::bad_request(format!("Expected a UUID but received {text}.")))?
        }
        Some(_) => return Err(ApiError::bad_request("uuid must be a string.")),
    };
    let id = NodeId(id);
    asked.caller.needs("baremetal:node:create", &())?;
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

pub(super) async fn change(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
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
    let view = api.engine.view();
    let node = find(&view, &ident)?;
    let actor = asked.caller.may("baremetal:node:delete", node, &ident)?;
    api.submit(Command::DeleteNode { id: node.id }, actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
