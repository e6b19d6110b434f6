//! `lease list`, `lease show`, `lease create`, `lease claim`, `lease extend`, `lease return`.

use super::{NewEnd, When, get, named, node, property, put, query, run, send, tell, uuid, when};
use crate::output::{Asking, Output, Table, cell, json};
use clap::{Args, Subcommand};
use http::Method;
use leasehold_api::url::escaped;
use serde_json::{Map, Value, json};

const LEASES: &str = "/lease/v1/leases";

#[derive(Subcommand)]
pub(crate) enum LeaseCommand {
    /// Leases, a line each: those that are not over, or of the status that is asked for.
    List {
        /// Only of this node: name or UUID.
        #[arg(long)]
        node: Option<String>,
        /// Only of nodes of this resource class.
        #[arg(long)]
        class: Option<String>,
        /// Only of this lessee: name or id of the project.
        #[arg(long)]
        project: Option<String>,
        /// Only leases that this project gave: name or id.
        #[arg(long)]
        owner: Option<String>,
        /// created, active, wait_fulfill, wait_expire, wait_cancel, expired, deleted, error, or any.
        #[arg(long)]
        status: Option<String>,
        #[command(flatten)]
        asking: Asking,
    },
    /// One lease.
    Show {
        /// Name or UUID.
        lease: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Give a project a node, without an offer.
    Create {
        /// The node: name or UUID.
        node: String,
        /// The lessee: name or id of the project.
        project: String,
        /// Who gives it: name or id of the project. Without it: the node's owner.
        #[arg(long)]
        owner: Option<String>,
        #[command(flatten)]
        terms: Wanted,
        #[command(flatten)]
        asking: Asking,
    },
    /// Claim an offer for a project.
    Claim {
        /// The offer: name or UUID.
        offer: String,
        /// The lessee: name or id of the project.
        #[arg(long)]
        project: String,
        #[command(flatten)]
        terms: Wanted,
        #[command(flatten)]
        asking: Asking,
    },
    /// Move the end of a lease.
    Extend {
        /// Name or UUID.
        lease: String,
        #[command(flatten)]
        end: NewEnd,
        #[command(flatten)]
        asking: Asking,
    },
    /// Give a lease back, or call it off. Its node is taken back and wiped.
    Return {
        /// Name or UUID.
        lease: String,
        #[command(flatten)]
        asking: Asking,
    },
}

/// What a new lease is like.
#[derive(Args)]
pub(crate) struct Wanted {
    /// What it is called.
    #[arg(long)]
    name: Option<String>,
    /// What it is for.
    #[arg(long)]
    purpose: Option<String>,
    #[command(flatten)]
    when: When,
    /// Something that the lease says; may be given more than once.
    #[arg(long, value_name = "NAME=VALUE", value_parser = property)]
    property: Vec<(String, Value)>,
}

impl Wanted {
    pub(super) fn put(&self, body: &mut Map<String, Value>) -> anyhow::Result<()> {
        put(body, "name", self.name.as_deref());
        put(body, "purpose", self.purpose.as_deref());
        if !self.property.is_empty() {
            body.insert("properties".into(), self.property.iter().cloned().collect());
        }
        self.when.put(body)
    }
}

/// Runs a command about leases.
pub(crate) fn main(command: &LeaseCommand) -> anyhow::Result<()> {
    run(async {
        match command {
            LeaseCommand::List { node, class, project, owner, status, asking } => {
                let parameters = [
                    ("view", Some("all")),
                    ("resource_uuid", node.as_deref()),
                    ("resource_class", class.as_deref()),
                    ("project_id", project.as_deref()),
                    ("owner_id", owner.as_deref()),
                    ("status", status.as_deref()),
                ];
                list(asking, &get(asking, &query(LEASES, &parameters)).await?)
            }
            LeaseCommand::Show { lease, asking } => tell(asking, &get(asking, &path(lease)).await?),
            LeaseCommand::Create { node, project, owner, terms, asking } => {
                let mut body = Map::new();
                put(&mut body, "resource_uuid", Some(node));
                put(&mut body, "project_id", Some(project));
                terms.put(&mut body)?;
                tell(asking, &send(asking, owner.as_deref(), Method::POST, LEASES, body.into()).await?)
            }
            LeaseCommand::Claim { offer, project, terms, asking } => {
                let mut body = Map::new();
                terms.put(&mut body)?;
                let path = format!("/lease/v1/offers/{}/claim", escaped(offer));
                tell(asking, &send(asking, Some(project), Method::POST, &path, body.into()).await?)
            }
            LeaseCommand::Extend { lease, end, asking } => {
                let found = get(asking, &path(lease)).await?;
                let body = json!({"end_time": end.of(&found)?});
                tell(asking, &send(asking, None, Method::PATCH, &path(uuid(&found)?), body).await?)
            }
            LeaseCommand::Return { lease, asking } => {
                let found = get(asking, &path(lease)).await?;
                let path = path(uuid(&found)?);
                send(asking, None, Method::DELETE, &path, Value::Null).await?;
                tell(asking, &get(asking, &path).await?)
            }
        }
    })
}

pub(super) fn path(lease: &str) -> String {
    format!("{LEASES}/{}", escaped(lease))
}

fn list(asking: &Asking, document: &Value) -> anyhow::Result<()> {
    match asking.output {
        Output::Json => json(document),
        Output::Table => rows(document).print(),
    }
}

/// The leases of a document, a row each.
pub(super) fn rows(document: &Value) -> Table {
    let mut table =
        Table::new(&["UUID", "NAME", "NODE", "CLASS", "LESSEE", "OWNER", "STATUS", "START", "END", "REASON"]);
    for lease in document.get("leases").and_then(Value::as_array).into_iter().flatten() {
        table.row(&[
            &cell(lease, "uuid"),
            &cell(lease, "name"),
            &node(lease),
            &cell(lease, "resource_class"),
            &named(lease, "project", "project_id"),
            &named(lease, "owner", "owner_id"),
            &cell(lease, "status"),
            &when(lease, "start_time"),
            &when(lease, "end_time"),
            &cell(lease, "leasehold_reason"),
        ]);
    }
    table
}
