//! `/v1/nodes/{node}/vifs`: ports of networks on the node's network cards.
//!
//! A VIF is the id of a port of the network API. Attached, the port has the card's MAC address and the node as its host,
//! and the card shows it as `internal_info.tenant_vif_port_id`. Where no switch is
//! configured for a card, `validate` says that it is not isolated.

use super::asked::{Asked, Body, object};
use super::version::needs;
use crate::Api;
use crate::error::ApiError;
use crate::network::allows_port;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use leasehold_domain::View;
use leasehold_domain::command::Command;
use leasehold_domain::driver::Interface;
use leasehold_domain::id::{PortId, PortgroupId, TenantPortId};
use leasehold_domain::network::{NetworkCommand, Place, TenantPort, vif_of, vifs_of};
use leasehold_domain::node::Node;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use uuid::Uuid;

const SINCE: u16 = 28;
/// From this version on a VIF may be put on a card or group of one's choice.
const CHOICE: u16 = 67;

pub(super) async fn list(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, SINCE, "The list of VIFs")?;
    let view = api.engine.view();
    let (node, _) = asked.node(&view, &ident, "baremetal:node:vif:list")?;
    let mut vifs: Vec<_> = vifs_of(&view, node.id).collect();
    vifs.sort_by_key(|vif| (vif.created_at, vif.id));
    let vifs: Vec<Value> = vifs.iter().map(|vif| json!({"id": vif.id})).collect();
    Ok(Json(json!({"vifs": vifs})))
}

/// A port that is there for the caller and that he may change: else whoever knows its id could have its address.
fn usable(view: &View, asked: &Asked, id: &str) -> Result<Arc<TenantPort>, ApiError> {
    let caller = &asked.caller;
    let may = |rule: &str, port: &TenantPort| allows_port(&caller.policy, &caller.credentials, rule, view, port);
    let found = Uuid::parse_str(id).ok().and_then(|id| view.network.port(TenantPortId(id)));
    let port = found.filter(|port| may("get_port", port));
    let port = port.ok_or_else(|| ApiError::bad_request(format!("Neutron port {id} not found.")))?;
    if may("update_port", port) {
        return Ok(port.clone());
    }
    Err(crate::access::forbidden("update_port"))
}

fn uuid_member(body: &Map<String, Value>, name: &str) -> Result<Option<Uuid>, ApiError> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_str()
            .and_then(|text| Uuid::parse_str(text).ok())
            .map(Some)
            .ok_or_else(|| ApiError::bad_request(format!("Expected a UUID for {name} but received {value}."))),
    }
}

pub(super) async fn attach(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    needs(asked.version, SINCE, "The attachment of VIFs")?;
    let view = api.engine.view();
    let (node, actor) = asked.node(&view, &ident, "baremetal:node:vif:attach")?;
    let body = object(body)?;
    let id = body.get("id").and_then(Value::as_str);
    let id = id.ok_or_else(|| ApiError::bad_request("Error validating the VIF: 'id' is a required property."))?;
    let (card, group) = (uuid_member(&body, "port_uuid")?, uuid_member(&body, "portgroup_uuid")?);
    if (card.is_some() || group.is_some()) && asked.version.0 < CHOICE {
        return Err(ApiError::bad_request(format!(
            "port_uuid and portgroup_uuid are taken from API version 1.{CHOICE} on."
        )));
    }
    let place = match (card, group) {
        (None, None) => None,
        (Some(card), None) => Some(Place::Port(PortId(card))),
        (None, Some(group)) => Some(Place::Portgroup(PortgroupId(group))),
        (Some(_), Some(_)) => {
            return Err(ApiError::bad_request("Cannot specify both port_uuid and portgroup_uuid."));
        }
    };
    let port = usable(&view, &asked, id)?.id;
    let command = NetworkCommand::Attach { node: node.id, port, place };
    api.submit(Command::Network(command), actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn detach(
    State(api): State<Api>,
    asked: Asked,
    Path((ident, vif)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    needs(asked.version, SINCE, "The detachment of VIFs")?;
    let (node, actor) = asked.node(&api.engine.view(), &ident, "baremetal:node:vif:detach")?;
    // Whoever works with the node may clear it, whosever the port is.
    let port = Uuid::parse_str(&vif).map(TenantPortId).map_err(|_| {
        ApiError::bad_request(format!(
            "Unable to detach VIF {vif} from node {} because it is not attached to it.",
            node.id
        ))
    })?;
    api.submit(Command::Network(NetworkCommand::Detach { node: node.id, port }), actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a card or a port group shows of its attachment (`internal_info`).
pub(super) fn attached(view: &View, place: Place) -> Map<String, Value> {
    let vif = view.network.attached_to(place).filter(|vif| vif_of(view, vif).is_some());
    vif.map(|vif| ("tenant_vif_port_id".to_owned(), json!(vif.id))).into_iter().collect()
}

/// What `validate` says of the node's networks: true, and yet there is something to know.
pub(super) fn verdict(api: &Api, view: &View, node: &Node) -> Value {
    if node.settings.interface(Interface::Network) != "flat" {
        return json!({"result": true});
    }
    const ISOLATION: &str = "Isolation on switches is not done: no switch of the configuration is named for all of the \
                             node's ports. Attachments are recorded and given their address by DHCP where the node \
                             stands.";
    let isolated = match api.engine.switches.validate(view, node.id) {
        Ok(isolated) => isolated,
        Err(why) => return json!({"result": false, "reason": why}),
    };
    let remarks = vifs_of(view, node.id).filter_map(|vif| remark(api, view, vif));
    let isolation = (!isolated).then(|| ISOLATION.to_owned());
    let reason: Vec<String> = isolation.into_iter().chain(remarks).collect();
    if reason.is_empty() { json!({"result": true}) } else { json!({"result": true, "reason": reason.join(" ")}) }
}

/// The address that DHCP cannot give.
fn remark(api: &Api, view: &View, vif: &TenantPort) -> Option<String> {
    let addresses = &vif.settings.addresses;
    let wires = &api.tenants.wires;
    let served = addresses.iter().any(|fixed| wires.iter().any(|wire| wire.has_host(fixed.address)));
    if addresses.is_empty() || served {
        return None;
    }
    let network = view.network.network(vif.settings.network);
    let name = network.map(|network| network.settings.about.name.clone()).unwrap_or_default();
    let list = |texts: Vec<String>| texts.join(", ");
    Some(format!(
        "The address {} of the port {} on the network '{name}' is in none of the networks that machines get addresses in \
         here ({}): the machine gets another one by DHCP, and has this one only if its system sets it.",
        list(addresses.iter().map(|fixed| fixed.address.to_string()).collect()),
        vif.id,
        list(wires.iter().map(ToString::to_string).collect()),
    ))
}
