//! What begins and ends: leases are fulfilled and taken back, offers expire.
//!
//! Level, not edge: [`Room::settle`] looks at who should have the node now and at who has it. As long as these differ, it
//! takes the node away, has it wiped, and gives it; nothing hangs on a message that could be lost.

use crate::command::Answer;
use crate::decide::Room;
use crate::event::What;
use crate::id::{JobId, LeaseId, NodeId};
use crate::job::{JobInput, JobKind};
use crate::lease::{Due, Edge, Lease, LeaseState, Offer, OfferState, Terms, due, may_be_given};
use crate::node::{Node, QUARANTINE};
use crate::provision::{Event, step};
use crate::refusal::Refusal;
use crate::view::View;

/// The property of a node that names its lease, as esi-leap has it.
pub(super) const LEASE_UUID: &str = "lease_uuid";

impl Room<'_> {
    pub(super) fn end_lease(&mut self, id: LeaseId, job: JobId) -> Result<Answer, Refusal> {
        let lease = self.lease(id)?;
        if lease.state.is_ending() {
            return Err(Refusal::InUse(format!("Lease {id} is {} already.", lease.state.name())));
        }
        let answer = self.bring_to_end(&lease, LeaseState::WaitCancel);
        self.settle(lease.node, Some(job));
        Ok(answer)
    }

    pub(super) fn tick(&mut self, edge: Edge, job: JobId, terms: &Terms) -> Result<Answer, Refusal> {
        let now = self.context.now;
        let lease = match edge {
            Edge::OfferEnds(id) => {
                let Some(offer) = self.view.lease.offer(id).filter(|offer| offer.edge().is_some_and(|at| at <= now))
                else {
                    return Ok(Answer::Done);
                };
                let (offer, node) = ((**offer).clone(), self.node(offer.node)?.clone());
                return Ok(self.put_offer(&node, Offer { state: OfferState::Expired, updated_at: Some(now), ..offer }));
            }
            Edge::LeaseStarts(id) | Edge::LeaseEnds(id) => self.view.lease.lease(id),
        };
        let Some(lease) = lease.filter(|lease| lease.edge().is_some_and(|at| at <= now)).cloned() else {
            return Ok(Answer::Done);
        };
        if lease.span.end <= now {
            // Also one whose whole time went by while the box was down.
            self.bring_to_end(&lease, LeaseState::WaitExpire);
        } else if lease.state == LeaseState::Active {
            self.tell_unused(&lease);
        } else if lease.state == LeaseState::Created {
            let present = self.view.lease.present((lease.node, lease.parent));
            if present.is_some_and(|other| other.id != lease.id) {
                // That one ends first, whatever the clock has said meanwhile.
                return Ok(Answer::Done);
            }
            let ready_by = now.saturating_add(terms.patience).unwrap_or(now);
            self.put_changed(&lease, |lease| {
                lease.state = LeaseState::WaitFulfill;
                lease.ready_by = Some(ready_by);
                lease.watch.warn_hours = terms.unused_warn_hours;
            });
        } else {
            let reason = self.why_not_ready(lease.node);
            self.put_changed(&lease, |lease| {
                lease.state = LeaseState::Error;
                lease.reason = Some(reason);
            });
        }
        self.settle(lease.node, Some(job));
        Ok(Answer::Done)
    }

    fn put_changed(&mut self, lease: &Lease, change: impl FnOnce(&mut Lease)) -> Answer {
        let mut lease = lease.clone();
        change(&mut lease);
        lease.revision += 1;
        lease.updated_at = Some(self.context.now);
        self.put_lease(lease)
    }

    /// Whoever has the node by this lease is to have it no more, and before him whoever has it by one under it.
    pub(super) fn bring_to_end(&mut self, lease: &Lease, how: LeaseState) -> Answer {
        let (offers, below) = self.view.lease.under((lease.node, Some(lease.id)));
        for offer in offers {
            let (node, now) = (self.view.node(offer.node).cloned(), self.context.now);
            if let Some(node) = node {
                let offer = (*offer).clone();
                self.put_offer(&node, Offer { state: OfferState::Deleted, updated_at: Some(now), ..offer });
            }
        }
        for below in below.into_iter().filter(|below| !below.state.is_ending()) {
            self.bring_to_end(&below, how);
        }
        let state = match lease.state {
            LeaseState::Active => how,
            _ => over(how),
        };
        self.put_changed(lease, |lease| lease.state = state)
    }

    /// Brings the node to who should have it: nobody, or a lessee. `job`: the id of the job for it; without one nothing is
    /// begun. Called whenever something changes of either.
    pub(in crate::decide) fn settle(&mut self, id: NodeId, job: Option<JobId>) {
        let view = self.seen();
        let Some(node) = view.node(id) else { return };
        match (due(&view, id), job) {
            (Due::Record, _) => self.is_back(&view, node),
            (Due::Part, _) => {
                let mut node = (**node).clone();
                self.take_away(&mut node);
                self.tell(&node, What::NodeChanged);
                self.put_node(node);
            }
            (Due::HandOver, Some(job)) => self.hand_over(&view, (**node).clone(), job),
            (Due::HandOver, None) | (Due::Nothing, _) => {}
        }
    }

    /// The node is back and wiped.
    fn is_back(&mut self, view: &View, node: &Node) {
        let now = self.context.now;
        for lease in view.lease.ending(node.id) {
            let state = over(lease.state);
            self.put_changed(lease, |lease| {
                lease.state = state;
                lease.expired_at = Some(now);
            });
        }
        let Some(wanted) = view.lease.wanted(node.id) else { return };
        if !may_be_given(view, node) {
            return;
        }
        let mut changed = node.clone();
        Self::keep_word(view, &mut changed);
        give(&mut changed, Some(wanted));
        self.tell(&changed, What::NodeChanged);
        self.put_node(changed);
        if wanted.state == LeaseState::WaitFulfill {
            self.put_changed(wanted, |lease| {
                lease.state = LeaseState::Active;
                lease.fulfilled_at = Some(now);
            });
        }
    }

    /// Begins the job that takes the node from whoever has it, and wipes it.
    pub(super) fn hand_over(&mut self, view: &View, mut node: Node, job: JobId) {
        let Ok(next) = step(node.standing(), Event::HandOver) else { return };
        if let Some(running) = view.running_job(&node).cloned() {
            self.supersede(&running, "a lease's end or begin");
        }
        self.take_away(&mut node);
        node.last_error = None;
        node.target_power_state = None;
        self.move_to(&mut node, next);
        self.start_job(&mut node, job, JobKind::HandOver, true, JobInput::default());
        self.put_node(node);
    }

    /// Whoever has the node has it no more, nor has he a word in what it is.
    fn take_away(&mut self, node: &mut Node) {
        give(node, None);
        node.settings.protected = false;
        node.settings.protected_reason = None;
        self.put_word_back(node);
        self.detach_all(node);
    }

    /// A job of the node is over. Where the node could not be taken back it is in quarantine: nobody gets it, and those
    /// whose leases have ended are rid of them.
    pub(in crate::decide) fn leases_follow(&mut self, node: NodeId, kind: JobKind, failure: Option<&str>) {
        if let Some(reason) = failure.filter(|_| kind == JobKind::HandOver) {
            let now = self.context.now;
            let ending: Vec<_> = self.view.lease.ending(node).cloned().collect();
            for lease in ending {
                self.put_changed(&lease, |lease| {
                    lease.state = LeaseState::Error;
                    lease.expired_at = Some(now);
                    // Why is for the owner to see, at the node: it is of the inside of his rack.
                    lease.reason = Some("The node could not be taken back, and nobody gets it.".into());
                });
            }
            if let Some(node) = self.seen().node(node) {
                let mut changed = (**node).clone();
                changed.maintenance = true;
                changed.fault = Some(QUARANTINE.into());
                changed.maintenance_reason = Some(format!("Quarantine: {reason}"));
                let reason = changed.maintenance_reason.clone();
                self.tell(&changed, What::Maintenance { on: true, reason, quarantine: true });
                self.put_node(changed);
            }
        }
        self.settle(node, None);
    }

    fn why_not_ready(&self, node: NodeId) -> String {
        let Some(node) = self.view.node(node) else { return "Its node is gone.".into() };
        // The lessee reads this, too: what exactly is wrong is for who keeps the node.
        match node.maintenance {
            true => format!("Node {} is in maintenance.", node.title()),
            false => format!("Node {} was not ready in time: it is {}.", node.title(), node.provision_state.name()),
        }
    }
}

/// What a lease is that ends so, once the node is back.
fn over(how: LeaseState) -> LeaseState {
    match how {
        LeaseState::WaitExpire => LeaseState::Expired,
        _ => LeaseState::Deleted,
    }
}

/// The node is that lease's from now on, or nobody's. Whoever gets it may do with it what no step of ours tells of.
fn give(node: &mut Node, lease: Option<&Lease>) {
    node.lease = lease.map(|lease| lease.id);
    node.settings.lessee = lease.map(|lease| lease.project.clone());
    node.settings.properties.remove(LEASE_UUID);
    if let Some(lease) = lease {
        node.settings.properties.insert(LEASE_UUID.into(), lease.id.to_string().into());
        node.wiped = false;
    }
}
