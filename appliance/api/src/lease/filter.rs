//! Which offers and leases a list is asked for: the parameters of the query, and what of them a row must be.

use super::body::unknown_type;
use super::document::offer_state;
use super::fault::{Asker, Fault};
use super::{RESOURCE_TYPE, time, whose};
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use jiff::Timestamp;
use leasehold_domain::View;
use leasehold_domain::id::{NodeId, OfferId};
use leasehold_domain::lease::{Lease, LeaseState, Offer, OfferState, Span};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Every status that nobody says no to.
const ANY: [&str; 2] = ["any", "all"];
const LEASE_STATES: [LeaseState; 8] = [
    LeaseState::Created,
    LeaseState::WaitFulfill,
    LeaseState::Active,
    LeaseState::WaitExpire,
    LeaseState::WaitCancel,
    LeaseState::Expired,
    LeaseState::Deleted,
    LeaseState::Error,
];
const OFFER_STATES: [OfferState; 3] = [OfferState::Available, OfferState::Expired, OfferState::Deleted];

/// The parameters of a query, each once.
pub(super) struct Asked(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked, Fault> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)?;
        let mut asked = BTreeMap::new();
        for (name, value) in pairs {
            if asked.insert(name.clone(), value).is_some() {
                return Err(Fault::bad_request(format!("The parameter '{name}' may be there once.")));
            }
        }
        Ok(Asked(asked))
    }
}

impl Asked {
    /// No parameter is there but these.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Fault> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(Fault::bad_request(format!("Unknown argument: \"{name}\""))),
            None => Ok(()),
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, Fault> {
        self.text(name).map(|text| time::read(name, text)).transpose()
    }

    /// Begin and end, of which none is there without the other.
    fn span(&self, start: &str, end: &str) -> Result<Option<Span>, Fault> {
        match (self.time(start)?, self.time(end)?) {
            (None, None) => Ok(None),
            (Some(from), Some(until)) => match Span::new(from, until) {
                Ok(span) => Ok(Some(span)),
                Err(empty) => Err(Fault::bad_request(format!("{start} and {end}: {empty}"))),
            },
            _ => Err(Fault::bad_request(format!("{start} and {end} belong together: give both or none."))),
        }
    }

    /// The project that a parameter names.
    pub(super) fn project(&self, name: &str, view: &View, asker: &Asker) -> Wanted<String> {
        Wanted::of(self.text(name), |ident| whose::project_called(view, asker, ident))
    }

    /// The node that is meant. Whether it is there for the caller is not asked: his rows tell him no more of it.
    pub(super) fn node(&self, view: &View) -> Result<Wanted<NodeId>, Fault> {
        if let Some(other) = self.text("resource_type").filter(|kind| *kind != RESOURCE_TYPE) {
            return Err(unknown_type(other));
        }
        Ok(Wanted::of(self.text("resource_uuid"), |ident| {
            let by_id = Uuid::parse_str(ident).ok().map(NodeId);
            by_id.or_else(|| whose::node_called(view, ident).map(|node| node.id))
        }))
    }

    /// The states that are meant; `None`: the usual ones.
    fn states<T: Copy>(&self, all: &[T], name: impl Fn(T) -> &'static str) -> Result<Option<Vec<T>>, Fault> {
        let Some(said) = self.text("status") else { return Ok(None) };
        if ANY.contains(&said) {
            return Ok(Some(all.to_vec()));
        }
        // The client's help writes them so.
        let plain = said.replace('_', " ");
        match all.iter().find(|state| name(**state) == plain) {
            Some(state) => Ok(Some(vec![*state])),
            None => {
                let names: Vec<_> = all.iter().map(|state| name(*state)).collect();
                Err(Fault::bad_request(format!("'{said}' is no status: any and {} are.", names.join(", "))))
            }
        }
    }
}

/// What a member must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted<T> {
    Anything,
    This(T),
    /// What nothing is: the thing that was named is not known.
    Nothing,
}

impl<T: PartialEq> Wanted<T> {
    fn of(said: Option<&str>, find: impl Fn(&str) -> Option<T>) -> Wanted<T> {
        match said {
            None => Wanted::Anything,
            Some(ident) => find(ident).map_or(Wanted::Nothing, Wanted::This),
        }
    }

    pub(super) fn takes(&self, value: &T) -> bool {
        match self {
            Wanted::Anything => true,
            Wanted::This(wanted) => wanted == value,
            Wanted::Nothing => false,
        }
    }

    pub(super) fn this(&self) -> Option<&T> {
        match self {
            Wanted::This(wanted) => Some(wanted),
            _ => None,
        }
    }
}

/// What both lists can be asked for.
#[derive(Clone, Debug)]
struct Both {
    node: Wanted<NodeId>,
    class: Option<String>,
    span: Option<Span>,
}

impl Both {
    fn read(asked: &Asked, view: &View) -> Result<Both, Fault> {
        let class = asked.text("resource_class").map(str::to_owned);
        Ok(Both { node: asked.node(view)?, class, span: asked.span("start_time", "end_time")? })
    }

    fn takes(&self, view: &View, id: NodeId) -> bool {
        let class = || view.node(id).and_then(|node| node.settings.resource_class.as_deref());
        self.node.takes(&id) && (self.class.is_none() || self.class.as_deref() == class())
    }
}

/// Which offers.
#[derive(Clone, Debug)]
pub(super) struct OfferFilter {
    both: Both,
    pub(super) project: Wanted<String>,
    pub(super) states: Vec<OfferState>,
    available: Option<Span>,
}

impl OfferFilter {
    pub(super) fn read(asked: &Asked, view: &View, asker: &Asker) -> Result<OfferFilter, Fault> {
        asked.only(&[
            "project_id",
            "resource_type",
            "resource_class",
            "resource_uuid",
            "start_time",
            "end_time",
            "available_start_time",
            "available_end_time",
            "status",
        ])?;
        Ok(OfferFilter {
            both: Both::read(asked, view)?,
            project: asked.project("project_id", view, asker),
            states: asked.states(&OFFER_STATES, offer_state)?.unwrap_or_else(|| vec![OfferState::Available]),
            available: asked.span("available_start_time", "available_end_time")?,
        })
    }

    /// What was named is not there, so that nothing is found.
    pub(super) fn finds_nothing(&self) -> bool {
        self.project == Wanted::Nothing || self.both.node == Wanted::Nothing
    }

    /// The one node whose offers are asked for.
    pub(super) fn node(&self) -> Option<NodeId> {
        self.both.node.this().copied()
    }

    /// A time that is asked for lies within the offer's.
    pub(super) fn takes(&self, view: &View, offer: &Offer) -> bool {
        let holds =
            |span: &Span, wanted: &Span| Span { start: time::as_shown(span.start), end: span.end }.holds(wanted);
        self.both.takes(view, offer.node)
            && self.project.takes(&offer.project)
            && self.states.contains(&offer.state)
            && self.both.span.is_none_or(|wanted| holds(&offer.span, &wanted))
            && self.available.is_none_or(|wanted| view.lease.free_of(offer).iter().any(|free| holds(free, &wanted)))
    }
}

/// Which leases.
#[derive(Clone, Debug)]
pub(super) struct LeaseFilter {
    both: Both,
    /// `None`: the usual ones, those that are not over or came to nothing.
    pub(super) states: Option<Vec<LeaseState>>,
    pub(super) offer: Wanted<OfferId>,
    purpose: Option<String>,
}

impl LeaseFilter {
    pub(super) fn read(asked: &Asked, view: &View) -> Result<LeaseFilter, Fault> {
        asked.only(&[
            "project_id",
            "owner_id",
            "start_time",
            "end_time",
            "status",
            "offer_uuid",
            "view",
            "resource_type",
            "resource_uuid",
            "resource_class",
            "purpose",
        ])?;
        Ok(LeaseFilter {
            both: Both::read(asked, view)?,
            states: asked.states(&LEASE_STATES, LeaseState::name)?,
            offer: Wanted::of(asked.text("offer_uuid"), |text| Uuid::parse_str(text).ok().map(OfferId)),
            purpose: asked.text("purpose").map(str::to_owned),
        })
    }

    /// A time that is asked for meets the lease's: also where one begins as the other ends, as esi-leap has it.
    pub(super) fn takes(&self, view: &View, lease: &Lease) -> bool {
        let state = match &self.states {
            None => !matches!(lease.state, LeaseState::Expired | LeaseState::Deleted),
            Some(states) => states.contains(&lease.state),
        };
        let touches = |wanted: Span| time::as_shown(lease.span.start) <= wanted.end && wanted.start <= lease.span.end;
        let offer = match (&self.offer, lease.offer) {
            (Wanted::Anything, _) => true,
            (wanted, Some(offer)) => wanted.takes(&offer),
            (_, None) => false,
        };
        state
            && offer
            && self.both.takes(view, lease.node)
            && self.both.span.is_none_or(touches)
            && (self.purpose.is_none() || self.purpose == lease.purpose)
    }

    /// Leases that are over may be among them; whether all such, or those only that came to nothing.
    pub(super) fn over(&self) -> Over {
        match &self.states {
            None => Over::Failed,
            Some(states) if states.iter().any(|state| state.is_over()) => Over::All,
            Some(_) => Over::None,
        }
    }
}

/// What of the history a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    None,
    Failed,
    All,
}
