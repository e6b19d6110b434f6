//! What happened, to whom it is told: in pages, and as it happens.
//!
//! `GET /appliance/v1/events[?before=CURSOR|after=CURSOR&limit=…&type=…&node=…&lease=…&project=…&since=…&until=…]`: a page,
//! newest first, or with `after` oldest first from there on. With `Accept: text/event-stream` or `follow=true` the same
//! documents come as they happen (server-sent events), from `Last-Event-ID` or `after` on, or, where nothing of the kind is said,
//! from now on; with `since` from the oldest kept of that moment on.
//!
//! A cursor is a place in the sequence of all events, enciphered. Those of events are always the same; those of pages and
//! heartbeats are new each time, so that nobody sees by them whether others had any events meanwhile.

mod query;
mod stream;

use crate::Api;
use crate::auth::{Caller, at_socket};
use crate::error::ApiError;
use crate::limits::Ticket;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, extract::State};
use leasehold_engine::events::Reader;
use leasehold_store::{CursorError, EventsFrom, ReadError};
use query::Wanted;
use serde_json::{Value, json};

/// The rule for who may ask at all. What he is told is asked of each event.
const LIST: &str = "appliance:event:list";

pub(crate) fn router() -> Router<Api> {
    Router::new().route("/appliance/v1/events", get(events))
}

/// For the local socket, whose peers are administrators.
pub(crate) fn local_router(api: &Api) -> Router<Api> {
    router().layer(from_fn_with_state(api.clone(), at_socket::callers))
}

async fn events(
    State(api): State<Api>,
    caller: Caller,
    wanted: Result<Wanted, ApiError>,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    caller.needs(LIST, &())?;
    let wanted = wanted?;
    if wanted.follow || accepts_stream(request.headers()) {
        // Whoever could follow as a call among others would fill the box by it.
        if request.extensions().get::<Ticket>().is_some_and(|ticket| !ticket.is_stream()) {
            return Err(ApiError::bad_request("Say 'follow=true', as it is written here, to follow events."));
        }
        return stream::answer(&api, caller, wanted, request).await;
    }
    Ok(page(&api, &caller, &wanted).await?.into_response())
}

fn accepts_stream(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/event-stream"))
}

/// The reader that a caller is.
fn reader(caller: &Caller) -> Reader {
    Reader { policy: caller.policy.clone(), credentials: caller.credentials.clone() }
}

async fn page(api: &Api, caller: &Caller, wanted: &Wanted) -> Result<Json<Value>, ApiError> {
    let (reader, store) = (reader(caller), &api.engine.store);
    let mut from = wanted.from(store)?;
    let (by, mut rows) = (wanted.by(&reader), Vec::new());
    loop {
        let (takes, told) = (wanted.filter.clone(), reader.clone());
        let left = wanted.limit - rows.len();
        let page = store.events_of(by.clone(), from, left, move |event| takes.takes(event) && told.is_told(event));
        let page = page.await.map_err(in_words)?;
        rows.extend(page.events.iter().filter_map(|recorded| reader.document(store, recorded)));
        from = match from {
            EventsFrom::After(_) => EventsFrom::After(Some(page.next)),
            EventsFrom::Before(_) => EventsFrom::Before(Some(page.next)),
        };
        if !page.more || rows.len() >= wanted.limit {
            return Ok(Json(json!({
                "events": rows,
                "next": store.fresh_cursor_text(page.next),
                "more": page.more,
            })));
        }
    }
}

/// 400 for a cursor that is none, 410 for one that is too old.
fn in_words(error: ReadError) -> ApiError {
    match error {
        ReadError::Cursor(CursorError::TooOld) => ApiError::new(StatusCode::GONE, CursorError::TooOld.to_string()),
        ReadError::Cursor(error) => ApiError::bad_request(error.to_string()),
        other => other.into(),
    }
}
