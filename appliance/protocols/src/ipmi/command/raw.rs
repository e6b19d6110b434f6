//! A request that a user writes himself, byte by byte, as `ipmitool raw` takes it.

use std::time::Duration;

use super::super::reader::Malformed;
use super::Command;

/// Data bytes of one request: what fits into an IPMI message of 255 bytes beside its frame.
const MOST_DATA: usize = 240;

/// Any request: network function, number and data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRequest {
    /// Even: odd ones are answers.
    netfn: u8,
    command: u8,
    data: Vec<u8>,
}

/// Why a text is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RawRequestError {
    #[error("'{0}' is not a byte: write each as 0 to 255 or as 0x00 to 0xff, with spaces between them")]
    NotAByte(String),
    #[error("a request has at least two bytes: its network function and its command")]
    TooShort,
    #[error("a request has at most {MOST_DATA} bytes of data")]
    TooLong,
    #[error("{0:#04x} is not the network function of a request: those are even and below 0x40")]
    NetworkFunction(u8),
}

impl RawRequest {
    /// Reads `0x06 0x01`: network function, command, data.
    ///
    /// # Errors
    /// [`RawRequestError`] when it is no request that could be sent.
    pub fn read(text: &str) -> Result<RawRequest, RawRequestError> {
        let mut bytes = text.split_whitespace().map(byte);
        let (Some(netfn), Some(command)) = (bytes.next().transpose()?, bytes.next().transpose()?) else {
            return Err(RawRequestError::TooShort);
        };
        if netfn >= 0x40 || netfn % 2 != 0 {
            return Err(RawRequestError::NetworkFunction(netfn));
        }
        let data = bytes.collect::<Result<Vec<u8>, _>>()?;
        if data.len() > MOST_DATA {
            return Err(RawRequestError::TooLong);
        }
        Ok(RawRequest { netfn, command, data })
    }
}

fn byte(text: &str) -> Result<u8, RawRequestError> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        // The standard reader takes a sign, too.
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => u8::from_str_radix(digits, 16).ok(),
        None if text.bytes().all(|digit| digit.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    parsed.ok_or_else(|| RawRequestError::NotAByte(text.chars().take(20).collect()))
}

impl Command for RawRequest {
    const NAME: &'static str = "the raw request";
    // Both are the user's: see the methods.
    const NETFN: u8 = 0;
    const COMMAND: u8 = 0;
    // Nobody knows what it does, nor whether doing it twice does harm.
    const PATIENCE: Duration = Duration::from_secs(5);
    type Reply = Vec<u8>;

    fn netfn(&self) -> u8 {
        self.netfn
    }

    fn command(&self) -> u8 {
        self.command
    }

    fn encode(&self) -> Vec<u8> {
        self.data.clone()
    }

    fn parse(&self, data: &[u8]) -> Result<Vec<u8>, Malformed> {
        Ok(data.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_read_as_people_write_them() {
        let request = RawRequest::read("0x06 1  0XfF\t255").unwrap();
        assert_eq!((request.netfn(), request.command(), request.encode()), (6, 1, vec![255, 255]));
    }

    #[test]
    fn what_is_no_request_is_refused_in_words() {
        assert_eq!(RawRequest::read(""), Err(RawRequestError::TooShort));
        assert_eq!(RawRequest::read("0x06"), Err(RawRequestError::TooShort));
        assert_eq!(RawRequest::read("7 1"), Err(RawRequestError::NetworkFunction(7)));
        assert_eq!(RawRequest::read("0x40 1"), Err(RawRequestError::NetworkFunction(0x40)));
        assert_eq!(RawRequest::read(&"6 ".repeat(MOST_DATA + 3)), Err(RawRequestError::TooLong));
        for bad in ["6 256", "6 -1", "6 +1", "6 0x", "6 0x+1", "6 one", "6 1;2", "six 1"] {
            assert!(matches!(RawRequest::read(bad), Err(RawRequestError::NotAByte(_))), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(0x[0-9a-f]{1,2} |[0-9]{1,3} |\\PC{0,4} ){0,9}") {
            let _either = RawRequest::read(&text);
        }

        #[test]
        fn a_request_comes_back(netfn in 0u8..32, command: u8, data in prop::collection::vec(any::<u8>(), 0..=MOST_DATA)) {
            let netfn = netfn * 2;
            let text: Vec<String> = [netfn, command].iter().chain(&data).map(|byte| format!("{byte:#04x}")).collect();
            prop_assert_eq!(RawRequest::read(&text.join(" ")), Ok(RawRequest { netfn, command, data }));
        }
    }
}
