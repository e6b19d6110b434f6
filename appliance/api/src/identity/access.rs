//! What stands beneath the rules, whatever a policy file says.
//!
//! Rules of Keystone's default ask for the role `admin` wherever it is held. Here a project's administrator is no more
//! than that: accounts are administered from the system, or from the domain that they live in; and nobody gives a role
//! that he has not himself where he gives it.

use super::fault::{Asker, Fault};
use axum::http::StatusCode;
use leasehold_domain::id::{ProjectId, RoleId, UserId};
use leasehold_domain::identity::{Directory, Group, Place, Project, Role, Scope, User, id_text};
use leasehold_domain::policy::Target;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// A thing as Keystone's rules see it.
#[derive(Default)]
pub(super) struct Facts(Vec<(&'static str, String)>);

impl Target for Facts {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| Cow::Borrowed(value.as_str()))
    }
}

impl Facts {
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Facts {
        self.0.push((name, value.into()));
        self
    }

    pub(super) fn project(project: &Project) -> Facts {
        Facts::default()
            .with("target.project.id", project.id_text())
            .with("target.project.domain_id", id_text(project.domain.0))
            .with("project_id", project.id_text())
    }

    pub(super) fn domain(id: ProjectId) -> Facts {
        let id = id_text(id.0);
        Facts::default().with("target.domain.id", id.clone()).with("target.domain_id", id.clone()).with("domain_id", id)
    }

    pub(super) fn user(user: &User) -> Facts {
        let id = id_text(user.id.0);
        Facts::default()
            .with("target.user.id", id.clone())
            .with("target.user.domain_id", id_text(user.domain.0))
            .with("user_id", id)
    }

    pub(super) fn group(group: &Group) -> Facts {
        Facts::default()
            .with("target.group.id", id_text(group.id.0))
            .with("target.group.domain_id", id_text(group.domain.0))
    }

    pub(super) fn role(role: &Role) -> Facts {
        Facts::default().with("target.role.id", id_text(role.id.0))
    }

    pub(super) fn and(mut self, other: Facts) -> Facts {
        self.0.extend(other.0);
        self
    }
}

fn too_low() -> Fault {
    let message =
        "Accounts are administered with credentials for the system (--os-system-scope all) or for their domain.";
    Fault::new(StatusCode::FORBIDDEN, message)
}

impl Asker {
    /// Whether the rule says yes to the caller for a thing of this domain (`None`: of none). In a project the role `admin`
    /// counts as `manager` does: its rules are meant for administrators of the whole. A domain's credentials reach no other.
    pub(super) fn asks(&self, rule: &str, facts: &Facts, domain: Option<ProjectId>) -> bool {
        match self.scope {
            Scope::System => self.allows(rule, facts),
            Scope::Domain(own) => domain.is_none_or(|domain| domain == own) && self.allows(rule, facts),
            Scope::Project(_) | Scope::Unscoped => {
                let mut credentials = (*self.credentials).clone();
                credentials.roles.remove("admin");
                self.policy.allows(rule, &credentials, facts)
            }
        }
    }

    /// The rule says yes and the caller stands high enough to administer things of this domain (`None`: of all).
    pub(super) fn administers(&self, rule: &str, facts: &Facts, domain: Option<ProjectId>) -> Result<(), Fault> {
        if !self.allows(rule, facts) {
            return Err(Fault::forbidden(rule));
        }
        match self.scope {
            Scope::System => Ok(()),
            Scope::Domain(own) if Some(own) == domain => Ok(()),
            _ => Err(too_low()),
        }
    }

    /// And may do so to this user: from a domain nobody touches one who has a role beyond that domain.
    pub(super) fn administers_user(&self, rule: &str, directory: &Directory, user: &User) -> Result<(), Fault> {
        self.administers(rule, &Facts::user(user), Some(user.domain))?;
        let Scope::Domain(own) = self.scope else { return Ok(()) };
        let within = |place: Place| match place {
            Place::System => false,
            Place::Project(id) => directory.project(id).is_some_and(|project| project.domain == own),
        };
        if directory.assignments_of_user(user.id).all(|held| within(held.place)) { Ok(()) } else { Err(too_low()) }
    }

    /// Whether the caller may give or take this role there: from the system every one, from a domain in its projects, from
    /// a project in itself and below; below the system only roles that he has himself.
    pub(super) fn may_give(&self, directory: &Directory, place: Place, role: RoleId) -> Result<(), Fault> {
        let reaches = match (self.scope, place) {
            (Scope::System, _) => true,
            (Scope::Unscoped, _) | (_, Place::System) => false,
            (Scope::Domain(own), Place::Project(id)) => {
                directory.project(id).is_some_and(|project| project.domain == own)
            }
            (Scope::Project(own), Place::Project(id)) => {
                own == id || directory.ancestors(id).any(|above| above.id == own)
            }
        };
        let name = directory.role(role).map(|role| role.name.to_lowercase()).unwrap_or_default();
        let has = self.scope == Scope::System || self.credentials.roles.contains(&name);
        if reaches && has {
            return Ok(());
        }
        let message = "A role is given and taken by who has it there or above, or by the system's administrators.";
        Err(Fault::new(StatusCode::FORBIDDEN, message))
    }

    /// The caller's own projects and all above them: what he sees of the tree without any rule.
    pub(super) fn own_tree(&self, directory: &Directory) -> BTreeSet<ProjectId> {
        let mut tree = BTreeSet::from([self.user.domain]);
        for project in directory.projects_of(self.user.id) {
            tree.insert(project.id);
            tree.extend(directory.ancestors(project.id).map(|above| above.id));
        }
        tree.extend(directory.domains_of(self.user.id).iter().map(|domain| domain.id));
        tree
    }

    pub(super) fn is(&self, user: UserId) -> bool {
        self.user.id == user
    }
}
