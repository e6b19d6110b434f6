//! Port groups: several ports of a node that work as one.

use super::record::{Kind, Record, Table, check_length, check_name, node_exists, same_owner};
use super::{Catalogue, HardwareKey, HardwareRow};
use crate::id::{NodeId, PortgroupId};
use crate::mac::Mac;
use crate::provision::ProvisionState;
use crate::refusal::Refusal;
use crate::view::View;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// What a refusal calls the name of a port group.
pub const PORTGROUP_NAME: &str = "A portgroup with name";
/// What a refusal calls its address.
pub const PORTGROUP_ADDRESS: &str = "A portgroup with MAC address";

/// The mode of a port group that says none. Ironic's default (`default_portgroup_mode`).
pub const DEFAULT_MODE: &str = "active-backup";

/// A port group. The ports name it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Portgroup {
    pub node: NodeId,
    pub name: Option<String>,
    pub address: Option<Mac>,
    /// The bonding mode, as Linux names it.
    pub mode: String,
    /// Parameters of the bond (`bond_miimon`, …).
    pub properties: Map<String, Value>,
    /// Its ports may also be used alone: only then can one of them boot from the network.
    pub standalone_ports_supported: bool,
    pub physical_network: Option<String>,
    pub category: Option<String>,
    pub extra: Map<String, Value>,
}

impl Kind for Portgroup {
    type Id = PortgroupId;
    const WHAT: &'static str = "Portgroup";

    fn node(&self) -> Option<NodeId> {
        Some(self.node)
    }

    fn unique(&self) -> Vec<(&'static str, String)> {
        let name = self.name.clone().map(|name| (PORTGROUP_NAME, name));
        let address = self.address.map(|address| (PORTGROUP_ADDRESS, address.to_string()));
        name.into_iter().chain(address).collect()
    }

    fn check(&self, view: &View, before: Option<&Record<Portgroup>>) -> Result<(), Refusal> {
        check_name("a portgroup", self.name.as_deref())?;
        check_length("category", self.category.as_deref(), 80)?;
        check_length("physical_network", self.physical_network.as_deref(), 64)?;
        let node = node_exists(view, self.node)?;
        let Some(before) = before else { return Ok(()) };
        let members = || view.ports_of(before.body.node).filter(|port| port.settings.portgroup == Some(before.id));
        if before.body.node != self.node {
            same_owner(view, before.body.node, self.node)?;
            if members().next().is_some() {
                return Err(Refusal::Invalid(format!(
                    "Portgroup {} can not be associated with node {} because there are ports associated with this \
                     portgroup.",
                    before.id, self.node
                )));
            }
            use ProvisionState::{Enroll, InspectWait, Inspecting, Manageable};
            let free = matches!(node.provision_state, Enroll | Inspecting | InspectWait | Manageable);
            if !free && !node.maintenance {
                return Err(Refusal::InUse(format!(
                    "Portgroup {} can not be associated to node {} unless the node is in an enroll, inspecting, \
                     inspect wait or manageable state or in maintenance mode. Current state is '{}'.",
                    before.id,
                    node.title(),
                    node.provision_state.name()
                )));
            }
        }
        let booting = || members().find(|port| port.settings.pxe_enabled);
        if !self.standalone_ports_supported
            && let Some(port) = booting()
        {
            return Err(Refusal::InUse(format!(
                "standalone_ports_supported can not be set to False, because the port group {} contains port {} with \
                 'pxe_enabled' set to True.",
                before.id, port.settings.address
            )));
        }
        Ok(())
    }

    fn check_removal(record: &Record<Portgroup>, view: &View) -> Result<(), Refusal> {
        if view.ports_of(record.body.node).any(|port| port.settings.portgroup == Some(record.id)) {
            return Err(Refusal::Invalid(format!(
                "Cannot complete the requested action because portgroup {} contains ports.",
                record.id
            )));
        }
        Ok(())
    }

    fn table(catalogue: &Catalogue) -> &Table<Portgroup> {
        &catalogue.portgroups
    }

    fn row(record: Arc<Record<Portgroup>>) -> HardwareRow {
        HardwareRow::Portgroup(record)
    }

    fn row_key(id: PortgroupId) -> HardwareKey {
        HardwareKey::Portgroup(id)
    }
}
