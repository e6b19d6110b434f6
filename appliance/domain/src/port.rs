//! A port: one network interface of a node.

use crate::id::{NodeId, PortId, PortgroupId};
use crate::mac::Mac;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The attributes that a keeper may set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PortSettings {
    pub node: NodeId,
    pub address: Mac,
    pub name: Option<String>,
    /// The node boots from this port.
    pub pxe_enabled: bool,
    pub physical_network: Option<String>,
    /// Which switch port the cable goes to: `switch_id`, `port_id`, `switch_info`.
    pub local_link_connection: Map<String, Value>,
    pub extra: Map<String, Value>,
    pub is_smartnic: bool,
    /// The group of ports that this one belongs to.
    #[serde(default)]
    pub portgroup: Option<PortgroupId>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub vendor: Option<String>,
    #[serde(default)]
    pub category: Option<String>,
    /// It may be taken into a group that is made when one is wanted.
    #[serde(default = "yes")]
    pub available_for_dynamic_portgroup: bool,
}

fn yes() -> bool {
    true
}

impl PortSettings {
    /// A port of which nothing but its address is known.
    pub fn new(node: NodeId, address: Mac) -> PortSettings {
        PortSettings {
            node,
            address,
            name: None,
            pxe_enabled: true,
            physical_network: None,
            local_link_connection: Map::new(),
            extra: Map::new(),
            is_smartnic: false,
            portgroup: None,
            description: None,
            vendor: None,
            category: None,
            available_for_dynamic_portgroup: true,
        }
    }

    /// It says which switch port the cable goes to, and that somebody sets that.
    pub fn is_cabled(&self) -> bool {
        let kind = self.local_link_connection.get("network_type").and_then(Value::as_str);
        !self.local_link_connection.is_empty() && kind != Some("unmanaged")
    }
}

/// A port and its history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port {
    pub id: PortId,
    pub revision: u64,
    pub settings: PortSettings,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}
