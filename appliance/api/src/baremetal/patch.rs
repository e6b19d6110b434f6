//! Creation and change of nodes: a document or an RFC 6902 patch becomes the node's new settings.
//!
//! Patches work on the document that the caller sees. A masked secret that comes back unchanged stays what it was; a
//! new one is sealed here, before it reaches the store.

use super::asked::{Asked, known_driver};
use super::document::{MASK, Shown, masked};
use super::fields::{Change, LABELS, LabelKind, NODE_FIELDS, field, interface};
use super::version::Version;
use crate::Api;
use crate::error::ApiError;
use axum::http::StatusCode;
use leasehold_domain::View;
use leasehold_domain::command::Command;
use leasehold_domain::id::NodeId;
use leasehold_domain::node::{Node, NodeSettings};
use leasehold_engine::bmcs::secret_context;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A member of `driver_info` that is a secret by its name.
fn is_secret(key: &str) -> bool {
    key.ends_with("password") || key.ends_with("token") || key.ends_with("secret")
}

/// How a node's maintenance is to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Maintenance {
    pub(super) on: bool,
    pub(super) reason: Option<String>,
}

/// The settings of a new node.
pub(super) fn new_settings(
    api: &Api,
    id: NodeId,
    body: &Map<String, Value>,
    version: Version,
) -> Result<NodeSettings, ApiError> {
    for name in body.keys() {
        match field(name, version) {
            Some(field) if field.change != Change::Never => {}
            Some(_) => return Err(ApiError::bad_request(format!("'{name}' can not be set: the appliance keeps it."))),
            None => {
                return Err(ApiError::bad_request(format!(
                    "Unknown attribute '{name}' of a node in version 1.{}.",
                    version.0
                )));
            }
        }
    }
    settings(api, id, body, &NodeSettings::default())
}

/// The command that a patch of a node amounts to, and the maintenance that it wants beside.
pub(super) fn changed_settings(
    api: &Api,
    node: &Node,
    view: &View,
    asked: &Asked,
    patch: &Value,
) -> Result<(Command, Option<Maintenance>), ApiError> {
    let operations: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|error| ApiError::bad_request(format!("The body must be a JSON patch (RFC 6902): {error}.")))?;
    let shown = Shown { node, view, base: &asked.base, hostname: &api.hostname };
    let mut document = Value::Object(shown.document());
    for operation in &operations.0 {
        check_operation(operation, asked.version)?;
    }
    // What a patch can touch is never left out of the document: nothing means an empty object or null.
    let members = changeable(&document);
    document = Value::Object(members);
    for operation in &operations.0 {
        apply(&mut document, operation)?;
    }
    let Value::Object(members) = document else {
        return Err(ApiError::bad_request("A patch cannot replace the whole node."));
    };
    let settings = settings(api, node.id, &members, &node.settings)?;
    let maintenance = wanted_maintenance(&members, (node.maintenance, node.maintenance_reason.as_deref()))?;
    let change = Command::ChangeNode { id: node.id, revision: node.revision, settings: Box::new(settings) };
    Ok((change, maintenance))
}

fn changeable(document: &Value) -> Map<String, Value> {
    let Value::Object(members) = document else { return Map::new() };
    let may = |name: &str| NODE_FIELDS.iter().any(|field| field.name == name && field.change == Change::Patch);
    members.iter().filter(|(name, _)| may(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Only members that exist in this version and may be changed; only what Ironic takes.
fn check_operation(operation: &json_patch::PatchOperation, version: Version) -> Result<(), ApiError> {
    use json_patch::PatchOperation::{Add, Remove, Replace, Test};
    let path = match operation {
        Add(operation) => operation.path.to_string(),
        Remove(operation) => operation.path.to_string(),
        Replace(operation) => operation.path.to_string(),
        Test(operation) => operation.path.to_string(),
        _ => return Err(ApiError::bad_request("Only add, remove, replace and test are taken in a patch.")),
    };
    let name = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match field(name, version) {
        Some(field) if field.change == Change::Patch => Ok(()),
        Some(_) => Err(ApiError::bad_request(format!("'{path}' is an internal attribute and can not be updated"))),
        None => Err(ApiError::bad_request(format!(
            "Adding a new attribute ({path}) to the root of the resource is not allowed"
        ))),
    }
}

/// One operation. Removing a whole member means its default; a missing parent object is made, as Ironic's clients
/// expect of `add`.
fn apply(document: &mut Value, operation: &json_patch::PatchOperation) -> Result<(), ApiError> {
    use json_patch::PatchOperation::{Add, Remove, Replace};
    let refused = |error: String| ApiError::bad_request(format!("Couldn't apply patch: {error}"));
    let path = match operation {
        Add(operation) => operation.path.to_string(),
        Remove(operation) => operation.path.to_string(),
        Replace(operation) => operation.path.to_string(),
        _ => String::new(),
    };
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    if let ([name], Remove(_)) = (parts.as_slice(), operation) {
        let member = document.get_mut(*name).filter(|value| !value.is_null());
        let member = member.ok_or_else(|| refused(format!("there is no {path}")))?;
        *member = if member.is_object() { Value::Object(Map::new()) } else { Value::Null };
        return Ok(());
    }
    json_patch::patch(document, std::slice::from_ref(operation)).map_err(|error| refused(error.to_string()))
}

/// The maintenance flag and its reason, as a document wants them; `None`: they are so already. They have a decision of
/// their own.
pub(super) fn wanted_maintenance(
    members: &Map<String, Value>,
    now: (bool, Option<&str>),
) -> Result<Option<Maintenance>, ApiError> {
    let read = Reader { members };
    let on = read.flag("maintenance")?.unwrap_or(false);
    // A reason without maintenance says nothing, as in Ironic's answer.
    let reason = read.text("maintenance_reason")?.filter(|_| on);
    Ok(((on, reason.as_deref()) != now).then_some(Maintenance { on, reason }))
}

/// Reads the changeable members of a document, checking each one's type.
fn settings(
    api: &Api,
    id: NodeId,
    members: &Map<String, Value>,
    before: &NodeSettings,
) -> Result<NodeSettings, ApiError> {
    let read = Reader { members };
    let driver =
        read.text("driver")?.ok_or_else(|| ApiError::bad_request("A node needs a driver: ipmi or redfish."))?;
    known_driver(&driver)?;
    for name in members.keys() {
        check_interface(name, &driver, read)?;
    }
    let (info, secrets) = split_secrets(api, id, read.object("driver_info")?, before)?;
    let mut labels = BTreeMap::new();
    for (label, kind) in LABELS {
        let value = match (members.get(*label), kind) {
            (None | Some(Value::Null), _) => continue,
            (Some(value @ Value::String(_)), LabelKind::Text)
            | (Some(value @ Value::Bool(_)), LabelKind::Flag)
            | (Some(value @ Value::Object(_)), LabelKind::Object) => value.clone(),
            _ => return Err(ApiError::bad_request(format!("{label} has the wrong type."))),
        };
        labels.insert((*label).to_owned(), value);
    }
    let instance_uuid = match read.text("instance_uuid")? {
        Some(text) => Some(
            Uuid::parse_str(&text)
                .map_err(|_| ApiError::bad_request(format!("Expected a UUID but received {text}.")))?,
        ),
        None => None,
    };
    Ok(NodeSettings {
        name: read.text("name")?.filter(|name| !name.is_empty()),
        driver,
        driver_info: info,
        driver_secrets: secrets,
        properties: read.object("properties")?,
        extra: read.object("extra")?,
        instance_info: unmasked(read.object("instance_info")?, &before.instance_info)?,
        instance_uuid,
        resource_class: read.short_text("resource_class", 80)?,
        description: read.short_text("description", 4096)?,
        owner: read.short_text("owner", 255)?,
        lessee: read.short_text("lessee", 255)?,
        traits: before.traits.clone(),
        automated_clean: read.flag("automated_clean")?,
        protected: read.flag("protected")?.unwrap_or(false),
        protected_reason: read.text("protected_reason")?,
        retired: read.flag("retired")?.unwrap_or(false),
        retired_reason: read.text("retired_reason")?,
        labels,
    })
}

/// An interface may be named if it is the one that the driver has; anything else would be ignored, so it is refused.
fn check_interface(name: &str, driver: &str, read: Reader<'_>) -> Result<(), ApiError> {
    let Some(fixed) = interface(name, driver) else { return Ok(()) };
    match read.text(name)? {
        // After a change of driver the document still names the old one's interface.
        Some(given) if given != fixed && !is_another_drivers(name, &given) => Err(ApiError::bad_request(format!(
            "The {name} of driver {driver} is '{fixed}'; '{given}' is not supported."
        ))),
        _ => Ok(()),
    }
}

fn is_another_drivers(name: &str, given: &str) -> bool {
    leasehold_engine::bmcs::DRIVERS.iter().any(|driver| interface(name, driver).as_deref() == Some(given))
}

/// What was masked for the reader and came back so is what it was. Anything else with a mask in it would be taken for a
/// secret.
fn unmasked(mut now: Map<String, Value>, before: &Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    for (key, value) in &mut now {
        if !value.as_str().is_some_and(|text| text.contains(MASK)) {
            continue;
        }
        let old = before.get(key).filter(|old| masked(key, old).as_ref().unwrap_or(*old) == value);
        *value = old.cloned().ok_or_else(|| mask_given(&format!("instance_info/{key}")))?;
    }
    Ok(now)
}

fn mask_given(member: &str) -> ApiError {
    ApiError::bad_request(format!("{member} contains {MASK}, which stands for a secret: write the secret itself."))
}

type Secrets = BTreeMap<String, leasehold_domain::node::Sealed>;

fn split_secrets(
    api: &Api,
    id: NodeId,
    given: Map<String, Value>,
    before: &NodeSettings,
) -> Result<(Map<String, Value>, Secrets), ApiError> {
    let (mut info, mut secrets) = (Map::new(), Secrets::new());
    for (key, value) in given {
        if !is_secret(&key) {
            info.insert(key, value);
            continue;
        }
        let text = match &value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(ApiError::bad_request(format!("driver_info/{key} must be a string."))),
        };
        let sealed = match before.driver_secrets.get(&key) {
            Some(old) if text == MASK => old.clone(),
            None if text == MASK => return Err(mask_given(&format!("driver_info/{key}"))),
            _ => api
                .engine
                .seal(text.as_bytes(), &secret_context(&id, &key))
                .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?,
        };
        secrets.insert(key, sealed);
    }
    Ok((info, secrets))
}

/// Reads members with their types.
#[derive(Clone, Copy)]
struct Reader<'a> {
    members: &'a Map<String, Value>,
}

impl Reader<'_> {
    fn text(self, name: &str) -> Result<Option<String>, ApiError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(ApiError::bad_request(format!("{name} must be a string."))),
        }
    }

    fn short_text(self, name: &str, longest: usize) -> Result<Option<String>, ApiError> {
        let text = self.text(name)?;
        match &text {
            Some(given) if given.chars().count() > longest => {
                Err(ApiError::bad_request(format!("{name} must be at most {longest} characters.")))
            }
            _ => Ok(text),
        }
    }

    fn flag(self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) => super::query::flag(name, text).map(Some),
            Some(_) => Err(ApiError::bad_request(format!("{name} must be true or false."))),
        }
    }

    fn object(self, name: &str) -> Result<Map<String, Value>, ApiError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map.clone()),
            Some(_) => Err(ApiError::bad_request(format!("{name} must be an object."))),
        }
    }
}
