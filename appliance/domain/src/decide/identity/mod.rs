//! Decisions about the identity room: domains, projects, users, groups, roles, and what stands on them.
//!
//! In: an [`IdentityCommand`]. Out: rows, and the end of every token and feed that the change takes the ground from, in the same
//! transaction: a role that is lost and given back does not bring a token back. Rare changes of roles and projects look at
//! every token; all others go by index.

mod accounts;
mod bootstrap;
mod feeds;
mod grants;
mod projects;
mod tokens;

use super::Room;
use crate::command::Answer;
use crate::event::What;
use crate::id::UserId;
use crate::identity::{Digest, Directory, IdentityCommand, IdentityKey, IdentityRow, Token, id_text};
use crate::refusal::Refusal;
use crate::rows::Rows;
use crate::view::Change;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// Whose tokens a change may take the ground from.
enum Affected {
    Nobody,
    Users(Vec<UserId>),
    Everybody,
}

impl Room<'_> {
    pub(super) fn identity(&mut self, command: &IdentityCommand) -> Result<Answer, Refusal> {
        use IdentityCommand as C;
        let (answer, affected) = match command {
            C::Bootstrap(wanted) => (self.bootstrap(wanted)?, Affected::Nobody),

            C::CreateProject(project) => (self.create_project(project)?, Affected::Nobody),
            C::ChangeProject { before, after } => (self.change_project(before, after)?, Affected::Everybody),
            C::DeleteProject { id } => (self.delete_project(*id)?, Affected::Everybody),

            C::CreateUser(user) => (self.create_user(user)?, Affected::Nobody),
            C::ChangeUser { before, after } => (self.change_user(before, after)?, Affected::Users(vec![before.id])),
            C::DeleteUser { id } => (self.delete_user(*id)?, Affected::Users(vec![*id])),
            C::SetPassword { user, password_hash, one_time } => {
                (self.set_password(*user, password_hash, *one_time)?, Affected::Nobody)
            }

            C::CreateGroup(group) => (self.create_group(group)?, Affected::Nobody),
            C::ChangeGroup { before, after } => (self.change_group(before, after)?, Affected::Nobody),
            C::DeleteGroup { id } => {
                let members = self.directory().members_of(*id).collect();
                (self.delete_group(*id)?, Affected::Users(members))
            }
            C::AddMember(row) => (self.add_to_group(*row)?, Affected::Nobody),
            C::RemoveMember(row) => (self.take_out_of_group(*row)?, Affected::Users(vec![row.user])),

            C::CreateRole(role) => (self.create_role(role)?, Affected::Nobody),
            C::ChangeRole { before, after } => (self.change_role(before, after)?, Affected::Nobody),
            C::DeleteRole { id } => (self.delete_role(*id)?, Affected::Everybody),
            C::Imply(row) => (self.imply(*row)?, Affected::Nobody),
            C::EndImplication(row) => (self.end_implication(*row)?, Affected::Everybody),
            C::Assign(row) => (self.assign(row)?, Affected::Nobody),
            C::EndAssignment(row) => {
                let users = self.users_of(row.party);
                (self.end_assignment(row)?, Affected::Users(users))
            }

            C::CreateCredential(row) => (self.create_credential(row)?, Affected::Nobody),
            C::DeleteCredential { id } => {
                let user = self.directory().credential(*id).map(|credential| credential.user);
                (self.delete_credential(*id)?, Affected::Users(user.into_iter().collect()))
            }
            C::IssueToken { token, user } => (self.issue_token(token, user)?, Affected::Nobody),
            C::RevokeToken { digest } => (self.revoke_token(digest)?, Affected::Nobody),
            C::NoteLogin { .. } => (Answer::Done, Affected::Nobody),
            C::Sweep => (self.sweep(), Affected::Nobody),
            C::MakeFeed(row) => (self.make_feed(row)?, Affected::Nobody),
            C::EndFeed { user, project } => (self.end_feed(*user, *project)?, Affected::Nobody),
            C::Invite(row) => (self.invite(row)?, Affected::Nobody),
            C::AcceptInvitation { digest, password_hash } => {
                (self.accept_invitation(digest, password_hash)?, Affected::Nobody)
            }
        };
        self.end_groundless_tokens(&affected);
        Ok(answer)
    }

    fn directory(&self) -> &Directory {
        &self.view.identity
    }

    fn put(&mut self, row: IdentityRow) -> Answer {
        self.changes.push(Change::Identity(Rows::Put(row.clone())));
        Answer::Identity(row)
    }

    fn delete(&mut self, key: IdentityKey) {
        self.changes.push(Change::Identity(Rows::Delete(key)));
    }

    fn tell_of_user(&mut self, name: &str) {
        self.tell_all(What::UserChanged { user: name.to_owned() });
    }

    /// Ends the tokens that do not hold any more once this decision is carried out.
    fn end_groundless_tokens(&mut self, affected: &Affected) {
        if matches!(affected, Affected::Nobody) {
            return;
        }
        let mut after = self.view.identity.clone();
        for change in &self.changes {
            if let Change::Identity(change) = change {
                after.apply(change);
            }
        }
        let now = self.context.now;
        let fallen = |token: &Token| after.check_token(token, now).is_err();
        let ended: Vec<Arc<Token>> = match affected {
            Affected::Nobody => Vec::new(),
            Affected::Users(users) => {
                let tokens = users.iter().flat_map(|user| after.tokens_of(*user));
                tokens.filter(|token| fallen(token)).cloned().collect()
            }
            Affected::Everybody => after.tokens().filter(|token| fallen(token)).cloned().collect(),
        };
        self.end_tokens(&after, &ended);
        let users = match affected {
            Affected::Users(users) => Some(users.as_slice()),
            _ => None,
        };
        self.end_groundless_feeds(&after, users);
    }

    /// Ends tokens and those that were issued for them; says which these are.
    fn end_tokens(&mut self, directory: &Directory, tokens: &[Arc<Token>]) -> BTreeSet<Digest> {
        let mut ended: BTreeSet<Digest> = tokens.iter().map(|token| token.digest).collect();
        let users: BTreeSet<UserId> = tokens.iter().map(|token| token.user).collect();
        loop {
            let known = ended.len();
            for token in users.iter().flat_map(|user| directory.tokens_of(*user)) {
                if token.parent.is_some_and(|parent| ended.contains(&parent)) {
                    ended.insert(token.digest);
                }
            }
            if ended.len() == known {
                break;
            }
        }
        for digest in &ended {
            self.delete(IdentityKey::Token(*digest));
        }
        ended
    }
}

/// Somebody changed the row since `before` was read.
fn changed(what: &'static str, name: &str) -> Refusal {
    Refusal::Conflict { what, name: name.to_owned() }
}

fn missing(what: &'static str, id: Uuid) -> Refusal {
    Refusal::NotFound { what, name: id_text(id) }
}

fn taken(what: &'static str, name: &str) -> Refusal {
    Refusal::Exists { what, name: name.to_owned() }
}
