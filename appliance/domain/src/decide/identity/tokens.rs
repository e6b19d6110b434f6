//! Tokens, application credentials, one-time links.

use super::super::Room;
use super::{missing, taken};
use crate::command::Answer;
use crate::id::CredentialId;
use crate::identity::{
    ApplicationCredential, Digest, IdentityKey, IdentityRow, Invitation, Scope, Token, User, check_name, check_text,
};
use crate::refusal::Refusal;
use std::sync::Arc;

/// Tokens of one user; the oldest goes when one more is issued.
const TOKENS: usize = 1000;
/// Application credentials of one user.
const CREDENTIALS: usize = 100;
/// One-time links of all users.
const LINKS: usize = 1000;
/// Rows that one sweep removes.
const SWEPT: usize = 500;

impl Room<'_> {
    pub(super) fn create_credential(&mut self, row: &ApplicationCredential) -> Result<Answer, Refusal> {
        check_name("application credential", &row.name, 255)?;
        check_text("A description", row.description.as_deref().unwrap_or_default(), 4000)?;
        let directory = self.directory();
        let user = directory.user(row.user).ok_or_else(|| missing("User", row.user.0))?;
        if directory.credential(row.id).is_some()
            || directory.credentials_of(row.user).any(|other| other.name.eq_ignore_ascii_case(&row.name))
        {
            return Err(taken("Application credential", &row.name));
        }
        if directory.credentials_of(row.user).count() >= CREDENTIALS {
            return Err(Refusal::Forbidden(format!("A user has at most {CREDENTIALS} application credentials.")));
        }
        if row.expires_at.is_some_and(|end| end <= self.context.now) {
            return Err(Refusal::Invalid("The end of an application credential lies in the future.".into()));
        }
        let present = directory.grounds(user, Scope::Project(row.project)).unwrap_or_default();
        if row.roles.is_empty() || !row.roles.is_subset(&present) {
            return Err(Refusal::Invalid(
                "An application credential has some of the roles that its user has in the project, and no others."
                    .into(),
            ));
        }
        Ok(self.put(IdentityRow::Credential(Arc::new(row.clone()))))
    }

    pub(super) fn delete_credential(&mut self, id: CredentialId) -> Result<Answer, Refusal> {
        self.directory().credential(id).ok_or_else(|| missing("Application credential", id.0))?;
        self.delete(IdentityKey::Credential(id));
        Ok(Answer::Done)
    }

    /// Issues a token on grounds that hold at this moment, however long the caller took to prove who he is.
    pub(super) fn issue_token(&mut self, token: &Token, user: &Arc<User>) -> Result<Answer, Refusal> {
        let directory = self.directory();
        let no_ground = || Refusal::Forbidden("What the token was asked for is no longer so: ask again.".into());
        let present = directory.user(token.user).filter(|present| {
            present.id == user.id && present.password_changed_at == user.password_changed_at && !present.one_time
        });
        let parent_stands = token.parent.is_none_or(|parent| directory.token(&parent).is_some());
        if present.is_none() || !parent_stands || directory.check_token(token, self.context.now).is_err() {
            return Err(no_ground());
        }
        let count = directory.tokens_of(token.user).count();
        let oldest: Vec<_> =
            directory.tokens_of(token.user).take((count + 1).saturating_sub(TOKENS)).cloned().collect();
        if !oldest.is_empty() {
            let directory = directory.clone();
            let ended = self.end_tokens(&directory, &oldest);
            if token.parent.is_some_and(|parent| ended.contains(&parent)) {
                return Err(no_ground());
            }
        }
        Ok(self.put(IdentityRow::Token(Arc::new(token.clone()))))
    }

    /// Ends a token and those that were issued for it.
    pub(super) fn revoke_token(&mut self, digest: &Digest) -> Result<Answer, Refusal> {
        let directory = self.directory();
        let what = || Refusal::NotFound { what: "Token", name: String::new() };
        let token = directory.token(digest).ok_or_else(what)?;
        let (ended, directory) = ([token.clone()], directory.clone());
        self.end_tokens(&directory, &ended);
        Ok(Answer::Done)
    }

    pub(super) fn sweep(&mut self) -> Answer {
        let now = self.context.now;
        let directory = self.directory();
        let tokens = directory.tokens_over(now).map(|token| IdentityKey::Token(token.digest));
        let links = directory.invitations().filter(|link| link.expires_at <= now);
        let links = links.map(|link| IdentityKey::Invitation(link.digest));
        let gone: Vec<_> = tokens.chain(links).take(SWEPT).collect();
        for key in gone {
            self.delete(key);
        }
        Answer::Done
    }

    /// A new link takes the place of those that the user has.
    pub(super) fn invite(&mut self, row: &Invitation) -> Result<Answer, Refusal> {
        let directory = self.directory();
        directory.user(row.user).ok_or_else(|| missing("User", row.user.0))?;
        let former: Vec<_> = directory.invitations().filter(|link| link.user == row.user).cloned().collect();
        if directory.invitations().count() >= LINKS + former.len() {
            return Err(Refusal::Forbidden(format!("At most {LINKS} one-time links are open at a time.")));
        }
        for link in former {
            self.delete(IdentityKey::Invitation(link.digest));
        }
        Ok(self.put(IdentityRow::Invitation(Arc::new(row.clone()))))
    }

    pub(super) fn accept_invitation(&mut self, digest: &Digest, password_hash: &str) -> Result<Answer, Refusal> {
        let over = || Refusal::NotFound { what: "This link", name: "(used, replaced or expired)".into() };
        let link = self.directory().invitation(digest).filter(|link| link.expires_at > self.context.now);
        let user = link.ok_or_else(over)?.user;
        self.set_password(user, password_hash, false)
    }
}
