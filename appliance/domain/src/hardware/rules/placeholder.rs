//! Placeholders in the texts of rules: Python's format syntax, as far as Ironic's rules use it.

use super::Context;
use serde_json::{Map, Value};

/// What a placeholder that stands for nothing becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Null, when it is all of the text; otherwise the text stays as it is.
    IsNull,
    /// The text stays as it is.
    Stays,
    /// An error: the text is about to be written somewhere.
    Fails,
}

/// A piece of a text.
#[derive(Debug, PartialEq)]
enum Piece {
    Words(String),
    /// `a.b[c]` as its parts.
    Place(Vec<String>),
}

/// Fills all placeholders of a value. With [`Missing::IsNull`], a text that is one placeholder becomes what it stands
/// for, with its type; otherwise the result is text, as in Ironic.
pub(super) fn fill(value: &Value, context: &Context, missing: Missing) -> Result<Value, String> {
    match value {
        Value::String(text) => fill_text(text, context, missing),
        Value::Array(list) => list.iter().map(|item| fill(item, context, missing)).collect::<Result<_, _>>(),
        Value::Object(map) => {
            let mut filled = Map::new();
            for (key, value) in map {
                let key = words(&fill_text(key, context, Missing::Stays)?);
                filled.insert(key, fill(value, context, missing)?);
            }
            Ok(Value::Object(filled))
        }
        other => Ok(other.clone()),
    }
}

fn fill_text(text: &str, context: &Context, missing: Missing) -> Result<Value, String> {
    let Some(pieces) = parse(text) else { return Ok(text.into()) };
    if let ([Piece::Place(path)], Missing::IsNull) = (pieces.as_slice(), missing) {
        return Ok(look_up(path, context).cloned().unwrap_or(Value::Null));
    }
    let mut filled = String::new();
    for piece in &pieces {
        match piece {
            Piece::Words(words) => filled.push_str(words),
            Piece::Place(path) => match (look_up(path, context), missing) {
                (Some(value), _) => filled.push_str(&words(value)),
                (None, Missing::Fails) => return Err(format!("there is nothing for the placeholder in '{text}'")),
                (None, _) => return Ok(text.into()),
            },
        }
    }
    Ok(filled.into())
}

/// A value as a text, in Python's words.
pub(super) fn words(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn look_up<'a>(path: &[String], context: &'a Context) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(context.known.get(first)?, |value, part| match value {
        Value::Object(map) => map.get(part),
        Value::Array(list) => list.get(part.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The pieces of a text; `None`: its braces do not match, so it is words.
fn parse(text: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '{' | '}' if characters.peek() == Some(&character) => {
                characters.next();
                plain.push(character);
            }
            '{' => {
                let mut place = String::new();
                loop {
                    match characters.next()? {
                        '}' => break,
                        '{' => return None,
                        other => place.push(other),
                    }
                }
                if !plain.is_empty() {
                    pieces.push(Piece::Words(std::mem::take(&mut plain)));
                }
                pieces.push(Piece::Place(parts(&place)?));
            }
            '}' => return None,
            other => plain.push(other),
        }
    }
    if !plain.is_empty() {
        pieces.push(Piece::Words(plain));
    }
    Some(pieces)
}

/// `a.b[c]` as `a`, `b`, `c`.
fn parts(place: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = place.trim();
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (key, after) = inner.split_once(']')?;
            parts.push(key.trim_matches(['\'', '"']).to_owned());
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (key, after) = rest.split_at(end);
            if key.is_empty() {
                return None;
            }
            parts.push(key.to_owned());
            rest = after;
        }
        rest = match rest.strip_prefix('.') {
            Some("") => return None,
            Some(after) => after,
            None => rest,
        };
    }
    (!parts.is_empty()).then_some(parts)
}
