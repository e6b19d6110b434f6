//! The feed of what changed. Level, not edge: it wakes a reader, who then looks at the view.
//!
//! Every snapshot is published before it is told of, so that a reader who was woken by an update finds it in
//! [`Store::view`](crate::Store::view). A reader who is too slow is told so, and reads the view afresh.

use crate::event_log::Recorded;
use leasehold_domain::view::Change;
use std::sync::Arc;
use tokio::sync::broadcast;

/// What one commit changed.
#[derive(Clone, Debug)]
pub struct Update {
    /// Counts the snapshots of this run of the program.
    pub snapshot: u64,
    pub changes: Vec<Change>,
    pub events: Vec<Recorded>,
}

/// What a reader of the feed gets.
#[derive(Clone, Debug)]
pub enum News {
    Update(Arc<Update>),
    /// Updates were missed: read the view as if for the first time.
    Missed,
}

/// A subscription. Subscribe first, then read the view: nothing falls in between.
#[derive(Debug)]
pub struct Feed {
    pub(crate) receiver: broadcast::Receiver<Arc<Update>>,
}

impl Feed {
    /// Waits for the next update; `None` when the store is closed.
    pub async fn next(&mut self) -> Option<News> {
        match self.receiver.recv().await {
            Ok(update) => Some(News::Update(update)),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(News::Missed),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
