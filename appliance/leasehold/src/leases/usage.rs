//! `usage`: node-time offered, leased, used and idle.

use super::{named, query, run};
use crate::SocketArgument;
use crate::local::{self, Content};
use crate::output::{Table, cell, json};
use crate::show::line;
use anyhow::Context;
use clap::{Args, ValueEnum};
use http::Method;
use serde_json::Value;
use std::io::Write;

const USAGE: &str = "/appliance/v1/usage";

/// How the figures are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    #[default]
    Table,
    Json,
    Csv,
}

#[derive(Args)]
pub(crate) struct UsageArguments {
    /// The first day, such as 2026-11-01, in UTC. Without it: thirty days before the end.
    #[arg(long)]
    from: Option<String>,
    /// The day after the last one. Without it: tomorrow; of today counts what has been.
    #[arg(long)]
    to: Option<String>,
    /// What sums are kept apart by: any of day, project, owner, class, node.
    #[arg(long, default_value = "project,day", value_name = "PART,…")]
    by: String,
    /// What this project had as the lessee: name or id. Without it: everybody's.
    #[arg(long, conflicts_with = "owner")]
    project: Option<String>,
    /// What this project let others have: name or id.
    #[arg(long)]
    owner: Option<String>,
    #[command(flatten)]
    socket: SocketArgument,
    /// A table with hours for people; JSON or CSV with exact seconds.
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
}

/// Prints the figures.
pub(crate) fn main(arguments: &UsageArguments) -> anyhow::Result<()> {
    run(async {
        let path = query(
            USAGE,
            &[
                ("from", arguments.from.as_deref()),
                ("to", arguments.to.as_deref()),
                ("by", Some(&arguments.by)),
                ("project", arguments.project.as_deref()),
                ("owner", arguments.owner.as_deref()),
                ("format", Some(if arguments.output == Form::Csv { "csv" } else { "json" })),
            ],
        );
        let body = local::ask(&arguments.socket.socket, Method::GET, &path, Content::None, &[]).await?;
        if arguments.output == Form::Csv {
            return Ok(std::io::stdout().write_all(&body)?);
        }
        let document: Value =
            serde_json::from_slice(&body).context("the appliance answers something that is no JSON")?;
        if arguments.output == Form::Json { json(&document) } else { tell(&document) }
    })
}

const PARTS: [(&str, &str, &str); 5] = [
    ("day", "day", "day"),
    ("project", "project", "project_id"),
    ("owner", "owner", "owner_id"),
    ("class", "resource_class", "resource_class"),
    ("node", "node", "node_uuid"),
];
const HOURS: [&str; 4] = ["offered_node_hours", "leased_node_hours", "used_node_hours", "idle_node_hours"];

fn tell(document: &Value) -> anyhow::Result<()> {
    let by: Vec<&str> = rows(document, "by").filter_map(Value::as_str).collect();
    let parts: Vec<_> = PARTS.iter().filter(|(part, ..)| by.contains(part)).collect();
    let mut heading: Vec<String> = parts.iter().map(|(part, ..)| part.to_uppercase()).collect();
    heading.extend(["OFFERED", "LEASED", "USED", "IDLE"].map(|name| format!("{name} (h)")));
    let heading: Vec<&str> = heading.iter().map(String::as_str).collect();
    let mut table = Table::new(&heading);
    for row in rows(document, "usage") {
        let mut cells: Vec<String> = parts.iter().map(|(_, name, id)| named(row, name, id)).collect();
        cells.extend(HOURS.map(|name| cell(row, name)));
        table.row(&cells.iter().map(String::as_str).collect::<Vec<_>>());
    }
    table.print()?;
    for total in rows(document, "total") {
        let [offered, leased, used, idle] = HOURS.map(|name| cell(total, name));
        line(&format!(
            "\nAltogether {offered} node-hours were offered: {leased} leased ({used} in use), {idle} idle; until {}.",
            cell(document, "until")
        ))?;
    }
    Ok(())
}

fn rows<'a>(document: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    document.get(name).and_then(Value::as_array).into_iter().flatten()
}
