//! JSON patches (RFC 6902) as Ironic takes them: `add`, `replace` and `remove` of members that exist.
//!
//! In: the body of a `PATCH`. Out: operations one after the other on a document, or a refusal that names the one that
//! does not fit. All of a patch is applied, or nothing.

use crate::error::ApiError;
use serde_json::{Map, Value};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Add,
    Replace,
    Remove,
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operation {
    pub(super) op: Op,
    pub(super) path: String,
    /// The parts of the path (RFC 6901), unescaped; at least one.
    parts: Vec<String>,
    /// `None` for a removal.
    pub(super) value: Option<Value>,
}

impl Operation {
    fn read(given: &Value) -> Result<Operation, ApiError> {
        let bad = |why: &str| ApiError::bad_request(format!("Not a JSON patch (RFC 6902): {given}: {why}."));
        let Value::Object(members) = given else { return Err(bad("an operation is an object")) };
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let op = match text("op") {
            Some("add") => Op::Add,
            Some("replace") => Op::Replace,
            Some("remove") => Op::Remove,
            _ => return Err(bad("op is one of add, replace and remove")),
        };
        let path = text("path").ok_or_else(|| bad("there is no path"))?.to_owned();
        let parts: Vec<String> = match path.strip_prefix('/') {
            Some(rest) => rest.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect(),
            None => return Err(bad("a path begins with /")),
        };
        if parts.first().is_none_or(String::is_empty) {
            return Err(bad("a path names a member"));
        }
        let value = match (op, members.get("value")) {
            (Op::Remove, _) => None,
            (_, Some(value)) => Some(value.clone()),
            (_, None) => return Err(bad("there is no value")),
        };
        Ok(Operation { op, path, parts, value })
    }

    /// The member of the document that it touches, or touches a part of.
    pub(super) fn member(&self) -> &str {
        self.parts.first().map_or("", String::as_str)
    }

    /// 400: no patch may touch that.
    pub(super) fn refused(&self) -> ApiError {
        ApiError::bad_request(format!("Cannot patch {}: it can not be updated, or is no attribute.", self.path))
    }

    fn apply(&self, members: &mut Map<String, Value>) -> Result<(), ApiError> {
        let failed = |why: &str| ApiError::bad_request(format!("Couldn't apply patch '{}': {why}.", self.path));
        let (last, parents) = self.parts.split_last().ok_or_else(|| failed("it names nothing"))?;
        let Some((member, inner)) = parents.split_first() else {
            let present = members.get_mut(last).ok_or_else(|| failed("there is no such attribute"))?;
            *present = self.value.clone().unwrap_or(Value::Null);
            return Ok(());
        };
        let mut at = members.get_mut(member).ok_or_else(|| failed("there is no such attribute"))?;
        // An object that is not set is an empty one.
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
        for part in inner {
            at = child(at, part).ok_or_else(|| failed("a part of the path is not there"))?;
        }
        match at {
            Value::Object(map) => match (self.op, &self.value) {
                (Op::Remove, _) => map.remove(last).map(drop).ok_or_else(|| failed("it is not there")),
                (Op::Replace, _) if !map.contains_key(last) => Err(failed("it is not there")),
                (_, Some(value)) => {
                    map.insert(last.clone(), value.clone());
                    Ok(())
                }
                (_, None) => Err(failed("there is no value")),
            },
            Value::Array(list) => {
                let index = if last == "-" { Some(list.len()) } else { index(last) };
                let index = index.ok_or_else(|| failed("that is no place in a list"))?;
                match (self.op, &self.value) {
                    (Op::Add, Some(value)) if index <= list.len() => list.insert(index, value.clone()),
                    (Op::Replace, Some(value)) if index < list.len() => list[index] = value.clone(),
                    (Op::Remove, _) if index < list.len() => drop(list.remove(index)),
                    _ => return Err(failed("the list is shorter than that")),
                }
                Ok(())
            }
            _ => Err(failed("what it is to be a part of has no parts")),
        }
    }
}

fn child<'a>(at: &'a mut Value, part: &str) -> Option<&'a mut Value> {
    match at {
        Value::Object(map) => map.get_mut(part),
        Value::Array(list) => list.get_mut(index(part)?),
        _ => None,
    }
}

/// A place in a list (RFC 6901 §4): no sign, no leading zero.
fn index(text: &str) -> Option<usize> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// A patch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Patch {
    pub(super) operations: Vec<Operation>,
}

impl Patch {
    /// Reads the body of a `PATCH`.
    pub(super) fn read(body: &Value) -> Result<Patch, ApiError> {
        let list = body
            .as_array()
            .ok_or_else(|| ApiError::bad_request("The body must be a JSON patch (RFC 6902): a list of operations."))?;
        Ok(Patch { operations: list.iter().map(Operation::read).collect::<Result<_, _>>()? })
    }

    /// Whether an operation is about this member or a part of it.
    pub(super) fn touches(&self, member: &str) -> bool {
        self.operations.iter().any(|operation| operation.member() == member)
    }

    /// The document as it is to be. A member that was removed is null.
    pub(super) fn apply(&self, mut members: Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
        for operation in &self.operations {
            operation.apply(&mut members)?;
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn applied(document: Value, patch: Value) -> Result<Value, u16> {
        let Value::Object(members) = document else { unreachable!("an object") };
        let patch = Patch::read(&patch).map_err(|error| error.status.as_u16())?;
        patch.apply(members).map(Value::Object).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn operations_do_what_the_rfc_says() {
        let document = json!({"extra": {"a": [1, 2], "x/y": 1}, "name": null, "owner": "p"});
        let patch = json!([
            {"op": "add", "path": "/extra/a/1", "value": 9},
            {"op": "add", "path": "/extra/a/-", "value": 3},
            {"op": "remove", "path": "/extra/a/0"},
            {"op": "remove", "path": "/extra/x~1y"},
            {"op": "replace", "path": "/name", "value": "n"},
            {"op": "remove", "path": "/owner"},
        ]);
        assert_eq!(applied(document, patch), Ok(json!({"extra": {"a": [9, 2, 3]}, "name": "n", "owner": null})));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let document = json!({"extra": {"a": 1}, "name": "n"});
        for bad in [
            json!({"op": "add", "path": "/extra", "value": 1}),
            json!([{"op": "test", "path": "/name", "value": "n"}]),
            json!([{"op": "copy", "from": "/name", "path": "/owner"}]),
            json!([{"op": "add", "path": "/name"}]),
            json!([{"op": "add", "path": "", "value": {}}]),
            json!([{"op": "add", "path": "/", "value": {}}]),
            json!([{"op": "add", "path": "/nothing", "value": 1}]),
            json!([{"op": "replace", "path": "/extra/b", "value": 1}]),
            json!([{"op": "remove", "path": "/extra/b"}]),
            json!([{"op": "add", "path": "/name/x", "value": 1}]),
            json!([{"op": "add", "path": "/extra/a/b", "value": 1}]),
        ] {
            assert_eq!(applied(document.clone(), bad.clone()), Err(400), "{bad}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), "\\PC{0,4}".prop_map(Value::from)];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[ab/~0]{0,2}", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Whatever comes is applied or refused; no member is made that was not there.
        #[test]
        fn a_patch_makes_no_new_members(
            extra in value(),
            operations in proptest::collection::vec(
                ("(add|replace|remove|test)", "(/?[a-z~01/-]{0,9}|/extra(/[ab0-1~-]{0,2}){0,3})", value()), 0..5),
        ) {
            let patch: Vec<_> = operations
                .into_iter()
                .map(|(op, path, value)| json!({"op": op, "path": path, "value": value}))
                .collect();
            if let Ok(Value::Object(after)) = applied(json!({"extra": extra, "name": null}), patch.into()) {
                prop_assert_eq!(after.keys().collect::<Vec<_>>(), ["extra", "name"]);
            }
        }
    }
}
