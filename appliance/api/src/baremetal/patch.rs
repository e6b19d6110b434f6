//! Creation and change of nodes: a document or an RFC 6902 patch becomes the node's new settings.
//!
//! A patch works on the node's document. A masked secret that comes back unchanged stays what it was; a new one is
//! sealed here, before it reaches the store.

use super::asked::{Asked, uuid};
use super::document::Shown;
use super::fields::{self, LABELS, LabelKind};
use super::masks::{MASK, mask_given, unmasked};
use super::operations::{Operation, Patch};
use super::version::{Version, not_acceptable};
use crate::Api;
use crate::access::OfNode;
use crate::error::ApiError;
use axum::http::StatusCode;
use leasehold_domain::View;
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::driver::{self, Interface};
use leasehold_domain::id::NodeId;
use leasehold_domain::node::{Node, NodeSettings, Sealed};
use leasehold_domain::provision::ProvisionState;
use leasehold_engine::bmcs::secret_context;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The rule for whoever may give a deployed node another owner.
const OWNER_PROVISIONED: &str = "baremetal:node:update_owner_provisioned";
/// The rule for whoever may have a node not wiped between two users.
const DISABLE_CLEANING: &str = "baremetal:node:disable_cleaning";
/// The rule for whatever has none of its own.
const UPDATE: &str = "baremetal:node:update";

/// A patch of a node whose every operation names a member that a patch may touch in this version.
pub(super) struct NodePatch {
    patch: Patch,
    reset_interfaces: bool,
}

impl NodePatch {
    /// Reads a patch; 400 for what no patch may touch, 406 for what this version has not.
    pub(super) fn read(body: &Value, version: Version, reset_interfaces: bool) -> Result<NodePatch, ApiError> {
        let patch = Patch::read(body)?;
        for operation in &patch.operations {
            let field = fields::known(operation.member()).filter(|field| field.patched_by().is_some());
            match field {
                Some(field) if !field.is_in(version) => {
                    return Err(not_acceptable(version, field.since, field.name));
                }
                Some(_) => {}
                None => return Err(operation.refused()),
            }
        }
        if reset_interfaces && !patch.touches("driver") {
            return Err(ApiError::bad_request(
                "The reset_interfaces parameter can only be used when changing the node's driver.",
            ));
        }
        Ok(NodePatch { patch, reset_interfaces })
    }

    /// The rule of each member that is touched says yes: who gives the command.
    pub(super) fn authorize(&self, asked: &Asked, node: &Node, ident: &str) -> Result<Actor, ApiError> {
        let mut rules: Vec<&str> = self.patch.operations.iter().map(rule_of).collect();
        if rules.is_empty() {
            rules.push(UPDATE);
        }
        for rule in rules {
            asked.caller.may(rule, node, ident)?;
        }
        let takes_owner = self.patch.touches("owner") && node.provision_state == ProvisionState::Active;
        if takes_owner && !asked.caller.allows(OWNER_PROVISIONED, &OfNode(node)) {
            return Err(ApiError::new(
                StatusCode::CONFLICT,
                format!("Cannot update owner of node \"{}\" while it is in state \"active\".", node.id),
            ));
        }
        Ok(asked.caller.judged(node))
    }

    /// The one command that the patch amounts to.
    pub(super) fn command(&self, api: &Api, asked: &Asked, view: &View, node: &Node) -> Result<Command, ApiError> {
        self.check_state(asked, view, node)?;
        let mut members = Shown::of(api, asked, view, node).document();
        members.retain(|name, _| fields::known(name).is_some_and(|field| field.patched_by().is_some()));
        let mut members = self.patch.apply(members)?;
        if self.reset_interfaces {
            members.retain(|name, _| Interface::of_member(name).is_none() || self.patch.touches(name));
        }
        if self.patch.touches("parent_node") {
            name_parent(asked, view, &mut members)?;
        }
        let had_chassis = node.settings.label("chassis_uuid").is_some();
        let mut settings = settings(api, node.id, &members, &node.settings)?;
        if had_chassis && settings.label("chassis_uuid").is_none() {
            asked.needs(25, "The removal of chassis_uuid")?;
        }
        name_instance(&mut settings, &node.settings);
        let maintenance = wants_maintenance(&members)?;
        let maintenance = (maintenance != node.maintenance).then_some(maintenance);
        Ok(Command::ChangeNode { id: node.id, revision: node.revision, settings: Box::new(settings), maintenance })
    }

    fn check_state(&self, asked: &Asked, view: &View, node: &Node) -> Result<(), ApiError> {
        let conflict = |message: String| Err(ApiError::new(StatusCode::CONFLICT, message));
        if node.provision_state == ProvisionState::Inspecting && asked.version.0 >= 39 {
            return conflict(format!("Cannot update node \"{}\" while it is in state \"inspecting\".", node.id));
        }
        // Whoever asked for a node by an allocation of his own keeps it: it can not be taken from under him.
        let allocation = view.hardware.allocations.of_node(node.id).next();
        if self.patch.touches("owner") && allocation.is_some_and(|allocation| allocation.body.wanted.owner.is_some()) {
            return conflict(format!(
                "Cannot update owner of node \"{}\" while it is allocated to an allocation with an owner.",
                node.id
            ));
        }
        Ok(())
    }
}

fn rule_of(operation: &Operation) -> &'static str {
    let name = operation.member();
    let off = || operation.value.as_ref().and_then(driver::truth) == Some(false);
    if name == "automated_clean" && off() {
        return DISABLE_CLEANING;
    }
    fields::known(name).and_then(fields::Field::patched_by).unwrap_or(UPDATE)
}

/// A creation names only members that it may, in this version.
pub(super) fn check_creation(body: &Map<String, Value>, version: Version) -> Result<(), ApiError> {
    for (name, value) in body {
        match fields::known(name).filter(|field| field.is_for_creation()) {
            Some(field) if field.is_in(version) || value.is_null() => {}
            Some(field) => return Err(not_acceptable(version, field.since, name)),
            None => return Err(ApiError::bad_request(format!("'{name}' can not be set when a node is created."))),
        }
    }
    Ok(())
}

/// The settings of a new node.
pub(super) fn new_settings(api: &Api, id: NodeId, body: &Map<String, Value>) -> Result<NodeSettings, ApiError> {
    let mut settings = settings(api, id, body, &NodeSettings::default())?;
    name_instance(&mut settings, &NodeSettings::default());
    Ok(settings)
}

/// `parent_node` may be a name; kept is the UUID of a node that the caller sees.
pub(super) fn name_parent(asked: &Asked, view: &View, members: &mut Map<String, Value>) -> Result<(), ApiError> {
    let Some(Value::String(ident)) = members.get("parent_node") else { return Ok(()) };
    let parent = asked.seen(view, ident).map_err(|_| {
        ApiError::bad_request(format!(
            "Unable to apply the requested parent_node '{ident}'. Requested value was invalid."
        ))
    })?;
    members.insert("parent_node".into(), parent.id.to_string().into());
    Ok(())
}

/// Older clients name the instance in `instance_info` only.
fn name_instance(settings: &mut NodeSettings, before: &NodeSettings) {
    let changed = settings.instance_info != before.instance_info;
    if !changed || settings.label("instance_name").is_some() {
        return;
    }
    if let Some(name) = settings.instance_info.get("display_name").filter(|name| name.is_string()).cloned() {
        settings.labels.insert("instance_name".into(), name);
    }
}

/// The node is to be in maintenance.
pub(super) fn wants_maintenance(members: &Map<String, Value>) -> Result<bool, ApiError> {
    Ok(Reader { members }.flag("maintenance")?.unwrap_or(false))
}

/// Reads the changeable members of a document, checking each one's type.
fn settings(
    api: &Api,
    id: NodeId,
    members: &Map<String, Value>,
    before: &NodeSettings,
) -> Result<NodeSettings, ApiError> {
    let read = Reader { members };
    let driver = read
        .text("driver")?
        .ok_or_else(|| ApiError::bad_request(format!("A node needs a driver: one of {}.", driver::names())))?;
    let given = unmasked("driver_info", read.object("driver_info")?, &before.driver_info, is_secret)?;
    check_address(&given, before)?;
    let (info, secrets) = split_secrets(api, id, given, before)?;
    Ok(NodeSettings {
        name: read.text("name")?.filter(|name| !name.is_empty()),
        driver_info: info,
        driver_secrets: secrets,
        properties: read.object("properties")?,
        extra: read.object("extra")?,
        instance_info: unmasked("instance_info", read.object("instance_info")?, &before.instance_info, |_| false)?,
        instance_uuid: read.text("instance_uuid")?.map(|text| uuid(&text)).transpose()?,
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
        interfaces: interfaces(&driver, read)?,
        labels: labels(read)?,
        driver,
    })
}

/// What was chosen beside the driver's defaults. Whether the driver has it is for the decision to say.
fn interfaces(driver: &str, read: Reader<'_>) -> Result<BTreeMap<String, String>, ApiError> {
    let mut chosen = BTreeMap::new();
    for interface in Interface::ALL {
        let Some(given) = read.text(interface.member())? else { continue };
        if driver::find(driver).is_none_or(|driver| driver.default_of(interface) != given) {
            chosen.insert(interface.member().to_owned(), given);
        }
    }
    Ok(chosen)
}

fn labels(read: Reader<'_>) -> Result<BTreeMap<String, Value>, ApiError> {
    let mut labels = BTreeMap::new();
    for (label, kind) in LABELS {
        let value = match kind {
            LabelKind::Text => read.short_text(label, 255)?.filter(|text| !text.is_empty()).map(Value::from),
            LabelKind::Uuid => read.text(label)?.map(|text| uuid(&text)).transpose()?.map(|id| id.to_string().into()),
            LabelKind::Flag => read.flag(label)?.map(Value::from),
            LabelKind::Object => Some(read.object(label)?).filter(|map| !map.is_empty()).map(Value::from),
        };
        if let Some(value) = value {
            labels.insert((*label).to_owned(), value);
        }
    }
    if let Some(Value::String(group)) = labels.get_mut("conductor_group") {
        *group = group.to_lowercase();
    }
    if let Some(Value::Object(data)) = labels.get("network_data") {
        check_network_data(data)?;
    }
    Ok(labels)
}

/// `network_data` is OpenStack's description of a machine's network: three lists of objects.
fn check_network_data(data: &Map<String, Value>) -> Result<(), ApiError> {
    for (name, value) in data {
        let list = value.as_array().filter(|_| matches!(name.as_str(), "links" | "networks" | "services"));
        if !list.is_some_and(|list| list.iter().all(Value::is_object)) {
            return Err(ApiError::bad_request(format!(
                "Invalid network_data: '{name}' is none of the lists links, networks and services of objects."
            )));
        }
    }
    Ok(())
}

/// A stored password goes to the address for which it was given, and to no other: who may change an address and not
/// read the password must not have it sent to a machine of his own.
fn check_address(given: &Map<String, Value>, before: &NodeSettings) -> Result<(), ApiError> {
    for driver in ["ipmi", "redfish"] {
        let address = ["address", "port", "verify_ca"].map(|part| format!("{driver}_{part}"));
        let moved = address.iter().find(|key| given.get(*key) != before.driver_info.get(*key));
        let kept = before
            .driver_secrets
            .keys()
            .find(|key| key.starts_with(driver) && given.get(*key).and_then(Value::as_str) == Some(MASK));
        if let (Some(moved), Some(kept)) = (moved, kept) {
            return Err(ApiError::bad_request(format!(
                "driver_info/{moved} is changed: give driver_info/{kept} again with it, for the stored one belongs to \
                 the BMC that it was given for."
            )));
        }
    }
    Ok(())
}

type Secrets = BTreeMap<String, Sealed>;

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

/// A member of `driver_info` that is a secret by its name.
fn is_secret(key: &str) -> bool {
    ["password", "token", "secret", "hex_kg_key"].into_iter().any(|end| key.ends_with(end))
}

/// Reads members with their types.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) members: &'a Map<String, Value>,
}

impl Reader<'_> {
    pub(super) fn text(self, name: &str) -> Result<Option<String>, ApiError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(ApiError::bad_request(format!("{name} must be a string."))),
        }
    }

    pub(super) fn short_text(self, name: &str, longest: usize) -> Result<Option<String>, ApiError> {
        let text = self.text(name)?;
        match &text {
            Some(given) if given.chars().count() > longest => {
                Err(ApiError::bad_request(format!("{name} must be at most {longest} characters.")))
            }
            _ => Ok(text),
        }
    }

    pub(super) fn flag(self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) => super::query::flag(name, text).map(Some),
            Some(_) => Err(ApiError::bad_request(format!("{name} must be true or false."))),
        }
    }

    pub(super) fn object(self, name: &str) -> Result<Map<String, Value>, ApiError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map.clone()),
            Some(_) => Err(ApiError::bad_request(format!("{name} must be an object."))),
        }
    }
}
