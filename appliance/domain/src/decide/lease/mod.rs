//! Decisions about offers and leases: nobody has a node at a time at which another has it.
//!
//! In: what owners and lessees ask for, under terms. Out: rows and events, or the range that is in the way. Whose node
//! it is and who may ask was told by policy before; here it is only whether it can be.

#[cfg(test)]
mod edge_tests;
mod edges;
mod leases;
mod offers;
mod past;
mod quarantine;
mod quotas;
mod reservations;
#[cfg(test)]
mod tests;
mod unused;
mod word;

use super::Room;
use crate::command::Answer;
use crate::event::{Event, What};
use crate::id::{LeaseId, NodeId, OfferId};
use crate::lease::{Lease, LeaseCommand, LeaseRow, LeaseState, Level, Offer, Span, Terms};
use crate::node::{Node, NodeSettings};
use crate::refusal::Refusal;
use crate::rows::Rows;
use crate::view::Change;
use past::note_end;
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn lease_command(&mut self, command: &LeaseCommand) -> Result<Answer, Refusal> {
        let answer = self.lease_outcome(command)?;
        self.check_quotas()?;
        Ok(answer)
    }

    fn lease_outcome(&mut self, command: &LeaseCommand) -> Result<Answer, Refusal> {
        match command {
            LeaseCommand::Offer { id, node, wanted, terms } => self.make_offer(*id, *node, wanted, terms),
            LeaseCommand::Withdraw { id } => self.withdraw_offer(*id),
            LeaseCommand::Claim { id, offer, wanted, terms } => self.claim_offer(*id, *offer, wanted, terms),
            LeaseCommand::Lease { id, node, owner, wanted, terms } => self.make_lease(*id, *node, owner, wanted, terms),
            LeaseCommand::ChangeEnd { id, revision, end, terms } => self.change_end(*id, *revision, *end, terms),
            LeaseCommand::End { id, job } => self.end_lease(*id, *job),
            LeaseCommand::Tick { edge, job, terms } => self.tick(*edge, *job, terms),
            LeaseCommand::Reserve { id, claims, wanted, terms } => self.reserve(*id, claims, wanted, terms),
            LeaseCommand::ChangeGroupEnd { id, leases, end, terms } => self.change_group_end(*id, leases, *end, terms),
            LeaseCommand::EndGroup { id, leases } => self.end_group(*id, leases),
            LeaseCommand::SetQuota { id, project, class, limits } => {
                self.set_lease_quota(*id, project, class.as_deref(), *limits)
            }
            LeaseCommand::Retry { node, job } => self.retry_hand_over(*node, *job),
            LeaseCommand::Release { node } => self.release(*node),
            LeaseCommand::Settle { node, job } => {
                self.settle(*node, Some(*job));
                Ok(Answer::Done)
            }
        }
    }

    fn offer(&self, id: OfferId) -> Result<Arc<Offer>, Refusal> {
        let found = self.view.lease.offer(id).cloned();
        found.ok_or_else(|| Refusal::NotFound { what: "Offer", name: id.to_string() })
    }

    fn lease(&self, id: LeaseId) -> Result<Arc<Lease>, Refusal> {
        let found = self.view.lease.lease(id).cloned();
        found.ok_or_else(|| Refusal::NotFound { what: "Lease", name: id.to_string() })
    }

    /// While a node is offered or leased it stays its owner's, and whose it is by a lease is for the lease to say.
    pub(in crate::decide) fn leases_allow(&self, node: &Node, settings: &NodeSettings) -> Result<(), Refusal> {
        let title = node.title();
        let lease_of = |settings: &NodeSettings| settings.properties.get(edges::LEASE_UUID).cloned();
        if let Some(lease) = node.lease
            && (node.settings.lessee != settings.lessee || lease_of(&node.settings) != lease_of(settings))
        {
            return Err(Refusal::InUse(format!(
                "Node {title} is leased: its lessee and properties/{} are what lease {lease} says until that ends.",
                edges::LEASE_UUID
            )));
        }
        self.class_is_the_owners(node, settings)?;
        let taken_back = node.is_in_quarantine() || self.view.lease.ending(node.id).next().is_some();
        if node.settings.driver != settings.driver && (node.lease.is_some() || taken_back) {
            return Err(Refusal::InUse(format!(
                "Node {title} cannot get another driver before it was wiped: what this one says of its disks would count."
            )));
        }
        if node.settings.owner == settings.owner {
            return Ok(());
        }
        match self.first_under(node) {
            Some(what) => Err(Refusal::InUse(format!(
                "Node {title} cannot get another owner while it is offered or leased: end {what} first."
            ))),
            None => Ok(()),
        }
    }

    /// A node that goes takes no offer and no lease with it.
    pub(in crate::decide) fn must_be_unleased(&self, node: &Node) -> Result<(), Refusal> {
        match self.first_under(node) {
            Some(what) => Err(Refusal::InUse(format!("Node {} is offered or leased: end {what} first.", node.title()))),
            None => Ok(()),
        }
    }

    fn first_under(&self, node: &Node) -> Option<String> {
        let (offers, leases) = self.view.lease.under((node.id, None));
        let lease = leases.first().map(|lease| format!("lease {}", lease.id));
        lease.or_else(|| offers.first().map(|offer| format!("offer {}", offer.id)))
    }

    /// On what ground the project lets others have the node: as its owner, or by the lease that it has now.
    fn ground(&self, node: &Node, project: &str, terms: &Terms) -> Result<Option<Arc<Lease>>, Refusal> {
        if node.settings.owner.as_deref() == Some(project) {
            return Ok(None);
        }
        let chain = self.chain(node.id);
        let Some(lease) = chain.iter().rev().find(|lease| lease.project == project) else {
            return Err(Refusal::Forbidden(format!(
                "Project {project} neither owns node {} nor has an active lease of it.",
                node.title()
            )));
        };
        match self.depth(lease) < terms.depth {
            true => Ok(Some(lease.clone())),
            false => Err(Refusal::Forbidden(format!(
                "Node {} is let on {} times already, which is as deep as it may be.",
                node.title(),
                self.depth(lease)
            ))),
        }
    }

    /// The leases that are active on the node, each a part of the one before it.
    fn chain(&self, node: NodeId) -> Vec<Arc<Lease>> {
        past::active_on(self.view, node)
    }

    /// How many leases stand above one another with this one.
    fn depth(&self, lease: &Lease) -> u32 {
        let mut depth = 1;
        let mut above = lease.parent;
        while let Some(next) = above.and_then(|id| self.view.lease.lease(id)) {
            depth += 1;
            above = next.parent;
        }
        depth
    }

    /// Nothing of this level stands in the way: `leases` and `offers` say what of it would.
    fn must_be_free_at(
        &self,
        (node, level): (&Node, Level),
        span: Span,
        apart_from: Option<LeaseId>,
        offers: bool,
    ) -> Result<(), Refusal> {
        self.must_not_be_in_quarantine(node)?;
        let book = &self.view.lease;
        let lease = book.leases_meeting(level, span).find(|other| Some(other.id) != apart_from);
        // One whose time has come stays until that is over: a clock that is set back puts nobody before him.
        let present = book.present(level).filter(|other| Some(other.id) != apart_from && span.start < other.span.end);
        let taken = lease.or(present).map(|lease| ("leased", lease.span));
        let offer = || book.offers_meeting(level, span).next().map(|offer| ("offered", offer.span));
        match taken.or_else(|| offer().filter(|_| offers)) {
            None => Ok(()),
            Some((how, range)) => Err(Refusal::InUse(format!(
                "Node {} is {how} {range}, which is in the way of the time {span}: choose another time.",
                node.title()
            ))),
        }
    }

    fn put_offer(&mut self, node: &Node, offer: Offer) -> Answer {
        let what = What::OfferChanged { offer: offer.id, state: offer.state };
        self.events.push(Event {
            at: self.context.now,
            node: Some(node.id),
            owner: Some(offer.project.clone()),
            lessee: offer.lessee.clone(),
            what,
        });
        let row = LeaseRow::Offer(Arc::new(offer));
        self.changes.push(Change::Lease(Rows::Put(row.clone())));
        Answer::Lease(row)
    }

    fn put_lease(&mut self, mut lease: Lease) -> Answer {
        note_end(&mut lease, self.context.now);
        let (state, span, reason) = (lease.state, lease.span, lease.reason.clone());
        let from = self.state_so_far(lease.id);
        self.events.push(Event {
            at: self.context.now,
            node: Some(lease.node),
            owner: Some(lease.owner.clone()),
            lessee: Some(lease.project.clone()),
            what: What::LeaseChanged { lease: lease.id, from, state, span, reason },
        });
        let row = LeaseRow::Lease(Arc::new(lease));
        self.changes.push(Change::Lease(Rows::Put(row.clone())));
        Answer::Lease(row)
    }

    /// What a lease is with what this decision has changed so far.
    fn state_so_far(&mut self, id: LeaseId) -> Option<LeaseState> {
        // By its key: a lease may have ten thousand parts that end with it.
        self.seen().lease.lease(id).map(|lease| lease.state)
    }
}

fn level_of(node: NodeId, parent: Option<&Arc<Lease>>) -> Level {
    (node, parent.map(|parent| parent.id))
}

/// What is let on lies within the lease that it is a part of.
fn must_lie_within(span: Span, parent: Option<&Arc<Lease>>) -> Result<(), Refusal> {
    match parent.filter(|parent| !parent.span.holds(&span)) {
        Some(parent) => Err(Refusal::InUse(format!(
            "The time {span} is not within that of the lease {} that it would be a part of, {}.",
            parent.id, parent.span
        ))),
        None => Ok(()),
    }
}
