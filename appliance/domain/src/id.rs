//! Identifiers: UUIDs, one type for each kind of thing, so that they cannot be mixed up. Made by adapters.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

ids! {
    /// A node: one machine with its BMC.
    NodeId,
    /// A port: one network interface of a node, known by its MAC address.
    PortId,
    /// A job: one piece of long work on a node.
    JobId,
    /// An image in the data folder.
    ImageId,
    /// A user.
    UserId,
    /// A project, or a domain: a domain is the root of a tree of projects.
    ProjectId,
    /// A group of users.
    GroupId,
    /// A role.
    RoleId,
    /// An application credential.
    CredentialId,
    /// A private network.
    NetworkId,
    /// A subnet of a network.
    SubnetId,
    /// A port of a network, as against a port of a node.
    TenantPortId,
    /// A trunk: several networks on one port.
    TrunkId,
    /// A chassis.
    ChassisId,
    /// A port group: several ports of a node that work as one.
    PortgroupId,
    /// A quota of leases.
    QuotaId,
    /// An allocation: a node asked for by what it is.
    AllocationId,
    /// A deploy template.
    DeployTemplateId,
    /// A runbook.
    RunbookId,
    /// A volume connector.
    VolumeConnectorId,
    /// A volume target.
    VolumeTargetId,
    /// An inspection rule.
    InspectionRuleId,
    /// An offer: a time in which a node may be claimed.
    OfferId,
    /// A lease: a time for which a node is a project's.
    LeaseId,
    /// Leases that were made together.
    ReservationId,
    /// A webhook.
    WebhookId,
    /// A place in the list of those who wait for a node.
    WaitingId,
}
