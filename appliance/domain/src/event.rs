//! What is recorded when something changed: the durable events. They name secrets never.

use crate::id::{JobId, LeaseId, NodeId, OfferId, WaitingId};
use crate::job::{JobKind, StepName};
use crate::lease::{LeaseState, OfferState, Span, WaitingState};
use crate::power::PowerState;
use crate::provision::ProvisionState;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One event, written with the change it tells of. Owner and lessee are those of that moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub at: Timestamp,
    pub node: Option<NodeId>,
    pub owner: Option<String>,
    pub lessee: Option<String>,
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    NodeCreated {
        name: Option<String>,
    },
    NodeChanged,
    /// A BMC has done what a user asked it for, beside power: `inject-nmi`, `boot-device pxe`, …
    BmcAsked {
        call: String,
    },
    NodeDeleted {
        name: Option<String>,
    },
    PortCreated {
        address: String,
    },
    PortChanged {
        address: String,
    },
    PortDeleted {
        address: String,
    },
    Provision {
        from: ProvisionState,
        to: ProvisionState,
        target: Option<ProvisionState>,
        error: Option<String>,
    },
    Power {
        to: Option<PowerState>,
    },
    Maintenance {
        on: bool,
        reason: Option<String>,
        /// It is maintenance because the node could not be taken back from its lessee.
        #[serde(default)]
        quarantine: bool,
    },
    JobStarted {
        job: JobId,
        kind: JobKind,
    },
    StepStarted {
        job: JobId,
        step: StepName,
        attempt: u32,
    },
    StepEnded {
        job: JobId,
        step: StepName,
        ok: bool,
        detail: Option<String>,
    },
    JobEnded {
        job: JobId,
        kind: JobKind,
        ok: bool,
        detail: Option<String>,
    },
    AgentCalled {
        job: JobId,
        version: String,
    },
    InventorySaved,
    ImageChanged {
        image: String,
        status: String,
    },
    UserChanged {
        user: String,
    },
    /// A network's port became a network card of the node: its UUID.
    VifAttached {
        vif: String,
    },
    VifDetached {
        vif: String,
    },
    /// A chassis, port group, allocation, template, runbook, volume or rule: its kind and UUID.
    RecordCreated {
        kind: String,
        id: String,
    },
    RecordChanged {
        kind: String,
        id: String,
    },
    RecordDeleted {
        kind: String,
        id: String,
    },
    /// An offer became this: its UUID and state.
    OfferChanged {
        offer: OfferId,
        state: OfferState,
    },
    /// A lease became this.
    LeaseChanged {
        lease: LeaseId,
        /// What it was before; `None`: it is new.
        #[serde(default)]
        from: Option<LeaseState>,
        state: LeaseState,
        /// What is so; of a lease that was lengthened or shortened too.
        span: Span,
        reason: Option<String>,
    },
    /// Nobody has used a lease since its node is the lessee's.
    LeaseUnused {
        lease: LeaseId,
        /// The node is the lessee's since then.
        since: Timestamp,
        /// When it is given back if that stays so.
        returns_at: Option<Timestamp>,
        /// It is given back now.
        returned: bool,
    },
    /// A lease whose node was not ready goes on with another node: the event's, instead of this one.
    LeaseMoved {
        lease: LeaseId,
        from: NodeId,
    },
    /// What became of somebody's wait for a node.
    WaitingChanged {
        waiting: WaitingId,
        state: WaitingState,
        /// What he may claim now, or what was claimed for him.
        offer: Option<OfferId>,
        lease: Option<LeaseId>,
        /// So long it is his to claim.
        until: Option<Timestamp>,
        reason: Option<String>,
    },
    /// What an inspection rule had to say.
    RuleSaid {
        level: String,
        message: String,
    },
}

/// What a kind's events tell, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Nodes, offers and leases as owner and lessee know them.
    Both,
    /// How a node is kept: jobs, BMCs, what its machine said. For its owner.
    Owner,
}

/// All kinds, as [`What::kind`] names them.
pub const KINDS: &[&str] = &[
    "node.created",
    "node.changed",
    "node.deleted",
    "node.provision",
    "node.power",
    "node.maintenance",
    "node.quarantine",
    "bmc.asked",
    "port.created",
    "port.changed",
    "port.deleted",
    "job.started",
    "job.ended",
    "step.started",
    "step.ended",
    "agent.called",
    "inventory.saved",
    "image.changed",
    "user.changed",
    "vif.attached",
    "vif.detached",
    "record.created",
    "record.changed",
    "record.deleted",
    "offer.available",
    "offer.expired",
    "offer.deleted",
    "lease.created",
    "lease.changed",
    "lease.wait_fulfill",
    "lease.active",
    "lease.wait_expire",
    "lease.wait_cancel",
    "lease.expired",
    "lease.deleted",
    "lease.error",
    "lease.unused",
    "lease.moved",
    "waiting.waits",
    "waiting.offered",
    "waiting.leased",
    "waiting.ended",
    "rule.said",
];

/// Whether a filter names any kind: one of [`KINDS`], or what stands before its dot.
pub fn is_filter(text: &str) -> bool {
    KINDS.iter().any(|kind| takes(text, kind))
}

/// Whether a filter (`lease`, `lease.active`) takes events of this kind.
pub fn takes(filter: &str, kind: &str) -> bool {
    kind == filter || kind.split_once('.').is_some_and(|(room, _)| room == filter)
}

impl What {
    /// The kind of event, for those who want some kinds only.
    pub fn kind(&self) -> &'static str {
        match self {
            What::NodeCreated { .. } => "node.created",
            What::NodeChanged => "node.changed",
            What::NodeDeleted { .. } => "node.deleted",
            What::Provision { .. } => "node.provision",
            What::Power { .. } => "node.power",
            What::Maintenance { quarantine: true, .. } => "node.quarantine",
            What::Maintenance { .. } => "node.maintenance",
            What::BmcAsked { .. } => "bmc.asked",
            What::PortCreated { .. } => "port.created",
            What::PortChanged { .. } => "port.changed",
            What::PortDeleted { .. } => "port.deleted",
            What::JobStarted { .. } => "job.started",
            What::JobEnded { .. } => "job.ended",
            What::StepStarted { .. } => "step.started",
            What::StepEnded { .. } => "step.ended",
            What::AgentCalled { .. } => "agent.called",
            What::InventorySaved => "inventory.saved",
            What::ImageChanged { .. } => "image.changed",
            What::UserChanged { .. } => "user.changed",
            What::VifAttached { .. } => "vif.attached",
            What::VifDetached { .. } => "vif.detached",
            What::RecordCreated { .. } => "record.created",
            What::RecordChanged { .. } => "record.changed",
            What::RecordDeleted { .. } => "record.deleted",
            What::OfferChanged { state, .. } => match state {
                OfferState::Available => "offer.available",
                OfferState::Expired => "offer.expired",
                OfferState::Deleted => "offer.deleted",
            },
            What::LeaseChanged { from, state, .. } if *from == Some(*state) => "lease.changed",
            What::LeaseChanged { state, .. } => match state {
                LeaseState::Created => "lease.created",
                LeaseState::WaitFulfill => "lease.wait_fulfill",
                LeaseState::Active => "lease.active",
                LeaseState::WaitExpire => "lease.wait_expire",
                LeaseState::WaitCancel => "lease.wait_cancel",
                LeaseState::Expired => "lease.expired",
                LeaseState::Deleted => "lease.deleted",
                LeaseState::Error => "lease.error",
            },
            What::LeaseUnused { .. } => "lease.unused",
            What::LeaseMoved { .. } => "lease.moved",
            What::WaitingChanged { state, .. } => match state {
                WaitingState::Waits => "waiting.waits",
                WaitingState::Offered => "waiting.offered",
                WaitingState::Leased => "waiting.leased",
                WaitingState::Ended => "waiting.ended",
            },
            What::RuleSaid { .. } => "rule.said",
        }
    }

    /// To whom it is to be told, of those whose the node was.
    pub fn concern(&self) -> Concern {
        match self {
            What::NodeCreated { .. }
            | What::NodeChanged
            | What::NodeDeleted { .. }
            | What::Provision { .. }
            | What::Power { .. }
            | What::VifAttached { .. }
            | What::VifDetached { .. }
            | What::OfferChanged { .. }
            | What::LeaseChanged { .. }
            | What::LeaseUnused { .. }
            | What::LeaseMoved { .. }
            | What::WaitingChanged { .. } => Concern::Both,
            // A lessee is told that there is maintenance, and not what is wrong inside his owner's rack.
            What::Maintenance { quarantine, .. } => match quarantine {
                true => Concern::Owner,
                false => Concern::Both,
            },
            What::BmcAsked { .. }
            | What::PortCreated { .. }
            | What::PortChanged { .. }
            | What::PortDeleted { .. }
            | What::JobStarted { .. }
            | What::JobEnded { .. }
            | What::StepStarted { .. }
            | What::StepEnded { .. }
            | What::AgentCalled { .. }
            | What::InventorySaved
            | What::ImageChanged { .. }
            | What::UserChanged { .. }
            | What::RecordCreated { .. }
            | What::RecordChanged { .. }
            | What::RecordDeleted { .. }
            | What::RuleSaid { .. } => Concern::Owner,
        }
    }

    /// Names of members that tell of the inside of the owner's rack, in events that a lessee is told of, too.
    pub fn for_owner_only(&self) -> &'static [&'static str] {
        match self {
            What::Provision { .. } => &["error"],
            What::Maintenance { .. } => &["reason"],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_takes_a_kind_or_all_before_the_dot() {
        assert!(takes("lease", "lease.active") && takes("lease.active", "lease.active"));
        assert!(!takes("lease.active", "lease.error") && !takes("le", "lease.error") && !takes("", "lease.error"));
        assert!(is_filter("job") && is_filter("node.quarantine") && !is_filter("jobs") && !is_filter("node."));
    }

    #[test]
    fn every_kind_is_listed() {
        let span = Span::ALL;
        let lease = LeaseId(uuid::Uuid::nil());
        let at = |from, state| What::LeaseChanged { lease, from, state, span, reason: None };
        let maintenance = |quarantine| What::Maintenance { on: true, reason: None, quarantine };
        for what in [
            What::NodeChanged,
            What::InventorySaved,
            maintenance(false),
            maintenance(true),
            at(None, LeaseState::Created),
            at(Some(LeaseState::Active), LeaseState::Active),
            at(Some(LeaseState::Active), LeaseState::WaitExpire),
        ] {
            assert!(KINDS.contains(&what.kind()), "{}", what.kind());
        }
    }

    #[test]
    fn an_event_of_before_quarantine_was_told_is_read() {
        let old = serde_json::json!({"event": "maintenance", "on": true, "reason": null});
        let read: What = serde_json::from_value(old).expect("it is read");
        assert_eq!(read.kind(), "node.maintenance");
    }
}
