//! The appliance's own API: a node's timeline and boot trace, and the caller's password.
//!
//! `GET /appliance/v1/nodes`, `GET /appliance/v1/nodes/{node}`, `GET /appliance/v1/nodes/{node}/trace[?after=…&wait=…]`
//! on the public listener for users and on the local socket for the command line; `POST /appliance/v1/password`.

use crate::Api;
use crate::access::{OfNode, forbidden};
use crate::auth::{self, Caller, known_callers};
use crate::error::ApiError;
use crate::named::{find, no_node};
use crate::{quarantine, timeline};
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Json, Router};
use leasehold_domain::View;
use leasehold_domain::job::{Job, JobState};
use leasehold_domain::node::Node;
use serde_json::{Value, json};
use std::sync::Arc;

fn nodes() -> Router<Api> {
    Router::new()
        .route("/appliance/v1/nodes", get(list))
        .route("/appliance/v1/nodes/{node}", get(show))
        .route("/appliance/v1/nodes/{node}/trace", get(timeline::trace))
        .merge(quarantine::routes())
}

pub(crate) fn router(api: &Api) -> Router<Api> {
    nodes().route("/appliance/v1/password", post(change_password)).layer(from_fn_with_state(api.clone(), known_callers))
}

/// For the local socket, whose peer has been checked by its credentials.
pub(crate) fn local_router() -> Router<Api> {
    nodes()
}

/// Who asks; nobody in particular on the local socket, whose peers may see all.
pub(crate) type Asker = Option<Extension<Caller>>;

fn allows(asker: &Asker, rule: &str, node: &Node) -> bool {
    asker.as_ref().is_none_or(|Extension(caller)| caller.allows(rule, &OfNode(node)))
}

/// The node that is named, if it is there for who asks.
fn seen<'a>(view: &'a View, asker: &Asker, ident: &str) -> Result<&'a Arc<Node>, ApiError> {
    let node = find(view, ident)?;
    match asker {
        Some(Extension(caller)) if !caller.sees(node) => Err(no_node(ident)),
        _ => Ok(node),
    }
}

/// The same, if its history may be seen as well.
pub(crate) fn with_history<'a>(view: &'a View, asker: &Asker, ident: &str) -> Result<&'a Arc<Node>, ApiError> {
    let node = seen(view, asker, ident)?;
    if allows(asker, HISTORY, node) { Ok(node) } else { Err(forbidden(HISTORY)) }
}

/// The rule for what was done with a node, by whom, and what its machine said.
const HISTORY: &str = "baremetal:node:history:get";

fn summary(node: &Node, view: &View, asker: &Asker) -> Value {
    let step = view.running_job(node).and_then(|job| job.current()).map(|step| step.name);
    json!({
        "uuid": node.id,
        "name": node.settings.name,
        "driver": node.settings.driver,
        "power_state": node.power_state.map(|state| state.name()),
        "provision_state": node.provision_state.name(),
        "target_provision_state": node.target_provision_state.map(|state| state.name()),
        "maintenance": node.maintenance,
        "step": step,
        "last_error": node.last_error.as_ref().filter(|_| allows(asker, "baremetal:node:get:last_error", node)),
    })
}

async fn list(State(api): State<Api>, asker: Asker) -> Json<Value> {
    let view = api.engine.view();
    let nodes = view.nodes_after(None).filter(|node| allows(&asker, "baremetal:node:get", node));
    let rows: Vec<Value> = nodes.map(|node| summary(node, &view, &asker)).collect();
    Json(json!({"nodes": rows}))
}

async fn show(State(api): State<Api>, asker: Asker, Path(ident): Path<String>) -> Result<Json<Value>, ApiError> {
    let view = api.engine.view();
    let node = seen(&view, &asker, &ident)?;
    let mut body = summary(node, &view, &asker);
    body["ports"] = view.ports_of(node.id).map(|port| port.settings.address.to_string()).collect();
    body["maintenance_reason"] = node.maintenance_reason.clone().into();
    body["provision_updated_at"] = json!(node.provision_updated_at);
    if !allows(&asker, HISTORY, node) {
        return Ok(Json(body));
    }
    body["agent"] = json!(node.agent.as_ref().map(|agent| &agent.callback_url));
    let jobs = api.engine.store.jobs_of(node.id, 10).await?;
    body["jobs"] = jobs.iter().map(|job| job_document(job)).collect();
    Ok(Json(body))
}

/// A job as timeline: its steps with times and outcome. Its input (config drive) is nobody's to see.
fn job_document(job: &Job) -> Value {
    let (state, reason) = match &job.state {
        JobState::Running => ("running", None),
        JobState::Done => ("done", None),
        JobState::Failed(reason) => ("failed", Some(reason)),
        JobState::Superseded(reason) => ("superseded", Some(reason)),
    };
    json!({
        "uuid": job.id, "kind": job.kind, "state": state, "reason": reason, "actor": job.actor,
        "created_at": job.created_at, "ended_at": job.ended_at, "steps": job.steps,
    })
}

/// `{"old": …, "new": …}`: the caller's own password.
async fn change_password(
    State(api): State<Api>,
    caller: Caller,
    body: Result<Json<Value>, axum::extract::rejection::JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Json(body) = body.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let text = |name: &str| {
        body.get(name)
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| ApiError::bad_request(format!("'{name}' is missing.")))
    };
    let (old, new) = (text("old")?, text("new")?);
    if !api.passwords.check(Some(&caller.user), &old).await? {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "The old password is wrong."));
    }
    auth::login::change_password(&api, &caller.user, &old, &new, caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
