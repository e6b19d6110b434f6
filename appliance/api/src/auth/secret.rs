//! Secrets that the appliance makes: 256 random bits, given once, stored as SHA-256.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use leasehold_domain::identity::Digest;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// What tokens, links and sessions begin with, so that a leaked one is recognised for what it is.
const PREFIX: &str = "lh-";
/// 32 bytes in base64url.
const LENGTH: usize = PREFIX.len() + 43;

/// A new secret and what is stored of it; `None` when the kernel gives no random bytes.
pub(crate) fn make() -> Option<(String, Digest)> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).ok()?;
    let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let stored = sha256(text.as_bytes());
    Some((text, stored))
}

/// What would be stored of a secret with this text; `None` when it has not the form of one.
pub(crate) fn digest_of(text: &str) -> Option<Digest> {
    (text.len() == LENGTH && text.starts_with(PREFIX)).then(|| sha256(text.as_bytes()))
}

/// SHA-256. Stored digests are looked up, not compared byte by byte: how long that takes tells nothing about a secret
/// that nobody can choose the digest of.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    let mut stored = [0; 32];
    stored.copy_from_slice(digest(&SHA256, bytes).as_ref());
    stored
}

/// A short random name that opens nothing.
pub(crate) fn audit_id() -> String {
    URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_by_its_text_and_by_no_other() {
        let (text, stored) = make().expect("random bytes");
        assert_eq!(digest_of(&text), Some(stored));
        assert_ne!(make().expect("random bytes").0, text);
        for other in ["", "lh-", &text[1..], &format!("{text}x"), &text.replace("lh-", "xx-")] {
            assert_eq!(digest_of(other), None, "{other}");
        }
    }
}
