//! By what nodes are listed without looking at all of them: whose they are, what they are, where they belong.
//!
//! In: nodes as they come, change and go. Out: those of one facet, oldest first, a page at a time.

use crate::hardware::free_class;
use crate::id::NodeId;
use crate::node::Node;
use crate::provision::ProvisionState;
use imbl::OrdSet;
use jiff::Timestamp;
use std::ops::Bound;
use uuid::Uuid;

/// Something that several nodes have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Facet {
    /// The project is owner or lessee.
    Project(String),
    Class(String),
    State(ProvisionState),
    Chassis(String),
    /// Part of this node.
    Parent(NodeId),
    /// It can be allocated now: of this class, and whoever's it is or for this project.
    Free(String, Option<String>),
    Shard(String),
}

/// The index.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facets {
    rows: OrdSet<(Facet, Timestamp, NodeId)>,
}

impl Facets {
    pub(crate) fn insert(&mut self, node: &Node) {
        for facet in facets(node) {
            self.rows.insert((facet, node.created_at, node.id));
        }
    }

    pub(crate) fn remove(&mut self, node: &Node) {
        for facet in facets(node) {
            self.rows.remove(&(facet, node.created_at, node.id));
        }
    }

    /// The nodes of one facet, oldest first, from the one after `after` on.
    pub(crate) fn nodes(&self, facet: Facet, after: Option<(Timestamp, NodeId)>) -> impl Iterator<Item = NodeId> {
        let start = match after {
            Some((at, id)) => Bound::Excluded((facet.clone(), at, id)),
            None => Bound::Included((facet.clone(), Timestamp::MIN, NodeId(Uuid::nil()))),
        };
        let end = Bound::Included((facet, Timestamp::MAX, NodeId(Uuid::max())));
        self.rows.range((start, end)).map(|(_, _, id)| *id)
    }

    /// Each shard and how many nodes it has.
    pub(crate) fn shards(&self) -> Vec<(String, usize)> {
        let mut counts: Vec<(String, usize)> = Vec::new();
        // Shards are the last of the facets.
        let from = (Facet::Shard(String::new()), Timestamp::MIN, NodeId(Uuid::nil()));
        for (facet, _, _) in self.rows.range(from..) {
            let Facet::Shard(shard) = facet else { continue };
            match counts.last_mut() {
                Some((last, count)) if last == shard => *count += 1,
                _ => counts.push((shard.clone(), 1)),
            }
        }
        counts
    }
}

fn facets(node: &Node) -> impl Iterator<Item = Facet> {
    let settings = &node.settings;
    let label = |name: &str| settings.label(name).map(str::to_owned);
    let all = [
        settings.owner.clone().map(Facet::Project),
        settings.lessee.clone().filter(|lessee| Some(lessee) != settings.owner.as_ref()).map(Facet::Project),
        settings.resource_class.clone().map(Facet::Class),
        Some(Facet::State(node.provision_state)),
        label("chassis_uuid").map(Facet::Chassis),
        settings.parent().map(Facet::Parent),
        label("shard").map(Facet::Shard),
    ];
    all.into_iter().flatten().chain(free(node))
}

/// How allocations find a node that is free.
fn free(node: &Node) -> impl Iterator<Item = Facet> {
    let settings = &node.settings;
    free_class(node).into_iter().flat_map(|class| {
        let lessee = settings.lessee.clone().filter(|lessee| Some(lessee) != settings.owner.as_ref());
        let whose = [Some(None), settings.owner.clone().map(Some), lessee.map(Some)];
        whose.into_iter().flatten().map(|project| Facet::Free(class.to_owned(), project))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NodeSettings;
    use crate::view::{Change, View};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn node(number: u8, owner: Option<u8>, lessee: Option<u8>, shard: Option<u8>, at: i8) -> Node {
        let text = |prefix: &str, number: u8| format!("{prefix}{number}");
        let mut settings = NodeSettings {
            owner: owner.map(|number| text("p", number)),
            lessee: lessee.map(|number| text("p", number)),
            ..NodeSettings::default()
        };
        if let Some(shard) = shard {
            settings.labels.insert("shard".into(), text("s", shard).into());
        }
        let at = Timestamp::from_second(at.into()).expect("a time");
        Node::enrolled(NodeId(Uuid::from_u128(number.into())), settings, at)
    }

    proptest! {
        /// The index finds what a look at every node finds, in the same order, whatever came and went.
        #[test]
        fn the_index_is_what_a_scan_finds(
            wishes in proptest::collection::vec(
                (0..9_u8, proptest::option::of(0..3_u8), proptest::option::of(0..3_u8), proptest::option::of(0..3_u8),
                 any::<bool>()),
                0..40,
            )
        ) {
            let mut view = View::default();
            for (number, owner, lessee, shard, keep) in wishes {
                let id = NodeId(Uuid::from_u128(number.into()));
                view.apply(&match keep {
                    true => Change::PutNode(Arc::new(node(number, owner, lessee, shard, -(number as i8)))),
                    false => Change::DeleteNode(id),
                });
            }
            for project in ["p0", "p1", "p2"] {
                let found: Vec<_> =
                    view.nodes_of(Facet::Project(project.into()), None).map(|node| node.id).collect();
                let is_his = |node: &&Arc<Node>| {
                    let settings = &node.settings;
                    [&settings.owner, &settings.lessee].into_iter().any(|who| who.as_deref() == Some(project))
                };
                let scanned: Vec<_> = view.nodes_after(None).filter(is_his).map(|node| node.id).collect();
                prop_assert_eq!(&found, &scanned);
                if let [first, rest @ ..] = found.as_slice() {
                    let after: Vec<_> =
                        view.nodes_of(Facet::Project(project.into()), Some(*first)).map(|node| node.id).collect();
                    prop_assert_eq!(after, rest);
                }
            }
            let sharded = view.nodes_after(None).filter(|node| node.settings.label("shard").is_some()).count();
            prop_assert_eq!(view.shards().iter().map(|(_, count)| count).sum::<usize>(), sharded);
        }
    }
}
