//! `/v1/allocations`: nodes asked for by what they are.

use super::asked::{Asked, Body, json, new_uuid, object};
use super::operations::Patch;
use super::patch::Reader;
use super::query::{self, Parameters};
use super::records::{self, Listed, Member, Owned, Shown, Since, member, new_members, page, texts};
use super::version::not_acceptable;
use crate::Api;
use crate::access::forbidden;
use crate::error::ApiError;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use leasehold_domain::command::Command;
use leasehold_domain::hardware::{ALLOCATION_NAME, Allocation, HardwareCommand, HardwareRow, Outcome, Record, Wanted};
use leasehold_domain::id::{AllocationId, NodeId};
use leasehold_domain::{Actor, Refusal, View};
use serde_json::{Map, Value};
use std::sync::Arc;

const SINCE: Since = Since { version: 52, what: "allocations", writing: StatusCode::METHOD_NOT_ALLOWED };
const OF_NODES: Since = Since { version: 52, what: "allocations", writing: StatusCode::NOT_FOUND };
/// Since when allocations can be changed, made for a node that is in use, and have an owner.
const UPDATE: u16 = 57;
const BACKFILL: u16 = 58;
const OWNER: u16 = 60;

pub(super) fn routes() -> Router<Api> {
    let own = Router::new()
        .route("/allocations", get(list).post(create))
        .route("/allocations/", get(list).post(create))
        .route("/allocations/{allocation}", get(show).patch(change).delete(remove))
        .route_layer(middleware::from_fn(|request, next| records::known_in(SINCE, request, next)));
    let of_nodes = Router::new()
        .route("/nodes/{node}/allocation", get(show_of_node).delete(remove_of_node))
        .route_layer(middleware::from_fn(|request, next| records::known_in(OF_NODES, request, next)));
    own.merge(of_nodes)
}

impl Shown for Allocation {
    const PATH: &'static str = "allocations";
    const ITEM: &'static str = "allocations";
    const MEMBERS: &'static [Member] = &[
        member("candidate_nodes", 52).fixed().unsorted(),
        member("extra", 52).unsorted(),
        member("last_error", 52).kept(),
        member("name", 52),
        member("node_uuid", 52).kept().unsorted(),
        member("owner", OWNER).fixed(),
        member("resource_class", 52).fixed(),
        member("state", 52).kept(),
        member("traits", 52).fixed().unsorted(),
    ];

    fn members(record: &Record<Allocation>, _: &View) -> Map<String, Value> {
        let wanted = &record.body.wanted;
        let (state, node, error) = match &record.body.outcome {
            Outcome::Active(node) => ("active", Some(node.to_string()), None),
            Outcome::Error(why) => ("error", None, Some(why.clone())),
        };
        let members = [
            ("candidate_nodes", wanted.candidate_nodes.iter().map(ToString::to_string).collect()),
            ("extra", wanted.extra.clone().into()),
            ("last_error", error.into()),
            ("name", wanted.name.clone().into()),
            ("node_uuid", node.into()),
            ("owner", wanted.owner.clone().into()),
            ("resource_class", wanted.resource_class.clone().into()),
            ("state", state.into()),
            ("traits", wanted.traits.iter().cloned().collect()),
        ];
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn of_row(row: &HardwareRow) -> Option<&Arc<Record<Allocation>>> {
        match row {
            HardwareRow::Allocation(record) => Some(record),
            _ => None,
        }
    }
}

fn owned(record: &Record<Allocation>) -> Owned<'_> {
    Owned { attribute: "allocation.owner", owner: record.body.wanted.owner.as_deref() }
}

/// The allocation that a path names, where the rule says yes; one that the caller may not see is not there.
fn located(asked: &Asked, view: &View, ident: &str, rule: &str) -> Result<Arc<Record<Allocation>>, ApiError> {
    let record = records::find::<Allocation>(view, asked, ident, Some(ALLOCATION_NAME))?;
    if !asked.caller.shows("baremetal:allocation:get", record.id.0, &owned(record)) {
        return Err(records::not_found::<Allocation>(ident));
    }
    asked.caller.needs(rule, &owned(record))?;
    Ok(record.clone())
}

async fn list(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    let named = parameters.get("owner");
    let (all, own) = ("baremetal:allocation:list_all", "baremetal:allocation:list");
    let owner = records::listed_project(&asked, all, own, named)?;
    query::only(
        &parameters,
        &["node", "resource_class", "state", "owner", "fields", "limit", "marker", "sort_key", "sort_dir"],
    )?;
    if named.is_some() && asked.version.0 < OWNER {
        return Err(not_acceptable(asked.version, OWNER, "The filter by owner"));
    }
    let view = api.engine.view();
    let node = match parameters.get("node") {
        // A part of the question, not what was asked for: 400 when it is not there.
        Some(ident) => Some(asked.seen(&view, ident).map_err(|error| ApiError::bad_request(error.message))?.id),
        None => None,
    };
    let (class, state) = (parameters.get("resource_class"), parameters.get("state"));
    let keep = |record: &Record<Allocation>| {
        let body = &record.body;
        let is_in = |state: &str| match body.outcome {
            Outcome::Active(_) => state == "active",
            Outcome::Error(_) => state == "error",
        };
        owner.as_ref().is_none_or(|owner| body.wanted.owner.as_ref() == Some(owner))
            && class.is_none_or(|class| body.wanted.resource_class == *class)
            && state.is_none_or(|state| is_in(state))
            && asked.caller.allows("baremetal:allocation:get", &owned(record))
    };
    page(&asked, &view, &parameters, &Listed { path: "allocations", detail: true, node, owner: owner.as_deref(), keep })
}

async fn show(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    query::only(&parameters, &["fields"])?;
    let view = api.engine.view();
    let record = located(&asked, &view, &ident, "baremetal:allocation:get")?;
    let fields = records::fields::<Allocation>(&parameters, &asked)?;
    Ok(Json(Value::Object(records::document(&record, &view, &asked, fields.as_deref()))))
}

/// Whose a new allocation is. Within a project it is the project's, whatever the caller says: it decides whose nodes can
/// be taken.
fn owner_of_new(asked: &Asked, named: Option<String>) -> Result<Option<String>, ApiError> {
    let credentials = &asked.caller.credentials;
    let project = credentials.project_id.clone();
    if !asked.caller.allows("baremetal:allocation:create", &()) {
        let restricted = "baremetal:allocation:create_restricted";
        let own = Owned { attribute: "allocation.owner", owner: project.as_deref() };
        asked.caller.needs(restricted, &own).map_err(|_| forbidden("baremetal:allocation:create"))?;
    }
    if credentials.system {
        return Ok(named);
    }
    match (project, named) {
        (Some(project), Some(named)) if project != named => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            format!(
                "Cannot create allocation with an owner Project ID value {named} not matching the requester Project ID \
                 {project}."
            ),
        )),
        (Some(project), _) => Ok(Some(project)),
        (None, _) => Err(forbidden("baremetal:allocation:create")),
    }
}

async fn create(State(api): State<Api>, asked: Asked, body: Body) -> Result<Response, ApiError> {
    let body = object(body)?;
    let read = Reader { members: &body };
    let named = read.short_text("owner", 255)?;
    let owner = owner_of_new(&asked, named.clone())?;
    if named.is_some() && asked.version.0 < OWNER {
        return Err(not_acceptable(asked.version, OWNER, "owner"));
    }
    let backfilled = read.text("node")?;
    if backfilled.is_some() && asked.version.0 < BACKFILL {
        return Err(ApiError::bad_request("Cannot set node when creating an allocation in this API version"));
    }
    let mut rest = body.clone();
    rest.remove("node");
    new_members::<Allocation>(rest, &asked)?;

    let view = api.engine.view();
    // A node is a part of the request: 400 when it is not there, for the caller or for anybody.
    let seen = |ident: &str| asked.seen(&view, ident).map_err(|error| ApiError::bad_request(error.message));
    let backfill = backfilled.as_deref().map(seen).transpose()?;
    let candidates = texts(&body, "candidate_nodes")?;
    let candidates: Vec<NodeId> =
        candidates.iter().map(|ident| seen(ident).map(|node| node.id)).collect::<Result<_, _>>()?;
    let wanted = Wanted {
        name: read.text("name")?.filter(|name| !name.is_empty()),
        resource_class: read.short_text("resource_class", 80)?.unwrap_or_default(),
        traits: texts(&body, "traits")?,
        candidate_nodes: candidates,
        owner,
        extra: read.object("extra")?,
    };
    let id = match (body.get("uuid").is_some_and(|uuid| !uuid.is_null()), backfill) {
        // A node that is in use already: the allocation is that instance's.
        (false, Some(node)) => match node.settings.instance_uuid {
            Some(instance) => instance,
            None => new_uuid(&body)?,
        },
        _ => new_uuid(&body)?,
    };
    let (id, wanted) = (AllocationId(id), Box::new(wanted));
    let backfill = backfill.map(|node| node.id);
    let command = HardwareCommand::Allocate { id, wanted, backfill };
    let answer = api.submit(Command::Hardware(command), asked.caller.actor()).await?.answer;
    let record = records::of_answer::<Allocation>(&answer)?;
    let mut document = records::document(record, &api.engine.view(), &asked, None);
    if backfill.is_none() {
        // The answer is to the request, which Ironic looks at only afterwards: how it ended is what one asks for next.
        // Clients wait for that, and take another state here for a fault.
        document.extend([
            ("state".to_owned(), "allocating".into()),
            ("node_uuid".to_owned(), Value::Null),
            ("last_error".to_owned(), Value::Null),
        ]);
    }
    let place = asked.place(&format!("allocations/{id}"));
    Ok((StatusCode::CREATED, place, Json(Value::Object(document))).into_response())
}

async fn change(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    if asked.version.0 < UPDATE {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        return Err(ApiError::new(status, "The API version does not allow updating allocations"));
    }
    let body = json(body)?;
    let view = api.engine.view();
    let record = located(&asked, &view, &ident, "baremetal:allocation:update")?;
    let patch = Patch::read(&body)?;
    records::check_patch::<Allocation>(&patch, &asked)?;
    let members = patch.apply(Allocation::members(&record, &view))?;
    let read = Reader { members: &members };
    let name = read.text("name")?.filter(|name| !name.is_empty());
    let extra = read.object("extra")?;
    let command = HardwareCommand::ChangeAllocation { id: record.id, revision: record.revision, name, extra };
    let answer = api.submit(Command::Hardware(command), asked.caller.actor()).await?.answer;
    let record = records::of_answer::<Allocation>(&answer)?;
    Ok(Json(Value::Object(records::document(record, &api.engine.view(), &asked, None))))
}

async fn remove(State(api): State<Api>, asked: Asked, Path(ident): Path<String>) -> Result<StatusCode, ApiError> {
    let record = located(&asked, &api.engine.view(), &ident, "baremetal:allocation:delete")?;
    records::remove(&api, &record, asked.caller.actor()).await
}

/// The allocation that holds a node.
fn of_node(asked: &Asked, view: &View, ident: &str, rule: &str) -> Result<(Arc<Record<Allocation>>, Actor), ApiError> {
    let node = asked.seen(view, ident)?;
    let found = view.hardware.allocation_of(node.id);
    let record = found
        .ok_or_else(|| ApiError::from(Refusal::NotFound { what: "Allocation for node", name: ident.to_owned() }))?;
    asked.caller.needs(rule, &owned(record))?;
    Ok((record.clone(), asked.caller.judged(node)))
}

async fn show_of_node(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    query::only(&parameters, &["fields"])?;
    let view = api.engine.view();
    // Ironic's answer for a node that is not there, or not for the caller, is 400 here: what is not found is the
    // allocation of a node that is.
    asked.seen(&view, &ident).map_err(|error| ApiError { status: StatusCode::BAD_REQUEST, ..error })?;
    let (record, _) = of_node(&asked, &view, &ident, "baremetal:allocation:get")?;
    let fields = records::fields::<Allocation>(&parameters, &asked)?;
    Ok(Json(Value::Object(records::document(&record, &view, &asked, fields.as_deref()))))
}

async fn remove_of_node(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (record, actor) = of_node(&asked, &api.engine.view(), &ident, "baremetal:allocation:delete")?;
    records::remove(&api, &record, actor).await
}
