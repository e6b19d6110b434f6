//! The commands of this room.

use super::{Allocation, NetworkSettings, Place, Quota, SubnetSettings, TenantPortSettings, TrunkSettings};
use crate::id::{NetworkId, NodeId, SubnetId, TenantPortId, TrunkId};

/// A command about networks. `limit`: what a project may have of the kind where no quota is set for it; negative: any
/// number. A change gives all that is to be said, based on `revision`.
#[derive(Clone, Debug)]
pub enum NetworkCommand {
    CreateNetwork {
        id: NetworkId,
        settings: Box<NetworkSettings>,
        limit: i64,
    },
    ChangeNetwork {
        id: NetworkId,
        revision: u64,
        settings: Box<NetworkSettings>,
    },
    /// With its subnets; refused while it has ports.
    DeleteNetwork {
        id: NetworkId,
    },
    CreateSubnet {
        id: SubnetId,
        settings: Box<SubnetSettings>,
        limit: i64,
    },
    ChangeSubnet {
        id: SubnetId,
        revision: u64,
        settings: Box<SubnetSettings>,
    },
    /// Refused while ports have addresses of it.
    DeleteSubnet {
        id: SubnetId,
    },
    /// The addresses follow from `addresses`.
    CreatePort {
        id: TenantPortId,
        settings: Box<TenantPortSettings>,
        addresses: Allocation,
        limit: i64,
    },
    /// `addresses`: `None` leaves them as they are.
    ChangePort {
        id: TenantPortId,
        revision: u64,
        settings: Box<TenantPortSettings>,
        addresses: Option<Allocation>,
    },
    DeletePort {
        id: TenantPortId,
    },
    /// The port and a free card of the node become one. `place`: this card or group and no other.
    Attach {
        node: NodeId,
        port: TenantPortId,
        place: Option<Place>,
    },
    Detach {
        node: NodeId,
        port: TenantPortId,
    },
    CreateTrunk {
        id: TrunkId,
        settings: Box<TrunkSettings>,
    },
    ChangeTrunk {
        id: TrunkId,
        revision: u64,
        settings: Box<TrunkSettings>,
    },
    /// Its ports stay. Refused while its own port is attached.
    DeleteTrunk {
        id: TrunkId,
    },
    SetQuota(Quota),
    /// Back to what is configured for all.
    ResetQuota {
        project: String,
    },
}

impl NetworkCommand {
    /// The name for audit, log and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            NetworkCommand::CreateNetwork { .. } => "create-network",
            NetworkCommand::ChangeNetwork { .. } => "change-network",
            NetworkCommand::DeleteNetwork { .. } => "delete-network",
            NetworkCommand::CreateSubnet { .. } => "create-subnet",
            NetworkCommand::ChangeSubnet { .. } => "change-subnet",
            NetworkCommand::DeleteSubnet { .. } => "delete-subnet",
            NetworkCommand::CreatePort { .. } => "create-network-port",
            NetworkCommand::ChangePort { .. } => "change-network-port",
            NetworkCommand::DeletePort { .. } => "delete-network-port",
            NetworkCommand::Attach { .. } => "attach-vif",
            NetworkCommand::Detach { .. } => "detach-vif",
            NetworkCommand::CreateTrunk { .. } => "create-trunk",
            NetworkCommand::ChangeTrunk { .. } => "change-trunk",
            NetworkCommand::DeleteTrunk { .. } => "delete-trunk",
            NetworkCommand::SetQuota(_) => "set-network-quota",
            NetworkCommand::ResetQuota { .. } => "reset-network-quota",
        }
    }

    /// The id of what it is about.
    pub fn subject(&self) -> String {
        match self {
            NetworkCommand::CreateNetwork { id, .. }
            | NetworkCommand::ChangeNetwork { id, .. }
            | NetworkCommand::DeleteNetwork { id } => id.to_string(),
            NetworkCommand::CreateSubnet { id, .. }
            | NetworkCommand::ChangeSubnet { id, .. }
            | NetworkCommand::DeleteSubnet { id } => id.to_string(),
            NetworkCommand::CreatePort { id, .. }
            | NetworkCommand::ChangePort { id, .. }
            | NetworkCommand::DeletePort { id } => id.to_string(),
            NetworkCommand::Attach { node, port, .. } | NetworkCommand::Detach { node, port } => {
                format!("{node} {port}")
            }
            NetworkCommand::CreateTrunk { id, .. }
            | NetworkCommand::ChangeTrunk { id, .. }
            | NetworkCommand::DeleteTrunk { id } => id.to_string(),
            NetworkCommand::SetQuota(quota) => quota.project.clone(),
            NetworkCommand::ResetQuota { project } => project.clone(),
        }
    }
}
