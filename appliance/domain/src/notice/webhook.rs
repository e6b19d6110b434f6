//! A webhook: a URL that gets the events of a project as they happen, in their order.

use crate::id::WebhookId;
use crate::node::Sealed;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Who is told, and of what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Webhook {
    pub id: WebhookId,
    /// Whose events; `None`: everybody's, for administrators of the whole box.
    pub project: Option<String>,
    pub url: String,
    /// Kinds of events, or what stands before their dots; empty: all.
    pub kinds: Vec<String>,
    /// What deliveries are signed with.
    pub secret: Sealed,
    pub created_by: String,
    pub created_at: Timestamp,
}

/// How far a webhook was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    pub webhook: WebhookId,
    /// All events up to this place in the log were delivered, buried, or not meant.
    pub done: u64,
    pub delivered_at: Option<Timestamp>,
    /// The next one cannot be delivered.
    pub failing: Option<Failing>,
    /// When the log had lost events that were still to be delivered.
    #[serde(default)]
    pub missed_at: Option<Timestamp>,
}

/// A delivery that is tried again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failing {
    pub since: Timestamp,
    pub tries: u32,
    /// Of the last one.
    pub why: String,
}

/// An event that was given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub webhook: WebhookId,
    /// Its place in the log.
    pub event: u64,
    pub kind: String,
    /// When it happened.
    pub at: Timestamp,
    pub tries: u32,
    pub died_at: Timestamp,
    pub why: String,
    /// Somebody has asked for one more try.
    pub again: bool,
}
