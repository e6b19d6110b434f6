//! The local commands about rules: `policy list`, `policy check`, `policy explain`, `policy reload`.

use crate::show::{line, text};
use crate::{SocketArgument, local};
use anyhow::{Context, bail};
use clap::Subcommand;
use http::Method;
use leasehold_api::policy::file;
use leasehold_api::url::escaped;
use serde_json::Value;
use std::path::{Path, PathBuf};

const POLICY: &str = "/appliance/v1/policy";

#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// All rules in force: what each says, where that is from, which calls it guards.
    List {
        /// Only rules whose name has this in it.
        part: Option<String>,
        /// Only rules that the policy file changes or adds.
        #[arg(long)]
        changed: bool,
        #[command(flatten)]
        socket: SocketArgument,
        #[arg(long)]
        json: bool,
    },
    /// Read a policy file and say whether it is right. The running appliance has no part in it.
    Check {
        #[arg(default_value = "/etc/leasehold/policy.yaml")]
        file: PathBuf,
    },
    /// May a user do something to a node, and by which rule? Asked for each scope in which he has a role.
    Explain {
        /// Name, name@domain or id.
        user: String,
        /// A rule's name, such as baremetal:node:set_provision_state; baremetal: may be left out.
        action: String,
        /// Name, UUID or MAC address; without it, a thing of the user's own project is meant.
        node: Option<String>,
        #[command(flatten)]
        socket: SocketArgument,
        #[arg(long)]
        json: bool,
    },
    /// Put the changed policy file in force. A bad file changes nothing.
    Reload {
        #[command(flatten)]
        socket: SocketArgument,
    },
}

/// Runs a command about rules.
pub(crate) fn main(command: &PolicyCommand) -> anyhow::Result<()> {
    if let PolicyCommand::Check { file } = command {
        return check(file);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            PolicyCommand::Check { .. } => Ok(()),
            PolicyCommand::List { part, changed, socket, json } => {
                list(part.as_deref(), *changed, &socket.socket, *json).await
            }
            PolicyCommand::Explain { user, action, node, socket, json } => {
                let mut path = format!("{POLICY}/explain?user={}&action={}", escaped(user), escaped(action));
                if let Some(node) = node {
                    path.push_str(&format!("&node={}", escaped(node)));
                }
                let document = local::get(&socket.socket, &path).await?;
                if *json { line(&serde_json::to_string_pretty(&document)?) } else { explain(&document) }
            }
            PolicyCommand::Reload { socket } => reload(&socket.socket).await,
        }
    })
}

fn check(path: &Path) -> anyhow::Result<()> {
    let content = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    match file::read(&content) {
        Ok(policy) => {
            for warning in file::warnings(&policy) {
                line(&format!("warning: {warning}"))?;
            }
            line(&format!("{} is right", path.display()))
        }
        Err(error) => bail!("{}: {error}", path.display()),
    }
}

fn rows<'a>(document: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    document.get(key).and_then(Value::as_array).into_iter().flatten()
}

async fn list(part: Option<&str>, changed: bool, socket: &Path, json: bool) -> anyhow::Result<()> {
    let mut document = local::get(socket, POLICY).await?;
    if let Some(rules) = document.get_mut("rules").and_then(Value::as_array_mut) {
        rules.retain(|rule| {
            part.is_none_or(|part| text(rule, "name").contains(part)) && !(changed && text(rule, "origin") == "default")
        });
    }
    if json {
        return line(&serde_json::to_string_pretty(&document)?);
    }
    for rule in rows(&document, "rules") {
        line(&format!("{} ({}, {})", text(rule, "name"), text(rule, "service"), text(rule, "origin")))?;
        for call in text(rule, "calls").split(", ").filter(|call| !call.is_empty()) {
            line(&format!("    {call}"))?;
        }
        let scopes: Vec<&str> = rows(rule, "scopes").filter_map(Value::as_str).collect();
        if !scopes.is_empty() {
            line(&format!("    scope: {}", scopes.join(" or ")))?;
        }
        let said = text(rule, "rule").split_whitespace().collect::<Vec<_>>().join(" ");
        line(&format!("    {}", if said.is_empty() { "everybody" } else { &said }))?;
    }
    Ok(())
}

fn explain(document: &Value) -> anyhow::Result<()> {
    if let Some(node) = document.get("node").filter(|node| !node.is_null()) {
        let name = node.get("name").and_then(Value::as_str).unwrap_or(text(node, "uuid"));
        line(&format!("node {name}: owner {}, lessee {}", text(node, "owner"), text(node, "lessee")))?;
    }
    for answer in rows(document, "answers") {
        let allowed = answer.get("allowed").and_then(Value::as_bool).unwrap_or(false);
        let said = if allowed { "yes" } else { "no" };
        line(&format!("{} in {}, {}: {said}", text(document, "user"), text(answer, "in"), text(document, "action")))?;
        if let Some(why) = answer.get("why").and_then(Value::as_str) {
            line(&format!("    {why}"))?;
        }
        if let Some(who) = answer.get("credentials") {
            let roles: Vec<&str> = rows(who, "roles").filter_map(Value::as_str).collect();
            line(&format!("    roles: {}", if roles.is_empty() { "none".into() } else { roles.join(", ") }))?;
        }
        if answer.get("rule").is_some() {
            let said = text(answer, "text").split_whitespace().collect::<Vec<_>>().join(" ");
            line(&format!("    rule {} ({}): {said}", text(answer, "rule"), text(answer, "origin")))?;
        }
        for part in rows(answer, "parts") {
            tell(part, 1)?;
        }
    }
    Ok(())
}

/// A part of a rule and, where it is made of several, those.
fn tell(part: &Value, depth: usize) -> anyhow::Result<()> {
    let holds = if part.get("holds").and_then(Value::as_bool).unwrap_or(false) { "yes" } else { "no " };
    let detail = part.get("detail").and_then(Value::as_str).map(|detail| format!("   ({detail})")).unwrap_or_default();
    line(&format!("{:indent$}{holds} {}{detail}", "", text(part, "check"), indent = depth * 4))?;
    rows(part, "inside").try_for_each(|inner| tell(inner, depth + 1))
}

async fn reload(socket: &Path) -> anyhow::Result<()> {
    let path = format!("{POLICY}/reload");
    let document = local::send(socket, Method::POST, &path, local::Content::None).await?;
    for warning in rows(&document, "warnings").filter_map(Value::as_str) {
        line(&format!("warning: {warning}"))?;
    }
    let changed: Vec<&str> = rows(&document, "changed").filter_map(Value::as_str).collect();
    if changed.is_empty() {
        return line("the policy file was read; no rule says anything else than before");
    }
    line(&format!("in force; these rules say something else than before: {}", changed.join(", ")))
}
