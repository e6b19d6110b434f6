//! What a project, and all below it together, may have of leases at a time.

use super::{Book, Lease, LeaseState, Span};
use crate::id::{ProjectId, QuotaId};
use crate::identity::{id_text, parse_id};
use crate::refusal::Refusal;
use crate::view::View;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

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
    /// Hours of one lease, with those of the project and all below it on the same node that it touches.
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

/// What a project and all below it have of leases, of nodes of this class; from `now` on. A lease whose end has begun is
/// nobody's any more. One under another of theirs is one more lease, and takes no node that they had not.
pub fn usage_of(view: &View, project: &str, class: Option<&str>, now: Timestamp) -> Usage {
    let below = parse_id(project).map(|id| view.identity.below(ProjectId(id))).unwrap_or_default();
    let mut tree: BTreeSet<String> = below.into_iter().map(|below| id_text(below.id.0)).collect();
    tree.insert(project.to_owned());
    let is_of_class = |lease: &Arc<Lease>| {
        let node = view.node(lease.node);
        class.is_none_or(|class| node.is_some_and(|node| node.settings.resource_class.as_deref() == Some(class)))
    };
    let (mut spans, mut leases) = (Vec::new(), 0);
    for lease in tree.iter().flat_map(|project| view.lease.leases_of(project)) {
        if lease.state.is_ending() || !is_of_class(lease) {
            continue;
        }
        leases += 1;
        let above = |lease: &Lease| lease.parent.and_then(|id| view.lease.lease(id)).cloned();
        let mut line = std::iter::successors(above(lease), |lease| above(lease));
        if !line.any(|above| tree.contains(&above.project)) {
            spans.push(lease.span);
        }
    }
    Usage { leases, ..Usage::of(&spans, now) }
}

/// The project and those above it, the nearest first.
fn with_those_above(view: &View, project: &str) -> Vec<String> {
    let id = parse_id(project).map(ProjectId);
    let above = id.into_iter().flat_map(|id| view.identity.ancestors(id)).map(|above| id_text(above.id.0));
    std::iter::once(project.to_owned()).chain(above).collect()
}

/// The time for which those who are one have the node without a pause, with this lease: leases of its level that touch.
/// One that was given back before its time touches nothing.
pub(crate) fn back_to_back(book: &Book, lease: &Lease, is_one: impl Fn(&str) -> bool) -> Span {
    let level = (lease.node, lease.parent);
    let counts = |other: &&Arc<Lease>| other.state != LeaseState::WaitCancel && is_one(&other.project);
    let Span { mut start, mut end } = lease.span;
    while let Some(before) = book.lease_before(level, start).filter(counts).filter(|one| one.span.end == start) {
        start = before.span.start;
    }
    while let Some(next) = book.lease_from(level, end).filter(counts).filter(|one| one.span.start == end) {
        end = next.span.end;
    }
    Span { start, end }
}

/// The project's own quotas and those of each project above it.
pub(crate) fn check_tree(view: &View, project: &str, class: Option<&str>, now: Timestamp) -> Result<(), Refusal> {
    for quota in quotas_on(view, project, class) {
        let usage = usage_of(view, &quota.project, quota.class.as_deref(), now);
        if let Some((what, most, has)) = quota.limits.exceeded(&usage) {
            return Err(Refusal::OverQuota(format!(
                "Project {}{} may have {most} {what}, and would have {has}: give some back, or ask for less.",
                quota.project,
                of_class(quota.class.as_deref())
            )));
        }
    }
    Ok(())
}

/// How long one lease may be, back to back with those before and after it: of its project, and for the quota of one
/// above it of any below that.
pub(crate) fn check_longest(view: &View, lease: &Lease) -> Result<(), Refusal> {
    for quota in quotas_on(view, &lease.project, class_of(view, lease).as_deref()) {
        let Some(most) = quota.limits.longest_hours else { continue };
        let is_one = |other: &str| with_those_above(view, other).contains(&quota.project);
        let row = back_to_back(&view.lease, lease, is_one);
        let hours = row.length().as_secs().unsigned_abs().div_ceil(3600);
        if hours > most {
            return Err(Refusal::OverQuota(format!(
                "Project {}{} may lease a node for {most} hours in a row, and this would be {hours}.",
                quota.project,
                of_class(quota.class.as_deref())
            )));
        }
    }
    Ok(())
}

/// The quotas that bind the project, its own and those of each above it: for all nodes, and for those of this class.
fn quotas_on(view: &View, project: &str, class: Option<&str>) -> Vec<Arc<Quota>> {
    let of_one = |above: String| {
        let all = view.lease.quota(&above, None).cloned();
        let of_class = class.and_then(|class| view.lease.quota(&above, Some(class)).cloned());
        [all, of_class].into_iter().flatten()
    };
    with_those_above(view, project).into_iter().flat_map(of_one).collect()
}

/// The resource class of the lease's node.
pub(crate) fn class_of(view: &View, lease: &Lease) -> Option<String> {
    view.node(lease.node).and_then(|node| node.settings.resource_class.clone())
}

/// In messages.
pub(crate) fn of_class(class: Option<&str>) -> String {
    class.map(|class| format!(" for class '{class}'")).unwrap_or_default()
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
