//! Attributes of nodes and ports that a rule may set, by their path.

use super::Inspected;
use crate::id::PortId;
use crate::node::NodeSettings;
use crate::port::PortSettings;
use serde_json::{Map, Value};
use uuid::Uuid;

/// What is to become of an attribute.
pub(super) enum Edit<'a> {
    Set(&'a Value),
    /// One more in a list; `unique`: unless it is in it.
    Extend {
        value: &'a Value,
        unique: bool,
    },
    Delete,
}

/// Attributes of a node that rules may touch. Owner and lessee are not among them.
const OF_NODE: [&str; 8] =
    ["properties", "extra", "driver_info", "instance_info", "name", "description", "resource_class", "automated_clean"];
const OF_PORT: [&str; 6] = ["extra", "local_link_connection", "physical_network", "pxe_enabled", "name", "is_smartnic"];

/// `a/b` or `a.b` as its parts.
fn parts(path: &str) -> Vec<&str> {
    match path.contains('/') {
        true => path.trim_matches('/').split('/').collect(),
        false => path.split('.').collect(),
    }
}

/// A path that can be judged before there is an inventory.
pub(super) fn check_path(path: &str, of_port: bool) -> Result<(), String> {
    let known: &[&str] = if of_port { &OF_PORT } else { &OF_NODE };
    match parts(path).first() {
        Some(first) if known.contains(first) => Ok(()),
        _ => Err(format!("The attribute '{path}' can not be set by a rule; those that can: {}.", known.join(", "))),
    }
}

fn is_secret(key: &str) -> bool {
    key.ends_with("password") || key.ends_with("token") || key.ends_with("secret")
}

pub(super) fn edit_node(inspected: &mut Inspected, path: &str, edit: &Edit<'_>) -> Result<(), String> {
    check_path(path, false)?;
    let parts = parts(path);
    if let ["driver_info", key, ..] = parts.as_slice()
        && is_secret(key)
    {
        return Err(format!("driver_info/{key} is a secret, which a rule can not set: set it on the node"));
    }
    let settings = &mut inspected.settings;
    let mut document = node_document(settings);
    edit_at(&mut document, &parts, path, edit)?;
    read_node(settings, &document, path)
}

fn node_document(settings: &NodeSettings) -> Map<String, Value> {
    let members = [
        ("properties", Value::Object(settings.properties.clone())),
        ("extra", Value::Object(settings.extra.clone())),
        ("driver_info", Value::Object(settings.driver_info.clone())),
        ("instance_info", Value::Object(settings.instance_info.clone())),
        ("name", settings.name.clone().into()),
        ("description", settings.description.clone().into()),
        ("resource_class", settings.resource_class.clone().into()),
        ("automated_clean", settings.automated_clean.into()),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn read_node(settings: &mut NodeSettings, document: &Map<String, Value>, path: &str) -> Result<(), String> {
    let read = Reader { document, path };
    settings.properties = read.object("properties")?;
    settings.extra = read.object("extra")?;
    settings.driver_info = read.object("driver_info")?;
    settings.instance_info = read.object("instance_info")?;
    settings.name = read.text("name")?;
    settings.description = read.text("description")?;
    settings.resource_class = read.text("resource_class")?;
    settings.automated_clean = read.flag("automated_clean")?;
    Ok(())
}

pub(super) fn edit_port(inspected: &mut Inspected, port: &str, path: &str, edit: &Edit<'_>) -> Result<(), String> {
    check_path(path, true)?;
    let known = Uuid::parse_str(port).ok().and_then(|uuid| inspected.ports.get_mut(&PortId(uuid)));
    let settings = known.ok_or_else(|| format!("the node has no port {port}"))?;
    let mut document = port_document(settings);
    edit_at(&mut document, &parts(path), path, edit)?;
    let read = Reader { document: &document, path };
    settings.extra = read.object("extra")?;
    settings.local_link_connection = read.object("local_link_connection")?;
    settings.physical_network = read.text("physical_network")?;
    settings.name = read.text("name")?;
    settings.pxe_enabled = read.flag("pxe_enabled")?.unwrap_or(true);
    settings.is_smartnic = read.flag("is_smartnic")?.unwrap_or(false);
    Ok(())
}

fn port_document(settings: &PortSettings) -> Map<String, Value> {
    let members = [
        ("extra", Value::Object(settings.extra.clone())),
        ("local_link_connection", Value::Object(settings.local_link_connection.clone())),
        ("physical_network", settings.physical_network.clone().into()),
        ("pxe_enabled", settings.pxe_enabled.into()),
        ("name", settings.name.clone().into()),
        ("is_smartnic", settings.is_smartnic.into()),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

struct Reader<'a> {
    document: &'a Map<String, Value>,
    path: &'a str,
}

impl Reader<'_> {
    fn object(&self, name: &str) -> Result<Map<String, Value>, String> {
        match self.document.get(name) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map.clone()),
            Some(_) => Err(format!("{} must stay an object", self.path)),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, String> {
        match self.document.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format!("{} must be a text", self.path)),
        }
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, String> {
        match self.document.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(_) => Err(format!("{} must be true or false", self.path)),
        }
    }
}

/// Edits plugin data, by its path with dots.
pub(super) fn edit_found(found: &mut Map<String, Value>, path: &str, edit: &Edit<'_>) -> Result<(), String> {
    let parts: Vec<&str> = path.split('.').collect();
    if parts.first() == Some(&"inventory") {
        return Err("the inventory is what was found: a rule can not change it".into());
    }
    edit_at(found, &parts, path, edit)
}

fn edit_at(document: &mut Map<String, Value>, parts: &[&str], path: &str, edit: &Edit<'_>) -> Result<(), String> {
    let Some((last, before)) = parts.split_last() else { return Err("the path is empty".into()) };
    let mut place = document;
    for part in before {
        let inner = place.entry((*part).to_owned()).or_insert_with(|| Value::Object(Map::new()));
        if inner.is_null() {
            *inner = Value::Object(Map::new());
        }
        place = inner.as_object_mut().ok_or_else(|| format!("there is no place for {path}: '{part}' is no object"))?;
    }
    match edit {
        Edit::Set(value) => {
            place.insert((*last).to_owned(), (*value).clone());
        }
        Edit::Extend { value, unique } => {
            let list = place.entry((*last).to_owned()).or_insert_with(|| Value::Array(Vec::new()));
            if list.is_null() {
                *list = Value::Array(Vec::new());
            }
            let list = list.as_array_mut().ok_or_else(|| format!("{path} is no list, which could be extended"))?;
            if !unique || !list.contains(value) {
                list.push((*value).clone());
            }
        }
        Edit::Delete => {
            place.remove(*last).ok_or_else(|| format!("there is no {path} to delete"))?;
        }
    }
    Ok(())
}
