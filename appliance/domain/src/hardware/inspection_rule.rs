//! Inspection rules: what is to become of a node when its inventory looks so or so.

use super::record::{Kind, Record, Table, check_length};
use super::{Catalogue, HardwareKey, HardwareRow, rules};
use crate::id::InspectionRuleId;
use crate::refusal::Refusal;
use crate::view::View;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// The only phase: after the inventory was read, before it is kept.
pub const MAIN_PHASE: &str = "main";

/// A rule. Conditions and actions are kept as they were given; [`rules`] reads them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InspectionRule {
    pub description: Option<String>,
    /// Rules with a higher one come first; 0 to 9999.
    pub priority: i64,
    /// Conditions and actions are shown to nobody. It cannot be undone.
    pub sensitive: bool,
    pub phase: String,
    pub conditions: Vec<Value>,
    pub actions: Vec<Value>,
}

impl Default for InspectionRule {
    fn default() -> InspectionRule {
        InspectionRule {
            description: None,
            priority: 0,
            sensitive: false,
            phase: MAIN_PHASE.to_owned(),
            conditions: Vec::new(),
            actions: Vec::new(),
        }
    }
}

impl Kind for InspectionRule {
    type Id = InspectionRuleId;
    const WHAT: &'static str = "Rule";

    fn check(&self, _: &View, before: Option<&Record<InspectionRule>>) -> Result<(), Refusal> {
        check_length("description", self.description.as_deref(), 255)?;
        if !(0..=9999).contains(&self.priority) {
            return Err(Refusal::Invalid("Priority must be between 0 and 9999.".into()));
        }
        if self.phase != MAIN_PHASE {
            return Err(Refusal::Invalid(format!("Invalid phase: {}. Valid phases are: {MAIN_PHASE}", self.phase)));
        }
        if before.is_some_and(|before| before.body.sensitive) && !self.sensitive {
            return Err(Refusal::Invalid("Inspection rules cannot have the sensitive flag unset.".into()));
        }
        rules::check(self).map_err(Refusal::Invalid)
    }

    fn table(catalogue: &Catalogue) -> &Table<InspectionRule> {
        &catalogue.inspection_rules
    }

    fn row(record: Arc<Record<InspectionRule>>) -> HardwareRow {
        HardwareRow::InspectionRule(record)
    }

    fn row_key(id: InspectionRuleId) -> HardwareKey {
        HardwareKey::InspectionRule(id)
    }
}
