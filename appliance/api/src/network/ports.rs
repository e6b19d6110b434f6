//! `/v2.0/ports`.

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
use leasehold_domain::id::{SubnetId, TenantPortId};
use leasehold_domain::mac::{BadMac, Mac};
use leasehold_domain::network::{
    Allocation, NetworkCommand, NetworkRow, TenantPort, TenantPortSettings, WantedAddress, vif_of,
};
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use uuid::Uuid;

const ATTRIBUTES: [&str; 26] = [
    "id",
    "name",
    "description",
    "project_id",
    "network_id",
    "mac_address",
    "admin_state_up",
    "status",
    "fixed_ips",
    "device_id",
    "device_owner",
    "binding:host_id",
    "binding:profile",
    "binding:vif_type",
    "binding:vif_details",
    "binding:vnic_type",
    "port_security_enabled",
    "allowed_address_pairs",
    "extra_dhcp_opts",
    "security_groups",
    "tags",
    "created_at",
    "updated_at",
    "revision_number",
    "qos_policy_id",
    "ip_allocation",
];

/// What is there for those whom policy lets see it.
const MASKED: [&str; 4] = ["binding:host_id", "binding:profile", "binding:vif_type", "binding:vif_details"];

fn document(view: &View, asker: &Asker, port: &TenantPort) -> Document {
    let settings = &port.settings;
    let vif = vif_of(view, port);
    // While it is attached, the network card is what the network sees.
    let mac = vif.as_ref().and_then(|vif| vif.mac).unwrap_or(settings.mac);
    let live = settings.admin_state_up && vif.as_ref().is_some_and(|vif| vif.is_live());
    let fixed = settings.addresses.iter().map(|fixed| json!({"subnet_id": fixed.subnet, "ip_address": fixed.address}));
    let mut document = about(&settings.about, port.id);
    for (name, value) in [
        ("network_id", json!(settings.network)),
        ("mac_address", json!(mac.to_string())),
        ("admin_state_up", json!(settings.admin_state_up)),
        ("status", json!(if live { "ACTIVE" } else { "DOWN" })),
        ("fixed_ips", fixed.collect()),
        ("device_id", json!(settings.device_id)),
        ("device_owner", json!(settings.device_owner)),
        ("binding:host_id", json!(settings.host)),
        ("binding:profile", json!(settings.profile)),
        ("binding:vif_type", json!(if settings.host.is_empty() { "unbound" } else { "other" })),
        ("binding:vif_details", json!({})),
        ("binding:vnic_type", json!(settings.vnic_type)),
        ("port_security_enabled", json!(false)),
        ("allowed_address_pairs", json!([])),
        ("extra_dhcp_opts", json!([])),
        ("security_groups", json!([])),
        ("qos_policy_id", Value::Null),
        ("ip_allocation", json!(if settings.addresses.is_empty() { "none" } else { "immediate" })),
    ] {
        document.insert(name.to_owned(), value);
    }
    if let Some(details) = super::trunks::details(view, port) {
        document.insert("trunk_details".into(), details);
    }
    history(&mut document, port.revision, port.created_at, port.updated_at);
    let target = target(view, port);
    document.retain(|name, _| !MASKED.contains(&name.as_str()) || asker.allows(&format!("get_port:{name}"), &target));
    document
}

pub(super) fn target<'a>(view: &'a View, port: &'a TenantPort) -> OnNetwork<'a> {
    let settings = &port.settings;
    let on = OnNetwork::of(view, &settings.about.project, settings.network);
    OnNetwork { device_owner: &settings.device_owner, ..on }
}

/// The port of this id, if it is there for the caller.
pub(super) fn seen(view: &View, asker: &Asker, ident: &str) -> Result<Arc<TenantPort>, Fault> {
    let found = parsed(ident).and_then(|id| view.network.port(TenantPortId(id)));
    let found = found.filter(|port| asker.shows("get_port", port.id.0, &target(view, port)));
    found.cloned().ok_or_else(|| Fault::not_found("Port", ident))
}

pub(super) async fn list(State(api): State<Api>, asker: Asker, base: Base, asked: Asked) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let mut ports: Vec<_> = view.network.ports().collect();
    ports.retain(|port| asker.allows("get_port", &target(&view, port)));
    ports.sort_by_key(|port| (port.created_at, port.id));
    let listed = Listed { name: "ports", url: listed_at(&base, "ports"), attributes: &ATTRIBUTES };
    asked.page(&listed, ports.into_iter().map(|port| document(&view, &asker, port))).map(Json)
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let port = seen(&view, &asker, &ident)?;
    Ok(Json(json!({"port": asked.select(document(&view, &asker, &port))})))
}

/// `fixed_ips` of a body.
fn wanted(entries: &[Value]) -> Result<Vec<WantedAddress>, Fault> {
    let bad = |why: String| Fault::bad_request(format!("Invalid input for fixed_ips. Reason: {why}."));
    entries
        .iter()
        .map(|entry| {
            let members = entry.as_object().ok_or_else(|| bad(format!("'{entry}' is not a dictionary")))?;
            if let Some(unknown) = members.keys().find(|name| !matches!(name.as_str(), "subnet_id" | "ip_address")) {
                return Err(bad(format!("'{unknown}' is not known")));
            }
            let text = |name: &str| members.get(name).and_then(Value::as_str);
            let subnet = match text("subnet_id") {
                Some(text) => {
                    let id = parsed(text).ok_or_else(|| bad(format!("'{text}' is not a valid UUID")))?;
                    Some(SubnetId(id))
                }
                None => None,
            };
            match (text("ip_address").map(|text| (text, text.parse())), subnet) {
                (Some((_, Ok(IpAddr::V4(address)))), subnet) => Ok(WantedAddress::Exactly(subnet, address)),
                (Some((text, Ok(IpAddr::V6(_)))), _) => Err(bad(format!("'{text}': IPv6 is not supported here"))),
                (Some((text, Err(_))), _) => Err(bad(format!("'{text}' is not a valid IP address"))),
                (None, Some(subnet)) => Ok(WantedAddress::Of(subnet)),
                (None, None) => Err(bad("it names neither a subnet_id nor an ip_address".into())),
            }
        })
        .collect()
}

/// An address that no machine has from its maker: locally administered (IEEE 802).
fn made_mac() -> Mac {
    let mut octets = [0; 6];
    for (octet, random) in octets.iter_mut().zip(Uuid::new_v4().as_bytes()) {
        *octet = *random;
    }
    octets[0] = octets[0] & 0xfc | 0x02;
    Mac(octets)
}

/// Takes what is said of a port from a body, over what is so now.
fn read(members: &mut Members, now: &TenantPortSettings) -> Result<(TenantPortSettings, Option<Allocation>), Fault> {
    let mut settings = now.clone();
    settings.mac = match members.text("mac_address")? {
        Said::Nothing => now.mac,
        // Neutron makes a new one.
        Said::Null => made_mac(),
        Said::This(text) => text
            .parse()
            .map_err(|error: BadMac| Fault::bad_request(format!("Invalid input for mac_address. Reason: {error}.")))?,
    };
    settings.admin_state_up = members.flag("admin_state_up")?.over(now.admin_state_up, true);
    for (name, place) in [
        ("device_id", &mut settings.device_id),
        ("device_owner", &mut settings.device_owner),
        ("binding:host_id", &mut settings.host),
    ] {
        let before = std::mem::take(place);
        *place = members.text(name)?.over(before, String::new());
    }
    settings.vnic_type = members.text("binding:vnic_type")?.over(now.vnic_type.clone(), "normal".into());
    if !matches!(settings.vnic_type.as_str(), "normal" | "baremetal") {
        return Err(Fault::bad_request(format!(
            "Invalid input for binding:vnic_type. Reason: '{}' is not known here: normal and baremetal are.",
            settings.vnic_type
        )));
    }
    settings.profile = members.object("binding:profile")?.over(now.profile.clone(), Map::new());
    let addresses = match members.list("fixed_ips")? {
        Said::Nothing => None,
        Said::Null => Some(Allocation::Wanted(Vec::new())),
        Said::This(entries) => Some(Allocation::Wanted(wanted(&entries)?)),
    };
    let unfiltered = "nothing filters what a bare machine sends";
    members.only("port_security_enabled", &[json!(false)], unfiltered)?;
    members.only("security_groups", &[json!([])], unfiltered)?;
    members.only("allowed_address_pairs", &[json!([])], unfiltered)?;
    members.only(
        "extra_dhcp_opts",
        &[json!([])],
        "the appliance's own DHCP decides what a machine boots: further options are not taken",
    )?;
    members.only("qos_policy_id", &[], "there are no QoS policies here")?;
    members.only("dns_name", &[json!("")], "there is no DNS service here")?;
    members.only("dns_domain", &[json!("")], "there is no DNS service here")?;
    members.only("propagate_uplink_status", &[json!(false), json!(true)], "true or false")?;
    Ok((settings, addresses))
}

pub(super) async fn create(State(api): State<Api>, asker: Asker, body: Body) -> Result<Response, Fault> {
    let view = api.engine.view();
    let mut members = Members::of(body, "port")?;
    let Said::This(network) = members.uuid("network_id")? else {
        return Err(Fault::bad_request("Failed to parse request. Required attribute 'network_id' not specified"));
    };
    let network = super::networks::seen(&view, &asker, &network.to_string())?;
    let blank = TenantPortSettings {
        about: new_about(&mut members, &asker)?,
        network: network.id,
        mac: made_mac(),
        admin_state_up: true,
        addresses: Vec::new(),
        device_id: String::new(),
        device_owner: String::new(),
        host: String::new(),
        vnic_type: "normal".into(),
        profile: Map::new(),
        attached: None,
    };
    let (settings, addresses) = read(&mut members, &blank)?;
    let on = OnNetwork::of(&view, &settings.about.project, network.id);
    let target = OnNetwork { device_owner: &settings.device_owner, ..on };
    may(&asker, "create_port", &target)?;
    let usual = [
        ("device_id", json!("")),
        ("device_owner", json!("")),
        ("mac_address", Value::Null),
        ("binding:host_id", json!("")),
        ("binding:host_id", Value::Null),
        ("binding:profile", json!({})),
        ("binding:profile", Value::Null),
        ("binding:vnic_type", json!("normal")),
        ("port_security_enabled", json!(false)),
        ("allowed_address_pairs", json!([])),
    ];
    members.check_policy(&asker, "create_port", &usual, &target)?;
    members.end()?;
    let id = TenantPortId(Uuid::new_v4());
    let addresses = addresses.unwrap_or(Allocation::Usual);
    let limit = api.tenants.ports;
    let command = NetworkCommand::CreatePort { id, settings: Box::new(settings), addresses, limit };
    let port = submit(&api, command, &asker).await?;
    Ok(made("port", document(&api.engine.view(), &asker, &port)))
}

async fn submit(api: &Api, command: NetworkCommand, asker: &Asker) -> Result<Arc<TenantPort>, Fault> {
    match api.submit(Command::Network(command), asker.actor()).await?.answer {
        Answer::Network(NetworkRow::Port(port)) => Ok(port),
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
    let port = seen(&view, &asker, &ident)?;
    if_match(&headers, port.revision)?;
    let mut members = Members::of(body, "port")?;
    let now = &port.settings;
    let before = target(&view, &port);
    may(&asker, "update_port", &before)?;
    members.fixed("network_id", &json!(now.network))?;
    let (mut settings, addresses) = read(&mut members, now)?;
    // A new owner of the device is judged as what it would be.
    let after = OnNetwork { device_owner: &settings.device_owner, ..target(&view, &port) };
    members.check_policy(&asker, "update_port", &[], &after)?;
    settings.about = super::changed_about(&mut members, &now.about, port.id)?;
    members.end()?;
    let command =
        NetworkCommand::ChangePort { id: port.id, revision: port.revision, settings: Box::new(settings), addresses };
    let port = submit(&api, command, &asker).await?;
    Ok(Json(json!({"port": document(&api.engine.view(), &asker, &port)})))
}

pub(super) async fn remove(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let port = seen(&view, &asker, &ident)?;
    may(&asker, "delete_port", &target(&view, &port))?;
    api.submit(Command::Network(NetworkCommand::DeletePort { id: port.id }), asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_address_is_one_machines_and_no_makers() {
        for _ in 0..64 {
            assert_eq!(made_mac().0[0] & 3, 2);
        }
    }

    #[test]
    fn wanted_addresses_are_read_or_refused() {
        let id = "00000000-0000-0000-0000-000000000007";
        let read = wanted(&[json!({"ip_address": "10.0.0.7"}), json!({"subnet_id": id})]).expect("read");
        let subnet = SubnetId(Uuid::from_u128(7));
        assert_eq!(read, [WantedAddress::Exactly(None, [10, 0, 0, 7].into()), WantedAddress::Of(subnet)]);
        for bad in
            [json!("x"), json!({}), json!({"ip_address": "fd00::1"}), json!({"ip_address": "x"}), json!({"a": 1})]
        {
            assert!(wanted(std::slice::from_ref(&bad)).is_err(), "{bad}");
        }
    }
}
