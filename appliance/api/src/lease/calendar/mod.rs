//! `GET /appliance/v1/calendar[?from=…&to=…&nodes=…&class=…&limit=…&after=…]`: nodes and their time: what is offered, leased
//! and free.
//!
//! A node is there for who sees it, or an offer or a lease of it. Of leases that are not his he is told that somebody has
//! the time, and nothing else; where he sees only offers, no more than of their time. What is over is shown from the disk.
//! Without times the next thirty days are meant. Nodes come in pages, oldest first: `next` is the `after` of the next page.

pub(super) mod feed;
mod ical;
mod node;

use super::fault::{Asker, Fault};
use super::filter::Asked;
use super::whose::node_called;
use super::{may, time};
use crate::Api;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::SignedDuration;
use leasehold_domain::id::NodeId;
use leasehold_domain::lease::Span;
use leasehold_domain::node::Node;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio::sync::Semaphore;
use uuid::Uuid;

const RULE: &str = "appliance:calendar";
/// Nodes of a page when nothing is said, and at most.
const PAGE: usize = 50;
const LARGEST_PAGE: usize = 200;
/// Nodes that may be named.
const MOST_NAMED: usize = 200;
/// Requests at a time that read what is over: each takes a processor.
static OF_THE_PAST: Semaphore = Semaphore::const_new(1);
const USUAL: SignedDuration = SignedDuration::from_hours(30 * 24);
const LONGEST: SignedDuration = SignedDuration::from_hours(366 * 24);

pub(super) async fn show(State(api): State<Api>, asker: Asker, asked: Asked) -> Result<Json<Value>, Fault> {
    may(&asker, RULE, &())?;
    asked.only(&["from", "to", "nodes", "class", "limit", "after"])?;
    let (view, now) = (api.engine.view(), api.engine.store.now());
    let window = window(&asked, now)?;
    let limit = match asked.text("limit") {
        None => PAGE,
        Some(text) => {
            let limit = text.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
            limit.ok_or_else(|| Fault::bad_request(format!("limit must be a number from 1 to {LARGEST_PAGE}.")))?
        }
    };
    let after = match asked.text("after") {
        None => None,
        Some(text) => {
            let id = Uuid::parse_str(text).ok().map(NodeId).filter(|id| view.node(*id).is_some());
            let wrong = "after is what the page before names as next; if that node is gone, begin anew.";
            Some(id.ok_or_else(|| Fault::bad_request(wrong))?)
        }
    };
    let named = match asked.text("nodes") {
        None => None,
        Some(text) => {
            let names: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
            if names.len() > MOST_NAMED {
                return Err(Fault::bad_request(format!("nodes: {MOST_NAMED} may be named at a time.")));
            }
            let ids = names.into_iter().filter_map(|name| node_called(&view, name).map(|node| node.id));
            Some(ids.collect::<BTreeSet<NodeId>>())
        }
    };
    let class = asked.text("class");
    let wanted = |node: &Node| {
        named.as_ref().is_none_or(|named| named.contains(&node.id))
            && (class.is_none() || class == node.settings.resource_class.as_deref())
    };
    let (mut rows, mut next) = (Vec::new(), None);
    for node in view.nodes_after(after).filter(|node| wanted(node)) {
        let Some(row) = node::Row::of(&view, &asker, node, window, now) else { continue };
        // This one is the first of the next page.
        if rows.len() == limit {
            next = rows.last().map(|row: &node::Row| row.id());
            break;
        }
        rows.push(row);
    }
    let _turn = if window.start < now {
        let closed = |_| Fault::new(StatusCode::SERVICE_UNAVAILABLE, "The program is ending.");
        Some(OF_THE_PAST.acquire().await.map_err(closed)?)
    } else {
        None
    };
    let mut nodes = Vec::new();
    for row in rows {
        nodes.push(row.with_history(&api, &view, &asker).await?);
    }
    Ok(Json(json!({
        "from": time::shown(window.start),
        "to": time::shown(window.end),
        "nodes": nodes,
        "next": next.map(|id| id.to_string()),
    })))
}

fn window(asked: &Asked, now: jiff::Timestamp) -> Result<Span, Fault> {
    let from = asked.time("from")?.unwrap_or(now);
    let to = match asked.time("to")? {
        Some(to) => to,
        None => from.saturating_add(USUAL).map_err(|_| Fault::bad_request("from: that is too far."))?,
    };
    let window = Span::new(from, to).map_err(|empty| Fault::bad_request(format!("from and to: {empty}")))?;
    match window.length() > LONGEST {
        true => Err(Fault::bad_request("Ask for 366 days at most.")),
        false => Ok(window),
    }
}
