//! `/v3/projects`.

use super::access::Facts;
use super::base::Base;
use super::body::{Body, Members};
use super::document;
use super::fault::{Asker, Fault};
use super::list::Filters;
use crate::Api;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use leasehold_domain::command::Command;
use leasehold_domain::id::ProjectId;
use leasehold_domain::identity::{Directory, IdentityCommand, Project, Scope, id_text, parse_id};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

const MEMBERS: &[&str] = &["name", "description", "domain_id", "parent_id", "enabled", "is_domain", "tags", "options"];

/// The project, if it is there for the caller: by rule, or because it is his own or above one of his own.
fn find(asker: &Asker, directory: &Directory, id: &str) -> Result<Arc<Project>, Fault> {
    let found = parse_id(id).and_then(|id| directory.project(ProjectId(id)));
    const RULE: &str = "identity:get_project";
    let seen = |project: &&Arc<Project>| {
        asker.asks(RULE, &Facts::project(project), Some(project.domain))
            || asker.own_tree(directory).contains(&project.id)
            || asker.hides(RULE, project.id.0)
    };
    found.filter(seen).cloned().ok_or_else(|| {
        // As Keystone: who may not see them all is refused in the same words for one that is not there. Clients go on with
        // the id that they were given only after 403 (`openstack image add project`).
        let sees_all = asker.asks(RULE, &Facts::default(), None);
        if sees_all { Fault::not_found("project", id) } else { Fault::forbidden(RULE) }
    })
}

pub(super) async fn list(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    filters: Filters,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let directory = &view.identity;
    let within = match asker.scope {
        Scope::Domain(own) => Facts::domain(own),
        _ => Facts::default(),
    };
    let all = asker.asks("identity:list_projects", &within, None);
    let own = if all { Default::default() } else { asker.own_tree(directory) };
    let domains = filters.get("is_domain").is_some() && filters.has("is_domain");
    let rows = directory.projects().filter(|project| project.is_domain() == domains).filter(|project| {
        filters.takes_name(&project.name)
            && filters.takes("domain_id", &id_text(project.domain.0))
            && filters.takes("parent_id", &project.parent.map(|id| id_text(id.0)).unwrap_or_default())
            && filters.takes_flag("enabled", project.enabled)
    });
    let rows = rows.filter(|project| match asker.scope {
        Scope::Domain(domain) if all => project.domain == domain,
        _ if all => true,
        _ => {
            own.contains(&project.id)
                || asker.asks("identity:get_project", &Facts::project(project), Some(project.domain))
        }
    });
    let rows: Vec<_> = rows.map(|row| document::project(row, &base)).collect();
    // As with one by its id: clients go on with what they were given only after 403.
    if rows.is_empty() && !all && filters.get("name").is_some() {
        return Err(Fault::forbidden("identity:list_projects"));
    }
    Ok(Json(filters.page("projects", &format!("{base}/identity/v3/projects"), rows.into_iter())?))
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let project = find(&asker, &view.identity, &id)?;
    Ok(Json(json!({"project": document::project(&project, &base)})))
}

pub(super) async fn create(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Fault> {
    let given = Members::of(body, "project", MEMBERS)?;
    given.no_options()?;
    let name = given.needed("name")?;
    if given.flag("is_domain")? == Some(true) {
        return Err(Fault::bad_request("A domain is made at /v3/domains."));
    }
    let view = api.engine.view();
    let directory = &view.identity;
    let parent = match given.id("parent_id")? {
        Some(id) => ProjectId(id),
        None => given.id("domain_id")?.map_or(own_domain(&asker), ProjectId),
    };
    let above = directory.project(parent).ok_or_else(|| Fault::not_found("project", &id_text(parent.0)))?;
    if given.id("domain_id")?.is_some_and(|id| id != above.domain.0) {
        return Err(Fault::bad_request("A project lies in the domain of its parent."));
    }
    let project = Project {
        id: ProjectId(Uuid::new_v4()),
        name,
        description: given.text("description")?.unwrap_or_default(),
        domain: above.domain,
        parent: Some(parent),
        enabled: given.flag("enabled")?.unwrap_or(true),
        tags: given.texts("tags")?.unwrap_or_default(),
        created_at: Timestamp::now(),
    };
    let facts = Facts::project(&project).and(Facts::domain(project.domain));
    asker.administers("identity:create_project", &facts, Some(project.domain))?;
    let document = json!({"project": document::project(&project, &base)});
    let command = IdentityCommand::CreateProject(Box::new(project));
    api.submit(Command::Identity(command), asker.actor()).await?;
    Ok((StatusCode::CREATED, Json(document)))
}

/// The domain in which things are made when none is named.
pub(super) fn own_domain(asker: &Asker) -> ProjectId {
    match asker.scope {
        Scope::Domain(domain) => domain,
        _ => asker.user.domain,
    }
}

pub(super) async fn change(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let given = Members::of(body, "project", MEMBERS)?;
    given.no_options()?;
    let view = api.engine.view();
    let before = find(&asker, &view.identity, &id)?;
    if before.is_domain() {
        return Err(Fault::bad_request("A domain is changed at /v3/domains."));
    }
    asker.administers("identity:update_project", &Facts::project(&before), Some(before.domain))?;
    let same = |name: &str, present: Uuid| given.id(name).map(|id| id.is_none_or(|id| id == present));
    if !same("domain_id", before.domain.0)? || !same("parent_id", before.parent.unwrap_or(before.id).0)? {
        return Err(Fault::new(StatusCode::FORBIDDEN, "A project cannot be moved to another parent or domain."));
    }
    if given.flag("is_domain")? == Some(true) {
        return Err(Fault::bad_request("A project does not become a domain."));
    }
    let after = changed(&given, &before)?;
    let document = json!({"project": document::project(&after, &base)});
    let command = IdentityCommand::ChangeProject { before, after: Box::new(after) };
    api.submit(Command::Identity(command), asker.actor()).await?;
    Ok(Json(document))
}

/// What projects and domains have in common to be changed.
pub(super) fn changed(given: &Members, before: &Project) -> Result<Project, Fault> {
    let mut after = before.clone();
    if let Some(name) = given.text("name")? {
        after.name = name;
    }
    if given.has("description") {
        after.description = given.text("description")?.unwrap_or_default();
    }
    if let Some(enabled) = given.flag("enabled")? {
        after.enabled = enabled;
    }
    if let Some(tags) = given.texts("tags")? {
        after.tags = tags;
    }
    Ok(after)
}

pub(super) async fn remove(State(api): State<Api>, asker: Asker, Path(id): Path<String>) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let project = find(&asker, &view.identity, &id)?;
    if project.is_domain() {
        return Err(Fault::bad_request("A domain is deleted at /v3/domains."));
    }
    asker.administers("identity:delete_project", &Facts::project(&project), Some(project.domain))?;
    let command = IdentityCommand::DeleteProject { id: project.id };
    api.submit(Command::Identity(command), asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
