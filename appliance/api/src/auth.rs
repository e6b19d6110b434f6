//! Who is asking: HTTP Basic against Argon2id hashes.
//!
//! Argon2 is slow on purpose. It runs once for a password, a few at a time, off the async threads; then a short-lived
//! verification under a random in-memory key stands in for it, bound to the user's present hash, so that any change of
//! the password ends it. (Design, "Passwords on every request".)

use crate::Api;
use crate::error::ApiError;
use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{StatusCode, header, request::Parts};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use leasehold_domain::command::{Actor, Who};
use leasehold_domain::identity::User;
use leasehold_domain::policy::{Credentials, Policy};
use ring::hmac;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How long a verified password is remembered.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Verifications at a time: each takes 19 MiB and tens of milliseconds of a core.
const AT_ONCE: usize = 2;
/// Requests that may wait for one; more are turned away, so that guessing cannot fill memory.
const WAITING: usize = 64;
/// Longer passwords are not looked at.
const PASSWORD_LIMIT: usize = 1024;

/// Verifies passwords.
pub struct Passwords {
    key: hmac::Key,
    known: Mutex<HashMap<[u8; 32], Instant>>,
    gate: Semaphore,
    waiting: Semaphore,
}

/// A password could not be hashed or is not acceptable.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("a password has at least 12 characters and at most {PASSWORD_LIMIT}: use a sentence")]
    Length,
    #[error("the password could not be hashed: {0}")]
    Hash(String),
}

/// The Argon2id hash (PHC string) to store for a password. Slow: not for an async thread.
pub fn hash(password: &str) -> Result<String, PasswordError> {
    if password.chars().count() < 12 || password.len() > PASSWORD_LIMIT {
        return Err(PasswordError::Length);
    }
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| PasswordError::Hash(error.to_string()))
}

fn verify(stored: &str, password: &str) -> bool {
    let parsed = PasswordHash::new(stored);
    parsed.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

impl Passwords {
    /// With a fresh random key.
    pub fn new() -> Result<Passwords, ring::error::Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new())?;
        let (gate, waiting) = (Semaphore::new(AT_ONCE), Semaphore::new(WAITING));
        Ok(Passwords { key, known: Mutex::default(), gate, waiting })
    }

    /// The password is the user's. An unknown user costs as much time as a wrong password.
    pub(crate) async fn check(&self, user: Option<&Arc<User>>, password: &str) -> Result<bool, ApiError> {
        if password.len() > PASSWORD_LIMIT {
            return Ok(false);
        }
        let user = user.filter(|user| user.enabled);
        // A well-formed hash that no password has, for users that do not exist.
        const NOBODY: &str =
            "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let stored = user.map_or_else(|| NOBODY.to_owned(), |user| user.password_hash.clone());
        let mark = self.mark(&stored, password);
        if self.is_known(&mark) {
            return Ok(user.is_some());
        }
        let busy =
            || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "Too many logins at a time: try again in a moment.");
        let _place = self.waiting.try_acquire().map_err(|_| busy())?;
        let _permit = self.gate.acquire().await.map_err(|_| busy())?;
        let password = password.to_owned();
        let right = tokio::task::spawn_blocking(move || verify(&stored, &password)).await.unwrap_or(false);
        if right && user.is_some() {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            known.retain(|_, until| *until > now);
            known.insert(mark, now + REMEMBERED);
        }
        Ok(right && user.is_some())
    }

    fn mark(&self, stored: &str, password: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(stored.as_bytes());
        context.update(&[0]);
        context.update(password.as_bytes());
        let mut mark = [0; 32];
        mark.copy_from_slice(context.sign().as_ref());
        mark
    }

    fn is_known(&self, mark: &[u8; 32]) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(mark).is_some_and(|until| *until > Instant::now())
    }
}

/// A request whose sender is known.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) user: Arc<User>,
    pub(crate) credentials: Arc<Credentials>,
    /// The rules that were in force when the request came.
    pub(crate) policy: Arc<Policy>,
}

impl Caller {
    pub(crate) fn actor(&self) -> Actor {
        Actor::User(self.who().into())
    }

    pub(crate) fn who(&self) -> Who {
        let scope = if self.credentials.system { "system" } else { "" };
        Who { name: self.user.name.clone(), user: Some(self.user.id), scope: scope.into(), ..Who::default() }
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Caller, ApiError> {
        let refused =
            || ApiError::new(StatusCode::UNAUTHORIZED, "User name and password are required, and must be right.");
        let given = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (name, password) = given.and_then(basic).ok_or_else(refused)?;
        let view = api.engine.view();
        let user = view.user_by_name(&name);
        match (api.passwords.check(user, &password).await?, user) {
            (true, Some(user)) => {
                // There is one user, the administrator of the whole box.
                let credentials = Credentials {
                    user_id: user.id.0.simple().to_string(),
                    system: true,
                    roles: ["admin", "manager", "member", "reader"].map(str::to_owned).into(),
                    ..Credentials::default()
                };
                Ok(Caller { user: user.clone(), credentials: credentials.into(), policy: api.policy.load_full() })
            }
            _ => Err(refused()),
        }
    }
}

/// Lets a request pass only with a known caller, whom handlers find among the extensions.
pub(crate) async fn known_callers(State(_): State<Api>, caller: Caller, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// User name and password of an `Authorization: Basic` header (RFC 7617).
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, token) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(token.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use leasehold_domain::id::UserId;
    use proptest::prelude::*;

    fn user(password_hash: String) -> Arc<User> {
        Arc::new(User {
            id: UserId(uuid::Uuid::nil()),
            name: "admin".into(),
            password_hash,
            one_time: false,
            enabled: true,
            created_at: Timestamp::UNIX_EPOCH,
            password_changed_at: Timestamp::UNIX_EPOCH,
        })
    }

    #[tokio::test]
    async fn a_changed_password_ends_the_memory_of_the_old_one() {
        let passwords = Passwords::new().expect("a key");
        let before = user(hash("correct horse battery").expect("hashed"));
        assert!(passwords.check(Some(&before), "correct horse battery").await.expect("checked"));
        assert!(passwords.check(Some(&before), "correct horse battery").await.expect("remembered"));
        let after = user(hash("another long sentence").expect("hashed"));
        assert!(!passwords.check(Some(&after), "correct horse battery").await.expect("checked"));
        assert!(!passwords.check(None, "correct horse battery").await.expect("checked"));
    }

    #[test]
    fn short_passwords_are_refused() {
        assert!(matches!(hash("short"), Err(PasswordError::Length)));
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(header in "\\PC{0,80}") {
            let _either_is_fine = basic(&header);
        }

        #[test]
        fn what_a_client_encodes_is_read(name in "[^:\\p{C}]{0,20}", password in "\\PC{0,20}") {
            let header = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
            prop_assert_eq!(basic(&header), Some((name, password)));
        }
    }
}
