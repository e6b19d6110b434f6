//! What is always there: the default domain, the built-in roles, the project `admin`, and an administrator.

use super::super::Room;
use crate::command::Answer;
use crate::id::{ProjectId, RoleId};
use crate::identity::{
    Assignment, Bootstrap, DEFAULT_DOMAIN, IdentityRow, Implication, Party, Place, Project, Role, built_in_roles,
};
use crate::refusal::Refusal;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The first project.
const PROJECT: &str = "admin";

impl Room<'_> {
    /// Makes what is missing. Where nobody has any role yet, all users there are become administrators: a box that was set
    /// up before there were roles has no others.
    pub(super) fn bootstrap(&mut self, wanted: &Bootstrap) -> Result<Answer, Refusal> {
        let directory = self.directory().clone();
        if directory.domain(DEFAULT_DOMAIN).is_none() {
            self.put_project(DEFAULT_DOMAIN, "Default", "The domain of all who name none", None);
        }
        let mut roles = BTreeMap::new();
        for (role, id) in built_in_roles().iter().zip(&wanted.roles) {
            let known = directory.role_by_name(role.name).map(|known| known.id);
            let id = known.unwrap_or(RoleId(*id));
            if known.is_none() {
                let row = Role { id, name: role.name.into(), description: role.description.into(), built_in: true };
                self.put(IdentityRow::Role(Arc::new(row)));
                // What a role implies stands before it in the list.
                if let Some(implied) = role.implies.and_then(|name| roles.get(name).copied()) {
                    self.put(IdentityRow::Implication(Implication { prior: id, implied }));
                }
            }
            roles.insert(role.name, id);
        }
        let known = directory.project_by_name(DEFAULT_DOMAIN, PROJECT).map(|project| project.id);
        let project = known.unwrap_or(wanted.project);
        if known.is_none() && directory.assignments().next().is_none() {
            self.put_project(project, PROJECT, "The administrators' own project", Some(DEFAULT_DOMAIN));
        }
        if directory.assignments().next().is_some() {
            return Ok(Answer::Done);
        }
        let mut users: Vec<_> = directory.users().map(|user| user.id).collect();
        if let (true, Some(first)) = (users.is_empty(), &wanted.administrator) {
            self.tell_of_user(&first.name);
            self.put(IdentityRow::User(Arc::new(first.clone())));
            users.push(first.id);
        }
        let Some(role) = roles.get("admin").copied() else {
            return Err(Refusal::Invalid("There is no id for the role admin.".into()));
        };
        for user in users {
            for place in [Place::System, Place::Project(project)] {
                self.put(IdentityRow::Assignment(Assignment {
                    party: Party::User(user),
                    place,
                    inherited: false,
                    role,
                }));
            }
        }
        Ok(Answer::Done)
    }

    fn put_project(&mut self, id: ProjectId, name: &str, description: &str, parent: Option<ProjectId>) {
        self.put(IdentityRow::Project(Arc::new(Project {
            id,
            name: name.into(),
            description: description.into(),
            domain: parent.unwrap_or(id),
            parent,
            enabled: true,
            tags: Vec::new(),
            created_at: self.context.now,
        })));
    }
}
