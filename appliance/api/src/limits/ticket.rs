//! What one request holds of what is bounded, from its head until its answer is sent.
//!
//! At first it is a request of the network that it comes from; once it is known whose it is, it is his: it counts with his
//! requests, spends his tokens and takes his turns. So users behind one address do not share what they may.

use super::counts::{Full, Place};
use super::fair::{Turns, another_turn};
use super::tally::Why;
use super::{Limits, UNKNOWN, seconds};
use crate::error::ApiError;
use axum::http::StatusCode;
use leasehold_domain::id::UserId;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Whose turns a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flow {
    Network(IpAddr),
    User(UserId),
}

#[derive(Debug)]
struct Held {
    flow: Flow,
    /// A token of the network's bucket has been taken.
    paid: bool,
    user: Option<UserId>,
    limited: Option<Why>,
    /// Among all requests, or, once it is known whose it is and it is a stream, among all streams.
    _of_all: Place<()>,
    _of_network: Option<Place<IpAddr>>,
    _of_user: Option<Place<UserId>>,
}

#[derive(Debug)]
struct Inner {
    limits: Arc<Limits>,
    /// `None`: the request came from nowhere that could be bounded.
    network: Option<IpAddr>,
    /// It is a stream: long, and cheap to compute.
    stream: bool,
    held: Mutex<Held>,
}

/// A request's ticket; a clone is the same.
#[derive(Clone, Debug)]
pub(crate) struct Ticket(Arc<Inner>);

impl Ticket {
    /// A request has come.
    pub(super) fn new(limits: &Arc<Limits>, network: Option<IpAddr>, stream: bool) -> Result<Ticket, (Why, ApiError)> {
        let full = |_| (Why::Requests, box_is_full());
        let of_all = limits.requests.take(None).map_err(full)?;
        let busy = |_: Full| {
            let text = "Too many requests from this address at a time: wait for the answers.";
            (Why::AddressRequests, ApiError::too_many(text, 1))
        };
        let of_network = network.map(|network| limits.of_networks.take(Some(network))).transpose().map_err(busy)?;
        let held = Held {
            flow: Flow::Network(network.unwrap_or(UNKNOWN)),
            paid: network.is_none(),
            user: None,
            limited: None,
            _of_all: of_all,
            _of_network: of_network,
            _of_user: None,
        };
        let limits = limits.clone();
        Ok(Ticket(Arc::new(Inner { limits, network, stream, held: Mutex::new(held) })))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn flow(&self) -> Flow {
        self.held().flow
    }

    pub(super) fn turns(&self) -> &Arc<Turns> {
        &self.0.limits.turns
    }

    /// It counts as a stream, and may last long.
    pub(crate) fn is_stream(&self) -> bool {
        self.0.stream
    }

    /// What the request was refused for, if it was.
    pub(super) fn limited(&self) -> Option<Why> {
        self.held().limited
    }

    /// The user that it is from, once he is known.
    pub(super) fn user(&self) -> Option<UserId> {
        self.held().user
    }

    fn refuse(&self, why: Why, error: ApiError) -> ApiError {
        self.held().limited = Some(why);
        error
    }

    /// It is known whose request this is: it is his from now on, or more than he may have.
    pub(crate) async fn is_of(&self, user: UserId) -> Result<(), ApiError> {
        if self.held().user.replace(user) == Some(user) {
            return Ok(());
        }
        let limits = &self.0.limits;
        if let Err(wait) = limits.user_rate.take(user, Instant::now()) {
            let rate = limits.settings.user_rate.per_second;
            return Err(self.refuse(Why::UserRate, too_often("user", rate, wait)));
        }
        let places = if self.0.stream { &limits.of_streams } else { &limits.of_users };
        let place = match places.take(Some(user)) {
            Ok(place) => place,
            Err(_) if self.0.stream => {
                let text = "Too many uploads, downloads and feeds of this user at a time: end one of them.";
                return Err(self.refuse(Why::UserStreams, ApiError::too_many(text, 1)));
            }
            Err(_) => {
                let text = "Too many requests of this user at a time: wait for the answers.";
                return Err(self.refuse(Why::UserRequests, ApiError::too_many(text, 1)));
            }
        };
        // A stream lasts: it must not keep others from asking.
        let of_all = self.0.stream.then(|| limits.streams.take(None)).transpose();
        let of_all = of_all.map_err(|_: Full| self.refuse(Why::Streams, box_is_full()))?;
        {
            let mut held = self.held();
            if let Some(place) = of_all {
                held._of_all = place;
            }
            (held.flow, held._of_user, held._of_network) = (Flow::User(user), Some(place), None);
        }
        // What was computed so far was little; the rest waits for a turn of his own, if others wait.
        if limits.turns.are_contended() {
            another_turn().await;
        }
        Ok(())
    }

    /// The request is nobody's, or not from who it says: it costs its network a token, if it has not cost one yet.
    pub(crate) fn is_nobodys(&self) -> Result<(), ApiError> {
        let Some(network) = self.0.network else { return Ok(()) };
        if std::mem::replace(&mut self.held().paid, true) {
            return Ok(());
        }
        let limits = &self.0.limits;
        limits.address_rate.take(network, Instant::now()).map_err(|wait| {
            let rate = limits.settings.address_rate.per_second;
            self.refuse(Why::AddressRate, too_often("address without a valid login", rate, wait))
        })
    }
}

fn too_often(whose: &str, rate: u32, wait: Duration) -> ApiError {
    let wait = seconds(wait);
    let text = format!("More than {rate} requests a second of one {whose}: try again in {wait} s.");
    ApiError::too_many(text, wait)
}

fn box_is_full() -> ApiError {
    let text = "The appliance has as many requests or streams at a time as it takes: try again in a moment.";
    ApiError { retry_after: Some(1), ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text) }
}
