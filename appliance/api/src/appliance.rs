//! The appliance's own API: a node's timeline and boot trace, and the caller's password.
//!
//! `GET /appliance/v1/nodes`, `GET /appliance/v1/nodes/{node}`, `GET /appliance/v1/nodes/{node}/trace[?after=…&wait=…]`
//! on the public listener for users and on the local socket for the command line; `POST /appliance/v1/password`.

use crate::Api;
use crate::auth::{self, Caller, known_callers};
use crate::error::ApiError;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use leasehold_domain::View;
use leasehold_domain::command::Command;
use leasehold_domain::id::NodeId;
use leasehold_domain::job::{Job, JobState, StepState};
use leasehold_domain::node::Node;
use leasehold_engine::diagnosis;
use leasehold_store::ReadError;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Entries of the boot trace that one answer holds.
const TRACE_LIMIT: usize = 500;
/// Longest time that a request for news waits.
const LONGEST_WAIT: u64 = 60;

fn nodes() -> Router<Api> {
    Router::new()
        .route("/appliance/v1/nodes", get(list))
        .route("/appliance/v1/nodes/{node}", get(show))
        .route("/appliance/v1/nodes/{node}/trace", get(trace))
}

pub(crate) fn router(api: &Api) -> Router<Api> {
    nodes().route("/appliance/v1/password", post(change_password)).layer(from_fn_with_state(api.clone(), known_callers))
}

/// For the local socket, whose peer has been checked by its credentials.
pub(crate) fn local_router() -> Router<Api> {
    nodes()
}

fn find<'a>(view: &'a View, ident: &str) -> Result<&'a Arc<Node>, ApiError> {
    let by_id = Uuid::parse_str(ident).ok().and_then(|uuid| view.node(NodeId(uuid)));
    by_id
        .or_else(|| view.node_by_name(ident))
        .or_else(|| ident.parse().ok().and_then(|mac| view.node_by_mac(mac)))
        .ok_or_else(|| ApiError::not_found(format!("There is no node with name, UUID or MAC address '{ident}'.")))
}

fn summary(node: &Node, view: &View) -> Value {
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
        "last_error": node.last_error,
    })
}

async fn list(State(api): State<Api>) -> Json<Value> {
    let view = api.engine.view();
    let rows: Vec<Value> = view.nodes_after(None).map(|node| summary(node, &view)).collect();
    Json(json!({"nodes": rows}))
}

async fn show(State(api): State<Api>, Path(ident): Path<String>) -> Result<Json<Value>, ApiError> {
    let view = api.engine.view();
    let node = find(&view, &ident)?;
    let mut body = summary(node, &view);
    body["ports"] = view.ports_of(node.id).map(|port| port.settings.address.to_string()).collect();
    body["maintenance_reason"] = node.maintenance_reason.clone().into();
    body["provision_updated_at"] = json!(node.provision_updated_at);
    body["agent"] = json!(node.agent.as_ref().map(|agent| &agent.callback_url));
    let jobs = api.engine.store.jobs_of(node.id, 10).await;
    let jobs = jobs.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
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

/// Boot trace and job steps of a node in order of time. `after`: only what is newer than this RFC 3339 time; `wait`:
/// seconds to wait for something new when there is nothing.
async fn trace(
    State(api): State<Api>,
    Path(ident): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Json<Value>, ApiError> {
    let after = match query.get("after") {
        Some(text) => {
            Some(text.parse::<Timestamp>().map_err(|error| ApiError::bad_request(format!("after: {error}")))?)
        }
        None => None,
    };
    let wait = query.get("wait").and_then(|text| text.parse().ok()).unwrap_or(0).min(LONGEST_WAIT);
    let node = find(&api.engine.view(), &ident)?.id;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(wait);
    let mut boot = api.engine.trace.subscribe();
    let mut jobs = api.engine.store.subscribe();
    loop {
        let rows = entries(&api, node, after).await?;
        if !rows.is_empty() {
            return Ok(Json(json!({"trace": rows, "hint": diagnosis::hint(&api.engine, node).await})));
        }
        tokio::select! {
            news = boot.next() => if news.is_none() { return Ok(Json(json!({"trace": []}))) },
            news = jobs.next() => if news.is_none() { return Ok(Json(json!({"trace": []}))) },
            () = tokio::time::sleep_until(deadline) => return Ok(Json(json!({"trace": []}))),
        }
    }
}

async fn entries(api: &Api, id: NodeId, after: Option<Timestamp>) -> Result<Vec<Value>, ApiError> {
    let view = api.engine.view();
    let mut rows: Vec<(Timestamp, Value)> = Vec::new();
    let macs: Vec<_> = view.ports_of(id).map(|port| port.settings.address).collect();
    let failed = |error: ReadError| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    for entry in api.engine.trace.entries(Some(id), &macs, TRACE_LIMIT).await.map_err(failed)? {
        rows.push((entry.at, json!({"at": entry.at, "source": "boot", "what": entry.what, "detail": entry.detail})));
    }
    for job in api.engine.store.jobs_of(id, 10).await.map_err(failed)? {
        for step in &job.steps {
            let row = |at: Timestamp, what: &str| json!({"at": at, "source": "job", "what": format!("{} {what}", step.name.name()), "detail": step.detail, "job": job.kind});
            rows.extend(step.started_at.map(|at| (at, row(at, "began"))));
            let end = match step.state {
                StepState::Failed => "failed",
                _ => "done",
            };
            rows.extend(step.ended_at.map(|at| (at, row(at, end))));
        }
    }
    rows.retain(|(at, _)| after.is_none_or(|after| *at > after));
    rows.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.to_string().cmp(&b.1.to_string())));
    rows.dedup_by(|a, b| a.1 == b.1);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
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
    if old == new {
        return Err(ApiError::bad_request("The new password must be another one."));
    }
    let hashed = tokio::task::spawn_blocking(move || auth::hash(&new)).await;
    let hashed = hashed.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let password_hash = hashed.map_err(|error| ApiError::bad_request(error.to_string()))?;
    let command = Command::SetPassword { user: caller.user.id, password_hash, one_time: false };
    api.submit(command, caller.actor()).await?;
    if caller.user.one_time {
        match tokio::fs::remove_file(api.password_file.as_path()).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the file with the one-time password could not be removed; it opens nothing any more");
            }
            _ => {}
        }
    }
    Ok(StatusCode::NO_CONTENT)
}
