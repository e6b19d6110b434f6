//! A node's boot trace and job steps as one timeline, whole or as it grows.
//!
//! In: `GET …/nodes/{node}/trace`, `after=TIME` for what is newer than an RFC 3339 time, and to follow it the `cursor` of
//! the last answer with `wait=SECONDS`. Out: rows in order of time, a cursor, and what to try when the machine is awaited. A job's row is stamped before it is committed, so a row
//! can appear behind one that was shown already: a cursor therefore names what its reader has of the last seconds.

use crate::Api;
use crate::appliance::{Asker, with_history};
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, Query, State};
use jiff::{SignedDuration, Timestamp};
use leasehold_domain::id::NodeId;
use leasehold_domain::job::StepState;
use leasehold_engine::diagnosis;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// Entries of the boot trace that one answer holds.
const TRACE_LIMIT: usize = 500;
/// Longest time that a request for news waits, in seconds.
const LONGEST_WAIT: u64 = 60;
/// How far behind one that was shown a row can still appear.
const DISORDER: SignedDuration = SignedDuration::from_secs(10);

/// One row: its moment, its name among rows, and its document.
struct Row {
    at: Timestamp,
    name: u64,
    document: Value,
}

/// What a reader has seen: everything up to `until`, and these rows after it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cursor {
    until: Option<Timestamp>,
    seen: BTreeSet<u64>,
}

impl Cursor {
    fn parse(text: &str) -> Result<Cursor, ApiError> {
        let bad = || ApiError::bad_request("The cursor is none that an earlier answer gave.");
        let (until, seen) = text.split_once('~').ok_or_else(bad)?;
        let names = seen.split('.').filter(|name| !name.is_empty());
        let seen: Result<_, _> = names.map(|name| u64::from_str_radix(name, 36)).collect();
        Ok(Cursor { until: Some(until.parse().map_err(|_| bad())?), seen: seen.map_err(|_| bad())? })
    }

    fn text(&self) -> Option<String> {
        let names: Vec<String> = self.seen.iter().map(|name| base36(*name)).collect();
        self.until.map(|until| format!("{until}~{}", names.join(".")))
    }

    fn is_new(&self, row: &Row) -> bool {
        self.until.is_none_or(|until| row.at > until) && !self.seen.contains(&row.name)
    }

    /// The cursor of a reader who now has all of `rows`. After a clock was set back, rows count from its new time on.
    fn after(rows: &[Row], now: Timestamp) -> Cursor {
        let newest = rows.iter().map(|row| row.at).max().map(|newest| newest.min(now));
        let until = newest.and_then(|newest| newest.saturating_sub(DISORDER).ok());
        let seen = rows.iter().filter(|row| until.is_none_or(|until| row.at > until)).map(|row| row.name).collect();
        Cursor { until, seen }
    }
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(number % 36).unwrap_or(0);
        digits.push(char::from_digit(digit, 36).unwrap_or('0'));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

/// The timeline of a node: all of it, or what the reader of `cursor` does not have yet.
pub(crate) async fn trace(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Json<Value>, ApiError> {
    let cursor = query.get("cursor").map(|text| Cursor::parse(text)).transpose()?.unwrap_or_default();
    let after = match query.get("after") {
        Some(text) => {
            Some(text.parse::<Timestamp>().map_err(|error| ApiError::bad_request(format!("after: {error}")))?)
        }
        None => None,
    };
    let wait = query.get("wait").and_then(|text| text.parse().ok()).unwrap_or(0).min(LONGEST_WAIT);
    let node = with_history(&api.engine.view(), &asker, &ident)?.id;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(wait);
    // Subscribed first, read afterwards: what comes in between is not missed.
    let mut boot = api.engine.trace.subscribe();
    let mut jobs = api.engine.store.subscribe();
    loop {
        let mut rows = rows(&api, node).await?;
        rows.retain(|row| after.is_none_or(|after| row.at > after));
        let next = Cursor::after(&rows, Timestamp::now());
        let new: Vec<Value> = rows.into_iter().filter(|row| cursor.is_new(row)).map(|row| row.document).collect();
        let over = tokio::time::Instant::now() >= deadline;
        if over || !new.is_empty() {
            let cursor = next.text().or_else(|| query.get("cursor").cloned());
            let hint = diagnosis::hint(&api.engine, node).await;
            return Ok(Json(json!({"trace": new, "cursor": cursor, "hint": hint})));
        }
        let more = tokio::select! {
            news = boot.next() => news.is_some(),
            news = jobs.next() => news.is_some(),
            () = tokio::time::sleep_until(deadline) => true,
        };
        if !more {
            // The appliance is stopping.
            return Ok(Json(json!({"trace": [], "cursor": query.get("cursor"), "hint": null})));
        }
    }
}

async fn rows(api: &Api, id: NodeId) -> Result<Vec<Row>, ApiError> {
    let view = api.engine.view();
    let mut rows: Vec<Row> = Vec::new();
    let macs: Vec<_> = view.ports_of(id).map(|port| port.settings.address).collect();
    for entry in api.engine.trace.entries(Some(id), &macs, TRACE_LIMIT).await? {
        let document = json!({"at": entry.at, "source": "boot", "what": entry.what, "detail": entry.detail});
        rows.push(Row { at: entry.at, name: name_of(&document.to_string()), document });
    }
    for job in api.engine.store.jobs_of(id, 10).await? {
        for step in &job.steps {
            let row = |at: Timestamp, what: &str, detail: Option<&String>| {
                let what = format!("{} {what}", step.name.name());
                let name = name_of(&format!("{} {what} {at}", job.id));
                let document = json!({"at": at, "source": "job", "what": what, "detail": detail, "job": job.kind});
                Row { at, name, document }
            };
            rows.extend(step.started_at.map(|at| row(at, "began", None)));
            let end = match step.state {
                StepState::Failed => "failed",
                _ => "done",
            };
            rows.extend(step.ended_at.map(|at| row(at, end, step.detail.as_ref())));
        }
    }
    rows.sort_by_key(|row| (row.at, row.name));
    rows.dedup_by_key(|row| row.name);
    Ok(rows)
}

/// What a row is known by in cursors; the same for the same row in every run of the program.
fn name_of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(second: i64, name: u64) -> Row {
        Row { at: Timestamp::from_second(second).expect("a time"), name, document: Value::Null }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1000).expect("a time")
    }

    #[test]
    fn a_row_that_comes_late_is_shown_and_no_row_twice() {
        let first = [row(1, 10), row(98, 11), row(100, 12)];
        let cursor = Cursor::after(&first, now());
        assert!(first.iter().all(|row| !cursor.is_new(row)));
        assert!(cursor.is_new(&row(99, 13)), "stamped before the last one, committed after it");
        assert!(cursor.is_new(&row(101, 14)));
    }

    #[test]
    fn a_clock_that_was_set_back_hides_nothing() {
        let cursor = Cursor::after(&[row(5000, 1)], now());
        assert!(cursor.is_new(&row(1001, 2)));
    }

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written(times in proptest::collection::vec((0_i64..2000, any::<u64>()), 1..20)) {
            let rows: Vec<Row> = times.into_iter().map(|(second, name)| row(second, name)).collect();
            let cursor = Cursor::after(&rows, now());
            let text = cursor.text().expect("there are rows");
            prop_assert_eq!(Cursor::parse(&text).expect("a cursor"), cursor);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
            let _either_is_fine = Cursor::parse(&text);
        }
    }
}
