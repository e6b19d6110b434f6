//! What commands print: tables for people, JSON for programs.

use crate::SocketArgument;
use crate::show::line;
use clap::{Args, ValueEnum};
use serde_json::Value;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    #[default]
    Table,
    Json,
}

/// Where to ask, and how to print what comes.
#[derive(Args)]
pub(crate) struct Asking {
    #[command(flatten)]
    pub(crate) socket: SocketArgument,
    /// A table for people, or JSON as the API has it.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

/// Rows under a heading, each column as wide as what is in it.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(heading: &[&str]) -> Table {
        Table { rows: vec![heading.iter().map(|name| (*name).to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: &[&str]) {
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }

    fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let wide = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(wide).collect();
        let line = |row: &Vec<String>| {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, wide)| format!("{cell:<wide$}")).collect();
            cells.join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    pub(crate) fn print(&self) -> anyhow::Result<()> {
        self.lines().iter().try_for_each(|text| line(text))
    }
}

/// What others named must not steer the terminal of who looks at it.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

/// A document as it is.
pub(crate) fn json(document: &Value) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(document)?)
}

/// A member for people: a text as it is, a dash for nothing, anything else as JSON.
pub(crate) fn cell(document: &Value, name: &str) -> String {
    match document.get(name) {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) if text.is_empty() => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(&["übung", "-"]);
        table.row(&["n", "available"]);
        assert_eq!(table.lines(), ["NAME   STATE", "übung  -", "n      available"]);
    }

    #[test]
    fn a_name_does_not_steer_the_terminal() {
        let mut table = Table::new(&["NAME"]);
        table.row(&["a\u{1b}[2Jb\nc\u{9b}d"]);
        assert_eq!(table.lines()[1], "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
    }

    #[test]
    fn what_is_not_there_is_a_dash() {
        let document = json!({"name": null, "project": "", "count": 3, "status": "active"});
        let cells = ["name", "project", "other", "count", "status"].map(|name| cell(&document, name));
        assert_eq!(cells, ["-", "-", "-", "3", "active"]);
    }
}
