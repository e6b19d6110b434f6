//! Private networks: what tenants see of them (Neutron's objects), and what follows from that.
//!
//! In: commands about networks, subnets and their ports. Out: rows, and addresses of a subnet.

mod rows;

pub use rows::{NetworkKey, NetworkRow, Plane};

use crate::id::NetworkId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A network: one broadcast domain of a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    pub id: NetworkId,
    pub name: String,
    /// The owning project.
    pub project: String,
    pub created_at: Timestamp,
}

/// A command about networks.
#[derive(Clone, Debug)]
pub enum NetworkCommand {
    PutNetwork(Box<Network>),
}

impl NetworkCommand {
    /// The name for audit, log and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            NetworkCommand::PutNetwork(_) => "put-network",
        }
    }

    /// The id of what it is about.
    pub fn subject(&self) -> String {
        match self {
            NetworkCommand::PutNetwork(network) => network.id.to_string(),
        }
    }
}
