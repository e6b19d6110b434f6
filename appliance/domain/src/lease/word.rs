//! What a node's record says while a lessee writes on it, and what it says again when he has the node no more.

use crate::node::Node;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use uuid::Uuid;

/// What its keepers say of a node that a lessee's roles let him say, too (`baremetal:node:update`, `:update_extra`,
/// `:set_maintenance`, `baremetal:volume:…`). What he says of his instance and its networks goes by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnersWord {
    pub extra: Map<String, Value>,
    pub description: Option<String>,
    pub resource_class: Option<String>,
    pub automated_clean: Option<bool>,
    pub maintenance: bool,
    pub maintenance_reason: Option<String>,
    /// The volume connectors and targets that were there when the lessee came.
    pub volumes: BTreeSet<Uuid>,
}

impl OwnersWord {
    pub(crate) fn of(node: &Node, volumes: BTreeSet<Uuid>) -> OwnersWord {
        let settings = &node.settings;
        OwnersWord {
            extra: settings.extra.clone(),
            description: settings.description.clone(),
            resource_class: settings.resource_class.clone(),
            automated_clean: settings.automated_clean,
            maintenance: node.maintenance,
            maintenance_reason: node.maintenance_reason.clone(),
            volumes,
        }
    }

    /// A keeper has changed the node meanwhile: what he has changed is his word now.
    pub(crate) fn follow(&mut self, before: &Node, after: &Node) {
        fn take<T: Clone + PartialEq>(word: &mut T, before: &T, after: &T) {
            if before != after {
                word.clone_from(after);
            }
        }
        let (old, new) = (&before.settings, &after.settings);
        take(&mut self.extra, &old.extra, &new.extra);
        take(&mut self.description, &old.description, &new.description);
        take(&mut self.resource_class, &old.resource_class, &new.resource_class);
        take(&mut self.automated_clean, &old.automated_clean, &new.automated_clean);
    }

    /// A keeper has said that the node is to be in maintenance, or not; also where a lessee had said so before.
    pub(crate) fn follow_maintenance(&mut self, on: bool, reason: Option<&str>) {
        self.maintenance = on;
        self.maintenance_reason = reason.map(str::to_owned);
    }

    /// The record says again what it said. A maintenance that has a fault is the appliance's, and stays.
    pub(crate) fn put_back(self, node: &mut Node) {
        node.settings.extra = self.extra;
        node.settings.description = self.description;
        node.settings.resource_class = self.resource_class;
        node.settings.automated_clean = self.automated_clean;
        if node.fault.is_none() {
            node.maintenance = self.maintenance;
            node.maintenance_reason = self.maintenance_reason;
        }
    }
}
