//! Who may do what, as the running API answers: each action on each resource, asked by each role in each relation to it.
//!
//! In: two policies, upstream's (an empty file) and the shipped one. Out: the tables `tests/access/*.txt`; a test fails
//! with the rows that differ, and writes the table anew when `LEASEHOLD_UPDATE` is set. Each cell is asked of the same
//! state: what changes something has the state restored. Cells: `ok`, the status of a refusal, `-` for what an answer
//! leaves out or masks. A 400 or 409 is past the policy: it says what the state or the body lacks.

mod accounts;
mod hardware;
mod leases;
mod nodes;
mod row;
mod scene;
mod tenants;

use leasehold_domain::policy::Policy;
use row::Row;
use scene::{PEOPLE, Scene};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

const UPDATE: &str = "LEASEHOLD_UPDATE";

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_rules_allow_what_the_table_says() {
    check("upstream.txt", "an empty policy file: upstream's defaults", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_rules_allow_what_the_table_says() {
    check("shipped.txt", "the shipped config/policy.yaml", include_str!("../../../../config/policy.yaml")).await;
}

fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> =
        [nodes::rows(), hardware::rows(), tenants::rows(), accounts::rows(), leases::rows()].concat();
    rows.sort_by_key(Row::place);
    let places: BTreeSet<_> = rows.iter().map(Row::place).collect();
    assert_eq!(places.len(), rows.len(), "two rows have the same name");
    rows
}

async fn check(file: &str, rules: &str, policy: &str) {
    let policy = Arc::new(crate::policy::file::read(policy).expect("a policy file"));
    let table = table(&Scene::new().await, &policy, rules, &rows()).await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/access").join(file);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, table).expect("the table is written");
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let difference = difference(&committed, &table);
    assert!(
        difference.is_empty(),
        "Who may do what is no longer what {} says (run with {UPDATE}=1 to write it anew):\n{}\n{difference}",
        path.display(),
        header(&rows()),
    );
}

/// The lines of either that the other has not.
fn difference(committed: &str, now: &str) -> String {
    let lines = |text: &str| -> BTreeSet<String> { text.lines().map(str::to_owned).collect() };
    let (old, new) = (lines(committed), lines(now));
    let gone = old.difference(&new).map(|line| (line, '-'));
    let mut lines: Vec<_> = gone.chain(new.difference(&old).map(|line| (line, '+'))).collect();
    lines.sort();
    lines.iter().map(|(line, sign)| format!("{sign} {line}\n")).collect()
}

/// Columns are as wide as the widest of their names.
const CELL: usize = 7;

fn name_width(rows: &[Row]) -> usize {
    rows.iter().map(|row| row.name().chars().count()).max().unwrap_or_default()
}

fn header(rows: &[Row]) -> String {
    let names: String = PEOPLE.iter().map(|person| format!(" {:CELL$}", person.name)).collect();
    format!("{:width$} {}", "", names.trim_end(), width = name_width(rows))
}

async fn table(scene: &Scene, policy: &Arc<Policy>, rules: &str, rows: &[Row]) -> String {
    let mut text = format!(
        "# Who may do what with {rules}. Written by the API's tests (LEASEHOLD_UPDATE=1); change the rules, not this file.\n\
         # The nodes belong to the project of own-* and are lent to that of les-*; oth-* has nothing to do with either.\n\
         # {{leased}} is the owner's, too, and let to the lessee by {{lease}}, later; {{meant}} is offered to him only.\n\
         # {{vif}}, {{network}}, {{image}}, {{allocation}} and the like are the lessee's. ok: done; -: left out or masked;\n\
         # 401 unknown, 403 forbidden, 404 not there for him; 400 and 409 are past the rules.\n"
    );
    let width = name_width(rows);
    let mut stage = scene.open(policy);
    let mut service = "";
    for row in rows {
        if row.service != service {
            service = row.service;
            let _ = write!(text, "\n{}\n", header(rows));
        }
        let mut line = format!("{:width$} ", row.name());
        for person in 0..PEOPLE.len() {
            if stage.is_changed() {
                stage = scene.open(policy);
            }
            let cell = stage.ask(person, row).await;
            let _ = write!(line, " {cell:CELL$}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[test]
fn a_difference_shows_both_sides_of_a_row() {
    assert_eq!(difference("a ok\nb 403\n", "a ok\nb ok\n"), "- b 403\n+ b ok\n");
    assert_eq!(difference("a\n", "a\n"), "");
}
