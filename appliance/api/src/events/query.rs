//! Which events are wanted.

use super::in_words;
use crate::Api;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::named::{find, no_node};
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use jiff::Timestamp;
use leasehold_domain::event::{Event, What, is_filter};
use leasehold_domain::id::NodeId;
use leasehold_engine::events::{Reader, is_wanted};
use leasehold_store::{Cursor, EventsBy, EventsFrom, Store};
use serde::Deserialize;
use uuid::Uuid;

/// Events of a page when nothing is said, and at most.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1000;

/// The query as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Said {
    before: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
    #[serde(rename = "type")]
    kinds: Option<String>,
    node: Option<String>,
    lease: Option<Uuid>,
    project: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    follow: bool,
}

/// What of an event must be so.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    kinds: Vec<String>,
    node: Option<NodeId>,
    lease: Option<Uuid>,
    project: Option<String>,
}

impl Filter {
    pub(super) fn takes(&self, event: &Event) -> bool {
        let lease = || match &event.what {
            What::LeaseChanged { lease, .. } | What::LeaseUnused { lease, .. } | What::LeaseMoved { lease, .. } => {
                Some(lease.0)
            }
            _ => None,
        };
        let of = |project: &String| event.owner.as_ref() == Some(project) || event.lessee.as_ref() == Some(project);
        is_wanted(&self.kinds, event.what.kind())
            && self.node.is_none_or(|node| event.node == Some(node))
            && self.lease.is_none_or(|wanted| lease() == Some(wanted))
            && self.project.as_ref().is_none_or(of)
    }

    /// All kinds that are wanted are of leases and offers, which are found by themselves.
    fn is_of_leases(&self) -> bool {
        let of_lease = |kind: &String| ["lease", "offer"].contains(&kind.split('.').next().unwrap_or_default());
        self.lease.is_some() || (!self.kinds.is_empty() && self.kinds.iter().all(of_lease))
    }
}

/// Which events, from where.
pub(super) struct Wanted {
    pub(super) filter: Filter,
    pub(super) limit: usize,
    pub(super) follow: bool,
    before: Option<String>,
    after: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Wanted {
    /// Where they are found.
    pub(super) fn by(&self, reader: &Reader) -> EventsBy {
        let own = reader.by();
        let whose = match (&self.filter.project, own.whose) {
            (Some(project), None) => Some(vec![project.clone()]),
            (_, own) => own,
        };
        EventsBy { whose, leases: self.filter.is_of_leases(), since: self.since, until: self.until }
    }

    pub(super) fn from(&self, store: &Store) -> Result<EventsFrom, ApiError> {
        Ok(match (&self.before, &self.after) {
            (None, None) => EventsFrom::Before(None),
            (Some(before), None) => EventsFrom::Before(Some(cursor(store, before)?)),
            (None, Some(after)) => EventsFrom::After(Some(cursor(store, after)?)),
            (Some(_), Some(_)) => return Err(ApiError::bad_request("'before' and 'after' go two ways: give one.")),
        })
    }

    /// Where a stream begins that is to go on from `last`, the header's word, which a browser keeps up to date.
    pub(super) async fn start(&self, store: &Store, last: Option<&str>) -> Result<Cursor, ApiError> {
        if self.before.is_some() {
            return Err(ApiError::bad_request("What happens from now on is not before anything: leave 'before' out."));
        }
        match last.or(self.after.as_deref()) {
            Some(text) => cursor(store, text),
            // Those of before that moment are passed over by what events are found by.
            None if self.since.is_some() => Ok(store.events_after(None, 0, |_| false).await.map_err(in_words)?.next),
            None => Ok(store.newest_cursor()),
        }
    }
}

fn cursor(store: &Store, text: &str) -> Result<Cursor, ApiError> {
    store.cursor_from_text(text).map_err(|error| in_words(error.into()))
}

impl FromRequestParts<Api> for Wanted {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Wanted, ApiError> {
        let Query(said) = Query::<Said>::try_from_uri(&parts.uri)
            .map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
        let limit = said.limit.unwrap_or(PAGE);
        if limit == 0 || limit > LARGEST_PAGE {
            return Err(ApiError::bad_request(format!("'limit' must be 1 to {LARGEST_PAGE}.")));
        }
        let kinds: Vec<String> = said.kinds.iter().flat_map(|kinds| kinds.split(',')).map(str::to_owned).collect();
        if let Some(unknown) = kinds.iter().find(|kind| !is_filter(kind)) {
            return Err(ApiError::bad_request(format!(
                "'{unknown}' is no type of event: lease, lease.active, node.power and the like are."
            )));
        }
        let node = match &said.node {
            None => None,
            // Who knows its id asks for what was his of it, whether it is there for him now or not.
            Some(ident) => match Uuid::parse_str(ident) {
                Ok(id) => Some(NodeId(id)),
                Err(_) => Some(named(parts, api, ident).await?),
            },
        };
        let filter = Filter { kinds, node, lease: said.lease, project: said.project };
        let Said { before, after, since, until, follow, .. } = said;
        Ok(Wanted { filter, limit, follow, before, after, since, until })
    }
}

/// The node of this name, if it is there for who asks.
async fn named(parts: &mut Parts, api: &Api, ident: &str) -> Result<NodeId, ApiError> {
    let caller = Caller::from_request_parts(parts, api).await?;
    let view = api.engine.view();
    let node = find(&view, ident)?;
    if caller.sees(node) { Ok(node.id) } else { Err(no_node(ident)) }
}
