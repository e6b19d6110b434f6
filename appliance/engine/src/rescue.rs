//! The password of a rescue: hashed as soon as it comes in, and sealed for as long as its job needs it.
//!
//! In: the user's password. Out: what a shadow file takes (crypt(5), SHA-512), for the agent. Nobody keeps the password
//! itself, and with the end of the job its hash is gone, too.

use crate::Engine;
use leasehold_domain::id::JobId;
use leasehold_domain::job::Job;
use leasehold_domain::node::Sealed;
use leasehold_store::{SealError, Sealer};
use ring::rand::{SecureRandom, SystemRandom};
use sha_crypt::{PasswordHasher, ShaCrypt};

/// The SSH server of the ramdisk reads no more (dropbear's DROPBEAR_MAX_PASSWORD_LEN).
const LONGEST: usize = 100;
/// Bytes of salt: the 16 characters that crypt(5) takes.
const SALT: usize = 12;

/// Why a password is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RescuePasswordError {
    #[error("rescue_password must be a text of 1 to {LONGEST} bytes, not only white space, without control characters")]
    Form,
    #[error("rescue_password could not be hashed: {0}")]
    Hash(String),
    #[error("rescue_password could not be sealed: {0}")]
    Seal(#[from] SealError),
}

/// The password as it is kept with its job. Takes some milliseconds of a processor.
pub fn keep_password(sealer: &Sealer, job: JobId, password: &str) -> Result<Sealed, RescuePasswordError> {
    let hash = hash(password)?;
    Ok(sealer.seal(hash.as_bytes(), &context(&job))?)
}

fn hash(password: &str) -> Result<String, RescuePasswordError> {
    if password.trim().is_empty() || password.len() > LONGEST || password.chars().any(char::is_control) {
        return Err(RescuePasswordError::Form);
    }
    let mut salt = [0; SALT];
    SystemRandom::new().fill(&mut salt).map_err(|_| RescuePasswordError::Hash("no random numbers".into()))?;
    let hash = ShaCrypt::SHA512.hash_password_with_salt(password.as_bytes(), &salt);
    Ok(hash.map_err(|error| RescuePasswordError::Hash(error.to_string()))?.to_string())
}

fn context(job: &JobId) -> [&[u8]; 2] {
    [b"rescue", job.0.as_bytes()]
}

/// The hash, for the agent of this job.
pub(crate) fn password_hash(engine: &Engine, job: &Job) -> Result<String, String> {
    let sealed = job.input.rescue_password.as_ref().ok_or("No password came with this rescue: ask for it again.")?;
    let plain = engine.sealer.open_sealed(sealed, &context(&job.id)).map_err(|error| error.to_string())?;
    String::from_utf8(plain.to_vec()).map_err(|_| "The password of this rescue is damaged: ask for it again.".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha_crypt::PasswordVerifier;

    #[test]
    fn a_hash_is_in_the_form_of_crypt_and_opens_by_its_password_only() {
        let one = hash("a secret word").expect("hashed");
        assert!(one.starts_with("$6$"), "{one}");
        let salt = one.split('$').rev().nth(1).expect("a salt");
        assert_eq!(salt.len(), 16, "{one}");
        assert!(ShaCrypt::SHA512.verify_password(b"a secret word", one.as_str()).is_ok());
        assert!(ShaCrypt::SHA512.verify_password(b"a secret wore", one.as_str()).is_err());
        assert_ne!(one, hash("a secret word").expect("hashed"), "each has its own salt");
    }

    #[test]
    fn what_nobody_could_log_in_with_is_refused() {
        for bad in ["", "  ", "two\nlines", "a\0b", &"x".repeat(LONGEST + 1)] {
            let why = hash(bad).expect_err("refused").to_string();
            assert!(bad.trim().is_empty() || !why.contains(bad), "{why}");
        }
        assert!(hash(&"x".repeat(LONGEST)).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn any_text_is_refused_or_hashed(password in any::<String>()) {
            if let Ok(hash) = hash(&password) {
                prop_assert!(hash.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'), "{}", hash);
                prop_assert!(!password.chars().any(char::is_control));
            }
        }
    }
}
