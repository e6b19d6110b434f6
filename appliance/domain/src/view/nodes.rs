//! The nodes of a view: in the order of their creation, by what they have in common, and what became of them.

use super::View;
use crate::facet::Facet;
use crate::grouped::Place;
use crate::id::{ChassisId, NodeId};
use crate::node::Node;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use std::ops::Bound;
use std::sync::Arc;

/// The nodes of a [`View`].
#[derive(Clone, Debug, Default)]
pub struct NodeTable(OrdMap<NodeId, Arc<Node>>);

impl View {
    /// All nodes, oldest first, from the one after `after` on (`None`: from the start, also when `after` is gone).
    pub fn nodes_after(&self, after: Option<NodeId>) -> impl Iterator<Item = &Arc<Node>> {
        let start = after.and_then(|id| self.place(id));
        let from = start.map_or(Bound::Unbounded, Bound::Excluded);
        self.node_order.range((from, Bound::Unbounded)).filter_map(|(_, id)| self.nodes.get(id))
    }

    /// The nodes that have this in common, oldest first, from the one after `after` on.
    pub fn nodes_of(&self, facet: Facet, after: Option<NodeId>) -> impl Iterator<Item = &Arc<Node>> {
        self.node_facets.places(&facet, after.and_then(|id| self.place(id))).filter_map(|(_, id)| self.nodes.get(&id))
    }

    /// All nodes, youngest first, from the one before `before` on.
    pub fn nodes_before(&self, before: Option<NodeId>) -> impl Iterator<Item = &Arc<Node>> {
        let end = before.and_then(|id| self.place(id)).map_or(Bound::Unbounded, Bound::Excluded);
        self.node_order.range((Bound::Unbounded, end)).rev().filter_map(|(_, id)| self.nodes.get(id))
    }

    /// The nodes that have this in common, youngest first, from the one before `before` on.
    pub fn nodes_of_before(&self, facet: Facet, before: Option<NodeId>) -> impl Iterator<Item = &Arc<Node>> {
        let places = self.node_facets.places_before(&facet, before.and_then(|id| self.place(id)));
        places.filter_map(|(_, id)| self.nodes.get(&id))
    }

    /// How many nodes have this in common.
    pub fn count_of(&self, facet: &Facet) -> usize {
        self.node_facets.count(facet)
    }

    /// Where the node stands among all.
    pub fn place(&self, id: NodeId) -> Option<Place> {
        self.nodes.get(&id).map(|node| (node.created_at, id))
    }

    /// What became of nodes since `before`: as each was there and as it is here. Costs what has changed, not what there
    /// is.
    pub fn node_changes<'a>(
        &'a self,
        before: &'a NodeTable,
    ) -> impl Iterator<Item = (Option<&'a Arc<Node>>, Option<&'a Arc<Node>>)> {
        before.0.diff(&self.nodes).map(|item| match item {
            DiffItem::Add(_, new) => (None, Some(new)),
            DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
            DiffItem::Remove(_, old) => (Some(old), None),
        })
    }

    /// The nodes as they are here, to be compared with later ones.
    pub fn node_table(&self) -> NodeTable {
        NodeTable(self.nodes.clone())
    }

    /// The parts of a node.
    pub fn children_of(&self, parent: NodeId) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes_of(Facet::Parent(parent), None)
    }

    /// The nodes in a chassis.
    pub fn nodes_in(&self, chassis: ChassisId) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes_of(Facet::Chassis(chassis.to_string()), None)
    }

    /// Each shard and how many nodes it has.
    pub fn shards(&self) -> Vec<(String, usize)> {
        self.node_facets.shards()
    }

    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn put_node(&mut self, node: &Arc<Node>) {
        self.node_facets.change(self.nodes.get(&node.id).map(AsRef::as_ref), Some(node));
        self.forget_names_of_node(node.id);
        if let Some(name) = &node.settings.name {
            self.node_names.insert(name.clone(), node.id);
        }
        if let Some(instance) = node.settings.instance_uuid {
            self.node_instances.insert(instance, node.id);
        }
        self.node_order.insert((node.created_at, node.id));
        self.nodes.insert(node.id, node.clone());
    }

    pub(super) fn delete_node(&mut self, id: NodeId) {
        self.node_facets.change(self.nodes.get(&id).map(AsRef::as_ref), None);
        self.forget_names_of_node(id);
        self.nodes.remove(&id);
        if let Some(job) = self.node_jobs.remove(&id) {
            self.jobs.remove(&job);
        }
    }

    fn forget_names_of_node(&mut self, id: NodeId) {
        let Some(old) = self.nodes.get(&id) else { return };
        if let Some(name) = &old.settings.name {
            self.node_names.remove(name);
        }
        if let Some(instance) = old.settings.instance_uuid {
            self.node_instances.remove(&instance);
        }
        self.node_order.remove(&(old.created_at, id));
    }
}
