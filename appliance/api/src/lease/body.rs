//! Bodies: one object, its members taken out one by one; what is left over at the end was not known.

use super::fault::Fault;
use super::unique::Unique;
use super::{RESOURCE_TYPE, time};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use jiff::Timestamp;
use leasehold_domain::lease::{Label, Wish};
use serde_json::{Map, Value};

/// A body, or why it is none.
pub(super) type Body = Result<Json<Unique>, JsonRejection>;

/// Letters of a name, as esi-leap has it, and of a purpose.
const LONGEST_NAME: usize = 255;
const LONGEST_PURPOSE: usize = 1024;
/// Bytes of properties: they are kept in memory for as long as the offer or lease is.
const LARGEST_PROPERTIES: usize = 16 << 10;
/// What an owner wishes, by name.
const RETURN_UNUSED: &str = "return_unused_hours";
const SUBSTITUTABLE: &str = "substitutable";
/// A year.
const MOST_HOURS: u32 = 24 * 366;
const LARGEST_COUNT: u64 = 1_000_000_000;
/// What documents have and nobody sets.
const READ_ONLY: [&str; 17] = [
    "availabilities",
    "expire_time",
    "fulfill_time",
    "lessee",
    "offer_uuid",
    "owner",
    "owner_id",
    "parent_lease_uuid",
    "project",
    "project_id",
    "resource",
    "resource_class",
    "resource_properties",
    "resource_type",
    "resource_uuid",
    "status",
    "uuid",
];

fn in_properties(name: &str) -> String {
    format!("leasehold_{name}")
}

/// What a body says.
pub(super) struct Said(Map<String, Value>);

/// It is not shown, but changes how others are shown what is around it.
fn is_unseen(letter: char) -> bool {
    let of_direction =
        matches!(letter, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') || of_direction
}

fn invalid(name: &str, why: &str) -> Fault {
    Fault::bad_request(format!("Invalid input for field/attribute {name}. {why}"))
}

impl Said {
    pub(super) fn of(body: Body) -> Result<Said, Fault> {
        match body?.0.0 {
            Value::Object(map) => Ok(Said(map)),
            _ => Err(Fault::bad_request("The body must be a JSON object.")),
        }
    }

    /// Null says nothing.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// A text without control characters and signs that turn what follows around or begin a new line: others are shown it
    /// in their terminals.
    pub(super) fn text(&mut self, name: &str, longest: usize) -> Result<Option<String>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.chars().count() > longest => {
                Err(invalid(name, &format!("It may have {longest} letters.")))
            }
            Some(Value::String(text)) if text.chars().any(is_unseen) => Err(invalid(
                name,
                "Control characters, line separators and signs that change the direction of text are not allowed.",
            )),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(invalid(name, "It must be a string.")),
        }
    }

    pub(super) fn needed(&mut self, name: &str) -> Result<String, Fault> {
        let text = self.text(name, LONGEST_NAME)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| invalid(name, "Mandatory field missing."))
    }

    pub(super) fn time(&mut self, name: &str) -> Result<Option<Timestamp>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => time::read(name, &text).map(Some),
            Some(_) => Err(invalid(name, "It must be a time, such as \"2026-11-24T08:30:00\".")),
        }
    }

    /// How many, up to a number that no clock, rack or sum comes near.
    pub(super) fn count(&mut self, name: &str) -> Result<Option<u64>, Fault> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_u64().filter(|count| *count <= LARGEST_COUNT) {
            Some(count) => Ok(Some(count)),
            None => Err(invalid(name, &format!("It must be a whole number from 0 to {LARGEST_COUNT}."))),
        }
    }

    /// Name and properties.
    pub(super) fn label(&mut self) -> Result<Label, Fault> {
        let name = self.text("name", LONGEST_NAME)?;
        let properties = match self.take("properties") {
            None => Map::new(),
            Some(Value::Object(map)) => map,
            Some(_) => return Err(invalid("properties", "They must be a JSON object.")),
        };
        if Value::Object(properties.clone()).to_string().len() > LARGEST_PROPERTIES {
            return Err(invalid("properties", &format!("They may have {LARGEST_PROPERTIES} bytes.")));
        }
        Ok(Label { name, properties, request: None })
    }

    /// What the owner wishes of whoever has his node. Members of ours; who cannot send these says the same in properties.
    pub(super) fn wish(&mut self, label: &Label) -> Result<Wish, Fault> {
        let mut said = |name: &str| self.take(name).or_else(|| label.properties.get(&in_properties(name)).cloned());
        let return_unused_hours = match said(RETURN_UNUSED).filter(|value| !value.is_null()) {
            None => None,
            Some(value) => {
                let hours = value.as_u64().and_then(|hours| u32::try_from(hours).ok());
                let hours = hours.filter(|hours| (1..=MOST_HOURS).contains(hours));
                let why = format!("It must be a whole number of hours from 1 to {MOST_HOURS}.");
                Some(hours.ok_or_else(|| invalid(RETURN_UNUSED, &why))?)
            }
        };
        let substitutable = match said(SUBSTITUTABLE).filter(|value| !value.is_null()) {
            None => false,
            Some(Value::Bool(will_do)) => will_do,
            Some(_) => return Err(invalid(SUBSTITUTABLE, "It must be true or false.")),
        };
        Ok(Wish { return_unused_hours, substitutable })
    }

    pub(super) fn purpose(&mut self) -> Result<Option<String>, Fault> {
        self.text("purpose", LONGEST_PURPOSE)
    }

    /// Only nodes are leased here.
    pub(super) fn resource_type(&mut self) -> Result<(), Fault> {
        match self.text("resource_type", LONGEST_NAME)? {
            Some(other) if other != RESOURCE_TYPE => Err(unknown_type(&other)),
            _ => Ok(()),
        }
    }

    /// The members' names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Nothing is left that is not known.
    pub(super) fn end(self) -> Result<(), Fault> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) if READ_ONLY.contains(&name.as_str()) => Err(invalid(name, "Cannot set read only field.")),
            Some(name) => Err(Fault::bad_request(format!("Unknown attribute '{name}'."))),
        }
    }
}

pub(super) fn unknown_type(name: &str) -> Fault {
    Fault::bad_request(format!("{name} resource type unknown: there are only resources of type {RESOURCE_TYPE}."))
}
