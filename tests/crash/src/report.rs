//! What is said while the scenarios run, and the count at the end.

use anyhow::{Error, Result};
use std::io::Write;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

/// Counts and speaks; shared by all lanes.
pub(crate) struct Report {
    begin: Instant,
    verbose: bool,
    counts: Mutex<Counts>,
}

/// Passed and failed points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl Report {
    pub(crate) fn new(verbose: bool) -> Report {
        Report { begin: Instant::now(), verbose, counts: Mutex::default() }
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line with the seconds since the start.
    pub(crate) fn say(&self, text: &str) {
        // Nobody listens any more: then there is nobody to tell that.
        let _ = writeln!(std::io::stdout(), "{:>6.1} s  {text}", self.begin.elapsed().as_secs_f64());
    }

    /// One point of a scenario. What failed is told at once, what passed only when all is to be told.
    pub(crate) fn point(&self, name: &str, outcome: Result<()>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => counts.passed += 1,
            Err(_) => counts.failed += 1,
        }
        drop(counts);
        match outcome {
            Ok(()) if self.verbose => self.say(&format!("  passed: {name}")),
            Ok(()) => {}
            Err(error) => self.say(&format!("  FAILED: {name}: {error:#}")),
        }
    }

    /// Runs a scenario: its line says how many points passed. An error ends it and counts as a failure.
    pub(crate) fn scenario(&self, name: &str, work: impl FnOnce() -> Result<String, Error>) {
        let (before, begin) = (self.counts(), Instant::now());
        match work() {
            Ok(detail) => {
                let counts = self.counts();
                let (passed, failed) = (counts.passed - before.passed, counts.failed - before.failed);
                let detail = if detail.is_empty() { detail } else { format!("; {detail}") };
                let seconds = begin.elapsed().as_secs_f64();
                self.say(&format!("{name}: {passed} passed, {failed} failed in {seconds:.1} s{detail}"));
            }
            Err(error) => self.point(name, Err(error)),
        }
    }
}
