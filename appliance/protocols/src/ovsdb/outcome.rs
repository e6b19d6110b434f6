//! What a transaction came to. The reply is a success of the call even where the transaction failed: one of its parts
//! is an error then, the parts after it are null, and an error at the commit is one part more than was asked for.

use super::message::PeerError;
use super::value::Row;
use serde_json::Value;

/// What came of one operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Of a `select`.
    pub rows: Vec<Row>,
    /// Rows that an `update` or `mutate` has found.
    pub count: u64,
}

/// Nothing of the transaction came about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactError {
    /// The operation of this number (from 0), or the commit (the number of operations), failed.
    #[error("{error}")]
    Failed { at: usize, error: PeerError },
    /// The reply is not what RFC 7047 makes of such a request: nobody knows what came about.
    #[error("the answer to a transaction cannot be understood ({0})")]
    Nonsense(&'static str),
}

/// Reads the reply to `transact` with that many operations.
///
/// # Errors
/// When the transaction, or a part of it, is not told to have come about.
pub fn outcomes(reply: &Value, operations: usize) -> Result<Vec<Outcome>, TransactError> {
    let parts = reply.as_array().ok_or(TransactError::Nonsense("it is no list"))?;
    if let Some((at, error)) = parts.iter().enumerate().find_map(|(at, part)| Some((at, part.get("error")?))) {
        // The error's details stand beside it.
        let error = if error.is_string() { parts.get(at).unwrap_or(error) } else { error };
        return Err(TransactError::Failed { at, error: PeerError::read(error) });
    }
    if parts.len() != operations {
        return Err(TransactError::Nonsense("it has not one part for each operation"));
    }
    parts.iter().map(outcome).collect()
}

fn outcome(part: &Value) -> Result<Outcome, TransactError> {
    let members = part.as_object().ok_or(TransactError::Nonsense("a part is no object"))?;
    let rows = match members.get("rows") {
        None => Vec::new(),
        Some(Value::Array(rows)) => rows
            .iter()
            .map(|row| row.as_object().and_then(|row| Row::read(row).ok()))
            .collect::<Option<_>>()
            .ok_or(TransactError::Nonsense("a row holds something that is no value"))?,
        Some(_) => return Err(TransactError::Nonsense("its rows are no list")),
    };
    let count = match members.get("count") {
        None => 0,
        Some(count) => count.as_u64().ok_or(TransactError::Nonsense("a count is no number"))?,
    };
    Ok(Outcome { rows, count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn reads_rows_and_counts() {
        let reply = json!([{}, {"count": 1}, {"rows": [{"tag": 5}, {"tag": ["set", []]}]}]);
        let read = outcomes(&reply, 3).expect("outcomes");
        assert_eq!((read[0].clone(), read[1].count, read[2].rows.len()), (Outcome::default(), 1, 2));
        assert_eq!(read[2].rows[0].integer("tag"), Some(5));
    }

    #[test]
    fn a_failed_part_is_the_failure_of_all() {
        let reply = json!([{}, {"error": "timed out", "details": "\"wait\" timed out"}, null]);
        let Err(TransactError::Failed { at: 1, error }) = outcomes(&reply, 3) else { panic!("a failure") };
        assert_eq!(error.to_string(), "timed out: \"wait\" timed out");
        let commit = json!([{"count": 1}, {"error": "constraint violation"}]);
        assert!(matches!(outcomes(&commit, 1), Err(TransactError::Failed { at: 1, .. })));
        for nonsense in
            [json!({}), json!([]), json!([null]), json!([{"rows": 3}]), json!([{"count": -1}]), json!([{}, {}])]
        {
            assert!(matches!(outcomes(&nonsense, 1), Err(TransactError::Nonsense(_))), "{nonsense}");
        }
        assert!(outcomes(&json!([{"rows": [{"tag": null}]}]), 1).is_err());
        assert!(outcomes(&json!([{"rows": [3]}]), 1).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_json_never_panics(text in r#"(\[|\]|\{\}|"error":|"rows":|"count":|[0-9]|,|null|"x"){0,20}"#, n in 0usize..5) {
            if let Ok(value) = serde_json::from_str(&text) {
                prop_assert!(outcomes(&value, n).map_or(true, |all| all.len() == n));
            }
        }
    }
}
