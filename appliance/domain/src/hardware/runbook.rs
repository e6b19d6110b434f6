//! Runbooks: steps of a cleaning or service that somebody trusted has written down, for others to use.

use super::record::{Kind, Record, Table, check_length, check_name};
use super::steps::{Step, check_steps, is_trait_name};
use super::{Catalogue, HardwareKey, HardwareRow};
use crate::id::RunbookId;
use crate::node::Node;
use crate::refusal::Refusal;
use crate::view::View;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a refusal calls the name of a runbook.
pub const RUNBOOK_NAME: &str = "A runbook with name";

/// A runbook.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Runbook {
    pub name: String,
    pub description: Option<String>,
    pub steps: Vec<Step>,
    /// Its steps need no ramdisk.
    pub disable_ramdisk: bool,
    /// Everybody may use it; then nobody owns it.
    pub public: bool,
    pub owner: Option<String>,
    /// The nodes that it is for have one of these.
    pub traits: BTreeSet<String>,
    pub extra: Map<String, Value>,
}

impl Kind for Runbook {
    type Id = RunbookId;
    const WHAT: &'static str = "Runbook";

    fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    fn unique(&self) -> Vec<(&'static str, String)> {
        vec![(RUNBOOK_NAME, self.name.clone())]
    }

    fn check(&self, _: &View, _: Option<&Record<Runbook>>) -> Result<(), Refusal> {
        check_name("a runbook", Some(&self.name))?;
        check_length("description", self.description.as_deref(), 255)?;
        check_length("owner", self.owner.as_deref(), 255)?;
        if let Some(bad) = self.traits.iter().find(|name| !is_trait_name(name)) {
            return Err(Refusal::Invalid(format!("'{bad}' is not a valid trait.")));
        }
        if self.public && self.owner.is_some() {
            return Err(Refusal::Invalid("There cannot be an owner for a public runbook.".into()));
        }
        check_steps(&self.steps)
    }

    fn table(catalogue: &Catalogue) -> &Table<Runbook> {
        &catalogue.runbooks
    }

    fn row(record: Arc<Record<Runbook>>) -> HardwareRow {
        HardwareRow::Runbook(record)
    }

    fn row_key(id: RunbookId) -> HardwareKey {
        HardwareKey::Runbook(id)
    }
}

impl Runbook {
    /// The node is one that the runbook was written for. `by_name`: as before API version 1.112, where its name was the
    /// trait of those nodes.
    pub fn suits(&self, node: &Node, by_name: bool) -> bool {
        let traits = &node.settings.traits;
        match by_name {
            true => traits.contains(&self.name),
            false => self.traits.iter().any(|name| traits.contains(name)),
        }
    }

    /// The steps in the order in which they are to be done.
    pub fn ordered(&self) -> Vec<&Step> {
        let mut steps: Vec<_> = self.steps.iter().collect();
        steps.sort_by_key(|step| step.rank);
        steps
    }
}
