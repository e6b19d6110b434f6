//! `/v1/nodes/{node}/history`: what was done with a node and how it ended, one entry for each job that is over.

use super::asked::{Asked, uuid};
use super::document::time;
use super::query::{self, Parameters};
use super::version::{Version, needs};
use crate::Api;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, Query, State};
use leasehold_domain::id::NodeId;
use leasehold_domain::job::{Job, JobKind, JobState};
use serde_json::{Value, json};
use std::sync::Arc;

/// Jobs of a node that are looked through; the store keeps no more of one node for long.
const MOST: usize = 10_000;
/// Longest text of an entry in a list without detail.
const SHORT: usize = 255;

/// The entries, oldest first.
async fn entries(api: &Api, node: NodeId) -> Result<Vec<Arc<Job>>, ApiError> {
    let mut jobs = api.engine.store.jobs_of(node, MOST).await?;
    jobs.retain(|job| !job.is_running());
    jobs.reverse();
    Ok(jobs)
}

/// The state in which a job leaves its node.
fn state_after(job: &Job) -> Option<&'static str> {
    let done = job.state == JobState::Done;
    let (good, bad) = match job.kind {
        JobKind::Verify => ("manageable", "enroll"),
        JobKind::Inspect => ("manageable", "inspect failed"),
        JobKind::Deploy => ("active", "deploy failed"),
        JobKind::Adopt => ("active", "adopt failed"),
        JobKind::Rescue => ("rescue", "rescue failed"),
        JobKind::Unrescue => ("active", "unrescue failed"),
        JobKind::Service => ("active", "service failed"),
        JobKind::Undeploy | JobKind::HandOver => ("available", "error"),
        // What it was for is not on its record.
        JobKind::Clean => return if done { None } else { Some("clean failed") },
        JobKind::Power(_) | JobKind::Stop | JobKind::Return => return None,
    };
    Some(if done { good } else { bad })
}

fn document(api: &Api, asked: &Asked, ident: &str, job: &Job, detail: bool) -> Value {
    let (severity, mut event) = match &job.state {
        JobState::Failed(reason) => ("ERROR", reason.clone()),
        JobState::Superseded(reason) => ("ERROR", format!("superseded: {reason}")),
        JobState::Done | JobState::Running => ("INFO", format!("{} done", kind(job))),
    };
    if !detail && event.chars().count() > SHORT {
        event = event.chars().take(SHORT - 4).chain("...".chars()).collect();
    }
    let created = job.ended_at.unwrap_or(job.created_at);
    let href = format!("{}/v1/nodes/{ident}/history/{}", asked.base, job.id);
    let mut entry = json!({
        "uuid": job.id, "created_at": time(created), "severity": severity, "event": event,
        "links": [{"href": href, "rel": "self"}],
    });
    if detail {
        entry["event_type"] = kind(job);
        entry["conductor"] = (*api.hostname).into();
        entry["user"] = job.actor.clone().into();
        add_newer(&mut entry, job, asked.version);
    }
    entry
}

fn add_newer(entry: &mut Value, job: &Job, version: Version) {
    if version.0 >= 113 {
        entry["project"] = Value::Null;
    }
    if version.0 >= 115 {
        let seconds = job.ended_at.map(|end| end.duration_since(job.created_at).as_secs_f64());
        entry["state"] = state_after(job).into();
        entry["target_provision_state"] = Value::Null;
        entry["duration_seconds"] = seconds.into();
    }
}

/// What the job was for, in one word.
fn kind(job: &Job) -> Value {
    match job.kind {
        JobKind::Power(target) => target.name().into(),
        kind => serde_json::to_value(kind).unwrap_or_default(),
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 78, "The history of a node")?;
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:history:get")?;
    query::only(&parameters, &["detail", "limit", "marker", "sort_dir", "sort_key"])?;
    let detail = query::flag_of(&parameters, "detail")?.unwrap_or(false);
    let limit = query::limit(&parameters, asked.page_rows)?;
    let order = query::order(&parameters, |key| match key {
        "created_at" | "uuid" | "severity" | "event" | "event_type" => Ok(()),
        _ => Err(query::bad_sort_key(key)),
    })?;
    let mut jobs = entries(&api, node.id).await?;
    query::sort(&mut jobs, &order, |job, key| match key {
        // Already so.
        "created_at" => Value::Null,
        key => document(&api, &asked, &ident, job, true)[key].clone(),
    });
    let start = match parameters.get("marker") {
        None => 0,
        Some(text) => {
            let marker = uuid(text)?;
            let at = jobs.iter().position(|job| job.id.0 == marker);
            at.ok_or_else(|| no_entry(text))? + 1
        }
    };
    let page: Vec<_> = jobs.iter().skip(start).take(limit).collect();
    let rows: Vec<Value> = page.iter().map(|job| document(&api, &asked, &ident, job, detail)).collect();
    let mut body = json!({"history": rows});
    if let Some(last) = page.last().filter(|_| page.len() == limit) {
        let path = format!("nodes/{ident}/history");
        body["next"] = query::next_link(&asked.base, &path, &parameters, limit, &last.id.to_string());
    }
    Ok(Json(body))
}

fn no_entry(text: &str) -> ApiError {
    ApiError::not_found(format!("Node history record {text} could not be found."))
}

pub(super) async fn show(
    State(api): State<Api>,
    asked: Asked,
    Path((ident, entry)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 78, "The history of a node")?;
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:history:get")?;
    let wanted = uuid(&entry)?;
    let jobs = entries(&api, node.id).await?;
    let job = jobs.iter().find(|job| job.id.0 == wanted).ok_or_else(|| no_entry(&entry))?;
    Ok(Json(document(&api, &asked, &ident, job, true)))
}
