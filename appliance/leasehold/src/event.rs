//! `event list`, `event follow`: what happened, and what happens.

use crate::follow::{Follow, Message};
use crate::local;
use crate::output::{Asking, Output, Table, cell, json};
use crate::show::line;
use anyhow::bail;
use clap::{Args, Subcommand};
use leasehold_api::url::escaped;
use serde_json::Value;

const EVENTS: &str = "/appliance/v1/events";

/// Which events.
#[derive(Args)]
pub(crate) struct Which {
    /// Only of these types: lease, lease.active, node.power, …; with commas between them.
    #[arg(long = "type", value_name = "TYPE")]
    kinds: Option<String>,
    /// Only of this node: name or UUID.
    #[arg(long)]
    node: Option<String>,
    /// Only of this lease: UUID.
    #[arg(long)]
    lease: Option<String>,
    /// Only of nodes that were this project's, as owner or lessee: its id.
    #[arg(long)]
    project: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum EventCommand {
    /// What happened, the newest last.
    List {
        #[command(flatten)]
        which: Which,
        /// From this moment on: 2026-01-31T12:00:00Z.
        #[arg(long)]
        since: Option<String>,
        /// Before this moment.
        #[arg(long)]
        until: Option<String>,
        /// So many at most.
        #[arg(long, default_value_t = 100)]
        limit: u32,
        #[command(flatten)]
        asking: Asking,
    },
    /// What happens from now on, or from a cursor on. A JSON document a line with -o json.
    Follow {
        #[command(flatten)]
        which: Which,
        /// Where to go on: the id of an event.
        #[arg(long)]
        after: Option<String>,
        #[command(flatten)]
        asking: Asking,
    },
}

/// Runs a command about events.
pub(crate) fn main(command: &EventCommand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            EventCommand::List { which, since, until, limit, asking } => {
                let limit = limit.to_string();
                let more = [("since", since.as_deref()), ("until", until.as_deref()), ("limit", Some(limit.as_str()))];
                list(asking, &which.path(&more)).await
            }
            EventCommand::Follow { which, after, asking } => follow(asking, &which.path(&[]), after.as_deref()).await,
        }
    })
}

impl Which {
    fn path(&self, more: &[(&str, Option<&str>)]) -> String {
        let own = [
            ("type", self.kinds.as_deref()),
            ("node", self.node.as_deref()),
            ("lease", self.lease.as_deref()),
            ("project", self.project.as_deref()),
        ];
        let said = own.iter().chain(more).filter_map(|(name, value)| Some(format!("{name}={}", escaped((*value)?))));
        format!("{EVENTS}?{}", said.collect::<Vec<_>>().join("&"))
    }
}

async fn list(asking: &Asking, path: &str) -> anyhow::Result<()> {
    let document = local::get(&asking.socket.socket, path).await?;
    if asking.output == Output::Json {
        return json(&document);
    }
    let mut table = Table::new(&["TIME", "TYPE", "NODE", "OWNER", "LESSEE", "WHAT"]);
    for event in document.get("events").and_then(Value::as_array).into_iter().flatten().rev() {
        let cells = cells(event);
        table.row(&cells.each_ref().map(String::as_str));
    }
    table.print()
}

/// The columns of an event.
fn cells(event: &Value) -> [String; 6] {
    let data = event.get("data").unwrap_or(&Value::Null);
    let rest = data.as_object().into_iter().flatten();
    let rest = rest.filter(|(name, value)| !["node", "owner", "lessee"].contains(&name.as_str()) && !value.is_null());
    let what: Vec<String> = rest.map(|(name, _)| format!("{name}={}", cell(data, name))).collect();
    let [time, kind] = ["timestamp", "type"].map(|name| cell(event, name));
    let [node, owner, lessee] = ["node", "owner", "lessee"].map(|name| cell(data, name));
    [time, kind, node, owner, lessee, what.join(" ")]
}

async fn follow(asking: &Asking, path: &str, after: Option<&str>) -> anyhow::Result<()> {
    let mut stream = Follow::open(&asking.socket.socket, path, after).await?;
    while let Some(Message { kind, data, .. }) = stream.next().await? {
        if data.is_empty() {
            continue;
        }
        let document: Value = serde_json::from_str(&data)?;
        if kind != "message" {
            bail!("{}", cell(&document, "message"));
        }
        if asking.output == Output::Json {
            line(&document.to_string())?;
            continue;
        }
        // What others named must not steer the terminal of who looks at it.
        let plain = |letter: char| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter };
        line(&cells(&document).join("  ").chars().map(plain).collect::<String>())?;
    }
    bail!("the appliance has ended the stream")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_has_its_columns() {
        let data = json!({"node": "n", "owner": null, "lessee": "l", "state": "active", "reason": null, "count": 3});
        let event = json!({"id": "x", "type": "lease.active", "timestamp": "t", "data": data});
        assert_eq!(cells(&event), ["t", "lease.active", "n", "-", "l", "count=3 state=active"].map(str::to_owned));
    }

    #[test]
    fn what_is_asked_for_is_in_the_path() {
        let which = Which { kinds: Some("lease,job".into()), node: Some("a b".into()), lease: None, project: None };
        assert_eq!(which.path(&[("limit", Some("3"))]), format!("{EVENTS}?type=lease,job&node=a%20b&limit=3"));
    }
}
