//! `/v3/users/{user}/application_credentials`: credentials for programs, with some of their user's roles.

use super::access::Facts;
use super::base::Base;
use super::body::{Body, Members};
use super::document;
use super::fault::{Asker, Fault};
use super::list::Filters;
use super::users;
use crate::Api;
use crate::auth::{check_new, secret};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use leasehold_domain::command::Command;
use leasehold_domain::id::{CredentialId, RoleId};
use leasehold_domain::identity::{
    ApplicationCredential, Directory, IdentityCommand, Scope, SecretHash, User, parse_id,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

const MEMBERS: &[&str] = &["name", "description", "roles", "expires_at", "secret", "unrestricted", "access_rules"];

/// The user whose credentials are meant: oneself, or by rule.
fn owner(asker: &Asker, directory: &Directory, user: &str, rule: &str) -> Result<Arc<User>, Fault> {
    let user = users::find(asker, directory, user)?;
    if asker.is(user.id) || asker.asks(rule, &Facts::user(&user), Some(user.domain)) {
        Ok(user)
    } else {
        Err(Fault::forbidden(rule))
    }
}

fn find(directory: &Directory, user: &User, id: &str) -> Result<Arc<ApplicationCredential>, Fault> {
    let found = parse_id(id).and_then(|id| directory.credential(CredentialId(id)));
    let found = found.filter(|credential| credential.user == user.id);
    found.cloned().ok_or_else(|| Fault::not_found("application credential", id))
}

/// A restricted application credential neither makes others nor deletes them.
fn unrestricted(asker: &Asker, directory: &Directory) -> Result<(), Fault> {
    let behind = asker.token.as_ref().and_then(|token| token.credential);
    let free = behind.is_none_or(|id| directory.credential(id).is_some_and(|credential| credential.unrestricted));
    let message = "This application credential was made without the right to manage application credentials.";
    if free { Ok(()) } else { Err(Fault::new(StatusCode::FORBIDDEN, message)) }
}

pub(super) async fn list(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    filters: Filters,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let user = owner(&asker, &view.identity, &id, "identity:list_application_credentials")?;
    let rows = view.identity.credentials_of(user.id).filter(|row| filters.takes_name(&row.name));
    let rows = rows.map(|row| document::application_credential(row, &view.identity, &base));
    Ok(Json(filters.page(
        "application_credentials",
        &format!("{base}/identity/v3/users/{id}/application_credentials"),
        rows,
    )?))
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    Path((user, id)): Path<(String, String)>,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let user = owner(&asker, &view.identity, &user, "identity:get_application_credential")?;
    let row = find(&view.identity, &user, &id)?;
    Ok(Json(json!({"application_credential": document::application_credential(&row, &view.identity, &base)})))
}

/// The moment that clients write with or without a zone.
fn moment(text: &str) -> Option<Timestamp> {
    text.parse::<Timestamp>().ok().or_else(|| {
        let civil: DateTime = text.parse().ok()?;
        Offset::UTC.to_timestamp(civil).ok()
    })
}

/// The roles that are named by id or name; `None`: all that the caller has in his project by himself.
fn roles(given: &Members, directory: &Directory, present: &BTreeSet<RoleId>) -> Result<BTreeSet<RoleId>, Fault> {
    let Some(named) = given.value("roles") else { return Ok(present.clone()) };
    let wrong = || Fault::bad_request("'roles' is a list of roles, each by its id or name.");
    let named = named.as_array().ok_or_else(wrong)?;
    if named.is_empty() {
        return Ok(present.clone());
    }
    let find = |role: &Value| {
        let (id, name) = (role.get("id").and_then(Value::as_str), role.get("name").and_then(Value::as_str));
        let found = match (id, name) {
            (Some(id), _) => parse_id(id).and_then(|id| directory.role(RoleId(id))),
            (None, Some(name)) => directory.role_by_name(name),
            (None, None) => return Err(wrong()),
        };
        // One that he has not is answered as one that is not there.
        let found = found.filter(|role| present.contains(&role.id)).map(|role| role.id);
        found.ok_or_else(|| Fault::not_found("role assignment with role", id.or(name).unwrap_or_default()))
    };
    named.iter().map(find).collect()
}

pub(super) async fn create(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    Path(id): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Fault> {
    let given = Members::of(body, "application_credential", MEMBERS)?;
    let view = api.engine.view();
    let user = users::find(&asker, &view.identity, &id)?;
    if !asker.is(user.id) {
        let message = "Everybody makes application credentials for himself only.";
        return Err(Fault::new(StatusCode::FORBIDDEN, message));
    }
    unrestricted(&asker, &view.identity)?;
    let Scope::Project(project) = asker.scope else {
        let message = "An application credential is for a project: ask with credentials for one (--os-project-name).";
        return Err(Fault::bad_request(message));
    };
    if given.value("access_rules").is_some_and(|rules| rules.as_array().is_none_or(|rules| !rules.is_empty())) {
        return Err(Fault::bad_request("Access rules are not supported: use roles."));
    }
    // No wider than what the caller holds in his hand, which may be narrower than what he has.
    let held = asker.token.as_ref().map(|token| token.roles.clone());
    let present = held.unwrap_or_else(|| view.identity.roles(user.id, asker.scope));
    let roles = roles(&given, &view.identity, &present)?;
    let expires_at = match given.text("expires_at")? {
        None => None,
        Some(text) => {
            let wrong = || Fault::bad_request("'expires_at' has to be a moment such as 2030-01-31T12:00:00.");
            Some(moment(&text).ok_or_else(wrong)?)
        }
    };
    let name = given.needed("name")?;
    let (secret, stored) = make_secret(&api, given.text("secret")?, &name).await?;
    let row = ApplicationCredential {
        id: CredentialId(Uuid::new_v4()),
        user: user.id,
        project,
        name,
        description: given.text("description")?,
        secret: stored,
        roles,
        created_at: Timestamp::now(),
        expires_at,
        unrestricted: given.flag("unrestricted")?.unwrap_or(false),
    };
    let mut document = document::application_credential(&row, &view.identity, &base);
    document["secret"] = secret.into();
    let command = IdentityCommand::CreateCredential(Box::new(row));
    api.submit(Command::Identity(command), asker.actor()).await?;
    Ok((StatusCode::CREATED, Json(json!({"application_credential": document}))))
}

/// A secret of ours, or the one that was chosen: that is held to the rules of passwords.
async fn make_secret(api: &Api, chosen: Option<String>, name: &str) -> Result<(String, SecretHash), Fault> {
    match chosen {
        Some(chosen) => {
            check_new(&chosen, name).map_err(|error| Fault::bad_request(error.to_string()))?;
            let hash = api.passwords.hash(&chosen).await?;
            Ok((chosen, SecretHash::Chosen(hash)))
        }
        None => {
            let no_randomness = || Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "The system gives no random numbers.");
            let (text, digest) = secret::make().ok_or_else(no_randomness)?;
            Ok((text, SecretHash::Random(digest)))
        }
    }
}

pub(super) async fn remove(
    State(api): State<Api>,
    asker: Asker,
    Path((user, id)): Path<(String, String)>,
) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let user = owner(&asker, &view.identity, &user, "identity:delete_application_credential")?;
    let row = find(&view.identity, &user, &id)?;
    unrestricted(&asker, &view.identity)?;
    if !asker.is(user.id) {
        asker.administers_user("identity:delete_application_credential", &view.identity, &user)?;
    }
    api.submit(Command::Identity(IdentityCommand::DeleteCredential { id: row.id }), asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// There are none.
pub(super) async fn access_rules(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    owner(&asker, &view.identity, &id, "identity:list_application_credentials")?;
    let link = format!("{base}/identity/v3/users/{id}/access_rules");
    Ok(Json(json!({"access_rules": [], "links": {"self": link, "previous": null, "next": null}})))
}
