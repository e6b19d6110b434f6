//! Accounts from the box itself, for the command line of root: the first ones, and the way back in when every
//! administrator has lost his password.

use super::document::time;
use super::fault::Fault;
use crate::Api;
use crate::auth::{check_new, secret};
use crate::error::ApiError;
use crate::serve::{Connection, local_actor};
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use jiff::Timestamp;
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::id::{ProjectId, RoleId, UserId};
use leasehold_domain::identity::{
    Assignment, DEFAULT_DOMAIN, Directory, IdentityCommand, Invitation, Party, Place, Project, Scope, User, id_text,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// An account to be made, or to be given more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    name: String,
    /// Without one, the answer has a one-time link.
    #[serde(default)]
    password: Option<String>,
    /// A project of the default domain; made if it is not there.
    #[serde(default)]
    project: Option<String>,
    /// Roles in the project.
    #[serde(default)]
    roles: Vec<String>,
    /// Roles on the whole system.
    #[serde(default)]
    system_roles: Vec<String>,
}

fn role(directory: &Directory, name: &str) -> Result<RoleId, ApiError> {
    let known = || directory.roles_known().map(|role| role.name.as_str()).collect::<Vec<_>>().join(", ");
    let role = directory.role_by_name(name).map(|role| role.id);
    role.ok_or_else(|| ApiError::not_found(format!("There is no role '{name}': there are {}.", known())))
}

async fn give(api: &Api, command: IdentityCommand, actor: &Actor) -> Result<(), ApiError> {
    api.submit(Command::Identity(command), actor.clone()).await?;
    Ok(())
}

/// A link with which the user sets his password.
async fn make_link(api: &Api, user: &User, actor: &Actor) -> Result<Value, ApiError> {
    let no_randomness = || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The system gives no random numbers.");
    let (text, digest) = secret::make().ok_or_else(no_randomness)?;
    let now = Timestamp::now();
    let expires_at = now.checked_add(api.guard.settings.link_lifetime).unwrap_or(Timestamp::MAX);
    let link = Invitation { digest, user: user.id, created_at: now, expires_at };
    give(api, IdentityCommand::Invite(Box::new(link)), actor).await?;
    Ok(json!({"path": format!("/accept-invitation#{text}"), "token": text, "expires_at": time(expires_at)}))
}

pub(super) async fn create(
    State(api): State<Api>,
    connection: Option<Extension<Connection>>,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let Json(wanted) = body.map_err(|rejection| ApiError::new(rejection.status(), rejection.body_text()))?;
    let actor = local_actor(connection);
    let view = api.engine.view();
    let directory = &view.identity;
    let system_roles: Vec<RoleId> =
        wanted.system_roles.iter().map(|name| role(directory, name)).collect::<Result<_, _>>()?;
    let roles: Vec<RoleId> = wanted.roles.iter().map(|name| role(directory, name)).collect::<Result<_, _>>()?;
    if wanted.project.is_none() && !roles.is_empty() {
        return Err(ApiError::bad_request("Roles are held in a project or on the system: say which."));
    }
    if directory.user_by_name(DEFAULT_DOMAIN, &wanted.name).is_some() {
        let message = format!("A user with name {} already exists.", wanted.name);
        return Err(ApiError::new(StatusCode::CONFLICT, message));
    }
    let password_hash = match &wanted.password {
        None => String::new(),
        Some(password) => {
            check_new(password, &wanted.name).map_err(|error| ApiError::bad_request(error.to_string()))?;
            api.passwords.hash(password).await?
        }
    };
    let now = Timestamp::now();
    let project = match &wanted.project {
        None => None,
        Some(name) => Some(match directory.project_by_name(DEFAULT_DOMAIN, name) {
            Some(project) => project.id,
            None => {
                let project = new_project(name, now);
                let id = project.id;
                give(&api, IdentityCommand::CreateProject(Box::new(project)), &actor).await?;
                id
            }
        }),
    };
    let user = User::new(UserId(Uuid::new_v4()), &wanted.name, password_hash, now);
    let user = Arc::new(User { default_project: project, ..user });
    give(&api, IdentityCommand::CreateUser(Box::new((*user).clone())), &actor).await?;
    let mut held: Vec<(Place, RoleId)> = Vec::new();
    if let Some(id) = project {
        held.extend(roles.into_iter().map(|role| (Place::Project(id), role)));
    }
    held.extend(system_roles.into_iter().map(|role| (Place::System, role)));
    for (place, role) in held {
        let row = Assignment { party: Party::User(user.id), place, inherited: false, role };
        give(&api, IdentityCommand::Assign(row), &actor).await?;
    }
    let link = match wanted.password {
        Some(_) => Value::Null,
        None => make_link(&api, &user, &actor).await?,
    };
    let project = project.map(|id| id_text(id.0));
    let document = json!({"id": id_text(user.id.0), "name": user.name, "project_id": project, "link": link});
    Ok((StatusCode::CREATED, Json(document)))
}

fn new_project(name: &str, now: Timestamp) -> Project {
    Project {
        id: ProjectId(Uuid::new_v4()),
        name: name.to_owned(),
        description: String::new(),
        domain: DEFAULT_DOMAIN,
        parent: Some(DEFAULT_DOMAIN),
        enabled: true,
        tags: Vec::new(),
        created_at: now,
    }
}

/// All users, with where they have which roles.
pub(super) async fn list(State(api): State<Api>) -> Json<Value> {
    let view = api.engine.view();
    let directory = &view.identity;
    let place = |place: Place| match place {
        Place::System => "system".to_owned(),
        Place::Project(id) => directory.project(id).map(|project| project.name.clone()).unwrap_or_default(),
    };
    let account = |user: &Arc<User>| {
        let held = directory.assignments_of_user(user.id).filter_map(|held| {
            let role = directory.role(held.role)?;
            let below = if held.inherited { "/*" } else { "" };
            Some(format!("{}@{}{below}", role.name, place(held.place)))
        });
        json!({
            "id": id_text(user.id.0),
            "name": user.name,
            "enabled": user.enabled,
            "domain": directory.project(user.domain).map(|domain| domain.name.as_str()),
            "password": match (user.password_hash.is_empty(), user.one_time) {
                (true, _) => "none yet",
                (false, true) => "one-time",
                (false, false) => "set",
            },
            "administrator": directory.grounds(user, Scope::System).is_some(),
            "roles": held.collect::<Vec<_>>(),
        })
    };
    Json(json!({"accounts": directory.users().map(account).collect::<Vec<_>>()}))
}

/// A new one-time link for a user: for who has forgotten his password.
pub(super) async fn link(
    State(api): State<Api>,
    connection: Option<Extension<Connection>>,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let view = api.engine.view();
    let user = view.identity.user_by_name(DEFAULT_DOMAIN, &name);
    let user = user.ok_or_else(|| Fault::not_found("user", &name).into_api_error())?;
    let link = make_link(&api, user, &local_actor(connection)).await?;
    Ok((StatusCode::CREATED, Json(json!({"id": id_text(user.id.0), "name": user.name, "link": link}))))
}
