//! Passwords against Argon2id hashes.
//!
//! Argon2 is slow on purpose. It runs once for a password, a few at a time, off the async threads; then a short-lived
//! verification under a random in-memory key stands in for it, bound to the user's present hash, so that any change of
//! the password ends it. (Design, "Passwords on every request".)

use crate::error::ApiError;
use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};
use axum::http::StatusCode;
use leasehold_domain::identity::{User, folded};
use ring::hmac;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How long a verified password is remembered.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Verifications at a time: each takes 19 MiB and tens of milliseconds of a core.
pub(super) const AT_ONCE: usize = 2;
/// Requests that may wait for one; more are turned away, so that guessing cannot fill memory.
const WAITING: usize = 64;
/// Longer passwords are not looked at.
const PASSWORD_LIMIT: usize = 1024;
/// Characters that a password has at least.
const SHORTEST: usize = 12;
/// Different characters that a password has at least.
const DIFFERENT: usize = 5;
/// A well-formed hash that no password has, for users that do not exist or have no password yet.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Passwords of 12 characters and more that are guessed first.
const GUESSED: &[&str] = &[
    "password",
    "passwort",
    "letmein",
    "welcome",
    "changeme",
    "administrator",
    "openstack",
    "leasehold",
    "qwertyuiop",
    "qwertzuiop",
    "asdfghjkl",
    "iloveyou",
    "1234567890",
    "0987654321",
    "abcdefghij",
    "correcthorsebatterystaple",
];

/// Verifies passwords.
pub struct Passwords {
    key: hmac::Key,
    known: Mutex<HashMap<[u8; 32], Instant>>,
    gate: Semaphore,
    waiting: Semaphore,
    looks: AtomicU64,
}

/// A password could not be hashed or is not acceptable.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("a password has at least {SHORTEST} characters and at most {PASSWORD_LIMIT}: use a sentence")]
    Length,
    #[error("this password is among the first that are guessed: {0}; use a sentence of your own")]
    Trivial(&'static str),
    #[error("the password could not be hashed: {0}")]
    Hash(String),
}

/// Whether somebody of this name may have this as his new password.
pub fn check_new(password: &str, name: &str) -> Result<(), PasswordError> {
    if password.chars().count() < SHORTEST || password.len() > PASSWORD_LIMIT {
        return Err(PasswordError::Length);
    }
    let letters: Vec<char> = password.to_lowercase().chars().collect();
    if letters.iter().collect::<BTreeSet<_>>().len() < DIFFERENT {
        return Err(PasswordError::Trivial("it has hardly any different characters"));
    }
    if (1..=letters.len() / 2).any(|unit| letters.iter().zip(&letters[unit..]).all(|(one, other)| one == other)) {
        return Err(PasswordError::Trivial("it says the same thing again and again"));
    }
    // What is left when the well-known part is taken away must still be something.
    let word: String = letters.iter().filter(|letter| letter.is_alphanumeric()).collect();
    let name: String = folded(name).chars().filter(|letter| letter.is_alphanumeric()).collect();
    let rest = |part: &str| word.replace(part, "").chars().count();
    if name.chars().count() >= 3 && word.contains(&name) && rest(&name) < SHORTEST / 2 {
        return Err(PasswordError::Trivial("it is the user's name and little else"));
    }
    if GUESSED.iter().any(|guess| word.contains(guess) && rest(guess) < SHORTEST / 2) {
        return Err(PasswordError::Trivial("it is a well-known one and little else"));
    }
    Ok(())
}

/// The Argon2id hash (PHC string) to store for a password. Slow: not for an async thread.
pub fn hash(password: &str) -> Result<String, PasswordError> {
    if password.chars().count() < SHORTEST || password.len() > PASSWORD_LIMIT {
        return Err(PasswordError::Length);
    }
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| PasswordError::Hash(error.to_string()))
}

fn verify(stored: &str, password: &str) -> bool {
    let parsed = PasswordHash::new(stored);
    parsed.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

fn busy() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "Too many logins at a time: try again in a moment.")
}

impl Passwords {
    /// With a fresh random key.
    pub fn new() -> Result<Passwords, ring::error::Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new())?;
        let (gate, waiting) = (Semaphore::new(AT_ONCE), Semaphore::new(WAITING));
        Ok(Passwords { key, known: Mutex::default(), gate, waiting, looks: AtomicU64::new(0) })
    }

    /// The password is the user's. An unknown user costs as much time as a wrong password.
    pub(crate) async fn check(&self, user: Option<&Arc<User>>, password: &str) -> Result<bool, ApiError> {
        let user = user.filter(|user| user.enabled);
        self.check_stored(user.map(|user| user.password_hash.as_str()), password).await
    }

    /// The password has this hash; `None`, or none yet: no password has it, and that takes as long to find out.
    pub(crate) async fn check_stored(&self, stored: Option<&str>, password: &str) -> Result<bool, ApiError> {
        if password.len() > PASSWORD_LIMIT {
            return Ok(false);
        }
        let stored = stored.filter(|stored| !stored.is_empty());
        let is_somebody = stored.is_some();
        let stored = stored.unwrap_or(NOBODY).to_owned();
        let mark = self.mark(&stored, password);
        if self.is_known(&mark) {
            return Ok(is_somebody);
        }
        let _place = self.waiting.try_acquire().map_err(|_| busy())?;
        let _permit = self.gate.acquire().await.map_err(|_| busy())?;
        let password = password.to_owned();
        self.looks.fetch_add(1, Ordering::Relaxed);
        let right = tokio::task::spawn_blocking(move || verify(&stored, &password)).await.unwrap_or(false);
        if right && is_somebody {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            known.retain(|_, until| *until > now);
            known.insert(mark, now + REMEMBERED);
        }
        Ok(right && is_somebody)
    }

    /// How often Argon2 has run to see whether a password is right.
    pub(crate) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// The hash of a new password, made in the same bounded pool.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, ApiError> {
        let _place = self.waiting.try_acquire().map_err(|_| busy())?;
        let _permit = self.gate.acquire().await.map_err(|_| busy())?;
        let password = password.to_owned();
        let hashed = tokio::task::spawn_blocking(move || hash(&password)).await;
        let hashed = hashed.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        hashed.map_err(|error| ApiError::bad_request(error.to_string()))
    }

    /// The password was found to be this user's not long ago.
    pub(crate) fn remembers(&self, user: &User, password: &str) -> bool {
        password.len() <= PASSWORD_LIMIT
            && !user.password_hash.is_empty()
            && self.is_known(&self.mark(&user.password_hash, password))
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

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use leasehold_domain::id::UserId;
    use proptest::prelude::*;

    fn user(password_hash: String) -> Arc<User> {
        Arc::new(User::new(UserId(uuid::Uuid::nil()), "admin", password_hash, Timestamp::UNIX_EPOCH))
    }

    /// What stands in for an unknown user's hash costs what a real one costs.
    #[test]
    fn nobodys_hash_is_as_slow_as_anybodys() {
        let cost = |hash: &str| hash.rsplitn(3, '$').last().map(str::to_owned);
        assert_eq!(cost(NOBODY), cost(&hash("a long enough password").expect("hashed")));
        assert!(!verify(NOBODY, "") && PasswordHash::new(NOBODY).is_ok());
    }

    #[tokio::test]
    async fn a_changed_password_ends_the_memory_of_the_old_one() {
        let passwords = Passwords::new().expect("a key");
        let before = user(hash("correct horse battery").expect("hashed"));
        assert!(passwords.check(Some(&before), "correct horse battery").await.expect("checked"));
        assert!(passwords.remembers(&before, "correct horse battery"));
        let after = user(hash("another long sentence").expect("hashed"));
        assert!(!passwords.remembers(&after, "correct horse battery"));
        assert!(!passwords.check(Some(&after), "correct horse battery").await.expect("checked"));
        assert!(!passwords.check(None, "correct horse battery").await.expect("checked"));
        assert!(!passwords.check(Some(&user(String::new())), "").await.expect("checked"), "no password yet");
    }

    #[test]
    fn short_and_trivial_passwords_are_refused() {
        assert!(matches!(hash("short"), Err(PasswordError::Length)));
        for bad in [
            "short",
            "aaaaaaaaaaaaaa",
            "abcabcabcabc",
            "123456789012",
            "Password1234",
            "passwordpassword",
            "ada.lovelace1",
            "Ada-Lovelace-99",
            "abcdabcdabcd",
            "Changeme!!!!1",
        ] {
            assert!(check_new(bad, "ada.lovelace").is_err(), "{bad}");
        }
        for good in ["a long enough password", "correct horse battery", "my own password is this", "Tr0ub4dor&3xyz"] {
            assert!(check_new(good, "ada.lovelace").is_ok(), "{good}");
        }
    }

    proptest! {
        #[test]
        fn any_password_is_taken_or_refused(password in "\\PC{0,40}", name in "\\PC{0,10}") {
            let _either_is_fine = check_new(&password, &name);
        }
    }
}
