//! OpenStack's meta_data.json: who this machine is and who may log in.
//!
//! In: the JSON text. Out: id, host name, keys and the free-form `meta` values we use.
//! Unknown members are ignored, as the format grows; a member of the wrong type is an error that names it.
//! Keys become lines of a file, so a key with a line break or other control character is refused.
//! A host name that DNS could not carry (RFC 1123, 2.1) is refused too, rather than changed.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

/// What the machine is told about itself.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct MetaData {
    /// The instance's id; empty when there was none.
    pub(crate) uuid: String,
    /// Host name; empty when there was none.
    pub(crate) hostname: String,
    /// Public keys for root, one line each.
    pub(crate) keys: Vec<String>,
    /// `meta.nonce`, by which the owner recognizes this very deployment; empty when there was none.
    pub(crate) nonce: String,
}

#[derive(Deserialize)]
struct Document {
    uuid: Option<String>,
    hostname: Option<String>,
    name: Option<String>,
    public_keys: Option<BTreeMap<String, String>>,
    meta: Option<BTreeMap<String, Value>>,
}

/// Reads the document.
pub(crate) fn parse(text: &[u8]) -> Result<MetaData> {
    let document: Document = serde_json::from_slice(text).context("not the JSON document it should be")?;
    let hostname = document.hostname.or(document.name).unwrap_or_default();
    if !hostname.is_empty() && !is_host_name(&hostname) {
        bail!("{hostname:?} is no host name (letters, digits, hyphens and dots)");
    }
    let mut keys = Vec::new();
    for (name, key) in document.public_keys.unwrap_or_default() {
        let key = key.trim();
        if key.is_empty() || key.chars().any(char::is_control) {
            bail!("the public key {name:?} is empty or has control characters in it");
        }
        keys.push(key.to_owned());
    }
    let nonce = match document.meta.unwrap_or_default().remove("nonce") {
        None => String::new(),
        Some(Value::String(nonce)) if !nonce.chars().any(char::is_control) => nonce,
        Some(other) => bail!("meta.nonce should be a string of one line, not {other}"),
    };
    Ok(MetaData { uuid: document.uuid.unwrap_or_default(), hostname, keys, nonce })
}

fn is_host_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_whole_document_is_read() {
        let text = br#"{"uuid":"83679162-1378-4288-a2d4-70e13ec132aa","hostname":"node0.rack","name":"other",
            "public_keys":{"b":"ssh-ed25519 AAAA b\n","a":"ssh-rsa BBBB a"},"keys":[{"name":"a","type":"ssh","data":"x"}],
            "meta":{"nonce":"n-1","role":5},"availability_zone":"","launch_index":0}"#;
        let meta = parse(text).unwrap();
        assert_eq!(meta.uuid, "83679162-1378-4288-a2d4-70e13ec132aa");
        assert_eq!(meta.hostname, "node0.rack");
        assert_eq!(meta.keys, ["ssh-rsa BBBB a", "ssh-ed25519 AAAA b"]);
        assert_eq!(meta.nonce, "n-1");
    }

    #[test]
    fn everything_is_optional_and_the_name_stands_in_for_the_host_name() {
        assert_eq!(parse(b"{}").unwrap(), MetaData::default());
        assert_eq!(parse(br#"{"name":"n1","public_keys":null,"meta":null}"#).unwrap().hostname, "n1");
    }

    #[test]
    fn what_would_break_a_file_is_refused_by_name() {
        for (text, part) in [
            (r#"{"public_keys":{"me":"ssh-rsa A\nssh-rsa B"}}"#, "public key \"me\""),
            (r#"{"public_keys":{"me":""}}"#, "public key \"me\""),
            (r#"{"hostname":"a b"}"#, "is no host name"),
            (r#"{"hostname":"-a"}"#, "is no host name"),
            (r#"{"meta":{"nonce":5}}"#, "meta.nonce"),
            (r#"{"meta":{"nonce":"a\nb"}}"#, "meta.nonce"),
            ("[]", "not the JSON document"),
        ] {
            let error = format!("{:#}", parse(text.as_bytes()).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn accepted_keys_are_single_lines(key in ".{0,40}", nonce in ".{0,40}") {
            let text = serde_json::json!({"public_keys": {"k": key}, "meta": {"nonce": nonce}}).to_string();
            if let Ok(meta) = parse(text.as_bytes()) {
                prop_assert_eq!(meta.keys.join("\n").lines().count(), 1);
                prop_assert!(!meta.nonce.contains('\n'));
            }
        }
    }
}
