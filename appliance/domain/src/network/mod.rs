//! Private networks: what tenants see of them (Neutron's objects), and what follows from that.
//!
//! In: commands about networks, subnets, their ports and quotas. Out: rows; addresses of a subnet, each given once
//! ([`allocate`]); which bare-metal port a network's port is attached to, and what DHCP gives it there.
//! Isolation on switches is not made here: an attachment is a record, and an address.

mod allocate;
mod command;
mod port;
mod quota;
mod rows;
mod subnet;
mod trunk;
mod vif;

pub use allocate::{Allocation, NoFreeAddress, WantedAddress, allocate};
pub use command::NetworkCommand;
pub use port::{FixedAddress, Place, TenantPort, TenantPortSettings};
pub use quota::{Kind, Quota};
pub use rows::{NetworkKey, NetworkRow, Plane};
pub use subnet::{BadSubnet, Route, Subnet, SubnetSettings, default_pools};
pub use trunk::{Subport, Trunk, TrunkSettings};
pub use vif::{Vif, is_anothers, may_attach, tenant_address, vif_of, vifs_of};

use crate::id::NetworkId;
use crate::refusal::Refusal;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// An object of this room: what its owner says of it, and its history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object<I, S> {
    pub id: I,
    /// Counts changes, so that a writer can say on what he bases his change.
    pub revision: u64,
    pub settings: S,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}

/// What each object says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    pub name: String,
    pub description: String,
    /// The owning project; empty: the box's own.
    pub project: String,
    pub tags: BTreeSet<String>,
}

/// A network: one broadcast domain of a project.
pub type Network = Object<NetworkId, NetworkSettings>;

/// What is said of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSettings {
    pub about: About,
    /// Every project may use it.
    pub shared: bool,
    /// It leads outside.
    pub external: bool,
    pub admin_state_up: bool,
    /// Bytes of the largest packet.
    pub mtu: u16,
    /// `flat` or `vlan`.
    pub network_type: String,
    /// Which cabling carries it; bare-metal ports name theirs.
    pub physical_network: Option<String>,
    /// The VLAN.
    pub segmentation_id: Option<u16>,
}

impl Default for NetworkSettings {
    fn default() -> NetworkSettings {
        NetworkSettings {
            about: About::default(),
            shared: false,
            external: false,
            admin_state_up: true,
            mtu: 1500,
            network_type: "flat".into(),
            physical_network: None,
            segmentation_id: None,
        }
    }
}

/// Smallest packet size that IPv4 lets a network have (RFC 791).
const LEAST_MTU: u16 = 68;
/// Ethernet's largest frames in use.
const MOST_MTU: u16 = 9216;
/// Tags of one object, and characters of one.
const MOST_TAGS: usize = 50;
const TAG_LENGTH: usize = 60;

impl About {
    /// Lengths are Neutron's.
    pub fn check(&self) -> Result<(), Refusal> {
        let too_long = |what: &str| Refusal::Invalid(format!("'{what}' has more than 255 characters."));
        if self.name.chars().count() > 255 {
            return Err(too_long("name"));
        }
        if self.description.chars().count() > 255 {
            return Err(too_long("description"));
        }
        if self.project.chars().count() > 255 || self.project.chars().any(char::is_control) {
            return Err(Refusal::Invalid("'project_id' is no project.".into()));
        }
        if self.tags.len() > MOST_TAGS {
            return Err(Refusal::Invalid(format!("An object has at most {MOST_TAGS} tags.")));
        }
        let bad = |tag: &&String| tag.is_empty() || tag.chars().count() > TAG_LENGTH || tag.contains([',', '/']);
        match self.tags.iter().find(bad) {
            Some(tag) => {
                Err(Refusal::Invalid(format!("'{tag}' is no tag: 1 to {TAG_LENGTH} characters, without ',' and '/'.")))
            }
            None => Ok(()),
        }
    }
}

impl NetworkSettings {
    /// What a network cannot be.
    pub fn check(&self) -> Result<(), Refusal> {
        self.about.check()?;
        if !(LEAST_MTU..=MOST_MTU).contains(&self.mtu) {
            return Err(Refusal::Invalid(format!("The mtu must be between {LEAST_MTU} and {MOST_MTU}.")));
        }
        match (self.network_type.as_str(), self.segmentation_id) {
            ("flat", None) | ("vlan", Some(1..=4094)) => {}
            ("flat", Some(_)) => {
                return Err(Refusal::Invalid("segmentation_id cannot be set for a flat network.".into()));
            }
            ("vlan", _) => {
                return Err(Refusal::Invalid("A vlan network needs its provider:segmentation_id, 1 to 4094.".into()));
            }
            (other, _) => {
                return Err(Refusal::Invalid(format!(
                    "network_type value '{other}' is not supported: flat and vlan are."
                )));
            }
        }
        match &self.physical_network {
            Some(name) if name.is_empty() || name.chars().count() > 64 => {
                Err(Refusal::Invalid("provider:physical_network has 1 to 64 characters.".into()))
            }
            _ => Ok(()),
        }
    }
}
