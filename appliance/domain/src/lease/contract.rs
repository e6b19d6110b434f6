//! Offers and leases: who lets whom have which node, and when.
//!
//! The names and states are esi-leap's. An owner offers a node for a time; a lessee claims a part of that time, or the
//! owner gives him a lease outright. Who has a lease may offer and lease what is his in turn: then `parent` says of which
//! lease the time is a part.

use super::{Past, Span};
use crate::id::{LeaseId, NodeId, OfferId, ReservationId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// What an offer or lease says that nothing here depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Label {
    /// Not unique.
    pub name: Option<String>,
    pub properties: Map<String, Value>,
    /// What it was asked for with, in short, where a request that comes again is known by that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Uuid>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OfferState {
    Available,
    /// Its time is over.
    Expired,
    /// It was withdrawn.
    Deleted,
}

/// What an owner wishes of whoever has his node: said with the offer, or with a lease that he gives outright.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wish {
    /// A lease that nobody uses is given back after so many hours.
    pub return_unused_hours: Option<u32>,
    /// Where the node is not ready, an equal one of the same owner will do.
    pub substitutable: bool,
}

/// Whether a lease is used, and what comes of it that it is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watch {
    /// Owner and lessee are told of it after so many hours.
    pub warn_hours: Option<u32>,
    pub warned: bool,
    /// Something was begun with the node since it is the lessee's.
    pub used: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A node may be claimed for parts of this time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    pub id: OfferId,
    pub label: Label,
    /// Whose offer it is: the owner's project, or that of the lessee who offers on.
    pub project: String,
    /// Only this project and those below it may claim; `None`: whoever sees it.
    pub lessee: Option<String>,
    pub node: NodeId,
    pub span: Span,
    /// The lease that the time is a part of.
    pub parent: Option<LeaseId>,
    pub state: OfferState,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub wish: Wish,
    /// The resource class of the node when it was made, for the account of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// Its time has not come.
    Created,
    /// Its time has come; the node is being made ready, or is waited for.
    WaitFulfill,
    /// The node is the lessee's.
    Active,
    /// Its time is over; the node is being taken back.
    WaitExpire,
    /// It was given back before its time; the node is being taken back.
    WaitCancel,
    /// Its time is over, and the node was taken back.
    Expired,
    /// It was given back or called off, and the node was taken back if it had come to that.
    Deleted,
    /// It came to nothing, or its node could not be taken back; why is in `reason`.
    Error,
}

impl LeaseState {
    /// As esi-leap's API writes it.
    pub fn name(self) -> &'static str {
        match self {
            LeaseState::Created => "created",
            LeaseState::WaitFulfill => "wait fulfill",
            LeaseState::Active => "active",
            LeaseState::WaitExpire => "wait expire",
            LeaseState::WaitCancel => "wait cancel",
            LeaseState::Expired => "expired",
            LeaseState::Deleted => "deleted",
            LeaseState::Error => "error",
        }
    }

    /// Nothing will become of it any more.
    pub fn is_over(self) -> bool {
        matches!(self, LeaseState::Expired | LeaseState::Deleted | LeaseState::Error)
    }

    /// Its time has come and is not over.
    pub fn is_present(self) -> bool {
        matches!(self, LeaseState::WaitFulfill | LeaseState::Active)
    }

    /// Its end has begun.
    pub fn is_ending(self) -> bool {
        matches!(self, LeaseState::WaitExpire | LeaseState::WaitCancel)
    }
}

/// A node is a project's for a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    pub id: LeaseId,
    pub label: Label,
    pub purpose: Option<String>,
    /// The lessee.
    pub project: String,
    /// Who lets him have it: the owner's project, or that of the lessee above.
    pub owner: String,
    pub node: NodeId,
    pub span: Span,
    /// The offer that was claimed.
    pub offer: Option<OfferId>,
    /// The lease that the time is a part of.
    pub parent: Option<LeaseId>,
    /// Those that were reserved together.
    pub group: Option<ReservationId>,
    pub state: LeaseState,
    /// Of a failure, or what is waited for.
    pub reason: Option<String>,
    /// When it comes to nothing if the node is not ready.
    pub ready_by: Option<Timestamp>,
    /// When the node became the lessee's.
    pub fulfilled_at: Option<Timestamp>,
    /// When the node was back.
    pub expired_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
    pub revision: u64,
    /// What the owner wished when he let him have it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wish: Wish,
    #[serde(default, skip_serializing_if = "is_default")]
    pub watch: Watch,
    /// For the account of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub past: Past,
}

impl Lease {
    /// The node stands under it or will, so that nobody else may have that time.
    pub fn takes_time(&self) -> bool {
        !self.state.is_over()
    }

    /// The next thing that its time brings about.
    pub fn edge(&self) -> Option<Timestamp> {
        match self.state {
            LeaseState::Created => Some(self.span.start),
            LeaseState::WaitFulfill => {
                Some(self.ready_by.map_or(self.span.end, |ready_by| ready_by.min(self.span.end)))
            }
            LeaseState::Active => {
                let end =
                    [self.warns_at(), self.returns_at()].into_iter().flatten().fold(self.span.end, Timestamp::min);
                Some(end).filter(|end| *end < Timestamp::MAX)
            }
            _ => None,
        }
    }

    /// When it is told that nobody uses it.
    pub fn warns_at(&self) -> Option<Timestamp> {
        self.watch.warn_hours.filter(|_| !self.watch.warned).and_then(|hours| self.unused_for(hours))
    }

    /// When it is given back because nobody uses it.
    pub fn returns_at(&self) -> Option<Timestamp> {
        self.wish.return_unused_hours.and_then(|hours| self.unused_for(hours))
    }

    /// It is still to be seen whether it is used.
    pub fn is_watched(&self) -> bool {
        !self.watch.used && (self.watch.warn_hours.is_some() || self.wish.return_unused_hours.is_some())
    }

    /// When it will have been unused for so long, if it is active and not used by then.
    fn unused_for(&self, hours: u32) -> Option<Timestamp> {
        let since = self.fulfilled_at.filter(|_| self.state == LeaseState::Active && !self.watch.used)?;
        since.checked_add(jiff::SignedDuration::from_hours(i64::from(hours))).ok()
    }
}

impl Offer {
    pub fn is_open(&self) -> bool {
        self.state == OfferState::Available
    }

    /// When it ends by itself.
    pub fn edge(&self) -> Option<Timestamp> {
        Some(self.span.end).filter(|end| self.is_open() && *end < Timestamp::MAX)
    }
}
