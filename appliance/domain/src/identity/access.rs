//! What a user is within a scope: his roles there, inherited and implied ones included.

use super::account::User;
use super::grant::{Assignment, Party, Place};
use super::name::id_text;
use super::project::Project;
use super::rows::Directory;
use super::token::{ApplicationCredential, Token};
use crate::id::{ProjectId, RoleId, UserId};
use crate::policy::Credentials;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What credentials are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Nothing: good for asking what there is to choose from.
    Unscoped,
    Project(ProjectId),
    /// A domain as such.
    Domain(ProjectId),
    System,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scope::Unscoped => Ok(()),
            Scope::Project(id) => write!(f, "project {}", id_text(id.0)),
            Scope::Domain(id) => write!(f, "domain {}", id_text(id.0)),
            Scope::System => f.write_str("system"),
        }
    }
}

/// Why a token is no longer good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("the token has expired")]
    Expired,
    #[error("what the token was issued for is no longer so")]
    Groundless,
}

/// A project tree is never deeper than this.
pub(crate) const DEEPEST: usize = 16;

impl Directory {
    /// The projects above this one, its parent first, its domain last.
    pub fn ancestors(&self, id: ProjectId) -> impl Iterator<Item = &Arc<Project>> {
        let above = move |id: &ProjectId| self.project(*id).and_then(|project| project.parent);
        let first = above(&id);
        std::iter::successors(first, above).take(DEEPEST).filter_map(|id| self.project(id))
    }

    /// The project and all above it are enabled.
    pub fn is_open(&self, id: ProjectId) -> bool {
        self.project(id).is_some_and(|project| project.enabled) && self.ancestors(id).all(|above| above.enabled)
    }

    /// The user and his domain are enabled.
    pub fn may_enter(&self, user: &User) -> bool {
        user.enabled && self.is_open(user.domain)
    }

    /// These roles and all that they imply.
    pub fn with_implied(&self, roles: impl IntoIterator<Item = RoleId>) -> BTreeSet<RoleId> {
        let mut all: BTreeSet<RoleId> = BTreeSet::new();
        let mut open: Vec<RoleId> = roles.into_iter().collect();
        while let Some(role) = open.pop() {
            if all.insert(role) {
                open.extend(self.implied_by(role));
            }
        }
        all
    }

    /// Everything that is assigned to the user, himself or by his groups.
    pub fn assignments_of_user(&self, user: UserId) -> impl Iterator<Item = &Assignment> {
        let groups = self.groups_of(user).map(Party::Group);
        std::iter::once(Party::User(user)).chain(groups).flat_map(|party| self.assignments_of(party))
    }

    /// The roles of a user in a scope, with inherited and implied ones, whether or not he and it are enabled.
    pub fn roles(&self, user: UserId, scope: Scope) -> BTreeSet<RoleId> {
        let (place, above) = match scope {
            Scope::Unscoped => return BTreeSet::new(),
            Scope::System => (Place::System, Vec::new()),
            Scope::Domain(id) => (Place::Project(id), Vec::new()),
            Scope::Project(id) => {
                (Place::Project(id), self.ancestors(id).map(|above| Place::Project(above.id)).collect())
            }
        };
        let holds = |held: &&Assignment| if held.inherited { above.contains(&held.place) } else { held.place == place };
        self.with_implied(self.assignments_of_user(user).filter(holds).map(|held| held.role))
    }

    /// The scope is there and enabled; a domain is no project, nor the other way round.
    pub fn has_scope(&self, scope: Scope) -> bool {
        match scope {
            Scope::Unscoped | Scope::System => true,
            Scope::Project(id) => self.project(id).is_some_and(|project| !project.is_domain()) && self.is_open(id),
            Scope::Domain(id) => self.project(id).is_some_and(|project| project.is_domain()) && self.is_open(id),
        }
    }

    /// The roles on which credentials for a scope stand: `None` where he may not enter, the scope is not there or not
    /// enabled, or he has no role in it.
    pub fn grounds(&self, user: &User, scope: Scope) -> Option<BTreeSet<RoleId>> {
        if !self.may_enter(user) || !self.has_scope(scope) {
            return None;
        }
        let roles = self.roles(user.id, scope);
        (scope == Scope::Unscoped || !roles.is_empty()).then_some(roles)
    }

    /// What the user is in a scope, by his present roles.
    pub fn credentials(&self, user: &User, scope: Scope) -> Option<Credentials> {
        self.grounds(user, scope).map(|roles| self.credentials_with(user, scope, &roles))
    }

    /// Credentials with these roles, which must be the user's.
    pub fn credentials_with(&self, user: &User, scope: Scope, roles: &BTreeSet<RoleId>) -> Credentials {
        let names = roles.iter().filter_map(|id| self.role(*id)).map(|role| role.name.to_lowercase());
        let project = match scope {
            Scope::Project(id) => self.project(id),
            _ => None,
        };
        let domain = match scope {
            Scope::Domain(id) => Some(id_text(id.0)),
            _ => None,
        };
        Credentials {
            user_id: id_text(user.id.0),
            user_domain_id: id_text(user.domain.0),
            project_id: project.map(|project| project.id_text()),
            project_domain_id: project.map(|project| id_text(project.domain.0)),
            domain_id: domain,
            system: scope == Scope::System,
            roles: names.collect(),
        }
    }

    /// The roles of an application credential: those it was made with that its user still has. `None`: it is over, or
    /// nothing is left of it.
    pub fn grounds_of(&self, credential: &ApplicationCredential, now: Timestamp) -> Option<BTreeSet<RoleId>> {
        let user = self.user(credential.user)?;
        if credential.expires_at.is_some_and(|end| end <= now) {
            return None;
        }
        let present = self.grounds(user, Scope::Project(credential.project))?;
        let kept = self.with_implied(credential.roles.iter().copied().filter(|role| present.contains(role)));
        (!kept.is_empty()).then_some(kept)
    }

    /// Whether a token is still good: its user and scope are enabled, he has every role that it was issued with, and so
    /// has the application credential behind it.
    pub fn check_token(&self, token: &Token, now: Timestamp) -> Result<(), TokenFault> {
        if token.expires_at <= now {
            return Err(TokenFault::Expired);
        }
        let present = match token.credential {
            None => self.user(token.user).and_then(|user| self.grounds(user, token.scope)),
            Some(id) => self
                .credential(id)
                .filter(|credential| credential.user == token.user && token.scope == Scope::Project(credential.project))
                .and_then(|credential| self.grounds_of(credential, now)),
        };
        match present {
            Some(roles) if token.roles.is_subset(&roles) => Ok(()),
            _ => Err(TokenFault::Groundless),
        }
    }

    /// The projects in which the user has a role and that are enabled, by name.
    pub fn projects_of(&self, user: UserId) -> Vec<&Arc<Project>> {
        self.places_of(user, |directory, id| {
            let inside = directory.below(id).into_iter().filter(|project| !project.is_domain());
            inside.map(|project| project.id).collect()
        })
        .into_iter()
        .filter(|id| self.has_scope(Scope::Project(*id)))
        .filter_map(|id| self.project(id))
        .collect()
    }

    /// The domains in which the user has a role as such and that are enabled.
    pub fn domains_of(&self, user: UserId) -> Vec<&Arc<Project>> {
        let ids = self.places_of(user, |_, _| Vec::new());
        ids.into_iter().filter(|id| self.has_scope(Scope::Domain(*id))).filter_map(|id| self.project(id)).collect()
    }

    fn places_of(
        &self,
        user: UserId,
        inherits: impl Fn(&Directory, ProjectId) -> Vec<ProjectId>,
    ) -> BTreeSet<ProjectId> {
        let mut places = BTreeSet::new();
        for held in self.assignments_of_user(user) {
            match (held.place, held.inherited) {
                (Place::Project(id), false) => {
                    places.insert(id);
                }
                (Place::Project(id), true) => places.extend(inherits(self, id)),
                (Place::System, _) => {}
            }
        }
        places
    }

    /// All projects below this one, near ones first.
    pub fn below(&self, id: ProjectId) -> Vec<&Arc<Project>> {
        let mut found: Vec<&Arc<Project>> = self.children(id).collect();
        let mut next = 0;
        while let Some(project) = found.get(next).copied() {
            found.extend(self.children(project.id));
            next += 1;
        }
        found
    }

    /// The scope of somebody who names none, as with Basic authentication: his default project, else the system where he
    /// has a role on it, else his only project.
    pub fn usual_scope(&self, user: &User) -> Scope {
        let usable = |scope: &Scope| self.grounds(user, *scope).is_some();
        let default = user.default_project.map(Scope::Project).filter(usable);
        let system = || Some(Scope::System).filter(usable);
        let only = || match self.projects_of(user.id).as_slice() {
            [project] => Some(Scope::Project(project.id)).filter(usable),
            _ => None,
        };
        default.or_else(system).or_else(only).unwrap_or(Scope::Unscoped)
    }
}
