//! One-time links: an administrator makes one, a person sets his password with it. No mail is needed: he hands it over.
//!
//! `POST /appliance/v1/invitations` with `{"user": {…}}` for a new account (with `project` and `roles`, if he is to have
//! some), or `{"user_id": …}` for somebody who has forgotten his password; `POST /appliance/v1/invitations/accept` with
//! `{"token": …, "password": …}`.

use super::base::Base;
use super::body::{Body, Members};
use super::document::time;
use super::fault::{Asker, Fault};
use super::projects::own_domain;
use super::users::{find as find_user, new_user};
use super::{access::Facts, roles};
use crate::Api;
use crate::auth::{Origin, check_new, secret};
use crate::error::ApiError;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::id::{ProjectId, RoleId};
use leasehold_domain::identity::{
    Assignment, Directory, IdentityCommand, Invitation, Party, Place, User, id_text, parse_id,
};
use serde_json::{Value, json};
use std::sync::Arc;

const MEMBERS: &[&str] = &["user", "user_id", "project_id", "roles", "expires_in_seconds"];
const USER: &[&str] = &["name", "domain_id", "default_project_id", "description", "email"];
/// The longest that a link may be open.
const LONGEST: i64 = 30 * 24 * 3600;

pub(super) async fn make(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    made(&api, &asker, &base, body).await.map_err(Fault::into_api_error)
}

async fn made(api: &Api, asker: &Asker, base: &str, body: Body) -> Result<(StatusCode, Json<Value>), Fault> {
    let wrapped = body.map(|Json(body)| Json(json!({"invitation": body})));
    let given = Members::of(wrapped, "invitation", MEMBERS)?;
    let lifetime = match given.value("expires_in_seconds") {
        None => api.guard.settings.link_lifetime,
        Some(value) => {
            let wrong = || Fault::bad_request(format!("'expires_in_seconds' is a number from 60 to {LONGEST}."));
            let seconds = value.as_i64().filter(|seconds| (60..=LONGEST).contains(seconds)).ok_or_else(wrong)?;
            SignedDuration::from_secs(seconds)
        }
    };
    let view = api.engine.view();
    let user = match (given.value("user"), given.text("user_id")?) {
        (Some(Value::Object(user)), None) => {
            let user = Members::in_map(user.clone(), "user", USER)?;
            newcomer(api, asker, &view.identity, &given, &user).await?
        }
        (None, Some(id)) => {
            if given.has("project_id") || given.has("roles") {
                return Err(Fault::bad_request("Roles are given by a link to new users only."));
            }
            let user = find_user(asker, &view.identity, &id)?;
            asker.administers_user("identity:update_user", &view.identity, &user)?;
            user
        }
        _ => return Err(Fault::bad_request("Give 'user' for a new account, or 'user_id' for one that is there.")),
    };
    let no_randomness = || Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "The system gives no random numbers.");
    let (text, digest) = secret::make().ok_or_else(no_randomness)?;
    let now = Timestamp::now();
    let expires_at = now.checked_add(lifetime).unwrap_or(Timestamp::MAX);
    let link = Invitation { digest, user: user.id, created_at: now, expires_at };
    api.submit(Command::Identity(IdentityCommand::Invite(Box::new(link))), asker.actor()).await?;
    let document = json!({
        "user": {"id": id_text(user.id.0), "name": user.name},
        // Behind the `#`: browsers do not send it, so that it stands in no log.
        "url": format!("{base}/accept-invitation#{text}"),
        "token": text,
        "expires_at": time(expires_at),
    });
    Ok((StatusCode::CREATED, Json(document)))
}

/// A new account without a password, and with the roles that its maker may give.
async fn newcomer(
    api: &Api,
    asker: &Asker,
    directory: &Directory,
    given: &Members,
    user: &Members,
) -> Result<Arc<User>, Fault> {
    let domain = user.id("domain_id")?.map_or(own_domain(asker), ProjectId);
    let facts = Facts::domain(domain).with("target.user.domain_id", id_text(domain.0));
    asker.administers("identity:create_user", &facts, Some(domain))?;
    let mut roles_wanted: Vec<(RoleId, ProjectId)> = Vec::new();
    if let Some(project) = given.text("project_id")? {
        let found = parse_id(&project).and_then(|id| directory.project(ProjectId(id)));
        let project = found.ok_or_else(|| Fault::not_found("project", &project))?;
        for name in given.texts("roles")?.unwrap_or_else(|| vec!["member".into()]) {
            let role = directory.role_by_name(&name).ok_or_else(|| Fault::not_found("role", &name))?;
            let role = roles::find(asker, directory, &id_text(role.id.0))?;
            asker.may_give(directory, Place::Project(project.id), role.id)?;
            roles_wanted.push((role.id, project.id));
        }
    } else if given.has("roles") {
        return Err(Fault::bad_request("Roles are given in a project: name it by 'project_id'."));
    }
    let mut row = new_user(api, user, domain).await?;
    row.default_project = row.default_project.or(roles_wanted.first().map(|(_, project)| *project));
    let user = Arc::new(row.clone());
    api.submit(Command::Identity(IdentityCommand::CreateUser(Box::new(row))), asker.actor()).await?;
    for (role, project) in roles_wanted {
        let (party, place) = (Party::User(user.id), Place::Project(project));
        let assign = IdentityCommand::Assign(Assignment { party, place, inherited: false, role });
        api.submit(Command::Identity(assign), asker.actor()).await?;
    }
    Ok(user)
}

pub(super) async fn accept(
    State(api): State<Api>,
    origin: Origin,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let wrapped = body.map(|Json(body)| Json(json!({"acceptance": body})));
    let given = Members::of(wrapped, "acceptance", &["token", "password"]).map_err(Fault::into_api_error)?;
    let text = |name: &str| given.needed(name).map_err(Fault::into_api_error);
    let (token, password) = (text("token")?, text("password")?);
    let over = || ApiError::not_found("This link was used, replaced, or has expired: ask for another one.");
    let digest = secret::digest_of(&token).ok_or_else(over)?;
    let view = api.engine.view();
    let link = view.identity.invitation(&digest).filter(|link| link.expires_at > Timestamp::now());
    let user = link.and_then(|link| view.identity.user(link.user)).filter(|user| view.identity.may_enter(user));
    let user = user.ok_or_else(over)?;
    check_new(&password, &user.name).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let password_hash = api.passwords.hash(&password).await?;
    let command = IdentityCommand::AcceptInvitation { digest, password_hash };
    api.submit(Command::Identity(command), Actor::User(origin.who(user).into())).await?;
    Ok((StatusCode::OK, Json(json!({"user": {"id": id_text(user.id.0), "name": user.name}}))))
}
