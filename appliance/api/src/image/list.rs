//! Lists of images: whose, with what, in which order, page by page.
//!
//! What is listed without being asked for: public images, those of one's own project, and those shared with it that it
//! has accepted. Community images are listed for who asks for them.

use super::access::{OfImage, is_admin, sees};
use super::document::{document, status};
use super::fault::{Asker, Fault};
use crate::Api;
use crate::url::escaped;
use axum::Json;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use jiff::Timestamp;
use leasehold_domain::image::{Acceptance, Image, Visibility};
use serde_json::{Map, Value, json};
use std::cmp::Ordering;
use std::sync::Arc;

/// Glance's page where nobody asks for another size.
const PAGE: usize = 25;

const SORT_KEYS: [&str; 10] = [
    "name",
    "status",
    "container_format",
    "disk_format",
    "size",
    "id",
    "created_at",
    "updated_at",
    "min_disk",
    "min_ram",
];

/// The query, in its order.
pub(super) struct Asked(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked, Fault> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Query(pairs) = pairs.map_err(|rejection| Fault::bad_request(rejection.body_text()))?;
        Ok(Asked(pairs))
    }
}

impl Asked {
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What is listed for whom.
struct Shown {
    visibility: Option<Visibility>,
    /// Everything that the caller sees.
    all: bool,
    /// Of images that are shared with the caller: those that he answered so; `None`: whatever he answered.
    acceptance: Option<Acceptance>,
    hidden: bool,
}

impl Shown {
    fn read(asked: &Asked) -> Result<Shown, Fault> {
        let (visibility, all) = match asked.one("visibility") {
            None => (None, false),
            Some("all") => (None, true),
            Some(name) => {
                let visibility = Visibility::named(name)
                    .ok_or_else(|| Fault::bad_request(format!("Invalid visibility value: {name}")))?;
                (Some(visibility), false)
            }
        };
        let acceptance = match asked.one("member_status") {
            None => Some(Acceptance::Accepted),
            Some("all") => None,
            Some(name) => Some(Acceptance::named(name).ok_or_else(|| {
                Fault::bad_request(format!("Invalid status: {name}; use pending, accepted, rejected or all"))
            })?),
        };
        let hidden = asked.one("os_hidden").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        Ok(Shown { visibility, all, acceptance, hidden })
    }

    fn takes(&self, asker: &Asker, image: &Image) -> bool {
        let card = &image.card;
        if image.is_cache() || card.hidden != self.hidden || !sees(asker, image) {
            return false;
        }
        let project = asker.credentials.project_id.as_deref();
        let own = project.is_some_and(|project| card.is_owned_by(project));
        match self.visibility {
            Some(wanted) if wanted != card.visibility => return false,
            None if card.visibility == Visibility::Community && !self.all && !own => return is_admin(asker),
            _ => {}
        }
        let member = project.and_then(|project| card.members.get(project));
        match member.filter(|_| card.visibility == Visibility::Shared && !own) {
            Some(member) => is_admin(asker) || self.acceptance.is_none_or(|wanted| wanted == member.acceptance),
            None => true,
        }
    }
}

/// `name=x` or `name=in:x,"y,z"`.
fn is_one_of(value: &Value, wanted: &str) -> bool {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => return wanted.is_empty(),
        other => other.to_string(),
    };
    match wanted.strip_prefix("in:") {
        Some(list) => values(list).contains(&text),
        None => match value {
            Value::Bool(_) => text.eq_ignore_ascii_case(wanted),
            _ => text == wanted,
        },
    }
}

/// Entries of a list, in double quotes where they hold a comma.
fn values(list: &str) -> Vec<String> {
    let (mut found, mut quoted) = (vec![String::new()], false);
    for letter in list.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => found.push(String::new()),
            other => {
                if let Some(last) = found.last_mut() {
                    last.push(other);
                }
            }
        }
    }
    found
}

/// `created_at=gte:2026-01-01T00:00:00Z`.
fn compares(at: Timestamp, wanted: &str) -> Result<bool, Fault> {
    let bad =
        || Fault::bad_request(format!("'{wanted}' is no time: write OPERATOR:TIME, such as gt:2026-01-01T00:00:00Z."));
    let (operator, text) = match wanted.split_once(':') {
        Some((operator @ ("gt" | "gte" | "lt" | "lte" | "eq" | "neq"), text)) => (operator, text),
        _ => ("eq", wanted),
    };
    let stamp = text.parse::<Timestamp>().or_else(|_| format!("{text}Z").parse()).map_err(|_| bad())?;
    let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
    Ok(match operator {
        "gt" => at > stamp,
        "gte" => at >= stamp,
        "lt" => at < stamp,
        "lte" => at <= stamp,
        "neq" => at != stamp,
        _ => at == stamp,
    })
}

fn takes(api: &Api, asked: &Asked, image: &Image, document: &Map<String, Value>) -> Result<bool, Fault> {
    const OTHERS: [&str; 8] =
        ["limit", "marker", "sort", "sort_key", "sort_dir", "visibility", "member_status", "os_hidden"];
    for (name, wanted) in asked.0.iter().filter(|(name, _)| !OTHERS.contains(&name.as_str())) {
        let size = document.get("size").and_then(Value::as_u64);
        let limit = || {
            wanted
                .parse::<u64>()
                .map_err(|_| Fault::bad_request(format!("Invalid value for {name}: '{wanted}' is no number.")))
        };
        let fits = match name.as_str() {
            "tag" => image.card.tags.contains(wanted),
            "size_min" => limit().map(|limit| size.is_some_and(|size| size >= limit))?,
            "size_max" => limit().map(|limit| size.is_some_and(|size| size <= limit))?,
            "created_at" => compares(image.created_at, wanted)?,
            "updated_at" => compares(image.card.updated_at.unwrap_or(image.created_at), wanted)?,
            "status" => is_one_of(&json!(status(api, image)), wanted),
            name => document.get(name).is_some_and(|value| is_one_of(value, wanted)),
        };
        if !fits {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Keys and whether they go down.
fn order(asked: &Asked) -> Result<Vec<(String, bool)>, Fault> {
    let mut keys: Vec<(String, bool)> = Vec::new();
    for entry in asked.all("sort").flat_map(|text| text.split(',')) {
        let (key, direction) = entry.split_once(':').unwrap_or((entry, "desc"));
        keys.push((key.to_owned(), down(direction)?));
    }
    let directions: Vec<&str> = asked.all("sort_dir").collect();
    for (index, key) in asked.all("sort_key").enumerate() {
        let direction = directions.get(index).or(directions.first()).copied().unwrap_or("desc");
        keys.push((key.to_owned(), down(direction)?));
    }
    if let Some((key, _)) = keys.iter().find(|(key, _)| !SORT_KEYS.contains(&key.as_str())) {
        return Err(Fault::bad_request(format!(
            "Invalid sort key: {key}. It must be one of: {}.",
            SORT_KEYS.join(", ")
        )));
    }
    if keys.is_empty() {
        let direction = directions.first().copied().unwrap_or("desc");
        keys.push(("created_at".into(), down(direction)?));
    }
    Ok(keys)
}

fn down(direction: &str) -> Result<bool, Fault> {
    match direction {
        "desc" => Ok(true),
        "asc" => Ok(false),
        other => Err(Fault::bad_request(format!("Invalid sort direction: {other}"))),
    }
}

fn compare(one: &Value, other: &Value) -> Ordering {
    match (one.as_u64(), other.as_u64()) {
        (Some(one), Some(other)) => one.cmp(&other),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => one.as_str().unwrap_or_default().cmp(other.as_str().unwrap_or_default()),
    }
}

pub(super) async fn list(State(api): State<Api>, asker: Asker, asked: Asked) -> Result<Json<Value>, Fault> {
    // Glance asks the rule about the caller's own project.
    let own = leasehold_domain::image::Card { owner: asker.credentials.project_id.clone(), ..Default::default() };
    if !asker.allows("get_images", &OfImage::of(&own, &asker)) {
        return Err(Fault::forbidden("get_images"));
    }
    let limit = match asked.one("limit").map(str::parse::<usize>) {
        None => PAGE.min(api.limits.settings.page_rows),
        Some(Ok(limit)) => limit.min(api.limits.settings.page_rows),
        Some(Err(_)) => return Err(Fault::bad_request("limit param must be an integer 0 or greater")),
    };
    let shown = Shown::read(&asked)?;
    let keys = order(&asked)?;
    let view = api.engine.view();
    let mut images: Vec<(&Arc<Image>, Map<String, Value>)> = Vec::new();
    for image in view.images().filter(|image| shown.takes(&asker, image)) {
        let document = document(&api, image);
        if takes(&api, &asked, image, &document)? {
            images.push((image, document));
        }
    }
    images.sort_by(|(one, first), (other, second)| {
        let by_keys = keys.iter().fold(Ordering::Equal, |order, (key, down)| {
            // Shown times are whole seconds.
            let next = match key.as_str() {
                "created_at" => one.created_at.cmp(&other.created_at),
                _ => compare(first.get(key).unwrap_or(&Value::Null), second.get(key).unwrap_or(&Value::Null)),
            };
            order.then(if *down { next.reverse() } else { next })
        });
        by_keys.then(one.id.cmp(&other.id))
    });
    let start = match asked.one("marker") {
        None => 0,
        Some(marker) => {
            let found = images.iter().position(|(image, _)| image.id.to_string() == marker);
            found.map(|at| at + 1).ok_or_else(|| Fault::no_image(marker))?
        }
    };
    let total = images.len();
    let page: Vec<_> = images.into_iter().skip(start).take(limit).collect();
    let kept: Vec<String> = asked
        .0
        .iter()
        .filter(|(name, _)| name != "marker")
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
        .collect();
    let with = |marker: Option<String>| {
        let query: Vec<String> = marker.map(|id| format!("marker={id}")).into_iter().chain(kept.clone()).collect();
        if query.is_empty() { "/v2/images".to_owned() } else { format!("/v2/images?{}", query.join("&")) }
    };
    let last = page.last().map(|(image, _)| image.id.to_string());
    let more = total > start + page.len() && !page.is_empty();
    let rows: Vec<Value> = page.into_iter().map(|(_, document)| Value::Object(document)).collect();
    let mut body = json!({"images": rows, "first": with(None), "schema": "/v2/schemas/images"});
    if more {
        body["next"] = with(last).into();
    }
    Ok(Json(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_values_may_hold_commas() {
        assert_eq!(values("a,\"b,c\",d"), ["a", "b,c", "d"]);
        assert!(is_one_of(&json!("b,c"), "in:a,\"b,c\"") && !is_one_of(&json!("b"), "in:a,\"b,c\""));
        assert!(is_one_of(&json!(true), "True") && is_one_of(&json!(3), "3") && !is_one_of(&json!("A"), "a"));
    }

    #[test]
    fn times_are_compared_by_the_second() {
        let at: Timestamp = "2026-01-01T00:00:00.7Z".parse().expect("a time");
        for (wanted, expected) in [
            ("2026-01-01T00:00:00Z", true),
            ("gte:2026-01-01T00:00:00Z", true),
            ("gt:2026-01-01T00:00:00", false),
            ("lt:2026-01-01T00:00:01Z", true),
            ("neq:2026-01-01T00:00:00Z", false),
        ] {
            assert_eq!(compares(at, wanted).expect("a time"), expected, "{wanted}");
        }
        assert!(compares(at, "yesterday").is_err());
    }
}
