//! `/v3/groups` and who is in them.

use super::access::Facts;
use super::base::Base;
use super::body::{Body, Members};
use super::document;
use super::fault::{Asker, Fault};
use super::list::Filters;
use super::projects::own_domain;
use super::users;
use crate::Api;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use leasehold_domain::command::Command;
use leasehold_domain::id::{GroupId, ProjectId};
use leasehold_domain::identity::{
    Directory, Group, IdentityCommand, Membership, Party, Scope, User, id_text, parse_id,
};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

const MEMBERS: &[&str] = &["name", "domain_id", "description", "options"];

/// The group, if it is there for the caller: one he is in, or by rule.
pub(super) fn find(asker: &Asker, directory: &Directory, id: &str) -> Result<Arc<Group>, Fault> {
    let found = parse_id(id).and_then(|id| directory.group(GroupId(id)));
    let seen = |group: &&Arc<Group>| sees(asker, directory, group) || asker.hides("identity:get_group", group.id.0);
    found.filter(seen).cloned().ok_or_else(|| Fault::not_found("group", id))
}

fn sees(asker: &Asker, directory: &Directory, group: &Group) -> bool {
    directory.is_member(Membership { user: asker.user.id, group: group.id })
        || asker.asks("identity:get_group", &Facts::group(group), Some(group.domain))
}

pub(super) async fn list(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    filters: Filters,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let rows = view.identity.groups().filter(|row| {
        filters.takes_name(&row.name)
            && filters.takes("domain_id", &id_text(row.domain.0))
            && sees(&asker, &view.identity, row)
    });
    let rows = rows.map(|row| document::group(row, &base));
    Ok(Json(filters.page("groups", &format!("{base}/identity/v3/groups"), rows)?))
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let group = find(&asker, &view.identity, &id)?;
    Ok(Json(json!({"group": document::group(&group, &base)})))
}

pub(super) async fn create(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Fault> {
    let given = Members::of(body, "group", MEMBERS)?;
    given.no_options()?;
    let group = Group {
        id: GroupId(Uuid::new_v4()),
        domain: given.id("domain_id")?.map_or(own_domain(&asker), ProjectId),
        name: given.needed("name")?,
        description: given.text("description")?.unwrap_or_default(),
    };
    let facts = Facts::group(&group).and(Facts::domain(group.domain));
    asker.administers("identity:create_group", &facts, Some(group.domain))?;
    let document = json!({"group": document::group(&group, &base)});
    api.submit(Command::Identity(IdentityCommand::CreateGroup(Box::new(group))), asker.actor()).await?;
    Ok((StatusCode::CREATED, Json(document)))
}

pub(super) async fn change(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let given = Members::of(body, "group", MEMBERS)?;
    given.no_options()?;
    let view = api.engine.view();
    let before = find(&asker, &view.identity, &id)?;
    asker.administers("identity:update_group", &Facts::group(&before), Some(before.domain))?;
    let mut after = (*before).clone();
    if let Some(name) = given.text("name")? {
        after.name = name;
    }
    if let Some(domain) = given.id("domain_id")? {
        after.domain = ProjectId(domain);
    }
    if given.has("description") {
        after.description = given.text("description")?.unwrap_or_default();
    }
    let document = json!({"group": document::group(&after, &base)});
    let command = IdentityCommand::ChangeGroup { before, after: Box::new(after) };
    api.submit(Command::Identity(command), asker.actor()).await?;
    Ok(Json(document))
}

pub(super) async fn remove(State(api): State<Api>, asker: Asker, Path(id): Path<String>) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let group = find(&asker, &view.identity, &id)?;
    administers_group(&asker, "identity:delete_group", &view.identity, &group)?;
    api.submit(Command::Identity(IdentityCommand::DeleteGroup { id: group.id }), asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who puts somebody into a group gives him all that the group has: that must be his to give.
fn administers_group(asker: &Asker, rule: &str, directory: &Directory, group: &Group) -> Result<(), Fault> {
    asker.administers(rule, &Facts::group(group), Some(group.domain))?;
    if asker.scope == Scope::System {
        return Ok(());
    }
    let mut held = directory.assignments_of(Party::Group(group.id));
    held.try_for_each(|held| asker.may_give(directory, held.place, held.role))
}

fn pair(asker: &Asker, directory: &Directory, group: &str, user: &str) -> Result<(Arc<Group>, Arc<User>), Fault> {
    Ok((find(asker, directory, group)?, users::find(asker, directory, user)?))
}

pub(super) async fn add(
    State(api): State<Api>,
    asker: Asker,
    Path((group, user)): Path<(String, String)>,
) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let (group, user) = pair(&asker, &view.identity, &group, &user)?;
    administers_group(&asker, "identity:add_user_to_group", &view.identity, &group)?;
    let command = IdentityCommand::AddMember(Membership { user: user.id, group: group.id });
    api.submit(Command::Identity(command), asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn take_out(
    State(api): State<Api>,
    asker: Asker,
    Path((group, user)): Path<(String, String)>,
) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let (group, user) = pair(&asker, &view.identity, &group, &user)?;
    administers_group(&asker, "identity:remove_user_from_group", &view.identity, &group)?;
    let command = IdentityCommand::RemoveMember(Membership { user: user.id, group: group.id });
    api.submit(Command::Identity(command), asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn is_member(
    State(api): State<Api>,
    asker: Asker,
    Path((group, user)): Path<(String, String)>,
) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let (found, whom) = pair(&asker, &view.identity, &group, &user)?;
    if !asker.is(whom.id) && !asker.asks("identity:check_user_in_group", &Facts::group(&found), Some(found.domain)) {
        return Err(Fault::forbidden("identity:check_user_in_group"));
    }
    let is_in = view.identity.is_member(Membership { user: whom.id, group: found.id });
    if is_in { Ok(StatusCode::NO_CONTENT) } else { Err(Fault::not_found("user in the group", &user)) }
}

pub(super) async fn members(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    filters: Filters,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let group = find(&asker, &view.identity, &id)?;
    if !asker.asks("identity:list_users_in_group", &Facts::group(&group), Some(group.domain)) {
        return Err(Fault::forbidden("identity:list_users_in_group"));
    }
    let rows = view.identity.members_of(group.id).filter_map(|id| view.identity.user(id));
    let rows = rows.filter(|user| filters.takes_name(&user.name)).map(|user| document::user(user, &base));
    Ok(Json(filters.page("users", &format!("{base}/identity/v3/groups/{id}/users"), rows)?))
}
