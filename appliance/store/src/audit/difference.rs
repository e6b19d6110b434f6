//! Before and after: what a command changed, as a short JSON document without secrets.
//!
//! In: the state before, and the changes. Out: `{"node 2f…": {"settings.name": ["old", "new"]}}`; a thing that was made
//! or removed stands there as a whole, beside `null`. Secrets are compared, and shown as `***`. What is long is cut.

use leasehold_domain::before::Lookup;
use leasehold_domain::rows::{Row, Rows};
use leasehold_domain::view::{Change, View};
use serde::Serialize;
use serde_json::{Map, Value};

/// Bytes of a document; a longer one names the changed fields only.
const LARGEST: usize = 8 << 10;
/// Characters of a text in it.
const LONGEST: usize = 256;
/// Entries of a list in it.
const MOST: usize = 32;
/// Instead of a secret.
const MASK: &str = "***";
/// Fields that change with every change.
const IDLE: [&str; 2] = ["revision", "updated_at"];

/// What the changes change, or nothing.
pub(super) fn difference(view: &View, changes: &[Change]) -> Option<Value> {
    let mut all = Map::new();
    for change in changes {
        let Some((label, before, after)) = documents(view, change) else { continue };
        let mut fields = Map::new();
        compare("", &before, &after, &mut fields);
        if !fields.is_empty() {
            all.insert(label, Value::Object(fields));
        }
    }
    if all.is_empty() {
        return None;
    }
    let document = Value::Object(all);
    if document.to_string().len() <= LARGEST {
        return Some(document);
    }
    Some(names_only(&document))
}

/// The name of the thing that changes, and how it was and is.
fn documents(view: &View, change: &Change) -> Option<(String, Value, Value)> {
    let some = |row: Option<Value>| row.unwrap_or(Value::Null);
    match change {
        Change::PutNode(node) => {
            Some((format!("node {}", node.id), some(view.node(node.id).map(document)), document(node)))
        }
        Change::DeleteNode(id) => Some((format!("node {id}"), some(view.node(*id).map(document)), Value::Null)),
        Change::PutPort(port) => {
            Some((format!("port {}", port.id), some(view.port(port.id).map(document)), document(port)))
        }
        Change::DeletePort(id) => Some((format!("port {id}"), some(view.port(*id).map(document)), Value::Null)),
        Change::PutImage(image) => {
            Some((format!("image {}", image.id), some(view.image(image.id).map(document)), document(image)))
        }
        Change::DeleteImage(id) => Some((format!("image {id}"), some(view.image(*id).map(document)), Value::Null)),
        // What a job does is its timeline's to tell; here it is enough that it is there.
        Change::PutJob(job) => {
            let short = |job: &leasehold_domain::job::Job| serde_json::json!({"kind": document(&job.kind), "state": document(&job.state)});
            Some((format!("job {}", job.id), some(view.job(job.id).map(|job| short(job))), short(job)))
        }
        Change::Identity(change) => room(view, change),
        Change::Network(change) => room(view, change),
        Change::Hardware(change) => room(view, change),
        Change::Lease(change) => room(view, change),
        Change::Notice(change) => room(view, change),
        Change::PutBinding(_) | Change::DeleteBinding(_) | Change::PutInventory(..) | Change::DeleteInventory(_) => {
            None
        }
    }
}

fn document<T: Serialize + ?Sized>(row: &T) -> Value {
    serde_json::to_value(row).unwrap_or(Value::Null)
}

/// A row of a room: an enum, whose name says what it is.
fn room<R: Row>(view: &View, change: &Rows<R>) -> Option<(String, Value, Value)>
where
    View: Lookup<R::Key, Row = R>,
{
    let before = view.row(&change.key()).as_ref().map(document);
    let after = match change {
        Rows::Put(row) => Some(document(row)),
        Rows::Delete(_) => None,
    };
    let (kind, _) = parts(before.as_ref().or(after.as_ref())?)?;
    let inner = |row: Option<Value>| row.and_then(|row| parts(&row).map(|(_, inner)| inner)).unwrap_or(Value::Null);
    let (before, after) = (inner(before), inner(after));
    let id = [&after, &before].into_iter().find_map(|row| row.get("id").and_then(Value::as_str));
    let label = match id {
        Some(id) => format!("{} {id}", kind.to_lowercase()),
        None => kind.to_lowercase(),
    };
    // Who came and went by a token is not told twice: logins have entries of their own.
    (kind != "Token").then_some((label, before, after))
}

fn parts(row: &Value) -> Option<(String, Value)> {
    let (kind, inner) = row.as_object()?.iter().next()?;
    Some((kind.clone(), inner.clone()))
}

fn compare(path: &str, before: &Value, after: &Value, fields: &mut Map<String, Value>) {
    if before == after {
        return;
    }
    if let (Value::Object(old), Value::Object(new)) = (before, after) {
        let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
        for key in keys.filter(|key| !IDLE.contains(&key.as_str())) {
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let side = |side: &Map<String, Value>| side.get(key).cloned().unwrap_or(Value::Null);
            compare(&inner, &side(old), &side(new), fields);
        }
        return;
    }
    let secret = path.split('.').any(is_secret);
    let show = |value: &Value| if secret { masked(value) } else { shown(value) };
    let name = if path.is_empty() { "all" } else { path };
    fields.insert(name.to_owned(), Value::Array(vec![show(before), show(after)]));
}

/// By its name, what a field holds is nobody's to read.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let has = |part: &str| name.contains(part);
    ["password", "passwd", "passphrase", "secret", "token", "digest", "private", "drive", "user_data", "userdata"]
        .into_iter()
        .any(has)
        || name.ends_with("_key")
        || name.ends_with("_keys")
        || name.ends_with("_hash")
}

fn masked(value: &Value) -> Value {
    if value.is_null() { Value::Null } else { MASK.into() }
}

/// A value without what is secret, empty or long in it.
fn shown(value: &Value) -> Value {
    match value {
        Value::String(text) => cut(&without_login(text, MASK)).into(),
        Value::Array(items) => {
            let mut few: Vec<Value> = items.iter().take(MOST).map(shown).collect();
            if items.len() > MOST {
                few.push(format!("… {} more", items.len() - MOST).into());
            }
            few.into()
        }
        Value::Object(fields) => {
            let is_empty = |value: &Value| {
                value.is_null()
                    || value.as_array().is_some_and(Vec::is_empty)
                    || value.as_object().is_some_and(Map::is_empty)
            };
            let kept = fields.iter().filter(|(key, value)| !is_empty(value) && !IDLE.contains(&key.as_str()));
            let show = |key: &str, value: &Value| if is_secret(key) { masked(value) } else { shown(value) };
            Value::Object(kept.map(|(key, value)| (key.clone(), show(key, value))).collect())
        }
        other => other.clone(),
    }
}

/// A text without what URLs in it keep to those who use them: names and passwords, and from the first query or fragment on
/// all of it, for that may be a signature. `mask` stands in their places. A text without such a URL stays as it is.
pub fn without_login(text: &str, mask: &str) -> String {
    let Some(first) = text.find("://") else { return text.to_owned() };
    let query = text.get(first..).and_then(|rest| rest.find(['?', '#'])).map_or(text.len(), |at| first + at);
    let (mut left, query) = text.split_at(query);
    let mut out = String::with_capacity(text.len());
    while let Some((scheme, rest)) = left.split_once("://") {
        out.push_str(scheme);
        out.push_str("://");
        let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        left = match rest.get(..host).and_then(|authority| authority.rfind('@')) {
            Some(at) => {
                out.push_str(mask);
                rest.get(at..).unwrap_or_default()
            }
            None => rest,
        };
    }
    out.push_str(left);
    if let Some(begin) = query.chars().next() {
        out.push(begin);
        out.push_str(mask);
    }
    out
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

/// The changed fields, without values.
fn names_only(document: &Value) -> Value {
    let things = document.as_object().into_iter().flatten().take(MOST);
    let names = |fields: &Value| -> Value {
        let names = fields.as_object().into_iter().flatten().map(|(name, _)| Value::from(cut(name)));
        names.take(MOST).collect()
    };
    Value::Object(things.map(|(thing, fields)| (thing.clone(), names(fields))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use leasehold_domain::id::NodeId;
    use leasehold_domain::node::{Node, NodeSettings, Sealed};
    use proptest::prelude::*;
    use serde_json::json;
    use std::sync::Arc;
    use uuid::Uuid;

    fn node(change: impl FnOnce(&mut NodeSettings)) -> Arc<Node> {
        let mut settings = NodeSettings { name: Some("n".into()), ..NodeSettings::default() };
        change(&mut settings);
        Arc::new(Node::enrolled(NodeId(Uuid::from_u128(7)), settings, Timestamp::UNIX_EPOCH))
    }

    fn changed(before: Option<Arc<Node>>, after: Option<Arc<Node>>) -> Value {
        let mut view = View::default();
        let id = NodeId(Uuid::from_u128(7));
        if let Some(node) = before {
            view.apply(&Change::PutNode(node));
        }
        let change = after.map_or(Change::DeleteNode(id), Change::PutNode);
        difference(&view, &[change]).unwrap_or(Value::Null)[format!("node {id}")].clone()
    }

    #[test]
    fn what_changed_is_shown_before_and_after() {
        let after = node(|settings| {
            settings.name = Some("m".into());
            settings.extra.insert("rack".into(), json!(4));
        });
        let said = changed(Some(node(|_| {})), Some(after));
        assert_eq!(said, json!({"settings.name": ["n", "m"], "settings.extra.rack": [null, 4]}));
        assert_eq!(difference(&View::default(), &[]), None);
    }

    #[test]
    fn secrets_are_never_shown() {
        let secret = |text: &str| {
            let text = text.to_owned();
            node(move |settings| {
                settings.driver_secrets.insert("ipmi_password".into(), Sealed(text.clone().into_bytes()));
                settings.instance_info.insert("rescue_password".into(), json!(text));
                settings.extra.insert("deep".into(), json!([{"api_token": text, "login": {"ssh_key": text}}]));
                settings.extra.insert("image".into(), json!(format!("http://user:{text}@host/x?a@b")));
            })
        };
        let sealed = format!("{:?}", b"hunter2");
        for said in [
            changed(None, Some(secret("hunter2"))),
            changed(Some(secret("hunter2")), None),
            changed(Some(secret("hunter1")), Some(secret("hunter2"))),
        ] {
            let text = said.to_string();
            assert!(!text.contains("hunter") && !text.contains(&sealed.replace(' ', "")), "{text}");
            assert!(text.contains(MASK), "that something was changed is told: {text}");
        }
    }

    #[test]
    fn a_url_keeps_its_place_and_loses_its_login() {
        for (text, shown) in [
            ("http://u:p@host/x@y", "http://-@host/x@y"),
            ("http://u:p@ss@host:1/", "http://-@host:1/"),
            ("http://host/x?sig=a@b", "http://host/x?-"),
            ("http://host#token=a", "http://host#-"),
            ("https://u@host?a#b", "https://-@host?-"),
            ("a=http://h b=http://u:p@i/x c=http://v:q@j/y?s=1 d", "a=http://h b=http://-@i/x c=http://-@j/y?-"),
            ("http://proxy/http://u:p@host/", "http://proxy/http://-@host/"),
            ("http://host/x@y", "http://host/x@y"),
            ("a@b?c#d", "a@b?c#d"),
            ("://", "://"),
        ] {
            assert_eq!(without_login(text, "-"), shown, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_login_is_left_in_any_url(
            before in "[ -~]{0,20}", user in "[a-z%:@ ]{0,8}Zq7[a-z%:@ ]{0,8}", path in "[a-z/@:]{0,20}", query in "[ -~]{0,20}",
        ) {
            let shown = without_login(&format!("{before}https://{user}@host/{path}?{query}Zq7"), "******");
            prop_assert!(!shown.contains("Zq7"), "{}", shown);
            prop_assert_eq!(without_login(&shown, "******"), shown, "as it is shown it hides nothing more");
        }

        #[test]
        fn any_text_is_shown(text in "\\PC{0,40}", url in "[:/@?#a]{0,40}") {
            for text in [text, url] {
                let shown = without_login(&text, "***");
                prop_assert_eq!(without_login(&shown, "***"), shown);
            }
        }
    }

    #[test]
    fn what_is_long_is_cut() {
        let long = node(|settings| {
            settings.extra.insert("text".into(), json!("é".repeat(100_000)));
            settings.extra.insert("list".into(), (0..1000).collect::<Vec<_>>().into());
            for number in 0..1000 {
                settings.properties.insert(format!("p{number}"), json!("x".repeat(100)));
            }
        });
        let said = changed(Some(node(|_| {})), Some(long.clone()));
        assert!(said.to_string().len() < 2 * LARGEST, "{}", said.to_string().len());
        assert!(changed(None, Some(long)).to_string().len() < 2 * LARGEST);
    }
}
