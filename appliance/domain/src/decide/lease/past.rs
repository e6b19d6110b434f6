//! What is noted of leases as it happens, for the account of them: when their end begins, and while a system is deployed.

use crate::decide::Room;
use crate::id::NodeId;
use crate::lease::{Lease, LeaseRow, LeaseState};
use crate::rows::Rows;
use crate::view::{Change, View};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A lease that is written as one whose end has begun: that is when it began. A box that slept through its time ends it
/// later, but then nothing was its any more.
pub(super) fn note_end(lease: &mut Lease, now: Timestamp) {
    if lease.state.is_ending() || lease.state.is_over() {
        let ended = *lease.past.ended_at.get_or_insert(now);
        lease.past.used.end(ended.min(lease.span.end));
    }
}

impl Room<'_> {
    pub(super) fn class_of(&self, node: NodeId) -> Option<String> {
        self.view.node(node).and_then(|node| node.settings.resource_class.clone())
    }

    /// Compares, for each node that this decision changes, whether a system is deployed on it with what the leases that
    /// it is under know of that. Nobody is told of it: for owner and lessee nothing is another.
    pub(in crate::decide) fn note_deployed(&mut self) {
        let mut changed = BTreeSet::new();
        for change in &self.changes {
            let Change::PutNode(node) = change else { continue };
            let before = self.view.node(node.id).and_then(|node| node.lease);
            if node.lease.is_some() || before.is_some() {
                changed.insert(node.id);
            }
        }
        if changed.is_empty() {
            return;
        }
        let (view, now) = (self.seen(), self.context.now);
        for node in changed.into_iter().filter_map(|id| view.node(id)) {
            for lease in active_on(&view, node.id) {
                let deployed = node.lease.is_some() && node.provision_state.is_deployed();
                if lease.past.used.is_now() == deployed {
                    continue;
                }
                let mut noted = (*lease).clone();
                match deployed {
                    true => noted.past.used.begin(now),
                    false => noted.past.used.end(now.min(noted.span.end)),
                }
                self.changes.push(Change::Lease(Rows::Put(LeaseRow::Lease(Arc::new(noted)))));
            }
        }
    }
}

/// The leases that are active on a node, each a part of the one before it.
pub(super) fn active_on(view: &View, node: NodeId) -> Vec<Arc<Lease>> {
    let below = |above| {
        let present = view.lease.present((node, above));
        present.filter(|lease| lease.state == LeaseState::Active).cloned()
    };
    std::iter::successors(below(None), |lease| below(Some(lease.id))).collect()
}
