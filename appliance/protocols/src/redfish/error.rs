//! What a BMC says when it says no (DSP0266, 8.6).

use super::lenient;
use serde::Deserialize;
use serde_json::Value;

/// The longest sentence handed on; some BMCs attach their whole registry.
const LONGEST: usize = 600;

/// One message of `@Message.ExtendedInfo`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MessageInfo {
    #[serde(deserialize_with = "lenient::text")]
    pub message_id: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub message: Option<String>,
    #[serde(deserialize_with = "lenient::texts")]
    pub message_args: Option<Vec<String>>,
    #[serde(deserialize_with = "lenient::text")]
    pub resolution: Option<String>,
}

impl MessageInfo {
    /// The text with its arguments filled in; the identifier when there is no text.
    fn text(&self) -> Option<String> {
        let text = self.message.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let mut text = text.or(self.message_id.as_deref().filter(|id| !id.is_empty()))?.to_owned();
        for (number, argument) in self.message_args.iter().flatten().enumerate().take(9) {
            text = text.replace(&format!("%{}", number + 1), argument);
        }
        Some(text)
    }

    fn resolution(&self) -> Option<&str> {
        self.resolution.as_deref().map(str::trim).filter(|text| !text.is_empty() && !text.eq_ignore_ascii_case("none"))
    }
}

/// The messages of an error body, wherever the BMC puts them.
fn messages(body: &Value) -> Vec<MessageInfo> {
    const INFO: &str = "@Message.ExtendedInfo";
    let places = [body.get("error").and_then(|error| error.get(INFO)), body.get(INFO)];
    let items = places.into_iter().flatten().flat_map(|place| match place {
        Value::Array(items) => items.clone(),
        other => vec![other.clone()],
    });
    items.filter(Value::is_object).filter_map(|item| serde_json::from_value(item).ok()).collect()
}

/// A human sentence from the body of a refusal: its messages with the first advice, else the general message, else
/// the plain text that some BMCs send. `None` when there is nothing to read (an empty body, a web page).
pub fn error_sentence(body: &[u8]) -> Option<String> {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        let text = String::from_utf8_lossy(body);
        let readable = !text.trim_start().starts_with('<') && !text.contains('\u{fffd}');
        return if readable { tidy(&text) } else { None };
    };
    let messages = messages(&value);
    let mut texts: Vec<String> = Vec::new();
    for text in messages.iter().filter_map(MessageInfo::text) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    // A general identifier alone tells less than the error's own message.
    let general =
        value.pointer("/error/message").and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    if messages.iter().all(|message| message.message.is_none())
        && let Some(general) = general
    {
        texts = vec![general.to_owned()];
    }
    if let Some(advice) = messages.iter().find_map(MessageInfo::resolution) {
        texts.push(advice.to_owned());
    }
    tidy(&texts.join(" "))
}

/// Whether a refusal carries a message of this name, whatever registry and version it comes from.
pub fn has_message(body: &[u8], name: &str) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return false };
    let identifiers = messages(&value).into_iter().filter_map(|message| message.message_id);
    identifiers.into_iter().any(|id| id.rsplit('.').next() == Some(name))
}

/// One line of bounded length without control characters; `None` when nothing is left.
fn tidy(text: &str) -> Option<String> {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line = words.join(" ");
    let mut kept: String = line.chars().take(LONGEST).collect();
    if kept.len() < line.len() {
        kept.push('…');
    }
    (!kept.is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sentence(body: Value) -> Option<String> {
        error_sentence(body.to_string().as_bytes())
    }

    #[test]
    fn the_extended_info_is_the_sentence() {
        let body = json!({"error": {"code": "Base.1.8.GeneralError", "message": "See ExtendedInfo.",
            "@Message.ExtendedInfo": [
                {"MessageId": "Base.1.8.PropertyValueNotInList", "Message": "The value %1 for %2 is not in the list.",
                 "MessageArgs": ["Foo", "Boot"], "Resolution": "Choose a value from the list."},
                {"MessageId": "Base.1.8.PropertyValueNotInList", "Message": "The value %1 for %2 is not in the list.",
                 "MessageArgs": ["Foo", "Boot"], "Resolution": "None"}]}});
        assert_eq!(sentence(body).unwrap(), "The value Foo for Boot is not in the list. Choose a value from the list.");
    }

    #[test]
    fn a_general_identifier_gives_way_to_the_message() {
        let body = json!({"error": {"code": "Base.1.0.GeneralError", "message": "the node is on fire",
            "@Message.ExtendedInfo": [{"MessageId": "Base.1.0.GeneralError"}]}});
        assert_eq!(sentence(body).unwrap(), "the node is on fire");
    }

    #[test]
    fn odd_shapes_are_read_too() {
        let lone = json!({"@Message.ExtendedInfo": {"MessageId": "IPMI.1.0.Busy"}});
        assert_eq!(sentence(lone).unwrap(), "IPMI.1.0.Busy");
        assert_eq!(error_sentence(b"Missing the element\n").unwrap(), "Missing the element");
        assert_eq!(error_sentence(b"<html><body>500</body></html>"), None);
        assert_eq!(error_sentence(b""), None);
        assert_eq!(error_sentence(b"\xff\xfe"), None);
    }

    #[test]
    fn a_sentence_has_an_end() {
        let long = json!({"error": {"message": "x\n".repeat(5_000)}});
        let sentence = sentence(long).unwrap();
        assert!(sentence.chars().count() <= LONGEST + 1 && sentence.ends_with('…') && !sentence.contains('\n'));
    }

    #[test]
    fn messages_are_found_by_name() {
        let body = json!({"error": {"@Message.ExtendedInfo": [{"MessageId": "Base.1.4.SessionLimitExceeded"}]}});
        assert!(has_message(body.to_string().as_bytes(), "SessionLimitExceeded"));
        assert!(!has_message(body.to_string().as_bytes(), "LimitExceeded"));
    }
}
