//! `/v3/roles` and which role implies which.

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
use leasehold_domain::command::Command;
use leasehold_domain::id::RoleId;
use leasehold_domain::identity::{Directory, IdentityCommand, Implication, Role, folded, id_text, parse_id};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

const MEMBERS: &[&str] = &["name", "description", "domain_id", "options"];

/// Whether the role is there for the caller: one that he has, or by rule.
fn sees(asker: &Asker, role: &Role) -> bool {
    asker.credentials.roles.contains(&folded(&role.name)) || asker.asks("identity:get_role", &Facts::role(role), None)
}

pub(super) fn find(asker: &Asker, directory: &Directory, id: &str) -> Result<Arc<Role>, Fault> {
    let found = parse_id(id).and_then(|id| directory.role(RoleId(id)));
    found.filter(|role| sees(asker, role)).cloned().ok_or_else(|| Fault::not_found("role", id))
}

pub(super) async fn list(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    filters: Filters,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    // There are no roles of a single domain.
    let of_domain = filters.get("domain_id").is_some_and(|id| !id.is_empty());
    let rows = view.identity.roles_known().filter(|role| !of_domain && filters.takes_name(&role.name));
    let rows = rows.filter(|role| sees(&asker, role)).map(|role| document::role(role, &base));
    Ok(Json(filters.page("roles", &format!("{base}/identity/v3/roles"), rows)?))
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let role = find(&asker, &view.identity, &id)?;
    Ok(Json(json!({"role": document::role(&role, &base)})))
}

pub(super) async fn create(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Fault> {
    let given = Members::of(body, "role", MEMBERS)?;
    given.no_options()?;
    asker.administers("identity:create_role", &Facts::default(), None)?;
    if given.value("domain_id").is_some() {
        return Err(Fault::bad_request("Roles belong to no domain here."));
    }
    let role = Role {
        id: RoleId(Uuid::new_v4()),
        name: given.needed("name")?,
        description: given.text("description")?.unwrap_or_default(),
        built_in: false,
    };
    let document = json!({"role": document::role(&role, &base)});
    api.submit(Command::Identity(IdentityCommand::CreateRole(Box::new(role))), asker.actor()).await?;
    Ok((StatusCode::CREATED, Json(document)))
}

pub(super) async fn change(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let given = Members::of(body, "role", MEMBERS)?;
    given.no_options()?;
    let view = api.engine.view();
    let before = find(&asker, &view.identity, &id)?;
    asker.administers("identity:update_role", &Facts::role(&before), None)?;
    let mut after = (*before).clone();
    if let Some(name) = given.text("name")? {
        after.name = name;
    }
    if given.has("description") {
        after.description = given.text("description")?.unwrap_or_default();
    }
    let document = json!({"role": document::role(&after, &base)});
    let command = IdentityCommand::ChangeRole { before, after: Box::new(after) };
    api.submit(Command::Identity(command), asker.actor()).await?;
    Ok(Json(document))
}

pub(super) async fn remove(State(api): State<Api>, asker: Asker, Path(id): Path<String>) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let role = find(&asker, &view.identity, &id)?;
    asker.administers("identity:delete_role", &Facts::role(&role), None)?;
    api.submit(Command::Identity(IdentityCommand::DeleteRole { id: role.id }), asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn named(role: &Role, base: &str) -> Value {
    let id = id_text(role.id.0);
    json!({"id": id, "name": role.name, "links": {"self": format!("{base}/identity/v3/roles/{id}")}})
}

/// One role and what it implies by itself.
fn inference(directory: &Directory, role: &Role, base: &str) -> Value {
    let implied = directory.implied_by(role.id).filter_map(|id| directory.role(id));
    json!({"prior_role": named(role, base), "implies": implied.map(|role| named(role, base)).collect::<Vec<_>>()})
}

pub(super) async fn inferences(State(api): State<Api>, asker: Asker, Base(base): Base) -> Result<Json<Value>, Fault> {
    asked(&asker, "identity:list_role_inference_rules")?;
    let view = api.engine.view();
    let rows = view.identity.roles_known().filter(|role| view.identity.implied_by(role.id).next().is_some());
    let rows: Vec<Value> = rows.map(|role| inference(&view.identity, role, &base)).collect();
    let link = format!("{base}/identity/v3/role_inferences");
    Ok(Json(json!({"role_inferences": rows, "links": {"self": link}})))
}

fn asked(asker: &Asker, rule: &str) -> Result<(), Fault> {
    if asker.asks(rule, &Facts::default(), None) { Ok(()) } else { Err(Fault::forbidden(rule)) }
}

pub(super) async fn implied(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let role = find(&asker, &view.identity, &id)?;
    asked(&asker, "identity:list_implied_roles")?;
    Ok(Json(json!({"role_inference": inference(&view.identity, &role, &base)})))
}

fn both(
    asker: &Asker,
    directory: &Directory,
    prior: &str,
    implied: &str,
) -> Result<(Arc<Role>, Arc<Role>, Implication), Fault> {
    let (prior, implied) = (find(asker, directory, prior)?, find(asker, directory, implied)?);
    let pair = Implication { prior: prior.id, implied: implied.id };
    Ok((prior, implied, pair))
}

fn pair_document(prior: &Role, implied: &Role, base: &str) -> Json<Value> {
    Json(json!({"role_inference": {"prior_role": named(prior, base), "implies": named(implied, base)}}))
}

pub(super) async fn imply(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    Path((prior, implied)): Path<(String, String)>,
) -> Result<(StatusCode, Json<Value>), Fault> {
    let view = api.engine.view();
    let (prior, implied, pair) = both(&asker, &view.identity, &prior, &implied)?;
    asker.administers("identity:create_implied_role", &Facts::role(&prior), None)?;
    api.submit(Command::Identity(IdentityCommand::Imply(pair)), asker.actor()).await?;
    Ok((StatusCode::CREATED, pair_document(&prior, &implied, &base)))
}

pub(super) async fn check_implied(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    Path((prior, implied)): Path<(String, String)>,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let (prior, implied, pair) = both(&asker, &view.identity, &prior, &implied)?;
    asked(&asker, "identity:check_implied_role")?;
    let missing = || Fault::not_found("implied role", &implied.name);
    view.identity.has_implication(pair).then(|| pair_document(&prior, &implied, &base)).ok_or_else(missing)
}

pub(super) async fn end_implied(
    State(api): State<Api>,
    asker: Asker,
    Path((prior, implied)): Path<(String, String)>,
) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let (prior, _, pair) = both(&asker, &view.identity, &prior, &implied)?;
    asker.administers("identity:delete_implied_role", &Facts::role(&prior), None)?;
    api.submit(Command::Identity(IdentityCommand::EndImplication(pair)), asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
