//! When the disk is full or fails: finding out what a commit left, and the way back.

use super::Committer;
use crate::batch::Batch;
use crate::error::{Fault, SubmitError};
use crate::metrics::Tally;
use crate::schema::Counters;
use crate::store::Health;
use std::time::Instant;

impl Committer {
    /// A commit failed. Opens the database anew, finds out whether the commit is on the disk, and when the disk was
    /// full tries once more in the space of the ballast.
    pub(super) fn rescue(&mut self, batch: Batch, fault: Fault) -> Result<(), SubmitError> {
        let mut fault = fault;
        loop {
            tracing::warn!(%fault, "a commit failed");
            let freed = fault == Fault::Full && self.ballast.release();
            let health = bad_health(&fault);
            match self.reopen(&batch.counters) {
                Ok(true) => {
                    self.publish(batch);
                    self.note_after_rescue(health);
                    return Ok(());
                }
                Ok(false) if freed => {}
                Ok(false) => {
                    self.note_after_rescue(health);
                    return Err(told(&fault, false));
                }
                Err(again) => {
                    self.set_health(bad_health(&again));
                    self.unclear = Some(batch);
                    return Err(told(&again, true));
                }
            }
            match self.write(&batch) {
                Ok(()) => {
                    self.publish(batch);
                    self.set_health(health);
                    return Ok(());
                }
                Err(next) => fault = next,
            }
        }
    }

    /// The database is open again: a full disk stays so until there is space, another error may have been the only one.
    fn note_after_rescue(&mut self, health: Health) {
        self.last_try = Instant::now();
        if matches!(health, Health::Full(_)) {
            self.set_health(health);
        }
    }

    /// Opens the database anew. `Ok(true)`: the batch with these counters is on the disk after all.
    fn reopen(&mut self, attempted: &Counters) -> Result<bool, Fault> {
        self.last_try = Instant::now();
        Tally::add(&self.shared.tally.reopened, 1);
        self.shared.base.close();
        self.shared.base.open()?;
        let found = self.shared.base.read(Counters::read).inspect_err(|_| self.shared.base.close())?;
        if found == *attempted {
            return Ok(true);
        }
        if found == self.counters {
            return Ok(false);
        }
        self.shared.base.close();
        Err(Fault::Damaged("the database went back to an older state; stop and restore it".into()))
    }

    /// Refuses changes in time, while there is still space to finish what is under way.
    pub(super) fn watch_space(&mut self) {
        if !self.is_ready() {
            return;
        }
        match self.options.disk.available(&self.dir) {
            Ok(available) if available < self.options.headroom_bytes => {
                self.last_try = Instant::now();
                self.set_health(Health::Full(space_in_words(available)));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "cannot see how much space the disk has"),
        }
    }

    /// Tries to leave a bad state; at the start, to take the ballast.
    pub(super) fn recover(&mut self) {
        self.last_try = Instant::now();
        if !self.shared.base.is_open() {
            let attempted = self.unclear.as_ref().map_or(self.counters, |batch| batch.counters);
            match self.reopen(&attempted) {
                Ok(landed) => match self.unclear.take() {
                    Some(batch) if landed => self.publish(batch),
                    _ => {}
                },
                Err(fault) => {
                    if fault == Fault::Full {
                        self.ballast.release();
                    }
                    self.set_health(bad_health(&fault));
                    return;
                }
            }
        }
        match self.options.disk.available(&self.dir) {
            Ok(available) if available < self.options.headroom_bytes + self.ballast.missing() => {
                self.set_health(Health::Full(space_in_words(available)));
            }
            Ok(_) => match self.ballast.take() {
                Ok(()) => self.set_health(Health::Ready),
                Err(error) => self.set_health(bad_health(&Fault::from_io(&error))),
            },
            Err(error) => self.set_health(bad_health(&Fault::from_io(&error))),
        }
    }
}

fn space_in_words(available: u64) -> String {
    format!("the disk that holds the state folder is full ({} MiB left); free some space on it", available >> 20)
}

pub(super) fn bad_health(fault: &Fault) -> Health {
    match fault {
        Fault::Full => Health::Full("the disk that holds the state folder is full; free some space on it".into()),
        other => Health::Failing(other.to_string()),
    }
}

/// What a caller hears. `unclear`: the database could not be opened to see whether his change is on the disk.
fn told(fault: &Fault, unclear: bool) -> SubmitError {
    let doubt = if unclear { "; whether this change was stored will be seen when the disk works again" } else { "" };
    match fault {
        Fault::Full => {
            let reason = format!("the disk that holds the state folder is full; free some space on it{doubt}");
            SubmitError::DiskFull { reason }
        }
        other => SubmitError::Failed { reason: format!("{other}{doubt}") },
    }
}
