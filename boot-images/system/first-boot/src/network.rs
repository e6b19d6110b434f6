//! OpenStack's network_data.json: from the description to what `ip` is told.
//!
//! In: the JSON text (nova's network_data schema: links, networks, services). Out: a plan, and from it command lines.
//! Done: physical and VLAN links, static IPv4 with routes and gateway, DHCP, MTU, name servers.
//! Bonds and IPv6 are not done by this image: they are listed as skipped, so that the console says so, and the rest goes on.
//! A reference to a link that is not there, or an address that is none, is an error that names the network.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// What the machine's interfaces shall be.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// True when there is no description: ask by DHCP on every interface.
    pub(crate) everywhere: bool,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) name_servers: Vec<String>,
    /// In a user's words: what of the description is not done.
    pub(crate) skipped: Vec<String>,
}

/// One interface with its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    /// The address of the card, in lower case.
    pub(crate) mac: String,
    /// For a VLAN on that card: its number.
    pub(crate) vlan: Option<u16>,
    pub(crate) mtu: Option<u32>,
    pub(crate) dhcp: bool,
    pub(crate) addresses: Vec<Address>,
}

/// A static address and the routes that come with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) routes: Vec<Route>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) gateway: Ipv4Addr,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    links: Vec<Link>,
    #[serde(default)]
    networks: Vec<Network>,
    #[serde(default)]
    services: Vec<Service>,
}

#[derive(Deserialize)]
struct Link {
    id: String,
    #[serde(rename = "type", default)]
    kind: String,
    ethernet_mac_address: Option<String>,
    mtu: Option<u32>,
    vlan_link: Option<String>,
    vlan_id: Option<u16>,
}

#[derive(Deserialize)]
struct Network {
    #[serde(default)]
    id: String,
    #[serde(rename = "type", default)]
    kind: String,
    link: String,
    ip_address: Option<String>,
    netmask: Option<String>,
    gateway: Option<String>,
    #[serde(default)]
    routes: Vec<RouteText>,
    #[serde(default)]
    services: Vec<Service>,
    #[serde(default)]
    dns_nameservers: Vec<String>,
}

#[derive(Deserialize)]
struct RouteText {
    network: String,
    netmask: Option<String>,
    gateway: String,
}

#[derive(Deserialize)]
struct Service {
    #[serde(rename = "type", default)]
    kind: String,
    address: Option<String>,
}

impl Plan {
    /// The plan without a description.
    pub(crate) fn dhcp_everywhere() -> Self {
        Self { everywhere: true, ..Self::default() }
    }
}

/// Reads the document and makes the plan of it.
pub(crate) fn parse(text: &[u8]) -> Result<Plan> {
    let document: Document = serde_json::from_slice(text).context("not the JSON document it should be")?;
    let mut plan = Plan::default();
    for link in &document.links {
        match interface(link, &document.links)? {
            Some(mut interface) => {
                for network in document.networks.iter().filter(|network| network.link == link.id) {
                    add_network(network, &mut interface, &mut plan.skipped)?;
                }
                plan.interfaces.push(interface);
            }
            None => plan.skipped.push(format!("link {} of type {}", link.id, link.kind)),
        }
    }
    for network in &document.networks {
        if !document.links.iter().any(|link| link.id == network.link) {
            bail!("network {:?} is on link {:?}, which is not described", network.id, network.link);
        }
        plan.name_servers.extend(network.dns_nameservers.iter().cloned());
    }
    let services = document.networks.iter().flat_map(|network| &network.services).chain(&document.services);
    plan.name_servers
        .extend(services.filter(|service| service.kind == "dns").filter_map(|service| service.address.clone()));
    // They become lines of resolv.conf.
    plan.name_servers.retain(|server| server.parse::<std::net::IpAddr>().is_ok());
    plan.name_servers.dedup();
    Ok(plan)
}

/// The interface a link describes; none when links of its type are not done.
fn interface(link: &Link, all: &[Link]) -> Result<Option<Interface>> {
    let (card, vlan) = match link.kind.as_str() {
        "bond" => return Ok(None),
        "vlan" => {
            let Some(number) = link.vlan_id.filter(|number| (1..=4094).contains(number)) else {
                bail!("link {:?} is a VLAN without a number from 1 to 4094", link.id);
            };
            let Some(card) = all.iter().find(|other| Some(&other.id) == link.vlan_link.as_ref()) else {
                bail!("link {:?} is a VLAN on a link that is not described", link.id);
            };
            if card.kind == "bond" || card.kind == "vlan" {
                return Ok(None);
            }
            (card, Some(number))
        }
        // phy, and what nova calls a virtual machine's card: ovs, bridge, vif, tap, hw_veb, hyperv …
        _ => (link, None),
    };
    let mac = card.ethernet_mac_address.as_deref().unwrap_or_default().to_ascii_lowercase();
    if !is_mac(&mac) {
        bail!("link {:?} has no ethernet_mac_address (got {mac:?})", card.id);
    }
    Ok(Some(Interface { mac, vlan, mtu: link.mtu, dhcp: false, addresses: Vec::new() }))
}

fn is_mac(text: &str) -> bool {
    text.len() == 17
        && text.split(':').count() == 6
        && text.split(':').all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn add_network(network: &Network, interface: &mut Interface, skipped: &mut Vec<String>) -> Result<()> {
    match network.kind.as_str() {
        "ipv4_dhcp" => interface.dhcp = true,
        "ipv4" => {
            let address = static_address(network).with_context(|| format!("network {:?}", network.id))?;
            interface.addresses.push(address);
        }
        other => skipped.push(format!("network {} of type {other}", network.id)),
    }
    Ok(())
}

fn static_address(network: &Network) -> Result<Address> {
    let text = network.ip_address.as_deref().context("has no ip_address")?;
    let (address, prefix) = address_and_prefix(text, network.netmask.as_deref())?;
    let mut routes = Vec::new();
    if let Some(gateway) = network.gateway.as_deref().filter(|gateway| !gateway.is_empty()) {
        routes.push(Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, gateway: ip(gateway)? });
    }
    for route in &network.routes {
        let (destination, prefix) = address_and_prefix(&route.network, route.netmask.as_deref())?;
        let destination = Ipv4Addr::from(u32::from(destination) & mask(prefix));
        routes.push(Route { destination, prefix, gateway: ip(&route.gateway)? });
    }
    routes.dedup();
    Ok(Address { address, prefix, routes })
}

fn ip(text: &str) -> Result<Ipv4Addr> {
    text.parse().with_context(|| format!("{text:?} is no IPv4 address"))
}

/// `10.0.0.2` with a netmask beside it, or `10.0.0.2/24`. A lone address is a host's.
fn address_and_prefix(text: &str, netmask: Option<&str>) -> Result<(Ipv4Addr, u8)> {
    let (address, beside) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, netmask),
    };
    let address = ip(address)?;
    let Some(beside) = beside else { return Ok((address, 32)) };
    if let Ok(prefix) = beside.parse::<u8>() {
        if prefix <= 32 {
            return Ok((address, prefix));
        }
        bail!("{beside:?} is no prefix length");
    }
    let bits = u32::from(ip(beside)?);
    let prefix = bits.leading_ones() as u8;
    if bits != mask(prefix) {
        bail!("{beside:?} is no netmask");
    }
    Ok((address, prefix))
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl Interface {
    /// The name the interface gets: the card's own, or for a VLAN the card's with the number.
    pub(crate) fn name(&self, card: &str) -> String {
        match self.vlan {
            Some(number) => format!("{card}.{number}"),
            None => card.to_owned(),
        }
    }

    /// The arguments of `ip`, call by call, that make the interface of the card named `card`. DHCP is asked afterwards.
    pub(crate) fn commands(&self, card: &str) -> Vec<Vec<String>> {
        let name = self.name(card);
        let line = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<String>>();
        let mut commands = Vec::new();
        if let Some(number) = self.vlan {
            commands.push(line(format!("link set {card} up")));
            commands.push(line(format!("link add link {card} name {name} type vlan id {number}")));
        }
        if let Some(mtu) = self.mtu {
            commands.push(line(format!("link set {name} mtu {mtu}")));
        }
        commands.push(line(format!("link set {name} up")));
        for Address { address, prefix, routes } in &self.addresses {
            commands.push(line(format!("addr add {address}/{prefix} broadcast + dev {name}")));
            for Route { destination, prefix, gateway } in routes {
                commands.push(line(format!("route replace {destination}/{prefix} via {gateway} dev {name}")));
            }
        }
        commands
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &str = r#"{
        "links": [
            {"id": "p0", "type": "phy", "ethernet_mac_address": "52:54:00:AA:00:01", "mtu": 1500, "vif_id": "x"},
            {"id": "v5", "type": "vlan", "vlan_link": "p0", "vlan_id": 5, "vlan_mac_address": "52:54:00:aa:00:01"},
            {"id": "b0", "type": "bond", "bond_links": ["p0"]}
        ],
        "networks": [
            {"id": "n0", "type": "ipv4", "link": "p0", "ip_address": "10.0.0.2", "netmask": "255.255.255.0",
             "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"},
                        {"network": "10.9.0.0", "netmask": "255.255.0.0", "gateway": "10.0.0.9"}],
             "services": [{"type": "dns", "address": "10.0.0.53"}], "network_id": "y"},
            {"id": "n1", "type": "ipv4_dhcp", "link": "v5"},
            {"id": "n2", "type": "ipv6", "link": "p0", "ip_address": "fe80::1"}
        ],
        "services": [{"type": "dns", "address": "10.0.0.53"}, {"type": "dns", "address": "no\naddress"}]
    }"#;

    #[test]
    fn the_sample_becomes_a_plan() {
        let plan = parse(SAMPLE.as_bytes()).unwrap();
        assert!(!plan.everywhere);
        assert_eq!(plan.name_servers, ["10.0.0.53"]);
        assert_eq!(plan.skipped, ["network n2 of type ipv6", "link b0 of type bond"]);
        let [card, vlan] = plan.interfaces.as_slice() else { panic!("{plan:?}") };
        assert_eq!((card.mac.as_str(), card.dhcp, vlan.vlan, vlan.dhcp), ("52:54:00:aa:00:01", false, Some(5), true));
        let commands: Vec<String> = card.commands("eth0").iter().map(|words| words.join(" ")).collect();
        assert_eq!(
            commands,
            [
                "link set eth0 mtu 1500",
                "link set eth0 up",
                "addr add 10.0.0.2/24 broadcast + dev eth0",
                "route replace 0.0.0.0/0 via 10.0.0.1 dev eth0",
                "route replace 10.9.0.0/16 via 10.0.0.9 dev eth0",
            ]
        );
        let commands: Vec<String> = vlan.commands("eth0").iter().map(|words| words.join(" ")).collect();
        assert_eq!(
            commands,
            ["link set eth0 up", "link add link eth0 name eth0.5 type vlan id 5", "link set eth0.5 up"]
        );
    }

    #[test]
    fn addresses_may_carry_their_prefix_and_a_gateway_stands_alone() {
        let text = r#"{"links":[{"id":"a","type":"phy","ethernet_mac_address":"52:54:00:aa:00:01"}],
            "networks":[{"id":"n","type":"ipv4","link":"a","ip_address":"10.0.0.2/20","gateway":"10.0.0.1"}]}"#;
        let plan = parse(text.as_bytes()).unwrap();
        let address = &plan.interfaces[0].addresses[0];
        assert_eq!((address.prefix, address.routes.len()), (20, 1));
    }

    #[test]
    fn mistakes_are_named() {
        let link = r#""links":[{"id":"a","type":"phy","ethernet_mac_address":"52:54:00:aa:00:01"}]"#;
        for (text, part) in [
            (r#"{"links":[{"id":"a","type":"phy"}]}"#.to_owned(), "no ethernet_mac_address"),
            (r#"{"networks":[{"id":"n","type":"ipv4","link":"a"}]}"#.to_owned(), "not described"),
            (format!(r#"{{{link},"networks":[{{"id":"n","type":"ipv4","link":"a"}}]}}"#), "no ip_address"),
            (
                format!(r#"{{{link},"networks":[{{"id":"n","type":"ipv4","link":"a","ip_address":"10.0.0.300"}}]}}"#),
                "no IPv4 address",
            ),
            (
                format!(
                    r#"{{{link},"networks":[{{"id":"n","type":"ipv4","link":"a","ip_address":"10.0.0.3","netmask":"255.0.255.0"}}]}}"#
                ),
                "no netmask",
            ),
            (r#"{"links":[{"id":"v","type":"vlan","vlan_link":"a","vlan_id":4095}]}"#.to_owned(), "1 to 4094"),
            ("7".to_owned(), "not the JSON document"),
        ] {
            let error = format!("{:#}", parse(text.as_bytes()).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_prefix_is_its_netmask(prefix in 0_u8..=32, address in any::<u32>()) {
            let address = Ipv4Addr::from(address);
            let netmask = Ipv4Addr::from(mask(prefix)).to_string();
            prop_assert_eq!(address_and_prefix(&address.to_string(), Some(&netmask)).unwrap(), (address, prefix));
            prop_assert_eq!(address_and_prefix(&format!("{address}/{prefix}"), None).unwrap(), (address, prefix));
        }

        #[test]
        fn no_text_of_the_document_adds_a_word_to_a_command(mac in ".{0,20}", ip_address in ".{0,20}", gateway in ".{0,20}") {
            let text = serde_json::json!({
                "links": [{"id": "a", "type": "phy", "ethernet_mac_address": mac}],
                "networks": [{"id": "n", "type": "ipv4", "link": "a", "ip_address": ip_address, "gateway": gateway}],
            }).to_string();
            if let Ok(plan) = parse(text.as_bytes()) {
                for words in plan.interfaces[0].commands("eth0") {
                    prop_assert!(words.iter().all(|word| word.chars().all(|c| c.is_ascii_alphanumeric() || "./+".contains(c))));
                }
            }
        }
    }
}
