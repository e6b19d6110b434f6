//! A row of the table: what is asked, and what of the answer counts.

use axum::http::StatusCode;
use serde_json::Value;
use std::collections::BTreeMap;

/// What of an answer counts.
#[derive(Clone, Debug)]
enum See {
    Status,
    /// The answer mentions this.
    Mentions(String),
    /// The answer has this member, unmasked.
    Member(&'static str),
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) service: &'static str,
    pub(super) method: &'static str,
    /// Below the service; `{names}` stand for things of the scene.
    pub(super) path: String,
    /// What is particular about it.
    what: String,
    body: Value,
    see: See,
}

impl Row {
    pub(super) fn new(service: &'static str, method: &'static str, path: &str) -> Row {
        Row { service, method, path: path.into(), what: String::new(), body: Value::Null, see: See::Status }
    }

    pub(super) fn with(self, body: Value) -> Row {
        Row { body, ..self }
    }

    pub(super) fn called(self, what: impl Into<String>) -> Row {
        Row { what: what.into(), ..self }
    }

    /// A list, which shows this or leaves it out.
    pub(super) fn lists(self, thing: &str) -> Row {
        Row { see: See::Mentions(thing.into()), what: thing.into(), ..self }
    }

    /// A document, of which this member is shown or masked.
    pub(super) fn shows(self, pointer: &'static str) -> Row {
        Row { see: See::Member(pointer), what: format!("shows {}", &pointer[1..].replace('/', ".")), ..self }
    }

    pub(super) fn name(&self) -> String {
        format!("{} {} {} {}", self.service, self.path, self.method, self.what).trim_end().to_owned()
    }

    /// Where it stands in the table.
    pub(super) fn place(&self) -> (&'static str, String, &'static str, String) {
        (self.service, self.path.clone(), self.method, self.what.clone())
    }

    /// The path of the request.
    pub(super) fn url(&self, things: &BTreeMap<&'static str, String>) -> String {
        let base = match self.service {
            "baremetal" => "/baremetal/v1",
            "network" => "/network/v2.0",
            "image" => "/image/v2",
            "lease" => "/lease/v1",
            "identity" => "/identity/v3",
            _ => "",
        };
        format!("{base}{}", named(&self.path, things))
    }

    /// The body of the request: JSON, or the disk of this name.
    pub(super) fn body(&self, things: &BTreeMap<&'static str, String>) -> Vec<u8> {
        match &self.body {
            Value::Null => Vec::new(),
            Value::String(name) => disk(name),
            other => named(&other.to_string(), things).into_bytes(),
        }
    }

    pub(super) fn content_type(&self) -> &'static str {
        match (self.service, self.method, &self.body) {
            (_, _, Value::String(_)) => "application/octet-stream",
            ("image", "PATCH", _) => "application/openstack-images-v2.1-json-patch",
            _ => "application/json",
        }
    }

    /// The cell for an answer.
    pub(super) fn cell(&self, status: StatusCode, answer: &str, things: &BTreeMap<&'static str, String>) -> String {
        // 300 is how some services show what there is.
        if !status.is_success() && status != StatusCode::MULTIPLE_CHOICES {
            return status.as_u16().to_string();
        }
        let seen = match &self.see {
            See::Status => true,
            See::Mentions(thing) => answer.contains(&named(thing, things)),
            See::Member(pointer) => {
                let document: Value = serde_json::from_str(answer).unwrap_or_default();
                document.pointer(pointer).is_some_and(|value| !value.to_string().to_lowercase().contains("redacted"))
            }
        };
        if seen { "ok".into() } else { "-".into() }
    }
}

/// The smallest disk that can be deployed: a boot sector, unlike that of any other name.
pub(super) fn disk(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(510, 0);
    bytes.extend([0x55, 0xaa]);
    bytes
}

/// The text with things in the places of their names.
fn named(text: &str, things: &BTreeMap<&'static str, String>) -> String {
    let mut text = text.to_owned();
    for (name, value) in things {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text
}
