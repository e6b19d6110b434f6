//! Commands about identity, and what the first start makes.

use super::account::{Group, Membership, User};
use super::grant::{Assignment, Implication, Party, Role};
use super::name::id_text;
use super::project::Project;
use super::token::{ApplicationCredential, Digest, Feed, Invitation, Token};
use crate::id::{CredentialId, GroupId, ProjectId, RoleId, UserId};
use std::sync::Arc;
use uuid::Uuid;

/// A command about identity. A change names the row it was made from (`before`): it is refused when that has changed.
#[derive(Clone, Debug)]
pub enum IdentityCommand {
    /// Makes what is missing of the things that are always there.
    Bootstrap(Box<Bootstrap>),

    CreateProject(Box<Project>),
    ChangeProject {
        before: Arc<Project>,
        after: Box<Project>,
    },
    DeleteProject {
        id: ProjectId,
    },

    CreateUser(Box<User>),
    /// All but the password.
    ChangeUser {
        before: Arc<User>,
        after: Box<User>,
    },
    DeleteUser {
        id: UserId,
    },
    /// A new password; `one_time`: good for nothing but its change.
    SetPassword {
        user: UserId,
        password_hash: String,
        one_time: bool,
    },

    CreateGroup(Box<Group>),
    ChangeGroup {
        before: Arc<Group>,
        after: Box<Group>,
    },
    DeleteGroup {
        id: GroupId,
    },
    AddMember(Membership),
    RemoveMember(Membership),

    CreateRole(Box<Role>),
    ChangeRole {
        before: Arc<Role>,
        after: Box<Role>,
    },
    DeleteRole {
        id: RoleId,
    },
    Imply(Implication),
    EndImplication(Implication),
    Assign(Assignment),
    EndAssignment(Assignment),

    CreateCredential(Box<ApplicationCredential>),
    DeleteCredential {
        id: CredentialId,
    },

    /// The user is as he was when he proved who he is.
    IssueToken {
        token: Box<Token>,
        user: Arc<User>,
    },
    RevokeToken {
        digest: Digest,
    },
    /// Somebody proved by his password who he is and got no token, as with Basic: only the audit hears of it.
    NoteLogin {
        user: UserId,
    },
    /// Removes tokens and one-time links that have expired, some at a time.
    Sweep,

    /// A calendar takes the place of the one that the user has of the project.
    MakeFeed(Box<Feed>),
    EndFeed {
        user: UserId,
        project: ProjectId,
    },

    Invite(Box<Invitation>),
    /// The password that somebody chose by a one-time link.
    AcceptInvitation {
        digest: Digest,
        password_hash: String,
    },
}

impl IdentityCommand {
    /// The name for audit, log and metrics.
    pub fn name(&self) -> &'static str {
        use IdentityCommand as C;
        match self {
            C::Bootstrap(_) => "bootstrap",
            C::CreateProject(row) if row.is_domain() => "create-domain",
            C::CreateProject(_) => "create-project",
            C::ChangeProject { .. } => "change-project",
            C::DeleteProject { .. } => "delete-project",
            C::CreateUser(_) => "create-user",
            C::ChangeUser { .. } => "change-user",
            C::DeleteUser { .. } => "delete-user",
            C::SetPassword { .. } => "set-password",
            C::CreateGroup(_) => "create-group",
            C::ChangeGroup { .. } => "change-group",
            C::DeleteGroup { .. } => "delete-group",
            C::AddMember(_) => "add-member",
            C::RemoveMember(_) => "remove-member",
            C::CreateRole(_) => "create-role",
            C::ChangeRole { .. } => "change-role",
            C::DeleteRole { .. } => "delete-role",
            C::Imply(_) => "imply-role",
            C::EndImplication(_) => "end-implied-role",
            C::Assign(_) => "assign-role",
            C::EndAssignment(_) => "end-role-assignment",
            C::CreateCredential(_) => "create-application-credential",
            C::DeleteCredential { .. } => "delete-application-credential",
            C::IssueToken { token, .. } if token.session => "open-session",
            C::IssueToken { .. } => "issue-token",
            C::RevokeToken { .. } => "revoke-token",
            C::NoteLogin { .. } => "login",
            C::Sweep => "sweep-tokens",
            C::MakeFeed(_) => "make-calendar-feed",
            C::EndFeed { .. } => "end-calendar-feed",
            C::Invite(_) => "invite",
            C::AcceptInvitation { .. } => "accept-invitation",
        }
    }

    /// The id of what it is about.
    pub fn subject(&self) -> String {
        use IdentityCommand as C;
        let party = |party: &Party| match party {
            Party::User(id) => id_text(id.0),
            Party::Group(id) => id_text(id.0),
        };
        match self {
            C::Bootstrap(_) | C::Sweep | C::AcceptInvitation { .. } | C::RevokeToken { .. } => String::new(),
            C::CreateProject(row) => row.id_text(),
            C::ChangeProject { before, .. } => before.id_text(),
            C::DeleteProject { id } => id_text(id.0),
            C::CreateUser(row) => id_text(row.id.0),
            C::ChangeUser { before, .. } => id_text(before.id.0),
            C::DeleteUser { id } | C::SetPassword { user: id, .. } | C::NoteLogin { user: id } => id_text(id.0),
            C::CreateGroup(row) => id_text(row.id.0),
            C::ChangeGroup { before, .. } => id_text(before.id.0),
            C::DeleteGroup { id } => id_text(id.0),
            C::AddMember(row) | C::RemoveMember(row) => id_text(row.user.0),
            C::CreateRole(row) => id_text(row.id.0),
            C::ChangeRole { before, .. } => id_text(before.id.0),
            C::DeleteRole { id } => id_text(id.0),
            C::Imply(row) | C::EndImplication(row) => id_text(row.prior.0),
            C::Assign(row) | C::EndAssignment(row) => party(&row.party),
            C::CreateCredential(row) => id_text(row.id.0),
            C::DeleteCredential { id } => id_text(id.0),
            C::IssueToken { token, .. } => id_text(token.user.0),
            C::MakeFeed(row) => id_text(row.project.0),
            C::EndFeed { project, .. } => id_text(project.0),
            C::Invite(row) => id_text(row.user.0),
        }
    }
}

/// What the first start makes, with ids for all that may be missing.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    pub project: ProjectId,
    /// One for each of [`built_in_roles`].
    pub roles: Vec<Uuid>,
    /// The first user, where there is none.
    pub administrator: Option<User>,
}

/// A role that is always there.
#[derive(Clone, Copy, Debug)]
pub struct BuiltInRole {
    pub name: &'static str,
    pub description: &'static str,
    /// What it implies when it is made; an administrator may change that.
    pub implies: Option<&'static str>,
}

/// Keystone's roles, each implying the next, and those that esi-leap's rules ask for.
pub fn built_in_roles() -> &'static [BuiltInRole] {
    const fn role(name: &'static str, implies: Option<&'static str>, description: &'static str) -> BuiltInRole {
        BuiltInRole { name, description, implies }
    }
    const ROLES: &[BuiltInRole] = &[
        role("reader", None, "Sees what there is in its scope"),
        role("member", Some("reader"), "Uses what there is in its scope"),
        role("manager", Some("member"), "Runs its scope from day to day"),
        role("admin", Some("manager"), "May do anything in its scope"),
        role("service", None, "A program that works for others"),
        role("owner", None, "Offers and lends the nodes that its project owns"),
        role("lessee", None, "Claims what others offer"),
        role("esi_leap_owner", None, "Offers and lends the nodes that its project owns"),
        role("esi_leap_lessee", None, "Claims what others offer"),
    ];
    ROLES
}
