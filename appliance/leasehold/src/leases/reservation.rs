//! `reservation create`, `reservation list`, `reservation show`, `reservation extend`, `reservation return`.

use super::lease::{self, Wanted};
use super::{NewEnd, get, property, run, send, uuid, when};
use crate::output::{Asking, Output, Table, cell, json};
use crate::show::line;
use clap::Subcommand;
use http::Method;
use leasehold_api::url::escaped;
use serde_json::{Map, Value, json};

const RESERVATIONS: &str = "/appliance/v1/reservations";

#[derive(Subcommand)]
pub(crate) enum ReservationCommand {
    /// Reserve several nodes in one decision: all of them, or none, with a word on what is short and when it would not be.
    Create {
        /// How many nodes, and of which resource class: 4, or 4:gpu. More than one kind may be named.
        #[arg(required = true, value_name = "COUNT[:CLASS]", value_parser = kind)]
        nodes: Vec<Kind>,
        /// The lessee: name or id of the project.
        #[arg(long)]
        project: String,
        /// A trait that each of the nodes has; may be given more than once.
        #[arg(long = "trait", value_name = "TRAIT")]
        traits: Vec<String>,
        /// A property that each of the nodes has, such as cpus=8; may be given more than once.
        #[arg(long, value_name = "NAME=VALUE", value_parser = property)]
        node_property: Vec<(String, Value)>,
        #[command(flatten)]
        terms: Wanted,
        #[command(flatten)]
        asking: Asking,
    },
    /// Reservations of which a lease goes on, a line each.
    List {
        /// Only of this lessee: name or id of the project.
        #[arg(long)]
        project: Option<String>,
        #[command(flatten)]
        asking: Asking,
    },
    /// One reservation and its leases.
    Show {
        /// UUID.
        reservation: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Move the end of all leases of a reservation.
    Extend {
        /// UUID.
        reservation: String,
        #[command(flatten)]
        end: NewEnd,
        #[command(flatten)]
        asking: Asking,
    },
    /// Give all leases of a reservation back.
    Return {
        /// UUID.
        reservation: String,
        #[command(flatten)]
        asking: Asking,
    },
}

/// So many nodes of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    count: u32,
    class: Option<String>,
}

fn kind(text: &str) -> Result<Kind, String> {
    let (count, class) = match text.split_once(':') {
        Some((count, class)) if !class.is_empty() => (count, Some(class.to_owned())),
        Some(_) => return Err("write how many and of which class, such as 4:gpu".into()),
        None => (text, None),
    };
    let count = count.parse().ok().filter(|count| *count > 0);
    let count = count.ok_or("write how many, and of which class, such as 4 or 4:gpu")?;
    Ok(Kind { count, class })
}

/// Runs a command about reservations.
pub(crate) fn main(command: &ReservationCommand) -> anyhow::Result<()> {
    run(async {
        match command {
            ReservationCommand::Create { nodes, project, traits, node_property, terms, asking } => {
                let properties: Map<String, Value> = node_property.iter().cloned().collect();
                let need = |kind: &Kind| json!({"count": kind.count, "resource_class": kind.class, "traits": traits, "properties": properties});
                let mut body = Map::new();
                body.insert("nodes".into(), nodes.iter().map(need).collect());
                terms.put(&mut body)?;
                tell(asking, &send(asking, Some(project), Method::POST, RESERVATIONS, body.into()).await?)
            }
            ReservationCommand::List { project, asking } => {
                let document = send(asking, project.as_deref(), Method::GET, RESERVATIONS, Value::Null).await?;
                list(asking, &document)
            }
            ReservationCommand::Show { reservation, asking } => tell(asking, &get(asking, &path(reservation)).await?),
            ReservationCommand::Extend { reservation, end, asking } => {
                let path = path(reservation);
                let body = json!({"end_time": end.of(&get(asking, &path).await?)?});
                tell(asking, &send(asking, None, Method::PATCH, &path, body).await?)
            }
            ReservationCommand::Return { reservation, asking } => give_back(asking, reservation).await,
        }
    })
}

fn path(reservation: &str) -> String {
    format!("{RESERVATIONS}/{}", escaped(reservation))
}

/// All of it; what its leases are then. Those that had not begun are over, and the reservation may be gone with them.
async fn give_back(asking: &Asking, reservation: &str) -> anyhow::Result<()> {
    let path = path(reservation);
    let mut document = get(asking, &path).await?;
    send(asking, None, Method::DELETE, &path, Value::Null).await?;
    for lease in document.get_mut("leases").and_then(Value::as_array_mut).into_iter().flatten() {
        *lease = get(asking, &lease::path(uuid(lease)?)).await?;
    }
    tell(asking, &document)
}

fn tell(asking: &Asking, document: &Value) -> anyhow::Result<()> {
    if asking.output == Output::Json {
        return json(document);
    }
    for name in ["uuid", "name", "start_time", "end_time"] {
        line(&format!(
            "{name:<12}{}",
            if name.ends_with("_time") { when(document, name) } else { cell(document, name) }
        ))?;
    }
    line("")?;
    lease::rows(document).print()
}

fn list(asking: &Asking, document: &Value) -> anyhow::Result<()> {
    if asking.output == Output::Json {
        return json(document);
    }
    let mut table = Table::new(&["UUID", "NAME", "LESSEE", "LEASES", "START", "END"]);
    for reservation in document.get("reservations").and_then(Value::as_array).into_iter().flatten() {
        let leases = reservation.get("leases").and_then(Value::as_array);
        let first = leases.and_then(|leases| leases.first()).unwrap_or(&Value::Null);
        table.row(&[
            &cell(reservation, "uuid"),
            &cell(reservation, "name"),
            &super::named(first, "project", "project_id"),
            &leases.map_or(0, Vec::len).to_string(),
            &when(reservation, "start_time"),
            &when(reservation, "end_time"),
        ]);
    }
    table.print()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_nodes_are_read() {
        assert_eq!(kind("4"), Ok(Kind { count: 4, class: None }));
        assert_eq!(kind("4:gpu"), Ok(Kind { count: 4, class: Some("gpu".into()) }));
        assert_eq!(kind("1:a:b"), Ok(Kind { count: 1, class: Some("a:b".into()) }));
        for wrong in ["", "0", "-1", "gpu", "4:", ":gpu", "1.5:gpu"] {
            assert!(kind(wrong).is_err(), "{wrong}");
        }
    }
}
