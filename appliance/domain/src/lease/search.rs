//! Which offers fulfil a wish for several nodes at once, and if none do, when they would.
//!
//! In: a snapshot, what is wished for, a time. Out: one offer for each node, or what is short; and the first later moment
//! at which all of it would be free. Nothing is decided here: whoever reserves names the offers that were found, and the
//! decision looks at each of them again. So the search, which looks at every node of a class, holds nobody up.

use super::{Book, Offer, OfferState, Span};
use crate::facet::Facet;
use crate::id::{NodeId, OfferId, ProjectId};
use crate::identity::Directory;
use crate::node::{Node, QUARANTINE};
use crate::provision::ProvisionState;
use crate::view::View;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use uuid::Uuid;

/// How many kinds of nodes one wish may have: whether it can be fulfilled is asked of every set of them.
pub const MOST_NEEDS: usize = 8;

/// Some nodes of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Need {
    pub count: usize,
    /// `None`: of any.
    pub resource_class: Option<String>,
    /// All of these.
    pub traits: BTreeSet<String>,
    /// Each of these as given; a number and its text are the same.
    pub properties: Map<String, Value>,
}

/// What is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Which of the needs cannot be met, those before it being met.
    pub need: usize,
    /// How many nodes are there for it.
    pub found: usize,
}

/// A set of needs: bit n is need n.
type Needs = u32;

/// A node that is offered, and which needs it would meet.
struct Candidate {
    node: NodeId,
    offer: Arc<Offer>,
    meets: Needs,
}

/// One offer for each node that is needed: of different nodes, free for the whole of `span`, open to the project. Nodes
/// that are ready now come first, and of those the ones whose offers end soonest.
pub fn pick(view: &View, project: &str, needs: &[Need], span: Span) -> Result<Vec<OfferId>, Shortage> {
    let mut free: Vec<(Candidate, bool)> = candidates(view, project, needs)
        .filter(|one| one.offer.span.holds(&span) && is_free(&view.lease, &one.offer, span))
        .map(|one| {
            let ready = view.node(one.node).is_some_and(|node| is_ready(node));
            (one, ready)
        })
        .collect();
    free.sort_by_key(|(one, ready)| (!ready, one.offer.span.end, one.node, one.offer.id));
    // Of a node one offer: two of them at the same time are those of an owner and of who has it from him.
    let mut seen = BTreeSet::new();
    free.retain(|(one, _)| seen.insert(one.node));
    let mut matching =
        Matching { meets: free.iter().map(|(one, _)| one.meets).collect(), held: vec![None; free.len()] };
    for (number, need) in needs.iter().enumerate() {
        for found in 0..need.count {
            if !matching.find(number, needs.len()) {
                return Err(Shortage { need: number, found });
            }
        }
    }
    let held = free.iter().zip(&matching.held).filter(|(_, holder)| holder.is_some());
    Ok(held.map(|((one, _), _)| one.offer.id).collect())
}

/// The first moment from `from` on at which [`pick`] would find all for so long.
pub fn next_fit(
    view: &View,
    project: &str,
    needs: &[Need],
    from: Timestamp,
    length: SignedDuration,
) -> Option<Timestamp> {
    // For each node, the moments at which such a time could begin: from, until (and at) which.
    let mut begins: Vec<(Timestamp, usize)> = Vec::new();
    let mut ends: Vec<(Timestamp, usize)> = Vec::new();
    let mut windows: Vec<(NodeId, Needs)> = Vec::new();
    for one in candidates(view, project, needs) {
        for free in view.lease.free_of(&one.offer) {
            let begin = free.start.max(from);
            let Ok(last) = free.end.checked_sub(length) else { continue };
            if begin <= last {
                begins.push((begin, windows.len()));
                ends.push((last, windows.len()));
                windows.push((one.node, one.meets));
            }
        }
    }
    begins.sort_unstable();
    ends.sort_unstable();
    let mut open: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut counts: BTreeMap<Needs, usize> = BTreeMap::new();
    let (mut next, mut over) = (0, 0);
    while let Some(&(at, _)) = begins.get(next) {
        while let Some((_, window)) = ends.get(over).filter(|(last, _)| *last < at) {
            let (node, meets) = windows[*window];
            let left = open.entry(node).or_default();
            *left -= 1;
            if *left == 0 {
                counts.entry(meets).and_modify(|count| *count -= 1);
            }
            over += 1;
        }
        while let Some((_, window)) = begins.get(next).filter(|(begin, _)| *begin == at) {
            let (node, meets) = windows[*window];
            let there = open.entry(node).or_default();
            *there += 1;
            if *there == 1 {
                *counts.entry(meets).or_default() += 1;
            }
            next += 1;
        }
        if can_be_met(needs, &counts) {
            return Some(at);
        }
    }
    None
}

/// Hall's condition: of no set of needs more nodes are wanted than there are for any of them.
fn can_be_met(needs: &[Need], counts: &BTreeMap<Needs, usize>) -> bool {
    (1..1_u32 << needs.len().min(MOST_NEEDS)).all(|set| {
        let wanted: usize = (0..needs.len()).filter(|need| set & (1 << need) != 0).map(|need| needs[need].count).sum();
        let there: usize = counts.iter().filter(|(meets, _)| *meets & set != 0).map(|(_, count)| count).sum();
        wanted <= there
    })
}

/// Which candidate is whose.
struct Matching {
    meets: Vec<Needs>,
    held: Vec<Option<usize>>,
}

impl Matching {
    /// Finds one more for this need. Where all that would do are taken, another need may do with another: an augmenting
    /// path, looked for in breadth over the needs.
    fn find(&mut self, need: usize, needs: usize) -> bool {
        // For each need that was reached: the candidate that it would give up, and to whom.
        let mut reached: Vec<Option<(usize, usize)>> = vec![None; needs];
        let mut open = VecDeque::from([need]);
        while let Some(now) = open.pop_front() {
            let does = |one: &usize| self.meets[*one] & (1 << now) != 0;
            if let Some(free) = (0..self.held.len()).filter(does).find(|one| self.held[*one].is_none()) {
                self.held[free] = Some(now);
                let mut giver = now;
                while let Some((one, taker)) = reached[giver].filter(|_| giver != need) {
                    self.held[one] = Some(taker);
                    giver = taker;
                }
                return true;
            }
            for one in (0..self.held.len()).filter(does) {
                if let Some(holder) = self.held[one].filter(|holder| *holder != need && reached[*holder].is_none()) {
                    reached[holder] = Some((one, now));
                    open.push_back(holder);
                }
            }
        }
        false
    }
}

/// The offers that are open to the project, of nodes that meet a need.
fn candidates<'a>(view: &'a View, project: &'a str, needs: &'a [Need]) -> impl Iterator<Item = Candidate> + 'a {
    let classes: Option<BTreeSet<&String>> = needs.iter().map(|need| need.resource_class.as_ref()).collect();
    let nodes: Vec<&Arc<Node>> = match classes {
        Some(classes) => {
            classes.into_iter().flat_map(|class| view.nodes_of(Facet::Class(class.clone()), None)).collect()
        }
        None => {
            let offered: BTreeSet<NodeId> = view.lease.offers().map(|offer| offer.node).collect();
            offered.into_iter().filter_map(|node| view.node(node)).collect()
        }
    };
    nodes.into_iter().filter(|node| may_be_had(node)).flat_map(move |node| {
        let met = needs.iter().enumerate().filter(|(_, need)| need.is_met_by(node));
        let meets: Needs = met.map(|(number, _)| 1 << number).sum();
        let offers = view.lease.offers_on(node.id).filter(move |offer| meets != 0 && is_open_to(view, offer, project));
        offers.map(move |offer| Candidate { node: node.id, offer: offer.clone(), meets })
    })
}

/// Whether this project may claim of the offer: it is meant for all, or for this project or one above it.
pub fn is_open_to(view: &View, offer: &Offer, project: &str) -> bool {
    let meant = |lessee: &str| is_within(&view.identity, project, lessee);
    offer.state == OfferState::Available && offer.lessee.as_deref().is_none_or(meant)
}

/// The project is the one that is meant, or stands somewhere below it.
pub fn is_within(directory: &Directory, project: &str, meant: &str) -> bool {
    let id = Uuid::parse_str(project).ok().map(ProjectId);
    let above = id.into_iter().flat_map(|id| directory.ancestors(id));
    project == meant || above.into_iter().any(|above| above.id_text() == meant)
}

fn is_free(book: &Book, offer: &Offer, span: Span) -> bool {
    book.leases_meeting((offer.node, offer.parent), span).next().is_none()
}

/// It will not come back by itself, or will be taken out.
fn may_be_had(node: &Node) -> bool {
    node.fault.as_deref() != Some(QUARANTINE) && !node.settings.retired
}

fn is_ready(node: &Node) -> bool {
    node.provision_state == ProvisionState::Available && node.job.is_none() && !node.maintenance
}

impl Need {
    /// The node is of this kind.
    pub fn is_met_by(&self, node: &Node) -> bool {
        let settings = &node.settings;
        let class = |class: &String| settings.resource_class.as_ref() == Some(class);
        let said = |(name, value): (&String, &Value)| settings.properties.get(name).is_some_and(|has| same(has, value));
        self.resource_class.as_ref().is_none_or(class)
            && self.traits.is_subset(&settings.traits)
            && self.properties.iter().all(said)
    }
}

/// Inspection writes numbers, people often write them as text.
fn same(one: &Value, other: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    one == other || text(one).zip(text(other)).is_some_and(|(one, other)| one == other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::LeaseId;
    use crate::lease::{Label, Lease, LeaseRow, LeaseState, Past, Watch, Wish};
    use crate::node::NodeSettings;
    use crate::rows::Rows;
    use crate::view::Change;
    use proptest::prelude::*;

    const OWNER: &str = "owner";

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_900_000_000 + 3600 * hour).expect("a time")
    }

    fn span(start: i64, end: i64) -> Span {
        Span { start: at(start), end: at(end) }
    }

    /// A node of a class with one trait, offered for a time, some of which is leased.
    #[derive(Clone, Debug)]
    struct Offered {
        class: u8,
        trait_: u8,
        offer: (i64, i64),
        leased: Option<(i64, i64)>,
    }

    fn any_offered() -> impl Strategy<Value = Offered> {
        let offer = (0..6_i64, 1..10_i64).prop_map(|(start, length)| (start, start + length));
        (0..2_u8, 0..2_u8, offer, prop::option::of((0..10_i64, 1..4_i64))).prop_map(|(class, trait_, offer, leased)| {
            let leased = leased.map(|(start, length)| (start.max(offer.0), (start + length).min(offer.1)));
            Offered { class, trait_, offer, leased: leased.filter(|(start, end)| start < end) }
        })
    }

    fn any_need() -> impl Strategy<Value = Need> {
        (1..3_usize, prop::option::of(0..2_u8), prop::option::of(0..2_u8)).prop_map(|(count, class, trait_)| Need {
            count,
            resource_class: class.map(|class| format!("class{class}")),
            traits: trait_.map(|number| format!("CUSTOM_{number}")).into_iter().collect(),
            properties: Map::new(),
        })
    }

    fn world(nodes: &[Offered]) -> View {
        let mut view = View::default();
        for (number, node) in (1_u128..).zip(nodes) {
            let settings = NodeSettings {
                owner: Some(OWNER.into()),
                resource_class: Some(format!("class{}", node.class)),
                traits: [format!("CUSTOM_{}", node.trait_)].into(),
                ..NodeSettings::default()
            };
            let id = NodeId(Uuid::from_u128(number));
            view.apply(&Change::PutNode(Arc::new(Node::enrolled(id, settings, at(0)))));
            let offer = Offer {
                id: OfferId(Uuid::from_u128(1000 + number)),
                label: Label::default(),
                project: OWNER.into(),
                lessee: None,
                node: id,
                span: span(node.offer.0, node.offer.1),
                parent: None,
                state: OfferState::Available,
                created_at: at(0),
                updated_at: None,
                wish: Wish::default(),
                class: None,
            };
            let lease = node.leased.map(|(start, end)| Lease {
                id: LeaseId(Uuid::from_u128(2000 + number)),
                label: Label::default(),
                purpose: None,
                project: "other".into(),
                owner: OWNER.into(),
                node: id,
                span: span(start, end),
                offer: Some(offer.id),
                parent: None,
                group: None,
                state: LeaseState::Created,
                reason: None,
                ready_by: None,
                fulfilled_at: None,
                expired_at: None,
                created_at: at(0),
                updated_at: None,
                revision: 0,
                wish: Wish::default(),
                watch: Watch::default(),
                past: Past::default(),
            });
            view.apply(&Change::Lease(Rows::Put(LeaseRow::Offer(Arc::new(offer)))));
            if let Some(lease) = lease {
                view.apply(&Change::Lease(Rows::Put(LeaseRow::Lease(Arc::new(lease)))));
            }
        }
        view
    }

    /// By trying everything: each single place wants one node of its own.
    fn can(nodes: &[Offered], needs: &[Need], (start, end): (i64, i64)) -> bool {
        fn place(free: &mut Vec<&Offered>, places: &[&Need]) -> bool {
            let Some((need, rest)) = places.split_first() else { return true };
            (0..free.len()).any(|number| {
                let node = free[number];
                let class = need.resource_class.as_ref().is_none_or(|class| *class == format!("class{}", node.class));
                let fits = class && need.traits.iter().all(|name| *name == format!("CUSTOM_{}", node.trait_));
                fits && {
                    free.remove(number);
                    let found = place(free, rest);
                    free.insert(number, node);
                    found
                }
            })
        }
        let is_free = |node: &&Offered| {
            let clear = node.leased.is_none_or(|(from, until)| until <= start || end <= from);
            node.offer.0 <= start && end <= node.offer.1 && clear
        };
        let places: Vec<&Need> = needs.iter().flat_map(|need| std::iter::repeat_n(need, need.count)).collect();
        place(&mut nodes.iter().filter(is_free).collect(), &places)
    }

    proptest! {
        #[test]
        fn what_can_be_had_is_found(
            nodes in prop::collection::vec(any_offered(), 0..6),
            needs in prop::collection::vec(any_need(), 1..3),
            (start, length) in (0..8_i64, 1..5_i64),
        ) {
            let view = world(&nodes);
            let found = pick(&view, "lessee", &needs, span(start, start + length));
            prop_assert_eq!(found.is_ok(), can(&nodes, &needs, (start, start + length)), "{:?}", found);
            if let Ok(offers) = found {
                let wanted: usize = needs.iter().map(|need| need.count).sum();
                let nodes: BTreeSet<_> = offers.iter().filter_map(|id| view.lease.offer(*id)).map(|offer| offer.node).collect();
                prop_assert_eq!((offers.len(), nodes.len()), (wanted, wanted));
            }
        }

        #[test]
        fn the_next_time_is_the_first_one(
            nodes in prop::collection::vec(any_offered(), 0..6),
            needs in prop::collection::vec(any_need(), 1..3),
            (from, length) in (0..8_i64, 1..5_i64),
        ) {
            let view = world(&nodes);
            let first = (from..20).find(|start| can(&nodes, &needs, (*start, start + length))).map(at);
            prop_assert_eq!(next_fit(&view, "lessee", &needs, at(from), SignedDuration::from_hours(length)), first);
        }
    }

    #[test]
    fn a_number_and_its_text_are_the_same() {
        assert!(same(&Value::from(64), &Value::from("64")) && same(&Value::from("a"), &Value::from("a")));
        assert!(!same(&Value::from(64), &Value::from("6")) && !same(&Value::Null, &Value::from("null")));
    }
}
