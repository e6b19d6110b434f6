//! Rescue: the machine's user is let into the ramdisk, and the appliance steps back.
//!
//! In: the hash of his password, as crypt(5) writes it; never the password. Out: a login for the user `rescue`, made by
//! the script that the archive for rescues brings. The agent closes when the appliance wants no more heartbeats.

use leasehold_wire::agent::RESCUE_USER;
use serde_json::{Map, Value};
use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

/// Brought by the archive that is loaded for rescues only.
const SCRIPT: &str = "/etc/leasehold/rescue";
/// crypt(3)'s own limit (CRYPT_OUTPUT_SIZE), its closing zero byte left out.
const LONGEST: usize = 383;

/// A password's hash in a form that a shadow file can hold. It is shown to nobody, not even in a debugger's words.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// From the parameters of `rescue.finalize_rescue`.
    ///
    /// # Errors
    /// Why it cannot be used; the words do not hold it.
    pub fn of_params(params: &Map<String, Value>) -> Result<PasswordHash, &'static str> {
        let text = params.get("rescue_password").and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() {
            return Err("the parameter rescue_password is missing: it cannot be empty");
        }
        if params.get("hashed").and_then(Value::as_bool) != Some(true) {
            return Err("the password must come as its hash (hashed: true); this agent takes none in the clear");
        }
        // crypt(5): printable ASCII but for white space and `:;*!\`, so that no further line or field is made of it.
        let fits = |byte: u8| byte.is_ascii_graphic() && !b":;*!\\".contains(&byte);
        let method = text.strip_prefix('$').and_then(|rest| rest.split_once('$'));
        match method {
            Some((method, rest))
                if !method.is_empty() && !rest.is_empty() && text.len() <= LONGEST && text.bytes().all(fits) =>
            {
                Ok(PasswordHash(text.to_owned()))
            }
            _ => Err("rescue_password is no hash in the form of crypt(5), such as $6$SALT$HASH"),
        }
    }

    /// For the shadow file.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(***)")
    }
}

/// Lets the user in. Returns what he should know, such as the host's key.
pub(crate) fn open(hash: &PasswordHash) -> Result<String, String> {
    let said = script("open", hash.expose())?;
    let said = if said.is_empty() { String::new() } else { format!("; {said}") };
    Ok(format!("{RESCUE_USER} may log in by SSH{said}"))
}

/// Every card asks for the address that the user's networks give it.
pub(crate) fn hand_over() -> Result<(), String> {
    script("hand-over", "").map(drop)
}

fn script(what: &str, input: &str) -> Result<String, String> {
    let mut command = Command::new(SCRIPT);
    command.arg(what).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            "this ramdisk has no rescue system: its archive 'rescue' is not among the appliance's boot \
                                files; build them anew (leasehold-boot-images)"
                .to_owned()
        }
        _ => format!("{SCRIPT} cannot be run: {error}"),
    })?;
    if let Some(mut pipe) = child.stdin.take() {
        // A script that has ended before says why by its status.
        let _ = writeln!(pipe, "{input}");
    }
    let output = child.wait_with_output().map_err(|error| format!("{SCRIPT} cannot be followed: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.success() {
        true => Ok(said),
        false => Err(format!("{SCRIPT} {what} ended with {}: {said}", output.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(params: Value) -> Result<PasswordHash, &'static str> {
        PasswordHash::of_params(params.as_object().expect("an object"))
    }

    #[test]
    fn only_a_hash_is_taken() {
        let hash = "$6$rounds=5000$abc./$defGHI";
        assert_eq!(read(json!({"rescue_password": hash, "hashed": true})).map(|hash| hash.0), Ok(hash.to_owned()));
        for bad in [
            json!({}),
            json!({"rescue_password": "", "hashed": true}),
            json!({"rescue_password": "a word", "hashed": true}),
            json!({"rescue_password": hash}),
            json!({"rescue_password": hash, "hashed": false}),
            json!({"rescue_password": 5, "hashed": true}),
            json!({"rescue_password": "$6$", "hashed": true}),
            json!({"rescue_password": "$$x", "hashed": true}),
            json!({"rescue_password": "$6$a$b\nroot::0:0", "hashed": true}),
            json!({"rescue_password": "$6$a$b:0:0", "hashed": true}),
            json!({"rescue_password": format!("$6${}", "a".repeat(LONGEST)), "hashed": true}),
        ] {
            let why = read(bad.clone()).expect_err("refused");
            assert!(!why.contains("a word"), "{bad}");
        }
        let shown = format!("{:?}", read(json!({"rescue_password": hash, "hashed": true})));
        assert!(!shown.contains("abc"), "{shown}");
    }

    proptest! {
        #[test]
        fn a_shadow_file_keeps_its_form(text in any::<String>(), crypt in "\\$[a-z0-9]{1,2}\\$.{0,40}") {
            for text in [text, crypt] {
                if let Ok(hash) = read(json!({"rescue_password": text, "hashed": true})) {
                    let line = format!("rescue:{}:20000:0:99999:7:::", hash.expose());
                    prop_assert_eq!(line.split(':').count(), 9);
                    prop_assert!(!line.chars().any(char::is_control));
                }
            }
        }
    }
}
