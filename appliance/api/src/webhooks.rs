//! Webhooks of projects: `GET|POST /appliance/v1/webhooks`, `GET|DELETE /appliance/v1/webhooks/{id}`,
//! `GET /appliance/v1/webhooks/{id}/dead`, `POST /appliance/v1/webhooks/{id}/redeliver`.
//!
//! A POST names a URL and kinds of events (`{"url": "https://…", "types": ["lease", "node.power"]}`; no types: all), and is
//! answered once with the secret that deliveries are signed with. They are the project's that the caller acts for; those of
//! the whole box, which are told everything, are its administrators'.

use crate::Api;
use crate::auth::{Caller, at_socket};
use crate::error::ApiError;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use leasehold_domain::View;
use leasehold_domain::command::Command;
use leasehold_domain::event::is_filter;
use leasehold_domain::id::{ProjectId, WebhookId};
use leasehold_domain::identity::parse_id;
use leasehold_domain::notice::{NoticeCommand, Webhook};
use leasehold_domain::policy::Target;
use leasehold_engine::webhooks::{check_url, new_secret, seal_context};
use leasehold_store::Cursor;
use leasehold_store::audit::without_login;
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;
use uuid::Uuid;

const GET: &str = "appliance:webhook:get";
const CREATE: &str = "appliance:webhook:create";
const DELETE: &str = "appliance:webhook:delete";
const REDELIVER: &str = "appliance:webhook:redeliver";
const PATH: &str = "/appliance/v1/webhooks";
/// Kinds that one webhook may name.
const MOST_KINDS: usize = 64;

pub(crate) fn router() -> Router<Api> {
    Router::new()
        .route(PATH, get(list).post(add))
        .route("/appliance/v1/webhooks/{webhook}", get(show).delete(remove))
        .route("/appliance/v1/webhooks/{webhook}/dead", get(dead))
        .route("/appliance/v1/webhooks/{webhook}/redeliver", post(redeliver))
}

/// For the local socket, whose peers are administrators.
pub(crate) fn local_router(api: &Api) -> Router<Api> {
    router().layer(from_fn_with_state(api.clone(), at_socket::callers))
}

/// Whose webhook it is, as rules ask for it.
struct Of<'a>(Option<&'a str>);

impl Target for Of<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        (name == "project_id").then_some(self.0).flatten().map(Cow::Borrowed)
    }
}

/// The one that is named, if it is there for the caller: else 404, whether it is another's or nobody's.
fn seen(view: &View, caller: &Caller, ident: &str) -> Result<Arc<Webhook>, ApiError> {
    let missing = || ApiError::not_found(format!("Webhook {ident} could not be found."));
    let found = Uuid::parse_str(ident).ok().and_then(|id| view.notices.webhook(WebhookId(id)));
    match found {
        Some(webhook) if caller.shows(GET, webhook.id.0, &Of(webhook.project.as_deref())) => Ok(webhook.clone()),
        Some(_) => Err(missing()),
        None => {
            // As of another's, so that the time of the answer does not tell the two apart.
            let _told_nobody = caller.allows(GET, &Of(Some("--------------------------------")));
            Err(missing())
        }
    }
}

/// The same, if the rule allows it as well.
fn meant(api: &Api, caller: &Caller, ident: &str, rule: &str) -> Result<Arc<Webhook>, ApiError> {
    let webhook = seen(&api.engine.view(), caller, ident)?;
    caller.needs(rule, &Of(webhook.project.as_deref()))?;
    Ok(webhook)
}

fn document(api: &Api, view: &View, webhook: &Webhook) -> Value {
    let delivery = view.notices.delivery(webhook.id);
    let failing = delivery.and_then(|delivery| delivery.failing.as_ref());
    let letters = view.notices.dead_letters(webhook.id).count();
    json!({
        "id": webhook.id,
        "project_id": webhook.project,
        // Receivers know their senders by what is in a URL, some by the query.
        "url": without_login(&webhook.url, "***"),
        "types": webhook.kinds,
        "created_by": webhook.created_by,
        "created_at": webhook.created_at,
        "delivered_at": delivery.and_then(|delivery| delivery.delivered_at),
        "next": delivery.map(|delivery| api.engine.store.fresh_cursor_text(Cursor::from_number(delivery.done))),
        "failing": failing.map(|failing| json!({"since": failing.since, "tries": failing.tries, "why": failing.why})),
        "missed_at": delivery.and_then(|delivery| delivery.missed_at),
        "dead": letters,
    })
}

async fn list(State(api): State<Api>, caller: Caller) -> Result<Json<Value>, ApiError> {
    caller.needs("appliance:webhook:list", &())?;
    let view = api.engine.view();
    let all: Vec<_> = match (caller.credentials.system, &caller.credentials.project_id) {
        (true, None) => view.notices.webhooks().collect(),
        (_, Some(project)) => view.notices.webhooks_of(Some(project)).collect(),
        (false, None) => Vec::new(),
    };
    let shown = all.into_iter().filter(|webhook| caller.allows(GET, &Of(webhook.project.as_deref())));
    let rows: Vec<Value> = shown.map(|webhook| document(&api, &view, webhook)).collect();
    Ok(Json(json!({"webhooks": rows})))
}

async fn show(State(api): State<Api>, caller: Caller, Path(ident): Path<String>) -> Result<Json<Value>, ApiError> {
    let view = api.engine.view();
    let webhook = seen(&view, &caller, &ident)?;
    Ok(Json(document(&api, &view, &webhook)))
}

/// A webhook as it is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    url: String,
    #[serde(default)]
    types: Vec<String>,
    /// Without it: the project that the caller acts for; null: of the whole box.
    project_id: Option<String>,
}

async fn add(
    State(api): State<Api>,
    caller: Caller,
    body: Result<Json<New>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let Json(New { url, types, project_id }) = body.map_err(|bad| ApiError::bad_request(bad.body_text()))?;
    let project = project_id.or_else(|| caller.credentials.project_id.clone());
    caller.needs(CREATE, &Of(project.as_deref()))?;
    let view = api.engine.view();
    let is_known =
        |project: &String| parse_id(project).is_some_and(|id| view.identity.project(ProjectId(id)).is_some());
    if let Some(project) = project.as_ref().filter(|project| !is_known(project)) {
        return Err(ApiError::bad_request(format!("There is no project with the id {project}.")));
    }
    if let Some(unknown) = types.iter().find(|kind| !is_filter(kind)) {
        return Err(ApiError::bad_request(format!(
            "'{unknown}' is no type of event: lease, lease.active, node.power and the like are."
        )));
    }
    if types.len() > MOST_KINDS {
        return Err(ApiError::bad_request(format!("'types' may have {MOST_KINDS} entries.")));
    }
    check_url(&api.webhooks, &url).map_err(|why| ApiError::bad_request(format!("The URL cannot be used: {why}.")))?;
    let unavailable = |why: String| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why);
    let secret = new_secret().ok_or_else(|| unavailable("The system gives no random numbers.".into()))?;
    let id = WebhookId(Uuid::new_v4());
    let context = seal_context(id);
    let context: Vec<&[u8]> = context.iter().map(Vec::as_slice).collect();
    let sealed = api.engine.seal(secret.as_bytes(), &context).map_err(|error| unavailable(error.to_string()))?;
    let webhook = Webhook {
        id,
        project,
        url,
        kinds: types,
        secret: sealed,
        created_by: caller.user.name.clone(),
        created_at: Timestamp::now(),
    };
    // What happens from now on.
    let done = api.engine.store.newest_cursor().number();
    let add = NoticeCommand::AddWebhook { webhook: Box::new(webhook.clone()), done, most: api.webhooks.most };
    api.submit(Command::Notice(add), caller.actor()).await?;
    let mut shown = document(&api, &api.engine.view(), &webhook);
    shown["secret"] = secret.into();
    Ok((StatusCode::CREATED, Json(shown)))
}

async fn remove(State(api): State<Api>, caller: Caller, Path(ident): Path<String>) -> Result<StatusCode, ApiError> {
    let id = meant(&api, &caller, &ident, DELETE)?.id;
    api.submit(Command::Notice(NoticeCommand::RemoveWebhook { id }), caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn dead(State(api): State<Api>, caller: Caller, Path(ident): Path<String>) -> Result<Json<Value>, ApiError> {
    let view = api.engine.view();
    let webhook = seen(&view, &caller, &ident)?;
    let letters = view.notices.dead_letters(webhook.id).map(|letter| {
        json!({
            "event": api.engine.store.cursor_text(Cursor::from_number(letter.event)),
            "type": letter.kind,
            "timestamp": letter.at,
            "tries": letter.tries,
            "given_up_at": letter.died_at,
            "why": letter.why,
            "again": letter.again,
        })
    });
    Ok(Json(json!({"dead": letters.collect::<Vec<_>>()})))
}

/// Which of what was given up; nothing said: all of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    event: Option<String>,
}

async fn redeliver(
    State(api): State<Api>,
    caller: Caller,
    Path(ident): Path<String>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<StatusCode, ApiError> {
    let id = meant(&api, &caller, &ident, REDELIVER)?.id;
    let Query(Which { event }) = which.map_err(|bad| ApiError::bad_request(bad.body_text()))?;
    let read = |text: String| api.engine.store.cursor_from_text(&text).map(Cursor::number);
    let event = event.map(read).transpose().map_err(|error| ApiError::bad_request(error.to_string()))?;
    api.submit(Command::Notice(NoticeCommand::Redeliver { id, event }), caller.actor()).await?;
    Ok(StatusCode::ACCEPTED)
}
