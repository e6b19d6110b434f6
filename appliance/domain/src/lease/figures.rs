//! How much of a node's time was offered, leased and used: node-seconds, out of offers and leases as they were.
//!
//! In: offers and leases, each once, in any order. Out: sums by day, lessee, owner, class and node ([`Tally`]), which add
//! up to the times of those rows exactly. Times count in whole seconds, each begin and end rounded down to its second:
//! what is next to each other stays so, and no second is lost or counted twice. Days are those of UTC.
//!
//! *Leased* is the time from a lease's begin to its end, as the calendar has it, whether or not its node was ready; *used*
//! that part of it in which a system was deployed ([`super::Used`]); *offered* is what an offer stood for or a lease took,
//! so that a lease without an offer was offered to one; *idle* was offered and not leased.

use super::{Lease, Offer, OfferState, Span};
use crate::id::NodeId;
use jiff::Timestamp;
use std::collections::HashMap;

/// Days since 1970-01-01.
pub type Day = i32;

const DAY: i64 = 86_400;

/// The second in which a moment is.
pub(crate) fn second(at: Timestamp) -> i64 {
    at.as_second()
}

/// The day in which a moment is.
pub fn day_of(at: Timestamp) -> Day {
    day_of_second(second(at))
}

fn day_of_second(second: i64) -> Day {
    Day::try_from(second.div_euclid(DAY)).unwrap_or(Day::MAX)
}

/// The seconds from `start` to `end`, by day.
pub(crate) fn by_day(start: i64, end: i64) -> impl Iterator<Item = (Day, i64)> {
    let mut from = start;
    std::iter::from_fn(move || {
        if from >= end {
            return None;
        }
        let (begin, next) = (from, (from.div_euclid(DAY) + 1) * DAY);
        from = next.min(end);
        Some((day_of_second(begin), from - begin))
    })
}

/// Node-seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub leased: i64,
    pub used: i64,
    pub idle: i64,
}

impl Figures {
    pub fn offered(&self) -> i64 {
        self.leased + self.idle
    }

    fn add(&mut self, other: Figures) {
        self.leased += other.leased;
        self.used += other.used;
        self.idle += other.idle;
    }
}

/// Whose figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// Everybody's. Each node counts once: what is let on under a lease is that lease's. Only where it is counted by
    /// lessee has everybody what he had.
    All,
    /// What this project let others have.
    Owner(String),
    /// What this project had of others.
    Lessee(String),
}

/// What sums are kept apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct By {
    pub day: bool,
    /// The lessee. What was idle nobody had.
    pub project: bool,
    pub owner: bool,
    pub class: bool,
    pub node: bool,
}

/// Which days, and until when: what has not come is no figure yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub first: Day,
    /// The day after the last one.
    pub end: Day,
    pub now: Timestamp,
}

impl Window {
    /// The seconds of a span that are counted, by day.
    fn of(self, span: Span) -> impl Iterator<Item = (Day, i64)> {
        let until = (i64::from(self.end) * DAY).min(second(self.now));
        by_day(second(span.start).max(i64::from(self.first) * DAY), second(span.end).min(until))
    }
}

/// What a sum is of; what it is not kept apart by is `None`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    pub day: Option<Day>,
    pub project: Option<String>,
    pub owner: Option<String>,
    pub class: Option<String>,
    pub node: Option<NodeId>,
}

/// Names as numbers: a million leases are of few projects.
#[derive(Clone, Debug, Default)]
struct Names {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

impl Names {
    fn number(&mut self, name: Option<&str>) -> Option<u32> {
        let name = name?;
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        Some(number)
    }

    fn name(&self, number: Option<u32>) -> Option<String> {
        number.and_then(|number| self.names.get(usize::try_from(number).ok()?)).cloned()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    day: Option<Day>,
    project: Option<u32>,
    owner: Option<u32>,
    class: Option<u32>,
    node: Option<NodeId>,
}

/// Sums in the making.
#[derive(Clone, Debug)]
pub struct Tally {
    side: Side,
    by: By,
    window: Window,
    most: usize,
    names: Names,
    sums: HashMap<Key, Figures>,
    total: Figures,
    is_full: bool,
}

/// Who and what a row is of.
struct Of<'a> {
    project: Option<&'a str>,
    owner: &'a str,
    class: Option<&'a str>,
    node: NodeId,
    /// It is a part of what somebody leases.
    is_part: bool,
}

impl Tally {
    /// `most`: so many sums at most.
    pub fn new(side: Side, by: By, window: Window, most: usize) -> Tally {
        let (names, sums, total) = (Names::default(), HashMap::new(), Figures::default());
        Tally { side, by, window, most, names, sums, total, is_full: false }
    }

    /// There would be more sums than there may be.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// `offer`: the one that it was claimed of. `class`: of the node today, where nothing else is known.
    pub fn lease(&mut self, lease: &Lease, offer: Option<&Offer>, class: Option<&str>) {
        let Some(taken) = lease.taken() else { return };
        let counts = match &self.side {
            Side::All => self.by.project || lease.parent.is_none(),
            Side::Owner(project) => lease.owner == *project,
            Side::Lessee(project) => lease.project == *project,
        };
        if counts {
            let of = Of {
                project: Some(&lease.project),
                owner: &lease.owner,
                class: lease.past.class.as_deref().or(class),
                node: lease.node,
                is_part: lease.parent.is_some(),
            };
            for (day, leased) in self.window.of(taken) {
                self.add(&of, day, Figures { leased, ..Figures::default() });
            }
            let days = self.window.first..self.window.end;
            for (day, used) in
                lease.past.used.days(self.window.now.min(taken.end)).filter(|(day, _)| days.contains(day))
            {
                self.add(&of, day, Figures { used, ..Figures::default() });
            }
        }
        // What was claimed of an offer was not idle.
        let Some(offer) = offer.filter(|offer| self.offers_count(offer)) else { return };
        if let Some(stood) = offer.stood()
            && let Ok(both) = Span::new(taken.start.max(stood.start), taken.end.min(stood.end))
        {
            self.idle(offer, class, both, -1);
        }
    }

    pub fn offer(&mut self, offer: &Offer, class: Option<&str>) {
        if let Some(stood) = offer.stood().filter(|_| self.offers_count(offer)) {
            self.idle(offer, class, stood, 1);
        }
    }

    fn offers_count(&self, offer: &Offer) -> bool {
        match &self.side {
            Side::All => offer.parent.is_none(),
            Side::Owner(project) => offer.project == *project,
            Side::Lessee(_) => false,
        }
    }

    fn idle(&mut self, offer: &Offer, class: Option<&str>, span: Span, sign: i64) {
        let of = Of {
            project: None,
            owner: &offer.project,
            class: offer.class.as_deref().or(class),
            node: offer.node,
            is_part: offer.parent.is_some(),
        };
        for (day, seconds) in self.window.of(span) {
            self.add(&of, day, Figures { idle: sign * seconds, ..Figures::default() });
        }
    }

    fn add(&mut self, of: &Of<'_>, day: Day, figures: Figures) {
        let by = self.by;
        let key = Key {
            day: by.day.then_some(day),
            project: self.names.number(of.project.filter(|_| by.project)),
            owner: self.names.number(Some(of.owner).filter(|_| by.owner)),
            class: self.names.number(of.class.filter(|_| by.class)),
            node: by.node.then_some(of.node),
        };
        // Sums by lessee have what is let on twice, as two had it; the whole has each node once.
        if self.side != Side::All || !of.is_part {
            self.total.add(figures);
        }
        if self.sums.len() >= self.most && !self.sums.contains_key(&key) {
            self.is_full = true;
            return;
        }
        self.sums.entry(key).or_default().add(figures);
    }

    /// All sums that are not nothing, in order.
    pub fn sums(&self) -> Vec<(Share, Figures)> {
        let is_something = |figures: &&Figures| **figures != Figures::default();
        let sums = self.sums.iter().filter(|(_, figures)| is_something(figures));
        let mut sums: Vec<_> = sums.map(|(key, figures)| (self.share(*key), *figures)).collect();
        sums.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        sums
    }

    /// Of everything that was counted.
    pub fn total(&self) -> Figures {
        self.total
    }

    fn share(&self, key: Key) -> Share {
        Share {
            day: key.day,
            project: self.names.name(key.project),
            owner: self.names.name(key.owner),
            class: self.names.name(key.class),
            node: key.node,
        }
    }
}

impl Lease {
    /// The time that it takes of its node, or has taken: its own until its end began. `None`: none, as it was called off
    /// before.
    pub fn taken(&self) -> Option<Span> {
        let is_past = self.state.is_over() || self.state.is_ending();
        let ended = self.past.ended_at.or_else(|| self.expired_at.or(self.updated_at).filter(|_| is_past));
        Span::new(self.span.start, ended.map_or(self.span.end, |ended| ended.min(self.span.end))).ok()
    }
}

impl Offer {
    /// The time for which it stands, or has stood: its own until it was withdrawn.
    pub fn stood(&self) -> Option<Span> {
        let withdrawn = self.updated_at.filter(|_| self.state == OfferState::Deleted);
        Span::new(self.span.start, withdrawn.map_or(self.span.end, |at| at.min(self.span.end))).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_span_is_cut_at_midnight() {
        assert_eq!(by_day(86_390, 172_805).collect::<Vec<_>>(), [(0, 10), (1, 86_400), (2, 5)]);
        assert_eq!(by_day(-5, 5).collect::<Vec<_>>(), [(-1, 5), (0, 5)]);
        assert_eq!(by_day(7, 7).count() + by_day(8, 7).count(), 0);
    }

    #[test]
    fn what_has_not_come_and_what_is_beyond_the_window_is_no_figure() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let window = Window { first: 1, end: 3, now: at(200_000) };
        let all = Span { start: at(0), end: Timestamp::MAX };
        assert_eq!(window.of(all).collect::<Vec<_>>(), [(1, 86_400), (2, 200_000 - 172_800)]);
        let later = Window { now: at(10_000_000), ..window };
        assert_eq!(later.of(all).map(|(_, seconds)| seconds).sum::<i64>(), 2 * DAY);
    }

    proptest! {
        #[test]
        fn neighbours_lose_no_second_between_them(edges in prop::collection::vec(0..400_000_000_000_000_i64, 2..8)) {
            let mut edges: Vec<Timestamp> =
                edges.into_iter().map(|at| Timestamp::from_nanosecond(at.into()).expect("a time")).collect();
            edges.sort();
            let length = |start: Timestamp, end: Timestamp| -> i64 {
                by_day(second(start), second(end)).map(|(_, seconds)| seconds).sum()
            };
            let parts: i64 = edges.windows(2).map(|pair| length(pair[0], pair[1])).sum();
            prop_assert_eq!(parts, length(edges[0], edges[edges.len() - 1]));
        }
    }
}
