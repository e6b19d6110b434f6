//! Reservations: leases of several nodes that are made, moved and given back as one, or not at all.

use crate::command::Answer;
use crate::decide::Room;
use crate::id::{JobId, LeaseId, NodeId, OfferId, ReservationId};
use crate::lease::{Lease, NewLease, Terms};
use crate::refusal::Refusal;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn reserve(
        &mut self,
        id: ReservationId,
        claims: &[(LeaseId, OfferId)],
        wanted: &NewLease,
        terms: &Terms,
    ) -> Result<Answer, Refusal> {
        if self.view.lease.group(id).next().is_some() {
            return Err(Refusal::Exists { what: "A reservation with UUID", name: id.to_string() });
        }
        if claims.is_empty() {
            return Err(Refusal::Invalid("A reservation of no node reserves nothing: name how many you need.".into()));
        }
        // Each claim is decided on what was before all of them, which is right as long as no two are of one node.
        let mut nodes: BTreeSet<NodeId> = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for (lease, offer) in claims {
            if !ids.insert(lease) || !nodes.insert(self.offer(*offer)?.node) {
                return Err(Refusal::Invalid("A reservation has each node and each lease once.".into()));
            }
        }
        let wanted = NewLease { group: Some(id), ..wanted.clone() };
        let mut answer = Answer::Done;
        for (lease, offer) in claims {
            answer = self.claim_offer(*lease, *offer, &wanted, terms)?;
        }
        Ok(answer)
    }

    pub(super) fn change_group_end(
        &mut self,
        id: ReservationId,
        judged: &[LeaseId],
        end: Timestamp,
        terms: &Terms,
    ) -> Result<Answer, Refusal> {
        let mut answer = Answer::Done;
        for lease in self.group(id, judged.iter().copied())? {
            answer = self.change_end(lease.id, lease.revision, end, terms)?;
        }
        Ok(answer)
    }

    pub(super) fn end_group(&mut self, id: ReservationId, judged: &[(LeaseId, JobId)]) -> Result<Answer, Refusal> {
        self.group(id, judged.iter().map(|(lease, _)| *lease))?;
        let mut answer = Answer::Done;
        for (lease, job) in judged {
            answer = self.end_lease(*lease, *job)?;
        }
        Ok(answer)
    }

    /// Those of the group that have not come to their end, if they are those that policy said yes about: a reservation may
    /// have nodes of several owners, none of whom has a say in the others' leases.
    fn group(&self, id: ReservationId, judged: impl Iterator<Item = LeaseId>) -> Result<Vec<Arc<Lease>>, Refusal> {
        let leases: Vec<_> = self.view.lease.group_ahead(id).cloned().collect();
        let judged: BTreeSet<LeaseId> = judged.collect();
        if leases.is_empty() {
            return Err(Refusal::NotFound { what: "Reservation", name: id.to_string() });
        }
        match leases.iter().map(|lease| lease.id).eq(judged) {
            true => Ok(leases),
            false => Err(Refusal::Conflict { what: "Reservation", name: id.to_string() }),
        }
    }
}
