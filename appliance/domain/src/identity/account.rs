//! Users and groups.

use super::project::DEFAULT_DOMAIN;
use crate::id::{GroupId, ProjectId, UserId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A user. The password is an Argon2id hash in PHC format, made outside the domain; empty until one is set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub name: String,
    pub password_hash: String,
    /// The password was given by somebody else and is good for nothing but its change.
    pub one_time: bool,
    pub enabled: bool,
    pub created_at: Timestamp,
    pub password_changed_at: Timestamp,
    #[serde(default = "default_domain")]
    pub domain: ProjectId,
    #[serde(default)]
    pub default_project: Option<ProjectId>,
    #[serde(default)]
    pub email: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
}

fn default_domain() -> ProjectId {
    DEFAULT_DOMAIN
}

impl User {
    /// An enabled user of the default domain.
    pub fn new(id: UserId, name: &str, password_hash: String, now: Timestamp) -> User {
        User {
            id,
            name: name.to_owned(),
            password_hash,
            one_time: false,
            enabled: true,
            created_at: now,
            password_changed_at: now,
            domain: DEFAULT_DOMAIN,
            default_project: None,
            email: None,
            description: None,
        }
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// A group of users: what is assigned to it holds for each of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub id: GroupId,
    pub domain: ProjectId,
    pub name: String,
    pub description: String,
}

/// A user is in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Membership {
    pub user: UserId,
    pub group: GroupId,
}
