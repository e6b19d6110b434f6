//! The rows of this room and what they are found by.

use super::account::{Group, Membership, User};
use super::grant::{Assignment, Implication, Party, Place, Role};
use super::name::folded;
use super::project::{DEFAULT_DOMAIN, Project};
use super::token::{ApplicationCredential, Digest, Feed, Invitation, Token};
use crate::id::{CredentialId, GroupId, ProjectId, RoleId, UserId};
use crate::rows::{Row, RowKey, Rows, key_bytes};
use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

/// A row of the identity room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum IdentityRow {
    /// A project or a domain.
    Project(Arc<Project>),
    User(Arc<User>),
    Group(Arc<Group>),
    Membership(Membership),
    Role(Arc<Role>),
    Implication(Implication),
    Assignment(Assignment),
    Credential(Arc<ApplicationCredential>),
    Token(Arc<Token>),
    Invitation(Arc<Invitation>),
    Feed(Arc<Feed>),
}

/// Which row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityKey {
    Project(ProjectId),
    User(UserId),
    Group(GroupId),
    Membership(Membership),
    Role(RoleId),
    Implication(Implication),
    Assignment(Assignment),
    Credential(CredentialId),
    Token(Digest),
    Invitation(Digest),
    Feed(Digest),
}

impl Row for IdentityRow {
    type Key = IdentityKey;

    fn key(&self) -> IdentityKey {
        match self {
            IdentityRow::Project(row) => IdentityKey::Project(row.id),
            IdentityRow::User(row) => IdentityKey::User(row.id),
            IdentityRow::Group(row) => IdentityKey::Group(row.id),
            IdentityRow::Membership(row) => IdentityKey::Membership(*row),
            IdentityRow::Role(row) => IdentityKey::Role(row.id),
            IdentityRow::Implication(row) => IdentityKey::Implication(*row),
            IdentityRow::Assignment(row) => IdentityKey::Assignment(*row),
            IdentityRow::Credential(row) => IdentityKey::Credential(row.id),
            IdentityRow::Token(row) => IdentityKey::Token(row.digest),
            IdentityRow::Invitation(row) => IdentityKey::Invitation(row.digest),
            IdentityRow::Feed(row) => IdentityKey::Feed(row.digest),
        }
    }
}

impl RowKey for IdentityKey {
    fn bytes(&self) -> Vec<u8> {
        match self {
            IdentityKey::Project(id) => key_bytes(1, &[id.0.as_bytes()]),
            IdentityKey::User(id) => key_bytes(2, &[id.0.as_bytes()]),
            IdentityKey::Group(id) => key_bytes(3, &[id.0.as_bytes()]),
            IdentityKey::Membership(Membership { user, group }) => {
                key_bytes(4, &[user.0.as_bytes(), group.0.as_bytes()])
            }
            IdentityKey::Role(id) => key_bytes(5, &[id.0.as_bytes()]),
            IdentityKey::Implication(Implication { prior, implied }) => {
                key_bytes(6, &[prior.0.as_bytes(), implied.0.as_bytes()])
            }
            IdentityKey::Assignment(held) => {
                let (party, whose) = match &held.party {
                    Party::User(id) => (0, &id.0),
                    Party::Group(id) => (1, &id.0),
                };
                let (place, which) = match &held.place {
                    Place::Project(id) => (0, &id.0),
                    Place::System => (1, &Uuid::nil()),
                };
                let (kinds, inherited) = ([party, place], [u8::from(held.inherited)]);
                key_bytes(7, &[&kinds, whose.as_bytes(), which.as_bytes(), &inherited, held.role.0.as_bytes()])
            }
            IdentityKey::Credential(id) => key_bytes(8, &[id.0.as_bytes()]),
            IdentityKey::Token(digest) => key_bytes(9, &[digest]),
            IdentityKey::Invitation(digest) => key_bytes(10, &[digest]),
            IdentityKey::Feed(digest) => key_bytes(11, &[digest]),
        }
    }
}

/// All rows of the room, and the indices over them.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Rises with every change that may alter what somebody is; issuing and ending tokens is none. What is computed
    /// from a directory holds for every later one of the same generation.
    generation: u64,
    projects: OrdMap<ProjectId, Arc<Project>>,
    /// By domain and folded name; a domain itself under `None`.
    project_names: OrdMap<(Option<ProjectId>, String), ProjectId>,
    children: OrdSet<(ProjectId, ProjectId)>,
    users: OrdMap<UserId, Arc<User>>,
    user_names: OrdMap<(ProjectId, String), UserId>,
    groups: OrdMap<GroupId, Arc<Group>>,
    group_names: OrdMap<(ProjectId, String), GroupId>,
    memberships: OrdSet<Membership>,
    members: OrdSet<(GroupId, UserId)>,
    roles: OrdMap<RoleId, Arc<Role>>,
    role_names: OrdMap<String, RoleId>,
    implications: OrdSet<Implication>,
    assignments: OrdSet<Assignment>,
    credentials: OrdMap<CredentialId, Arc<ApplicationCredential>>,
    user_credentials: OrdSet<(UserId, CredentialId)>,
    tokens: OrdMap<Digest, Arc<Token>>,
    /// A user's tokens, oldest first.
    user_tokens: OrdSet<(UserId, Timestamp, Digest)>,
    token_ends: OrdSet<(Timestamp, Digest)>,
    invitations: OrdMap<Digest, Arc<Invitation>>,
    feeds: OrdMap<Digest, Arc<Feed>>,
    user_feeds: OrdMap<(UserId, ProjectId), Digest>,
}

const LEAST: Uuid = Uuid::nil();
const MOST: Uuid = Uuid::max();

impl Directory {
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A project or a domain.
    pub fn project(&self, id: ProjectId) -> Option<&Arc<Project>> {
        self.projects.get(&id)
    }

    /// All projects and domains.
    pub fn projects(&self) -> impl Iterator<Item = &Arc<Project>> {
        self.projects.values()
    }

    pub fn project_by_name(&self, domain: ProjectId, name: &str) -> Option<&Arc<Project>> {
        let id = self.project_names.get(&(Some(domain), folded(name)))?;
        self.projects.get(id)
    }

    pub fn domain(&self, id: ProjectId) -> Option<&Arc<Project>> {
        self.project(id).filter(|project| project.is_domain())
    }

    pub fn domain_by_name(&self, name: &str) -> Option<&Arc<Project>> {
        self.project_names.get(&(None, folded(name))).and_then(|id| self.projects.get(id))
    }

    /// The projects right below this project or domain.
    pub fn children(&self, id: ProjectId) -> impl Iterator<Item = &Arc<Project>> {
        let range = (id, ProjectId(LEAST))..=(id, ProjectId(MOST));
        self.children.range(range).filter_map(|(_, child)| self.projects.get(child))
    }

    pub fn user(&self, id: UserId) -> Option<&Arc<User>> {
        self.users.get(&id)
    }

    pub fn users(&self) -> impl Iterator<Item = &Arc<User>> {
        self.users.values()
    }

    pub fn user_by_name(&self, domain: ProjectId, name: &str) -> Option<&Arc<User>> {
        self.user_names.get(&(domain, folded(name))).and_then(|id| self.users.get(id))
    }

    pub fn group(&self, id: GroupId) -> Option<&Arc<Group>> {
        self.groups.get(&id)
    }

    pub fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.groups.values()
    }

    pub fn group_by_name(&self, domain: ProjectId, name: &str) -> Option<&Arc<Group>> {
        self.group_names.get(&(domain, folded(name))).and_then(|id| self.groups.get(id))
    }

    pub fn is_member(&self, membership: Membership) -> bool {
        self.memberships.contains(&membership)
    }

    pub fn groups_of(&self, user: UserId) -> impl Iterator<Item = GroupId> {
        let from = Membership { user, group: GroupId(LEAST) };
        let until = Membership { user, group: GroupId(MOST) };
        self.memberships.range(from..=until).map(|membership| membership.group)
    }

    pub fn members_of(&self, group: GroupId) -> impl Iterator<Item = UserId> {
        self.members.range((group, UserId(LEAST))..=(group, UserId(MOST))).map(|(_, user)| *user)
    }

    pub fn role(&self, id: RoleId) -> Option<&Arc<Role>> {
        self.roles.get(&id)
    }

    pub fn roles_known(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.roles.values()
    }

    pub fn role_by_name(&self, name: &str) -> Option<&Arc<Role>> {
        self.role_names.get(&folded(name)).and_then(|id| self.roles.get(id))
    }

    pub fn implications(&self) -> impl Iterator<Item = &Implication> {
        self.implications.iter()
    }

    pub fn has_implication(&self, implication: Implication) -> bool {
        self.implications.contains(&implication)
    }

    /// The roles that this one implies by itself.
    pub fn implied_by(&self, prior: RoleId) -> impl Iterator<Item = RoleId> {
        let from = Implication { prior, implied: RoleId(LEAST) };
        self.implications.range(from..=Implication { prior, implied: RoleId(MOST) }).map(|pair| pair.implied)
    }

    pub fn assignments(&self) -> impl Iterator<Item = &Assignment> {
        self.assignments.iter()
    }

    pub fn has_assignment(&self, assignment: &Assignment) -> bool {
        self.assignments.contains(assignment)
    }

    pub fn assignments_of(&self, party: Party) -> impl Iterator<Item = &Assignment> {
        let least = Place::Project(ProjectId(LEAST));
        let from = Assignment { party, place: least, inherited: false, role: RoleId(LEAST) };
        let until = Assignment { party, place: Place::System, inherited: true, role: RoleId(MOST) };
        self.assignments.range(from..=until)
    }

    pub fn credential(&self, id: CredentialId) -> Option<&Arc<ApplicationCredential>> {
        self.credentials.get(&id)
    }

    pub fn credentials_of(&self, user: UserId) -> impl Iterator<Item = &Arc<ApplicationCredential>> {
        let range = (user, CredentialId(LEAST))..=(user, CredentialId(MOST));
        self.user_credentials.range(range).filter_map(|(_, id)| self.credentials.get(id))
    }

    pub fn token(&self, digest: &Digest) -> Option<&Arc<Token>> {
        self.tokens.get(digest)
    }

    pub fn tokens(&self) -> impl Iterator<Item = &Arc<Token>> {
        self.tokens.values()
    }

    /// A user's tokens, oldest first.
    pub fn tokens_of(&self, user: UserId) -> impl Iterator<Item = &Arc<Token>> {
        let range = (user, Timestamp::MIN, [0; 32])..=(user, Timestamp::MAX, [u8::MAX; 32]);
        self.user_tokens.range(range).filter_map(|(_, _, digest)| self.tokens.get(digest))
    }

    /// Tokens that have expired by then.
    pub fn tokens_over(&self, now: Timestamp) -> impl Iterator<Item = &Arc<Token>> {
        let range = ..=(now, [u8::MAX; 32]);
        self.token_ends.range(range).filter_map(|(_, digest)| self.tokens.get(digest))
    }

    pub fn invitation(&self, digest: &Digest) -> Option<&Arc<Invitation>> {
        self.invitations.get(digest)
    }

    pub fn invitations(&self) -> impl Iterator<Item = &Arc<Invitation>> {
        self.invitations.values()
    }

    pub fn feed(&self, digest: &Digest) -> Option<&Arc<Feed>> {
        self.feeds.get(digest)
    }

    pub fn feeds(&self) -> impl Iterator<Item = &Arc<Feed>> {
        self.feeds.values()
    }

    /// The calendar that a user has of a project.
    pub fn feed_of(&self, user: UserId, project: ProjectId) -> Option<&Arc<Feed>> {
        self.user_feeds.get(&(user, project)).and_then(|digest| self.feeds.get(digest))
    }

    pub fn feeds_of(&self, user: UserId) -> impl Iterator<Item = &Arc<Feed>> {
        let range = (user, ProjectId(LEAST))..=(user, ProjectId(MOST));
        self.user_feeds.range(range).filter_map(|(_, digest)| self.feeds.get(digest))
    }

    /// Makes one row as it is to be, and every index that knows of it.
    pub fn apply(&mut self, change: &Rows<IdentityRow>) {
        let key = change.key();
        if !matches!(key, IdentityKey::Token(_) | IdentityKey::Invitation(_) | IdentityKey::Feed(_)) {
            self.generation += 1;
        }
        self.forget(&key);
        if let Rows::Put(row) = change {
            self.put(row);
        }
    }

    fn put(&mut self, row: &IdentityRow) {
        match row {
            IdentityRow::Project(row) => {
                self.project_names.insert(project_name(row), row.id);
                self.children.extend(row.parent.map(|parent| (parent, row.id)));
                self.projects.insert(row.id, row.clone());
            }
            IdentityRow::User(row) => {
                self.user_names.insert((row.domain, folded(&row.name)), row.id);
                self.users.insert(row.id, row.clone());
            }
            IdentityRow::Group(row) => {
                self.group_names.insert((row.domain, folded(&row.name)), row.id);
                self.groups.insert(row.id, row.clone());
            }
            IdentityRow::Membership(row) => {
                self.memberships.insert(*row);
                self.members.insert((row.group, row.user));
            }
            IdentityRow::Role(row) => {
                self.role_names.insert(folded(&row.name), row.id);
                self.roles.insert(row.id, row.clone());
            }
            IdentityRow::Implication(row) => {
                self.implications.insert(*row);
            }
            IdentityRow::Assignment(row) => {
                self.assignments.insert(*row);
            }
            IdentityRow::Credential(row) => {
                self.user_credentials.insert((row.user, row.id));
                self.credentials.insert(row.id, row.clone());
            }
            IdentityRow::Token(row) => {
                self.user_tokens.insert((row.user, row.issued_at, row.digest));
                self.token_ends.insert((row.expires_at, row.digest));
                self.tokens.insert(row.digest, row.clone());
            }
            IdentityRow::Invitation(row) => {
                self.invitations.insert(row.digest, row.clone());
            }
            IdentityRow::Feed(row) => {
                self.user_feeds.insert((row.user, row.project), row.digest);
                self.feeds.insert(row.digest, row.clone());
            }
        }
    }

    fn forget(&mut self, key: &IdentityKey) {
        match key {
            IdentityKey::Project(id) => {
                if let Some(old) = self.projects.remove(id) {
                    self.project_names.remove(&project_name(&old));
                    if let Some(parent) = old.parent {
                        self.children.remove(&(parent, *id));
                    }
                }
            }
            IdentityKey::User(id) => {
                if let Some(old) = self.users.remove(id) {
                    self.user_names.remove(&(old.domain, folded(&old.name)));
                }
            }
            IdentityKey::Group(id) => {
                if let Some(old) = self.groups.remove(id) {
                    self.group_names.remove(&(old.domain, folded(&old.name)));
                }
            }
            IdentityKey::Membership(row) => {
                self.memberships.remove(row);
                self.members.remove(&(row.group, row.user));
            }
            IdentityKey::Role(id) => {
                if let Some(old) = self.roles.remove(id) {
                    self.role_names.remove(&folded(&old.name));
                }
            }
            IdentityKey::Implication(row) => {
                self.implications.remove(row);
            }
            IdentityKey::Assignment(row) => {
                self.assignments.remove(row);
            }
            IdentityKey::Credential(id) => {
                if let Some(old) = self.credentials.remove(id) {
                    self.user_credentials.remove(&(old.user, *id));
                }
            }
            IdentityKey::Token(digest) => {
                if let Some(old) = self.tokens.remove(digest) {
                    self.user_tokens.remove(&(old.user, old.issued_at, *digest));
                    self.token_ends.remove(&(old.expires_at, *digest));
                }
            }
            IdentityKey::Invitation(digest) => {
                self.invitations.remove(digest);
            }
            IdentityKey::Feed(digest) => {
                if let Some(old) = self.feeds.remove(digest) {
                    self.user_feeds.remove(&(old.user, old.project));
                }
            }
        }
    }

    /// A user of the default domain.
    pub fn user_of_default_domain(&self, name: &str) -> Option<&Arc<User>> {
        self.user_by_name(DEFAULT_DOMAIN, name)
    }
}

fn project_name(project: &Project) -> (Option<ProjectId>, String) {
    ((!project.is_domain()).then_some(project.domain), folded(&project.name))
}
