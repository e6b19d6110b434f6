//! Query strings of lists: field selection, pages, order.

use super::fields::{self, Kind, NODE_FIELDS};
use super::version::{Version, not_acceptable};
use crate::error::ApiError;
use crate::url::escaped;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The parameters of a list, by name. Unknown ones are refused, as Ironic does.
pub(super) type Parameters = BTreeMap<String, String>;

/// A truth value as Ironic's clients write it.
pub(super) fn flag(name: &str, text: &str) -> Result<bool, ApiError> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Ok(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Ok(false),
        _ => Err(ApiError::bad_request(format!("'{text}' is not a truth value for {name}: write true or false."))),
    }
}

/// A truth value among the parameters.
pub(super) fn flag_of(parameters: &Parameters, name: &str) -> Result<Option<bool>, ApiError> {
    parameters.get(name).map(|text| flag(name, text)).transpose()
}

/// The members of a list parameter: separated by commas.
pub(super) fn list_of(parameters: &Parameters, name: &str) -> Option<Vec<String>> {
    let text = parameters.get(name)?;
    Some(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
}

/// Refuses parameters that the list does not know.
pub(super) fn only(parameters: &Parameters, known: &[&str]) -> Result<(), ApiError> {
    match parameters.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(ApiError::bad_request(format!("Unknown argument: \"{name}\"."))),
        None => Ok(()),
    }
}

/// The page size: at most `most`, which is also what nobody's choice means.
pub(super) fn limit(parameters: &Parameters, most: usize) -> Result<usize, ApiError> {
    match parameters.get("limit").map(|text| text.parse::<i64>()) {
        None => Ok(most),
        Some(Ok(limit)) if limit > 0 => Ok(usize::try_from(limit).unwrap_or(most).min(most)),
        Some(_) => Err(ApiError::bad_request("Limit must be positive")),
    }
}

/// Whether `detail` was asked for; with `fields` it makes no sense.
pub(super) fn detail(parameters: &Parameters, version: Version) -> Result<bool, ApiError> {
    let Some(detail) = flag_of(parameters, "detail")? else { return Ok(false) };
    if version.0 < 43 {
        return Err(ApiError::bad_request(format!("Invalid query parameter ?detail={detail} received.")));
    }
    not_with_fields(parameters, detail)?;
    Ok(detail)
}

/// All members and some members cannot both be asked for.
pub(super) fn not_with_fields(parameters: &Parameters, detail: bool) -> Result<(), ApiError> {
    match detail && parameters.contains_key("fields") {
        true => Err(ApiError::bad_request("Can not specify ?detail=True and fields in the same request.")),
        false => Ok(()),
    }
}

/// Refuses the first name of `fields=` that is no member.
pub(super) fn all_known<'a>(
    names: impl IntoIterator<Item = &'a String>,
    known: impl Fn(&str) -> bool,
) -> Result<(), ApiError> {
    match names.into_iter().find(|name| !known(name)) {
        Some(unknown) => Err(ApiError::bad_request(format!("Field(s) \"{unknown}\" are not valid"))),
        None => Ok(()),
    }
}

/// The names that `fields=` gives; not before version 1.8.
pub(super) fn names(parameters: &Parameters, version: Version) -> Result<Option<Vec<String>>, ApiError> {
    let names = list_of(parameters, "fields");
    if names.is_some() && version.0 < 8 {
        return Err(not_acceptable(version, 8, "The selection of fields"));
    }
    Ok(names)
}

/// The members of a node that `fields=` names.
pub(super) fn node_fields(parameters: &Parameters, version: Version) -> Result<Option<Vec<String>>, ApiError> {
    let Some(names) = names(parameters, version)? else { return Ok(None) };
    let mut unknown = Vec::new();
    for name in &names {
        match fields::known(name) {
            Some(field) if !field.is_in(version) => return Err(not_acceptable(version, field.since, name)),
            Some(field) if field.kind != Kind::Link => {}
            _ => unknown.push(name.as_str()),
        }
    }
    if unknown.is_empty() {
        return Ok(Some(names));
    }
    Err(ApiError::bad_request(format!("Field(s) \"{}\" are not valid.", unknown.join(", "))))
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

/// How a list is to be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// `None`: as they were made.
    pub(super) key: Option<String>,
    pub(super) descending: bool,
}

/// Reads `sort_key` and `sort_dir`. `id` is Ironic's word for the order in which things were made.
pub(super) fn order(parameters: &Parameters, check: impl Fn(&str) -> Result<(), ApiError>) -> Result<Order, ApiError> {
    let descending = match parameters.get("sort_dir").map_or("asc", String::as_str) {
        "asc" => false,
        "desc" => true,
        other => {
            return Err(ApiError::bad_request(format!(
                "Invalid sort direction: {other}. Acceptable values are 'asc' or 'desc'."
            )));
        }
    };
    let key = parameters.get("sort_key").filter(|key| *key != "id").cloned();
    if let Some(key) = &key {
        check(key)?;
    }
    Ok(Order { key, descending })
}

/// A member of a node that a list can be sorted by.
pub(super) fn node_sort_key(key: &str, version: Version) -> Result<(), ApiError> {
    match NODE_FIELDS.iter().find(|field| field.name == key) {
        Some(field) if !field.is_in(version) => Err(not_acceptable(version, field.since, key)),
        Some(field) if field.kind == Kind::Plain => Ok(()),
        _ => Err(bad_sort_key(key)),
    }
}

/// 400 for a list that cannot be sorted so.
pub(super) fn bad_sort_key(key: &str) -> ApiError {
    ApiError::bad_request(format!("The sort_key value \"{key}\" is an invalid field for sorting"))
}

/// Sorts rows by one of their members.
pub(super) fn sort<T>(rows: &mut [T], order: &Order, member: impl Fn(&T, &str) -> Value) {
    if let Some(key) = &order.key {
        rows.sort_by_cached_key(|row| match member(row, key) {
            // Nothing comes first.
            Value::Null => (0, String::new()),
            Value::String(text) => (1, text),
            other => (1, other.to_string()),
        });
    }
    if order.descending {
        rows.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn fields_are_those_of_the_version() {
        let asked = parameters(&[("fields", "uuid,owner")]);
        assert_eq!(node_fields(&asked, Version(50)).expect("fine"), Some(vec!["uuid".into(), "owner".into()]));
        let status = |version| node_fields(&asked, Version(version)).expect_err("refused").status.as_u16();
        assert_eq!((status(49), status(7)), (406, 406));
        for bad in ["nothing", "ports", "uuid,nothing"] {
            let refused = node_fields(&parameters(&[("fields", bad)]), Version(115)).expect_err("refused");
            assert_eq!(refused.status.as_u16(), 400, "{bad}");
        }
    }

    #[test]
    fn pages_are_of_a_positive_size() {
        assert_eq!(limit(&parameters(&[("limit", "5")]), 1000).expect("fine"), 5);
        assert_eq!(limit(&parameters(&[("limit", "99999")]), 1000).expect("fine"), 1000);
        for bad in ["0", "-1", "x"] {
            assert!(limit(&parameters(&[("limit", bad)]), 1000).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_are_sorted_by_plain_members_of_the_version_only() {
        let status = |key, version| node_sort_key(key, Version(version)).map_err(|error| error.status.as_u16());
        assert_eq!(status("name", 5), Ok(()));
        assert_eq!(status("name", 4), Err(406));
        assert_eq!(status("extra", 115), Err(400));
        assert_eq!(status("nothing", 115), Err(400));
    }
}
