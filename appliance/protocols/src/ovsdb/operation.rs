//! What a transaction asks for (RFC 7047, section 5.2). All of its operations come about, or none.

use super::value::{Datum, Row};
use serde_json::{Value, json};

/// How a column is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    /// The column has at least these members.
    Includes,
}

/// What a `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The matching rows hold exactly what is expected.
    Equal,
    /// They hold anything else.
    Differs,
}

/// Which rows: all conditions of an operation must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub column: String,
    pub comparison: Comparison,
    pub value: Datum,
}

impl Condition {
    /// The column holds this.
    pub fn equal(column: &str, value: Datum) -> Condition {
        Condition { column: column.to_owned(), comparison: Comparison::Equal, value }
    }

    /// The column has at least these members.
    pub fn includes(column: &str, value: Datum) -> Condition {
        Condition { column: column.to_owned(), comparison: Comparison::Includes, value }
    }

    fn to_json(&self) -> Value {
        let function = match self.comparison {
            Comparison::Equal => "==",
            Comparison::Includes => "includes",
        };
        json!([self.column, function, self.value.to_json()])
    }
}

/// A change that builds on what the column holds at that moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Mutation {
    Add(String, i64),
    Insert(String, Datum),
    Delete(String, Datum),
}

impl Mutation {
    fn to_json(&self) -> Value {
        match self {
            Mutation::Add(column, number) => json!([column, "+=", number]),
            Mutation::Insert(column, value) => json!([column, "insert", value.to_json()]),
            Mutation::Delete(column, value) => json!([column, "delete", value.to_json()]),
        }
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    Select {
        table: String,
        rows: Vec<Condition>,
        columns: Vec<String>,
    },
    Update {
        table: String,
        rows: Vec<Condition>,
        to: Row,
    },
    Mutate {
        table: String,
        rows: Vec<Condition>,
        mutations: Vec<Mutation>,
    },
    /// Goes on when the one matching row holds `expected`, or something else, in the columns that are named there; fails
    /// with `timed out` after `timeout_ms`. With 0 it is a precondition.
    Wait {
        table: String,
        rows: Vec<Condition>,
        until: Until,
        expected: Row,
        timeout_ms: u64,
    },
    /// For the database's log.
    Comment(String),
}

impl Operation {
    fn to_json(&self) -> Value {
        let conditions = |rows: &[Condition]| rows.iter().map(Condition::to_json).collect::<Vec<_>>();
        match self {
            Operation::Select { table, rows, columns } => {
                json!({"op": "select", "table": table, "where": conditions(rows), "columns": columns})
            }
            Operation::Update { table, rows, to } => {
                json!({"op": "update", "table": table, "where": conditions(rows), "row": to.to_json()})
            }
            Operation::Mutate { table, rows, mutations } => {
                let mutations: Vec<_> = mutations.iter().map(Mutation::to_json).collect();
                json!({"op": "mutate", "table": table, "where": conditions(rows), "mutations": mutations})
            }
            Operation::Wait { table, rows, until, expected, timeout_ms } => {
                let columns: Vec<_> = expected.0.keys().collect();
                let until = match until {
                    Until::Equal => "==",
                    Until::Differs => "!=",
                };
                json!({"op": "wait", "table": table, "where": conditions(rows), "columns": columns, "until": until,
                    "rows": [expected.to_json()], "timeout": timeout_ms})
            }
            Operation::Comment(text) => json!({"op": "comment", "comment": text}),
        }
    }
}

/// The `params` of a `transact` request.
pub fn transact(database: &str, operations: &[Operation]) -> Value {
    let mut params = vec![json!(database)];
    params.extend(operations.iter().map(Operation::to_json));
    Value::Array(params)
}

#[cfg(test)]
mod tests {
    use super::super::value::{Atom, RowId};
    use super::*;

    #[test]
    fn operations_are_the_rfcs() {
        let id = RowId::parse("f8e6b6a1-0b0d-4f43-9a53-0123456789ab").expect("an id");
        let this = || vec![Condition::equal("_uuid", Datum::one(id.clone()))];
        let row = |tag: Option<i64>| Row([("tag".to_owned(), Datum::maybe(tag))].into());
        let (table, tag) = ("Port".to_owned(), "tag".to_owned());
        let operations = [
            Operation::Wait {
                table: table.clone(),
                rows: this(),
                until: Until::Equal,
                expected: row(None),
                timeout_ms: 0,
            },
            Operation::Update { table: table.clone(), rows: this(), to: row(Some(7)) },
            Operation::Mutate {
                table: "Open_vSwitch".into(),
                rows: vec![],
                mutations: vec![Mutation::Add("next_cfg".into(), 1)],
            },
            Operation::Select {
                table,
                rows: vec![Condition::includes("interfaces", Datum::Set(vec![Atom::Uuid(id.clone())]))],
                columns: vec![tag],
            },
            Operation::Comment("why".into()),
        ];
        let by_id = json!([["_uuid", "==", ["uuid", id.as_str()]]]);
        let expected = json!(["Open_vSwitch",
            {"op": "wait", "table": "Port", "where": by_id, "columns": ["tag"], "until": "==",
             "rows": [{"tag": ["set", []]}], "timeout": 0},
            {"op": "update", "table": "Port", "where": by_id, "row": {"tag": 7}},
            {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]},
            {"op": "select", "table": "Port", "where": [["interfaces", "includes", ["uuid", id.as_str()]]],
             "columns": ["tag"]},
            {"op": "comment", "comment": "why"}]);
        assert_eq!(transact("Open_vSwitch", &operations), expected);
    }

    #[test]
    fn members_are_put_in_and_taken_out() {
        let set = || Datum::Set(vec![Atom::Integer(3), Atom::Integer(4)]);
        assert_eq!(Mutation::Insert("trunks".into(), set()).to_json(), json!(["trunks", "insert", ["set", [3, 4]]]));
        assert_eq!(Mutation::Delete("trunks".into(), set()).to_json(), json!(["trunks", "delete", ["set", [3, 4]]]));
    }
}
