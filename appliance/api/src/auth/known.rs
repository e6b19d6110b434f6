//! What is known of callers until something changes that it rests on.

use leasehold_domain::id::UserId;
use leasehold_domain::identity::{Digest, Directory, Scope, Token, User};
use leasehold_domain::policy::Credentials;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Callers remembered; beyond, all are forgotten and computed anew.
const MOST: usize = 10_000;

/// Whose credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    Token(Digest),
    /// A user without a token: within his usual scope.
    User(UserId),
}

struct Entry {
    generation: u64,
    scope: Scope,
    credentials: Arc<Credentials>,
}

/// Credentials by token or user.
#[derive(Default)]
pub(super) struct Known(RwLock<HashMap<Whose, Entry>>);

impl Known {
    /// Scope and credentials of a caller by this state of the directory; `None`: he may not enter, or his token has lost
    /// its ground. Whether the token has expired is the caller's to see: that changes by itself.
    pub(super) fn of(
        &self,
        directory: &Directory,
        whose: Whose,
        user: &User,
        token: Option<&Token>,
    ) -> Option<(Scope, Arc<Credentials>)> {
        let generation = directory.generation();
        {
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(entry) = known.get(&whose).filter(|entry| entry.generation == generation) {
                return Some((entry.scope, entry.credentials.clone()));
            }
        }
        let (scope, credentials) = match token {
            Some(token) => {
                // As of its issue: its end was looked at already.
                directory.check_token(token, token.issued_at).ok()?;
                (token.scope, directory.credentials_with(user, token.scope, &token.roles))
            }
            None => {
                let scope = directory.usual_scope(user);
                (scope, directory.credentials(user, scope)?)
            }
        };
        let credentials = Arc::new(credentials);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.retain(|_, entry| entry.generation == generation);
            if known.len() >= MOST {
                known.clear();
            }
        }
        known.insert(whose, Entry { generation, scope, credentials: credentials.clone() });
        Some((scope, credentials))
    }
}
