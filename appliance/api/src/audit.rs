//! The audit over HTTP: read, exported, verified; and what requests are refused, noted in it.
//!
//! `GET /appliance/v1/audit[?before=…&limit=…&actor=…&what=…&subject=…&refused=true&since=…]` for readers of the whole
//! system and on the local socket; there also `GET /appliance/v1/audit/export?after=…` (entries as they were hashed, with
//! their links) and `GET /appliance/v1/audit/verify[?number=…&link=…]`.

use crate::Api;
use crate::auth::{Caller, RequestId};
use crate::error::ApiError;
use axum::extract::rejection::QueryRejection;
use axum::extract::{MatchedPath, Query, Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use leasehold_store::{AuditFilter, AuditRow};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use uuid::Uuid;

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

/// The last thing in a request that was hidden from its caller, and the rule that hides it; no id where the caller
/// named what nobody has. All clones of a caller share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hidings {
    last: Arc<Mutex<Option<(&'static str, Uuid)>>>,
    #[cfg(test)]
    rules: Arc<Mutex<Vec<String>>>,
}

impl Hidings {
    pub(crate) fn note(&self, rule: &'static str, id: Uuid) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((rule, id));
    }

    fn last(&self) -> Option<(&'static str, Uuid)> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(_, id)| !id.is_nil())
    }

    /// Tests compare which rules are asked about what is hidden and about what is not there.
    #[cfg(test)]
    pub(crate) fn asked(&self, rule: &str) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).push(rule.to_owned());
    }

    #[cfg(not(test))]
    pub(crate) fn asked(&self, _: &str) {}

    #[cfg(test)]
    pub(crate) fn rules(&self) -> Vec<String> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Gives every request its id, and notes in the audit what is refused to a known caller, in whatever form he is told.
pub(crate) async fn witness(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let (witness, id) = (Witness::default(), RequestId::new());
    request.extensions_mut().insert(witness.clone());
    request.extensions_mut().insert(id.clone());
    let asked = Asked {
        is_change: !request.method().is_safe(),
        method: request.method().clone(),
        pattern: request.extensions().get::<MatchedPath>().cloned(),
        path: request.uri().path().to_owned(),
    };
    let mut response = next.run(request).await;
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert("x-openstack-request-id", id);
    }
    let Some(caller) = witness.0.get() else { return response };
    match response.status() {
        StatusCode::FORBIDDEN => asked.note(&api, caller, Some(&asked.path), "forbidden by policy"),
        // Whether there is anything to note is found out apart from the answer, whose time is to tell nothing.
        status @ (StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST) => {
            let caller = caller.clone();
            tokio::spawn(async move { asked.note_hidden(&api, &caller, status) });
        }
        _ => {}
    }
    #[cfg(test)]
    response.extensions_mut().insert(caller.hidings.clone());
    response
}

/// What a request asked for.
struct Asked {
    is_change: bool,
    method: Method,
    pattern: Option<MatchedPath>,
    path: String,
}

impl Asked {
    fn note(&self, api: &Api, caller: &Caller, subject: Option<&str>, reason: &str) {
        let what = format!("{} {}", self.method, self.pattern.as_ref().map_or("", MatchedPath::as_str));
        api.engine.store.note_refusal_of(&caller.actor(), what.trim_end(), subject, reason);
    }

    /// A refusal that denies that there is anything. The administrator is told what there is. Each attempt to change
    /// something is a row, also of what nobody has; looks at hidden things are counted by the kind of request, so that
    /// who tries ids makes one row of all of them.
    fn note_hidden(&self, api: &Api, caller: &Caller, status: StatusCode) {
        let subject = Some(self.path.as_str()).filter(|_| self.is_change);
        let code = status.as_u16();
        match caller.hidings.last() {
            Some((rule, id)) => {
                self.note(api, caller, subject, &format!("{rule} hides {id} from the caller, who was told {code}"));
            }
            None if self.is_change && status == StatusCode::NOT_FOUND => {
                self.note(api, caller, subject, "there is no such thing");
            }
            None => {}
        }
    }
}
