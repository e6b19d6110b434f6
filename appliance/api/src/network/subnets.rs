//! `/v2.0/subnets`. IPv4 only, which every refusal says.

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
use leasehold_domain::address::{BadPool, Subnet as Cidr};
use leasehold_domain::command::{Answer, Command};
use leasehold_domain::id::SubnetId;
use leasehold_domain::network::{NetworkCommand, NetworkRow, Route, Subnet, SubnetSettings, default_pools};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use uuid::Uuid;

const ATTRIBUTES: [&str; 22] = [
    "id",
    "name",
    "description",
    "project_id",
    "network_id",
    "ip_version",
    "cidr",
    "gateway_ip",
    "allocation_pools",
    "enable_dhcp",
    "dns_nameservers",
    "host_routes",
    "ipv6_address_mode",
    "ipv6_ra_mode",
    "subnetpool_id",
    "service_types",
    "segment_id",
    "dns_publish_fixed_ip",
    "tags",
    "created_at",
    "updated_at",
    "revision_number",
];

const NO_IPV6: &str = "IPv6 subnets are not supported here: use an IPv4 subnet (ip_version 4)";

fn document(subnet: &Subnet) -> Document {
    let settings = &subnet.settings;
    let pools = settings.pools.iter().map(|[first, last]| json!({"start": first, "end": last}));
    let routes = settings
        .routes
        .iter()
        .map(|route| json!({"destination": route.destination.to_string(), "nexthop": route.nexthop}));
    let mut document = about(&settings.about, subnet.id);
    for (name, value) in [
        ("network_id", json!(settings.network)),
        ("ip_version", json!(4)),
        ("cidr", json!(settings.cidr.to_string())),
        ("gateway_ip", json!(settings.gateway)),
        ("allocation_pools", pools.collect()),
        ("enable_dhcp", json!(settings.dhcp)),
        ("dns_nameservers", json!(settings.dns)),
        ("host_routes", routes.collect()),
        ("ipv6_address_mode", Value::Null),
        ("ipv6_ra_mode", Value::Null),
        ("subnetpool_id", Value::Null),
        ("service_types", json!([])),
        ("segment_id", Value::Null),
        ("dns_publish_fixed_ip", json!(false)),
    ] {
        document.insert(name.to_owned(), value);
    }
    history(&mut document, subnet.revision, subnet.created_at, subnet.updated_at);
    document
}

fn target<'a>(view: &'a View, subnet: &'a Subnet) -> OnNetwork<'a> {
    OnNetwork::of(view, &subnet.settings.about.project, subnet.settings.network)
}

/// The subnet of this id, if it is there for the caller.
pub(super) fn seen(view: &View, asker: &Asker, ident: &str) -> Result<Arc<Subnet>, Fault> {
    let found = parsed(ident).and_then(|id| view.network.subnet(SubnetId(id)));
    let found = found.filter(|subnet| asker.shows("get_subnet", subnet.id.0, &target(view, subnet)));
    found.cloned().ok_or_else(|| Fault::not_found("Subnet", ident))
}

pub(super) async fn list(State(api): State<Api>, asker: Asker, base: Base, asked: Asked) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let mut subnets: Vec<_> = view.network.subnets().collect();
    subnets.retain(|subnet| asker.allows("get_subnet", &target(&view, subnet)));
    subnets.sort_by_key(|subnet| (subnet.created_at, subnet.id));
    let listed = Listed { name: "subnets", url: listed_at(&base, "subnets"), attributes: &ATTRIBUTES };
    asked.page(&listed, subnets.into_iter().map(|subnet| document(subnet))).map(Json)
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Fault> {
    let subnet = seen(&api.engine.view(), &asker, &ident)?;
    Ok(Json(json!({"subnet": asked.select(document(&subnet))})))
}

fn address(name: &str, value: &Value) -> Result<Ipv4Addr, Fault> {
    let text = value.as_str().unwrap_or_default();
    match text.parse() {
        Ok(IpAddr::V4(address)) => Ok(address),
        Ok(IpAddr::V6(_)) => Err(Fault::bad_request(format!("Invalid input for {name}. Reason: {NO_IPV6}."))),
        Err(_) => {
            Err(Fault::bad_request(format!("Invalid input for {name}. Reason: '{text}' is not a valid IP address.")))
        }
    }
}

fn cidr(name: &str, text: &str) -> Result<Cidr, Fault> {
    if text.contains(':') {
        return Err(Fault::bad_request(format!("Invalid input for {name}. Reason: {NO_IPV6}.")));
    }
    text.parse().map_err(|error| match error {
        BadPool::HostBits { network, .. } => Fault::bad_request(format!(
            "Invalid input for {name}. Reason: '{text}' isn't a recognized IP subnet cidr, '{network}' is recommended."
        )),
        _ => Fault::bad_request(format!("Invalid input for {name}. Reason: '{text}' is not a valid IP subnet.")),
    })
}

fn pool(value: &Value) -> Result<[Ipv4Addr; 2], Fault> {
    let end = |name: &str| address("allocation_pools", value.get(name).unwrap_or(&Value::Null));
    Ok([end("start")?, end("end")?])
}

fn route(value: &Value) -> Result<Route, Fault> {
    let destination = value.get("destination").and_then(Value::as_str).unwrap_or_default();
    let nexthop = address("host_routes", value.get("nexthop").unwrap_or(&Value::Null))?;
    Ok(Route { destination: cidr("host_routes", destination)?, nexthop })
}

/// What of a body both a new subnet and a changed one may say.
fn read(members: &mut Members, now: &mut SubnetSettings) -> Result<(), Fault> {
    now.dhcp = members.flag("enable_dhcp")?.over(now.dhcp, true);
    if let said @ (Said::Null | Said::This(_)) = members.list("dns_nameservers")? {
        let servers = said.over(Vec::new(), Vec::new());
        now.dns = servers.iter().map(|value| address("dns_nameservers", value)).collect::<Result<_, _>>()?;
    }
    if let said @ (Said::Null | Said::This(_)) = members.list("host_routes")? {
        let routes = said.over(Vec::new(), Vec::new());
        now.routes = routes.iter().map(route).collect::<Result<_, _>>()?;
    }
    if let Said::This(pools) = members.list("allocation_pools")? {
        now.pools = pools.iter().map(pool).collect::<Result<_, _>>()?;
    }
    members.only("service_types", &[json!([])], "there are no service types here")?;
    members.only("segment_id", &[], "there are no segments here")?;
    members.only("dns_publish_fixed_ip", &[json!(false)], "there is no DNS service here")
}

pub(super) async fn create(State(api): State<Api>, asker: Asker, body: Body) -> Result<Response, Fault> {
    let view = api.engine.view();
    let mut members = Members::of(body, "subnet")?;
    let about = new_about(&mut members, &asker)?;
    for name in ["ipv6_address_mode", "ipv6_ra_mode"] {
        members.only(name, &[], NO_IPV6)?;
    }
    match members.number("ip_version")? {
        Said::This(4) => {}
        Said::This(6) => return Err(Fault::bad_request(format!("Invalid input for ip_version. Reason: {NO_IPV6}."))),
        _ => return Err(Fault::bad_request("Invalid input for ip_version. Reason: 4 is expected.")),
    }
    members.only("subnetpool_id", &[], "there are no subnet pools here: give a cidr")?;
    members.only("use_default_subnetpool", &[json!(false)], "there are no subnet pools here: give a cidr")?;
    members.only("prefixlen", &[], "there are no subnet pools here: give a cidr")?;
    let Said::This(network) = members.uuid("network_id")? else {
        return Err(Fault::bad_request("Failed to parse request. Required attribute 'network_id' not specified"));
    };
    let network = super::networks::seen(&view, &asker, &network.to_string())?;
    let Said::This(text) = members.text("cidr")? else {
        return Err(Fault::bad_request("Failed to parse request. Required attribute 'cidr' not specified"));
    };
    let cidr = cidr("cidr", &text)?;
    let first = Ipv4Addr::from(u32::from(cidr.address()).saturating_add(1));
    let gateway = match members.take("gateway_ip") {
        Said::Nothing => Some(first),
        Said::Null => None,
        Said::This(value) => Some(address("gateway_ip", &value)?),
    };
    let mut settings = SubnetSettings {
        about,
        network: network.id,
        cidr,
        gateway,
        pools: default_pools(cidr, gateway),
        dhcp: true,
        dns: Vec::new(),
        routes: Vec::new(),
    };
    read(&mut members, &mut settings)?;
    let target = OnNetwork::of(&view, &settings.about.project, network.id);
    may(&asker, "create_subnet", &target)?;
    let usual = [("service_types", json!([])), ("segment_id", Value::Null)];
    members.check_policy(&asker, "create_subnet", &usual, &target)?;
    members.end()?;
    let id = SubnetId(Uuid::new_v4());
    let limit = api.tenants.subnets;
    let subnet = submit(&api, NetworkCommand::CreateSubnet { id, settings: Box::new(settings), limit }, &asker).await?;
    Ok(made("subnet", document(&subnet)))
}

async fn submit(api: &Api, command: NetworkCommand, asker: &Asker) -> Result<Arc<Subnet>, Fault> {
    match api.submit(Command::Network(command), asker.actor()).await?.answer {
        Answer::Network(NetworkRow::Subnet(subnet)) => Ok(subnet),
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
    let subnet = seen(&view, &asker, &ident)?;
    if_match(&headers, subnet.revision)?;
    let mut members = Members::of(body, "subnet")?;
    let target = target(&view, &subnet);
    may(&asker, "update_subnet", &target)?;
    members.check_policy(&asker, "update_subnet", &[], &target)?;
    let before = document(&subnet);
    for name in ["network_id", "ip_version", "cidr", "subnetpool_id", "ipv6_address_mode", "ipv6_ra_mode"] {
        members.fixed(name, before.get(name).unwrap_or(&Value::Null))?;
    }
    let mut settings = subnet.settings.clone();
    settings.about = super::changed_about(&mut members, &settings.about, subnet.id)?;
    match members.take("gateway_ip") {
        Said::Nothing => {}
        Said::Null => settings.gateway = None,
        Said::This(value) => settings.gateway = Some(address("gateway_ip", &value)?),
    }
    read(&mut members, &mut settings)?;
    members.end()?;
    let command =
        NetworkCommand::ChangeSubnet { id: subnet.id, revision: subnet.revision, settings: Box::new(settings) };
    let subnet = submit(&api, command, &asker).await?;
    Ok(Json(json!({"subnet": document(&subnet)})))
}

pub(super) async fn remove(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let subnet = seen(&view, &asker, &ident)?;
    may(&asker, "delete_subnet", &target(&view, &subnet))?;
    api.submit(Command::Network(NetworkCommand::DeleteSubnet { id: subnet.id }), asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
