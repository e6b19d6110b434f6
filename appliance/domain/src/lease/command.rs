//! What owners and lessees, and time, can ask of this room.

use super::{Edge, Label, Limits, Terms, Wish};
use crate::id::{JobId, LeaseId, NodeId, OfferId, QuotaId, ReservationId};
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
    pub wish: Wish,
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
    /// The owner's; that of a claim is its offer's.
    pub wish: Wish,
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
    /// It is given back, or called off. `job`: the id of the job that takes the node back, if one is needed.
    End {
        id: LeaseId,
        job: JobId,
    },
    /// Several nodes at once, or none of them: each claim is of another node, for the time that `wanted` names.
    Reserve {
        id: ReservationId,
        claims: Vec<(LeaseId, OfferId)>,
        wanted: Box<NewLease>,
        terms: Terms,
    },
    /// All leases of the group that still go on end then. `leases`: those that policy said yes about; it holds only while
    /// these are all.
    ChangeGroupEnd {
        id: ReservationId,
        leases: Vec<LeaseId>,
        end: Timestamp,
        terms: Terms,
    },
    /// All leases of the group that still go on are given back: these, each with the id of the job that takes its node
    /// back. Policy said yes about them; it holds only while these are all.
    EndGroup {
        id: ReservationId,
        leases: Vec<(LeaseId, JobId)>,
    },
    /// What a project, and all below it together, may have. `limits`: `None` takes the bounds away.
    SetQuota {
        id: QuotaId,
        project: String,
        class: Option<String>,
        limits: Option<Limits>,
    },
    /// Its moment has come. One that has not come yet, or was dealt with, changes nothing.
    Tick {
        edge: Edge,
        job: JobId,
        terms: Terms,
    },
    /// A node in quarantine: it is taken back once more, by the job of this id.
    Retry {
        node: NodeId,
        job: JobId,
    },
    /// A node in quarantine is its keeper's to mend. Until a wipe of it was proven nobody gets it.
    Release {
        node: NodeId,
    },
    /// The node may be ready for who waits for it, or may be taken from who is to have it no more.
    Settle {
        node: NodeId,
        job: JobId,
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
            LeaseCommand::End { .. } => "delete-lease",
            LeaseCommand::Reserve { .. } => "create-reservation",
            LeaseCommand::ChangeGroupEnd { .. } => "change-reservation",
            LeaseCommand::EndGroup { .. } => "delete-reservation",
            LeaseCommand::SetQuota { .. } => "set-lease-quota",
            LeaseCommand::Tick { .. } => "lease-edge",
            LeaseCommand::Retry { .. } => "retry-hand-over",
            LeaseCommand::Release { .. } => "release-from-quarantine",
            LeaseCommand::Settle { .. } => "settle-leases",
        }
    }

    /// The id of what it is about.
    pub fn subject(&self) -> String {
        match self {
            LeaseCommand::Offer { id, .. } | LeaseCommand::Withdraw { id } => id.to_string(),
            LeaseCommand::Claim { id, .. }
            | LeaseCommand::Lease { id, .. }
            | LeaseCommand::ChangeEnd { id, .. }
            | LeaseCommand::End { id, .. } => id.to_string(),
            LeaseCommand::Reserve { id, .. }
            | LeaseCommand::ChangeGroupEnd { id, .. }
            | LeaseCommand::EndGroup { id, .. } => id.to_string(),
            LeaseCommand::SetQuota { project, .. } => project.clone(),
            LeaseCommand::Retry { node, .. } | LeaseCommand::Release { node } | LeaseCommand::Settle { node, .. } => {
                node.to_string()
            }
            LeaseCommand::Tick { edge, .. } => match edge {
                Edge::LeaseStarts(id) | Edge::LeaseEnds(id) => id.to_string(),
                Edge::OfferEnds(id) => id.to_string(),
            },
        }
    }
}
