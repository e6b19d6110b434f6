//! `/v3/users`.

use super::access::Facts;
use super::base::Base;
use super::body::{Body, Members};
use super::document;
use super::fault::{Asker, Fault};
use super::list::Filters;
use super::projects::own_domain;
use crate::Api;
use crate::auth::login::{Claim, by_password, change_password as set_own_password};
use crate::auth::{Origin, check_new};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::id::{ProjectId, UserId};
use leasehold_domain::identity::{Directory, IdentityCommand, Scope, User, id_text, parse_id};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

const MEMBERS: &[&str] =
    &["name", "domain_id", "default_project_id", "description", "email", "enabled", "password", "options"];

/// The user, if he is there for the caller: himself, or by rule.
pub(super) fn find(asker: &Asker, directory: &Directory, id: &str) -> Result<Arc<User>, Fault> {
    let found = parse_id(id).and_then(|id| directory.user(UserId(id)));
    const RULE: &str = "identity:get_user";
    let seen = |user: &&Arc<User>| {
        let shown = asker.is(user.id) || asker.asks(RULE, &Facts::user(user), Some(user.domain));
        shown || asker.hides(RULE, user.id.0)
    };
    found.filter(seen).cloned().ok_or_else(|| Fault::not_found("user", id))
}

pub(super) async fn list(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    filters: Filters,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let rows = view.identity.users().filter(|user| {
        filters.takes_name(&user.name)
            && filters.takes("domain_id", &id_text(user.domain.0))
            && filters.takes_flag("enabled", user.enabled)
    });
    let rows = rows
        .filter(|user| asker.is(user.id) || asker.asks("identity:get_user", &Facts::user(user), Some(user.domain)))
        .map(|user| document::user(user, &base));
    Ok(Json(filters.page("users", &format!("{base}/identity/v3/users"), rows)?))
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let user = find(&asker, &view.identity, &id)?;
    Ok(Json(json!({"user": document::user(&user, &base)})))
}

/// The hash of a password that an administrator gives somebody.
async fn hashed(api: &Api, password: Option<String>, name: &str) -> Result<Option<String>, Fault> {
    let Some(password) = password else { return Ok(None) };
    check_new(&password, name).map_err(|error| Fault::bad_request(error.to_string()))?;
    Ok(Some(api.passwords.hash(&password).await?))
}

/// A user as a document describes him, of this domain unless it says otherwise.
pub(super) async fn new_user(api: &Api, given: &Members, domain: ProjectId) -> Result<User, Fault> {
    let name = given.needed("name")?;
    let domain = given.id("domain_id")?.map_or(domain, ProjectId);
    let password_hash = hashed(api, given.text("password")?, &name).await?.unwrap_or_default();
    let user = User::new(UserId(Uuid::new_v4()), &name, password_hash, Timestamp::now());
    Ok(User {
        domain,
        enabled: given.flag("enabled")?.unwrap_or(true),
        default_project: given.id("default_project_id")?.map(ProjectId),
        email: given.text("email")?,
        description: given.text("description")?,
        ..user
    })
}

pub(super) async fn create(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Fault> {
    let given = Members::of(body, "user", MEMBERS)?;
    given.no_options()?;
    let domain = given.id("domain_id")?.map_or(own_domain(&asker), ProjectId);
    let facts = Facts::domain(domain).with("target.user.domain_id", id_text(domain.0));
    // Before the password is hashed: that is dear.
    asker.administers("identity:create_user", &facts, Some(domain))?;
    let user = new_user(&api, &given, domain).await?;
    let document = json!({"user": document::user(&user, &base)});
    api.submit(Command::Identity(IdentityCommand::CreateUser(Box::new(user))), asker.actor()).await?;
    Ok((StatusCode::CREATED, Json(document)))
}

pub(super) async fn change(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let given = Members::of(body, "user", MEMBERS)?;
    given.no_options()?;
    let view = api.engine.view();
    let before = find(&asker, &view.identity, &id)?;
    asker.administers_user("identity:update_user", &view.identity, &before)?;
    let mut after = (*before).clone();
    if let Some(name) = given.text("name")? {
        after.name = name;
    }
    if let Some(domain) = given.id("domain_id")? {
        after.domain = ProjectId(domain);
    }
    if let Some(enabled) = given.flag("enabled")? {
        after.enabled = enabled;
    }
    if given.has("default_project_id") {
        after.default_project = given.id("default_project_id")?.map(ProjectId);
    }
    if given.has("email") {
        after.email = given.text("email")?;
    }
    if given.has("description") {
        after.description = given.text("description")?;
    }
    let password = hashed(&api, given.text("password")?, &after.name).await?;
    let user = before.id;
    if after != *before {
        let command = IdentityCommand::ChangeUser { before, after: Box::new(after) };
        api.submit(Command::Identity(command), asker.actor()).await?;
    }
    if let Some(password_hash) = password {
        let command = IdentityCommand::SetPassword { user, password_hash, one_time: false };
        api.submit(Command::Identity(command), asker.actor()).await?;
    }
    let view = api.engine.view();
    let user = view.identity.user(user).ok_or_else(|| Fault::not_found("user", &id))?;
    Ok(Json(json!({"user": document::user(user, &base)})))
}

pub(super) async fn remove(State(api): State<Api>, asker: Asker, Path(id): Path<String>) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let user = find(&asker, &view.identity, &id)?;
    asker.administers_user("identity:delete_user", &view.identity, &user)?;
    if asker.is(user.id) {
        return Err(Fault::new(StatusCode::FORBIDDEN, "Nobody deletes himself: another administrator can."));
    }
    api.submit(Command::Identity(IdentityCommand::DeleteUser { id: user.id }), asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// One's own password, by the old one: needs no token, so that a one-time password can be changed.
pub(super) async fn change_password(
    State(api): State<Api>,
    origin: Origin,
    Path(id): Path<String>,
    body: Body,
) -> Result<StatusCode, Fault> {
    let given = Members::of(body, "user", &["password", "original_password"])?;
    let (new, old) = (given.needed("password")?, given.needed("original_password")?);
    let user = by_password(&api, &Claim::Id(id), &old, &origin).await?;
    set_own_password(&api, &user, &old, &new, Actor::User(origin.who(&user).into())).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn projects(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    filters: Filters,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let user = find(&asker, &view.identity, &id)?;
    if !asker.is(user.id) && !asker.asks("identity:list_user_projects", &Facts::user(&user), Some(user.domain)) {
        return Err(Fault::forbidden("identity:list_user_projects"));
    }
    let rows = view.identity.projects_of(user.id).into_iter().filter(|row| filters.takes_name(&row.name));
    let rows = rows.filter(|row| view.identity.has_scope(Scope::Project(row.id)));
    let rows = rows.map(|row| document::project(row, &base));
    Ok(Json(filters.page("projects", &format!("{base}/identity/v3/users/{id}/projects"), rows)?))
}

pub(super) async fn groups(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    filters: Filters,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let user = find(&asker, &view.identity, &id)?;
    if !asker.is(user.id) && !asker.asks("identity:list_groups_for_user", &Facts::user(&user), Some(user.domain)) {
        return Err(Fault::forbidden("identity:list_groups_for_user"));
    }
    let rows = view.identity.groups_of(user.id).filter_map(|id| view.identity.group(id));
    let rows = rows.filter(|row| filters.takes_name(&row.name)).map(|row| document::group(row, &base));
    Ok(Json(filters.page("groups", &format!("{base}/identity/v3/users/{id}/groups"), rows)?))
}
