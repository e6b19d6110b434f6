//! Reading the members of a request's document: what is not known is refused, so that nothing slips in by its name.

use super::fault::Fault;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use leasehold_domain::identity::parse_id;
use serde_json::{Map, Value};
use uuid::Uuid;

/// A request's body, or why it is none.
pub(super) type Body = Result<Json<Value>, JsonRejection>;

/// The members of one object.
pub(super) struct Members {
    what: &'static str,
    map: Map<String, Value>,
}

impl Members {
    /// The object under `what` in a body, with no members but these.
    pub(super) fn of(body: Body, what: &'static str, known: &[&str]) -> Result<Members, Fault> {
        let Json(mut body) = body?;
        let Some(Value::Object(map)) = body.get_mut(what).map(Value::take) else {
            return Err(Fault::bad_request(format!("The body has to be an object with the object '{what}' in it.")));
        };
        Members::in_map(map, what, known)
    }

    pub(super) fn in_map(map: Map<String, Value>, what: &'static str, known: &[&str]) -> Result<Members, Fault> {
        match map.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(Fault::bad_request(format!("'{key}' is no member of {what} that can be given here."))),
            None => Ok(Members { what, map }),
        }
    }

    fn wrong(&self, name: &str, kind: &str) -> Fault {
        Fault::bad_request(format!("'{name}' of {} has to be {kind}.", self.what))
    }

    /// Whether the member is given, be it as null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// A text; `None` when it is not given or null.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Fault> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.wrong(name, "a string")),
        }
    }

    /// A text that has to be there.
    pub(super) fn needed(&self, name: &str) -> Result<String, Fault> {
        self.text(name)?.ok_or_else(|| Fault::bad_request(format!("'{name}' of {} is missing.", self.what)))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Fault> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    /// The id of something; one that cannot be an id names nothing.
    pub(super) fn id(&self, name: &str) -> Result<Option<Uuid>, Fault> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        parse_id(&text).map(Some).ok_or_else(|| Fault::bad_request(format!("'{text}' is no {name}.")))
    }

    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Fault> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Array(texts)) => {
                let texts: Option<Vec<_>> = texts.iter().map(|text| text.as_str().map(str::to_owned)).collect();
                texts.map(Some).ok_or_else(|| self.wrong(name, "a list of strings"))
            }
            Some(_) => Err(self.wrong(name, "a list of strings")),
        }
    }

    /// Keystone's `options`, of which there are none here.
    pub(super) fn no_options(&self) -> Result<(), Fault> {
        match self.value("options") {
            None => Ok(()),
            Some(Value::Object(options)) if options.is_empty() => Ok(()),
            Some(_) => Err(Fault::bad_request(format!("{} has no options here.", self.what))),
        }
    }
}
