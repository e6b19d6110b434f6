//! What one member of a document is, read off the thing itself, and how it is written.
//!
//! A page of a thousand nodes has some seventy thousand members: nearly all of them are shown as they are kept, so they
//! are borrowed and written straight into the answer's bytes.

use super::document::{links, time};
use super::selection::Key;
use jiff::Timestamp;
use jiff::tz::Offset;
use leasehold_domain::id::NodeId;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeSet;
use uuid::Uuid;

/// The value of a member.
pub(super) enum Shape<'a> {
    Null,
    Flag(bool),
    Text(&'a str),
    Id(Uuid),
    Time(Timestamp),
    Object(&'a Map<String, Value>),
    /// An object without members.
    Empty,
    Texts(&'a BTreeSet<String>),
    Kept(&'a Value),
    /// It is kept nowhere in this form.
    Made(Value),
    /// The two links of a node, or of what is below it under this name.
    Links {
        base: &'a str,
        node: NodeId,
        below: &'static str,
    },
}

impl From<bool> for Shape<'_> {
    fn from(flag: bool) -> Self {
        Shape::Flag(flag)
    }
}

impl<'a> From<&'a str> for Shape<'a> {
    fn from(text: &'a str) -> Self {
        Shape::Text(text)
    }
}

impl<'a> From<&'a String> for Shape<'a> {
    fn from(text: &'a String) -> Self {
        Shape::Text(text)
    }
}

impl From<Uuid> for Shape<'_> {
    fn from(id: Uuid) -> Self {
        Shape::Id(id)
    }
}

impl From<Timestamp> for Shape<'_> {
    fn from(at: Timestamp) -> Self {
        Shape::Time(at)
    }
}

impl<'a> From<&'a Map<String, Value>> for Shape<'a> {
    fn from(object: &'a Map<String, Value>) -> Self {
        Shape::Object(object)
    }
}

impl<'a> From<Cow<'a, Map<String, Value>>> for Shape<'a> {
    fn from(object: Cow<'a, Map<String, Value>>) -> Self {
        match object {
            Cow::Borrowed(object) => Shape::Object(object),
            Cow::Owned(object) => Shape::Made(object.into()),
        }
    }
}

impl From<Value> for Shape<'_> {
    fn from(value: Value) -> Self {
        Shape::Made(value)
    }
}

impl<'a, T: Into<Shape<'a>>> From<Option<T>> for Shape<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Shape::Null, Into::into)
    }
}

impl Shape<'_> {
    /// As JSON.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match self {
            Shape::Null => out.extend_from_slice(b"null"),
            Shape::Flag(true) => out.extend_from_slice(b"true"),
            Shape::Flag(false) => out.extend_from_slice(b"false"),
            Shape::Text(text) => serde_json::to_writer(out, text)?,
            Shape::Id(id) => {
                out.push(b'"');
                write_id(*id, out);
                out.push(b'"');
            }
            Shape::Time(at) => write_time(*at, out)?,
            Shape::Empty => out.extend_from_slice(b"{}"),
            Shape::Object(object) if object.is_empty() => out.extend_from_slice(b"{}"),
            Shape::Object(object) => serde_json::to_writer(out, object)?,
            Shape::Texts(texts) if texts.is_empty() => out.extend_from_slice(b"[]"),
            Shape::Texts(texts) => serde_json::to_writer(out, texts)?,
            Shape::Kept(value) => serde_json::to_writer(out, value)?,
            Shape::Made(value) => serde_json::to_writer(out, value)?,
            Shape::Links { base, node, below } => {
                for (before, place, rel) in
                    [("[{\"href\":", "/v1/nodes/", "self\"}"), (",{\"href\":", "/nodes/", "bookmark\"}]")]
                {
                    out.extend_from_slice(before.as_bytes());
                    serde_json::to_writer(&mut *out, base)?;
                    // The address goes on: without the closing quotation mark.
                    out.pop();
                    out.extend_from_slice(place.as_bytes());
                    write_id(node.0, out);
                    if !below.is_empty() {
                        out.push(b'/');
                        out.extend_from_slice(below.as_bytes());
                    }
                    out.extend_from_slice(b"\",\"rel\":\"");
                    out.extend_from_slice(rel.as_bytes());
                }
            }
        }
        Ok(())
    }

    /// As a value, for what is done with it beside showing.
    pub(super) fn into_value(self) -> Value {
        match self {
            Shape::Null => Value::Null,
            Shape::Flag(flag) => flag.into(),
            Shape::Text(text) => text.into(),
            Shape::Id(id) => id.to_string().into(),
            Shape::Time(at) => time(at),
            Shape::Empty => Map::new().into(),
            Shape::Object(object) => object.clone().into(),
            Shape::Texts(texts) => texts.iter().cloned().collect(),
            Shape::Kept(value) => value.clone(),
            Shape::Made(value) => value,
            Shape::Links { base, node, below: "" } => links(base, &format!("nodes/{node}")),
            Shape::Links { base, node, below } => links(base, &format!("nodes/{node}/{below}")),
        }
    }

    /// As lists are sorted: nothing first, the rest by its text.
    pub(super) fn into_key(self) -> Key {
        match self {
            Shape::Text(text) => Some(text.into()),
            other => match other.into_value() {
                Value::Null => None,
                Value::String(text) => Some(text.into()),
                value => Some(value.to_string().into()),
            },
        }
    }
}

fn write_id(id: Uuid, out: &mut Vec<u8>) {
    out.extend_from_slice(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
}

/// The same as [`time`], digit by digit: its general formatter takes longer than all other members of a node together.
fn write_time(at: Timestamp, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let civil = Offset::UTC.to_datetime(at);
    let Some(year) = u16::try_from(civil.year()).ok().filter(|year| *year <= 9999) else {
        return serde_json::to_writer(out, &time(at));
    };
    out.push(b'"');
    two(out, year / 100);
    two(out, year % 100);
    for (mark, part) in [
        (b'-', civil.month()),
        (b'-', civil.day()),
        (b'T', civil.hour()),
        (b':', civil.minute()),
        (b':', civil.second()),
    ] {
        out.push(mark);
        two(out, part.unsigned_abs().into());
    }
    out.extend_from_slice(b"+00:00\"");
    Ok(())
}

/// Two digits.
fn two(out: &mut Vec<u8>, number: u16) {
    let digit = |number: u16| b'0' + (number % 10) as u8;
    out.extend_from_slice(&[digit(number / 10), digit(number)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn written(shape: &Shape<'_>) -> Value {
        let mut out = Vec::new();
        shape.write(&mut out).expect("written");
        serde_json::from_slice(&out).expect("JSON")
    }

    proptest! {
        #[test]
        fn what_is_written_is_the_value(text in "\\PC{0,20}", number in any::<u128>(), flag in any::<bool>()) {
            let (id, object) = (Uuid::from_u128(number), json!({"a": text, "b": [flag, null]}));
            let map = object.as_object().expect("an object");
            let texts = BTreeSet::from([text.clone(), "x".into()]);
            let shape = |at: usize| match at {
                0 => Shape::Null,
                1 => flag.into(),
                2 => (&text).into(),
                3 => id.into(),
                4 => map.into(),
                5 => Shape::Texts(&texts),
                6 => Shape::Kept(&object),
                7 => Shape::Made(object.clone()),
                8 => Shape::Empty,
                9 => Shape::Links { base: &text, node: NodeId(id), below: "" },
                _ => Shape::Links { base: &text, node: NodeId(id), below: "ports" },
            };
            for at in 0..11 {
                prop_assert_eq!(written(&shape(at)), shape(at).into_value());
            }
        }

        #[test]
        fn times_are_written_in_ironics_form(second in Timestamp::MIN.as_second()..=Timestamp::MAX.as_second()) {
            let at = Timestamp::from_second(second).expect("a time");
            prop_assert_eq!(written(&at.into()), time(at));
        }
    }
}
