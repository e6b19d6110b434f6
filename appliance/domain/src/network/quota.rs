//! How many objects a project may have.

use serde::{Deserialize, Serialize};

/// A kind that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Network,
    Subnet,
    Port,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Network, Kind::Subnet, Kind::Port];

    /// Neutron's word.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Network => "network",
            Kind::Subnet => "subnet",
            Kind::Port => "port",
        }
    }
}

/// What a project may have; `None`: as it is configured for all, negative: as many as it likes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quota {
    pub project: String,
    pub networks: Option<i64>,
    pub subnets: Option<i64>,
    pub ports: Option<i64>,
}

impl Quota {
    pub fn of(&self, kind: Kind) -> Option<i64> {
        match kind {
            Kind::Network => self.networks,
            Kind::Subnet => self.subnets,
            Kind::Port => self.ports,
        }
    }

    pub fn set(&mut self, kind: Kind, limit: Option<i64>) {
        match kind {
            Kind::Network => self.networks = limit,
            Kind::Subnet => self.subnets = limit,
            Kind::Port => self.ports = limit,
        }
    }
}
