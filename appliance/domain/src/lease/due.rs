//! What is to be done about a node, by its leases: one look for the decision and for whoever asks for it.

use crate::id::NodeId;
use crate::job::JobKind;
use crate::node::Node;
use crate::provision::{Event, ProvisionState, step};
use crate::view::View;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It is with whom it should be with, or something has to happen first.
    Nothing,
    /// It is back, and wiped: those whose leases have ended are rid of it, and whoever waits for it may have it.
    Record,
    /// It is nobody's from now on. Its machine is written new firmware, which must end before anything else is done to it.
    Part,
    /// It is to be taken from whoever has it, and wiped: by a job.
    HandOver,
}

/// Compares who should have the node with who has it.
pub fn due(view: &View, id: NodeId) -> Due {
    let Some(node) = view.node(id) else { return Due::Nothing };
    let wanted = view.lease.wanted(id).map(|lease| lease.id);
    let ends = view.lease.ending(id).next().is_some();
    if !ends && node.lease == wanted {
        return Due::Nothing;
    }
    let back = node.job.is_none() && node.lease.is_none() && node.wiped;
    let ready = back && may_be_given(view, node);
    if ready || (back && ends) {
        return Due::Record;
    }
    // Who is to have it no more loses it whatever state it is in; who is to get it waits until it is in order.
    let (leaves, job) = (node.lease.is_some(), view.running_job(node));
    let kept = !leaves && (node.maintenance || is_worked_on(node) || (node.settings.protected && !ends));
    // A wipe would not make it anybody's.
    let retired = !leaves && !ends && node.settings.retired;
    // What its keeper has begun with it ends first.
    let busy = job.is_some_and(|job| job.kind == JobKind::HandOver || (!leaves && !ends));
    if kept || retired || busy || step(node.standing(), Event::HandOver).is_err() {
        return Due::Nothing;
    }
    match job.is_some_and(|job| job.flashes()) {
        true if leaves => Due::Part,
        true => Due::Nothing,
        false => Due::HandOver,
    }
}

/// Its keeper has it in his hands: he was told so, or has put it where he works on it himself.
fn is_worked_on(node: &Node) -> bool {
    use ProvisionState::{AdoptFailed, InspectFailed, Manageable};
    node.is_in_quarantine() || matches!(node.provision_state, Manageable | InspectFailed | AdoptFailed)
}

/// A node that was wiped may be a lessee's as it is: nothing that somebody else said of it, attached to it or reserved is
/// left, which would be the lessee's with it.
pub(crate) fn may_be_given(view: &View, node: &Node) -> bool {
    let settings = &node.settings;
    node.provision_state == ProvisionState::Available
        && !node.maintenance
        && settings.instance_uuid.is_none()
        && settings.instance_info.is_empty()
        && view.network.ports_on(node.id).next().is_none()
        && view.hardware.allocation_of(node.id).is_none()
}
