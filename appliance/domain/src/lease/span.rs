//! A stretch of time: half-open, UTC. What ends at noon and what begins at noon do not meet.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// From `start` on, until just before `end`. `end` at the end of time means: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// It would end before it begins, or as it begins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The end time {end} must be after the start time {start}.")]
pub struct Empty {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// What of a moment is shown and can be said: leases begin and end there, so that one can be asked for from when another
/// was shown to end.
pub fn to_the_microsecond(at: Timestamp) -> Timestamp {
    let beyond = at.as_nanosecond().rem_euclid(1000);
    Timestamp::from_nanosecond(at.as_nanosecond() - beyond).unwrap_or(at)
}

impl Span {
    pub const ALL: Span = Span { start: Timestamp::MIN, end: Timestamp::MAX };

    pub fn new(start: Timestamp, end: Timestamp) -> Result<Span, Empty> {
        if start < end { Ok(Span { start, end }) } else { Err(Empty { start, end }) }
    }

    /// There is a moment that is in both.
    pub fn meets(&self, other: &Span) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Every moment of the other is in this one.
    pub fn holds(&self, other: &Span) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    pub fn has(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// Whole seconds and what is left of one.
    pub fn length(&self) -> jiff::SignedDuration {
        self.start.duration_until(self.end)
    }

    /// What is left of this one when those are taken, which come in the order of their starts and may meet one another.
    pub fn without<'a>(&self, taken: impl IntoIterator<Item = &'a Span>) -> Vec<Span> {
        let (mut free, mut from) = (Vec::new(), self.start);
        for other in taken.into_iter().filter(|other| self.meets(other)) {
            if from < other.start {
                free.push(Span { start: from, end: other.start });
            }
            from = from.max(other.end);
        }
        if from < self.end {
            free.push(Span { start: from, end: self.end });
        }
        free
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end == Timestamp::MAX {
            true => write!(f, "from {} on", self.start),
            false => write!(f, "from {} until {}", self.start, self.end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(start: i64, length: i64) -> Span {
        let at = |second| Timestamp::from_second(second).expect("a time");
        Span::new(at(start), at(start + length)).expect("not empty")
    }

    fn any_span() -> impl Strategy<Value = Span> {
        (0..60_i64, 1..20_i64).prop_map(|(start, length)| span(start, length))
    }

    #[test]
    fn neighbours_do_not_meet_and_nothing_is_no_span() {
        assert!(!span(0, 10).meets(&span(10, 5)) && !span(10, 5).meets(&span(0, 10)));
        assert!(span(0, 11).meets(&span(10, 5)));
        let now = Timestamp::UNIX_EPOCH;
        assert!(Span::new(now, now).is_err() && Span::new(Timestamp::MAX, now).is_err());
    }

    proptest! {
        #[test]
        fn spans_meet_where_a_second_is_in_both(one in any_span(), other in any_span()) {
            let both = (0..100).map(|second| Timestamp::from_second(second).expect("a time"))
                .any(|at| one.has(at) && other.has(at));
            prop_assert_eq!(one.meets(&other), both);
            prop_assert_eq!(other.meets(&one), both);
        }

        #[test]
        fn what_is_left_is_what_nobody_has_taken(whole in any_span(), mut taken in prop::collection::vec(any_span(), 0..8)) {
            taken.sort();
            let free = whole.without(&taken);
            for second in 0..100 {
                let at = Timestamp::from_second(second).expect("a time");
                let left = whole.has(at) && !taken.iter().any(|span| span.has(at));
                prop_assert_eq!(free.iter().filter(|span| span.has(at)).count(), usize::from(left), "{}", second);
            }
            prop_assert!(free.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
