//! `webhook list`, `webhook add`, `webhook remove`, `webhook dead`, `webhook redeliver`.

use crate::local::{self, Content};
use crate::output::{Asking, Output, Table, cell, json};
use crate::show::line;
use clap::Subcommand;
use http::Method;
use leasehold_api::url::escaped;
use serde_json::{Map, Value};

const WEBHOOKS: &str = "/appliance/v1/webhooks";

#[derive(Subcommand)]
pub(crate) enum WebhookCommand {
    /// All webhooks, and how their deliveries go.
    List {
        #[command(flatten)]
        asking: Asking,
    },
    /// Have events sent to a URL. The secret that they are signed with is shown this once.
    Add {
        /// Where to: https://…
        url: String,
        /// Whose events: the id of a project. Without it: everybody's.
        #[arg(long)]
        project: Option<String>,
        /// Of which types: lease, lease.active, node.power, …; may be given more than once. Without it: all.
        #[arg(long = "type", value_name = "TYPE")]
        kinds: Vec<String>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Have no more events sent there.
    Remove {
        /// Its id.
        webhook: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// What was given up.
    Dead {
        /// The webhook's id.
        webhook: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Try once more to deliver what was given up.
    Redeliver {
        /// The webhook's id.
        webhook: String,
        /// Only this event. Without it: all.
        #[arg(long)]
        event: Option<String>,
        #[command(flatten)]
        asking: Asking,
    },
}

/// Runs a command about webhooks.
pub(crate) fn main(command: &WebhookCommand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            WebhookCommand::List { asking } => list(asking).await,
            WebhookCommand::Add { url, project, kinds, asking } => add(asking, url, project.as_deref(), kinds).await,
            WebhookCommand::Remove { webhook, asking } => {
                local::send(&asking.socket.socket, Method::DELETE, &path(webhook), Content::None).await.map(drop)
            }
            WebhookCommand::Dead { webhook, asking } => dead(asking, webhook).await,
            WebhookCommand::Redeliver { webhook, event, asking } => {
                let which = event.as_ref().map(|event| format!("?event={}", escaped(event))).unwrap_or_default();
                let path = format!("{}/redeliver{which}", path(webhook));
                local::send(&asking.socket.socket, Method::POST, &path, Content::None).await.map(drop)
            }
        }
    })
}

fn path(webhook: &str) -> String {
    format!("{WEBHOOKS}/{}", escaped(webhook))
}

async fn list(asking: &Asking) -> anyhow::Result<()> {
    let document = local::get(&asking.socket.socket, WEBHOOKS).await?;
    if asking.output == Output::Json {
        return json(&document);
    }
    let mut table = Table::new(&["ID", "PROJECT", "URL", "TYPES", "DELIVERED", "DEAD", "FAILING"]);
    for webhook in document.get("webhooks").and_then(Value::as_array).into_iter().flatten() {
        let kinds = webhook.get("types").and_then(Value::as_array).into_iter().flatten();
        let kinds: Vec<&str> = kinds.filter_map(Value::as_str).collect();
        let failing = webhook.get("failing").filter(|failing| !failing.is_null());
        let failing =
            failing.map_or("-".into(), |failing| format!("{} ×: {}", cell(failing, "tries"), cell(failing, "why")));
        let kinds = if kinds.is_empty() { "all".to_owned() } else { kinds.join(",") };
        let [id, project, url, delivered, dead] =
            ["id", "project_id", "url", "delivered_at", "dead"].map(|name| cell(webhook, name));
        table.row(&[&id, &project, &url, &kinds, &delivered, &dead, &failing]);
    }
    table.print()
}

async fn add(asking: &Asking, url: &str, project: Option<&str>, kinds: &[String]) -> anyhow::Result<()> {
    let mut body = Map::new();
    body.insert("url".into(), url.into());
    body.insert("types".into(), kinds.into());
    if let Some(project) = project {
        body.insert("project_id".into(), project.into());
    }
    let content = Content::Json(body.into());
    let document = local::send(&asking.socket.socket, Method::POST, WEBHOOKS, content).await?;
    if asking.output == Output::Json {
        return json(&document);
    }
    line(&format!("id      {}", cell(&document, "id")))?;
    line(&format!("secret  {}", cell(&document, "secret")))
}

async fn dead(asking: &Asking, webhook: &str) -> anyhow::Result<()> {
    let document = local::get(&asking.socket.socket, &format!("{}/dead", path(webhook))).await?;
    if asking.output == Output::Json {
        return json(&document);
    }
    let mut table = Table::new(&["EVENT", "TYPE", "HAPPENED", "GIVEN UP", "TRIES", "WHY"]);
    for letter in document.get("dead").and_then(Value::as_array).into_iter().flatten() {
        let cells = ["event", "type", "timestamp", "given_up_at", "tries", "why"].map(|name| cell(letter, name));
        table.row(&cells.each_ref().map(String::as_str));
    }
    table.print()
}
