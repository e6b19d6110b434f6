//! Who may speak to the appliance, and as what: users, projects, roles.
//!
//! In: commands about them. Out: rows, and what a user is within a scope.

mod rows;

pub use rows::{Directory, IdentityKey, IdentityRow};

use crate::id::{ProjectId, UserId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A user. The password is an Argon2id hash in PHC format, made outside the domain.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub name: String,
    pub password_hash: String,
    /// The password was made by the appliance and is good until its first change.
    pub one_time: bool,
    pub enabled: bool,
    pub created_at: Timestamp,
    pub password_changed_at: Timestamp,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// A project: what owns and leases nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Project {
    pub id: ProjectId,
    pub name: String,
    pub created_at: Timestamp,
}

/// A command about identity.
#[derive(Clone, Debug)]
pub enum IdentityCommand {
    PutProject(Box<Project>),
}

impl IdentityCommand {
    /// The name for audit, log and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            IdentityCommand::PutProject(_) => "put-project",
        }
    }

    /// The id of what it is about.
    pub fn subject(&self) -> String {
        match self {
            IdentityCommand::PutProject(project) => project.id.to_string(),
        }
    }
}
