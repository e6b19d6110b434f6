//! A login by password: who is meant, whether he may try now, whether the password is his.

use super::lockout::Account;
use super::{Origin, unknown};
use crate::Api;
use crate::error::ApiError;
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::id::{ProjectId, UserId};
use leasehold_domain::identity::{DEFAULT_DOMAIN, Directory, IdentityCommand, User, folded, id_text, parse_id};
use std::sync::Arc;

/// Who somebody says he is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Id(String),
    /// A name in a domain; `None`: the domain that he names is not there.
    Name(Option<ProjectId>, String),
    /// A name as with Basic: of the default domain, or with its domain behind an `@`.
    Plain(String),
}

impl Claim {
    pub(crate) fn plain(name: &str) -> Claim {
        Claim::Plain(name.to_owned())
    }

    pub(crate) fn find<'a>(&self, directory: &'a Directory) -> Option<&'a Arc<User>> {
        match self {
            Claim::Id(id) => parse_id(id).and_then(|id| directory.user(UserId(id))),
            Claim::Name(domain, name) => directory.user_by_name((*domain)?, name),
            Claim::Plain(name) => directory.user_by_name(DEFAULT_DOMAIN, name).or_else(|| {
                let (name, domain) = name.rsplit_once('@')?;
                directory.user_by_name(directory.domain_by_name(domain)?.id, name)
            }),
        }
    }

    /// The account under which failures are counted, whether or not it is there.
    fn account(&self, user: Option<&Arc<User>>) -> Account {
        const LONGEST: usize = 300;
        let text = match (user, self) {
            (Some(user), _) => format!("{} {}", id_text(user.domain.0), folded(&user.name)),
            (None, Claim::Id(text)) => text.clone(),
            (None, Claim::Name(domain, name)) => {
                format!("{} {}", domain.map_or_else(|| "?".into(), |id| id_text(id.0)), folded(name))
            }
            (None, Claim::Plain(name)) => format!("{} {}", id_text(DEFAULT_DOMAIN.0), folded(name)),
        };
        text.chars().take(LONGEST).collect()
    }

    /// The name for the audit.
    pub(crate) fn told(&self) -> &str {
        match self {
            Claim::Id(text) | Claim::Name(_, text) | Claim::Plain(text) => text,
        }
    }
}

/// Why nobody is logged in.
#[derive(Debug)]
pub(crate) enum LoginError {
    /// Unknown, wrong or disabled: all the same.
    Wrong,
    /// Too many failures: wait so long.
    Wait(SignedDuration),
    /// The password is right, but was given by somebody else: it has to be changed first.
    OneTime(UserId),
    /// Too many at a time, and the like.
    Other(ApiError),
}

/// What somebody with a one-time password is told.
pub(crate) const ONE_TIME: &str = "This password was given to you for one purpose: to choose your own. Send \
    {\"old\": …, \"new\": …} to POST /appliance/v1/password with it.";

impl From<LoginError> for ApiError {
    fn from(error: LoginError) -> ApiError {
        match error {
            LoginError::Wrong => unknown(),
            LoginError::Wait(wait) => ApiError::too_many(wait_text(wait), seconds(wait)),
            LoginError::OneTime(_) => ApiError::new(StatusCode::FORBIDDEN, ONE_TIME),
            LoginError::Other(error) => error,
        }
    }
}

/// Whole seconds, at least one.
pub(crate) fn seconds(wait: SignedDuration) -> u64 {
    u64::try_from(wait.as_secs().saturating_add(1)).unwrap_or(1)
}

pub(crate) fn wait_text(wait: SignedDuration) -> String {
    format!("Too many logins have failed: try again in {} seconds.", seconds(wait))
}

/// The user of this claim and password. Who has a one-time password is let through here: what he may do is the caller's
/// to say. An unknown user takes as long as a wrong password.
pub(crate) async fn by_password(
    api: &Api,
    claim: &Claim,
    password: &str,
    origin: &Origin,
) -> Result<Arc<User>, LoginError> {
    let view = api.engine.view();
    let user = claim.find(&view.identity);
    let may_enter = user.filter(|user| view.identity.may_enter(user));
    if let Some(user) = may_enter.filter(|user| api.passwords.remembers(user, password)) {
        return Ok(user.clone());
    }
    let (account, address, now) = (claim.account(user), origin.address, Timestamp::now());
    if let Err(wait) = api.guard.try_login(&account, address, now) {
        note(api, claim.told(), origin, "too many failures before");
        return Err(wait);
    }
    let _look = api.guard.look(address).await.map_err(LoginError::Other)?;
    let right = api.passwords.check(may_enter, password).await.map_err(LoginError::Other)?;
    match (right, may_enter) {
        (true, Some(user)) => {
            api.guard.login_succeeded(&account, address, now);
            let who = origin.who(user);
            let noted = Command::Identity(IdentityCommand::NoteLogin { user: user.id });
            let api = api.clone();
            // Nobody waits for the disk here, and a full one keeps nobody out.
            tokio::spawn(async move {
                if let Err(error) = api.submit(noted, Actor::User(who.into())).await {
                    tracing::warn!(%error, "a login is missing in the audit");
                }
            });
            Ok(user.clone())
        }
        _ => {
            api.guard.login_failed(&account, address, now);
            note(api, claim.told(), origin, "unknown user, wrong password or disabled account");
            Err(LoginError::Wrong)
        }
    }
}

/// A failed login for the audit, under the name that was said.
pub(crate) fn note(api: &Api, account: &str, origin: &Origin, reason: &str) {
    api.engine.store.note_refusal_of(&Actor::User(origin.stranger(account).into()), "login", None, reason);
}

/// Gives a user the password that he has chosen himself; `old` has been found right. The file with the first
/// administrator's one-time password goes at its first change.
pub(crate) async fn change_password(
    api: &Api,
    user: &User,
    old: &str,
    new: &str,
    actor: Actor,
) -> Result<(), ApiError> {
    if old == new {
        return Err(ApiError::bad_request("The new password must be another one."));
    }
    super::check_new(new, &user.name).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let password_hash = api.passwords.hash(new).await?;
    let command = IdentityCommand::SetPassword { user: user.id, password_hash, one_time: false };
    api.submit(Command::Identity(command), actor).await?;
    if user.one_time {
        forget_password_file(api, old).await;
    }
    Ok(())
}

/// Removes the file of the first one-time password, if it is this one that was changed.
async fn forget_password_file(api: &Api, old: &str) {
    let path = api.password_file.as_path();
    let stands_there = tokio::fs::read_to_string(path).await.is_ok_and(|text| text.trim_end() == old);
    if stands_there && let Err(error) = tokio::fs::remove_file(path).await {
        tracing::warn!(%error, "the file with the one-time password could not be removed; it opens nothing any more");
    }
}
