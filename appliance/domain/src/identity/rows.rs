//! The rows of this room and what they are found by.

use super::Project;
use crate::id::ProjectId;
use crate::rows::{Row, RowKey, Rows, key_bytes};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A row of the identity room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum IdentityRow {
    Project(Arc<Project>),
}

/// Which row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityKey {
    Project(ProjectId),
}

impl Row for IdentityRow {
    type Key = IdentityKey;

    fn key(&self) -> IdentityKey {
        match self {
            IdentityRow::Project(row) => IdentityKey::Project(row.id),
        }
    }
}

impl RowKey for IdentityKey {
    fn bytes(&self) -> Vec<u8> {
        match self {
            IdentityKey::Project(id) => key_bytes(1, &[id.0.as_bytes()]),
        }
    }
}

/// All rows of the room, and the indices over them.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    projects: OrdMap<ProjectId, Arc<Project>>,
}

impl Directory {
    pub fn project(&self, id: ProjectId) -> Option<&Arc<Project>> {
        self.projects.get(&id)
    }

    pub fn projects(&self) -> impl Iterator<Item = &Arc<Project>> {
        self.projects.values()
    }

    /// Makes one row as it is to be, and every index that knows of it.
    pub fn apply(&mut self, change: &Rows<IdentityRow>) {
        match change {
            Rows::Put(IdentityRow::Project(row)) => {
                self.projects.insert(row.id, row.clone());
            }
            Rows::Delete(IdentityKey::Project(id)) => {
                self.projects.remove(id);
            }
        }
    }
}
