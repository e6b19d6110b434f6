//! `/v2.0/quotas`: how many objects a project may have. Administrators set them; a project sees its own.

use super::fault::{Asker, Fault};
use super::members::Body;
use crate::Api;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use leasehold_domain::View;
use leasehold_domain::command::Command;
use leasehold_domain::network::{Kind, NetworkCommand, Quota};
use serde_json::{Map, Value, json};

fn usual(api: &Api, kind: Kind) -> i64 {
    match kind {
        Kind::Network => api.tenants.networks,
        Kind::Subnet => api.tenants.subnets,
        Kind::Port => api.tenants.ports,
    }
}

fn limit(api: &Api, view: &View, project: &str, kind: Kind) -> i64 {
    view.network.quota(project).and_then(|quota| quota.of(kind)).unwrap_or_else(|| usual(api, kind))
}

fn document(api: &Api, view: &View, project: &str) -> Map<String, Value> {
    Kind::ALL.into_iter().map(|kind| (kind.name().to_owned(), json!(limit(api, view, project, kind)))).collect()
}

fn must_administer(asker: &Asker) -> Result<(), Fault> {
    if asker.allows("context_is_admin", &()) { Ok(()) } else { Err(Fault::forbidden("context_is_admin")) }
}

fn may_see(asker: &Asker, project: &str) -> Result<(), Fault> {
    if asker.credentials.project_id.as_deref() == Some(project) { Ok(()) } else { must_administer(asker) }
}

pub(super) async fn list(State(api): State<Api>, asker: Asker) -> Result<Json<Value>, Fault> {
    must_administer(&asker)?;
    let view = api.engine.view();
    let quotas = view.network.quotas().map(|quota| {
        let mut row = document(&api, &view, &quota.project);
        row.insert("project_id".into(), json!(quota.project));
        row.insert("tenant_id".into(), json!(quota.project));
        Value::Object(row)
    });
    Ok(Json(json!({"quotas": quotas.collect::<Vec<_>>()})))
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Path(project): Path<String>,
) -> Result<Json<Value>, Fault> {
    // Whose quota is one's own.
    if matches!(project.as_str(), "tenant" | "project") {
        let own = asker.credentials.project_id.clone().unwrap_or_default();
        return Ok(Json(json!({"tenant": {"tenant_id": own}, "project": {"project_id": own}})));
    }
    may_see(&asker, &project)?;
    Ok(Json(json!({"quota": document(&api, &api.engine.view(), &project)})))
}

pub(super) async fn show_usual(
    State(api): State<Api>,
    asker: Asker,
    Path(project): Path<String>,
) -> Result<Json<Value>, Fault> {
    may_see(&asker, &project)?;
    let quota: Map<String, Value> =
        Kind::ALL.into_iter().map(|kind| (kind.name().to_owned(), json!(usual(&api, kind)))).collect();
    Ok(Json(json!({"quota": quota})))
}

pub(super) async fn details(
    State(api): State<Api>,
    asker: Asker,
    Path(project): Path<String>,
) -> Result<Json<Value>, Fault> {
    may_see(&asker, &project)?;
    let view = api.engine.view();
    let quota: Map<String, Value> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let used = view.network.count(&project, kind);
            (kind.name().to_owned(), json!({"limit": limit(&api, &view, &project, kind), "used": used, "reserved": 0}))
        })
        .collect();
    Ok(Json(json!({"quota": quota})))
}

pub(super) async fn set(
    State(api): State<Api>,
    asker: Asker,
    Path(project): Path<String>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    must_administer(&asker)?;
    let Json(body) = body?;
    let given = body.get("quota").and_then(Value::as_object);
    let given = given.ok_or_else(|| Fault::bad_request("Unable to find 'quota' in request body."))?;
    let mut quota = Quota { project: project.clone(), ..Quota::default() };
    for (name, value) in given {
        // The client says how the limit is to be checked: here always against what is there.
        if matches!(name.as_str(), "force" | "check_limit" | "tenant_id" | "project_id") {
            continue;
        }
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| Fault::bad_request(format!("Unrecognized attribute(s) '{name}'")))?;
        let limit = value.as_i64().filter(|limit| *limit >= -1);
        let limit = limit.ok_or_else(|| {
            Fault::bad_request(format!("Invalid input for {name}. Reason: '{value}' is not -1 or a number of objects."))
        })?;
        quota.set(kind, Some(limit));
    }
    api.submit(Command::Network(NetworkCommand::SetQuota(quota)), asker.actor()).await?;
    Ok(Json(json!({"quota": document(&api, &api.engine.view(), &project)})))
}

pub(super) async fn reset(
    State(api): State<Api>,
    asker: Asker,
    Path(project): Path<String>,
) -> Result<StatusCode, Fault> {
    must_administer(&asker)?;
    api.submit(Command::Network(NetworkCommand::ResetQuota { project }), asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
