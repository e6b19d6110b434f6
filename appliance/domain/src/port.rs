//! A port: one network interface of a node.

use crate::id::{NodeId, PortId};
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
