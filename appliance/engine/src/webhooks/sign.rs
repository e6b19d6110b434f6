//! How deliveries are signed: the form of Standard Webhooks (standardwebhooks.com, version 1), for which receivers have
//! ready-made libraries: HMAC-SHA256 over `id.timestamp.body`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// Before a secret, as it is shown.
const PREFIX: &str = "whsec_";
/// Bytes of a secret.
const SECRET: usize = 32;

/// A new secret as its user gets it; `None`: the system gives no random numbers.
pub fn new_secret() -> Option<String> {
    let mut bytes = [0; SECRET];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(format!("{PREFIX}{}", STANDARD.encode(bytes)))
}

/// The header `webhook-signature` for a body; `None`: the secret is none.
pub(super) fn signature(secret: &str, id: &str, timestamp: i64, body: &str) -> Option<String> {
    let key = STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
    let signed = format!("{id}.{timestamp}.{body}");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes());
    Some(format!("v1,{}", STANDARD.encode(tag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the specification's reference libraries.
    #[test]
    fn a_signature_is_the_one_that_receivers_compute() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "{\"test\": 2432232314}");
        let signed = signature(secret, id, 1_614_265_330, body);
        assert_eq!(signed.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn secrets_differ_and_are_long_enough() {
        let secrets = [(); 2].map(|()| new_secret().expect("random numbers"));
        assert!(secrets[0] != secrets[1] && secrets[0].len() == PREFIX.len() + 44, "{}", secrets[0].len());
        assert!(signature(&secrets[0], "a", 1, "b").is_some() && signature("abc", "a", 1, "b").is_none());
    }
}
