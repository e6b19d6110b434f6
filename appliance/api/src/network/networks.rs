//! `/v2.0/networks`.

use super::fault::{Asker, Fault};
use super::list::{Asked, Document, Listed};
use super::members::{Body, Members, Said};
use super::target::OnNetwork;
use super::{about, history, if_match, listed_at, made, may, new_about, parsed};
use crate::Api;
use crate::identity::base::Base;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use leasehold_domain::View;
use leasehold_domain::command::{Answer, Command};
use leasehold_domain::id::NetworkId;
use leasehold_domain::network::{Network, NetworkCommand, NetworkRow, NetworkSettings};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

const ATTRIBUTES: [&str; 24] = [
    "id",
    "name",
    "description",
    "project_id",
    "shared",
    "router:external",
    "admin_state_up",
    "status",
    "mtu",
    "port_security_enabled",
    "subnets",
    "tags",
    "availability_zones",
    "availability_zone_hints",
    "ipv4_address_scope",
    "ipv6_address_scope",
    "is_default",
    "provider:network_type",
    "provider:physical_network",
    "provider:segmentation_id",
    "created_at",
    "updated_at",
    "revision_number",
    "vlan_transparent",
];

/// What is there for those whom policy lets see it.
const MASKED: [&str; 3] = ["provider:network_type", "provider:physical_network", "provider:segmentation_id"];

pub(super) fn document(view: &View, asker: &Asker, network: &Network) -> Document {
    let settings = &network.settings;
    let mut subnets: Vec<_> = view.network.subnets_of(network.id).collect();
    subnets.sort_by_key(|subnet| (subnet.created_at, subnet.id));
    let mut document = about(&settings.about, network.id);
    for (name, value) in [
        ("shared", json!(settings.shared)),
        ("router:external", json!(settings.external)),
        ("admin_state_up", json!(settings.admin_state_up)),
        ("status", json!(if settings.admin_state_up { "ACTIVE" } else { "DOWN" })),
        ("mtu", json!(settings.mtu)),
        // Nothing filters what a machine of its own sends.
        ("port_security_enabled", json!(false)),
        ("subnets", subnets.iter().map(|subnet| subnet.id.to_string()).collect()),
        ("availability_zones", json!([])),
        ("availability_zone_hints", json!([])),
        ("ipv4_address_scope", Value::Null),
        ("ipv6_address_scope", Value::Null),
        ("is_default", json!(false)),
        ("vlan_transparent", Value::Null),
        ("provider:network_type", json!(settings.network_type)),
        ("provider:physical_network", json!(settings.physical_network)),
        ("provider:segmentation_id", json!(settings.segmentation_id)),
    ] {
        document.insert(name.to_owned(), value);
    }
    history(&mut document, network.revision, network.created_at, network.updated_at);
    let target = OnNetwork::itself(settings);
    document
        .retain(|name, _| !MASKED.contains(&name.as_str()) || asker.allows(&format!("get_network:{name}"), &target));
    document
}

/// The network of this id, if it is there for the caller.
pub(super) fn seen(view: &View, asker: &Asker, ident: &str) -> Result<Arc<Network>, Fault> {
    let found = parsed(ident).and_then(|id| view.network.network(NetworkId(id)));
    let found = found.filter(|network| asker.shows("get_network", network.id.0, &OnNetwork::itself(&network.settings)));
    found.cloned().ok_or_else(|| Fault::not_found("Network", ident))
}

pub(super) async fn list(State(api): State<Api>, asker: Asker, base: Base, asked: Asked) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let mut networks: Vec<_> = view.network.networks().collect();
    networks.retain(|network| asker.allows("get_network", &OnNetwork::itself(&network.settings)));
    networks.sort_by_key(|network| (network.created_at, network.id));
    let listed = Listed { name: "networks", url: listed_at(&base, "networks"), attributes: &ATTRIBUTES };
    asked.page(&listed, networks.into_iter().map(|network| document(&view, &asker, network))).map(Json)
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let network = seen(&view, &asker, &ident)?;
    Ok(Json(json!({"network": asked.select(document(&view, &asker, &network))})))
}

/// Takes what is said of a network from a body, over what is so now.
fn read(members: &mut Members, now: &NetworkSettings) -> Result<NetworkSettings, Fault> {
    let mut settings = now.clone();
    settings.shared = members.flag("shared")?.over(now.shared, false);
    settings.external = members.flag("router:external")?.over(now.external, false);
    settings.admin_state_up = members.flag("admin_state_up")?.over(now.admin_state_up, true);
    let mtu = members.number("mtu")?.over(now.mtu.into(), 1500);
    settings.mtu =
        u16::try_from(mtu).map_err(|_| Fault::bad_request(format!("Invalid input for mtu. Reason: '{mtu}'.")))?;
    let vlan = match members.number("provider:segmentation_id")? {
        Said::Nothing => now.segmentation_id,
        Said::Null => None,
        Said::This(vlan) => Some(u16::try_from(vlan).map_err(|_| {
            Fault::bad_request(format!("Invalid input for provider:segmentation_id. Reason: '{vlan}' is no VLAN."))
        })?),
    };
    settings.segmentation_id = vlan;
    settings.physical_network = match members.text("provider:physical_network")? {
        Said::Nothing => now.physical_network.clone(),
        Said::Null => None,
        Said::This(name) => Some(name),
    };
    settings.network_type = match members.text("provider:network_type")? {
        Said::Nothing | Said::Null if vlan.is_some() => "vlan".into(),
        Said::Nothing => now.network_type.clone(),
        Said::Null => "flat".into(),
        Said::This(kind) => kind,
    };
    members.only(
        "port_security_enabled",
        &[json!(false)],
        "nothing filters what a bare machine sends: only false is possible",
    )?;
    members.only("is_default", &[json!(false)], "there is no default network here")?;
    members.only("vlan_transparent", &[json!(false)], "VLAN transparency is not known here")?;
    members.only("availability_zone_hints", &[json!([])], "there are no availability zones here")?;
    members.only("dns_domain", &[json!("")], "there is no DNS service here")?;
    members.only("qos_policy_id", &[], "there are no QoS policies here")?;
    Ok(settings)
}

/// The box's own VLANs, on whichever of its switches, are no user's.
fn check_vlan(api: &Api, before: Option<u16>, settings: &NetworkSettings) -> Result<(), Fault> {
    match settings.segmentation_id.filter(|vlan| before != Some(*vlan) && api.engine.switches.reserves(*vlan)) {
        Some(vlan) => Err(Fault::bad_request(format!(
            "Invalid input for provider:segmentation_id. Reason: the appliance keeps machines on VLAN {vlan} itself."
        ))),
        None => Ok(()),
    }
}

pub(super) async fn create(State(api): State<Api>, asker: Asker, body: Body) -> Result<Response, Fault> {
    let mut members = Members::of(body, "network")?;
    let about = new_about(&mut members, &asker)?;
    let settings = NetworkSettings { about, ..NetworkSettings::default() };
    let settings = read(&mut members, &settings)?;
    let target = OnNetwork::itself(&settings);
    may(&asker, "create_network", &target)?;
    let usual = [
        ("shared", json!(false)),
        ("router:external", json!(false)),
        ("is_default", json!(false)),
        ("port_security_enabled", json!(false)),
    ];
    members.check_policy(&asker, "create_network", &usual, &target)?;
    members.end()?;
    check_vlan(&api, None, &settings)?;
    let id = NetworkId(Uuid::new_v4());
    let limit = api.tenants.networks;
    let command = NetworkCommand::CreateNetwork { id, settings: Box::new(settings), limit };
    let network = submit(&api, command, &asker).await?;
    Ok(made("network", document(&api.engine.view(), &asker, &network)))
}

async fn submit(api: &Api, command: NetworkCommand, asker: &Asker) -> Result<Arc<Network>, Fault> {
    match api.submit(Command::Network(command), asker.actor()).await?.answer {
        Answer::Network(NetworkRow::Network(network)) => Ok(network),
        _ => Err(super::no_answer()),
    }
}

pub(super) async fn change(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let network = seen(&view, &asker, &ident)?;
    if_match(&headers, network.revision)?;
    let mut members = Members::of(body, "network")?;
    let now = &network.settings;
    let target = OnNetwork::itself(now);
    may(&asker, "update_network", &target)?;
    members.check_policy(&asker, "update_network", &[], &target)?;
    let mut settings = read(&mut members, now)?;
    settings.about = super::changed_about(&mut members, &now.about, network.id)?;
    members.end()?;
    check_vlan(&api, now.segmentation_id, &settings)?;
    let command =
        NetworkCommand::ChangeNetwork { id: network.id, revision: network.revision, settings: Box::new(settings) };
    let network = submit(&api, command, &asker).await?;
    Ok(Json(json!({"network": document(&api.engine.view(), &asker, &network)})))
}

pub(super) async fn remove(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
) -> Result<StatusCode, Fault> {
    let network = seen(&api.engine.view(), &asker, &ident)?;
    may(&asker, "delete_network", &OnNetwork::itself(&network.settings))?;
    let command = NetworkCommand::DeleteNetwork { id: network.id };
    api.submit(Command::Network(command), asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
