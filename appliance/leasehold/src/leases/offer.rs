//! `offer list`, `offer show`, `offer create`, `offer delete`.

use super::{When, get, node, property, put, query, run, send, tell, uuid, when};
use crate::output::{Asking, Output, Table, cell, json};
use clap::Subcommand;
use http::Method;
use leasehold_api::url::escaped;
use serde_json::{Map, Value};

const OFFERS: &str = "/lease/v1/offers";

#[derive(Subcommand)]
pub(crate) enum OfferCommand {
    /// Offers, a line each: those that are open, or of the status that is asked for.
    List {
        /// Only of this node: name or UUID.
        #[arg(long)]
        node: Option<String>,
        /// Only of nodes of this resource class.
        #[arg(long)]
        class: Option<String>,
        /// Only offers of this project: name or id.
        #[arg(long)]
        project: Option<String>,
        /// available, expired, deleted, or any.
        #[arg(long)]
        status: Option<String>,
        #[command(flatten)]
        asking: Asking,
    },
    /// One offer and what of its time is free.
    Show {
        /// Name or UUID.
        offer: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Offer a node for a time, or from now on.
    Create {
        /// The node: name or UUID.
        node: String,
        /// What the offer is called.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        when: When,
        /// Only this project, and those below it, may claim: name or id. Without it: whoever sees the offer.
        #[arg(long)]
        lessee: Option<String>,
        /// Whose offer it is: name or id. Without it: the node's owner's.
        #[arg(long)]
        project: Option<String>,
        /// Something that the offer says; may be given more than once.
        #[arg(long, value_name = "NAME=VALUE", value_parser = property)]
        property: Vec<(String, Value)>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Withdraw an offer. What was claimed of it stays leased.
    Delete {
        /// Name or UUID.
        offer: String,
        #[command(flatten)]
        asking: Asking,
    },
}

/// Runs a command about offers.
pub(crate) fn main(command: &OfferCommand) -> anyhow::Result<()> {
    run(async {
        match command {
            OfferCommand::List { node, class, project, status, asking } => {
                let parameters = [
                    ("resource_uuid", node.as_deref()),
                    ("resource_class", class.as_deref()),
                    ("project_id", project.as_deref()),
                    ("status", status.as_deref()),
                ];
                list(asking, &get(asking, &query(OFFERS, &parameters)).await?)
            }
            OfferCommand::Show { offer, asking } => tell(asking, &get(asking, &path(offer)).await?),
            OfferCommand::Create { node, name, when, lessee, project, property, asking } => {
                let mut body = Map::new();
                put(&mut body, "resource_uuid", Some(node));
                put(&mut body, "name", name.as_deref());
                put(&mut body, "lessee_id", lessee.as_deref());
                when.put(&mut body)?;
                body.insert("properties".into(), property.iter().cloned().collect());
                tell(asking, &send(asking, project.as_deref(), Method::POST, OFFERS, body.into()).await?)
            }
            OfferCommand::Delete { offer, asking } => {
                let found = get(asking, &path(offer)).await?;
                let path = path(uuid(&found)?);
                send(asking, None, Method::DELETE, &path, Value::Null).await?;
                tell(asking, &get(asking, &path).await?)
            }
        }
    })
}

fn path(offer: &str) -> String {
    format!("{OFFERS}/{}", escaped(offer))
}

fn list(asking: &Asking, document: &Value) -> anyhow::Result<()> {
    if asking.output == Output::Json {
        return json(document);
    }
    let mut table = Table::new(&["UUID", "NAME", "NODE", "CLASS", "OWNER", "STATUS", "START", "END", "LESSEE"]);
    for offer in document.get("offers").and_then(Value::as_array).into_iter().flatten() {
        table.row(&[
            &cell(offer, "uuid"),
            &cell(offer, "name"),
            &node(offer),
            &cell(offer, "resource_class"),
            &super::named(offer, "project", "project_id"),
            &cell(offer, "status"),
            &when(offer, "start_time"),
            &when(offer, "end_time"),
            &super::named(offer, "lessee", "lessee_id"),
        ]);
    }
    table.print()
}
