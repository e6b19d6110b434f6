//! Where one message ends and the next begins: RFC 7047 puts JSON objects one after the other, with nothing between
//! them. A scanner that knows strings and brackets finds the ends; only what is complete is parsed.

use serde_json::Value;

/// Most bytes of one message. The schema of Open vSwitch is 60 KB, the ports of a large switch are 200 KB.
pub const LONGEST_MESSAGE: usize = 4 << 20;
/// Most nested brackets; RFC 7047 needs ten. Below the depth at which `serde_json` gives up.
const DEEPEST: usize = 64;
/// Most values in one message: a parsed value takes ten times the two bytes that one can be sent in.
const MOST_VALUES: usize = 1 << 18;

/// The peer does not speak JSON-RPC, or not within bounds. Nothing that comes after it on this connection has a meaning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a message does not begin with '{{' but with the byte 0x{0:02x}: this is no OVSDB server")]
    NoObject(u8),
    #[error("a message is longer than {0} bytes")]
    TooLong(usize),
    #[error("a message has brackets nested deeper than {DEEPEST}")]
    TooDeep,
    #[error("a message holds more than {MOST_VALUES} values")]
    TooMany,
    #[error("a message is no JSON: {0}")]
    NoJson(String),
}

/// Cuts a stream into messages. Keeps at most one incomplete message.
#[derive(Debug)]
pub struct Framer {
    limit: usize,
    kept: Vec<u8>,
    depth: usize,
    values: usize,
    in_string: bool,
    escaped: bool,
    failed: Option<FrameError>,
}

impl Framer {
    /// For messages of at most `limit` bytes.
    pub fn new(limit: usize) -> Framer {
        Framer { limit, kept: Vec::new(), depth: 0, values: 0, in_string: false, escaped: false, failed: None }
    }

    /// Takes bytes, in pieces of any size, and gives the messages that are complete with them, in order.
    ///
    /// # Errors
    /// When they are no messages. The stream has no meaning from there on: every later call has the same error.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Value>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let taken = self.take(bytes);
        if let Err(error) = &taken {
            self.failed = Some(error.clone());
            self.kept = Vec::new();
        }
        taken
    }

    fn take(&mut self, bytes: &[u8]) -> Result<Vec<Value>, FrameError> {
        let mut complete = Vec::new();
        let mut from = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if self.depth == 0 {
                match byte {
                    b' ' | b'\t' | b'\r' | b'\n' => from = at + 1,
                    b'{' => (self.depth, self.values) = (1, 1),
                    other => return Err(FrameError::NoObject(*other)),
                }
                continue;
            }
            if self.kept.len() + (at - from) >= self.limit {
                return Err(FrameError::TooLong(self.limit));
            }
            if self.scan(*byte)? {
                self.kept.extend_from_slice(bytes.get(from..=at).unwrap_or_default());
                from = at + 1;
                let message = std::mem::take(&mut self.kept);
                complete.push(serde_json::from_slice(&message).map_err(|error| FrameError::NoJson(error.to_string()))?);
            }
        }
        self.kept.extend_from_slice(bytes.get(from..).unwrap_or_default());
        Ok(complete)
    }

    /// One byte inside a message; true at its end.
    fn scan(&mut self, byte: u8) -> Result<bool, FrameError> {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return Ok(false);
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => {
                (self.depth, self.values) = (self.depth + 1, self.values + 1);
                if self.depth > DEEPEST {
                    return Err(FrameError::TooDeep);
                }
            }
            b'}' | b']' => self.depth -= 1,
            b',' => self.values += 1,
            _ => {}
        }
        if self.values > MOST_VALUES {
            return Err(FrameError::TooMany);
        }
        Ok(self.depth == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const THREE: &str = r#"{"id":"a\"}{","result":[{"x":["set",[]]},"\\"],"error":null}
        {"method":"echo","params":[],"id":"echo"}{"ü":"{[\u005b"}"#;

    fn three() -> Vec<Value> {
        vec![
            json!({"id": "a\"}{", "result": [{"x": ["set", []]}, "\\"], "error": null}),
            json!({"method": "echo", "params": [], "id": "echo"}),
            json!({"ü": "{[["}),
        ]
    }

    #[test]
    fn every_split_of_a_stream_gives_the_same_messages() {
        let bytes = THREE.as_bytes();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut framer = Framer::new(100);
                let parts = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                let got: Vec<_> = parts.into_iter().flat_map(|part| framer.push(part).expect("messages")).collect();
                assert_eq!(got, three(), "cut at {first} and {second}");
                assert!(framer.kept.is_empty());
            }
        }
    }

    #[test]
    fn what_is_no_message_is_told_and_ends_the_stream() {
        let mut framer = Framer::new(100);
        let refused = framer.push(b"HTTP/1.1 400 Bad Request\r\n");
        assert_eq!(refused, Err(FrameError::NoObject(b'H')));
        assert_eq!(framer.push(b"{}"), refused, "whatever comes after it");
        assert_eq!(Framer::new(100).push(b"{}[]"), Err(FrameError::NoObject(b'[')));
        assert!(matches!(Framer::new(100).push(b"{]"), Err(FrameError::NoJson(_))));
        assert!(matches!(Framer::new(100).push(b"{\"a\":\xff}"), Err(FrameError::NoJson(_))));
    }

    #[test]
    fn a_message_has_bounds() {
        let fits = format!("{{\"a\":\"{}\"}}", "x".repeat(92));
        assert_eq!(fits.len(), 100);
        assert_eq!(Framer::new(100).push(fits.as_bytes()).map(|all| all.len()), Ok(1));
        let long = fits.replacen('x', "xx", 1);
        assert_eq!(Framer::new(100).push(long.as_bytes()), Err(FrameError::TooLong(100)));
        assert_eq!(Framer::new(1 << 20).push("{\"a\":[".repeat(40).as_bytes()), Err(FrameError::TooDeep));
        let many = format!("{{\"a\":[{}0]}}", "0,".repeat(MOST_VALUES));
        assert_eq!(Framer::new(1 << 20).push(many.as_bytes()), Err(FrameError::TooMany));
        // An endless one is given up at the bound, in whatever pieces it comes.
        let mut framer = Framer::new(100);
        assert_eq!(framer.push(b"{\"a\":\""), Ok(vec![]));
        let given_up = (0..100).find_map(|_| framer.push(b"xxxxxxx").err());
        assert_eq!(given_up, Some(FrameError::TooLong(100)));
        assert_eq!(framer.kept.capacity(), 0);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_are_not_hoarded(
            bytes in prop::collection::vec(prop_oneof![
                any::<u8>(), prop::sample::select(&b"{}[]\",:\\ \n019truefalsn"[..])], 0..600),
            open in any::<bool>(),
            size in 1usize..50,
        ) {
            let mut framer = Framer::new(64);
            let opened = if open { framer.push(b"{\"") } else { Ok(vec![]) };
            prop_assert_eq!(opened, Ok(vec![]));
            let mut all = Vec::new();
            for part in bytes.chunks(size) {
                let got = framer.push(part);
                prop_assert!(framer.kept.len() <= 64);
                let Ok(got) = got else { break };
                all.extend(got);
            }
            prop_assert!(all.iter().all(Value::is_object));
        }

        #[test]
        fn whatever_is_written_is_read_again(
            texts in prop::collection::vec(".*", 1..5), size in 1usize..40,
        ) {
            let sent: Vec<Value> = texts.iter().map(|text| json!({text.clone(): [text, {"a": text}]})).collect();
            let bytes: Vec<u8> = sent.iter().flat_map(|value| value.to_string().into_bytes()).collect();
            let mut framer = Framer::new(LONGEST_MESSAGE);
            let mut got = Vec::new();
            for part in bytes.chunks(size) {
                got.extend(framer.push(part).map_err(|error| TestCaseError::fail(error.to_string()))?);
            }
            prop_assert_eq!(got, sent);
        }
    }
}
