//! The rows of this room and what they are found by.

use super::Chassis;
use crate::id::ChassisId;
use crate::rows::{Row, RowKey, Rows, key_bytes};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A row of the hardware room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum HardwareRow {
    Chassis(Arc<Chassis>),
}

/// Which row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HardwareKey {
    Chassis(ChassisId),
}

impl Row for HardwareRow {
    type Key = HardwareKey;

    fn key(&self) -> HardwareKey {
        match self {
            HardwareRow::Chassis(row) => HardwareKey::Chassis(row.id),
        }
    }
}

impl RowKey for HardwareKey {
    fn bytes(&self) -> Vec<u8> {
        match self {
            HardwareKey::Chassis(id) => key_bytes(1, &[id.0.as_bytes()]),
        }
    }
}

/// All rows of the room, and the indices over them.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    all_chassis: OrdMap<ChassisId, Arc<Chassis>>,
}

impl Catalogue {
    pub fn chassis(&self, id: ChassisId) -> Option<&Arc<Chassis>> {
        self.all_chassis.get(&id)
    }

    pub fn all_chassis(&self) -> impl Iterator<Item = &Arc<Chassis>> {
        self.all_chassis.values()
    }

    /// Makes one row as it is to be, and every index that knows of it.
    pub fn apply(&mut self, change: &Rows<HardwareRow>) {
        match change {
            Rows::Put(HardwareRow::Chassis(row)) => {
                self.all_chassis.insert(row.id, row.clone());
            }
            Rows::Delete(HardwareKey::Chassis(id)) => {
                self.all_chassis.remove(id);
            }
        }
    }
}
