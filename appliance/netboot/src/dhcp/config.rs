//! What one interface serves.

use leasehold_domain::address::{BadPool, Pool, Subnet};
use leasehold_domain::boot::BootSource;
use std::time::Duration;

/// What one interface serves.
#[derive(Clone, Debug)]
pub struct BootConfig {
    /// The name of the interface.
    pub interface: String,
    /// The networks whose machines get addresses here: at most one that is untagged and on the wire itself, one for
    /// each VLAN, and those behind relays.
    pub pools: Vec<Pool>,
    /// Where the machines find their boot files.
    pub source: BootSource,
    /// Whether a machine that no node's port names gets an address at all.
    pub unknown_machines: bool,
    /// How long an answer to an ARP probe is waited for, before an address that nobody of ours has is offered.
    pub probe: Duration,
}

impl BootConfig {
    /// The wait that suits a wire with switches: an answer takes well under a millisecond, a sleeping host some more.
    pub const PROBE: Duration = Duration::from_millis(300);
}

/// Why interfaces cannot be served as configured.
#[derive(Debug, thiserror::Error)]
pub enum BadConfig {
    #[error("the interface {interface} is named twice")]
    Twice { interface: String },
    #[error("'{interface}' cannot be the name of an interface: it has 1 to 15 characters and no '/'")]
    Name { interface: String },
    #[error("the interface {interface} has no address pool: add one, or take its role 'boot' away")]
    NoPool { interface: String },
    #[error("the pool {network} on {interface}: {error}")]
    Pool { interface: String, network: Subnet, error: BadPool },
    #[error("the pools {first} and {second} overlap: a machine could not tell whose it is")]
    Overlap { first: Subnet, second: Subnet },
    #[error(
        "the interface {interface} has two pools of its own on one wire, {first} and {second}: name a VLAN for one"
    )]
    Ambiguous { interface: String, first: Subnet, second: Subnet },
    #[error("VLAN {vlan} on {interface} is none: tags are 1 to 4094")]
    Vlan { interface: String, vlan: u16 },
}

/// Looks for contradictions in and between interfaces.
pub(super) fn check(configs: &[BootConfig]) -> Result<(), BadConfig> {
    for (index, config) in configs.iter().enumerate() {
        let interface = config.interface.clone();
        if interface.is_empty() || interface.len() > 15 || interface.contains(['/', '\0']) {
            return Err(BadConfig::Name { interface });
        }
        if configs[..index].iter().any(|other| other.interface == interface) {
            return Err(BadConfig::Twice { interface });
        }
        if config.pools.is_empty() {
            return Err(BadConfig::NoPool { interface });
        }
        for (place, pool) in config.pools.iter().enumerate() {
            pool.check().map_err(|error| BadConfig::Pool {
                interface: interface.clone(),
                network: pool.network,
                error,
            })?;
            if let Some(vlan) = pool.vlan.filter(|vlan| !(1..=4094).contains(vlan)) {
                return Err(BadConfig::Vlan { interface, vlan });
            }
            let same_wire = |other: &&Pool| pool.is_local() && other.is_local() && other.vlan == pool.vlan;
            if let Some(other) = config.pools[..place].iter().find(same_wire) {
                return Err(BadConfig::Ambiguous { interface, first: other.network, second: pool.network });
            }
        }
    }
    let networks: Vec<Subnet> = configs.iter().flat_map(|config| &config.pools).map(|pool| pool.network).collect();
    for (index, first) in networks.iter().enumerate() {
        for second in &networks[index + 1..] {
            if first.contains(second.address()) || second.contains(first.address()) {
                return Err(BadConfig::Overlap { first: *first, second: *second });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use leasehold_domain::boot::UnknownMachines;
    use std::net::Ipv4Addr;

    /// An interface with the networks 10.0.N.0/24, of which the first is its own.
    pub(in super::super) fn config(interface: &str, networks: &[u8]) -> BootConfig {
        let server = Ipv4Addr::new(10, 0, networks[0], 1);
        let pool = |third: &u8| Pool {
            network: Subnet::around(Ipv4Addr::new(10, 0, *third, 0), 24),
            server,
            first: Ipv4Addr::new(10, 0, *third, 100),
            last: Ipv4Addr::new(10, 0, *third, 199),
            router: None,
            dns: vec![],
            domain: None,
            lease_seconds: 600,
            vlan: None,
            authoritative: false,
        };
        BootConfig {
            interface: interface.into(),
            pools: networks.iter().map(pool).collect(),
            source: BootSource {
                tftp: server,
                files_url: format!("http://{server}/boot/files"),
                script_url: format!("http://{server}/boot/script"),
                unknown: UnknownMachines::NoBoot,
            },
            unknown_machines: true,
            probe: Duration::ZERO,
        }
    }

    #[test]
    fn contradictions_are_told() {
        assert!(check(&[config("a", &[1, 2]), config("b", &[3])]).is_ok());
        let said = |configs: &[BootConfig]| check(configs).expect_err("a contradiction").to_string();
        assert!(said(&[config("a", &[1]), config("a", &[2])]).contains("named twice"));
        assert!(said(&[config("a", &[1]), config("b", &[1])]).contains("overlap"));
        assert!(said(&[config("an-interface-with-a-long-name", &[1])]).contains("cannot be the name"));
        let mut two = config("a", &[1, 2]);
        two.pools[1].server = Ipv4Addr::new(10, 0, 2, 1);
        assert!(said(std::slice::from_ref(&two)).contains("name a VLAN"));
        two.pools[1].vlan = Some(7);
        assert!(check(std::slice::from_ref(&two)).is_ok());
        two.pools[1].vlan = Some(4095);
        assert!(said(std::slice::from_ref(&two)).contains("VLAN 4095"));
        two.pools.clear();
        assert!(said(&[two]).contains("no address pool"));
    }
}
