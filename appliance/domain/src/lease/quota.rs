//! What a project, and all below it together, may have of leases at a time.

use super::Span;
use crate::id::QuotaId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The bounds; `None`: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Nodes that are leased at the same time, now or later.
    pub nodes: Option<u64>,
    /// Leases that are not over.
    pub leases: Option<u64>,
    /// Hours from now on, summed over nodes.
    pub node_hours: Option<u64>,
    /// Hours of one lease, with those of the same project on the same node that it follows without a pause.
    pub longest_hours: Option<u64>,
}

/// The bounds of one project, for nodes of one resource class or for all together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quota {
    pub id: QuotaId,
    pub project: String,
    pub class: Option<String>,
    pub limits: Limits,
    pub updated_at: Timestamp,
}

/// What somebody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub nodes: u64,
    pub leases: u64,
    /// Whole hours, begun ones counted.
    pub node_hours: u64,
}

impl Usage {
    /// Of leases with these times, from `now` on. A lease without an end has all the hours that there are.
    pub fn of(spans: &[Span], now: Timestamp) -> Usage {
        let ahead = spans.iter().filter(|span| span.end > now).map(|span| (span.start.max(now), span.end));
        let mut edges: Vec<(Timestamp, bool)> = Vec::new();
        let mut seconds = 0_u64;
        for (start, end) in ahead {
            // What ends makes room before something begins at the same moment: false sorts first.
            edges.extend([(start, true), (end, false)]);
            seconds = seconds.saturating_add(start.duration_until(end).as_secs().unsigned_abs());
        }
        edges.sort_unstable();
        let (mut present, mut most) = (0_u64, 0_u64);
        for (_, begins) in edges {
            present = if begins { present + 1 } else { present.saturating_sub(1) };
            most = most.max(present);
        }
        Usage { nodes: most, leases: spans.len() as u64, node_hours: seconds.div_ceil(3600) }
    }
}

impl Limits {
    /// Which bound this is beyond: its name, what it is, and what there would be.
    pub fn exceeded(&self, usage: &Usage) -> Option<(&'static str, u64, u64)> {
        let bounds = [
            ("nodes at a time", self.nodes, usage.nodes),
            ("leases", self.leases, usage.leases),
            ("node-hours ahead", self.node_hours, usage.node_hours),
        ];
        bounds.into_iter().find_map(|(what, most, has)| most.filter(|most| has > *most).map(|most| (what, most, has)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_900_000_000 + 3600 * hour).expect("a time")
    }

    fn any_span() -> impl Strategy<Value = Span> {
        (0..30_i64, 1..10_i64).prop_map(|(start, length)| Span { start: at(start), end: at(start + length) })
    }

    proptest! {
        #[test]
        fn usage_is_what_each_hour_has(spans in prop::collection::vec(any_span(), 0..8), now in 0..30_i64) {
            let hours: Vec<u64> = (now..60)
                .map(|hour| spans.iter().filter(|span| span.has(at(hour))).count() as u64)
                .collect();
            let usage = Usage::of(&spans, at(now));
            prop_assert_eq!(usage.nodes, hours.iter().copied().max().unwrap_or(0));
            prop_assert_eq!(usage.node_hours, hours.iter().sum::<u64>());
            prop_assert_eq!(usage.leases, spans.len() as u64);
        }
    }

    #[test]
    fn the_first_bound_that_is_passed_is_named() {
        let usage = Usage { nodes: 3, leases: 5, node_hours: 100 };
        let limits = Limits { nodes: Some(3), leases: Some(4), ..Limits::default() };
        assert_eq!(limits.exceeded(&usage), Some(("leases", 4, 5)));
        assert_eq!(Limits::default().exceeded(&usage), None);
    }

    #[test]
    fn a_lease_without_an_end_overflows_nothing() {
        let spans = [Span { start: at(0), end: Timestamp::MAX }; 3];
        assert_eq!(Usage::of(&spans, Timestamp::MIN).nodes, 3);
    }
}
