//! For whom an offer or a lease is there, and which one a name means.
//!
//! A lease is there for whom `esi_leap:lease:get` says yes to. An offer is there for who made it, and for whom it is meant:
//! everybody, or the project that it names and those below it. What is not there is not found, whoever has it; what is there
//! and may not be touched is forbidden.

use super::fault::{Asker, Fault};
use super::{LEASE_ADMIN, OFFER_ADMIN};
use crate::Api;
use jiff::Timestamp;
use leasehold_domain::View;
use leasehold_domain::command::Actor;
use leasehold_domain::id::{LeaseId, NodeId, OfferId, ProjectId};
use leasehold_domain::identity::{id_text, parse_id};
use leasehold_domain::lease::search::is_within;
use leasehold_domain::lease::{Label, Lease, LeaseState, Offer, OfferState, Past, Span, Watch, Wish};
use leasehold_domain::node::Node;
use leasehold_domain::policy::Target;
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};
use uuid::Uuid;

pub(super) const GET_OFFER: &str = "esi_leap:offer:get";
pub(super) const GET_LEASE: &str = "esi_leap:lease:get";
const SEE_NODE: &str = "baremetal:node:get";

/// Stand in for what is not there, so that the same is asked about it. Nobody's project is as long as a project's id.
static NOBODYS_OFFER: LazyLock<Offer> = LazyLock::new(|| Offer {
    id: OfferId(Uuid::nil()),
    label: Label::default(),
    project: "-".repeat(32),
    lessee: Some("-".repeat(32)),
    node: NodeId(Uuid::nil()),
    span: Span::ALL,
    parent: None,
    state: OfferState::Deleted,
    created_at: Timestamp::UNIX_EPOCH,
    updated_at: None,
    wish: Wish::default(),
    class: None,
});
static NOBODYS_LEASE: LazyLock<Lease> = LazyLock::new(|| Lease {
    id: LeaseId(Uuid::nil()),
    label: Label::default(),
    purpose: None,
    project: "-".repeat(32),
    owner: "-".repeat(32),
    node: NodeId(Uuid::nil()),
    span: Span::ALL,
    offer: None,
    parent: None,
    group: None,
    state: LeaseState::Deleted,
    reason: None,
    ready_by: None,
    fulfilled_at: None,
    expired_at: None,
    created_at: Timestamp::UNIX_EPOCH,
    updated_at: None,
    revision: 0,
    wish: Wish::default(),
    watch: Watch::default(),
    past: Past::default(),
});

/// An offer as rules see it.
pub(super) struct OfOffer<'a>(pub(super) &'a Offer);

impl Target for OfOffer<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        (name == "offer.project_id").then_some(Cow::Borrowed(self.0.project.as_str()))
    }
}

/// A lease as rules see it.
pub(super) struct OfLease<'a>(pub(super) &'a Lease);

impl Target for OfLease<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "lease.owner_id" => Some(Cow::Borrowed(&self.0.owner)),
            "lease.project_id" => Some(Cow::Borrowed(&self.0.project)),
            _ => None,
        }
    }
}

/// Offers and leases, as they are looked for.
pub(super) trait Thing: Sized + 'static {
    /// What messages call it.
    const WHAT: &'static str;
    const GET: &'static str;

    fn id(&self) -> Uuid;
    fn allowed(&self, asker: &Asker, rule: &str) -> bool;
    /// The offer itself says whom it is for; a lease does not.
    fn is_meant_for(&self, asker: &Asker, view: &View) -> bool;
    fn nobodys() -> &'static Self;
    fn named(view: &View, name: &str) -> Vec<Arc<Self>>;
    async fn with_id(api: &Api, view: &View, id: Uuid) -> Result<Option<Arc<Self>>, Fault>;
}

impl Thing for Offer {
    const WHAT: &'static str = "Offer";
    const GET: &'static str = GET_OFFER;

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn allowed(&self, asker: &Asker, rule: &str) -> bool {
        asker.allows(rule, &OfOffer(self))
    }

    fn is_meant_for(&self, asker: &Asker, view: &View) -> bool {
        let own = asker.credentials.project_id.as_deref();
        own == Some(self.project.as_str())
            || match &self.lessee {
                None => true,
                Some(lessee) => own.is_some_and(|own| is_within(&view.identity, own, lessee)),
            }
            || asker.allows(OFFER_ADMIN, &OfOffer(self))
    }

    fn nobodys() -> &'static Offer {
        &NOBODYS_OFFER
    }

    fn named(view: &View, name: &str) -> Vec<Arc<Offer>> {
        view.lease.offers_by_name(name).cloned().collect()
    }

    async fn with_id(api: &Api, view: &View, id: Uuid) -> Result<Option<Arc<Offer>>, Fault> {
        match view.lease.offer(OfferId(id)) {
            Some(offer) => Ok(Some(offer.clone())),
            None => Ok(api.engine.store.ended_offer(OfferId(id)).await?),
        }
    }
}

impl Thing for Lease {
    const WHAT: &'static str = "Lease";
    const GET: &'static str = GET_LEASE;

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn allowed(&self, asker: &Asker, rule: &str) -> bool {
        asker.allows(rule, &OfLease(self))
    }

    fn is_meant_for(&self, _: &Asker, _: &View) -> bool {
        true
    }

    fn nobodys() -> &'static Lease {
        &NOBODYS_LEASE
    }

    fn named(view: &View, name: &str) -> Vec<Arc<Lease>> {
        view.lease.leases_by_name(name).cloned().collect()
    }

    async fn with_id(api: &Api, view: &View, id: Uuid) -> Result<Option<Arc<Lease>>, Fault> {
        match view.lease.lease(LeaseId(id)) {
            Some(lease) => Ok(Some(lease.clone())),
            None => Ok(api.engine.store.ended_lease(LeaseId(id)).await?),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    May,
    Sees,
    Hidden,
}

fn judge<T: Thing>(asker: &Asker, view: &View, thing: &T, rule: &str) -> Verdict {
    let (may, sees) = (thing.allowed(asker, rule), thing.allowed(asker, T::GET));
    match (thing.is_meant_for(asker, view), may, sees) {
        (true, true, _) => Verdict::May,
        (true, false, true) => Verdict::Sees,
        _ => {
            asker.hides(T::GET, thing.id());
            Verdict::Hidden
        }
    }
}

/// It is there for the caller.
pub(super) fn sees<T: Thing>(asker: &Asker, view: &View, thing: &T) -> bool {
    thing.allowed(asker, T::GET) && thing.is_meant_for(asker, view)
}

/// The thing that a path names by UUID or name, where the rule says yes. A name means one of those with which he may do
/// that: nobody takes a name away from another by using it, too. By its UUID also what is over is found.
pub(super) async fn find<T: Thing>(api: &Api, asker: &Asker, ident: &str, rule: &str) -> Result<Arc<T>, Fault> {
    let view = api.engine.view();
    let found = match Uuid::parse_str(ident) {
        Ok(id) => T::with_id(api, &view, id).await?.into_iter().collect(),
        Err(_) => T::named(&view, ident),
    };
    if found.is_empty() {
        let _told_nobody = judge(asker, &view, T::nobodys(), rule);
        return Err(Fault::not_found(T::WHAT, ident));
    }
    let judged: Vec<_> = found.into_iter().map(|thing| (judge(asker, &view, &*thing, rule), thing)).collect();
    let mut may = judged.iter().filter(|(verdict, _)| *verdict == Verdict::May);
    match (may.next(), may.next()) {
        (Some((_, thing)), None) => Ok(thing.clone()),
        (Some(_), Some(_)) => Err(Fault::conflict(format!(
            "Several {}s are called {ident}: name the one that you mean by its UUID.",
            T::WHAT.to_lowercase()
        ))),
        _ if judged.iter().any(|(verdict, _)| *verdict == Verdict::Sees) => Err(Fault::forbidden(rule)),
        _ => Err(Fault::not_found(T::WHAT, ident)),
    }
}

/// The node that a body names by UUID or name, if it is there for the caller; and who gives a command about it.
pub(super) fn node_meant(view: &View, asker: &Asker, ident: &str) -> Result<(Arc<Node>, Actor), Fault> {
    match node_called(view, ident) {
        Some(node) => Ok((node.clone(), asker.may(SEE_NODE, node, ident)?)),
        None => Err(asker.misses(SEE_NODE, ident).into()),
    }
}

/// Whether somebody who says this means that node. What one that is gone was called nobody knows.
pub(super) fn is_node(view: &View, id: NodeId, ident: &str) -> bool {
    match Uuid::parse_str(ident) {
        Ok(meant) => meant == id.0,
        Err(_) => view.node(id).is_none_or(|node| node.settings.name.as_deref() == Some(ident)),
    }
}

/// Whether or not the caller sees it.
pub(super) fn node_called<'a>(view: &'a View, ident: &str) -> Option<&'a Arc<Node>> {
    match Uuid::parse_str(ident) {
        Ok(id) => view.node(NodeId(id)),
        Err(_) => view.node_by_name(ident),
    }
}

/// The project for which somebody lets others have a node: his own; for an administrator who has nothing to do with the
/// node, its owner's.
pub(super) fn acts_for(asker: &Asker, node: &Node) -> Result<String, Fault> {
    let (own, settings) = (asker.credentials.project_id.as_deref(), &node.settings);
    let concerned = own.is_some() && (own == settings.owner.as_deref() || own == settings.lessee.as_deref());
    if !concerned && (asker.allows(OFFER_ADMIN, &()) || asker.allows(LEASE_ADMIN, &())) {
        let owner = settings.owner.clone();
        return owner.ok_or_else(|| {
            Fault::bad_request(format!("Node {} has no owner who could lease it: give it one first.", node.title()))
        });
    }
    own.map(str::to_owned).ok_or_else(no_project)
}

pub(super) fn no_project() -> Fault {
    Fault::bad_request("Nodes are leased by projects: use credentials for a project.")
}

/// The id of the project, or of the domain, that is called so: by id, else by name in the caller's domain, else by name in
/// any, if only one is.
pub(super) fn project_called(view: &View, asker: &Asker, ident: &str) -> Option<String> {
    let directory = &view.identity;
    let by_id = parse_id(ident).or_else(|| Uuid::parse_str(ident).ok()).map(ProjectId);
    if let Some(project) = by_id.and_then(|id| directory.project(id)) {
        return Some(project.id_text());
    }
    let domain = asker.credentials.project_domain_id.as_deref().unwrap_or(&asker.credentials.user_domain_id);
    let near = parse_id(domain).and_then(|id| directory.project_by_name(ProjectId(id), ident));
    if let Some(project) = near {
        return Some(project.id_text());
    }
    let mut named = directory.projects().filter(|domain| domain.is_domain());
    let mut named = named.by_ref().filter_map(|domain| directory.project_by_name(domain.id, ident));
    let first = named.next()?;
    named.next().is_none().then(|| id_text(first.id.0))
}

/// The project that a body names: there is one.
pub(super) fn project_meant(view: &View, asker: &Asker, ident: &str) -> Result<String, Fault> {
    project_called(view, asker, ident).ok_or_else(|| Fault::bad_request(format!("No project named {ident}.")))
}

/// The project that is to have a lease. A domain is none: nobody works for one.
pub(super) fn lessee_meant(view: &View, asker: &Asker, ident: &str) -> Result<String, Fault> {
    let found = project_meant(view, asker, ident)?;
    let project = parse_id(&found).and_then(|id| view.identity.project(ProjectId(id)));
    match project.is_some_and(|project| project.is_domain()) {
        true => Err(Fault::bad_request(format!("{ident} is a domain: name one of its projects."))),
        false => Ok(found),
    }
}
