//! Users and their passwords.

use super::Room;
use crate::command::Answer;
use crate::event::What;
use crate::id::UserId;
use crate::identity::User;
use crate::refusal::Refusal;
use crate::view::Change;
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn create_user(&mut self, user: &User) -> Result<Answer, Refusal> {
        if self.view.user(user.id).is_some() || self.view.user_by_name(&user.name).is_some() {
            return Err(Refusal::Exists { what: "A user with name", name: user.name.clone() });
        }
        self.tell_all(What::UserChanged { user: user.name.clone() });
        self.changes.push(Change::PutUser(Arc::new(user.clone())));
        Ok(Answer::Done)
    }

    pub(super) fn set_password(&mut self, id: UserId, hash: &str, one_time: bool) -> Result<Answer, Refusal> {
        let user = self.view.user(id).ok_or_else(|| Refusal::NotFound { what: "User", name: id.to_string() })?;
        let changed = User {
            password_hash: hash.to_owned(),
            one_time,
            password_changed_at: self.context.now,
            ..(**user).clone()
        };
        self.tell_all(What::UserChanged { user: changed.name.clone() });
        self.changes.push(Change::PutUser(Arc::new(changed)));
        Ok(Answer::Done)
    }
}
