//! Arguments of conditions and actions: by name, or as a list in their order.

use super::placeholder::{Missing, fill};
use super::{Context, loop_items};
use serde_json::{Map, Value};

/// The arguments of one operation.
pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) required: &'static [&'static str],
    pub(super) optional: &'static [&'static str],
    /// Those whose placeholders are filled. In a loop all are.
    pub(super) filled: &'static [&'static str],
}

/// The operation of a condition or an action.
pub(super) fn operation(given: &Value) -> Result<&str, String> {
    given.get("op").and_then(Value::as_str).ok_or_else(|| "Each condition and action needs an \"op\".".to_owned())
}

/// The arguments by name, as they were given.
pub(super) fn named(signature: &Signature, given: &Value) -> Result<Map<String, Value>, String> {
    let Signature { name, required, optional, .. } = signature;
    let wrong = |why: String| format!("Invalid parameters for {name}: {why}");
    let arguments = match given.get("args") {
        Some(Value::Object(map)) => map.clone(),
        // Two values to compare are what people write; Ironic would take the first for the list of them.
        Some(Value::Array(list))
            if required.first() == Some(&"values") && !list.first().is_some_and(Value::is_array) =>
        {
            Map::from_iter([("values".to_owned(), Value::Array(list.clone()))])
        }
        Some(Value::Array(list)) => {
            if list.len() > required.len() + optional.len() {
                return Err(wrong("too many arguments".into()));
            }
            let names = required.iter().chain(*optional);
            names.zip(list).map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        }
        _ => return Err(wrong("args must be either a list or dictionary".into())),
    };
    if let Some(missing) = required.iter().find(|name| !arguments.contains_key(**name)) {
        return Err(wrong(format!("missing required argument(s): {missing}")));
    }
    let known = |name: &str| required.contains(&name) || optional.contains(&name);
    match arguments.keys().find(|name| !known(name)) {
        Some(unexpected) => Err(wrong(format!("unexpected argument(s): {unexpected}"))),
        None => Ok(arguments),
    }
}

/// The arguments with their placeholders filled: once, or once for each item of its loop.
pub(super) fn filled(
    signature: &Signature,
    given: &Value,
    context: &Context,
    missing: Missing,
) -> Result<Vec<Map<String, Value>>, String> {
    let arguments = named(signature, given)?;
    let Some(items) = loop_items(given) else {
        let mut filled = arguments;
        for (name, value) in &mut filled {
            if signature.filled.contains(&name.as_str()) {
                *value = fill(value, context, missing)?;
            }
        }
        return Ok(vec![filled]);
    };
    let mut rounds = Vec::new();
    for item in items {
        // The item's own placeholders first, and by themselves: what the inventory brings in is never filled again.
        let context = context.with_item(&fill(&item, context, missing)?);
        match fill(&Value::Object(arguments.clone()), &context, missing)? {
            Value::Object(filled) => rounds.push(filled),
            _ => return Err("the arguments are no object".into()),
        }
    }
    Ok(rounds)
}

pub(super) fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    let value = arguments.get(name).and_then(Value::as_str);
    value.ok_or_else(|| format!("the argument {name} must be a text"))
}

pub(super) fn flag(arguments: &Map<String, Value>, name: &str) -> bool {
    arguments.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// A text without placeholders, in an operation without a loop: it can be judged before there is an inventory.
pub(super) fn is_plain(given: &Value, text: &str) -> bool {
    loop_items(given).is_none() && !text.contains('{')
}
