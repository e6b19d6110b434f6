//! `PATCH /v2/images/{id}`: Glance's own dialect of JSON patch, one member at a time.

use super::access::may;
use super::document::document;
use super::fault::{Asker, Fault};
use super::images::{READ_ONLY, check_change, is_property, set, submit};
use crate::Api;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use leasehold_domain::image::{Card, ImageCommand};
use serde_json::{Map, Value};

/// Media types of patches: RFC 6902's form (2.1), and an older one (2.0), which says the operation as a member.
const TYPES: [&str; 2] =
    ["application/openstack-images-v2.1-json-patch", "application/openstack-images-v2.0-json-patch"];

/// Changes of one request.
const MOST: usize = 256;

/// One change.
#[derive(Debug, PartialEq)]
struct Change {
    operation: Operation,
    member: String,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Replace,
    Remove,
}

impl Operation {
    fn named(name: &str) -> Option<Operation> {
        match name {
            "add" => Some(Operation::Add),
            "replace" => Some(Operation::Replace),
            "remove" => Some(Operation::Remove),
            _ => None,
        }
    }
}

fn read(body: &[u8]) -> Result<Vec<Change>, Fault> {
    let changes: Vec<Map<String, Value>> = serde_json::from_slice(body).map_err(|error| {
        Fault::bad_request(format!("Request body must be a JSON array of operation objects: {error}."))
    })?;
    if changes.len() > MOST {
        return Err(Fault::bad_request(format!("A request has at most {MOST} changes.")));
    }
    changes.into_iter().map(read_one).collect()
}

fn read_one(change: Map<String, Value>) -> Result<Change, Fault> {
    let text = |name: &str| change.get(name).and_then(Value::as_str);
    // 2.1 first; 2.0 writes {"replace": "/name", "value": …}.
    let named = match (text("op"), text("path")) {
        (Some(operation), Some(path)) => Some((operation, path)),
        _ => ["add", "replace", "remove"].into_iter().find_map(|name| Some((name, text(name)?))),
    };
    let (name, path) = named.ok_or_else(|| Fault::bad_request("Operation objects must contain 'op' and 'path'."))?;
    let operation = Operation::named(name)
        .ok_or_else(|| Fault::bad_request(format!("Operations must be one of: add, replace, remove; not '{name}'.")))?;
    let member = path
        .strip_prefix('/')
        .filter(|rest| !rest.is_empty() && !rest.contains('/'))
        .ok_or_else(|| Fault::bad_request(format!("Invalid JSON pointer for this resource: '{path}'.")))?;
    let member = member.replace("~1", "/").replace("~0", "~");
    let value = match (operation, change.get("value")) {
        (Operation::Remove, _) => Value::Null,
        (_, Some(value)) => value.clone(),
        (_, None) => return Err(Fault::bad_request(format!("Operation '{name}' needs a 'value'."))),
    };
    Ok(Change { operation, member, value })
}

fn apply(name: &mut Option<String>, card: &mut Card, change: &Change) -> Result<(), Fault> {
    let member = change.member.as_str();
    let missing = || Fault::new(StatusCode::CONFLICT, format!("Property {member} does not exist."));
    if READ_ONLY.contains(&member) {
        return Err(Fault::new(StatusCode::FORBIDDEN, format!("Attribute '{member}' is read-only.")));
    }
    match change.operation {
        Operation::Remove if !is_property(member) => {
            Err(Fault::new(StatusCode::FORBIDDEN, format!("Property {member} may not be removed.")))
        }
        Operation::Remove => card.properties.remove(member).map(drop).ok_or_else(missing),
        Operation::Replace if is_property(member) && !card.properties.contains_key(member) => Err(missing()),
        Operation::Replace | Operation::Add => set(name, card, member, &change.value),
    }
}

pub(super) async fn change(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Map<String, Value>>, Fault> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !TYPES.contains(&kind) {
        let message = format!("A patch has the media type {}.", TYPES[0]);
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let image = may(&api.engine.view(), &asker, &ident, "modify_image")?;
    let (mut name, mut card) = (image.name.clone(), image.card.clone());
    for change in read(&body)? {
        apply(&mut name, &mut card, &change)?;
    }
    check_change(&asker, Some(&image.card), &card)?;
    let revision = image.card.revision;
    let image =
        submit(&api, ImageCommand::Change { id: image.id, revision, name, card: Box::new(card) }, &asker).await?;
    Ok(Json(document(&api, &image)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn after(patch: Value) -> Result<(Option<String>, Card), Fault> {
        let (mut name, mut card) = (Some("old".into()), Card::default());
        card.properties.insert("a".into(), "1".into());
        for change in read(patch.to_string().as_bytes())? {
            apply(&mut name, &mut card, &change)?;
        }
        Ok((name, card))
    }

    #[test]
    fn both_forms_are_read() {
        let (name, card) = after(json!([
            {"op": "replace", "path": "/name", "value": "new"},
            {"op": "add", "path": "/b~1c", "value": "2"},
            {"remove": "/a"},
            {"replace": "/min_ram", "value": 4},
        ]))
        .expect("changed");
        assert_eq!((name.as_deref(), card.min_ram), (Some("new"), 4));
        assert_eq!(card.properties, [("b/c".to_owned(), "2".to_owned())].into());
    }

    #[test]
    fn what_is_not_the_owners_to_say_is_refused() {
        for bad in [
            json!([{"op": "replace", "path": "/status", "value": "active"}]),
            json!([{"op": "replace", "path": "/id", "value": "x"}]),
            json!([{"op": "remove", "path": "/name"}]),
            json!([{"op": "remove", "path": "/b"}]),
            json!([{"op": "replace", "path": "/b", "value": "2"}]),
            json!([{"op": "replace", "path": "/a/b", "value": "2"}]),
            json!([{"op": "move", "path": "/a", "from": "/b"}]),
            json!([{"op": "add", "path": "/c", "value": 3}]),
            json!([{"op": "add", "path": "/visibility", "value": "mine"}]),
            json!([{"op": "add", "path": "/os_glance_x", "value": "x"}]),
            json!({"op": "add"}),
        ] {
            assert!(after(bad.clone()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in "\\PC{0,80}") {
            let _either_is_fine = read(body.as_bytes());
        }
    }
}
