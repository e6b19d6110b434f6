//! The local commands about accounts: `account list`, `account create`, `account link`.

use crate::show::{line, text};
use crate::{SocketArgument, local};
use anyhow::{Context, bail};
use clap::Subcommand;
use http::Method;
use leasehold_api::url::escaped;
use serde_json::{Value, json};
use std::io::BufRead;
use std::path::Path;

const ACCOUNTS: &str = "/appliance/v1/accounts";

#[derive(Subcommand)]
pub(crate) enum AccountCommand {
    /// All users, a line each, with the roles they have.
    List {
        #[command(flatten)]
        socket: SocketArgument,
        /// JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Make a user, with roles in a project or on the system. Without a password he gets a one-time link.
    Create {
        /// What the user is called.
        name: String,
        /// The project in which he works; made if it is not there.
        #[arg(long)]
        project: Option<String>,
        /// A role in the project; may be given more than once. Without one: member.
        #[arg(long)]
        role: Vec<String>,
        /// A role on the whole system, such as admin; may be given more than once.
        #[arg(long)]
        system_role: Vec<String>,
        /// Read his password from the standard input, where it is the first line.
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        socket: SocketArgument,
        /// JSON instead of words.
        #[arg(long)]
        json: bool,
    },
    /// Make a one-time link with which a user sets a new password.
    Link {
        /// What the user is called.
        name: String,
        #[command(flatten)]
        socket: SocketArgument,
    },
}

/// Runs a command about accounts.
pub(crate) fn main(command: &AccountCommand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            AccountCommand::List { socket, json } => list(&socket.socket, *json).await,
            AccountCommand::Create { name, project, role, system_role, password_stdin, socket, json } => {
                let password = if *password_stdin { Some(first_line(&mut std::io::stdin().lock())?) } else { None };
                let role = match (project, role.is_empty()) {
                    (Some(_), true) => vec!["member".to_owned()],
                    _ => role.clone(),
                };
                let wanted = json!({
                    "name": name, "password": password, "project": project, "roles": role, "system_roles": system_role,
                });
                let made = local::send(&socket.socket, Method::POST, ACCOUNTS, local::Content::Json(wanted)).await?;
                if *json {
                    return line(&made.to_string());
                }
                line(&format!("{} is made (id {})", text(&made, "name"), text(&made, "id")))?;
                say_link(&made)
            }
            AccountCommand::Link { name, socket } => {
                let path = format!("{ACCOUNTS}/{}/link", escaped(name));
                say_link(&local::send(&socket.socket, Method::POST, &path, local::Content::None).await?)
            }
        }
    })
}

/// A password as a file or another program gives it.
fn first_line(input: &mut impl BufRead) -> anyhow::Result<String> {
    let mut password = String::new();
    input.read_line(&mut password).context("the password cannot be read")?;
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("no password came on the standard input");
    }
    Ok(password.to_owned())
}

/// The link, if there is one, as somebody can hand it over.
fn say_link(made: &Value) -> anyhow::Result<()> {
    let Some(link) = made.get("link").filter(|link| link.is_object()) else { return Ok(()) };
    line(&format!(
        "Hand this over; it is good once, until {}: https://THIS-BOX:8443{}",
        text(link, "expires_at"),
        text(link, "path")
    ))
}

async fn list(socket: &Path, json: bool) -> anyhow::Result<()> {
    let document = local::get(socket, ACCOUNTS).await?;
    if json {
        return line(&serde_json::to_string_pretty(&document)?);
    }
    line(&format!("{:<24} {:<32} {:<8} {:<9} {}", "NAME", "ID", "ENABLED", "PASSWORD", "ROLES"))?;
    for account in document.get("accounts").and_then(Value::as_array).into_iter().flatten() {
        let roles = account.get("roles").and_then(Value::as_array).into_iter().flatten();
        let roles: Vec<_> = roles.filter_map(Value::as_str).collect();
        let enabled = account.get("enabled").and_then(Value::as_bool) == Some(true);
        line(&format!(
            "{:<24} {:<32} {:<8} {:<9} {}",
            text(account, "name"),
            text(account, "id"),
            if enabled { "yes" } else { "no" },
            text(account, "password"),
            roles.join(", ")
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_without_its_end() {
        let of = |text: &str| first_line(&mut text.as_bytes()).ok();
        assert_eq!(of("a long sentence\r\nmore\n").as_deref(), Some("a long sentence"));
        assert_eq!(of("no end").as_deref(), Some("no end"));
        assert_eq!(of("\n"), None);
        assert_eq!(of(""), None);
    }
}
