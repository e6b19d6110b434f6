//! The rows of this room and what they are found by. What is over is not here: it is history, on disk only.

use super::{Lease, LeaseState, Offer, Quota, Span};
use crate::id::{LeaseId, NodeId, OfferId, QuotaId, ReservationId};
use crate::rows::{Row, RowKey, Rows, key_bytes};
use imbl::{OrdMap, OrdSet, Vector};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::ops::Bound;
use std::sync::Arc;
use uuid::Uuid;

/// A row of the lease room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LeaseRow {
    Offer(Arc<Offer>),
    Lease(Arc<Lease>),
    Quota(Arc<Quota>),
}

/// Which row. The node comes first: what is written together for one node lies together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseKey {
    Offer(NodeId, OfferId),
    Lease(NodeId, LeaseId),
    Quota(QuotaId),
}

impl Row for LeaseRow {
    type Key = LeaseKey;

    fn key(&self) -> LeaseKey {
        match self {
            LeaseRow::Offer(row) => LeaseKey::Offer(row.node, row.id),
            LeaseRow::Lease(row) => LeaseKey::Lease(row.node, row.id),
            LeaseRow::Quota(row) => LeaseKey::Quota(row.id),
        }
    }
}

impl RowKey for LeaseKey {
    fn bytes(&self) -> Vec<u8> {
        match self {
            LeaseKey::Offer(node, id) => key_bytes(1, &[node.0.as_bytes(), id.0.as_bytes()]),
            LeaseKey::Lease(node, id) => key_bytes(2, &[node.0.as_bytes(), id.0.as_bytes()]),
            LeaseKey::Quota(id) => key_bytes(3, &[id.0.as_bytes()]),
        }
    }
}

/// Where a span stands: under the owner, or under a lease of the node. Spans of one level do not meet.
pub type Level = (NodeId, Option<LeaseId>);

/// What time brings about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Edge {
    // The order matters where they come at the same moment: what ends makes room for what begins.
    LeaseEnds(LeaseId),
    OfferEnds(OfferId),
    LeaseStarts(LeaseId),
}

/// All offers and leases that are not over, and the indices over them.
#[derive(Clone, Debug, Default)]
pub struct Book {
    offers: OrdMap<OfferId, Arc<Offer>>,
    leases: OrdMap<LeaseId, Arc<Lease>>,
    level_offers: OrdMap<(Level, Timestamp, OfferId), Timestamp>,
    level_leases: OrdMap<(Level, Timestamp, LeaseId), Timestamp>,
    offer_names: OrdSet<(String, OfferId)>,
    lease_names: OrdSet<(String, LeaseId)>,
    offer_projects: OrdSet<(String, OfferId)>,
    lease_projects: OrdSet<(String, LeaseId)>,
    /// How many of them there are of each project.
    offer_counts: OrdMap<String, usize>,
    lease_counts: OrdMap<String, usize>,
    lease_owners: OrdSet<(String, LeaseId)>,
    claimed: OrdSet<(OfferId, LeaseId)>,
    grouped: OrdSet<(ReservationId, LeaseId)>,
    /// Those whose time has come and is not over.
    present: OrdSet<(Level, LeaseId)>,
    ending: OrdSet<(NodeId, LeaseId)>,
    edges: OrdSet<(Timestamp, Edge)>,
    quotas: OrdMap<QuotaId, Arc<Quota>>,
    quota_projects: OrdMap<(String, Option<String>), QuotaId>,
    /// What ended lately, the newest last: a request that comes again meanwhile must not make it once more.
    ended: Vector<Uuid>,
    lately: OrdSet<Uuid>,
}

fn named<I: Ord + Copy>(names: &OrdSet<(String, I)>, name: &str, first: I, last: I) -> impl Iterator<Item = I> {
    names.range((name.to_owned(), first)..=(name.to_owned(), last)).map(|(_, id)| *id).collect::<Vec<_>>().into_iter()
}

/// One more of this project, or one less.
fn count(counts: &mut OrdMap<String, usize>, project: &str, more: bool) {
    let before = counts.get(project).copied().unwrap_or_default();
    match if more { before + 1 } else { before.saturating_sub(1) } {
        0 => drop(counts.remove(project)),
        now => drop(counts.insert(project.to_owned(), now)),
    }
}

/// So many that ended last are remembered: more than end while one request is under way.
const LATELY: usize = 4096;

/// The spans of one level that meet `span`, in the order of their starts. As those of a level do not meet one another,
/// only the one that begins last before `span` can reach into it.
fn meeting<'a, I: Ord + Copy>(
    spans: &'a OrdMap<(Level, Timestamp, I), Timestamp>,
    level: Level,
    span: Span,
    first: I,
) -> impl Iterator<Item = (I, Span)> + 'a {
    let before = spans.range((level, Timestamp::MIN, first)..(level, span.start, first)).next_back();
    let within = spans.range((Bound::Included((level, span.start, first)), Bound::Excluded((level, span.end, first))));
    before
        .into_iter()
        .chain(within)
        .map(|((_, start, id), end)| (*id, Span { start: *start, end: *end }))
        .filter(move |(_, other)| other.meets(&span))
}

const FIRST_OFFER: OfferId = OfferId(Uuid::nil());
const LAST_OFFER: OfferId = OfferId(Uuid::max());
const FIRST_LEASE: LeaseId = LeaseId(Uuid::nil());
const LAST_LEASE: LeaseId = LeaseId(Uuid::max());

impl Book {
    pub fn offer(&self, id: OfferId) -> Option<&Arc<Offer>> {
        self.offers.get(&id)
    }

    pub fn lease(&self, id: LeaseId) -> Option<&Arc<Lease>> {
        self.leases.get(&id)
    }

    pub fn offers(&self) -> impl Iterator<Item = &Arc<Offer>> {
        self.offers.values()
    }

    pub fn leases(&self) -> impl Iterator<Item = &Arc<Lease>> {
        self.leases.values()
    }

    pub fn offers_by_name(&self, name: &str) -> impl Iterator<Item = &Arc<Offer>> {
        named(&self.offer_names, name, FIRST_OFFER, LAST_OFFER).filter_map(|id| self.offers.get(&id))
    }

    pub fn leases_by_name(&self, name: &str) -> impl Iterator<Item = &Arc<Lease>> {
        named(&self.lease_names, name, FIRST_LEASE, LAST_LEASE).filter_map(|id| self.leases.get(&id))
    }

    /// How many open offers the project has.
    pub fn offer_count(&self, project: &str) -> usize {
        self.offer_counts.get(project).copied().unwrap_or_default()
    }

    /// How many leases the project has that are not over, as lessee.
    pub fn lease_count(&self, project: &str) -> usize {
        self.lease_counts.get(project).copied().unwrap_or_default()
    }

    pub fn offers_of(&self, project: &str) -> impl Iterator<Item = &Arc<Offer>> {
        named(&self.offer_projects, project, FIRST_OFFER, LAST_OFFER).filter_map(|id| self.offers.get(&id))
    }

    /// The leases of a lessee.
    pub fn leases_of(&self, project: &str) -> impl Iterator<Item = &Arc<Lease>> {
        named(&self.lease_projects, project, FIRST_LEASE, LAST_LEASE).filter_map(|id| self.leases.get(&id))
    }

    /// The leases that a project has given.
    pub fn leases_by_owner(&self, project: &str) -> impl Iterator<Item = &Arc<Lease>> {
        named(&self.lease_owners, project, FIRST_LEASE, LAST_LEASE).filter_map(|id| self.leases.get(&id))
    }

    /// The leases by which this offer was claimed.
    pub fn claims_of(&self, offer: OfferId) -> impl Iterator<Item = &Arc<Lease>> {
        let range = (offer, FIRST_LEASE)..=(offer, LAST_LEASE);
        self.claimed.range(range).filter_map(|(_, id)| self.leases.get(id))
    }

    pub fn quotas(&self) -> impl Iterator<Item = &Arc<Quota>> {
        self.quotas.values()
    }

    pub fn quota_by_id(&self, id: QuotaId) -> Option<&Arc<Quota>> {
        self.quotas.get(&id)
    }

    /// The project's own quotas: for all nodes together first.
    pub fn quotas_of(&self, project: &str) -> impl Iterator<Item = &Arc<Quota>> {
        let mine = self.quota_projects.range((project.to_owned(), None)..);
        mine.take_while(move |((of, _), _)| of == project).filter_map(|(_, id)| self.quotas.get(id))
    }

    /// The project's own quota for nodes of this class, or for all together.
    pub fn quota(&self, project: &str, class: Option<&str>) -> Option<&Arc<Quota>> {
        let key = (project.to_owned(), class.map(str::to_owned));
        self.quota_projects.get(&key).and_then(|id| self.quotas.get(id))
    }

    /// The leases that were reserved together.
    pub fn group(&self, id: ReservationId) -> impl Iterator<Item = &Arc<Lease>> {
        self.grouped.range((id, FIRST_LEASE)..=(id, LAST_LEASE)).filter_map(|(_, id)| self.leases.get(id))
    }

    /// All groups of leases that were reserved together, in their order; one is there for each of its leases.
    pub fn groups(&self) -> impl Iterator<Item = ReservationId> {
        self.grouped.iter().map(|(id, _)| *id)
    }

    /// Those of them that have not come to their end.
    pub fn group_ahead(&self, id: ReservationId) -> impl Iterator<Item = &Arc<Lease>> {
        self.group(id).filter(|lease| !lease.state.is_ending())
    }

    /// The offers of this node, on whatever level.
    pub fn offers_on(&self, node: NodeId) -> impl Iterator<Item = &Arc<Offer>> {
        let first = ((node, None), Timestamp::MIN, FIRST_OFFER);
        let last = ((node, Some(LAST_LEASE)), Timestamp::MAX, LAST_OFFER);
        self.level_offers.range(first..=last).filter_map(|((_, _, id), _)| self.offers.get(id))
    }

    /// The leases of this node, on whatever level.
    pub fn leases_on(&self, node: NodeId) -> impl Iterator<Item = &Arc<Lease>> {
        let first = ((node, None), Timestamp::MIN, FIRST_LEASE);
        let last = ((node, Some(LAST_LEASE)), Timestamp::MAX, LAST_LEASE);
        self.level_leases.range(first..=last).filter_map(|((_, _, id), _)| self.leases.get(id))
    }

    /// The offers of this level that meet `span`, in the order of their starts.
    pub fn offers_meeting(&self, level: Level, span: Span) -> impl Iterator<Item = &Arc<Offer>> {
        meeting(&self.level_offers, level, span, FIRST_OFFER).filter_map(|(id, _)| self.offers.get(&id))
    }

    /// The leases of this level that meet `span`, in the order of their starts.
    pub fn leases_meeting(&self, level: Level, span: Span) -> impl Iterator<Item = &Arc<Lease>> {
        meeting(&self.level_leases, level, span, FIRST_LEASE).filter_map(|(id, _)| self.leases.get(&id))
    }

    /// The last lease of this level that begins before then.
    pub fn lease_before(&self, level: Level, at: Timestamp) -> Option<&Arc<Lease>> {
        let range = (level, Timestamp::MIN, FIRST_LEASE)..(level, at, FIRST_LEASE);
        self.level_leases.range(range).next_back().and_then(|((_, _, id), _)| self.leases.get(id))
    }

    /// The first lease of this level that begins then or later.
    pub fn lease_from(&self, level: Level, at: Timestamp) -> Option<&Arc<Lease>> {
        let range = (level, at, FIRST_LEASE)..=(level, Timestamp::MAX, LAST_LEASE);
        self.level_leases.range(range).next().and_then(|((_, _, id), _)| self.leases.get(id))
    }

    /// All offers and leases that stand under this lease, or under the node's owner.
    pub fn under(&self, level: Level) -> (Vec<Arc<Offer>>, Vec<Arc<Lease>>) {
        let offers = self.offers_meeting(level, Span::ALL).cloned().collect();
        (offers, self.leases_meeting(level, Span::ALL).cloned().collect())
    }

    /// What is free of an offer: its time without what was claimed of it.
    pub fn free_of(&self, offer: &Offer) -> Vec<Span> {
        let taken: Vec<Span> =
            self.leases_meeting((offer.node, offer.parent), offer.span).map(|lease| lease.span).collect();
        offer.span.without(&taken)
    }

    /// The lease that the node should be under: its time has come, and every one above it is active. By what was recorded,
    /// not by the clock: one that is set back takes nothing from anybody.
    pub fn wanted(&self, node: NodeId) -> Option<&Arc<Lease>> {
        let mut found: Option<&Arc<Lease>> = None;
        loop {
            match self.present((node, found.map(|lease| lease.id))) {
                None => return found,
                Some(lease) if lease.state == LeaseState::WaitFulfill => return Some(lease),
                Some(lease) => found = Some(lease),
            }
        }
    }

    /// The lease of this level whose time has come and is not over.
    pub fn present(&self, level: Level) -> Option<&Arc<Lease>> {
        let mut ids = self.present.range((level, FIRST_LEASE)..=(level, LAST_LEASE));
        ids.find_map(|(_, id)| self.leases.get(id))
    }

    /// The nodes that are leased now, or are being taken back, in their order; one may be there more than once.
    pub fn engaged(&self) -> impl Iterator<Item = NodeId> {
        let present = self.present.iter().map(|((node, _), _)| *node);
        present.chain(self.ending.iter().map(|(node, _)| *node))
    }

    /// The leases of this node, on whatever level, whose node is being taken back.
    pub fn ending(&self, node: NodeId) -> impl Iterator<Item = &Arc<Lease>> {
        self.ending.range((node, FIRST_LEASE)..=(node, LAST_LEASE)).filter_map(|(_, id)| self.leases.get(id))
    }

    /// The next thing that time brings about, and when.
    pub fn next_edge(&self) -> Option<(Timestamp, Edge)> {
        self.edges.get_min().copied()
    }

    /// What time has brought about by `now`, in the order in which it came.
    pub fn edges_until(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, Edge)> {
        let last = Edge::LeaseStarts(LAST_LEASE);
        self.edges.range(..=(now, last)).copied()
    }

    /// An offer or a lease with this id ended a short while ago. What ended before is on disk only.
    pub(crate) fn ended_lately(&self, id: Uuid) -> bool {
        self.lately.contains(&id)
    }

    fn note_end(&mut self, id: Uuid) {
        if self.lately.insert(id).is_none() {
            self.ended.push_back(id);
        }
        if self.ended.len() > LATELY
            && let Some(oldest) = self.ended.pop_front()
        {
            self.lately.remove(&oldest);
        }
    }

    pub(crate) fn apply(&mut self, change: &Rows<LeaseRow>) {
        match change {
            Rows::Put(LeaseRow::Offer(offer)) => self.put_offer(offer),
            Rows::Put(LeaseRow::Lease(lease)) => self.put_lease(lease),
            Rows::Put(LeaseRow::Quota(quota)) => self.put_quota(quota),
            Rows::Delete(LeaseKey::Offer(_, id)) => self.forget_offer(*id),
            Rows::Delete(LeaseKey::Lease(_, id)) => self.forget_lease(*id),
            Rows::Delete(LeaseKey::Quota(id)) => self.forget_quota(*id),
        }
    }

    fn put_quota(&mut self, quota: &Arc<Quota>) {
        self.forget_quota(quota.id);
        self.quota_projects.insert((quota.project.clone(), quota.class.clone()), quota.id);
        self.quotas.insert(quota.id, quota.clone());
    }

    fn forget_quota(&mut self, id: QuotaId) {
        if let Some(old) = self.quotas.remove(&id) {
            self.quota_projects.remove(&(old.project.clone(), old.class.clone()));
        }
    }

    fn put_offer(&mut self, offer: &Arc<Offer>) {
        self.forget_offer(offer.id);
        if !offer.is_open() {
            return self.note_end(offer.id.0);
        }
        let level = (offer.node, offer.parent);
        self.level_offers.insert((level, offer.span.start, offer.id), offer.span.end);
        if let Some(name) = &offer.label.name {
            self.offer_names.insert((name.clone(), offer.id));
        }
        self.offer_projects.insert((offer.project.clone(), offer.id));
        count(&mut self.offer_counts, &offer.project, true);
        self.edges.extend(offer.edge().map(|at| (at, Edge::OfferEnds(offer.id))));
        self.offers.insert(offer.id, offer.clone());
    }

    fn forget_offer(&mut self, id: OfferId) {
        let Some(old) = self.offers.remove(&id) else { return };
        self.level_offers.remove(&((old.node, old.parent), old.span.start, id));
        if let Some(name) = &old.label.name {
            self.offer_names.remove(&(name.clone(), id));
        }
        self.offer_projects.remove(&(old.project.clone(), id));
        count(&mut self.offer_counts, &old.project, false);
        if let Some(at) = old.edge() {
            self.edges.remove(&(at, Edge::OfferEnds(id)));
        }
    }

    fn put_lease(&mut self, lease: &Arc<Lease>) {
        self.forget_lease(lease.id);
        if lease.state.is_over() {
            return self.note_end(lease.id.0);
        }
        let level = (lease.node, lease.parent);
        self.level_leases.insert((level, lease.span.start, lease.id), lease.span.end);
        if let Some(name) = &lease.label.name {
            self.lease_names.insert((name.clone(), lease.id));
        }
        self.lease_projects.insert((lease.project.clone(), lease.id));
        count(&mut self.lease_counts, &lease.project, true);
        self.lease_owners.insert((lease.owner.clone(), lease.id));
        self.claimed.extend(lease.offer.map(|offer| (offer, lease.id)));
        self.grouped.extend(lease.group.map(|group| (group, lease.id)));
        if lease.state.is_present() {
            self.present.insert((level, lease.id));
        }
        if lease.state.is_ending() {
            self.ending.insert((lease.node, lease.id));
        }
        self.edges.extend(edge_of(lease));
        self.leases.insert(lease.id, lease.clone());
    }

    fn forget_lease(&mut self, id: LeaseId) {
        let Some(old) = self.leases.remove(&id) else { return };
        self.level_leases.remove(&((old.node, old.parent), old.span.start, id));
        if let Some(name) = &old.label.name {
            self.lease_names.remove(&(name.clone(), id));
        }
        self.lease_projects.remove(&(old.project.clone(), id));
        count(&mut self.lease_counts, &old.project, false);
        self.lease_owners.remove(&(old.owner.clone(), id));
        if let Some(offer) = old.offer {
            self.claimed.remove(&(offer, id));
        }
        if let Some(group) = old.group {
            self.grouped.remove(&(group, id));
        }
        self.present.remove(&((old.node, old.parent), id));
        self.ending.remove(&(old.node, id));
        if let Some(edge) = edge_of(&old) {
            self.edges.remove(&edge);
        }
    }
}

fn edge_of(lease: &Lease) -> Option<(Timestamp, Edge)> {
    let edge = match lease.state {
        LeaseState::Created => Edge::LeaseStarts(lease.id),
        _ => Edge::LeaseEnds(lease.id),
    };
    lease.edge().map(|at| (at, edge))
}
