//! Lists: filters by exact value, pages by `limit` and `marker`, and Keystone's links.

use super::fault::Fault;
use crate::url::escaped;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use leasehold_domain::identity::folded;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Most rows of one page.
const PAGE: usize = 1000;

/// The parameters of a list, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Filters {
    by_name: BTreeMap<String, String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Filters {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Filters, Fault> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Query(pairs) = pairs.map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
        Ok(Filters { by_name: pairs.into_iter().collect() })
    }
}

impl Filters {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.by_name.get(name).map(String::as_str)
    }

    /// A flag without value (`?effective`) or with one (`?include_names=True`); `0` and `false` say no.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|text| !matches!(text.to_ascii_lowercase().as_str(), "0" | "false" | "no"))
    }

    /// Whether a row with this value passes the filter of this name.
    pub(super) fn takes(&self, name: &str, value: &str) -> bool {
        self.get(name).is_none_or(|wanted| wanted == value)
    }

    /// Names are compared without regard to case, as everywhere.
    pub(super) fn takes_name(&self, name: &str) -> bool {
        self.get("name").is_none_or(|wanted| folded(wanted) == folded(name))
    }

    pub(super) fn takes_flag(&self, name: &str, value: bool) -> bool {
        self.get(name).is_none() || self.has(name) == value
    }

    /// Whether the parameter is there at all, with whatever value (`?nocatalog`).
    pub(super) fn has_name(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    fn limit(&self) -> Result<usize, Fault> {
        match self.get("limit").map(str::parse::<usize>) {
            None => Ok(PAGE),
            Some(Ok(limit)) if limit > 0 => Ok(limit.min(PAGE)),
            Some(_) => Err(Fault::bad_request("'limit' has to be a positive number.")),
        }
    }

    /// A page of rows that come in the order of their ids, as a document with its links.
    pub(super) fn page(&self, what: &str, url: &str, rows: impl Iterator<Item = Value>) -> Result<Value, Fault> {
        let limit = self.limit()?;
        let id = |row: &Value| row.get("id").and_then(Value::as_str).map(str::to_owned).unwrap_or_default();
        let mut rows: Vec<Value> = match self.get("marker") {
            None => rows.take(limit + 1).collect(),
            Some(marker) => rows.skip_while(|row| id(row) != marker).skip(1).take(limit + 1).collect(),
        };
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|last| {
            let kept = self.by_name.iter().filter(|(name, _)| !matches!(name.as_str(), "marker" | "limit"));
            let kept: String = kept.map(|(name, value)| format!("&{}={}", escaped(name), escaped(value))).collect();
            format!("{url}?limit={limit}&marker={}{kept}", id(last))
        });
        let mut document = Map::new();
        document.insert(what.to_owned(), Value::Array(rows));
        document.insert("links".into(), json!({"self": url, "previous": null, "next": next}));
        Ok(Value::Object(document))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(pairs: &[(&str, &str)]) -> Filters {
        Filters { by_name: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect() }
    }

    #[test]
    fn pages_follow_one_another_to_the_end() {
        let rows = || (1..=5).map(|number| json!({"id": number.to_string()}));
        let mut seen = Vec::new();
        let mut marker = String::new();
        loop {
            let asked = [("limit", "2"), ("name", "a b"), ("marker", marker.as_str())];
            let asked = if marker.is_empty() { &asked[..2] } else { &asked[..] };
            let page = filters(asked).page("things", "http://box/things", rows()).expect("a page");
            seen.extend(page["things"].as_array().expect("rows").iter().map(|row| row["id"].clone()));
            let Some(next) = page["links"]["next"].as_str() else { break };
            assert!(next.contains("name=a%20b"));
            marker = next.split("marker=").nth(1).and_then(|rest| rest.split('&').next()).expect("a marker").into();
        }
        assert_eq!(seen, ["1", "2", "3", "4", "5"]);
        assert!(filters(&[("limit", "0")]).page("things", "", rows()).is_err());
    }
}
