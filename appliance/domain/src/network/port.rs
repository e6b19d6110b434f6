//! Ports of networks: a place on a network with its addresses, to be attached to a machine.

use super::{About, Object};
use crate::id::{NetworkId, NodeId, PortId, PortgroupId, SubnetId, TenantPortId};
use crate::mac::Mac;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::net::Ipv4Addr;

/// A port of a network (Neutron's word), as against the port of a node, which is a network card.
pub type TenantPort = Object<TenantPortId, TenantPortSettings>;

/// An address of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedAddress {
    pub subnet: SubnetId,
    pub address: Ipv4Addr,
}

/// What of a node a network's port is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Place {
    Port(PortId),
    Portgroup(PortgroupId),
}

/// What is said of a port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantPortSettings {
    pub about: About,
    pub network: NetworkId,
    /// Its own address; while it is attached, that of the network card counts.
    pub mac: Mac,
    pub admin_state_up: bool,
    pub addresses: Vec<FixedAddress>,
    pub device_id: String,
    pub device_owner: String,
    /// The node that it is meant for, or whatever a client says; empty: none.
    pub host: String,
    pub vnic_type: String,
    pub profile: Map<String, Value>,
    /// Where it is attached; set by attaching alone.
    pub attached: Option<(NodeId, Place)>,
}
