//! Counts of what the committer does, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counts since the program started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Commits to the disk.
    pub commits: u64,
    /// Commands that were carried out.
    pub commands: u64,
    /// Commands that a rule refused.
    pub refused: u64,
    /// Commands that failed on the disk or in the program.
    pub failed: u64,
    /// Time spent in commits.
    pub commit_time: Duration,
    /// Times the database had to be opened again after an error.
    pub reopened: u64,
    /// Commands waiting to be decided, now.
    pub queued: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) commits: AtomicU64,
    pub(crate) commands: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) commit_micros: AtomicU64,
    pub(crate) reopened: AtomicU64,
}

impl Tally {
    pub(crate) fn add(counter: &AtomicU64, number: usize) {
        counter.fetch_add(number as u64, Relaxed);
    }

    pub(crate) fn read(&self, queued: usize) -> Metrics {
        Metrics {
            commits: self.commits.load(Relaxed),
            commands: self.commands.load(Relaxed),
            refused: self.refused.load(Relaxed),
            failed: self.failed.load(Relaxed),
            commit_time: Duration::from_micros(self.commit_micros.load(Relaxed)),
            reopened: self.reopened.load(Relaxed),
            queued: queued as u64,
        }
    }
}
