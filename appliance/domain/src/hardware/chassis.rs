//! Chassis: boxes that hold nodes.

use super::record::{Kind, Record, Table, check_length};
use super::{Catalogue, HardwareKey, HardwareRow};
use crate::id::ChassisId;
use crate::refusal::Refusal;
use crate::view::View;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// A chassis. Nodes name it by `chassis_uuid`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Chassis {
    pub description: Option<String>,
    pub extra: Map<String, Value>,
}

impl Kind for Chassis {
    type Id = ChassisId;
    const WHAT: &'static str = "Chassis";

    fn check(&self, _: &View, _: Option<&Record<Chassis>>) -> Result<(), Refusal> {
        check_length("description", self.description.as_deref(), 255)
    }

    fn check_removal(record: &Record<Chassis>, view: &View) -> Result<(), Refusal> {
        if view.nodes_in(record.id).next().is_some() {
            return Err(Refusal::Invalid(format!(
                "Cannot complete the requested action because chassis {} contains nodes.",
                record.id
            )));
        }
        Ok(())
    }

    fn table(catalogue: &Catalogue) -> &Table<Chassis> {
        &catalogue.chassis
    }

    fn row(record: Arc<Record<Chassis>>) -> HardwareRow {
        HardwareRow::Chassis(record)
    }

    fn row_key(id: ChassisId) -> HardwareKey {
        HardwareKey::Chassis(id)
    }
}
