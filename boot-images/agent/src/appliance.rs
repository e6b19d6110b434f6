//! The appliance as the agent calls it: version, lookup, inspection, heartbeat. Each call tries every address it was
//! given, beginning with the one that answered last.

use crate::clock;
use crate::console::Console;
use crate::http::{Client, Response, percent_encode};
use leasehold_wire::agent::{Heartbeat, Inspection, LookupAnswer};
use serde_json::Value;
use std::sync::{Mutex, PoisonError};

/// The newest API version whose agent calls this agent knows (1.72: status in heartbeats).
const NEWEST: (u16, u16) = (1, 72);
/// Spoken where the appliance does not say what it speaks: the first with `agent_verify_ca`.
const ASSUMED: (u16, u16) = (1, 68);
const MAX_ANSWER: u64 = 4 << 20;

/// An API version, as in `X-OpenStack-Ironic-API-Version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion(pub u16, pub u16);

/// What a call came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply<T> {
    /// As hoped.
    Good(T),
    /// 404 (or another refusal): asking again helps only when something changes there.
    Refused(String),
    /// 409: somebody else works on the node just now.
    Locked(String),
    /// Network, or a failing appliance: asking again helps.
    Trouble(String),
}

/// The appliance at its addresses.
pub struct Appliance {
    client: Client,
    urls: Mutex<Vec<String>>,
    console: Console,
}

impl Appliance {
    /// For one boot.
    #[must_use]
    pub fn new(client: Client, urls: Vec<String>, console: Console) -> Appliance {
        Appliance { client, urls: Mutex::new(urls), console }
    }

    /// Asks which version it speaks, and sets the clock by its answer.
    #[must_use]
    pub fn discover(&self) -> Reply<ApiVersion> {
        let answer = match self.call("GET", "/", None, &[]) {
            Ok(answer) => answer,
            Err(trouble) => return Reply::Trouble(trouble),
        };
        if let Some(done) = answer.head.field("date").and_then(clock::set_from) {
            self.console.say(&done);
        }
        Reply::Good(
            version_of(&answer.body).unwrap_or(ApiVersion(ASSUMED.0, ASSUMED.1)).min(ApiVersion(NEWEST.0, NEWEST.1)),
        )
    }

    /// Finds the node that this machine is.
    #[must_use]
    pub fn lookup(&self, version: ApiVersion, addresses: &[String], node_uuid: Option<&str>) -> Reply<LookupAnswer> {
        let mut path = format!("/v1/lookup?addresses={}", percent_encode(&addresses.join(",")));
        if let Some(uuid) = node_uuid {
            path.push_str(&format!("&node_uuid={}", percent_encode(uuid)));
        }
        match self.call("GET", &path, Some(version), &[]) {
            Ok(answer) if answer.head.status == 200 => match serde_json::from_slice(&answer.body) {
                Ok(found) => Reply::Good(found),
                Err(error) => Reply::Trouble(format!("the appliance's answer cannot be understood: {error}")),
            },
            Ok(answer) => refusal(&answer),
            Err(trouble) => Reply::Trouble(trouble),
        }
    }

    /// One heartbeat.
    #[must_use]
    pub fn heartbeat(&self, version: ApiVersion, uuid: &str, beat: &Heartbeat) -> Reply<()> {
        let path = format!("/v1/heartbeat/{}", percent_encode(uuid));
        let body = serde_json::to_vec(beat).unwrap_or_default();
        match self.call("POST", &path, Some(version), &body) {
            Ok(answer) if (200..300).contains(&answer.head.status) => Reply::Good(()),
            Ok(answer) => refusal(&answer),
            Err(trouble) => Reply::Trouble(trouble),
        }
    }

    fn call(&self, method: &str, path: &str, version: Option<ApiVersion>, body: &[u8]) -> Result<Response, String> {
        let urls = self.urls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut reasons = Vec::new();
        for (index, url) in urls.iter().enumerate() {
            let version = version.map(|version| format!("{}.{}", version.0, version.1));
            let mut fields = vec![("Accept", "application/json")];
            if let Some(version) = &version {
                fields.push(("X-OpenStack-Ironic-API-Version", version));
            }
            match self.client.call(method, &format!("{url}{path}"), &fields, body, MAX_ANSWER) {
                Ok(answer) => {
                    self.urls.lock().unwrap_or_else(PoisonError::into_inner).rotate_left(index);
                    return Ok(answer);
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        Err(reasons.join("; "))
    }
}

/// Posts an inspection to the first of `urls` that takes it. Gives the node's id back, where the answer names one.
#[must_use]
pub fn post_inspection(client: &Client, urls: &[String], inspection: &Inspection) -> Reply<Option<String>> {
    let body = serde_json::to_vec(inspection).unwrap_or_default();
    let mut last = Reply::Trouble("there is no address to post the inventory to".to_owned());
    for url in urls {
        match client.call("POST", url, &[("Accept", "application/json")], &body, MAX_ANSWER) {
            Ok(answer) if (200..300).contains(&answer.head.status) => {
                if let Some(done) = answer.head.field("date").and_then(clock::set_from) {
                    drop(done);
                }
                let answer: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                return Reply::Good(answer.get("uuid").and_then(Value::as_str).map(str::to_owned));
            }
            Ok(answer) => return refusal(&answer),
            Err(error) => last = Reply::Trouble(error.to_string()),
        }
    }
    last
}

fn refusal<T>(answer: &Response) -> Reply<T> {
    let text = error_text(answer);
    match answer.head.status {
        409 => Reply::Locked(text),
        429 | 500.. => Reply::Trouble(text),
        _ => Reply::Refused(text),
    }
}

/// `{"error_message": {"faultstring": …}}`, the same with the inner object as a text, or anything.
fn error_text(answer: &Response) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let inner = match body.get("error_message") {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone())),
        Some(other) => other.clone(),
        None => body,
    };
    let said = ["faultstring", "title"].iter().find_map(|key| inner.get(key).and_then(Value::as_str));
    match said.or(inner.as_str()) {
        Some(said) => format!("{} ({})", said.chars().take(500).collect::<String>(), answer.head.status),
        None => format!("answered by {}", answer.head.status),
    }
}

/// `{"default_version": {"version": "1.115"}}`.
fn version_of(body: &[u8]) -> Option<ApiVersion> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let text = body.get("default_version")?.get("version")?.as_str()?;
    let (major, minor) = text.split_once('.')?;
    Some(ApiVersion(major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::ResponseHead;

    fn answer(status: u16, body: &str) -> Response {
        let head = ResponseHead { status, http_1_0: false, fields: vec![] };
        Response { head, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn errors_are_told_in_the_appliances_words() {
        let object = answer(404, r#"{"error_message": {"faultcode": "Client", "faultstring": "Node not found"}}"#);
        assert_eq!(refusal::<()>(&object), Reply::Refused("Node not found (404)".into()));
        let text = answer(409, r#"{"error_message": "{\"faultstring\": \"locked\"}"}"#);
        assert_eq!(refusal::<()>(&text), Reply::Locked("locked (409)".into()));
        assert_eq!(refusal::<()>(&answer(503, "<html>")), Reply::Trouble("answered by 503".into()));
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(version_of(br#"{"default_version": {"id": "v1", "version": "1.115"}}"#), Some(ApiVersion(1, 115)));
        assert_eq!(version_of(b"{}"), None);
        assert!(ApiVersion(1, 115).min(ApiVersion(1, 72)) == ApiVersion(1, 72));
    }
}
