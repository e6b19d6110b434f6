//! Volume connectors and targets: what a node would need to boot from a remote volume.
//!
//! They are records: no driver here attaches volumes. A node whose records say that it boots from a volume is refused
//! a deployment ([`boot_volume`]), rather than being deployed as if they said nothing.

use super::record::{Kind, Record, Table, check_length, node_exists, same_owner};
use super::{Catalogue, HardwareKey, HardwareRow};
use crate::id::{NodeId, VolumeConnectorId, VolumeTargetId};
use crate::node::Node;
use crate::power::PowerState;
use crate::provision::ProvisionState;
use crate::refusal::Refusal;
use crate::view::View;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// How a node is known to a storage server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeConnector {
    pub node: NodeId,
    /// `iqn`, `ip`, `mac`, `wwnn`, `wwpn`, …
    pub kind: String,
    pub connector_id: String,
    pub extra: Map<String, Value>,
}

/// A volume that a node is to have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeTarget {
    pub node: NodeId,
    /// `iscsi`, `fibre_channel`, …
    pub volume_type: String,
    pub volume_id: String,
    /// 0: the volume to boot from.
    pub boot_index: i64,
    /// How to reach it; may hold credentials.
    pub properties: Map<String, Value>,
    pub extra: Map<String, Value>,
}

/// Ironic changes volumes of a node only while its machine is off.
fn must_be_off(node: &Node, action: &str) -> Result<(), Refusal> {
    if node.power_state == Some(PowerState::Off) {
        return Ok(());
    }
    let state = node.power_state.map_or("None", |state| state.name());
    Err(Refusal::Invalid(format!(
        "The requested action \"{action}\" can not be performed on node \"{}\" while it is in state \"{state}\": switch \
         it off first.",
        node.title()
    )))
}

fn check_change(view: &View, from: NodeId, to: NodeId, action: &str) -> Result<(), Refusal> {
    must_be_off(node_exists(view, from)?, action)?;
    same_owner(view, from, to)
}

fn check_end(view: &View, node: NodeId, action: &str) -> Result<(), Refusal> {
    use ProvisionState::{AdoptFailed, Enroll, Manageable};
    match view.node(node) {
        Some(node) if !matches!(node.provision_state, Enroll | Manageable | AdoptFailed) => must_be_off(node, action),
        _ => Ok(()),
    }
}

impl Kind for VolumeConnector {
    type Id = VolumeConnectorId;
    const WHAT: &'static str = "Volume connector";

    fn node(&self) -> Option<NodeId> {
        Some(self.node)
    }

    fn unique(&self) -> Vec<(&'static str, String)> {
        vec![("A volume connector with type and connector ID", format!("{} {}", self.kind, self.connector_id))]
    }

    fn check(&self, view: &View, before: Option<&Record<VolumeConnector>>) -> Result<(), Refusal> {
        check_length("type", Some(&self.kind), 32)?;
        check_length("connector_id", Some(&self.connector_id), 255)?;
        node_exists(view, self.node)?;
        match before {
            Some(before) => check_change(view, before.body.node, self.node, "volume connector update"),
            None => Ok(()),
        }
    }

    fn check_removal(record: &Record<VolumeConnector>, view: &View) -> Result<(), Refusal> {
        check_end(view, record.body.node, "volume connector deletion")
    }

    fn table(catalogue: &Catalogue) -> &Table<VolumeConnector> {
        &catalogue.volume_connectors
    }

    fn row(record: Arc<Record<VolumeConnector>>) -> HardwareRow {
        HardwareRow::VolumeConnector(record)
    }

    fn row_key(id: VolumeConnectorId) -> HardwareKey {
        HardwareKey::VolumeConnector(id)
    }
}

/// What a refusal calls a node's boot index, and by what it is found.
const BOOT_INDEX: &str = "A volume target for the same node with boot index";

fn boot_index_of(node: NodeId, index: i64) -> String {
    format!("{index} (node {node})")
}

impl Kind for VolumeTarget {
    type Id = VolumeTargetId;
    const WHAT: &'static str = "Volume target";

    fn node(&self) -> Option<NodeId> {
        Some(self.node)
    }

    fn unique(&self) -> Vec<(&'static str, String)> {
        vec![(BOOT_INDEX, boot_index_of(self.node, self.boot_index))]
    }

    fn check(&self, view: &View, before: Option<&Record<VolumeTarget>>) -> Result<(), Refusal> {
        check_length("volume_type", Some(&self.volume_type), 64)?;
        check_length("volume_id", Some(&self.volume_id), 255)?;
        node_exists(view, self.node)?;
        match before {
            Some(before) => check_change(view, before.body.node, self.node, "volume target update"),
            None => Ok(()),
        }
    }

    fn check_removal(record: &Record<VolumeTarget>, view: &View) -> Result<(), Refusal> {
        check_end(view, record.body.node, "volume target deletion")
    }

    fn table(catalogue: &Catalogue) -> &Table<VolumeTarget> {
        &catalogue.volume_targets
    }

    fn row(record: Arc<Record<VolumeTarget>>) -> HardwareRow {
        HardwareRow::VolumeTarget(record)
    }

    fn row_key(id: VolumeTargetId) -> HardwareKey {
        HardwareKey::VolumeTarget(id)
    }
}

/// Why the node cannot be deployed as its volumes say: one of them is to be booted from.
pub fn boot_volume(view: &View, node: &Node) -> Result<(), String> {
    match view.hardware.volume_targets.find(BOOT_INDEX, &boot_index_of(node.id, 0)) {
        None => Ok(()),
        Some(target) => Err(format!(
            "Volume target {} says that node {} boots from volume {}, which its storage interface (noop) can not do: \
             delete the volume target to deploy an image to a disk (baremetal volume target delete {}).",
            target.id,
            node.title(),
            target.body.volume_id,
            target.id
        )),
    }
}
