//! Trunks: a port that carries its own network untagged and others' ports with VLAN tags.

use super::{About, Object};
use crate::id::{TenantPortId, TrunkId};
use serde::{Deserialize, Serialize};

/// A trunk.
pub type Trunk = Object<TrunkId, TrunkSettings>;

/// What is said of a trunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrunkSettings {
    pub about: About,
    /// The port whose network is untagged.
    pub port: TenantPortId,
    pub admin_state_up: bool,
    pub subports: Vec<Subport>,
}

/// A port whose network comes tagged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subport {
    pub port: TenantPortId,
    /// The VLAN tag.
    pub tag: u16,
}

impl TrunkSettings {
    /// All ports of the trunk, its own first.
    pub fn ports(&self) -> impl Iterator<Item = TenantPortId> {
        std::iter::once(self.port).chain(self.subports.iter().map(|subport| subport.port))
    }
}
