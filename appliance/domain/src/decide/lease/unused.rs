//! Leases that nobody uses: told of to owner and lessee, and given back where the owner wishes that.
//!
//! A lease is used from when something was begun with its node while that was the lessee's: a deployment, an adoption, a
//! rescue, a service, or its power was asked to be on, by whoever. Of leases that stand above one another all are used then.
//! What comes of it later is not looked at: a lease that was used once is given back by nobody but its lessee and owner.

use crate::decide::Room;
use crate::event::{Event, What};
use crate::id::NodeId;
use crate::job::JobKind;
use crate::lease::{Lease, LeaseRow, LeaseState, Watch};
use crate::power::PowerState;
use crate::rows::Rows;
use crate::view::Change;
use std::sync::Arc;

impl Room<'_> {
    /// A job of the node begins: whose node it is uses it.
    pub(in crate::decide) fn note_use(&mut self, node: NodeId, kind: JobKind) {
        let uses = match kind {
            JobKind::Deploy | JobKind::Adopt | JobKind::Rescue | JobKind::Service => true,
            JobKind::Power(target) => target.ends_in() == PowerState::On,
            _ => false,
        };
        if !uses {
            return;
        }
        for lease in self.chain(node).into_iter().filter(|lease| lease.is_watched()) {
            self.put_watched(&lease, Watch { used: true, ..lease.watch });
        }
    }

    /// An active lease was not used for so long that it is to be told of, or given back.
    pub(super) fn tell_unused(&mut self, lease: &Lease) {
        let (now, returns_at) = (self.context.now, lease.returns_at());
        let returned = returns_at.is_some_and(|at| at <= now);
        self.events.push(Event {
            at: now,
            node: Some(lease.node),
            owner: Some(lease.owner.clone()),
            lessee: Some(lease.project.clone()),
            what: What::LeaseUnused {
                lease: lease.id,
                since: lease.fulfilled_at.unwrap_or(lease.span.start),
                returns_at,
                returned,
            },
        });
        if !returned {
            return self.put_watched(lease, Watch { warned: true, ..lease.watch });
        }
        let hours = lease.wish.return_unused_hours.unwrap_or_default();
        let reason = Some(format!("Nobody used it for {hours} hours, after which its owner wants the node back."));
        self.bring_to_end(&Lease { reason, ..lease.clone() }, LeaseState::WaitCancel);
    }

    /// Nothing of the lease is another that anybody would be told of.
    fn put_watched(&mut self, lease: &Lease, watch: Watch) {
        let lease = LeaseRow::Lease(Arc::new(Lease { watch, ..lease.clone() }));
        self.changes.push(Change::Lease(Rows::Put(lease)));
    }
}
