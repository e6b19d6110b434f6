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
