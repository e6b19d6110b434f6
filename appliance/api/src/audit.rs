//! The audit over HTTP: read, exported, verified; and what handlers forbid, noted in it.
//!
//! `GET /appliance/v1/audit[?before=…&limit=…&actor=…&what=…&subject=…&refused=true&since=…]` for readers of the whole
//! system and on the local socket; there also `GET /appliance/v1/audit/export?after=…` (entries as they were hashed, with
//! their links) and `GET /appliance/v1/audit/verify[?number=…&link=…]`.

use crate::Api;
use crate::auth::Caller;
use crate::error::ApiError;
use axum::extract::rejection::QueryRejection;
use axum::extract::{MatchedPath, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use leasehold_store::{AuditFilter, AuditRow};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};

/// Entries of a page when nothing is said, and at most.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1000;

pub(crate) fn public_router() -> Router<Api> {
    Router::new().route("/appliance/v1/audit", get(list_for_user))
}

/// For the local socket.
pub(crate) fn local_router() -> Router<Api> {
    Router::new()
        .route("/appliance/v1/audit", get(list))
        .route("/appliance/v1/audit/export", get(export))
        .route("/appliance/v1/audit/verify", get(verify))
}

/// Which entries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    before: Option<u64>,
    limit: Option<usize>,
    actor: Option<String>,
    what: Option<String>,
    subject: Option<String>,
    #[serde(default)]
    refused: bool,
    since: Option<Timestamp>,
}

fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    let Query(inner) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    Ok(inner)
}

async fn list_for_user(
    State(api): State<Api>,
    caller: Caller,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    caller.needs("appliance:audit:list", &())?;
    list(State(api), wanted).await
}

async fn list(State(api): State<Api>, wanted: Result<Query<Wanted>, QueryRejection>) -> Result<Json<Value>, ApiError> {
    let Wanted { before, limit, actor, what, subject, refused, since } = query(wanted)?;
    let limit = limit.unwrap_or(PAGE);
    if limit == 0 || limit > LARGEST_PAGE {
        return Err(ApiError::bad_request(format!("'limit' must be 1 to {LARGEST_PAGE}.")));
    }
    let filter = AuditFilter { actor, what, subject, refused_only: refused, since };
    let page = api.engine.store.audit_page(before, limit, filter).await?;
    let entries: Vec<Value> = page.rows.iter().map(document).collect();
    Ok(Json(json!({"entries": entries, "before": page.before})))
}

/// An entry with its place in the chain.
fn document(row: &AuditRow) -> Value {
    let mut entry: Value = serde_json::from_str(&row.text).unwrap_or(Value::Null);
    entry["number"] = row.number.into();
    entry["link"] = hex::encode(row.link).into();
    entry
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn export(State(api): State<Api>, after: Result<Query<After>, QueryRejection>) -> Result<Json<Value>, ApiError> {
    let after = query(after)?.after;
    let (removed, anchor, rows) = api.engine.store.audit_rows_after(after, LARGEST_PAGE).await?;
    let rows: Vec<Value> =
        rows.iter().map(|row| json!({"number": row.number, "link": hex::encode(row.link), "text": row.text})).collect();
    Ok(Json(json!({"removed": removed, "anchor": hex::encode(anchor), "rows": rows})))
}

/// An entry whose link somebody has kept elsewhere.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Noted {
    number: Option<u64>,
    link: Option<String>,
}

async fn verify(State(api): State<Api>, noted: Result<Query<Noted>, QueryRejection>) -> Result<Json<Value>, ApiError> {
    let noted = match query(noted)? {
        Noted { number: None, link: None } => None,
        Noted { number: Some(number), link: Some(link) } => {
            let mut bytes = [0; 32];
            let wrong = |_| ApiError::bad_request("'link' must be 64 hexadecimal digits.");
            hex::decode_to_slice(&link, &mut bytes).map_err(wrong)?;
            Some((number, bytes))
        }
        _ => return Err(ApiError::bad_request("'number' and 'link' belong together.")),
    };
    let found = api.engine.store.audit_verify(noted).await?;
    let faults: Vec<String> = found.faults.iter().map(ToString::to_string).collect();
    Ok(Json(json!({
        "removed": found.removed, "count": found.count, "last": found.last, "head": hex::encode(found.head),
        "faults": faults,
    })))
}

/// Sees who a request is from, when that is found out.
#[derive(Clone, Default)]
pub(crate) struct Witness(Arc<OnceLock<Caller>>);

impl Witness {
    pub(crate) fn saw(&self, caller: &Caller) {
        // The first is the one.
        let _ = self.0.set(caller.clone());
    }
}

/// Notes in the audit what is forbidden to a known caller, in whatever form he is told.
pub(crate) async fn note_forbidden(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let witness = Witness::default();
    request.extensions_mut().insert(witness.clone());
    let method = request.method().clone();
    let pattern = request.extensions().get::<MatchedPath>().cloned();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    if response.status() == StatusCode::FORBIDDEN
        && let Some(caller) = witness.0.get()
    {
        let what = format!("{method} {}", pattern.as_ref().map_or("", MatchedPath::as_str));
        api.engine.store.note_refusal_of(&caller.actor(), what.trim_end(), Some(&path), "forbidden by policy");
    }
    response
}
