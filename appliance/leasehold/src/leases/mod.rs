//! The local commands about offers, leases and reservations, by the lease API on the local socket.
//!
//! In: words of the command line. Out: the API's documents, as tables or as they are. What is done for a project names it;
//! without one, whoever administers the box does it for the owner of the node.

pub(crate) mod calendar;
pub(crate) mod lease;
pub(crate) mod offer;
pub(crate) mod reservation;
mod time;
pub(crate) mod usage;

use crate::local::{self, Content};
use crate::output::{Asking, Output, Table, cell, json};
use anyhow::Context;
use clap::Args;
use http::Method;
use leasehold_api::url::escaped;
use serde_json::{Map, Value};

/// The header by which the local socket is told for whom something is done.
const PROJECT_HEADER: &str = "x-leasehold-project";

/// Begin and end of what is made.
#[derive(Args)]
pub(crate) struct When {
    /// When it begins, such as 2026-11-24T08:30:00, in UTC or with its zone (…+01:00). Without it: now.
    #[arg(long)]
    start: Option<String>,
    /// When it ends.
    #[arg(long, conflicts_with = "length")]
    end: Option<String>,
    /// How long it is instead, such as 12h or "3d 12h".
    #[arg(long = "for", value_name = "LENGTH", value_parser = time::length)]
    length: Option<jiff::SignedDuration>,
}

impl When {
    fn put(&self, body: &mut Map<String, Value>) -> anyhow::Result<()> {
        let mut end = self.end.clone();
        if let Some(length) = self.length {
            let start = match &self.start {
                None => jiff::Timestamp::now(),
                Some(start) => time::read(start)?,
            };
            end = Some(time::said(start.checked_add(length).context("--for: that is too long")?));
        }
        put(body, "start_time", self.start.as_deref());
        put(body, "end_time", end.as_deref());
        Ok(())
    }
}

/// The new end of what there is.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct NewEnd {
    /// When it is to end; earlier than now planned, too.
    #[arg(long)]
    end: Option<String>,
    /// How much longer it is to be, such as 12h or "3d 12h".
    #[arg(long = "for", value_name = "LENGTH", value_parser = time::length)]
    length: Option<jiff::SignedDuration>,
}

impl NewEnd {
    /// For the document of what is extended.
    fn of(&self, document: &Value) -> anyhow::Result<String> {
        if let Some(end) = &self.end {
            return Ok(end.clone());
        }
        let present = document.get("end_time").and_then(Value::as_str).context("the answer has no end_time")?;
        let longer = self.length.unwrap_or_default();
        let end = time::read(present)?.checked_add(longer).context("--for: that is too long")?;
        Ok(time::said(end))
    }
}

fn put(body: &mut Map<String, Value>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        body.insert(name.into(), value.into());
    }
}

/// A path with the parameters that have a value.
fn query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let said = parameters.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={}", escaped(value))));
    let said: Vec<String> = said.collect();
    if said.is_empty() { path.to_owned() } else { format!("{path}?{}", said.join("&")) }
}

/// NAME=VALUE, where the value is JSON if it can be, else a text.
fn property(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("write NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

/// One request for whoever is named.
async fn send(
    asking: &Asking,
    project: Option<&str>,
    method: Method,
    path: &str,
    body: Value,
) -> anyhow::Result<Value> {
    let content = if body.is_null() { Content::None } else { Content::Json(body) };
    let headers: Vec<_> = project.iter().map(|project| (PROJECT_HEADER, *project)).collect();
    let answer = local::ask(&asking.socket.socket, method, path, content, &headers).await?;
    Ok(serde_json::from_slice(&answer).unwrap_or(Value::Null))
}

async fn get(asking: &Asking, path: &str) -> anyhow::Result<Value> {
    send(asking, None, Method::GET, path, Value::Null).await
}

/// The UUID of what the path shows, so that a name means one thing from here on.
fn uuid(document: &Value) -> anyhow::Result<&str> {
    document.get("uuid").and_then(Value::as_str).context("the answer has no uuid")
}

/// A time for people.
fn when(document: &Value, name: &str) -> String {
    let text = cell(document, name);
    if text.starts_with("9999-") { "never".into() } else { text.get(..19).unwrap_or(&text).to_owned() }
}

/// The node by its name, if it has one.
fn node(document: &Value) -> String {
    named(document, "resource", "resource_uuid")
}

fn named(document: &Value, name: &str, id: &str) -> String {
    let text = cell(document, name);
    if text == "-" { cell(document, id) } else { text }
}

/// One thing, a member a line.
fn tell(asking: &Asking, document: &Value) -> anyhow::Result<()> {
    if asking.output == Output::Json {
        return json(document);
    }
    let mut table = Table::new(&["FIELD", "VALUE"]);
    for name in document.as_object().into_iter().flat_map(Map::keys) {
        let value = if name.ends_with("_time") { when(document, name) } else { cell(document, name) };
        table.row(&[name, &value]);
    }
    table.print()
}

/// Runs what a command does.
fn run<F: Future<Output = anyhow::Result<()>>>(work: F) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_parameters_with_a_value_are_asked_for() {
        assert_eq!(query("/p", &[("a", None), ("b", None)]), "/p");
        assert_eq!(query("/p", &[("a", None), ("b", Some("x y")), ("c", Some("1&2"))]), "/p?b=x%20y&c=1%262");
    }

    #[test]
    fn a_property_is_json_where_it_can_be() {
        assert_eq!(property("cpus=8"), Ok(("cpus".into(), json!(8))));
        assert_eq!(property("place=row 3"), Ok(("place".into(), json!("row 3"))));
        assert_eq!(property("text=a=b"), Ok(("text".into(), json!("a=b"))));
        assert!(property("=8").is_err() && property("cpus").is_err());
    }

    #[test]
    fn a_new_end_is_said_or_reckoned_from_the_present_one() {
        let lease = json!({"end_time": "2030-01-31T12:00:00.500000"});
        let by = |hours| NewEnd { end: None, length: Some(jiff::SignedDuration::from_hours(hours)) };
        assert_eq!(by(24).of(&lease).ok().as_deref(), Some("2030-02-01T12:00:00.500000Z"));
        let said = NewEnd { end: Some("2030-03-01T00:00:00".into()), length: None };
        assert_eq!(said.of(&lease).ok().as_deref(), Some("2030-03-01T00:00:00"));
        assert!(by(i64::from(i32::MAX)).of(&lease).is_err(), "beyond all calendars");
    }

    #[test]
    fn the_end_of_time_is_never() {
        assert_eq!(when(&json!({"end_time": "9999-12-31T23:59:59.999999"}), "end_time"), "never");
        assert_eq!(when(&json!({"end_time": "2030-01-31T12:00:00.500000"}), "end_time"), "2030-01-31T12:00:00");
        assert_eq!(when(&json!({}), "end_time"), "-");
    }
}
