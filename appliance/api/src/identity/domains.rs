//! `/v3/domains`.

use super::access::Facts;
use super::base::Base;
use super::body::{Body, Members};
use super::document;
use super::fault::{Asker, Fault};
use super::list::Filters;
use super::projects::changed;
use crate::Api;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use leasehold_domain::command::Command;
use leasehold_domain::id::ProjectId;
use leasehold_domain::identity::{Directory, IdentityCommand, Project, parse_id};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

const MEMBERS: &[&str] = &["name", "description", "enabled", "tags", "options"];

fn find(asker: &Asker, directory: &Directory, id: &str) -> Result<Arc<Project>, Fault> {
    let found = parse_id(id).and_then(|id| directory.domain(ProjectId(id)));
    const RULE: &str = "identity:get_domain";
    let seen = |domain: &&Arc<Project>| {
        asker.asks(RULE, &Facts::domain(domain.id), Some(domain.id))
            || asker.own_tree(directory).contains(&domain.id)
            || asker.hides(RULE, domain.id.0)
    };
    found.filter(seen).cloned().ok_or_else(|| Fault::not_found("domain", id))
}

pub(super) async fn list(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    filters: Filters,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let own = asker.own_tree(&view.identity);
    let rows = view.identity.projects().filter(|row| row.is_domain());
    let rows = rows.filter(|row| filters.takes_name(&row.name) && filters.takes_flag("enabled", row.enabled));
    let rows = rows
        .filter(|row| own.contains(&row.id) || asker.asks("identity:get_domain", &Facts::domain(row.id), Some(row.id)))
        .map(|row| document::domain(row, &base));
    Ok(Json(filters.page("domains", &format!("{base}/identity/v3/domains"), rows)?))
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let domain = find(&asker, &view.identity, &id)?;
    Ok(Json(json!({"domain": document::domain(&domain, &base)})))
}

pub(super) async fn create(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Fault> {
    let given = Members::of(body, "domain", MEMBERS)?;
    given.no_options()?;
    asker.administers("identity:create_domain", &Facts::default(), None)?;
    let id = ProjectId(Uuid::new_v4());
    let domain = Project {
        id,
        name: given.needed("name")?,
        description: given.text("description")?.unwrap_or_default(),
        domain: id,
        parent: None,
        enabled: given.flag("enabled")?.unwrap_or(true),
        tags: given.texts("tags")?.unwrap_or_default(),
        created_at: Timestamp::now(),
    };
    let document = json!({"domain": document::domain(&domain, &base)});
    let command = IdentityCommand::CreateProject(Box::new(domain));
    api.submit(Command::Identity(command), asker.actor()).await?;
    Ok((StatusCode::CREATED, Json(document)))
}

pub(super) async fn change(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let given = Members::of(body, "domain", MEMBERS)?;
    given.no_options()?;
    let view = api.engine.view();
    let before = find(&asker, &view.identity, &id)?;
    asker.administers("identity:update_domain", &Facts::domain(before.id), None)?;
    let after = changed(&given, &before)?;
    let document = json!({"domain": document::domain(&after, &base)});
    let command = IdentityCommand::ChangeProject { before, after: Box::new(after) };
    api.submit(Command::Identity(command), asker.actor()).await?;
    Ok(Json(document))
}

pub(super) async fn remove(State(api): State<Api>, asker: Asker, Path(id): Path<String>) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let domain = find(&asker, &view.identity, &id)?;
    asker.administers("identity:delete_domain", &Facts::domain(domain.id), None)?;
    let command = IdentityCommand::DeleteProject { id: domain.id };
    api.submit(Command::Identity(command), asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
