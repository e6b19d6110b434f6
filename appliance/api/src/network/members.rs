//! Bodies: `{"network": {…}}`, its members taken out one by one; what is left over at the end was not known.

use super::fault::{Asker, Fault};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use leasehold_domain::policy::Target;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use uuid::Uuid;

/// A body, or why it is none.
pub(super) type Body = Result<Json<Value>, JsonRejection>;

/// The members of the one object that a body is about.
#[derive(Debug)]
pub(super) struct Members {
    map: Map<String, Value>,
    /// Names of all that were given, for policy.
    given: Vec<(String, Value)>,
}

/// What a body says of a member.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said<T> {
    Nothing,
    Null,
    This(T),
}

impl<T> Said<T> {
    /// What was said, `default` for null, `now` where nothing was.
    pub(super) fn over(self, now: T, default: T) -> T {
        match self {
            Said::Nothing => now,
            Said::Null => default,
            Said::This(value) => value,
        }
    }
}

impl Members {
    /// The object under `name`.
    pub(super) fn of(body: Body, name: &str) -> Result<Members, Fault> {
        let Json(body) = body?;
        let Value::Object(mut body) = body else {
            return Err(Fault::bad_request("The body must be a JSON object."));
        };
        match body.remove(name) {
            Some(Value::Object(map)) if body.is_empty() => {
                let given = map.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
                Ok(Members { map, given })
            }
            Some(Value::Object(_)) => {
                Err(Fault::bad_request("The body has more than the one object that it is about."))
            }
            _ => Err(Fault::bad_request(format!("Unable to find '{name}' in request body."))),
        }
    }

    /// Asks the rules about attributes (`create_port:mac_address`): those that are given, and, where something is made,
    /// are not what they would be anyway.
    pub(super) fn check_policy(
        &self,
        asker: &Asker,
        action: &str,
        usual: &[(&str, Value)],
        target: &dyn Target,
    ) -> Result<(), Fault> {
        let making = action.starts_with("create_");
        for (name, value) in &self.given {
            let rule = format!("{action}:{name}");
            let as_usual = making && usual.iter().any(|(known, default)| known == name && default == value);
            if asker.policy.knows(&rule) && !as_usual && !asker.allows(&rule, target) {
                return Err(Fault::forbidden(&format!("(rule:{action} and rule:{rule})")));
            }
            if name != "fixed_ips" {
                continue;
            }
            for part in ["ip_address", "subnet_id"] {
                let rule = format!("{action}:fixed_ips:{part}");
                let named = value.as_array().into_iter().flatten().any(|entry| entry.get(part).is_some());
                if named && !asker.allows(&rule, target) {
                    return Err(Fault::forbidden(&format!("(rule:{action} and rule:{rule})")));
                }
            }
        }
        Ok(())
    }

    pub(super) fn take(&mut self, name: &str) -> Said<Value> {
        match self.map.remove(name) {
            None => Said::Nothing,
            Some(Value::Null) => Said::Null,
            Some(value) => Said::This(value),
        }
    }

    fn typed<T>(&mut self, name: &str, what: &str, read: impl FnOnce(&Value) -> Option<T>) -> Result<Said<T>, Fault> {
        match self.take(name) {
            Said::Nothing => Ok(Said::Nothing),
            Said::Null => Ok(Said::Null),
            Said::This(value) => read(&value).map(Said::This).ok_or_else(|| {
                Fault::bad_request(format!("Invalid input for {name}. Reason: '{value}' is not {what}."))
            }),
        }
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Said<String>, Fault> {
        self.typed(name, "a valid string", |value| value.as_str().map(str::to_owned))
    }

    /// Also in the words and numbers that Neutron takes.
    pub(super) fn flag(&mut self, name: &str) -> Result<Said<bool>, Fault> {
        self.typed(name, "a boolean", truth)
    }

    /// Also as a text of digits.
    pub(super) fn number(&mut self, name: &str) -> Result<Said<i64>, Fault> {
        self.typed(name, "an integer", |value| {
            value.as_i64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()))
        })
    }

    pub(super) fn uuid(&mut self, name: &str) -> Result<Said<Uuid>, Fault> {
        self.typed(name, "a valid UUID", |value| value.as_str().and_then(|text| Uuid::parse_str(text).ok()))
    }

    pub(super) fn list(&mut self, name: &str) -> Result<Said<Vec<Value>>, Fault> {
        self.typed(name, "a list", |value| value.as_array().cloned())
    }

    pub(super) fn object(&mut self, name: &str) -> Result<Said<Map<String, Value>>, Fault> {
        self.typed(name, "a dictionary", |value| value.as_object().cloned())
    }

    /// A list of tags.
    pub(super) fn tags(&mut self) -> Result<Said<BTreeSet<String>>, Fault> {
        self.typed("tags", "a list of strings", |value| {
            value.as_array()?.iter().map(|tag| tag.as_str().map(str::to_owned)).collect()
        })
    }

    /// A member that cannot be changed; the same value again is no change.
    pub(super) fn fixed(&mut self, name: &str, now: &Value) -> Result<(), Fault> {
        match self.map.remove(name) {
            Some(value) if value != *now => {
                Err(Fault::bad_request(format!("Cannot update read-only attribute {name}")))
            }
            _ => Ok(()),
        }
    }

    /// A member that has no effect here: it may say only what is so anyway.
    pub(super) fn only(&mut self, name: &str, allowed: &[Value], why: &str) -> Result<(), Fault> {
        match self.map.remove(name) {
            Some(value) if !value.is_null() && !allowed.contains(&value) => {
                Err(Fault::bad_request(format!("Invalid input for {name}. Reason: {why}.")))
            }
            _ => Ok(()),
        }
    }

    /// Nothing is left that is not known.
    pub(super) fn end(self) -> Result<(), Fault> {
        match self.map.keys().next() {
            Some(name) => Err(Fault::bad_request(format!("Unrecognized attribute(s) '{name}'"))),
            None => Ok(()),
        }
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::Number(number) => number.as_u64().filter(|number| *number < 2).map(|number| number == 1),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}
