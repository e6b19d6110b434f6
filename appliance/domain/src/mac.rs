//! Ethernet addresses, in the one spelling the APIs show: lower case, colons.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A 48-bit Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

/// The text is no Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a MAC address: write six pairs of hex digits, such as 52:54:00:12:34:56")]
pub struct BadMac(pub String);

impl FromStr for Mac {
    type Err = BadMac;

    /// Takes pairs separated by `:` or `-`, or twelve digits without a separator.
    fn from_str(text: &str) -> Result<Mac, BadMac> {
        let bad = || BadMac(text.chars().take(40).collect());
        let separator = text.as_bytes().get(2).copied().filter(|byte| matches!(byte, b':' | b'-'));
        let digits: Vec<u8> = match separator {
            Some(sep) => {
                let well_spaced = text.len() == 17 && text.bytes().skip(2).step_by(3).all(|byte| byte == sep);
                if !well_spaced {
                    return Err(bad());
                }
                text.bytes().filter(|byte| *byte != sep).collect()
            }
            None => text.bytes().collect(),
        };
        if digits.len() != 12 {
            return Err(bad());
        }
        let mut octets = [0; 6];
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            let nibble = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            *octet = match (nibble(pair[0]), nibble(pair[1])) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(bad()),
            };
        }
        Ok(Mac(octets))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Mac {
    type Error = BadMac;

    fn try_from(text: String) -> Result<Mac, BadMac> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn common_spellings_mean_the_same() {
        let mac = Mac([0x52, 0x54, 0, 0x0a, 0xbc, 0x01]);
        for text in ["52:54:00:0a:bc:01", "52-54-00-0A-BC-01", "5254000abc01"] {
            assert_eq!(text.parse(), Ok(mac), "{text}");
        }
        assert_eq!(mac.to_string(), "52:54:00:0a:bc:01");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "52:54:00:0a:bc", "52:54:00:0a:bc:0g", "52:54-00:0a:bc:01", "+2:54:00:0a:bc:01", "5254000abc0"]
        {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,24}") {
            if let Ok(mac) = text.parse::<Mac>() {
                prop_assert_eq!(mac.to_string().parse(), Ok(mac));
            }
        }
    }
}
