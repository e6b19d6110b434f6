//! `/appliance/v1/quotas`: what a project, and all below it together, may have of leases.
//!
//! Administrators of the system set them; a project's own members see theirs and what it uses. For nodes of one resource
//! class or for all together. What would pass a quota is 403 with what the bound is and what there would be, as Nova has
//! it, whoever asks: a quota is the project's, not the caller's. Of ours: esi-leap has no such thing.

use super::body::{Body, Said};
use super::fault::{Asker, Fault};
use super::filter::Asked;
use super::{document, whose};
use crate::Api;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use leasehold_domain::View;
use leasehold_domain::command::{Answer, Command};
use leasehold_domain::id::QuotaId;
use leasehold_domain::lease::{LeaseCommand, LeaseRow, Limits, Quota, usage_of};
use leasehold_domain::policy::Target;
use serde_json::{Value, json};
use std::borrow::Cow;
use uuid::Uuid;

const GET: &str = "appliance:lease_quotas:get";
const SET: &str = "appliance:lease_quotas:set";
/// Letters of a resource class.
const LONGEST_CLASS: usize = 255;

/// A project as rules see it.
struct OfProject<'a>(&'a str);

impl Target for OfProject<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        (name == "project_id").then_some(Cow::Borrowed(self.0))
    }
}

fn quota(api: &Api, view: &View, quota: &Quota) -> Value {
    let used = usage_of(view, &quota.project, quota.class.as_deref(), api.engine.store.now());
    let Limits { nodes, leases, node_hours, longest_hours } = quota.limits;
    json!({
        "project_id": quota.project,
        "project": document::project_name(view, Some(&quota.project)),
        "resource_class": quota.class,
        "nodes": nodes,
        "leases": leases,
        "node_hours": node_hours,
        "longest_hours": longest_hours,
        "used": {"nodes": used.nodes, "leases": used.leases, "node_hours": used.node_hours},
    })
}

/// The project that a path names, if the rule says yes: 404 where its quotas are not there for the caller, 403 where they
/// are not his to set.
fn meant(view: &View, asker: &Asker, ident: &str, rule: &str) -> Result<String, Fault> {
    let known = whose::project_called(view, asker, ident);
    // A project that has gone may have left its quotas.
    let known = known.or_else(|| view.lease.quotas_of(ident).next().map(|quota| quota.project.clone()));
    let nobodys = "-".repeat(32);
    let project = known.as_deref().unwrap_or(&nobodys);
    let (may, sees) = (asker.allows(rule, &OfProject(project)), asker.allows(GET, &OfProject(project)));
    match known {
        Some(project) if may => Ok(project),
        Some(_) if sees => Err(Fault::forbidden(rule)),
        Some(project) => {
            asker.hides(GET, Uuid::parse_str(&project).unwrap_or_default());
            Err(no_project(ident))
        }
        None => Err(no_project(ident)),
    }
}

fn no_project(ident: &str) -> Fault {
    Fault::new(StatusCode::NOT_FOUND, format!("Project {ident} could not be found."))
}

/// All quotas that the caller sees.
pub(super) async fn list(State(api): State<Api>, asker: Asker, asked: Asked) -> Result<Json<Value>, Fault> {
    asked.only(&[])?;
    let view = api.engine.view();
    let shown = view.lease.quotas().filter(|quota| asker.allows(GET, &OfProject(&quota.project)));
    let mut shown: Vec<_> = shown.cloned().collect();
    shown.sort_by(|one, other| (&one.project, &one.class).cmp(&(&other.project, &other.class)));
    Ok(Json(json!({"quotas": shown.iter().map(|row| quota(&api, &view, row)).collect::<Vec<_>>()})))
}

/// Those of one project, and what it uses, with or without a quota.
pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let project = meant(&view, &asker, &ident, GET)?;
    let mut rows: Vec<_> = view.lease.quotas_of(&project).cloned().collect();
    rows.sort_by(|one, other| one.class.cmp(&other.class));
    let used = usage_of(&view, &project, None, api.engine.store.now());
    Ok(Json(json!({
        "project_id": project,
        "project": document::project_name(&view, Some(&project)),
        "used": {"nodes": used.nodes, "leases": used.leases, "node_hours": used.node_hours},
        "quotas": rows.iter().map(|row| quota(&api, &view, row)).collect::<Vec<_>>(),
    })))
}

/// The quota is as the body has it from now on: what it does not name has no bound.
pub(super) async fn set(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let project = meant(&api.engine.view(), &asker, &ident, SET)?;
    let mut said = Said::of(body)?;
    let class = said.text("resource_class", LONGEST_CLASS)?.filter(|class| !class.is_empty());
    let limits = Limits {
        nodes: said.count("nodes")?,
        leases: said.count("leases")?,
        node_hours: said.count("node_hours")?,
        longest_hours: said.count("longest_hours")?,
    };
    said.end()?;
    if limits == Limits::default() {
        return Err(Fault::bad_request(
            "This bounds nothing: name nodes, leases, node_hours or longest_hours, or delete the quota.",
        ));
    }
    let command = LeaseCommand::SetQuota { id: QuotaId(Uuid::new_v4()), project, class, limits: Some(limits) };
    match api.submit(Command::Lease(command), asker.actor()).await?.answer {
        Answer::Lease(LeaseRow::Quota(row)) => Ok(Json(quota(&api, &api.engine.view(), &row))),
        _ => Err(Fault::no_answer()),
    }
}

/// `?resource_class=…`: the one of that class.
pub(super) async fn unset(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    asked: Asked,
) -> Result<StatusCode, Fault> {
    asked.only(&["resource_class"])?;
    let project = meant(&api.engine.view(), &asker, &ident, SET)?;
    let class = asked.text("resource_class").map(str::to_owned);
    let command = LeaseCommand::SetQuota { id: QuotaId(Uuid::new_v4()), project, class, limits: None };
    api.submit(Command::Lease(command), asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
