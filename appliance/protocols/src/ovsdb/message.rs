//! The envelope: JSON-RPC 1.0 messages (RFC 7047, section 4).

use serde_json::{Value, json};

/// A message of the peer.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// Asks whether we are there; the answer is [`echo_reply`]. A server that hears none ends the connection.
    Echo { id: Value, params: Value },
    /// The answer to our request of that number.
    Reply { id: u64, result: Result<Value, PeerError> },
    /// Something that is not for us: a notification, a method that we do not have, a reply to nothing we asked.
    Other,
}

/// The peer refused a request as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}{}", details.as_ref().map(|details| format!(": {details}")).unwrap_or_default())]
pub struct PeerError {
    /// RFC 7047's word, such as `unknown database`.
    pub error: String,
    pub details: Option<String>,
}

impl PeerError {
    /// From the `error` member; whatever it is, something readable.
    pub(super) fn read(value: &Value) -> PeerError {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(clipped);
        match value.as_str().map(clipped).or_else(|| text("error")) {
            Some(error) => PeerError { error, details: text("details") },
            None => PeerError { error: clipped(&value.to_string()), details: None },
        }
    }
}

/// Text of a peer for a person: of a length that fits a line or two, without control characters.
fn clipped(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(300).collect()
}

/// A message is JSON, but no JSON-RPC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message is neither a request nor a reply")]
pub struct NotRpc;

impl Incoming {
    /// Reads a message that a [`super::Framer`] has cut out.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(message: Value) -> Result<Incoming, NotRpc> {
        let Value::Object(mut members) = message else { return Err(NotRpc) };
        if let Some(method) = members.get("method") {
            let method = method.as_str().ok_or(NotRpc)?;
            if method != "echo" {
                return Ok(Incoming::Other);
            }
            return Ok(Incoming::Echo {
                id: members.remove("id").unwrap_or_default(),
                params: members.remove("params").unwrap_or_default(),
            });
        }
        if !members.contains_key("result") && !members.contains_key("error") {
            return Err(NotRpc);
        }
        let Some(id) = members.get("id").and_then(Value::as_u64) else { return Ok(Incoming::Other) };
        let result = match members.get("error") {
            None | Some(Value::Null) => Ok(members.remove("result").unwrap_or_default()),
            Some(error) => Err(PeerError::read(error)),
        };
        Ok(Incoming::Reply { id, result })
    }
}

/// The bytes of a request; `id` is in its reply.
pub fn request(id: u64, method: &str, params: &Value) -> Vec<u8> {
    json!({"id": id, "method": method, "params": params}).to_string().into_bytes()
}

/// The answer to [`Incoming::Echo`].
pub fn echo_reply(id: &Value, params: &Value) -> Vec<u8> {
    json!({"id": id, "result": params, "error": null}).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_replies_and_echoes_from_what_is_not_for_us() {
        let reply = Incoming::read(json!({"id": 7, "result": [1], "error": null}));
        assert_eq!(reply, Ok(Incoming::Reply { id: 7, result: Ok(json!([1])) }));
        let failed = json!({"id": 7, "result": null, "error": {"error": "unknown database", "details": "no\nX"}});
        let Ok(Incoming::Reply { result: Err(error), .. }) = Incoming::read(failed) else { panic!("an error") };
        assert_eq!(error.to_string(), "unknown database: no X");
        let text = Incoming::read(json!({"id": 7, "error": "canceled"}));
        assert!(matches!(text, Ok(Incoming::Reply { result: Err(error), .. }) if error.to_string() == "canceled"));
        let echo = Incoming::read(json!({"id": "echo", "method": "echo", "params": [5]}));
        assert_eq!(echo, Ok(Incoming::Echo { id: json!("echo"), params: json!([5]) }));
        assert_eq!(echo_reply(&json!("echo"), &json!([5])), br#"{"error":null,"id":"echo","result":[5]}"#);
        for other in [
            json!({"id": null, "method": "update", "params": ["m", {}]}),
            json!({"id": "not a number of ours", "result": {}, "error": null}),
            json!({"id": 4, "method": "steal", "params": []}),
        ] {
            assert_eq!(Incoming::read(other), Ok(Incoming::Other));
        }
        for nonsense in [json!({}), json!({"id": 3}), json!({"method": 3}), json!(3), json!([])] {
            assert_eq!(Incoming::read(nonsense), Err(NotRpc));
        }
    }

    #[test]
    fn an_error_is_of_readable_length() {
        assert_eq!(PeerError::read(&json!({"error": "x".repeat(10_000)})).error.len(), 300);
        assert_eq!(PeerError::read(&json!([1, 2])).error, "[1,2]");
    }
}
