//! Which networks are inside: where the appliance does not talk to on somebody's behalf.
//!
//! In: the configuration, and the addresses that the box has. Out: networks, for images that users have fetched and for
//! webhooks, whose receivers any member of a project may name.

use crate::config::{Config, Role};
use anyhow::Context;
use if_addrs::{IfAddr, Interface};
use leasehold_engine::images::{Network, never_fetched_from};
use leasehold_engine::webhooks::{Settings, never_sent_to};

/// Where events may be sent to: nowhere inside, and to none of the networks that the box stands in, whatever they are for.
pub(crate) fn webhooks(config: &Config) -> anyhow::Result<Settings> {
    let addresses = addresses()?;
    let around = addresses.iter().map(|entry| network_of(&entry.addr));
    Ok(config.events.webhooks(never_sent_to().into_iter().chain(around).chain(own(&addresses)).collect()))
}

/// Where no user may have the appliance fetch images from: its own addresses, and the networks of BMCs and of machines in
/// provisioning, which trust whoever is on them.
pub(crate) fn no_images_from(config: &Config) -> anyhow::Result<Vec<Network>> {
    let addresses = addresses()?;
    let is_inner = |name: &str| {
        let inner = |role: &Role| matches!(role, Role::Bmc | Role::Boot | Role::Trunk);
        config.interfaces.iter().any(|interface| interface.name == name && interface.roles.iter().any(inner))
    };
    let inner = addresses.iter().filter(|entry| is_inner(&entry.name)).map(|entry| network_of(&entry.addr));
    Ok(never_fetched_from().into_iter().chain(inner).chain(own(&addresses)).collect())
}

fn addresses() -> anyhow::Result<Vec<Interface>> {
    if_addrs::get_if_addrs().context("interfaces cannot be listed")
}

/// The box itself, alone.
fn own(addresses: &[Interface]) -> impl Iterator<Item = Network> {
    addresses.iter().map(|entry| Network::only(entry.ip()))
}

/// The network that an interface stands in.
fn network_of(address: &IfAddr) -> Network {
    match address {
        IfAddr::V4(address) => Network::around(address.ip.into(), address.prefixlen),
        IfAddr::V6(address) => Network::around(address.ip.into(), address.prefixlen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_engine::images::private_networks;
    use leasehold_engine::webhooks::check_url;
    use std::net::Ipv4Addr;

    #[test]
    fn no_events_go_to_the_box_or_to_its_neighbours() {
        let config = Config::parse("").expect("defaults");
        let mut settings = webhooks(&config).expect("interfaces");
        // All of the world is named, and so no network of the box.
        settings.allowed = vec!["0.0.0.0/1".parse().expect("a network"), "128.0.0.0/1".parse().expect("a network")];
        settings.allowed.extend(private_networks());
        let mut seen = 0;
        for entry in addresses().expect("interfaces") {
            let IfAddr::V4(address) = &entry.addr else { continue };
            let mut hosts = vec![address.ip];
            if address.prefixlen < 32 {
                hosts.push(Ipv4Addr::from(u32::from(address.ip) ^ 1));
            }
            for host in hosts {
                assert!(check_url(&settings, &format!("https://{host}/")).is_err(), "{host}");
                seen += 1;
            }
        }
        assert!(seen >= 2, "loopback at least");
        assert_eq!(check_url(&settings, "https://198.51.100.7/"), Ok(()));
    }
}
