//! The local commands on nodes: `node list`, `node show`, `node trace`, and for those in quarantine `node retry` and
//! `node release`.

use crate::{NodeCommand, local};
use http::Method;
use leasehold_api::url::escaped;
use serde_json::Value;
use std::io::Write;
use std::path::Path;

/// Writes a line to standard output; a reader that went away (`| head`) is no error worth words.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Runs a command on nodes.
pub(crate) fn main(command: &NodeCommand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            NodeCommand::List { socket, json } => list(&socket.socket, *json).await,
            NodeCommand::Show { node, socket, json } => show(node, &socket.socket, *json).await,
            NodeCommand::Trace { node, socket, json, follow } => trace(node, &socket.socket, *json, *follow).await,
            NodeCommand::Retry { node, socket } => quarantine(node, &socket.socket, "retry").await,
            NodeCommand::Release { node, socket } => quarantine(node, &socket.socket, "release").await,
        }
    })
}

/// A field of a document as text; a dash when it has none.
pub(crate) fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row.get(key).and_then(Value::as_str).unwrap_or("-")
}

async fn list(socket: &Path, json: bool) -> anyhow::Result<()> {
    let document = local::get(socket, "/appliance/v1/nodes").await?;
    if json {
        return line(&serde_json::to_string_pretty(&document)?);
    }
    line(&format!("{:<20} {:<10} {:<10} {:<16} {:<20} {}", "NAME", "DRIVER", "POWER", "STATE", "STEP", "LAST ERROR"))?;
    for node in document.get("nodes").and_then(Value::as_array).into_iter().flatten() {
        let name = node.get("name").and_then(Value::as_str).unwrap_or(text(node, "uuid"));
        let state = match node.get("maintenance").and_then(Value::as_bool) {
            Some(true) => format!("{} (M)", text(node, "provision_state")),
            _ => text(node, "provision_state").to_owned(),
        };
        line(&format!(
            "{name:<20} {:<10} {:<10} {state:<16} {:<20} {}",
            text(node, "driver"),
            text(node, "power_state"),
            text(node, "step"),
            text(node, "last_error")
        ))?;
    }
    Ok(())
}

async fn show(node: &str, socket: &Path, json: bool) -> anyhow::Result<()> {
    let document = local::get(socket, &format!("/appliance/v1/nodes/{}", escaped(node))).await?;
    if json {
        return line(&serde_json::to_string_pretty(&document)?);
    }
    for key in [
        "name",
        "uuid",
        "driver",
        "power_state",
        "provision_state",
        "target_provision_state",
        "last_error",
        "maintenance_reason",
    ] {
        line(&format!("{key:<24} {}", text(&document, key)))?;
    }
    for job in document.get("jobs").and_then(Value::as_array).into_iter().flatten() {
        let kind =
            job.get("kind").map(|kind| kind.as_str().map_or(kind.to_string(), str::to_owned)).unwrap_or_default();
        line(&format!(
            "\njob {kind}: {} (by {}, {})",
            text(job, "state"),
            text(job, "actor"),
            text(job, "created_at")
        ))?;
        for step in job.get("steps").and_then(Value::as_array).into_iter().flatten() {
            line(&format!("  {:<20} {:<8} {}", text(step, "name"), text(step, "state"), text(step, "detail")))?;
        }
    }
    Ok(())
}

async fn quarantine(node: &str, socket: &Path, what: &str) -> anyhow::Result<()> {
    let path = format!("/appliance/v1/nodes/{}/quarantine/{what}", escaped(node));
    local::send(socket, Method::POST, &path, local::Content::None).await.map(drop)
}

/// How long one request waits for news, in seconds.
const WAIT: u32 = 30;

async fn trace(node: &str, socket: &Path, json: bool, follow: bool) -> anyhow::Result<()> {
    let mut cursor = String::new();
    let mut empty = true;
    loop {
        let mut path = format!("/appliance/v1/nodes/{}/trace?wait={}", escaped(node), if follow { WAIT } else { 0 });
        if !cursor.is_empty() {
            path.push_str(&format!("&cursor={}", escaped(&cursor)));
        }
        let document = local::get(socket, &path).await?;
        document.get("cursor").and_then(Value::as_str).unwrap_or_default().clone_into(&mut cursor);
        for entry in document.get("trace").and_then(Value::as_array).into_iter().flatten() {
            empty = false;
            if json {
                line(&entry.to_string())?;
            } else {
                let detail = match entry.get("detail") {
                    None | Some(Value::Null) => String::new(),
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                };
                line(&format!(
                    "{:<30} {:<6} {:<26} {detail}",
                    text(entry, "at"),
                    text(entry, "source"),
                    text(entry, "what")
                ))?;
            }
        }
        if !follow {
            if let Some(hint) = document.get("hint").and_then(Value::as_str).filter(|_| !json) {
                line(&format!("\nThe machine is awaited. {hint}"))?;
            }
            if empty && !json {
                line(
                    "Nothing was seen of this node: no DHCP request came. Network boot may be off in its firmware, the \
                     port may be in another VLAN or held by spanning tree (set it to portfast), or bonded.",
                )?;
            }
            return Ok(());
        }
    }
}
