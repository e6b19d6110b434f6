//! Projects and domains.

use super::name::id_text;
use crate::id::ProjectId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The domain that is always there: Keystone's id for it is `default`.
pub const DEFAULT_DOMAIN: ProjectId = ProjectId(Uuid::nil());

/// A project: what owns and leases nodes. A domain is the root of a tree of projects, and the room of its users' names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Project {
    pub id: ProjectId,
    pub name: String,
    pub description: String,
    /// Its domain; a domain's own id.
    pub domain: ProjectId,
    /// The project or domain above it; `None` for a domain.
    pub parent: Option<ProjectId>,
    pub enabled: bool,
    pub tags: Vec<String>,
    pub created_at: Timestamp,
}

impl Project {
    pub fn is_domain(&self) -> bool {
        self.parent.is_none()
    }

    /// The id as the APIs show it, and as nodes name their owner and lessee.
    pub fn id_text(&self) -> String {
        id_text(self.id.0)
    }
}
