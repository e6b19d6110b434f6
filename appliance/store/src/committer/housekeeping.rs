//! What is done from time to time: trying to leave a bad state, writing refusals, trimming history, compaction.

use super::Committer;
use super::recovery::bad_health;
use crate::audit;
use crate::ended_trim;
use crate::error::Fault;
use crate::event_log;
use crate::store::Retention;
use jiff::{SignedDuration, Timestamp};
use std::sync::PoisonError;
use std::time::Instant;

/// Records that one trimming removes.
const TRIM_AT_ONCE: usize = 2000;
/// Bindings that one fold moves while there is other work: some milliseconds.
const FOLD_AT_ONCE: usize = 1024;
/// A database file below this size is not compacted.
const WORTH_COMPACTING: u64 = 16 << 20;
/// Commits after which compaction may be worth a look.
const COMMITS_TO_COMPACT: u64 = 1000;

impl Committer {
    /// What is to be done from time to time.
    pub(super) fn tend(&mut self) {
        self.watch_space();
        if !self.is_ready() {
            if self.last_try.elapsed() >= self.options.retry {
                self.recover();
            }
            return;
        }
        // Slices while there is work, so that nobody waits long; all of it when there is none.
        if self.last_commit.elapsed() >= self.options.fold_after {
            self.fold_all();
        } else {
            self.fold(false);
        }
        let refused = !self.shared.refusals.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if refused && self.last_flush.elapsed() >= self.options.gather_refusals {
            self.flush_refusals(false);
        }
        if self.last_trim.elapsed() >= self.options.trim_every {
            self.last_trim = Instant::now();
            self.trim_by_age();
            self.trim_leases();
        }
        let commits = self.counters.batch.saturating_sub(self.compacted_at);
        if self.last_commit.elapsed() >= self.options.idle && commits >= COMMITS_TO_COMPACT {
            self.compacted_at = self.counters.batch;
            match self.shared.base.compact_if_worthwhile(WORTH_COMPACTING) {
                Ok(true) => tracing::info!("gave unused space of the database back to the disk"),
                Ok(false) => {}
                Err(fault) => self.mishap(fault, "compact the database"),
            }
        }
    }

    /// Moves bindings from the journal to the database: some of them, or all.
    fn fold(&mut self, all: bool) {
        let most = if all { usize::MAX } else { FOLD_AT_ONCE };
        let Some(fold) = self.journal.next_fold(most, all) else { return };
        let mut batch = self.new_batch();
        let folded = match batch.fold(fold) {
            Ok(()) => self.commit(batch).map_err(|error| error.to_string()),
            Err(fault) => Err(fault.to_string()),
        };
        if let Err(error) = folded {
            tracing::warn!(%error, "bindings stay in the journal for now");
        }
    }

    /// Leaves nothing to the journal, if the disk lets it.
    pub(super) fn fold_all(&mut self) {
        for _file in 0..2 {
            if self.is_ready() {
                self.fold(true);
            }
        }
    }

    fn trim_by_age(&mut self) {
        let now = (self.options.clock)();
        let counters = self.counters;
        let (events, audit) = (self.options.events, self.options.audit);
        let events = event_log::Limit {
            at_most: events.at_most,
            bytes: self.options.events_bytes,
            at_least: events.at_least,
            since: since(events, now),
        };
        let audit = audit::Limit {
            at_most: audit.at_most,
            bytes: self.options.audit_bytes,
            at_least: audit.at_least,
            since: since(audit, now),
        };
        let due = self.shared.base.read(|read| {
            let is_due = |(at_least, since): (u64, Timestamp), next: u64, first: u64, at: Option<Timestamp>| {
                next.saturating_sub(first) > at_least && at.is_none_or(|at| at < since)
            };
            let (oldest, bytes) = event_log::oldest(read)?;
            let of_events = bytes > events.bytes
                || oldest.is_some_and(|(number, at)| {
                    let too_many = counters.next_event.saturating_sub(number) > events.at_most;
                    too_many || is_due((events.at_least, events.since), counters.next_event, number, at)
                });
            let oldest = audit::first_time(read)?;
            let bounds = (audit.at_least, audit.since);
            Ok(of_events || oldest.is_some_and(|(number, at)| is_due(bounds, counters.next_audit, number, at)))
        });
        let trimmed = match due {
            Ok(false) => return,
            Ok(true) => self.shared.base.write(|transaction| {
                event_log::trim(transaction, counters.next_event, events, TRIM_AT_ONCE)?;
                audit::trim(transaction, audit, TRIM_AT_ONCE)
            }),
            Err(fault) => Err(fault),
        };
        if let Err(fault) = trimmed {
            self.mishap(fault, "trim the history");
        }
    }

    /// Offers and leases that have been over for too long.
    fn trim_leases(&mut self) {
        let keep = self.options.leases;
        let since = since(keep, (self.options.clock)());
        let trimmed = match self.shared.base.read(|read| ended_trim::is_due(read, keep, since)) {
            Ok(false) => return,
            Ok(true) => self.shared.base.write(|write| ended_trim::trim(write, keep, since, TRIM_AT_ONCE).map(drop)),
            Err(fault) => Err(fault),
        };
        if let Err(fault) = trimmed {
            self.mishap(fault, "remove what was over long ago");
        }
    }

    /// Housekeeping failed: nothing is lost by it, but redb wants to be opened anew.
    fn mishap(&mut self, fault: Fault, what: &str) {
        tracing::warn!(%fault, "cannot {what}");
        self.shared.base.close();
        self.set_health(bad_health(&fault));
        self.recover();
    }
}

/// What is older than this goes.
fn since(retention: Retention, now: Timestamp) -> Timestamp {
    let age = SignedDuration::from_hours(24 * i64::from(retention.days));
    now.checked_sub(age).unwrap_or(Timestamp::MIN)
}
