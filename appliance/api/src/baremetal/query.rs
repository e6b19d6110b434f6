//! Query strings of lists: filters, field selection, pages.

use super::fields;
use super::version::Version;
use crate::error::ApiError;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The parameters of a list, by name. Unknown ones are refused, as Ironic does.
pub(super) type Parameters = BTreeMap<String, String>;

/// Most rows of one page.
const MAX_PAGE: usize = 1000;

/// A truth value as Ironic's clients write it.
pub(super) fn flag(name: &str, text: &str) -> Result<bool, ApiError> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Ok(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Ok(false),
        _ => Err(ApiError::bad_request(format!("'{text}' is not a truth value for {name}: write true or false."))),
    }
}

/// Refuses parameters that the list does not know.
pub(super) fn only(parameters: &Parameters, known: &[&str]) -> Result<(), ApiError> {
    match parameters.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(ApiError::bad_request(format!("Unknown argument: \"{name}\"."))),
        None => Ok(()),
    }
}

/// The page size: at most [`MAX_PAGE`]; 0 or nothing means that.
pub(super) fn limit(parameters: &Parameters) -> Result<usize, ApiError> {
    match parameters.get("limit").map(|text| text.parse::<i64>()) {
        None | Some(Ok(0)) => Ok(MAX_PAGE),
        Some(Ok(limit)) if limit > 0 => Ok(usize::try_from(limit).unwrap_or(MAX_PAGE).min(MAX_PAGE)),
        Some(_) => Err(ApiError::bad_request("Limit must be positive")),
    }
}

/// The members that `fields=` names.
pub(super) fn node_fields(parameters: &Parameters, version: Version) -> Result<Option<Vec<String>>, ApiError> {
    let Some(text) = parameters.get("fields") else { return Ok(None) };
    let names: Vec<String> =
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    match names.iter().find(|name| fields::field(name, version).is_none()) {
        Some(unknown) => Err(ApiError::bad_request(format!("Field(s) \"{unknown}\" are not valid."))),
        None => Ok(Some(names)),
    }
}

/// The `next` link of a page, keeping the other parameters.
pub(super) fn next_link(base: &str, path: &str, parameters: &Parameters, limit: usize, marker: &str) -> Value {
    let kept = parameters.iter().filter(|(name, _)| !matches!(name.as_str(), "marker" | "limit"));
    let mut text = format!("{base}/v1/{path}?limit={limit}&marker={marker}");
    for (name, value) in kept {
        text.push_str(&format!("&{}={}", escaped(name), escaped(value)));
    }
    json!(text)
}

/// Percent-encoding of everything that is not plain in a query (RFC 3986 §2.3).
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b',');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Sorts documents by a member, as `sort_key` and `sort_dir` say.
pub(super) fn sort<T>(
    rows: &mut [T],
    parameters: &Parameters,
    version: Version,
    member: impl Fn(&T, &str) -> Value,
) -> Result<(), ApiError> {
    let Some(key) = parameters.get("sort_key") else { return Ok(()) };
    const NOT_SORTABLE: [&str; 6] = ["driver_info", "extra", "instance_info", "properties", "links", "traits"];
    if fields::field(key, version).is_none() || NOT_SORTABLE.contains(&key.as_str()) {
        return Err(ApiError::bad_request(format!("The sort_key value \"{key}\" is an invalid field for sorting")));
    }
    let descending = match parameters.get("sort_dir").map_or("asc", String::as_str) {
        "asc" => false,
        "desc" => true,
        other => {
            return Err(ApiError::bad_request(format!(
                "Invalid sort direction: {other}. Acceptable values are asc, desc."
            )));
        }
    };
    rows.sort_by_cached_key(|row| match member(row, key) {
        Value::String(text) => text,
        other => other.to_string(),
    });
    if descending {
        rows.reverse();
    }
    Ok(())
}
