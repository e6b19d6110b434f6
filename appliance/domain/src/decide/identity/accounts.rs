//! Users, their passwords, and groups.

use super::super::Room;
use super::{changed, missing, taken};
use crate::command::Answer;
use crate::id::{GroupId, UserId};
use crate::identity::{
    DEFAULT_DOMAIN, Group, IdentityKey, IdentityRow, Membership, Party, User, check_name, check_text,
};
use crate::refusal::Refusal;
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn create_user(&mut self, user: &User) -> Result<Answer, Refusal> {
        if self.directory().user(user.id).is_some() {
            return Err(taken("User", &user.name));
        }
        self.check_user(user)?;
        self.tell_of_user(&user.name);
        Ok(self.put(IdentityRow::User(Arc::new(user.clone()))))
    }

    pub(super) fn change_user(&mut self, before: &Arc<User>, after: &User) -> Result<Answer, Refusal> {
        let present = self.directory().user(before.id).ok_or_else(|| missing("User", before.id.0))?;
        if present != before {
            return Err(changed("User", &before.name));
        }
        if (after.id, after.domain) != (before.id, before.domain) {
            return Err(Refusal::Forbidden("A user stays in his domain.".into()));
        }
        self.check_user(after)?;
        self.tell_of_user(&after.name);
        let after = User {
            password_hash: before.password_hash.clone(),
            one_time: before.one_time,
            password_changed_at: before.password_changed_at,
            created_at: before.created_at,
            ..after.clone()
        };
        Ok(self.put(IdentityRow::User(Arc::new(after))))
    }

    fn check_user(&self, user: &User) -> Result<(), Refusal> {
        check_name("user", &user.name, 255)?;
        if user.name.contains(':') {
            return Err(Refusal::Invalid(
                "The name of a user has no colon: Basic authentication ends it there.".into(),
            ));
        }
        check_text("A description", user.description.as_deref().unwrap_or_default(), 4000)?;
        check_text("An email address", user.email.as_deref().unwrap_or_default(), 320)?;
        let directory = self.directory();
        // The default domain is always there, even before the first start has written it down.
        if user.domain != DEFAULT_DOMAIN && directory.domain(user.domain).is_none() {
            return Err(missing("Domain", user.domain.0));
        }
        if let Some(project) = user.default_project {
            let known = directory.project(project).is_some_and(|project| !project.is_domain());
            known.then_some(()).ok_or_else(|| missing("Project", project.0))?;
        }
        match directory.user_by_name(user.domain, &user.name) {
            Some(other) if other.id != user.id => Err(taken("User", &user.name)),
            _ => Ok(()),
        }
    }

    pub(super) fn delete_user(&mut self, id: UserId) -> Result<Answer, Refusal> {
        let directory = self.directory();
        let user = directory.user(id).ok_or_else(|| missing("User", id.0))?.clone();
        let mut gone: Vec<IdentityKey> = Vec::new();
        gone.extend(directory.groups_of(id).map(|group| IdentityKey::Membership(Membership { user: id, group })));
        gone.extend(directory.assignments_of(Party::User(id)).map(|held| IdentityKey::Assignment(*held)));
        gone.extend(directory.credentials_of(id).map(|credential| IdentityKey::Credential(credential.id)));
        gone.extend(self.links_of(id));
        for key in gone {
            self.delete(key);
        }
        self.delete(IdentityKey::User(id));
        self.tell_of_user(&user.name);
        Ok(Answer::Done)
    }

    /// A new password ends whatever the old one opened, and every link that would set another.
    pub(super) fn set_password(&mut self, id: UserId, hash: &str, one_time: bool) -> Result<Answer, Refusal> {
        let directory = self.directory();
        let user = directory.user(id).ok_or_else(|| missing("User", id.0))?.clone();
        let mut gone: Vec<IdentityKey> = self.links_of(id);
        gone.extend(directory.tokens_of(id).map(|token| IdentityKey::Token(token.digest)));
        for key in gone {
            self.delete(key);
        }
        let user =
            User { password_hash: hash.to_owned(), one_time, password_changed_at: self.context.now, ..(*user).clone() };
        self.tell_of_user(&user.name);
        Ok(self.put(IdentityRow::User(Arc::new(user))))
    }

    /// The one-time links of a user.
    fn links_of(&self, user: UserId) -> Vec<IdentityKey> {
        let links = self.directory().invitations().filter(|link| link.user == user);
        links.map(|link| IdentityKey::Invitation(link.digest)).collect()
    }

    pub(super) fn create_group(&mut self, group: &Group) -> Result<Answer, Refusal> {
        if self.directory().group(group.id).is_some() {
            return Err(taken("Group", &group.name));
        }
        self.check_group(group)?;
        Ok(self.put(IdentityRow::Group(Arc::new(group.clone()))))
    }

    pub(super) fn change_group(&mut self, before: &Arc<Group>, after: &Group) -> Result<Answer, Refusal> {
        let present = self.directory().group(before.id).ok_or_else(|| missing("Group", before.id.0))?;
        if present != before {
            return Err(changed("Group", &before.name));
        }
        if (after.id, after.domain) != (before.id, before.domain) {
            return Err(Refusal::Forbidden("A group stays in its domain.".into()));
        }
        self.check_group(after)?;
        Ok(self.put(IdentityRow::Group(Arc::new(after.clone()))))
    }

    fn check_group(&self, group: &Group) -> Result<(), Refusal> {
        check_name("group", &group.name, 64)?;
        check_text("A description", &group.description, 4000)?;
        self.directory().domain(group.domain).ok_or_else(|| missing("Domain", group.domain.0))?;
        match self.directory().group_by_name(group.domain, &group.name) {
            Some(other) if other.id != group.id => Err(taken("Group", &group.name)),
            _ => Ok(()),
        }
    }

    pub(super) fn delete_group(&mut self, id: GroupId) -> Result<Answer, Refusal> {
        let directory = self.directory();
        directory.group(id).ok_or_else(|| missing("Group", id.0))?;
        let mut gone: Vec<IdentityKey> = Vec::new();
        gone.extend(directory.members_of(id).map(|user| IdentityKey::Membership(Membership { user, group: id })));
        gone.extend(directory.assignments_of(Party::Group(id)).map(|held| IdentityKey::Assignment(*held)));
        for key in gone {
            self.delete(key);
        }
        self.delete(IdentityKey::Group(id));
        Ok(Answer::Done)
    }

    pub(super) fn add_to_group(&mut self, row: Membership) -> Result<Answer, Refusal> {
        self.directory().user(row.user).ok_or_else(|| missing("User", row.user.0))?;
        self.directory().group(row.group).ok_or_else(|| missing("Group", row.group.0))?;
        Ok(self.put(IdentityRow::Membership(row)))
    }

    pub(super) fn take_out_of_group(&mut self, row: Membership) -> Result<Answer, Refusal> {
        if !self.directory().is_member(row) {
            return Err(missing("User in that group", row.user.0));
        }
        self.delete(IdentityKey::Membership(row));
        Ok(Answer::Done)
    }

    /// The users for whom something assigned to this party holds.
    pub(super) fn users_of(&self, party: Party) -> Vec<UserId> {
        match party {
            Party::User(id) => vec![id],
            Party::Group(id) => self.directory().members_of(id).collect(),
        }
    }
}
