//! Offers and leases as esi-leap's documents.

use super::{RESOURCE_TYPE, time};
use leasehold_domain::View;
use leasehold_domain::id::{NodeId, ProjectId};
use leasehold_domain::identity::parse_id;
use leasehold_domain::lease::{Lease, Offer, OfferState, Span, Wish};
use leasehold_domain::node::Node;
use serde_json::{Map, Value, json};

/// Properties of a node that say what it is to this box, not what it is.
const NOT_CONDENSED: [&str; 2] = ["lease_uuid", "capabilities"];

/// The name of a project, or nothing where there is none of that id (any more).
pub(super) fn project_name(view: &View, id: Option<&str>) -> String {
    let project = id.and_then(parse_id).and_then(|id| view.identity.project(ProjectId(id)));
    project.map(|project| project.name.clone()).unwrap_or_default()
}

/// What a node is, for who chooses one.
pub(super) fn condensed(node: &Node) -> Value {
    let properties = node.settings.properties.iter();
    let shown = properties.filter(|(name, _)| !NOT_CONDENSED.contains(&name.as_str()));
    Value::Object(shown.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// The members about the node; it may be gone.
fn resource(view: &View, id: NodeId, document: &mut Map<String, Value>) {
    let node = view.node(id);
    let name = node.and_then(|node| node.settings.name.clone()).unwrap_or_default();
    let class = node.and_then(|node| node.settings.resource_class.clone());
    document.extend([
        ("resource_type".to_owned(), json!(RESOURCE_TYPE)),
        ("resource_uuid".to_owned(), json!(id.to_string())),
        ("resource".to_owned(), json!(name)),
        ("resource_class".to_owned(), json!(class)),
        ("resource_properties".to_owned(), node.map_or_else(|| json!({}), |node| condensed(node))),
    ]);
}

/// Begin and end.
fn times(span: Span, document: &mut Map<String, Value>) {
    document.insert("start_time".into(), json!(time::shown(span.start)));
    document.insert("end_time".into(), json!(time::shown(span.end)));
}

/// Of ours: what the owner wishes.
fn wish(wish: Wish, document: &mut Map<String, Value>) {
    if let Some(hours) = wish.return_unused_hours {
        document.insert("leasehold_return_unused_hours".into(), json!(hours));
    }
    if wish.substitutable {
        document.insert("leasehold_substitutable".into(), json!(true));
    }
}

pub(super) fn offer_state(state: OfferState) -> &'static str {
    match state {
        OfferState::Available => "available",
        OfferState::Expired => "expired",
        OfferState::Deleted => "deleted",
    }
}

pub(super) fn offer(view: &View, offer: &Offer) -> Value {
    let free = if offer.is_open() { view.lease.free_of(offer) } else { Vec::new() };
    let free: Vec<_> = free.iter().map(|span| json!([time::shown(span.start), time::shown(span.end)])).collect();
    let mut document = Map::new();
    let members = [
        ("uuid", json!(offer.id.to_string())),
        ("name", json!(offer.label.name)),
        ("project_id", json!(offer.project)),
        ("project", json!(project_name(view, Some(&offer.project)))),
        ("lessee_id", json!(offer.lessee)),
        ("lessee", json!(project_name(view, offer.lessee.as_deref()))),
        ("status", json!(offer_state(offer.state))),
        ("properties", json!(offer.label.properties)),
        ("availabilities", json!(free)),
        ("parent_lease_uuid", json!(offer.parent.map(|id| id.to_string()))),
    ];
    document.extend(members.into_iter().map(|(name, value)| (name.to_owned(), value)));
    resource(view, offer.node, &mut document);
    times(offer.span, &mut document);
    wish(offer.wish, &mut document);
    Value::Object(document)
}

pub(super) fn lease(view: &View, lease: &Lease) -> Value {
    let mut document = Map::new();
    let members = [
        ("uuid", json!(lease.id.to_string())),
        ("name", json!(lease.label.name)),
        ("project_id", json!(lease.project)),
        ("project", json!(project_name(view, Some(&lease.project)))),
        ("owner_id", json!(lease.owner)),
        ("owner", json!(project_name(view, Some(&lease.owner)))),
        ("fulfill_time", json!(lease.fulfilled_at.map(time::shown))),
        ("expire_time", json!(lease.expired_at.map(time::shown))),
        ("status", json!(lease.state.name())),
        ("properties", json!(lease.label.properties)),
        ("purpose", json!(lease.purpose)),
        ("offer_uuid", json!(lease.offer.map(|id| id.to_string()))),
        ("parent_lease_uuid", json!(lease.parent.map(|id| id.to_string()))),
    ];
    document.extend(members.into_iter().map(|(name, value)| (name.to_owned(), value)));
    resource(view, lease.node, &mut document);
    times(lease.span, &mut document);
    wish(lease.wish, &mut document);
    // Of ours: then it is given back, if nobody has begun anything with the node.
    if let Some(at) = lease.returns_at() {
        document.insert("leasehold_returns_unused_at".into(), json!(time::shown(at)));
    }
    // Of ours: the leases that were reserved with it.
    if let Some(group) = lease.group {
        document.insert("leasehold_reservation_uuid".into(), json!(group.to_string()));
    }
    // Of ours: what it waits for, or why it came to nothing.
    if let Some(reason) = &lease.reason {
        document.insert("leasehold_reason".into(), json!(reason));
    }
    Value::Object(document)
}
