//! `calendar`: nodes and their time.

use super::{get, named, query, run, when};
use crate::output::{Asking, Output, Table, cell, json};
use clap::Args;
use serde_json::{Value, json};

const CALENDAR: &str = "/appliance/v1/calendar";

#[derive(Args)]
pub(crate) struct CalendarArguments {
    /// From when on, such as 2026-11-24T00:00:00, in UTC or with its zone (…+01:00). Without it: from now on.
    #[arg(long)]
    from: Option<String>,
    /// Until when. Without it: thirty days after the beginning.
    #[arg(long)]
    to: Option<String>,
    /// Only these nodes: names or UUIDs, with commas between them.
    #[arg(long, value_name = "NODE,…")]
    nodes: Option<String>,
    /// Only nodes of this resource class.
    #[arg(long)]
    class: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

/// Prints the calendar: all its pages.
pub(crate) fn main(arguments: &CalendarArguments) -> anyhow::Result<()> {
    run(async {
        let (mut nodes, mut after): (Vec<Value>, Option<String>) = (Vec::new(), None);
        let (mut from, mut to) = (arguments.from.clone(), arguments.to.clone());
        loop {
            let path = query(
                CALENDAR,
                &[
                    ("from", from.as_deref()),
                    ("to", to.as_deref()),
                    ("nodes", arguments.nodes.as_deref()),
                    ("class", arguments.class.as_deref()),
                    ("limit", Some("200")),
                    ("after", after.as_deref()),
                ],
            );
            let mut page = get(&arguments.asking, &path).await?;
            if let Some(rows) = page.get_mut("nodes").and_then(Value::as_array_mut) {
                nodes.append(rows);
            }
            // All pages are of the time that the first one was of.
            let text = |name: &str| page.get(name).and_then(Value::as_str).map(str::to_owned);
            (from, to, after) = (text("from"), text("to"), text("next"));
            if after.is_none() {
                break;
            }
        }
        match arguments.asking.output {
            Output::Json => json(&json!({"from": from, "to": to, "nodes": nodes})),
            Output::Table => table(&nodes).print(),
        }
    })
}

/// A row for each stretch of time.
fn table(nodes: &[Value]) -> Table {
    let mut table = Table::new(&["NODE", "CLASS", "WHAT", "START", "END", "WHOSE"]);
    let rows = |node: &Value, name: &str| node.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    for node in nodes {
        let (name, class) = (named(node, "node", "node_uuid"), cell(node, "resource_class"));
        let mut lines: Vec<[String; 4]> = Vec::new();
        for offer in rows(node, "offers") {
            let whose = named(&offer, "project", "project_id");
            lines.push([when(&offer, "start_time"), when(&offer, "end_time"), "offered".into(), whose]);
        }
        for lease in rows(node, "leases") {
            let whose = named(&lease, "project", "project_id");
            let what = match cell(&lease, "status").as_str() {
                "busy" => "busy".to_owned(),
                status => format!("lease, {status}"),
            };
            lines.push([when(&lease, "start_time"), when(&lease, "end_time"), what, whose]);
        }
        for free in rows(node, "free") {
            let span = json!({"start_time": free.get(0), "end_time": free.get(1)});
            lines.push([when(&span, "start_time"), when(&span, "end_time"), "free".into(), "-".into()]);
        }
        lines.sort();
        if lines.is_empty() {
            table.row(&[&name, &class, "nothing", "-", "-", "-"]);
        }
        for [start, end, what, whose] in lines {
            table.row(&[&name, &class, &what, &start, &end, &whose]);
        }
    }
    table
}
