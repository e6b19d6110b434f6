//! By what nodes are listed without looking at all of them: whose they are, what they are, where they belong.
//!
//! In: nodes as they come, change and go. Out: those of one facet, oldest first, a page at a time.

use crate::grouped::{Grouped, Place};
use crate::hardware::free_class;
use crate::id::NodeId;
use crate::node::Node;
use crate::provision::ProvisionState;

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
    Driver(String),
    Fault(String),
    /// Of this conductor group.
    Group(String),
    /// Its instance is called so.
    InstanceName(String),
    /// Whether it is so. Both answers are indexed: either may be the rare one.
    Flag(Flag, bool),
    Shard(String),
}

/// What is or is not so of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    /// It has an instance.
    Associated,
    Maintenance,
    Retired,
    Sharded,
    /// It is part of another node.
    Part,
}

impl Flag {
    const ALL: [Flag; 5] = [Flag::Associated, Flag::Maintenance, Flag::Retired, Flag::Sharded, Flag::Part];

    fn of(self, node: &Node) -> bool {
        let settings = &node.settings;
        match self {
            Flag::Associated => settings.instance_uuid.is_some(),
            Flag::Maintenance => node.maintenance,
            Flag::Retired => settings.retired,
            Flag::Sharded => settings.label("shard").is_some(),
            Flag::Part => settings.parent().is_some(),
        }
    }
}

/// The index.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facets {
    rows: Grouped<Facet>,
}

impl Facets {
    /// A node came, changed or went. What it keeps is not touched: most changes leave every facet as it was.
    pub(crate) fn change(&mut self, old: Option<&Node>, new: Option<&Node>) {
        let place = |node: &Node| -> Place { (node.created_at, node.id) };
        let moved = old.map(place) != new.map(place);
        let before: Vec<Facet> = old.map(|node| facets(node).collect()).unwrap_or_default();
        let after: Vec<Facet> = new.map(|node| facets(node).collect()).unwrap_or_default();
        if let Some(at) = old.map(place) {
            for facet in before.iter().filter(|facet| moved || !after.contains(facet)) {
                self.rows.remove(facet, at);
            }
        }
        if let Some(at) = new.map(place) {
            for facet in after.into_iter().filter(|facet| moved || !before.contains(facet)) {
                self.rows.insert(facet, at);
            }
        }
    }

    /// How many nodes have it.
    pub(crate) fn count(&self, facet: &Facet) -> usize {
        self.rows.count(facet)
    }

    /// The nodes of one facet, oldest first, from the one after `after` on.
    pub(crate) fn places(&self, facet: &Facet, after: Option<Place>) -> impl Iterator<Item = Place> + use<'_> {
        self.rows.of(facet, after)
    }

    /// The same backwards, from the one before `before` on.
    pub(crate) fn places_before(&self, facet: &Facet, before: Option<Place>) -> impl Iterator<Item = Place> + use<'_> {
        self.rows.of_before(facet, before)
    }

    /// Each shard and how many nodes it has.
    pub(crate) fn shards(&self) -> Vec<(String, usize)> {
        // Shards are the last of the facets.
        let shards = self.rows.counts(&Facet::Shard(String::new())).filter_map(|(facet, count)| match facet {
            Facet::Shard(shard) => Some((shard.clone(), count)),
            _ => None,
        });
        shards.collect()
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
        Some(Facet::Driver(settings.driver.clone())),
        node.fault.clone().map(Facet::Fault),
        Some(Facet::Group(label("conductor_group").unwrap_or_default())),
        label("instance_name").map(Facet::InstanceName),
    ];
    let flags = Flag::ALL.into_iter().map(|flag| Facet::Flag(flag, flag.of(node)));
    all.into_iter().flatten().chain(flags).chain(free(node))
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
    use jiff::Timestamp;
    use proptest::prelude::*;
    use std::sync::Arc;
    use uuid::Uuid;

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
