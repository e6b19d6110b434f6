//! Who waits for a node that is not to be had now: first come, first served.

use super::search::Need;
use crate::id::{NodeId, OfferId, UserId, WaitingId};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// What becomes of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitingState {
    Waits,
    /// A node is there, and nobody else may claim it for a while.
    Offered,
    /// A node was claimed for him.
    Leased,
    /// It came to nothing.
    Ended,
}

/// An offer that is kept for one who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub offer: OfferId,
    pub node: NodeId,
    pub until: Timestamp,
}

/// Somebody's place in the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    pub id: WaitingId,
    /// Rises with every new one: who has a lower one comes first.
    pub number: u64,
    pub project: String,
    /// Who asked for it; `None`: whoever administers this box. It is for him that a node is claimed.
    pub user: Option<UserId>,
    /// The roles on which he might claim when he asked.
    pub roles: BTreeSet<String>,
    pub name: Option<String>,
    pub resource_class: Option<String>,
    pub traits: BTreeSet<String>,
    pub properties: Map<String, Value>,
    /// How long the node is wanted, from when it is there.
    pub hours: u32,
    /// A node is claimed for him as soon as one is there; else he is told.
    pub claims: bool,
    /// Then he waits no longer.
    pub expires_at: Timestamp,
    pub kept: Option<Kept>,
    pub created_at: Timestamp,
}

impl Waiting {
    /// What he waits for.
    pub fn need(&self) -> Need {
        Need {
            count: 1,
            resource_class: self.resource_class.clone(),
            traits: self.traits.clone(),
            properties: self.properties.clone(),
        }
    }

    pub fn length(&self) -> SignedDuration {
        SignedDuration::from_hours(i64::from(self.hours))
    }

    /// When time brings something about: he waits no longer, or has not claimed what was kept for him.
    pub fn edge(&self) -> Timestamp {
        self.kept.map_or(self.expires_at, |kept| kept.until)
    }
}
