//! `Idempotency-Key`: who sends a request again, as its answer was lost, makes nothing twice.
//!
//! The UUID of what is made comes of the user and his key. So a repeat meets what the first request made, also after a
//! restart and whenever it comes, and is answered with that, as it is now, if it was asked for in the same words; else
//! it is refused.

use super::fault::{Asker, Fault};
use super::time;
use crate::auth::secret::sha256;
use axum::http::HeaderMap;
use jiff::Timestamp;
use leasehold_domain::Refusal;
use leasehold_domain::lease::{Lease, LeaseState, NewLease, NewOffer, Offer, Span};
use leasehold_store::SubmitError;
use uuid::{Builder, Uuid};

const HEADER: &str = "idempotency-key";
const LONGEST: usize = 255;

/// The UUID of what a request makes.
#[derive(Clone, Copy)]
pub(super) enum NewId {
    Fresh(Uuid),
    /// Another request may have made it.
    Keyed(Uuid),
}

impl NewId {
    /// `kind`: what is made. Keys of one user for different kinds have nothing to do with one another.
    pub(super) fn of(headers: &HeaderMap, asker: &Asker, kind: &str) -> Result<NewId, Fault> {
        let mut values = headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(NewId::Fresh(Uuid::new_v4())) };
        let key = value.to_str().ok().filter(|key| (1..=LONGEST).contains(&key.len()) && values.next().is_none());
        let Some(key) = key else {
            return Err(Fault::bad_request(format!(
                "Idempotency-Key is there once, with 1 to {LONGEST} letters, digits and signs of ASCII."
            )));
        };
        let digest = sha256(format!("{kind}\n{}\n{key}", asker.user.id.0).as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Ok(NewId::Keyed(Builder::from_custom_bytes(bytes).into_uuid()))
    }

    pub(super) fn uuid(self) -> Uuid {
        match self {
            NewId::Fresh(id) | NewId::Keyed(id) => id,
        }
    }

    /// Somebody's request was quicker with the same key.
    pub(super) fn is_repeat(self, error: &SubmitError) -> bool {
        matches!((self, error), (NewId::Keyed(_), SubmitError::Refused(Refusal::Exists { .. })))
    }
}

pub(super) fn used_otherwise() -> Fault {
    Fault::conflict("This Idempotency-Key was used for another request: take a new one.")
}

/// What was asked for begins as asked, or at once where that was over.
fn begins(span: Span, wanted: Option<Timestamp>, created_at: Timestamp) -> bool {
    wanted.is_none_or(|wanted| time::as_shown(span.start) == time::as_shown(wanted.max(created_at)))
}

pub(super) fn is_same_offer(offer: &Offer, wanted: &NewOffer) -> bool {
    (&offer.label, &offer.project, &offer.lessee, offer.wish)
        == (&wanted.label, &wanted.project, &wanted.lessee, wanted.wish)
        && begins(offer.span, wanted.start, offer.created_at)
        && wanted.end.is_none_or(|end| offer.span.end == end)
}

/// The end of a lease may have been moved since.
pub(super) fn is_same_lease(lease: &Lease, wanted: &NewLease) -> bool {
    let untouched = lease.revision == 0 && lease.state == LeaseState::Created;
    (&lease.label, &lease.project, &lease.purpose) == (&wanted.label, &wanted.project, &wanted.purpose)
        // Of a claim it is its offer's.
        && (lease.offer.is_some() || lease.wish == wanted.wish)
        && begins(lease.span, wanted.start, lease.created_at)
        && wanted.end.is_none_or(|end| !untouched || time::as_shown(lease.span.end) == time::as_shown(end))
}
