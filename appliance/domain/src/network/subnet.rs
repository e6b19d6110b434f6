//! Subnets: an IPv4 network, which of its addresses are given out, and what machines on it are told.

use super::{About, Object};
use crate::address::Subnet as Cidr;
use crate::id::{NetworkId, SubnetId};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// A subnet.
pub type Subnet = Object<SubnetId, SubnetSettings>;

/// What is said of a subnet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubnetSettings {
    pub about: About,
    pub network: NetworkId,
    pub cidr: Cidr,
    pub gateway: Option<Ipv4Addr>,
    /// First and last of each range that addresses are taken from.
    pub pools: Vec<[Ipv4Addr; 2]>,
    pub dhcp: bool,
    pub dns: Vec<Ipv4Addr>,
    pub routes: Vec<Route>,
}

/// A route that machines are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub destination: Cidr,
    pub nexthop: Ipv4Addr,
}

/// Why a subnet cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSubnet {
    #[error("The network {0} has no room for machines: take a prefix length of 8 to 30.")]
    Size(Cidr),
    #[error("Gateway is not valid on subnet: {0} is not the address of a machine in {1}.")]
    Gateway(Ipv4Addr, Cidr),
    #[error("The allocation pool {0}-{1} spans beyond the subnet cidr {2}.")]
    OutOfBounds(Ipv4Addr, Ipv4Addr, Cidr),
    #[error("The allocation pool {0}-{1} is not valid: it ends before it begins.")]
    Backwards(Ipv4Addr, Ipv4Addr),
    #[error("Found overlapping allocation pools: {0}-{1} and {2}-{3}.")]
    Overlap(Ipv4Addr, Ipv4Addr, Ipv4Addr, Ipv4Addr),
    #[error("Gateway ip {0} conflicts with allocation pool {1}-{2}.")]
    GatewayInPool(Ipv4Addr, Ipv4Addr, Ipv4Addr),
    #[error("A subnet has at most {0} {1}.")]
    TooMany(usize, &'static str),
}

/// Neutron's limits.
const MOST_DNS: usize = 5;
const MOST_ROUTES: usize = 20;
const MOST_POOLS: usize = 64;

/// All addresses of machines, without the gateway's.
pub fn default_pools(cidr: Cidr, gateway: Option<Ipv4Addr>) -> Vec<[Ipv4Addr; 2]> {
    let (network, broadcast) = (u32::from(cidr.address()), u32::from(cidr.broadcast()));
    let (first, last) = (network.saturating_add(1), broadcast.saturating_sub(1));
    let parts = match gateway.map(u32::from) {
        Some(gateway) if (first..=last).contains(&gateway) => {
            vec![(first, gateway.saturating_sub(1)), (gateway.saturating_add(1), last)]
        }
        _ => vec![(first, last)],
    };
    parts
        .into_iter()
        .filter(|(first, last)| first <= last)
        .map(|(first, last)| [Ipv4Addr::from(first), Ipv4Addr::from(last)])
        .collect()
}

impl SubnetSettings {
    /// A machine may have this address: it is the address of a machine, and not the gateway's.
    pub fn is_usable(&self, address: Ipv4Addr) -> bool {
        self.cidr.has_host(address) && self.gateway != Some(address)
    }

    /// What a subnet cannot be.
    pub fn check(&self) -> Result<(), BadSubnet> {
        if !(8..=30).contains(&self.cidr.prefix()) {
            return Err(BadSubnet::Size(self.cidr));
        }
        if let Some(gateway) = self.gateway.filter(|gateway| !self.cidr.has_host(*gateway)) {
            return Err(BadSubnet::Gateway(gateway, self.cidr));
        }
        for (what, count, most) in [
            ("dns_nameservers", self.dns.len(), MOST_DNS),
            ("host_routes", self.routes.len(), MOST_ROUTES),
            ("allocation_pools", self.pools.len(), MOST_POOLS),
        ] {
            if count > most {
                return Err(BadSubnet::TooMany(most, what));
            }
        }
        for (index, [first, last]) in self.pools.iter().enumerate() {
            if first > last {
                return Err(BadSubnet::Backwards(*first, *last));
            }
            if !self.cidr.has_host(*first) || !self.cidr.has_host(*last) {
                return Err(BadSubnet::OutOfBounds(*first, *last, self.cidr));
            }
            if let Some([a, b]) = self.pools.iter().take(index).find(|[a, b]| a <= last && first <= b) {
                return Err(BadSubnet::Overlap(*a, *b, *first, *last));
            }
            if let Some(gateway) = self.gateway.filter(|gateway| (first..=last).contains(&gateway)) {
                return Err(BadSubnet::GatewayInPool(gateway, *first, *last));
            }
        }
        Ok(())
    }
}
