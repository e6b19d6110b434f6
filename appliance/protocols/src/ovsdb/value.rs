//! Values of columns (RFC 7047, section 5.1): atoms, sets and maps.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The UUID of a row, as the database writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(String);

impl RowId {
    /// Takes `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` in lower-case hexadecimal digits, as the RFC wants it, or upper-case.
    pub fn parse(text: &str) -> Option<RowId> {
        let fits = text.len() == 36
            && text.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            });
        fits.then(|| RowId(text.to_ascii_lowercase()))
    }

    /// As the database writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Atom {
    Integer(i64),
    Real(f64),
    Boolean(bool),
    String(String),
    Uuid(RowId),
    /// A row that the same transaction makes, by the name that it gives it there.
    NamedUuid(String),
}

/// What a column holds. A single value is a set of one: the database writes it either way.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    Set(Vec<Atom>),
    Map(Vec<(Atom, Atom)>),
}

/// A value is none of RFC 7047's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a value is no atom, set or map")]
pub struct NotDatum;

impl From<i64> for Atom {
    fn from(number: i64) -> Atom {
        Atom::Integer(number)
    }
}

impl From<&str> for Atom {
    fn from(text: &str) -> Atom {
        Atom::String(text.to_owned())
    }
}

impl From<RowId> for Atom {
    fn from(id: RowId) -> Atom {
        Atom::Uuid(id)
    }
}

impl Atom {
    /// Reads one value.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(value: &Value) -> Result<Atom, NotDatum> {
        match value {
            Value::Bool(truth) => Ok(Atom::Boolean(*truth)),
            Value::String(text) => Ok(Atom::String(text.clone())),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Ok(Atom::Integer(whole)),
                (None, Some(real)) => Ok(Atom::Real(real)),
                (None, None) => Err(NotDatum),
            },
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(kind), Value::String(id)] if kind == "uuid" => {
                    RowId::parse(id).map(Atom::Uuid).ok_or(NotDatum)
                }
                [Value::String(kind), Value::String(name)] if kind == "named-uuid" => Ok(Atom::NamedUuid(name.clone())),
                _ => Err(NotDatum),
            },
            Value::Null | Value::Object(_) => Err(NotDatum),
        }
    }

    /// As it is sent.
    pub fn to_json(&self) -> Value {
        match self {
            Atom::Integer(number) => json!(number),
            Atom::Real(number) => json!(number),
            Atom::Boolean(truth) => json!(truth),
            Atom::String(text) => json!(text),
            Atom::Uuid(id) => json!(["uuid", id.as_str()]),
            Atom::NamedUuid(name) => json!(["named-uuid", name]),
        }
    }
}

impl Datum {
    /// An optional column with a value, or without one.
    pub fn maybe(value: Option<impl Into<Atom>>) -> Datum {
        Datum::Set(value.into_iter().map(Into::into).collect())
    }

    /// A column with one value.
    pub fn one(value: impl Into<Atom>) -> Datum {
        Datum::Set(vec![value.into()])
    }

    /// Reads what a column holds.
    ///
    /// # Errors
    /// When it is no value.
    pub fn read(value: &Value) -> Result<Datum, NotDatum> {
        if let Value::Array(pair) = value
            && let [Value::String(kind), Value::Array(members)] = pair.as_slice()
        {
            return match kind.as_str() {
                "set" => Ok(Datum::Set(members.iter().map(Atom::read).collect::<Result<_, _>>()?)),
                "map" => Ok(Datum::Map(members.iter().map(entry).collect::<Result<_, _>>()?)),
                _ => Err(NotDatum),
            };
        }
        Ok(Datum::Set(vec![Atom::read(value)?]))
    }

    /// As it is sent; a set of one as its value alone, which is what the database itself writes.
    pub fn to_json(&self) -> Value {
        match self {
            Datum::Set(members) => match members.as_slice() {
                [only] => only.to_json(),
                all => json!(["set", all.iter().map(Atom::to_json).collect::<Vec<_>>()]),
            },
            Datum::Map(entries) => {
                let entries: Vec<_> =
                    entries.iter().map(|(key, value)| json!([key.to_json(), value.to_json()])).collect();
                json!(["map", entries])
            }
        }
    }
}

fn entry(value: &Value) -> Result<(Atom, Atom), NotDatum> {
    match value.as_array().map(Vec::as_slice) {
        Some([key, value]) => Ok((Atom::read(key)?, Atom::read(value)?)),
        _ => Err(NotDatum),
    }
}

/// Columns of a row by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row(pub BTreeMap<String, Datum>);

impl Row {
    /// Reads a row.
    ///
    /// # Errors
    /// When a column holds no value.
    pub fn read(members: &Map<String, Value>) -> Result<Row, NotDatum> {
        let columns = members.iter().map(|(name, value)| Ok((name.clone(), Datum::read(value)?)));
        Ok(Row(columns.collect::<Result<_, NotDatum>>()?))
    }

    /// As it is sent.
    pub fn to_json(&self) -> Value {
        Value::Object(self.0.iter().map(|(name, datum)| (name.clone(), datum.to_json())).collect())
    }

    /// The members of a column that is a set; `None`: there is no such column, or it is a map.
    pub fn set(&self, column: &str) -> Option<&[Atom]> {
        match self.0.get(column)? {
            Datum::Set(members) => Some(members),
            Datum::Map(_) => None,
        }
    }

    /// The one value of a column. The outer `None`: there is no such column, or it has several values.
    pub fn optional(&self, column: &str) -> Option<Option<&Atom>> {
        match self.set(column)? {
            [] => Some(None),
            [only] => Some(Some(only)),
            _ => None,
        }
    }

    /// The text in a column that has exactly one.
    pub fn text(&self, column: &str) -> Option<&str> {
        match self.set(column)? {
            [Atom::String(text)] => Some(text),
            _ => None,
        }
    }

    /// The number in a column that has exactly one.
    pub fn integer(&self, column: &str) -> Option<i64> {
        match self.set(column)? {
            [Atom::Integer(number)] => Some(*number),
            _ => None,
        }
    }

    /// The row that a column names, if it names exactly one.
    pub fn uuid(&self, column: &str) -> Option<&RowId> {
        match self.set(column)? {
            [Atom::Uuid(id)] => Some(id),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "f8e6b6a1-0b0d-4f43-9a53-0123456789ab";

    #[test]
    fn reads_a_port_as_open_vswitch_writes_it() {
        let row = json!({"_uuid": ["uuid", ID], "name": "node1", "tag": 100, "trunks": ["set", [3, 4]],
            "vlan_mode": ["set", []], "other_config": ["map", [["protected", "true"]]], "load": 0.5, "protected": false});
        let row = Row::read(row.as_object().expect("an object")).expect("a row");
        assert_eq!(row.uuid("_uuid").map(RowId::as_str), Some(ID));
        assert_eq!(row.text("name"), Some("node1"));
        assert_eq!(row.integer("tag"), Some(100));
        assert_eq!(row.set("trunks"), Some(&[Atom::Integer(3), Atom::Integer(4)][..]));
        assert_eq!(row.optional("vlan_mode"), Some(None));
        assert_eq!(row.optional("trunks"), None);
        assert_eq!(row.optional("tag"), Some(Some(&Atom::Integer(100))));
        assert_eq!(row.set("other_config"), None);
        assert_eq!(
            (row.text("tag"), row.integer("name"), row.uuid("name"), row.set("missing")),
            (None, None, None, None)
        );
        let again = row.to_json();
        assert_eq!(Row::read(again.as_object().expect("an object")), Ok(row));
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for bad in [
            json!(null),
            json!({}),
            json!([]),
            json!(["set"]),
            json!(["set", 3]),
            json!(["set", [["set", []]]]),
            json!(["map", [[1]]]),
            json!(["map", [1]]),
            json!(["bag", [1]]),
            json!(["uuid", "f8e6b6a1-0b0d-4f43-9a53-0123456789a"]),
            json!(["uuid", "f8e6b6a1-0b0d-4f43-9a53-0123456789aX"]),
            json!(["uuid", "é8e6b6a1-0b0d-4f43-9a53-0123456789a"]),
        ] {
            assert_eq!(Datum::read(&bad), Err(NotDatum), "{bad}");
        }
        assert_eq!(Datum::read(&json!(["named-uuid", "new"])), Ok(Datum::Set(vec![Atom::NamedUuid("new".into())])));
    }

    fn atom() -> impl Strategy<Value = Atom> {
        prop_oneof![
            any::<i64>().prop_map(Atom::Integer),
            (-1.0e6..1.0e6)
                .prop_map(|real: f64| Atom::Real(real + 0.5))
                .prop_filter("a fraction", |atom| { matches!(atom, Atom::Real(real) if real.fract() != 0.0) }),
            any::<bool>().prop_map(Atom::Boolean),
            ".*".prop_map(Atom::String),
            Just(Atom::Uuid(RowId(ID.into()))),
            "[a-z_]+".prop_map(Atom::NamedUuid),
        ]
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            prop::sample::select(&["set", "map", "uuid", "named-uuid", ID, ""][..]).prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::from))
    }

    proptest! {
        #[test]
        fn values_come_back_as_they_were_sent(
            set in prop::collection::vec(atom(), 0..5), map in prop::collection::vec((atom(), atom()), 0..5),
        ) {
            for datum in [Datum::Set(set), Datum::Map(map)] {
                prop_assert_eq!(Datum::read(&datum.to_json()), Ok(datum));
            }
        }

        #[test]
        fn arbitrary_json_never_panics(value in json_value()) {
            if let Ok(datum) = Datum::read(&value) {
                prop_assert_eq!(Datum::read(&datum.to_json()), Ok(datum));
            }
        }
    }
}
