//! What the bare-metal API knows beside nodes and ports: chassis, port groups, allocations, templates, volumes, rules.
//!
//! In: commands about them. Out: rows. They follow their node where they have one.

mod rows;

pub use rows::{Catalogue, HardwareKey, HardwareRow};

use crate::id::ChassisId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A chassis: a box that holds nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chassis {
    pub id: ChassisId,
    pub description: Option<String>,
    pub extra: Map<String, Value>,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}

/// A command about them.
#[derive(Clone, Debug)]
pub enum HardwareCommand {
    PutChassis(Box<Chassis>),
}

impl HardwareCommand {
    /// The name for audit, log and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            HardwareCommand::PutChassis(_) => "put-chassis",
        }
    }

    /// The id of what it is about.
    pub fn subject(&self) -> String {
        match self {
            HardwareCommand::PutChassis(chassis) => chassis.id.to_string(),
        }
    }
}
