//! What owners and lessees, and time, can ask of this room.

use super::{Label, Terms};
use crate::id::{LeaseId, NodeId, OfferId, ReservationId};
use jiff::Timestamp;

/// An offer as it is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewOffer {
    pub label: Label,
    pub project: String,
    pub lessee: Option<String>,
    /// `None`: from now on.
    pub start: Option<Timestamp>,
    /// `None`: for ever, or to the end of the lease that it stands under.
    pub end: Option<Timestamp>,
}

/// A lease as it is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewLease {
    pub label: Label,
    pub purpose: Option<String>,
    /// The lessee.
    pub project: String,
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
    pub group: Option<ReservationId>,
}

/// A command about offers and leases.
#[derive(Clone, Debug, PartialEq)]
pub enum LeaseCommand {
    Offer {
        id: OfferId,
        node: NodeId,
        wanted: Box<NewOffer>,
        terms: Terms,
    },
    Withdraw {
        id: OfferId,
    },
    Claim {
        id: LeaseId,
        offer: OfferId,
        wanted: Box<NewLease>,
        terms: Terms,
    },
    /// An owner, or who has a lease, lets a project have the node.
    Lease {
        id: LeaseId,
        node: NodeId,
        owner: String,
        wanted: Box<NewLease>,
        terms: Terms,
    },
    ChangeEnd {
        id: LeaseId,
        revision: u64,
        end: Timestamp,
        terms: Terms,
    },
}

impl LeaseCommand {
    /// The name for audit, log and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            LeaseCommand::Offer { .. } => "create-offer",
            LeaseCommand::Withdraw { .. } => "delete-offer",
            LeaseCommand::Claim { .. } => "claim-offer",
            LeaseCommand::Lease { .. } => "create-lease",
            LeaseCommand::ChangeEnd { .. } => "change-lease",
        }
    }

    /// The id of what it is about.
    pub fn subject(&self) -> String {
        match self {
            LeaseCommand::Offer { id, .. } | LeaseCommand::Withdraw { id } => id.to_string(),
            LeaseCommand::Claim { id, .. } | LeaseCommand::Lease { id, .. } | LeaseCommand::ChangeEnd { id, .. } => {
                id.to_string()
            }
        }
    }
}
