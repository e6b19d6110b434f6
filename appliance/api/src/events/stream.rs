//! Events as they happen: `text/event-stream` (WHATWG HTML, 9.2).
//!
//! The stream reads the log, by level: what woke it is no matter, and a reader who is slow misses nothing while the log
//! keeps it; one who comes back says where he was. It ends as soon as its reader could not open it anew: his token is over,
//! his role was taken away, his account was closed.

use super::query::{Filter, Wanted};
use super::{in_words, reader};
use crate::Api;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::limits::Ticket;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::sse::{Event as Message, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use jiff::Timestamp;
use leasehold_domain::event::Event;
use leasehold_engine::events::{Reader, may_be_of};
use leasehold_store::{Cursor, EventsBy, EventsFrom, Feed, News};
use serde_json::json;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

/// How often a stream without news says that it lives, and where it is.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events that are read together.
const AT_ONCE: usize = 100;
/// Where a reader that reconnects by himself says what he had last.
const LAST_EVENT: &str = "last-event-id";

pub(super) async fn answer(api: &Api, caller: Caller, wanted: Wanted, request: Request) -> Result<Response, ApiError> {
    // Subscribed first, read afterwards: what comes in between is not missed.
    let feed = api.engine.store.subscribe();
    let store = &api.engine.store;
    let (parts, _) = request.into_parts();
    let last = parts.headers.get(LAST_EVENT).and_then(|last| last.to_str().ok()).filter(|last| !last.is_empty());
    let place = wanted.start(store, last).await?;
    // One that is too old is told so before the stream begins: a browser then does not try again and again.
    store.events_after(Some(place), 0, |_| false).await.map_err(in_words)?;
    let reader = reader(&caller);
    let by = wanted.by(&reader);
    let follower = Follower {
        api: api.clone(),
        parts: shown_again(parts),
        caller,
        reader,
        filter: wanted.filter,
        by,
        place,
        feed,
        ready: VecDeque::from([heartbeat(api, place)]),
        over: false,
    };
    let messages = stream::unfold(follower, async |mut follower| Some((follower.next().await?, follower)));
    let mut response = Sse::new(futures_util::StreamExt::map(messages, Ok::<_, Infallible>)).into_response();
    // For proxies that would gather an answer before they hand it on.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What the reader showed when he came, to be looked at again; without what was found out by it.
fn shown_again(mut parts: Parts) -> Parts {
    parts.extensions.remove::<Caller>();
    parts.extensions.remove::<crate::audit::Witness>();
    // Held by the answer's body already.
    parts.extensions.remove::<Ticket>();
    parts
}

fn heartbeat(api: &Api, place: Cursor) -> Message {
    Message::default().id(api.engine.store.fresh_cursor_text(place)).comment("")
}

struct Follower {
    api: Api,
    parts: Parts,
    caller: Caller,
    reader: Reader,
    filter: Filter,
    by: EventsBy,
    /// All up to here was read.
    place: Cursor,
    feed: Feed,
    ready: VecDeque<Message>,
    over: bool,
}

impl Follower {
    /// The next message; `None`: the stream is over.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            if self.over || !self.is_still_let_in().await {
                return None;
            }
            if self.read().await {
                continue;
            }
            if !self.wait().await? {
                self.ready.push_back(heartbeat(&self.api, self.place));
            }
        }
    }

    /// Reads on. Gives whether there may be more.
    async fn read(&mut self) -> bool {
        let (store, from) = (&self.api.engine.store, EventsFrom::After(Some(self.place)));
        let (filter, told) = (self.filter.clone(), self.reader.clone());
        let wanted = move |event: &Event| filter.takes(event) && told.is_told(event);
        match store.events_of(self.by.clone(), from, AT_ONCE, wanted).await {
            Ok(page) => {
                self.place = page.next;
                for recorded in &page.events {
                    let Some(document) = self.reader.document(store, recorded) else { continue };
                    let id = store.cursor_text(recorded.cursor);
                    self.ready.push_back(Message::default().id(id).data(document.to_string()));
                }
                page.more || !page.events.is_empty()
            }
            Err(error) => {
                let message = in_words(error).message;
                self.ready.push_back(Message::default().event("lost").data(json!({"message": message}).to_string()));
                self.over = true;
                true
            }
        }
    }

    /// Waits for an event that may be the reader's: true. False: it is time to say that the stream lives, or to look
    /// whether its reader is still let in. `None`: the appliance is stopping.
    async fn wait(&mut self) -> Option<bool> {
        let left = self.caller.token.as_ref().map(|token| Timestamp::now().duration_until(token.expires_at));
        let left = left.map_or(HEARTBEAT, |left| Duration::try_from(left).unwrap_or_default().min(HEARTBEAT));
        let deadline = tokio::time::Instant::now() + left;
        loop {
            tokio::select! {
                news = self.feed.next() => match news? {
                    News::Missed => return Some(true),
                    News::Update(update) => {
                        let events = &update.events;
                        if events.iter().any(|recorded| may_be_of(&self.by, &recorded.event)) {
                            return Some(true);
                        }
                        // A change of who is who may be one of him.
                        let identity = |change| matches!(change, &leasehold_domain::Change::Identity(_));
                        if update.changes.iter().any(identity) && !self.is_still_let_in().await {
                            self.over = true;
                            return Some(true);
                        }
                    }
                },
                () = tokio::time::sleep_until(deadline) => return Some(false),
            }
        }
    }

    /// Whether the stream could be opened anew by what was shown at its beginning, by the same user with the same rights.
    /// The rules in force now are those that count from here on.
    async fn is_still_let_in(&mut self) -> bool {
        self.reader.policy = self.api.policy.load_full();
        if self.caller.origin.uid.is_some() {
            // The socket's peer does not change.
            return true;
        }
        match Caller::from_request_parts(&mut self.parts, &self.api).await {
            Ok(caller) if caller.user.id == self.caller.user.id && caller.scope == self.caller.scope => {
                self.reader = reader(&caller);
                caller.needs(super::LIST, &()).is_ok()
            }
            _ => false,
        }
    }
}
