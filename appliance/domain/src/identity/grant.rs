//! Roles, which role holds which other, and who has them where.

use crate::id::{GroupId, ProjectId, RoleId, UserId};
use serde::{Deserialize, Serialize};

/// A role: a name that rules ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    pub id: RoleId,
    pub name: String,
    pub description: String,
    /// One of the appliance's own: rules rest on its name, so it is neither renamed nor deleted.
    pub built_in: bool,
}

/// Who has the role `prior` has the role `implied` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Implication {
    pub prior: RoleId,
    pub implied: RoleId,
}

/// Who has a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Party {
    User(UserId),
    Group(GroupId),
}

/// Where a role is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Place {
    /// A project or a domain.
    Project(ProjectId),
    /// The whole box.
    System,
}

/// A role of somebody somewhere. Ordered by party, so that what one party has lies together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Assignment {
    pub party: Party,
    pub place: Place,
    /// It holds in all projects below the place, and not in the place itself (Keystone's OS-INHERIT).
    pub inherited: bool,
    pub role: RoleId,
}
