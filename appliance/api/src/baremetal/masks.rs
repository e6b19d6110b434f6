//! What of a node is not shown: what stands in its place.

use super::fields::{Field, Kind};
use leasehold_domain::node::Node;
use serde_json::{Map, Value, json};

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

/// The members of `driver_info`, secrets masked.
pub(super) fn driver_info(node: &Node) -> Map<String, Value> {
    let mut info = node.settings.driver_info.clone();
    info.extend(node.settings.driver_secrets.keys().map(|key| (key.clone(), MASK.into())));
    info
}

/// `instance_info` may carry credentials in URLs and a config drive; neither is shown.
pub(super) fn instance_info(node: &Node) -> Map<String, Value> {
    let mut info = node.settings.instance_info.clone();
    for (key, value) in &mut info {
        if let Some(masked) = masked(key, value) {
            *value = masked;
        }
    }
    info
}

/// What is shown in place of a member of `instance_info`; `None`: the member itself.
pub(super) fn masked(key: &str, value: &Value) -> Option<Value> {
    if key.ends_with("password") || key == "configdrive" {
        return Some(MASK.into());
    }
    value.as_str().and_then(without_credentials).map(Value::from)
}

/// `scheme://user:password@host/…` with the part before `@` masked.
fn without_credentials(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (_, host) = authority.rsplit_once('@')?;
    Some(format!("{scheme}://{MASK}@{host}{}", &rest[authority.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_urls_are_masked() {
        assert_eq!(without_credentials("http://u:p@host/x@y").as_deref(), Some("http://******@host/x@y"));
        assert_eq!(without_credentials("http://host/x@y"), None);
        assert_eq!(without_credentials("plain"), None);
    }
}
