//! One node's time, as one caller sees it.

use crate::Api;
use crate::access::OfNode;
use crate::lease::document::{offer_state, project_name};
use crate::lease::fault::{Asker, Fault};
use crate::lease::{time, whose};
use jiff::Timestamp;
use leasehold_domain::View;
use leasehold_domain::id::{NodeId, OfferId};
use leasehold_domain::lease::{Lease, Offer, Span};
use leasehold_domain::node::Node;
use leasehold_store::{Account, EndedBy};
use serde_json::{Value, json};
use std::sync::Arc;

const SEE_NODE: &str = "baremetal:node:get";
/// Offers and leases of one node that an answer has, of each kind.
const MOST: usize = 1000;

/// What is not over.
pub(super) struct Row {
    node: Arc<Node>,
    sees_node: bool,
    window: Span,
    now: Timestamp,
    offers: Vec<Arc<Offer>>,
    leases: Vec<Arc<Lease>>,
}

/// What is over, gathered.
struct Over {
    view: Arc<View>,
    window: Span,
    offers: Vec<Arc<Offer>>,
    leases: Vec<Arc<Lease>>,
}

impl Account for Over {
    fn open_offer(&self, id: OfferId) -> Option<Arc<Offer>> {
        // Nobody asks here of which offer a lease was claimed: none need be looked for on the disk.
        self.view.lease.offer(id).cloned()
    }

    fn offer(&mut self, offer: &Offer) {
        let meets = offer.stood().is_some_and(|stood| stood.meets(&self.window));
        if meets && self.offers.len() <= MOST && self.view.lease.offer(offer.id).is_none() {
            self.offers.push(Arc::new(offer.clone()));
        }
    }

    fn lease(&mut self, lease: &Lease, _: Option<&Offer>) {
        let meets = lease.taken().is_some_and(|taken| taken.meets(&self.window));
        if meets && self.leases.len() <= MOST && self.view.lease.lease(lease.id).is_none() {
            self.leases.push(Arc::new(lease.clone()));
        }
    }
}

impl Row {
    /// `None`: the node is not there for the caller.
    pub(super) fn of(view: &View, asker: &Asker, node: &Arc<Node>, window: Span, now: Timestamp) -> Option<Row> {
        let sees_node = asker.allows(SEE_NODE, &OfNode(node));
        let book = &view.lease;
        let offers: Vec<_> =
            book.offers_on(node.id).filter(|offer| whose::sees(asker, view, &***offer)).cloned().collect();
        let leases: Vec<_> = book.leases_on(node.id).cloned().collect();
        let is_there = sees_node || !offers.is_empty() || leases.iter().any(|lease| whose::sees(asker, view, &**lease));
        is_there.then(|| Row { node: node.clone(), sees_node, window, now, offers, leases })
    }

    pub(super) fn id(&self) -> NodeId {
        self.node.id
    }

    pub(super) async fn with_history(mut self, api: &Api, view: &Arc<View>, asker: &Asker) -> Result<Value, Fault> {
        if self.window.start < self.now {
            let by = EndedBy::Node(self.node.id);
            let over = Over { view: view.clone(), window: self.window, offers: Vec::new(), leases: Vec::new() };
            let over = api.engine.store.account(Some(by.clone()), by, self.window.start, Vec::new(), over).await?;
            self.offers.extend(over.offers.into_iter().filter(|offer| whose::sees(asker, view, &**offer)));
            self.leases.extend(over.leases);
        }
        Ok(self.document(view, asker))
    }

    fn document(&self, view: &View, asker: &Asker) -> Value {
        let in_window = |span: Option<Span>| span.filter(|span| span.meets(&self.window));
        let mut offers: Vec<(Span, &Arc<Offer>)> =
            self.offers.iter().filter_map(|offer| Some((in_window(offer.stood())?, offer))).collect();
        offers.sort_by_key(|(span, offer)| (*span, offer.id));
        let mut leases: Vec<(Span, Value)> = Vec::new();
        for lease in &self.leases {
            let Some(taken) = in_window(lease.taken()) else { continue };
            match whose::sees(asker, view, &**lease) {
                true => leases.push((taken, lease_document(view, lease, taken))),
                false => leases.extend(self.busy(lease, taken).into_iter().map(|span| (span, busy_document(span)))),
            }
        }
        leases.sort_by_key(|(span, _)| *span);
        let is_cut = offers.len() > MOST || leases.len() > MOST;
        let mut free: Vec<Span> = offers.iter().flat_map(|(_, offer)| self.free(view, offer)).collect();
        free.sort();
        json!({
            "node_uuid": self.node.id.to_string(),
            "node": self.node.settings.name,
            "resource_class": self.node.settings.resource_class,
            "offers": offers.iter().take(MOST).map(|(span, offer)| offer_document(view, offer, *span)).collect::<Vec<_>>(),
            "leases": leases.into_iter().take(MOST).map(|(_, document)| document).collect::<Vec<_>>(),
            "free": free.iter().take(MOST).map(|span| times(*span)).collect::<Vec<_>>(),
            "cut": is_cut,
        })
    }

    /// When the caller is told that somebody has the node by a lease that is not there for him. What is let on lies within
    /// a lease that tells as much.
    fn busy(&self, lease: &Lease, taken: Span) -> Vec<Span> {
        if lease.parent.is_some() {
            return Vec::new();
        }
        if self.sees_node {
            return vec![taken];
        }
        let stood = self.offers.iter().filter(|offer| offer.parent.is_none()).filter_map(|offer| offer.stood());
        stood.filter_map(|stood| both(stood, taken)).filter(|span| span.meets(&self.window)).collect()
    }

    /// What can still be claimed.
    fn free(&self, view: &View, offer: &Offer) -> Vec<Span> {
        let Ok(ahead) = Span::new(self.window.start.max(self.now), self.window.end) else { return Vec::new() };
        let free = if offer.is_open() { view.lease.free_of(offer) } else { Vec::new() };
        free.into_iter().filter_map(|span| both(span, ahead)).collect()
    }
}

fn both(one: Span, other: Span) -> Option<Span> {
    Span::new(one.start.max(other.start), one.end.min(other.end)).ok()
}

fn times(span: Span) -> Value {
    json!([time::shown(span.start), time::shown(span.end)])
}

fn offer_document(view: &View, offer: &Offer, span: Span) -> Value {
    json!({
        "uuid": offer.id.to_string(),
        "name": offer.label.name,
        "status": offer_state(offer.state),
        "start_time": time::shown(span.start),
        "end_time": time::shown(span.end),
        "project_id": offer.project,
        "project": project_name(view, Some(&offer.project)),
        "lessee_id": offer.lessee,
        "parent_lease_uuid": offer.parent.map(|id| id.to_string()),
    })
}

fn lease_document(view: &View, lease: &Lease, span: Span) -> Value {
    json!({
        "uuid": lease.id.to_string(),
        "name": lease.label.name,
        "status": lease.state.name(),
        "start_time": time::shown(span.start),
        "end_time": time::shown(span.end),
        "project_id": lease.project,
        "project": project_name(view, Some(&lease.project)),
        "owner_id": lease.owner,
        "owner": project_name(view, Some(&lease.owner)),
        "purpose": lease.purpose,
        "parent_lease_uuid": lease.parent.map(|id| id.to_string()),
    })
}

fn busy_document(span: Span) -> Value {
    json!({"status": "busy", "start_time": time::shown(span.start), "end_time": time::shown(span.end)})
}
