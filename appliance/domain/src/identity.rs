//! Who may speak to the appliance: users, as far as one administrator needs them.

use crate::id::UserId;
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
