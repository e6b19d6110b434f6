//! Allocations: a node that is asked for by what it is, not by its name.
//!
//! A request is decided at once: it ends with a node that is the asker's from then on, or with the reason why there is
//! none. Ironic's rules: the node is available, free, not in maintenance, its power state known, of the resource class
//! and with the traits that were asked for; and a project gets only what it owns or leases.

use super::record::{Kind, Record, Table, check_length, check_name};
use super::steps::is_trait_name;
use super::{Catalogue, HardwareKey, HardwareRow};
use crate::facet::Facet;
use crate::id::{AllocationId, NodeId};
use crate::node::Node;
use crate::provision::ProvisionState;
use crate::refusal::Refusal;
use crate::view::View;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a refusal calls the name of an allocation.
pub const ALLOCATION_NAME: &str = "An allocation with name";

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wanted {
    pub name: Option<String>,
    /// May be empty only where an allocation is made for a node that is in use already: then it is the node's.
    pub resource_class: String,
    pub traits: Vec<String>,
    /// None other than these, in this order; empty: any.
    pub candidate_nodes: Vec<NodeId>,
    /// The project that it is for: only nodes that it owns or leases.
    pub owner: Option<String>,
    pub extra: Map<String, Value>,
}

/// How the request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The node is the allocation's: its `instance_uuid` is the allocation's UUID.
    Active(NodeId),
    /// There was none; why.
    Error(String),
}

/// An allocation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Allocation {
    pub wanted: Wanted,
    pub outcome: Outcome,
}

impl Kind for Allocation {
    type Id = AllocationId;
    const WHAT: &'static str = "Allocation";

    fn node(&self) -> Option<NodeId> {
        match self.outcome {
            Outcome::Active(node) => Some(node),
            Outcome::Error(_) => None,
        }
    }

    fn owner(&self) -> Option<&str> {
        self.wanted.owner.as_deref()
    }

    fn unique(&self) -> Vec<(&'static str, String)> {
        self.wanted.name.clone().map(|name| (ALLOCATION_NAME, name)).into_iter().collect()
    }

    fn check(&self, _: &View, _: Option<&Record<Allocation>>) -> Result<(), Refusal> {
        let wanted = &self.wanted;
        check_name("an allocation", wanted.name.as_deref())?;
        check_length("resource_class", Some(&wanted.resource_class), 80)?;
        match wanted.traits.iter().find(|name| !is_trait_name(name)) {
            Some(bad) => Err(Refusal::Invalid(format!("'{bad}' is not a valid trait."))),
            None => Ok(()),
        }
    }

    fn check_removal(record: &Record<Allocation>, view: &View) -> Result<(), Refusal> {
        match record.body.node().and_then(|node| view.node(node)) {
            Some(node) => may_lose(node, record.id),
            None => Ok(()),
        }
    }

    fn table(catalogue: &Catalogue) -> &Table<Allocation> {
        &catalogue.allocations
    }

    fn row(record: Arc<Record<Allocation>>) -> HardwareRow {
        HardwareRow::Allocation(record)
    }

    fn row_key(id: AllocationId) -> HardwareKey {
        HardwareKey::Allocation(id)
    }
}

impl Catalogue {
    /// The allocation that holds the node.
    pub fn allocation_of(&self, node: NodeId) -> Option<&Arc<Record<Allocation>>> {
        self.allocations.of_node(node).next()
    }
}

/// Whether the node's allocation may be taken from it: not under a machine that is in use.
pub fn may_lose(node: &Node, allocation: AllocationId) -> Result<(), Refusal> {
    let state = node.provision_state;
    let busy = node.target_provision_state.is_some()
        && !(state.may_be_changed_on_its_way() || state == ProvisionState::Servicing);
    if node.maintenance || (!busy && state != ProvisionState::Active) {
        return Ok(());
    }
    Err(Refusal::InUse(format!(
        "Cannot remove allocation {allocation} for node {}, because the node is in state \"{}\" (and maintenance mode is \
         off): undeploy it, which ends the allocation.",
        node.title(),
        node.provision_state.name()
    )))
}

/// The resource class under which the node can be allocated now; `None`: it can not be.
pub fn free_class(node: &Node) -> Option<&str> {
    let free = node.provision_state == ProvisionState::Available
        && node.target_provision_state.is_none()
        && node.settings.instance_uuid.is_none()
        && !node.maintenance
        && !node.is_in_quarantine()
        && !node.settings.retired
        && node.power_state.is_some();
    node.settings.resource_class.as_deref().filter(|_| free)
}

fn has_traits(node: &Node, traits: &[String]) -> bool {
    traits.iter().all(|name| node.settings.traits.contains(name))
}

fn is_for(node: &Node, project: Option<&str>) -> bool {
    let Some(project) = project else { return node.lease.is_none() };
    let settings = &node.settings;
    // Under a lease the node is the lessee's and nobody else's.
    (node.lease.is_none() && settings.owner.as_deref() == Some(project)) || settings.lessee.as_deref() == Some(project)
}

/// A node for the request, or why there is none. A node with the allocation's own name comes first, as in Ironic.
pub fn choose(view: &View, wanted: &Wanted) -> Result<NodeId, String> {
    let class = wanted.resource_class.as_str();
    let project = wanted.owner.as_deref();
    let suits = |node: &Node| free_class(node) == Some(class) && is_for(node, project);
    let candidates: BTreeSet<NodeId> = wanted.candidate_nodes.iter().copied().collect();
    let is_candidate = |id: NodeId| candidates.is_empty() || candidates.contains(&id);
    let namesake = wanted.name.as_deref().and_then(|name| view.node_by_name(name));
    let namesake = namesake.filter(|node| is_candidate(node.id) && suits(node));
    let mut suitable = 0_usize;
    let mut fits = |node: &&Arc<Node>| {
        suitable += 1;
        has_traits(node, &wanted.traits)
    };
    let found = match namesake.into_iter().find(&mut fits) {
        Some(node) => Some(node.id),
        None if candidates.is_empty() => {
            let free = Facet::Free(class.to_owned(), project.map(str::to_owned));
            view.nodes_of(free, None).find(&mut fits).map(|node| node.id)
        }
        None => {
            let named = wanted.candidate_nodes.iter().filter_map(|id| view.node(*id));
            named.filter(|node| suits(node)).find(&mut fits).map(|node| node.id)
        }
    };
    found.ok_or_else(|| match (suitable, candidates.is_empty()) {
        (0, true) => format!("no available nodes match the resource class {class}"),
        (0, false) => format!("none of the requested nodes are available and match the resource class {class}"),
        _ => format!("no suitable nodes have the requested traits {}", wanted.traits.join(", ")),
    })
}

/// Whether a node that is in use already can be what the allocation would have given.
pub fn check_backfill(node: &Node, wanted: &Wanted) -> Result<(), Refusal> {
    let mut errors = Vec::new();
    if node.provision_state != ProvisionState::Active {
        errors.push(format!(
            "node must be in the \"active\" state, but the current state is \"{}\"",
            node.provision_state.name()
        ));
    }
    if node.settings.resource_class.as_deref() != Some(&wanted.resource_class) {
        errors
            .push(format!("its resource class does not match the requested resource class {}", wanted.resource_class));
    }
    if !has_traits(node, &wanted.traits) {
        errors.push(format!("it does not have all of the requested traits {}", wanted.traits.join(", ")));
    }
    if !wanted.candidate_nodes.is_empty() && !wanted.candidate_nodes.contains(&node.id) {
        errors.push("candidate nodes must be empty or contain the target node".to_owned());
    }
    if !is_for(node, wanted.owner.as_deref()) {
        errors.push("it is neither owned nor leased by the allocation's owner".to_owned());
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Refusal::InUse(format!("Cannot backfill an allocation for node {}: {}.", node.title(), errors.join("; "))))
}
