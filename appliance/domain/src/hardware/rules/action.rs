//! Actions of rules.

use super::arguments::{Signature, filled, flag, is_plain, named, operation, text};
use super::attribute::{Edit, check_path, edit_found, edit_node, edit_port};
use super::placeholder::{Missing, words};
use super::{Context, Inspected};
use crate::hardware::steps::is_trait_name;
use crate::node::Node;
use serde_json::{Map, Value};

const fn signature(
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
    filled: &'static [&'static str],
) -> Signature {
    Signature { name, required, optional, filled }
}

const ACTIONS: [Signature; 15] = [
    signature("fail", &["msg"], &[], &[]),
    signature("log", &["msg"], &["level"], &["msg"]),
    signature("set-attribute", &["path", "value"], &[], &["value"]),
    signature("extend-attribute", &["path", "value"], &["unique"], &["value"]),
    signature("del-attribute", &["path"], &[], &[]),
    signature("set-capability", &["name", "value"], &[], &["value"]),
    signature("unset-capability", &["name"], &[], &[]),
    signature("add-trait", &["name"], &[], &[]),
    signature("remove-trait", &["name"], &[], &[]),
    signature("set-plugin-data", &["path", "value"], &[], &["value"]),
    signature("extend-plugin-data", &["path", "value"], &["unique"], &["value"]),
    signature("unset-plugin-data", &["path"], &[], &[]),
    signature("set-port-attribute", &["port_id", "path", "value"], &[], &["value"]),
    signature("extend-port-attribute", &["port_id", "path", "value"], &["unique"], &["value"]),
    signature("del-port-attribute", &["port_id", "path"], &[], &[]),
];

const LEVELS: [&str; 5] = ["debug", "info", "warning", "error", "critical"];

fn action(given: &Value) -> Result<&'static Signature, String> {
    let name = operation(given)?;
    let known = || ACTIONS.iter().map(|action| action.name).collect::<Vec<_>>().join(", ");
    let found = ACTIONS.iter().find(|action| action.name == name);
    found.ok_or_else(|| format!("Unsupported action: '{name}'. Supported actions are: {}.", known()))
}

pub(super) fn check(given: &Value) -> Result<(), String> {
    let signature = action(given)?;
    let arguments = named(signature, given)?;
    let plain = |name: &str| match arguments.get(name) {
        Some(Value::String(text)) if is_plain(given, text) => Some(text.as_str()),
        _ => None,
    };
    if let Some(level) = plain("level")
        && !LEVELS.contains(&level.to_lowercase().as_str())
    {
        return Err(format!("Invalid log level: {level}. Choose from {}.", LEVELS.join(", ")));
    }
    if signature.name.ends_with("-trait")
        && let Some(name) = plain("name")
        && !is_trait_name(name)
    {
        return Err(format!("'{name}' is not a valid trait."));
    }
    if signature.name.ends_with("-attribute")
        && let Some(path) = plain("path")
    {
        check_path(path, signature.name.ends_with("-port-attribute"))?;
    }
    Ok(())
}

/// Does what the action says, once or for each item of its loop. An error fails the inspection.
pub(super) fn carry_out(given: &Value, node: &Node, inspected: &mut Inspected) -> Result<(), String> {
    let signature = action(given)?;
    let missing = if signature.name == "log" { Missing::Stays } else { Missing::Fails };
    let context = Context::of(node, inspected);
    for arguments in filled(signature, given, &context, missing)? {
        one(signature.name, &arguments, inspected)?;
    }
    Ok(())
}

fn one(name: &str, arguments: &Map<String, Value>, inspected: &mut Inspected) -> Result<(), String> {
    let value = arguments.get("value").unwrap_or(&Value::Null);
    let edit = match name.split_once('-').map(|(verb, _)| verb) {
        Some("set") => Edit::Set(value),
        Some("extend") => Edit::Extend { value, unique: flag(arguments, "unique") },
        _ => Edit::Delete,
    };
    match name {
        "fail" => return Err(arguments.get("msg").map(words).unwrap_or_default()),
        "log" => {
            let level = arguments.get("level").map_or_else(|| "info".to_owned(), words).to_lowercase();
            inspected.said.push((level, arguments.get("msg").map(words).unwrap_or_default()));
        }
        "set-attribute" | "extend-attribute" | "del-attribute" => {
            edit_node(inspected, text(arguments, "path")?, &edit)?;
        }
        "set-port-attribute" | "extend-port-attribute" | "del-port-attribute" => {
            edit_port(inspected, text(arguments, "port_id")?, text(arguments, "path")?, &edit)?;
        }
        "set-plugin-data" | "extend-plugin-data" => {
            edit_found(&mut inspected.found, text(arguments, "path")?, &edit)?;
        }
        "unset-plugin-data" => {
            // As in Ironic, what is not there need not be removed.
            let _not_there = edit_found(&mut inspected.found, text(arguments, "path")?, &edit);
        }
        "set-capability" => set_capability(inspected, text(arguments, "name")?, Some(&words(value))),
        "unset-capability" => set_capability(inspected, text(arguments, "name")?, None),
        "add-trait" => {
            inspected.settings.traits.insert(text(arguments, "name")?.to_owned());
        }
        "remove-trait" => {
            inspected.settings.traits.remove(text(arguments, "name")?);
        }
        _ => return Err(format!("unsupported action '{name}'")),
    }
    Ok(())
}

/// `properties/capabilities` is a text: `name:value,name:value`.
fn set_capability(inspected: &mut Inspected, name: &str, value: Option<&str>) {
    let properties = &mut inspected.settings.properties;
    let before = properties.get("capabilities").and_then(Value::as_str).unwrap_or_default();
    let is_meant = |entry: &&str| entry.split_once(':').is_some_and(|(known, _)| known.trim() == name);
    let others = before.split(',').map(str::trim).filter(|entry| !entry.is_empty() && !is_meant(entry));
    let added = value.map(|value| format!("{name}:{value}"));
    let all: Vec<String> = others.map(str::to_owned).chain(added).collect();
    if all.is_empty() {
        properties.remove("capabilities");
    } else {
        properties.insert("capabilities".into(), all.join(",").into());
    }
}
