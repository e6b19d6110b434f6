//! The terms on which leases are given: how long by default, how long at most, how deep they may be let on.

use super::{Book, Empty, Lease, Span, back_to_back, to_the_microsecond};
use crate::refusal::Refusal;
use jiff::{SignedDuration, Timestamp};

/// What the configuration says, for who asks: an administrator is held to no length and no horizon. How many there may be
/// holds for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// A lease whose end nobody names is so long.
    pub usual: SignedDuration,
    /// No lease is longer.
    pub longest: Option<SignedDuration>,
    /// No lease is shorter.
    pub shortest: SignedDuration,
    /// No lease begins later than so long from now; `None`: whenever.
    pub horizon: Option<SignedDuration>,
    /// How many leases may stand above one another: 1 is a lease of the owner, 2 one more under it.
    pub depth: u32,
    /// How long a lease whose time has come waits for its node.
    pub patience: SignedDuration,
    /// Offers of one project that may be open at a time.
    pub offers: usize,
    /// Leases of one project that may be ahead or go on at a time.
    pub leases: usize,
    /// Leases and offers that may stand under one lease at a time, of each kind.
    pub parts: usize,
    /// After so many hours owner and lessee are told that a lease is not used; `None`: never.
    pub unused_warn_hours: Option<u32>,
}

impl Default for Terms {
    /// As esi-leap has it, and bounds that it has not.
    fn default() -> Terms {
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        Terms {
            usual: days(7),
            longest: Some(days(21)),
            shortest: SignedDuration::ZERO,
            horizon: None,
            depth: 2,
            patience: days(1),
            offers: 10_000,
            leases: 100_000,
            parts: 1000,
            unused_warn_hours: Some(24),
        }
    }
}

impl Terms {
    /// No lease that is made now begins in the past: what was asked for so begins now.
    pub(crate) fn start(start: Option<Timestamp>, now: Timestamp) -> Timestamp {
        let now = to_the_microsecond(now);
        start.map_or(now, |start| start.max(now))
    }

    /// The span, if it is one.
    pub(crate) fn span(start: Timestamp, end: Timestamp) -> Result<Span, Refusal> {
        Span::new(start, end).map_err(|Empty { start, end }| {
            Refusal::Invalid(format!("The end time {end} must be after the start time {start}."))
        })
    }

    /// The lease is not too long. Leases of one project on one node that touch count as one: who takes one after the other
    /// has the node as long as who takes one long lease.
    pub(crate) fn check_length(&self, lease: &Lease, book: &Book) -> Result<(), Refusal> {
        let Some(longest) = self.longest else { return Ok(()) };
        let row = back_to_back(book, lease, |other| other == lease.project);
        if row.length() <= longest {
            return Ok(());
        }
        let others = match row == lease.span {
            true => "",
            false => ", with those of the same project before and after it on this node",
        };
        Err(Refusal::Forbidden(format!(
            "A lease may last {} at most, and this one would last {}{others}: choose an earlier end time.",
            spoken(longest),
            spoken(row.length())
        )))
    }

    /// These terms for an administrator: he is held to no length and no horizon.
    pub fn of_administrators(self) -> Terms {
        Terms { longest: None, shortest: SignedDuration::ZERO, horizon: None, ..self }
    }

    /// A lease is not too short, and does not begin too far ahead: else somebody could keep others from a node for years by
    /// little.
    pub(crate) fn check_place(&self, span: Span, now: Timestamp) -> Result<(), Refusal> {
        if span.length() < self.shortest {
            return Err(Refusal::Forbidden(format!(
                "A lease must last {} at least, and this one would last {}: choose a later end time.",
                spoken(self.shortest),
                spoken(span.length())
            )));
        }
        match self.horizon.filter(|horizon| now.duration_until(span.start) > *horizon) {
            Some(horizon) => Err(Refusal::Forbidden(format!(
                "A lease may begin {} from now at the latest, and this one would begin {}.",
                spoken(horizon),
                span.start
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
        (0, 0) if seconds >= 60 && seconds % 60 == 0 => format!("{} minutes", seconds / 60),
        (0, 0) => format!("{seconds} seconds"),
        (0, hours) => format!("{hours} hours"),
        (days, 0) => format!("{days} days"),
        (days, hours) => format!("{days} days and {hours} hours"),
    }
}
