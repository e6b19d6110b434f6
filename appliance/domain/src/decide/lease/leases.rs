//! Leases: claimed from an offer, or given outright; and their ends, moved.

use super::{level_of, must_lie_within};
use crate::command::Answer;
use crate::decide::Room;
use crate::id::{LeaseId, NodeId, OfferId};
use crate::lease::search::is_within;
use crate::lease::{Lease, LeaseState, NewLease, Past, Span, Terms, Watch};
use crate::refusal::Refusal;
use jiff::Timestamp;
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn claim_offer(
        &mut self,
        id: LeaseId,
        offer: OfferId,
        wanted: &NewLease,
        terms: &Terms,
    ) -> Result<Answer, Refusal> {
        self.must_be_new(id)?;
        let (offer, now) = (self.offer(offer)?, self.context.now);
        let directory = &self.view.identity;
        if let Some(meant) = offer.lessee.as_deref().filter(|meant| !is_within(directory, &wanted.project, meant)) {
            return Err(Refusal::Forbidden(format!("Offer {} is for project {meant} and those below it.", offer.id)));
        }
        let node = self.node(offer.node)?.clone();
        let level = (offer.node, offer.parent);
        let start = Terms::start(wanted.start.or(Some(offer.span.start)), now);
        // Until somebody else has it, the offer ends, or the usual time is over.
        let next = self.view.lease.leases_meeting(level, Span { start, end: Timestamp::MAX }).next();
        let free = next.map_or(offer.span.end, |next| next.span.start.min(offer.span.end));
        let end = wanted.end.unwrap_or_else(|| free.min(terms.usual_end(start)).max(start.min(free)));
        let span = Terms::span(start, end)?;
        if !offer.span.holds(&span) {
            return Err(Refusal::InUse(format!(
                "The time {span} is not within that of offer {}, {}.",
                offer.id, offer.span
            )));
        }
        self.must_be_free_at((&node, level), span, None, false)?;
        self.must_not_have_too_many(&wanted.project, terms)?;
        self.must_not_have_too_many_parts(level, terms)?;
        let owner = offer.project.clone();
        // What the owner wishes he said with the offer.
        let wanted = &NewLease { wish: offer.wish, ..wanted.clone() };
        let lease = self.fresh(id, owner, offer.node, span, wanted, (Some(offer.id), offer.parent));
        terms.check_length(&lease, &self.view.lease)?;
        terms.check_place(span, now)?;
        Ok(self.put_lease(lease))
    }

    pub(super) fn make_lease(
        &mut self,
        id: LeaseId,
        node: NodeId,
        owner: &str,
        wanted: &NewLease,
        terms: &Terms,
    ) -> Result<Answer, Refusal> {
        self.must_be_new(id)?;
        let (node, now) = (self.node(node)?.clone(), self.context.now);
        let parent = self.ground(&node, owner, terms)?;
        let start = Terms::start(wanted.start, now);
        let usual = || parent.iter().fold(terms.usual_end(start), |end, parent| end.min(parent.span.end));
        let span = Terms::span(start, wanted.end.unwrap_or_else(usual))?;
        must_lie_within(span, parent.as_ref())?;
        let level = level_of(node.id, parent.as_ref());
        self.must_be_free_at((&node, level), span, None, true)?;
        self.must_not_have_too_many(&wanted.project, terms)?;
        self.must_not_have_too_many_parts(level, terms)?;
        let above = (None, parent.map(|parent| parent.id));
        let lease = self.fresh(id, owner.to_owned(), node.id, span, wanted, above);
        terms.check_length(&lease, &self.view.lease)?;
        terms.check_place(span, now)?;
        Ok(self.put_lease(lease))
    }

    /// Earlier, or later where nobody else has that time.
    pub(super) fn change_end(
        &mut self,
        id: LeaseId,
        revision: u64,
        end: Timestamp,
        terms: &Terms,
    ) -> Result<Answer, Refusal> {
        let (lease, now) = (self.lease(id)?, self.context.now);
        if lease.revision != revision {
            return Err(Refusal::Conflict { what: "Lease", name: id.to_string() });
        }
        if lease.state.is_ending() {
            return Err(Refusal::InUse(format!("Lease {id} is {}: its end cannot be moved.", lease.state.name())));
        }
        if end <= now {
            return Err(Refusal::Invalid(format!(
                "The end time {end} is over: give the lease back instead, or choose a later one."
            )));
        }
        let span = Terms::span(lease.span.start, end)?;
        let parent = lease.parent.map(|parent| self.lease(parent)).transpose()?;
        must_lie_within(span, parent.as_ref())?;
        self.must_hold_what_is_under(&lease, span)?;
        let (node, level) = (self.node(lease.node)?.clone(), (lease.node, lease.parent));
        let changed = Lease { span, revision: revision + 1, updated_at: Some(now), ..(*lease).clone() };
        if lease.state == LeaseState::Created {
            terms.check_place(span, now)?;
        }
        if let Ok(more) = Span::new(lease.span.end, end) {
            terms.check_length(&changed, &self.view.lease)?;
            // The offer that it was claimed from is not in its own lease's way; beyond that offer others are.
            let offer = lease.offer.and_then(|offer| self.view.lease.offer(offer));
            match offer {
                // Its offer was withdrawn or is over: with it the word of whoever made it.
                None if lease.offer.is_some() && terms.longest.is_some() => {
                    return Err(Refusal::InUse(format!(
                        "The offer that lease {id} was claimed from is not open any more: its end cannot be later."
                    )));
                }
                Some(offer) if !offer.span.holds(&more) => {
                    return Err(Refusal::InUse(format!(
                        "The time {span} is not within that of offer {}, {}.",
                        offer.id, offer.span
                    )));
                }
                Some(_) => self.must_be_free_at((&node, level), more, Some(id), false)?,
                None => self.must_be_free_at((&node, level), more, Some(id), true)?,
            }
        }
        Ok(self.put_lease(changed))
    }

    fn must_be_new(&self, id: LeaseId) -> Result<(), Refusal> {
        match self.view.lease.lease(id).is_some() || self.view.lease.ended_lately(id.0) {
            true => Err(Refusal::Exists { what: "A lease with UUID", name: id.to_string() }),
            false => Ok(()),
        }
    }

    /// What was let on of the lease still lies within it.
    fn must_hold_what_is_under(&self, lease: &Arc<Lease>, span: Span) -> Result<(), Refusal> {
        let (offers, leases) = self.view.lease.under((lease.node, Some(lease.id)));
        let offer = offers.iter().find(|offer| !span.holds(&offer.span)).map(|offer| ("Offer", offer.id.0, offer.span));
        let below = leases.iter().find(|below| !span.holds(&below.span)).map(|below| ("Lease", below.id.0, below.span));
        match below.or(offer) {
            None => Ok(()),
            Some((what, id, range)) => {
                Err(Refusal::InUse(format!("{what} {id}, which is a part of this lease, goes {range}: end it before.")))
            }
        }
    }

    fn fresh(
        &self,
        id: LeaseId,
        owner: String,
        node: NodeId,
        span: Span,
        wanted: &NewLease,
        (offer, parent): (Option<OfferId>, Option<LeaseId>),
    ) -> Lease {
        let class = self.class_of(node);
        Lease {
            id,
            label: wanted.label.clone(),
            purpose: wanted.purpose.clone(),
            project: wanted.project.clone(),
            owner,
            node,
            span,
            offer,
            parent,
            group: wanted.group,
            state: LeaseState::Created,
            reason: None,
            ready_by: None,
            fulfilled_at: None,
            expired_at: None,
            created_at: self.context.now,
            updated_at: None,
            revision: 0,
            wish: wanted.wish,
            watch: Watch::default(),
            past: Past { class, ..Past::default() },
        }
    }
}
