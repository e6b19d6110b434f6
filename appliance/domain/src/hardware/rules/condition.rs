//! Conditions of rules: Ironic's operators, each also inverted by `!`.

use super::Context;
use super::arguments::{Signature, filled, flag, is_plain, named, operation, text};
use super::placeholder::{Missing, words};
use regex::Regex;
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::net::IpAddr;

const OPERATORS: [Signature; 11] = [
    values("eq"),
    values("lt"),
    values("gt"),
    value("is-empty"),
    value("is-none"),
    value("is-true"),
    value("is-false"),
    Signature { name: "in-net", required: &["address", "subnet"], optional: &[], filled: &["address", "subnet"] },
    Signature { name: "matches", required: &["value", "regex"], optional: &[], filled: &["value"] },
    Signature { name: "contains", required: &["value", "regex"], optional: &[], filled: &["value"] },
    Signature { name: "one-of", required: &["value"], optional: &["values"], filled: &["value"] },
];

const fn values(name: &'static str) -> Signature {
    Signature { name, required: &["values"], optional: &["force_strings"], filled: &["values"] }
}

const fn value(name: &'static str) -> Signature {
    Signature { name, required: &["value"], optional: &[], filled: &["value"] }
}

/// The operator and whether it is inverted.
fn operator(given: &Value) -> Result<(&'static Signature, bool), String> {
    let written = operation(given)?.trim();
    let (name, inverted) = match written.strip_prefix('!') {
        Some(rest) => (rest.trim(), true),
        None => (written, false),
    };
    let known = || OPERATORS.iter().map(|operator| operator.name).collect::<Vec<_>>().join(", ");
    let found = OPERATORS.iter().find(|operator| operator.name == name);
    Ok((
        found.ok_or_else(|| format!("Unsupported operator: '{name}'. Supported operators are: {}.", known()))?,
        inverted,
    ))
}

pub(super) fn check(given: &Value) -> Result<(), String> {
    let (signature, _) = operator(given)?;
    let arguments = named(signature, given)?;
    match given.get("multiple") {
        None | Some(Value::Null) => {}
        Some(Value::String(how)) if ["any", "all", "first", "last"].contains(&how.as_str()) => {}
        Some(other) => return Err(format!("'multiple' must be any, all, first or last, not {other}.")),
    }
    if let Some(Value::String(pattern)) = arguments.get("regex")
        && is_plain(given, pattern)
    {
        compiled(pattern)?;
    }
    if let Some(Value::String(subnet)) = arguments.get("subnet")
        && is_plain(given, subnet)
    {
        Subnet::parse(subnet)?;
    }
    if let Some(values) = arguments.get("values")
        && !values.is_array()
    {
        return Err(format!("Invalid parameters for {}: values must be a list.", signature.name));
    }
    Ok(())
}

/// Whether the condition is met. An error is one of the rule, not of the inventory.
pub(super) fn holds(given: &Value, context: &Context) -> Result<bool, String> {
    let (signature, inverted) = operator(given)?;
    let in_loop = super::loop_items(given).is_some();
    let rounds = filled(signature, given, context, Missing::IsNull)?;
    let mut results = Vec::new();
    for arguments in &rounds {
        results.push(decide(signature.name, arguments, in_loop)? != inverted);
    }
    Ok(match given.get("multiple").and_then(Value::as_str).unwrap_or("any") {
        "all" => results.iter().all(|result| *result),
        "last" => results.last().copied().unwrap_or(false),
        // Ironic's "first": the first that is met.
        _ => results.contains(&true),
    })
}

fn decide(name: &str, arguments: &Map<String, Value>, in_loop: bool) -> Result<bool, String> {
    let value = arguments.get("value").unwrap_or(&Value::Null);
    match name {
        "eq" | "lt" | "gt" => {
            let values = arguments.get("values").and_then(Value::as_array).ok_or("values must be a list")?;
            let as_text = in_loop || flag(arguments, "force_strings");
            let mut all = true;
            for pair in values.windows(2) {
                let [one, other] = pair else { continue };
                let order = match as_text {
                    true => Some(words(one).cmp(&words(other))),
                    false => compare(one, other),
                };
                all &= match (name, order) {
                    ("eq", order) => order == Some(Ordering::Equal),
                    (_, None) => return Err(format!("{one} and {other} can not be compared")),
                    ("lt", order) => order == Some(Ordering::Less),
                    (_, order) => order == Some(Ordering::Greater),
                };
            }
            Ok(all)
        }
        "is-empty" => Ok(match value {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::String(text) => ["", "None", "[]", "{}"].contains(&text.as_str()),
            _ => false,
        }),
        "is-none" => Ok(value.is_null()),
        "is-true" => Ok(truth(value) == Some(true)),
        "is-false" => Ok(value.is_null() || truth(value) == Some(false)),
        "in-net" => {
            let address = text(arguments, "address")?;
            let address: IpAddr = address.parse().map_err(|_| format!("'{address}' is no IP address"))?;
            Ok(Subnet::parse(text(arguments, "subnet")?)?.contains(address))
        }
        "matches" => {
            let pattern = text(arguments, "regex")?;
            let end = if pattern.ends_with('$') { "" } else { "$" };
            Ok(compiled(&format!("^(?:{pattern}{end})"))?.is_match(&words(value)))
        }
        "contains" => Ok(compiled(text(arguments, "regex")?)?.is_match(&words(value))),
        _ => Ok(match arguments.get("values") {
            Some(Value::Array(list)) => list.iter().any(|one| compare(one, value) == Some(Ordering::Equal)),
            Some(Value::String(text)) => text.contains(&words(value)),
            _ => false,
        }),
    }
}

/// How two values are to each other. A number and a text that is one are compared as numbers: a placeholder may have
/// made a text of it.
fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match (one, other) {
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        (Value::Number(_), _) | (_, Value::Number(_)) => number(one)?.partial_cmp(&number(other)?),
        _ if one == other => Some(Ordering::Equal),
        _ => None,
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => number.as_f64().map(|number| number != 0.0),
        Value::String(text) => match text.to_lowercase().as_str() {
            "yes" | "true" => Some(true),
            "no" | "false" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn compiled(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| format!("invalid regular expression: {error}"))
}

/// A network by its prefix (RFC 4632, RFC 4291 §2.3).
struct Subnet {
    network: IpAddr,
    prefix: u32,
}

impl Subnet {
    fn parse(text: &str) -> Result<Subnet, String> {
        let wrong = || format!("'{text}' is no network: write it as 192.0.2.0/24");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let network: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if prefix > most { Err(wrong()) } else { Ok(Subnet { network, prefix }) }
    }

    fn contains(&self, address: IpAddr) -> bool {
        let head = |bits: u128, width: u32| bits.checked_shr(width - self.prefix).unwrap_or(0);
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                head(u128::from(network.to_bits()), 32) == head(u128::from(address.to_bits()), 32)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => head(network.to_bits(), 128) == head(address.to_bits(), 128),
            _ => false,
        }
    }
}
