//! Offers: made and withdrawn.

use super::{level_of, must_lie_within};
use crate::command::Answer;
use crate::decide::Room;
use crate::id::{NodeId, OfferId};
use crate::lease::{Empty, NewOffer, Offer, OfferState, Span, Terms};
use crate::refusal::Refusal;
use jiff::Timestamp;

impl Room<'_> {
    pub(super) fn make_offer(
        &mut self,
        id: OfferId,
        node: NodeId,
        wanted: &NewOffer,
        terms: &Terms,
    ) -> Result<Answer, Refusal> {
        if self.view.lease.offer(id).is_some() || self.view.lease.ended_lately(id.0) {
            return Err(Refusal::Exists { what: "An offer with UUID", name: id.to_string() });
        }
        let (node, now) = (self.node(node)?.clone(), self.context.now);
        let parent = self.ground(&node, &wanted.project, terms)?;
        let start = Terms::start(wanted.start, now);
        let end = wanted.end.or(parent.as_ref().map(|parent| parent.span.end)).unwrap_or(Timestamp::MAX);
        let span = Span::new(start, end).map_err(|Empty { start, end }| {
            Refusal::Invalid(format!("The end time {end} must be after the start time {start}."))
        })?;
        must_lie_within(span, parent.as_ref())?;
        if self.view.lease.offer_count(&wanted.project) >= terms.offers {
            return Err(Refusal::OverQuota(format!(
                "Project {} has {} open offers, which is as many as it may have: withdraw some.",
                wanted.project, terms.offers
            )));
        }
        let level = level_of(node.id, parent.as_ref());
        self.must_not_have_too_many_parts(level, terms)?;
        self.must_be_free_at((&node, level), span, None, true)?;
        let offer = Offer {
            id,
            label: wanted.label.clone(),
            project: wanted.project.clone(),
            lessee: wanted.lessee.clone(),
            node: node.id,
            span,
            parent: parent.map(|parent| parent.id),
            state: OfferState::Available,
            created_at: now,
            updated_at: None,
            wish: wanted.wish,
            class: self.class_of(node.id),
        };
        Ok(self.put_offer(&node, offer))
    }

    /// What was claimed of it stays leased.
    pub(super) fn withdraw_offer(&mut self, id: OfferId) -> Result<Answer, Refusal> {
        let offer = (*self.offer(id)?).clone();
        let node = self.node(offer.node)?.clone();
        Ok(self.put_offer(&node, Offer { state: OfferState::Deleted, updated_at: Some(self.context.now), ..offer }))
    }
}
