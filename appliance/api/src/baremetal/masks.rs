//! What of a node is not shown: to whom, what stands in its place, and what of it comes back by a patch.

use super::fields::{Field, Kind};
use crate::auth::Caller;
use crate::error::ApiError;
use leasehold_domain::node::Node;
use leasehold_store::audit::without_login;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// What stands for a secret in every answer.
pub(super) const MASK: &str = "******";

/// In place of a member that takes a rule to be seen, in Ironic's words: clients look for `** Redacted`. Like Ironic's it
/// stands there whatever the member holds, so that it does not tell whether there is anything.
pub(super) fn redacted(field: &Field, rule: &str) -> Value {
    let text = match field.name {
        "last_error" => format!("** Value Redacted - Requires {rule} permission. **"),
        "driver_internal_info" => format!("** Redacted - Requires {rule} permission. **"),
        _ => format!("** Redacted - requires {rule} permission. **"),
    };
    match field.kind {
        Kind::Nested => json!({ "content": text }),
        _ => text.into(),
    }
}

/// Whether the caller is of the project that owns the node or has it on loan, or the administrator of the whole system.
///
/// To everybody who sees a node Ironic shows the URLs in it as they are, with user, password and signature. Here it does so
/// to these only. There is no rule for it, as upstream has none.
pub(super) fn is_close(caller: &Caller, node: &Node) -> bool {
    let credentials = &caller.credentials;
    let project = credentials.project_id.as_deref().filter(|project| !project.is_empty());
    let has_it = |has: &Option<String>| project.is_some() && has.as_deref() == project;
    let is_administrator = credentials.system && credentials.roles.contains("admin");
    is_administrator || has_it(&node.settings.owner) || has_it(&node.settings.lessee)
}

/// The members of `driver_info`, secrets masked.
pub(super) fn driver_info(node: &Node, close: bool) -> Cow<'_, Map<String, Value>> {
    let secrets = &node.settings.driver_secrets;
    let mut info = shown(&node.settings.driver_info, close);
    if !secrets.is_empty() {
        info.to_mut().extend(secrets.keys().map(|key| (key.clone(), MASK.into())));
    }
    info
}

/// The members of `instance_info`, which may hold passwords, a config drive, and credentials in URLs.
pub(super) fn instance_info(node: &Node, close: bool) -> Cow<'_, Map<String, Value>> {
    shown(&node.settings.instance_info, close)
}

fn shown(info: &Map<String, Value>, close: bool) -> Cow<'_, Map<String, Value>> {
    let masks: Vec<_> = info.iter().filter_map(|(key, value)| Some((key, masked(key, value, close)?))).collect();
    let mut info = Cow::Borrowed(info);
    for (key, mask) in masks {
        info.to_mut().insert(key.clone(), mask);
    }
    info
}

/// What is shown in place of a member of these; `None`: the member itself. `image_url` is masked for everybody, as Ironic
/// does: it names a place that was opened for one deployment.
fn masked(key: &str, value: &Value, close: bool) -> Option<Value> {
    if key.ends_with("password") || key == "configdrive" || key == "image_url" {
        return Some(MASK.into());
    }
    (!close).then(|| without_logins(value)).flatten()
}

/// The value with the URLs in it as everybody may see them; `None`: they hide nothing.
fn without_logins(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => Some(without_login(text, MASK)).filter(|shown| shown != text).map(Value::from),
        Value::Array(items) => {
            let shown: Vec<_> = items.iter().map(without_logins).collect();
            let is_other = shown.iter().any(Option::is_some);
            let all = shown.into_iter().zip(items).map(|(shown, item)| shown.unwrap_or_else(|| item.clone()));
            is_other.then(|| all.collect())
        }
        Value::Object(members) => {
            let shown: Vec<_> = members.iter().map(|(key, value)| (key, value, without_logins(value))).collect();
            let is_other = shown.iter().any(|(.., shown)| shown.is_some());
            let all =
                shown.into_iter().map(|(key, value, shown)| (key.clone(), shown.unwrap_or_else(|| value.clone())));
            is_other.then(|| all.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn has_mask(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(MASK),
        Value::Array(items) => items.iter().any(has_mask),
        Value::Object(members) => members.values().any(has_mask),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What was masked for the reader and came back so is what it was. Anything else with a mask in it would be taken for a
/// secret: 400. `member`: where this is, for the refusal; `sealed`: members that are asked about elsewhere.
pub(super) fn unmasked(
    member: &str,
    mut now: Map<String, Value>,
    before: &Map<String, Value>,
    sealed: impl Fn(&str) -> bool,
) -> Result<Map<String, Value>, ApiError> {
    for (key, value) in now.iter_mut().filter(|(key, value)| !sealed(key) && has_mask(value)) {
        let was_shown = |old: &&Value| {
            let forms = [true, false].map(|close| masked(key, old, close));
            *old == value || forms.iter().flatten().any(|form| form == value)
        };
        let old = before.get(key).filter(was_shown).cloned();
        *value = old.ok_or_else(|| mask_given(&format!("{member}/{key}")))?;
    }
    Ok(now)
}

/// Somebody wrote a mask where a secret belongs.
pub(super) fn mask_given(member: &str) -> ApiError {
    ApiError::bad_request(format!("{member} contains {MASK}, which stands for a secret: write the secret itself."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPEN: &str = "http://ada:secret@host/x?sig=secret";
    const SHOWN: &str = "http://******@host/x?******";

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn logins_are_masked_however_deep_and_for_whom_they_are_not() {
        let info = object(json!({
            "image_source": OPEN, "image_url": OPEN, "rescue_password": "x", "size": 4,
            "kernels": [{"url": OPEN, "order": 1}, "plain"],
        }));
        let far = json!({
            "image_source": SHOWN, "image_url": MASK, "rescue_password": MASK, "size": 4,
            "kernels": [{"url": SHOWN, "order": 1}, "plain"],
        });
        assert_eq!(*shown(&info, false), object(far));
        let near = json!({"image_url": MASK, "rescue_password": MASK});
        let near: Map<_, _> = info.clone().into_iter().chain(object(near)).collect();
        assert_eq!(*shown(&info, true), near);
        let plain = object(json!({"image_source": "http://host/x", "list": [1, null, true, {"a": "b"}]}));
        assert!(matches!(shown(&plain, false), Cow::Borrowed(_)), "nothing is copied");
    }

    #[test]
    fn what_was_shown_comes_back_and_nothing_else() {
        let before = object(json!({"a": OPEN, "deep": [OPEN], "image_url": OPEN, "stars": "x******"}));
        for close in [true, false] {
            let back = unmasked("info", shown(&before, close).into_owned(), &before, |_| false).expect("as shown");
            assert_eq!(back, before);
        }
        for bad in [
            json!({"a": "http://******@other/x?******"}),
            json!({"a": MASK}),
            json!({"b": SHOWN}),
            json!({"deep": [SHOWN, SHOWN]}),
            json!({"deep": SHOWN}),
            json!({"a": [SHOWN]}),
            json!({"image_url": SHOWN, "c": {"d": MASK}}),
        ] {
            assert!(unmasked("info", object(bad.clone()), &before, |_| false).is_err(), "{bad}");
            unmasked("info", object(bad), &before, |_| true).expect("asked about elsewhere");
        }
    }

    /// Any JSON with URLs in it.
    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            "[a-z]{0,6}".prop_map(Value::from),
            "[a-z]{1,4}://([a-z:]{1,6}@)?[a-z]{1,6}(/[a-z@]{0,4})?([?#][a-z]{0,6})?".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_was_shown_comes_back(members in proptest::collection::btree_map("[a-z_]{1,12}", any_value(), 0..5)) {
            let before: Map<String, Value> = members.into_iter().collect();
            for close in [true, false] {
                let back = unmasked("info", shown(&before, close).into_owned(), &before, |_| false);
                prop_assert_eq!(back.expect("as it was shown"), before.clone());
            }
        }
    }
}
