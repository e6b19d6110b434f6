//! Which nodes a page of a list shows, in which order.
//!
//! In: a view, a filter, an order, a marker. Out: the nodes of one page. By age, the index that the filter found is in
//! that order already. By a member, a few nodes are sorted; for many there is an order of all nodes ([`Orders`]), made
//! when it is first asked for and brought up to date by what has changed since.

use super::filter::{Filter, Source};
use super::query::Order;
use leasehold_domain::View;
use leasehold_domain::grouped::{Grouped, Place};
use leasehold_domain::id::NodeId;
use leasehold_domain::node::Node;
use leasehold_domain::view::NodeTable;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What nodes are sorted by: nothing first.
pub(super) type Key = Option<Box<str>>;

/// So many nodes are sorted sooner than they are found in an order of all.
const FEW: usize = 2048;
/// Members that other rows than the node's own tell: a change of the node does not show when they change.
const FROM_OTHER_ROWS: [&str; 2] = ["allocation_uuid", "reservation"];
/// Orders that are kept.
const MOST: usize = 8;
/// An order that nobody asked for so long is dropped with the next look: it holds the nodes as they were.
const IDLE: Duration = Duration::from_secs(600);

/// A page to be found.
pub(super) struct Selection<'a> {
    pub(super) view: &'a View,
    pub(super) filter: &'a Filter,
    pub(super) order: &'a Order,
    /// The last node of the page before.
    pub(super) marker: Option<NodeId>,
    pub(super) limit: usize,
    /// The members are for this caller as they are for all who see everything.
    pub(super) shared: bool,
}

impl<'a> Selection<'a> {
    /// The page. `key`: a member of a node as the caller may see it.
    pub(super) fn nodes(&self, orders: &Orders, key: &dyn Fn(&Node, &str) -> Key) -> Vec<&'a Arc<Node>> {
        let source = self.filter.source(self.view);
        let Some(name) = &self.order.key else {
            return self.by_age(source, self.marker).take(self.limit).collect();
        };
        let key = |node: &Node| key(node, name);
        let many = match source {
            Source::Nowhere | Source::Instance(_) => false,
            Source::Facet(_, count) => count > FEW,
            Source::All => self.view.node_count() > FEW,
        };
        let marker = self.marker.and_then(|id| self.view.node(id)).map(|node| (key(node), place(node)));
        if many && self.shared && !FROM_OTHER_ROWS.contains(&name.as_str()) {
            return self.by_order(&orders.sorted(self.view, name, &key), marker);
        }
        self.by_sorting(source, marker, &key)
    }

    fn takes(&self, node: &Arc<Node>) -> bool {
        self.filter.takes(node)
    }

    /// All that are meant, from the one after `marker` on.
    fn by_age(&self, source: Source, marker: Option<NodeId>) -> impl Iterator<Item = &'a Arc<Node>> {
        let (view, back) = (self.view, self.order.descending);
        let found: Box<dyn Iterator<Item = &'a Arc<Node>>> = match source {
            Source::Nowhere => Box::new(std::iter::empty()),
            Source::Instance(instance) => {
                let marker = marker.and_then(|id| view.place(id));
                let later = move |at: Place| marker.is_none_or(|marker| if back { at < marker } else { at > marker });
                Box::new(view.node_by_instance(instance).into_iter().filter(move |node| later(place(node))))
            }
            Source::Facet(facet, _) if back => Box::new(view.nodes_of_before(facet, marker)),
            Source::Facet(facet, _) => Box::new(view.nodes_of(facet, marker)),
            Source::All if back => Box::new(view.nodes_before(marker)),
            Source::All => Box::new(view.nodes_after(marker)),
        };
        found.filter(|node| self.takes(node))
    }

    fn by_sorting(
        &self,
        source: Source,
        marker: Option<(Key, Place)>,
        key: &dyn Fn(&Node) -> Key,
    ) -> Vec<&'a Arc<Node>> {
        let all = self.by_age(source, None).map(|node| ((key(node), place(node)), node));
        let back = self.order.descending;
        let later = |at: &(Key, Place)| match &marker {
            Some(marker) if back => at < marker,
            Some(marker) => at > marker,
            None => true,
        };
        let mut rows: Vec<_> = all.filter(|(at, _)| later(at)).collect();
        rows.sort_unstable_by(|(a, _), (b, _)| if back { b.cmp(a) } else { a.cmp(b) });
        rows.into_iter().map(|(_, node)| node).take(self.limit).collect()
    }

    fn by_order(&self, sorted: &Grouped<Key>, marker: Option<(Key, Place)>) -> Vec<&'a Arc<Node>> {
        let marker = marker.as_ref().map(|(key, place)| (key, *place));
        let places: Box<dyn Iterator<Item = Place>> = match self.order.descending {
            true => Box::new(sorted.descending(marker)),
            false => Box::new(sorted.ascending(marker)),
        };
        let nodes = places.filter_map(|(_, id)| self.view.node(id));
        nodes.filter(|node| self.takes(node)).take(self.limit).collect()
    }
}

fn place(node: &Node) -> Place {
    (node.created_at, node.id)
}

/// All nodes by those members that lists were sorted by, for callers who see everything.
#[derive(Default)]
pub struct Orders(Mutex<Vec<Kept>>);

struct Kept {
    name: String,
    /// The nodes as they were when they were put in order.
    table: NodeTable,
    sorted: Grouped<Key>,
    used: Instant,
}

impl Orders {
    /// The order by this member, as of this view. Whoever needs it at the same time waits: it is made once.
    fn sorted(&self, view: &View, name: &str, key: &dyn Fn(&Node) -> Key) -> Grouped<Key> {
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        orders.retain(|order| order.used.elapsed() < IDLE);
        // Taken out while it is worked on: half done it would be wrong.
        let known = orders.iter().position(|order| order.name == name).map(|at| orders.remove(at));
        let (table, mut sorted) = known.map(|order| (order.table, order.sorted)).unwrap_or_default();
        for (old, new) in view.node_changes(&table) {
            let (old, new) = (old.map(|node| (key(node), place(node))), new.map(|node| (key(node), place(node))));
            if old == new {
                continue;
            }
            if let Some((key, place)) = old {
                sorted.remove(&key, place);
            }
            if let Some((key, place)) = new {
                sorted.insert(key, place);
            }
        }
        if orders.len() >= MOST {
            orders.remove(0);
        }
        // The one that was used last is at the end.
        let kept =
            Kept { name: name.to_owned(), table: view.node_table(), sorted: sorted.clone(), used: Instant::now() };
        orders.push(kept);
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::super::filter::Parts;
    use super::*;
    use jiff::Timestamp;
    use leasehold_domain::Change;
    use leasehold_domain::node::NodeSettings;
    use leasehold_domain::provision::ProvisionState;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn text(prefix: &str, number: Option<u8>) -> Option<String> {
        number.map(|number| format!("{prefix}{number}"))
    }

    /// A node whose every attribute has few values, so that filters meet.
    fn node(number: u8, seed: u64) -> Node {
        let pick = |at: u32, of: u64| ((seed >> (at * 4)) % of) as u8;
        let some = |at: u32| Some(pick(at, 3)).filter(|value| *value > 0);
        let instance = |number: u8| Uuid::from_u128(u128::from(number) + 1000);
        let mut settings = NodeSettings {
            name: text("n", Some(number).filter(|number| number % 3 > 0)),
            driver: if pick(0, 2) == 0 { "ipmi".into() } else { "redfish".into() },
            owner: text("p", some(1)),
            lessee: text("p", some(2)),
            resource_class: text("c", some(3)),
            instance_uuid: Some(instance(number)).filter(|_| pick(4, 2) == 0),
            retired: pick(5, 3) == 0,
            description: text("words ", some(6)),
            ..NodeSettings::default()
        };
        for (at, name) in [(7, "shard"), (8, "conductor_group"), (9, "instance_name"), (10, "chassis_uuid")] {
            if let Some(label) = text(name, some(at)) {
                settings.labels.insert(name.into(), label.into());
            }
        }
        if pick(11, 4) == 0 {
            settings.labels.insert("parent_node".into(), Uuid::from_u128(1).to_string().into());
        }
        let at = Timestamp::from_second(i64::from(number) % 5).expect("a time");
        let mut node = Node::enrolled(NodeId(Uuid::from_u128(number.into())), settings, at);
        node.maintenance = pick(12, 2) == 0;
        node.fault = text("f", some(13));
        if pick(14, 2) == 0 {
            node.provision_state = ProvisionState::Available;
        }
        node
    }

    fn filter(seed: u64) -> Filter {
        // Each filter is set in one of four cases.
        let pick = |at: u32| ((seed >> (at * 3)) % 8) as u8;
        let some = |at: u32| Some(pick(at)).filter(|value| (1..3).contains(value));
        let flag = |at: u32| some(at).map(|value| value == 1);
        Filter {
            associated: flag(0),
            maintenance: flag(1),
            retired: flag(2),
            sharded: flag(3),
            shards: some(4).map(|value| (1..=value).map(|number| format!("shard{number}")).collect()),
            state: some(5).map(|_| ProvisionState::Available),
            instance: some(6).map(|value| Uuid::from_u128(u128::from(value) + 1000)),
            parts: match pick(7) {
                0 => Parts::Left,
                1 => Parts::Of(NodeId(Uuid::from_u128(1))),
                _ => Parts::All,
            },
            chassis: text("chassis_uuid", some(8)),
            class: text("c", some(9)),
            owner: text("p", some(10)),
            lessee: text("p", some(11)),
            project: text("p", some(12)),
            driver: some(13).map(|_| "ipmi".into()),
            fault: text("f", some(14)),
            group: text("conductor_group", some(15)),
            conductor: None,
            instance_name: text("instance_name", some(16)),
            contains: some(17).map(|value| format!("ds {value}")),
        }
    }

    fn key(node: &Node, name: &str) -> Key {
        match name {
            "name" => node.settings.name.as_deref().map(Box::from),
            "owner" => node.settings.owner.as_deref().map(Box::from),
            _ => Some(node.provision_state.name().into()),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        /// By whatever index and in whatever order: what a look at every node finds, while nodes come, change and go.
        #[test]
        fn a_page_is_what_a_look_at_every_node_finds(
            steps in proptest::collection::vec((1..30_u8, any::<u64>(), 0..5_u8), 0..60),
            // One filter at a time, or several.
            asked in proptest::collection::vec((any::<u64>(), any::<u64>(), 0..4_usize, any::<bool>(), 0..32_u8, 1..9_usize), 1..4),
        ) {
            let (orders, mut view) = (Orders::default(), View::default());
            let each = steps.len() / asked.len() + 1;
            let mut steps = steps.into_iter();
            for (some, fewer, by, descending, marker, limit) in asked {
                for (number, seed, gone) in steps.by_ref().take(each) {
                    view.apply(&match gone {
                        0 => Change::DeleteNode(NodeId(Uuid::from_u128(number.into()))),
                        _ => Change::PutNode(Arc::new(node(number, seed))),
                    });
                }
                let filter = filter(some & fewer);
                let name = [None, Some("name"), Some("owner"), Some("provision_state")][by];
                let order = Order { key: name.map(str::to_owned), descending };
                let marker = view.node(NodeId(Uuid::from_u128(marker.into())));
                let at = |node: &Node| (name.and_then(|name| key(node, name)), place(node));
                let mut every: Vec<_> = view.nodes_after(None).filter(|node| filter.takes(node)).collect();
                every.sort_by_key(|node| at(node));
                if descending {
                    every.reverse();
                }
                let later = |node: &&&Arc<Node>| marker.is_none_or(|marker| (at(node) > at(marker)) != descending && node.id != marker.id);
                let wanted: Vec<_> = every.iter().filter(later).take(limit).map(|node| node.id).collect();
                let of = |nodes: Vec<&Arc<Node>>| nodes.into_iter().map(|node| node.id).collect::<Vec<_>>();
                let selection = Selection {
                    view: &view, filter: &filter, order: &order, marker: marker.map(|node| node.id), limit, shared: true,
                };
                prop_assert_eq!(of(selection.nodes(&orders, &key)), wanted.clone());
                // So few are sorted; the order of all must say the same.
                if let Some(name) = name && filter.instance.is_none() {
                    let sorted = orders.sorted(&view, name, &|node| key(node, name));
                    let marker = marker.map(|node| at(node));
                    prop_assert_eq!(of(selection.by_order(&sorted, marker)), wanted);
                }
            }
        }
    }

    #[test]
    fn orders_that_are_not_asked_for_make_room() {
        let (orders, view) = (Orders::default(), View::default());
        for number in 0..MOST + 3 {
            orders.sorted(&view, &number.to_string(), &|_| None);
        }
        let kept = orders.0.lock().expect("no panic");
        assert_eq!((kept.len(), kept[0].name.as_str()), (MOST, "3"));
    }
}
