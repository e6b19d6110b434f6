//! Deploy templates: steps that a deployment does when the instance has the template's name as a trait.

use super::record::{Kind, Record, Table, check_length};
use super::steps::{Step, check_steps, is_trait_name};
use super::{Catalogue, HardwareKey, HardwareRow};
use crate::id::DeployTemplateId;
use crate::refusal::Refusal;
use crate::view::View;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// What a refusal calls the name of a template.
pub const TEMPLATE_NAME: &str = "A deploy template with name";

/// A deploy template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeployTemplate {
    /// A trait.
    pub name: String,
    pub description: Option<String>,
    pub steps: Vec<Step>,
    pub extra: Map<String, Value>,
}

impl Kind for DeployTemplate {
    type Id = DeployTemplateId;
    const WHAT: &'static str = "Deploy template";

    fn unique(&self) -> Vec<(&'static str, String)> {
        vec![(TEMPLATE_NAME, self.name.clone())]
    }

    fn check(&self, _: &View, _: Option<&Record<DeployTemplate>>) -> Result<(), Refusal> {
        if !is_trait_name(&self.name) {
            return Err(Refusal::Invalid(format!(
                "'{}' is not a valid name of a deploy template: it must be a trait (capital letters, digits, '_').",
                self.name
            )));
        }
        check_length("description", self.description.as_deref(), 255)?;
        check_steps(&self.steps)
    }

    fn table(catalogue: &Catalogue) -> &Table<DeployTemplate> {
        &catalogue.deploy_templates
    }

    fn row(record: Arc<Record<DeployTemplate>>) -> HardwareRow {
        HardwareRow::DeployTemplate(record)
    }

    fn row_key(id: DeployTemplateId) -> HardwareKey {
        HardwareKey::DeployTemplate(id)
    }
}
