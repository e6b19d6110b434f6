//! `/v1/nodes`: the nodes that the caller sees, and what of them is offered and leased.

use super::fault::{Asker, Fault};
use super::filter::{Asked, Wanted};
use super::{document, may, whose};
use crate::Api;
use crate::access::OfNode;
use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use leasehold_domain::View;
use leasehold_domain::facet::Facet;
use leasehold_domain::lease::{LeaseState, Span};
use leasehold_domain::node::Node;
use leasehold_domain::provision::ProvisionState;
use serde_json::{Value, json};
use std::sync::Arc;

const SEE: &str = "baremetal:node:get";
const LIST_ALL: &str = "baremetal:node:list_all";

pub(super) async fn list(State(api): State<Api>, asker: Asker, asked: Asked) -> Result<Json<Value>, Fault> {
    may(&asker, "esi_leap:node:get_all", &())?;
    asked.only(&["resource_class", "owner", "lessee"])?;
    let view = api.engine.view();
    let class = asked.text("resource_class");
    let (owner, lessee) = (asked.project("owner", &view, &asker), asked.project("lessee", &view, &asker));
    let is = |wanted: &Wanted<String>, project: Option<&String>| match project {
        Some(project) => wanted.takes(project),
        None => *wanted == Wanted::Anything,
    };
    let now = api.engine.store.now();
    let nodes = source(&view, &asker, [&owner, &lessee], class).filter(|node| {
        let settings = &node.settings;
        class.is_none_or(|class| settings.resource_class.as_deref() == Some(class))
            && is(&owner, settings.owner.as_ref())
            && is(&lessee, settings.lessee.as_ref())
            && asker.allows(SEE, &OfNode(node))
    });
    let rows: Vec<Value> = nodes.map(|node| row(&view, &asker, node, now)).collect();
    Ok(Json(json!({"nodes": rows})))
}

/// Where they are found; more may come of it than is asked for. Who may not list all is shown his own project's.
fn source<'a>(
    view: &'a View,
    asker: &Asker,
    named: [&Wanted<String>; 2],
    class: Option<&str>,
) -> Box<dyn Iterator<Item = &'a Arc<Node>> + 'a> {
    let all = asker.allows(LIST_ALL, &());
    let project = match all {
        true => named.iter().find_map(|wanted| wanted.this()),
        false => asker.credentials.project_id.as_ref(),
    };
    let class = class.filter(|_| all).map(|class| Facet::Class(class.to_owned()));
    match project.map(|project| Facet::Project(project.clone())).or(class) {
        Some(facet) => Box::new(view.nodes_of(facet, None)),
        None if all => Box::new(view.nodes_after(None)),
        None => Box::new(std::iter::empty()),
    }
}

fn row(view: &View, asker: &Asker, node: &Node, now: Timestamp) -> Value {
    let (settings, level) = (&node.settings, (node.id, None));
    let (mut current, mut future) = (None, Vec::new());
    for offer in view.lease.offers_meeting(level, Span::ALL).filter(|offer| whose::sees(asker, view, &***offer)) {
        if offer.span.start > now {
            future.push(offer.id.to_string());
        } else if offer.span.has(now) {
            current = Some(offer.id.to_string());
        }
    }
    let leases = view.lease.leases_meeting(level, Span::ALL);
    let leases: Vec<String> = leases
        .filter(|lease| lease.state == LeaseState::Created && whose::sees(asker, view, &***lease))
        .map(|lease| lease.id.to_string())
        .collect();
    let mut row = json!({
        "name": settings.name,
        "uuid": node.id.to_string(),
        "owner": document::project_name(view, settings.owner.as_deref()),
        "lessee": document::project_name(view, settings.lessee.as_deref()),
        // A text, as esi-leap has it.
        "maintenance": if node.maintenance { "True" } else { "False" },
        "provision_state": node.provision_state.name(),
        "target_provision_state": node.target_provision_state.map(ProvisionState::name),
        "power_state": node.power_state.map(|state| state.name()),
        "target_power_state": node.target_power_state.map(|target| target.ends_in().name()),
        "properties": document::condensed(node),
        "resource_class": settings.resource_class,
        "future_offers": future,
        "future_leases": leases,
    });
    if let Some(offer) = current {
        row["offer_uuid"] = offer.into();
    }
    if let Some(lease) = settings.properties.get("lease_uuid") {
        row["lease_uuid"] = lease.clone();
    }
    row
}
