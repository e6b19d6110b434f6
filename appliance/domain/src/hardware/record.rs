//! What all kinds of this room have in common: a record with an id, and the table that holds the records of a kind.

use super::{Catalogue, HardwareKey, HardwareRow};
use crate::id::*;
use crate::node::is_node_name;
use crate::refusal::Refusal;
use crate::view::View;
use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::{Debug, Display};
use std::ops::Bound;
use std::sync::Arc;
use uuid::Uuid;

/// The id of a kind: a UUID under a type of its own.
pub trait RecordId: Copy + Ord + Debug + Display + Serialize + DeserializeOwned + Send + Sync + 'static {
    fn new(uuid: Uuid) -> Self;
    fn uuid(self) -> Uuid;
}

macro_rules! record_ids {
    ($($name:ident),+ $(,)?) => {$(
        impl RecordId for $name {
            fn new(uuid: Uuid) -> Self {
                $name(uuid)
            }

            fn uuid(self) -> Uuid {
                self.0
            }
        }
    )+};
}

record_ids! {
    ChassisId,
    PortgroupId,
    AllocationId,
    DeployTemplateId,
    RunbookId,
    VolumeConnectorId,
    VolumeTargetId,
    InspectionRuleId,
    PortId,
}

/// A kind of record: what it says, and the rules that it must keep.
pub trait Kind: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {
    type Id: RecordId;

    /// What messages call it.
    const WHAT: &'static str;

    /// The node that it belongs to; it goes when the node goes.
    fn node(&self) -> Option<NodeId> {
        None
    }

    /// The project that it belongs to, of a kind that has owners of its own.
    fn owner(&self) -> Option<&str> {
        None
    }

    /// The values that no other record of the kind may have: what a refusal calls them, and the value.
    fn unique(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The rules of the kind. `before`: the record as it is, when it is changed.
    fn check(&self, view: &View, before: Option<&Record<Self>>) -> Result<(), Refusal>;

    /// Whether the record may go.
    fn check_removal(_: &Record<Self>, _: &View) -> Result<(), Refusal> {
        Ok(())
    }

    fn table(catalogue: &Catalogue) -> &Table<Self>;
    fn row(record: Arc<Record<Self>>) -> HardwareRow;
    fn row_key(id: Self::Id) -> HardwareKey;
}

/// A record and its history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Record<K: Kind> {
    pub id: K::Id,
    /// Counts changes, so that a writer can say on what he bases his change.
    pub revision: u64,
    pub body: K,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}

/// All records of a kind, and what they are found by.
#[derive(Clone, Debug)]
pub struct Table<K: Kind> {
    rows: OrdMap<K::Id, Arc<Record<K>>>,
    /// In the order of their creation: what lists page over.
    order: OrdSet<(Timestamp, K::Id)>,
    unique: OrdMap<(&'static str, String), K::Id>,
    of_nodes: OrdSet<(NodeId, K::Id)>,
    of_owners: OrdSet<(String, K::Id)>,
}

impl<K: Kind> Default for Table<K> {
    fn default() -> Table<K> {
        Table {
            rows: OrdMap::new(),
            order: OrdSet::new(),
            unique: OrdMap::new(),
            of_nodes: OrdSet::new(),
            of_owners: OrdSet::new(),
        }
    }
}

impl<K: Kind> Table<K> {
    pub fn get(&self, id: K::Id) -> Option<&Arc<Record<K>>> {
        self.rows.get(&id)
    }

    /// By one of the values of [`Kind::unique`].
    pub fn find(&self, what: &'static str, value: &str) -> Option<&Arc<Record<K>>> {
        self.unique.get(&(what, value.to_owned())).and_then(|id| self.rows.get(id))
    }

    /// Oldest first, from the one after `after` on (`None`: from the start, also when `after` is gone).
    pub fn after(&self, after: Option<K::Id>) -> impl Iterator<Item = &Arc<Record<K>>> {
        let start = after.and_then(|id| self.rows.get(&id)).map(|row| (row.created_at, row.id));
        let from = start.map_or(Bound::Unbounded, Bound::Excluded);
        self.order.range((from, Bound::Unbounded)).filter_map(|(_, id)| self.rows.get(id))
    }

    pub fn of_node(&self, node: NodeId) -> impl Iterator<Item = &Arc<Record<K>>> {
        let range = (node, K::Id::new(Uuid::nil()))..=(node, K::Id::new(Uuid::max()));
        self.of_nodes.range(range).filter_map(|(_, id)| self.rows.get(id))
    }

    /// Those that belong to a project.
    pub fn of_owner(&self, project: &str) -> impl Iterator<Item = &Arc<Record<K>>> {
        let range = (project.to_owned(), K::Id::new(Uuid::nil()))..=(project.to_owned(), K::Id::new(Uuid::max()));
        self.of_owners.range(range).filter_map(|(_, id)| self.rows.get(id))
    }

    pub(super) fn put(&mut self, row: &Arc<Record<K>>) {
        self.remove(row.id);
        self.order.insert((row.created_at, row.id));
        for key in row.body.unique() {
            self.unique.insert(key, row.id);
        }
        if let Some(node) = row.body.node() {
            self.of_nodes.insert((node, row.id));
        }
        if let Some(owner) = row.body.owner() {
            self.of_owners.insert((owner.to_owned(), row.id));
        }
        self.rows.insert(row.id, row.clone());
    }

    pub(super) fn remove(&mut self, id: K::Id) {
        let Some(old) = self.rows.remove(&id) else { return };
        self.order.remove(&(old.created_at, id));
        for key in old.body.unique() {
            self.unique.remove(&key);
        }
        if let Some(node) = old.body.node() {
            self.of_nodes.remove(&(node, id));
        }
        if let Some(owner) = old.body.owner() {
            self.of_owners.remove(&(owner.to_owned(), id));
        }
    }
}

/// A node that a record names must be there.
pub(super) fn node_exists(view: &View, node: NodeId) -> Result<&Arc<crate::node::Node>, Refusal> {
    view.node(node).ok_or_else(|| Refusal::Invalid(format!("Node {node} could not be found.")))
}

/// A record follows its node to another one only within one owner: else whoever may change it could take it over, or
/// put something on another's node.
pub(super) fn same_owner(view: &View, from: NodeId, to: NodeId) -> Result<(), Refusal> {
    let owner = |node| view.node(node).map(|node| node.settings.owner.clone());
    if from == to || (owner(to).is_some() && owner(from) == owner(to)) {
        return Ok(());
    }
    Err(Refusal::Invalid(format!("Unable to apply the requested node_uuid '{to}'. Requested value was invalid.")))
}

/// Names of records are as those of nodes: what fits into a path without escapes, and is no UUID.
pub(super) fn check_name(what: &str, name: Option<&str>) -> Result<(), Refusal> {
    match name {
        Some(name) if !is_node_name(name) => Err(Refusal::Invalid(format!(
            "Cannot have {what} with invalid name '{name}': use letters, digits, '-', '.', '_' and '~', and no UUID."
        ))),
        _ => Ok(()),
    }
}

/// A text of at most so many characters.
pub(super) fn check_length(what: &str, text: Option<&str>, most: usize) -> Result<(), Refusal> {
    match text {
        Some(text) if text.chars().count() > most => {
            Err(Refusal::Invalid(format!("{what} must be at most {most} characters.")))
        }
        _ => Ok(()),
    }
}
