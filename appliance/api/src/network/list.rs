//! Lists: filters by any attribute, selected fields, sorting, and pages with links, as Neutron has them.
//!
//! In: the documents that the caller may see, and the query. Out: one page. A parameter that is given more than once
//! means any of its values.

use super::fault::Fault;
use crate::url::escaped;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde_json::{Map, Value, json};

/// A document of an object.
pub(super) type Document = Map<String, Value>;

/// Most rows of one page.
const PAGE: usize = 1000;
/// Parameters that are no filters.
const RESERVED: [&str; 7] = ["fields", "limit", "marker", "page_reverse", "sort_key", "sort_dir", "verbose"];

/// The query of a list or of one object.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pairs: Vec<(String, String)>,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked, Fault> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Query(pairs) = pairs.map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
        Ok(Asked { pairs })
    }
}

/// What is listed.
pub(super) struct Listed<'a> {
    /// `networks`.
    pub(super) name: &'a str,
    /// Where the list is, for links.
    pub(super) url: String,
    /// Every attribute that a document may have.
    pub(super) attributes: &'a [&'a str],
}

impl Asked {
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn one(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Leaves of a document what `fields` names.
    pub(super) fn select(&self, mut document: Document) -> Document {
        let wanted: Vec<&str> =
            self.all("fields").flat_map(|text| text.split(',')).filter(|name| !name.is_empty()).collect();
        if !wanted.is_empty() {
            document.retain(|name, _| wanted.contains(&name.as_str()));
        }
        document
    }

    fn takes(&self, document: &Document) -> bool {
        let mut names: Vec<&str> = self.pairs.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().filter(|name| !RESERVED.contains(name)).all(|name| match name {
            "tags" | "tags-any" | "not-tags" | "not-tags-any" => self.takes_tags(name, document),
            "fixed_ips" => self.all(name).any(|wanted| has_address(document, wanted)),
            _ => {
                let key = if name == "tenant_id" { "project_id" } else { name };
                document.get(key).is_some_and(|value| self.all(name).any(|wanted| is_same(value, wanted)))
            }
        })
    }

    fn takes_tags(&self, name: &str, document: &Document) -> bool {
        let has = |wanted: &str| {
            document.get("tags").and_then(Value::as_array).is_some_and(|tags| tags.iter().any(|tag| tag == wanted))
        };
        let mut wanted = self.all(name).flat_map(|text| text.split(',')).filter(|tag| !tag.is_empty());
        match name {
            "tags" => wanted.all(has),
            "tags-any" => wanted.any(has),
            "not-tags" => !wanted.all(has),
            _ => !wanted.any(has),
        }
    }

    /// One page of the documents, and the links to its neighbours.
    pub(super) fn page(&self, listed: &Listed<'_>, documents: impl Iterator<Item = Document>) -> Result<Value, Fault> {
        const EXTRA: [&str; 4] = ["tags-any", "not-tags", "not-tags-any", "tenant_id"];
        let known = |name: &str| RESERVED.contains(&name) || EXTRA.contains(&name) || listed.attributes.contains(&name);
        if let Some((unknown, _)) = self.pairs.iter().find(|(name, _)| !known(name)) {
            return Err(Fault::bad_request(format!("['{unknown}'] is invalid attribute for filtering")));
        }
        let limit = match self.one("limit").map(str::parse::<i64>) {
            None | Some(Ok(0)) => None,
            Some(Ok(limit)) if limit > 0 => Some(usize::try_from(limit).unwrap_or(PAGE).min(PAGE)),
            Some(_) => return Err(Fault::bad_request("Limit must be an integer 0 or greater and not less than 0.")),
        };
        let reverse = matches!(self.one("page_reverse"), Some("True" | "true" | "1"));
        let mut rows: Vec<Document> = documents.filter(|document| self.takes(document)).collect();
        self.sort(listed, &mut rows)?;
        if reverse {
            rows.reverse();
        }
        let total = rows.len();
        let start = match self.one("marker") {
            None => 0,
            Some(marker) => rows
                .iter()
                .position(|row| row.get("id").is_some_and(|id| id == marker))
                .map(|at| at + 1)
                .ok_or_else(|| Fault::bad_request(format!("The marker '{marker}' is not in the list.")))?,
        };
        let size = limit.unwrap_or(usize::MAX);
        let mut page: Vec<Document> = rows.into_iter().skip(start).take(size).collect();
        if reverse {
            page.reverse();
        }
        let mut links = Vec::new();
        let edge = |row: Option<&Document>| row.and_then(|row| row.get("id")?.as_str().map(str::to_owned));
        if let Some(limit) = limit {
            let more = total > start.saturating_add(page.len());
            let (ahead, behind) = if reverse { (start > 0, more) } else { (more, start > 0) };
            if let Some(id) = edge(page.last()).filter(|_| ahead) {
                links.push(json!({"href": self.link(listed, limit, &id, false), "rel": "next"}));
            }
            if let Some(id) = edge(page.first()).filter(|_| behind) {
                links.push(json!({"href": self.link(listed, limit, &id, true), "rel": "previous"}));
            }
        }
        let rows: Vec<Value> = page.into_iter().map(|row| Value::Object(self.select(row))).collect();
        let mut body = json!({listed.name: rows});
        if !links.is_empty() {
            body[format!("{}_links", listed.name)] = links.into();
        }
        Ok(body)
    }

    fn link(&self, listed: &Listed<'_>, limit: usize, marker: &str, reverse: bool) -> String {
        let mut text = format!("{}?limit={limit}&marker={marker}", listed.url);
        if reverse {
            text.push_str("&page_reverse=True");
        }
        for (name, value) in &self.pairs {
            if !matches!(name.as_str(), "limit" | "marker" | "page_reverse") {
                text.push_str(&format!("&{}={}", escaped(name), escaped(value)));
            }
        }
        text
    }

    fn sort(&self, listed: &Listed<'_>, rows: &mut [Document]) -> Result<(), Fault> {
        let keys: Vec<&str> = self.all("sort_key").collect();
        let directions: Vec<&str> = self.all("sort_dir").collect();
        if let Some(unknown) = keys.iter().find(|key| !listed.attributes.contains(*key)) {
            return Err(Fault::bad_request(format!("['{unknown}'] is invalid attribute for sort_key")));
        }
        if let Some(unknown) = directions.iter().find(|direction| !matches!(**direction, "asc" | "desc")) {
            return Err(Fault::bad_request(format!("'{unknown}' is no sort_dir: asc and desc are.")));
        }
        if keys.is_empty() {
            return Ok(());
        }
        let text = |row: &Document, key: &str| match row.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        };
        rows.sort_by(|one, other| {
            keys.iter().enumerate().fold(std::cmp::Ordering::Equal, |order, (index, key)| {
                let next = match (one.get(*key).and_then(Value::as_i64), other.get(*key).and_then(Value::as_i64)) {
                    (Some(one), Some(other)) => one.cmp(&other),
                    _ => text(one, key).cmp(&text(other, key)),
                };
                let down = directions.get(index) == Some(&"desc");
                order.then(if down { next.reverse() } else { next })
            })
        });
        Ok(())
    }
}

fn is_same(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text == wanted,
        Value::Bool(truth) => {
            let said = wanted.to_ascii_lowercase();
            if *truth { matches!(said.as_str(), "true" | "1") } else { matches!(said.as_str(), "false" | "0") }
        }
        Value::Null => wanted.is_empty() || wanted == "None",
        Value::Array(entries) => entries.iter().any(|entry| is_same(entry, wanted)),
        other => format!("{other}") == wanted,
    }
}

/// `fixed_ips=ip_address=10.0.0.7`, `subnet_id=…`, `ip_address_substr=…`.
fn has_address(document: &Document, wanted: &str) -> bool {
    let Some((name, text)) = wanted.split_once('=') else { return false };
    let fixed = document.get("fixed_ips").and_then(Value::as_array);
    fixed.into_iter().flatten().any(|entry| match name {
        "ip_address_substr" => entry["ip_address"].as_str().is_some_and(|address| address.contains(text)),
        _ => entry.get(name).is_some_and(|value| value == text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(text: &str) -> Asked {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Asked { pairs: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect() }
    }

    fn rows() -> Vec<Document> {
        (0..5_i64)
            .map(|number| {
                let row = json!({
                    "id": format!("i{number}"), "name": format!("n{}", number % 2), "shared": number == 0, "mtu": number,
                    "tags": ["all", format!("t{number}")],
                    "fixed_ips": [{"subnet_id": "s", "ip_address": format!("10.0.0.{number}")}],
                });
                row.as_object().expect("an object").clone()
            })
            .collect()
    }

    const ATTRIBUTES: [&str; 6] = ["id", "name", "shared", "mtu", "tags", "fixed_ips"];

    fn page(text: &str) -> Result<(Vec<String>, Vec<String>), Fault> {
        let listed = Listed { name: "rows", url: "http://box/rows".into(), attributes: &ATTRIBUTES };
        let body = asked(text).page(&listed, rows().into_iter())?;
        let ids = body["rows"].as_array().expect("rows").iter().map(|row| row["id"].to_string().replace('"', ""));
        let links = body["rows_links"].as_array().into_iter().flatten();
        Ok((ids.collect(), links.map(|link| format!("{} {}", link["rel"], link["href"])).collect()))
    }

    #[test]
    fn filters_are_neutrons() {
        for (text, expected) in [
            ("name=n1", &["i1", "i3"][..]),
            ("name=n1&name=n0&id=i0&id=i1", &["i0", "i1"]),
            ("shared=True", &["i0"]),
            ("mtu=3", &["i3"]),
            ("fixed_ips=ip_address=10.0.0.2", &["i2"]),
            ("fixed_ips=ip_address_substr=0.4", &["i4"]),
            ("tags=all,t2", &["i2"]),
            ("tags-any=t1,t2", &["i1", "i2"]),
            ("not-tags-any=t1,t2,t3", &["i0", "i4"]),
            ("not-tags=all,t0", &["i1", "i2", "i3", "i4"]),
            ("sort_key=name&sort_dir=desc&sort_key=mtu&sort_dir=asc", &["i1", "i3", "i0", "i2", "i4"]),
        ] {
            assert_eq!(page(text).expect("a page").0, expected, "{text}");
        }
        for bad in ["colour=red", "limit=-1", "limit=x", "sort_key=colour", "sort_key=id&sort_dir=up", "marker=none"] {
            assert!(page(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pages_are_linked_both_ways() {
        let (ids, links) = page("limit=2").expect("a page");
        assert_eq!(
            (ids, links),
            (vec!["i0".into(), "i1".into()], vec![r#""next" "http://box/rows?limit=2&marker=i1""#.to_owned()])
        );
        let (ids, links) = page("limit=2&marker=i1&name=n0&name=n1").expect("a page");
        assert_eq!((ids, links.len()), (vec!["i2".to_owned(), "i3".into()], 2));
        let (ids, links) = page("limit=2&marker=i3&page_reverse=True").expect("a page");
        assert_eq!((ids, links.len()), (vec!["i1".to_owned(), "i2".into()], 2));
    }

    proptest! {
        /// Following `next` shows every row once, whatever the size of pages.
        #[test]
        fn pages_show_everything_once(limit in 1_usize..7) {
            let mut seen = Vec::new();
            let mut marker = String::new();
            for _ in 0..6 {
                let after = if marker.is_empty() { String::new() } else { format!("&marker={marker}") };
                let (ids, links) = page(&format!("limit={limit}{after}")).expect("a page");
                marker = ids.last().cloned().unwrap_or_default();
                seen.extend(ids);
                if !links.iter().any(|link| link.starts_with("\"next\"")) {
                    break;
                }
            }
            prop_assert_eq!(seen, ["i0", "i1", "i2", "i3", "i4"]);
        }

        #[test]
        fn any_query_is_answered(text in "[a-z_&=0-9-]{0,60}") {
            let _either_is_fine = page(&text);
        }
    }
}
