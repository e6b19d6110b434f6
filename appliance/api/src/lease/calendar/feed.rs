//! A project's leases as a calendar that other programs read, under a URL that is a secret.
//!
//! `GET|POST|DELETE /appliance/v1/calendar/feed`: whether the caller has one for his project; made anew, which ends the
//! former; ended. `GET /appliance/v1/calendar/feeds/{secret}.ics`, without credentials: the calendar (RFC 5545), with those
//! leases that the rules show to its user by the roles that he has now. It ends with his last role in the project. The URL
//! is told once; only its digest is stored.

use super::ical;
use crate::Api;
use crate::auth::secret;
use crate::error::ApiError;
use crate::identity::base::Base;
use crate::lease::fault::{Asker, Fault};
use crate::lease::history;
use crate::lease::whose::{GET_LEASE, OfLease, no_project};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::SignedDuration;
use leasehold_domain::command::Command;
use leasehold_domain::id::ProjectId;
use leasehold_domain::identity::{Feed, IdentityCommand, Scope, parse_id};
use leasehold_domain::lease::Lease;
use leasehold_domain::policy::Target;
use leasehold_store::EndedBy;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;

const RULE: &str = "appliance:calendar:feed";
/// Of what is over the calendar has so long.
const BACK: SignedDuration = SignedDuration::from_hours(90 * 24);

struct OfProject(String);

impl Target for OfProject {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        (name == "project_id").then_some(Cow::Borrowed(&self.0))
    }
}

/// The caller's project, if he may have a calendar of it.
fn own(asker: &Asker) -> Result<ProjectId, Fault> {
    let project = asker.credentials.project_id.clone().ok_or_else(no_project)?;
    let id = parse_id(&project).map(ProjectId).ok_or_else(no_project)?;
    match asker.allows(RULE, &OfProject(project)) {
        true => Ok(id),
        false => Err(Fault::forbidden(RULE)),
    }
}

fn none_yet() -> Fault {
    ApiError::not_found("There is no calendar feed of yours for this project.").into()
}

pub(in crate::lease) async fn show(State(api): State<Api>, asker: Asker) -> Result<Json<Value>, Fault> {
    let project = own(&asker)?;
    let view = api.engine.view();
    let feed = view.identity.feed_of(asker.user.id, project).ok_or_else(none_yet)?;
    Ok(Json(json!({"created_at": feed.created_at})))
}

pub(in crate::lease) async fn create(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
) -> Result<(StatusCode, Json<Value>), Fault> {
    let project = own(&asker)?;
    if asker.token.as_ref().is_some_and(|token| token.credential.is_some()) {
        // It would outlive the credential.
        return Err(Fault::new(
            StatusCode::FORBIDDEN,
            "An application credential makes no calendar feed: use a password.",
        ));
    }
    let no_randomness = || Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "The system gives no random numbers.");
    let (text, digest) = secret::make().ok_or_else(no_randomness)?;
    let created_at = api.engine.store.now();
    let feed = Feed { digest, user: asker.user.id, project, created_at };
    api.submit(Command::Identity(IdentityCommand::MakeFeed(Box::new(feed))), asker.actor()).await?;
    let url = format!("{base}/appliance/v1/calendar/feeds/{text}.ics");
    Ok((StatusCode::CREATED, Json(json!({"url": url, "created_at": created_at}))))
}

pub(in crate::lease) async fn remove(State(api): State<Api>, asker: Asker) -> Result<StatusCode, Fault> {
    let (user, project) = (asker.user.id, own(&asker)?);
    if api.engine.view().identity.feed_of(user, project).is_none() {
        return Err(none_yet());
    }
    api.submit(Command::Identity(IdentityCommand::EndFeed { user, project }), asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whoever knows the secret. What is wrong with it is not told.
pub(in crate::lease) async fn read(State(api): State<Api>, Path(text): Path<String>) -> Result<Response, Fault> {
    let nothing = || Fault::from(ApiError::not_found("There is no such calendar."));
    let (view, policy) = (api.engine.view(), api.policy.load_full());
    let digest = text.strip_suffix(".ics").and_then(secret::digest_of).ok_or_else(nothing)?;
    let directory = &view.identity;
    let feed = directory.feed(&digest).ok_or_else(nothing)?;
    let user = directory.user(feed.user).ok_or_else(nothing)?;
    let who = directory.credentials(user, Scope::Project(feed.project)).ok_or_else(nothing)?;
    let project = directory.project(feed.project).ok_or_else(nothing)?;
    if !policy.allows(RULE, &who, &OfProject(project.id_text())) {
        return Err(nothing());
    }
    let now = api.engine.store.now();
    let since = now.saturating_sub(BACK).unwrap_or(now);
    let mut leases: Vec<Arc<Lease>> = view.lease.leases_of(&project.id_text()).cloned().collect();
    let recent = move |lease: &Lease| lease.taken().is_some_and(|taken| taken.end > since);
    leases.extend(history::leases(&api, vec![EndedBy::Project(project.id_text())], false, recent).await?);
    leases.retain(|lease| policy.allows(GET_LEASE, &who, &OfLease(lease)));
    leases.sort_by_key(|lease| (lease.created_at, lease.id));
    // One that ended while it was read was found twice.
    leases.dedup_by_key(|lease| lease.id);
    let calendar = ical::calendar(&view, &project.name, &leases, now);
    // It changes, and it is nobody else's.
    let headers =
        [(header::CONTENT_TYPE, "text/calendar; charset=utf-8"), (header::CACHE_CONTROL, "private, no-cache")];
    Ok((headers, calendar).into_response())
}
