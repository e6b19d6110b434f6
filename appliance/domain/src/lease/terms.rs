//! The terms on which leases are given: how long by default, how long at most, how deep they may be let on.

use super::{Empty, Span};
use crate::refusal::Refusal;
use jiff::{SignedDuration, Timestamp};

/// What the configuration says, for who asks: an administrator is held to no longest time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// A lease whose end nobody names is so long.
    pub usual: SignedDuration,
    /// No lease is longer.
    pub longest: Option<SignedDuration>,
    /// How many leases may stand above one another: 1 is a lease of the owner, 2 one more under it.
    pub depth: u32,
    /// How long a lease whose time has come waits for its node.
    pub patience: SignedDuration,
    /// Offers of one project that may be open at a time.
    pub offers: usize,
}

impl Default for Terms {
    /// As esi-leap has it.
    fn default() -> Terms {
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        Terms { usual: days(7), longest: Some(days(21)), depth: 2, patience: days(1), offers: 10_000 }
    }
}

impl Terms {
    /// No lease that is made now begins in the past: what was asked for so begins now.
    pub(crate) fn start(start: Option<Timestamp>, now: Timestamp) -> Timestamp {
        start.map_or(now, |start| start.max(now))
    }

    /// The span, if it is one and is not too long.
    pub(crate) fn span(&self, start: Timestamp, end: Timestamp) -> Result<Span, Refusal> {
        let span = Span::new(start, end).map_err(|Empty { start, end }| {
            Refusal::Invalid(format!("The end time {end} must be after the start time {start}."))
        })?;
        self.check_length(span)?;
        Ok(span)
    }

    pub(crate) fn check_length(&self, span: Span) -> Result<(), Refusal> {
        match self.longest.filter(|longest| span.length() > *longest) {
            Some(longest) => Err(Refusal::Forbidden(format!(
                "A lease may last {} at most, and this one would last {}: choose an earlier end time.",
                spoken(longest),
                spoken(span.length())
            ))),
            None => Ok(()),
        }
    }

    /// The end of a lease whose end nobody names.
    pub(crate) fn usual_end(&self, start: Timestamp) -> Timestamp {
        start.checked_add(self.usual).unwrap_or(Timestamp::MAX)
    }
}

/// A length of time in days and hours, for messages.
fn spoken(length: SignedDuration) -> String {
    let (hours, seconds) = (length.as_hours(), length.as_secs());
    match (hours / 24, hours % 24) {
        (0, 0) => format!("{seconds} seconds"),
        (0, hours) => format!("{hours} hours"),
        (days, 0) => format!("{days} days"),
        (days, hours) => format!("{days} days and {hours} hours"),
    }
}
