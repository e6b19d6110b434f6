//! Roles, which implies which, and assignments.

use super::super::Room;
use super::{changed, missing, taken};
use crate::command::Answer;
use crate::id::RoleId;
use crate::identity::{
    ApplicationCredential, Assignment, IdentityKey, IdentityRow, Implication, Party, Place, Role, check_name,
    check_text,
};
use crate::refusal::Refusal;
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn create_role(&mut self, role: &Role) -> Result<Answer, Refusal> {
        if self.directory().role(role.id).is_some() {
            return Err(taken("Role", &role.name));
        }
        self.check_role(role)?;
        Ok(self.put(IdentityRow::Role(Arc::new(role.clone()))))
    }

    pub(super) fn change_role(&mut self, before: &Arc<Role>, after: &Role) -> Result<Answer, Refusal> {
        let present = self.directory().role(before.id).ok_or_else(|| missing("Role", before.id.0))?;
        if present != before {
            return Err(changed("Role", &before.name));
        }
        if before.built_in && after.name != before.name {
            return Err(Refusal::Forbidden(format!("The role {} keeps its name: rules rest on it.", before.name)));
        }
        self.check_role(after)?;
        let after = Role { id: before.id, built_in: before.built_in, ..after.clone() };
        Ok(self.put(IdentityRow::Role(Arc::new(after))))
    }

    fn check_role(&self, role: &Role) -> Result<(), Refusal> {
        check_name("role", &role.name, 64)?;
        check_text("A description", &role.description, 4000)?;
        match self.directory().role_by_name(&role.name) {
            Some(other) if other.id != role.id => Err(taken("Role", &role.name)),
            _ => Ok(()),
        }
    }

    pub(super) fn delete_role(&mut self, id: RoleId) -> Result<Answer, Refusal> {
        let directory = self.directory();
        let role = directory.role(id).ok_or_else(|| missing("Role", id.0))?;
        if role.built_in {
            return Err(Refusal::Forbidden(format!("The role {} cannot be deleted: rules rest on it.", role.name)));
        }
        let mut gone: Vec<IdentityKey> = Vec::new();
        let pairs = directory.implications().filter(|pair| pair.prior == id || pair.implied == id);
        gone.extend(pairs.map(|pair| IdentityKey::Implication(*pair)));
        let held = directory.assignments().filter(|held| held.role == id);
        gone.extend(held.map(|held| IdentityKey::Assignment(*held)));
        let credentials = directory.users().flat_map(|user| directory.credentials_of(user.id));
        let narrowed: Vec<Arc<ApplicationCredential>> =
            credentials.filter(|credential| credential.roles.contains(&id)).cloned().collect();
        for key in gone {
            self.delete(key);
        }
        for credential in narrowed {
            let mut narrower = (*credential).clone();
            narrower.roles.remove(&id);
            if narrower.roles.is_empty() {
                self.delete(IdentityKey::Credential(narrower.id));
            } else {
                self.put(IdentityRow::Credential(Arc::new(narrower)));
            }
        }
        self.delete(IdentityKey::Role(id));
        Ok(Answer::Done)
    }

    pub(super) fn imply(&mut self, row: Implication) -> Result<Answer, Refusal> {
        let directory = self.directory();
        directory.role(row.prior).ok_or_else(|| missing("Role", row.prior.0))?;
        let implied = directory.role(row.implied).ok_or_else(|| missing("Role", row.implied.0))?;
        if implied.name == "admin" {
            return Err(Refusal::Forbidden("The role admin is implied by none: it is given by name.".into()));
        }
        if directory.with_implied([row.implied]).contains(&row.prior) {
            return Err(Refusal::Forbidden("Roles that imply one another would be one role.".into()));
        }
        Ok(self.put(IdentityRow::Implication(row)))
    }

    pub(super) fn end_implication(&mut self, row: Implication) -> Result<Answer, Refusal> {
        if !self.directory().has_implication(row) {
            return Err(missing("Implied role", row.implied.0));
        }
        self.delete(IdentityKey::Implication(row));
        Ok(Answer::Done)
    }

    pub(super) fn assign(&mut self, row: &Assignment) -> Result<Answer, Refusal> {
        let directory = self.directory();
        directory.role(row.role).ok_or_else(|| missing("Role", row.role.0))?;
        match row.party {
            Party::User(id) => directory.user(id).map(drop).ok_or_else(|| missing("User", id.0))?,
            Party::Group(id) => directory.group(id).map(drop).ok_or_else(|| missing("Group", id.0))?,
        }
        match row.place {
            Place::Project(id) => directory.project(id).map(drop).ok_or_else(|| missing("Project", id.0))?,
            Place::System if row.inherited => {
                return Err(Refusal::Invalid(
                    "Nothing lies below the system: a role on it cannot be inherited.".into(),
                ));
            }
            Place::System => {}
        }
        Ok(self.put(IdentityRow::Assignment(*row)))
    }

    /// The last way into the system stays: an administrator who takes it from himself would lock the box.
    pub(super) fn end_assignment(&mut self, row: &Assignment) -> Result<Answer, Refusal> {
        let directory = self.directory();
        if !directory.has_assignment(row) {
            return Err(missing("Role assignment of role", row.role.0));
        }
        let admin = directory.role_by_name("admin").map(|role| role.id);
        if row.place == Place::System && admin == Some(row.role) {
            let others = directory.assignments().filter(|held| *held != row && held.place == Place::System);
            let mut users = others.filter(|held| admin == Some(held.role)).flat_map(|held| self.users_of(held.party));
            if !users.any(|id| directory.user(id).is_some_and(|user| directory.may_enter(user))) {
                return Err(Refusal::Forbidden(
                    "This is the last administrator of the system: make another one first.".into(),
                ));
            }
        }
        self.delete(IdentityKey::Assignment(*row));
        Ok(Answer::Done)
    }
}
