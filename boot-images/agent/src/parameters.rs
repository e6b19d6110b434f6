//! The kernel command line: what the appliance tells the agent before there is a network.
//! Names are ironic-python-agent's where it has them, so that one boot script starts either agent.

use std::time::Duration;

/// Everything the agent takes from the kernel command line.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// `ipa-api-url`: where lookup and heartbeat go; several, separated by commas, are tried in order.
    pub api_urls: Vec<String>,
    /// `ipa-agent-token`: the secret of this boot, shown by the appliance with every command.
    pub token: Option<String>,
    /// `ipa-inspection-callback-url`: where the inventory goes; no inspection without it.
    pub inspection_urls: Vec<String>,
    /// `leasehold-pin`: SHA-256 of the certificate (DER) that the appliance shows.
    pub pin: Option<[u8; 32]>,
    /// `BOOTIF` or `leasehold-mac`: address of the interface the machine booted from.
    pub boot_mac: Option<String>,
    /// `ipa-insecure`: take any certificate where no pin is given.
    pub insecure: bool,
    /// `ipa-agent-tls`: serve commands over TLS (the default) or, with 0, in the clear.
    pub agent_tls: bool,
    /// `ipa-collect-lldp`: let the inventory wait for the neighbours' LLDP frames.
    pub collect_lldp: bool,
    /// `ipa-lldp-timeout` in seconds: how long at most.
    pub lldp_timeout: Duration,
}

/// A parameter that is there but cannot be used. Guessing would be worse than stopping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// The pin is not a SHA-256.
    #[error("leasehold-pin is not 64 hexadecimal digits: the boot script of the appliance is damaged; boot again")]
    Pin,
    /// The machine would not know whom to call.
    #[error(
        "the kernel command line names neither ipa-api-url nor ipa-inspection-callback-url: boot this machine \
         through the appliance, not by hand"
    )]
    NoAddress,
    /// An address is no `http://` or `https://` URL.
    #[error("{name} is not an http or https address: {value}")]
    Address {
        /// The parameter.
        name: &'static str,
        /// What it holds.
        value: String,
    },
    /// TLS without anything to check the certificate by.
    #[error(
        "{url} is reached over TLS, but the kernel command line carries no leasehold-pin to know the appliance by; \
         boot again through the appliance (or, on a network you trust, add ipa-insecure=1)"
    )]
    NoPin {
        /// The address.
        url: String,
    },
}

/// Reads a kernel command line. Unknown parameters belong to others; of a parameter given twice, the last one counts.
///
/// # Errors
/// When a parameter that security or the call home rests on cannot be used.
pub fn parse(line: &str) -> Result<Parameters, ParameterError> {
    let mut found = Parameters {
        api_urls: Vec::new(),
        token: None,
        inspection_urls: Vec::new(),
        pin: None,
        boot_mac: None,
        insecure: false,
        agent_tls: true,
        collect_lldp: false,
        lldp_timeout: Duration::from_secs(30),
    };
    for (key, value) in words(line) {
        match key.as_str() {
            "ipa-api-url" => found.api_urls = addresses("ipa-api-url", &value)?,
            "ipa-inspection-callback-url" => {
                found.inspection_urls = addresses("ipa-inspection-callback-url", &value)?;
            }
            "ipa-agent-token" => found.token = Some(value).filter(|token| !token.is_empty()),
            "leasehold-pin" => {
                let mut pin = [0u8; 32];
                hex::decode_to_slice(value.to_ascii_lowercase(), &mut pin).map_err(|_| ParameterError::Pin)?;
                found.pin = Some(pin);
            }
            "BOOTIF" | "leasehold-mac" => {
                if let Some(mac) = mac(&value) {
                    found.boot_mac = Some(mac);
                }
            }
            "ipa-insecure" => found.insecure = is_true(&value),
            "ipa-agent-tls" => found.agent_tls = is_true(&value),
            "ipa-collect-lldp" => found.collect_lldp = is_true(&value),
            "ipa-lldp-timeout" => {
                if let Some(seconds) = value.parse::<f64>().ok().filter(|seconds| (0.0..=600.0).contains(seconds)) {
                    found.lldp_timeout = Duration::from_secs_f64(seconds);
                }
            }
            _ => {}
        }
    }
    if found.api_urls.is_empty() && found.inspection_urls.is_empty() {
        return Err(ParameterError::NoAddress);
    }
    if found.pin.is_none() && !found.insecure {
        let mut all = found.api_urls.iter().chain(&found.inspection_urls);
        if let Some(url) = all.find(|url| url.starts_with("https://")) {
            return Err(ParameterError::NoPin { url: url.clone() });
        }
    }
    Ok(found)
}

/// Splits as the kernel does: at white space outside double quotes; quotes around a value or a whole word fall away.
fn words(line: &str) -> Vec<(String, String)> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in line.chars().chain(std::iter::once(' ')) {
        match c {
            '"' => quoted = !quoted,
            c if c.is_ascii_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(split(&std::mem::take(&mut word)));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(split(&word));
    }
    words
}

fn split(word: &str) -> (String, String) {
    match word.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (word.to_owned(), String::new()),
    }
}

fn addresses(name: &'static str, value: &str) -> Result<Vec<String>, ParameterError> {
    let mut urls = Vec::new();
    for url in value.split(',').map(|url| url.trim_end_matches('/')).filter(|url| !url.is_empty()) {
        if crate::http::Url::parse(url).is_err() {
            return Err(ParameterError::Address { name, value: url.to_owned() });
        }
        urls.push(url.to_owned());
    }
    Ok(urls)
}

/// A bare word means yes, as in `ipa-insecure`.
fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "" | "1" | "true" | "yes" | "on" | "y" | "t")
}

/// `01-52-54-00-…` (as pxelinux and iPXE's `${netX/mac:hexhyp}` with a hardware type write it), with or without the
/// type, hyphens or colons, to lower case with colons.
pub fn mac(value: &str) -> Option<String> {
    let parts: Vec<&str> = value.split(['-', ':']).collect();
    let parts = match parts.len() {
        7 => &parts[1..],
        6 => &parts[..],
        _ => return None,
    };
    let proper = parts.iter().all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()));
    proper.then(|| parts.join(":").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_line_is_read() {
        let pin = "ab".repeat(32);
        let line = format!(
            "console=tty0 console=ttyS0,115200 ipa-api-url=https://192.0.2.1:6385/,https://192.0.2.2 quiet \
             ipa-agent-token=s3cret=with=equals BOOTIF=01-52-54-00-AA-BB-CC leasehold-pin={pin} ipa-collect-lldp=1 \
             ipa-inspection-callback-url=\"https://192.0.2.1:6385/v1/continue_inspection\" ipa-lldp-timeout=5\n"
        );
        let read = parse(&line).unwrap();
        assert_eq!(read.api_urls, ["https://192.0.2.1:6385", "https://192.0.2.2"]);
        assert_eq!(read.token.as_deref(), Some("s3cret=with=equals"));
        assert_eq!(read.boot_mac.as_deref(), Some("52:54:00:aa:bb:cc"));
        assert_eq!(read.pin, Some([0xab; 32]));
        assert_eq!(read.inspection_urls, ["https://192.0.2.1:6385/v1/continue_inspection"]);
        assert_eq!(read.lldp_timeout, Duration::from_secs(5));
        assert!(read.agent_tls && read.collect_lldp && !read.insecure);
    }

    #[test]
    fn what_security_rests_on_is_never_guessed() {
        assert_eq!(parse("ipa-api-url=https://a leasehold-pin=12"), Err(ParameterError::Pin));
        assert_eq!(parse("quiet"), Err(ParameterError::NoAddress));
        assert!(matches!(parse("ipa-api-url=https://a"), Err(ParameterError::NoPin { .. })));
        assert!(matches!(parse("ipa-api-url=ftp://a"), Err(ParameterError::Address { .. })));
        assert!(parse("ipa-api-url=https://a ipa-insecure").unwrap().insecure);
        assert!(!parse("ipa-api-url=http://a ipa-agent-tls=0").unwrap().agent_tls);
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line in ".{0,400}") {
            let _ = parse(&line);
        }

        #[test]
        fn a_token_comes_through_unchanged(token in "[A-Za-z0-9_=+/-]{1,80}", noise in "[a-z =]{0,40}") {
            let line = format!("{noise} ipa-api-url=http://x ipa-agent-token={token}");
            prop_assert_eq!(parse(&line).unwrap().token, Some(token));
        }

        #[test]
        fn macs_are_normal(bytes in any::<[u8; 6]>(), upper in any::<bool>(), typed in any::<bool>()) {
            let want = bytes.map(|byte| format!("{byte:02x}")).join(":");
            let mut text = want.replace(':', "-");
            if typed { text = format!("01-{text}"); }
            if upper { text = text.to_ascii_uppercase(); }
            prop_assert_eq!(mac(&text), Some(want));
        }
    }
}
