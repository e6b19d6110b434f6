//! A pool: one IPv4 network, the range that we give away, and what its clients are told.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    address: Ipv4Addr,
    prefix: u8,
}

/// Why a pool cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPool {
    #[error("'{0}' is not an IPv4 network: write an address and a prefix length, such as 192.168.7.0/24")]
    Network(String),
    #[error("{address}/{prefix} has bits behind its prefix: the network is {network}")]
    HostBits { address: Ipv4Addr, prefix: u8, network: Subnet },
    #[error("the network {0} has no room for a server and a client: take a prefix length of 30 or less, and 8 or more")]
    Size(Subnet),
    #[error("{what} {address} is not inside {network}")]
    Outside { what: &'static str, address: Ipv4Addr, network: Subnet },
    #[error("{what} {address} is the network's own or its broadcast address")]
    Special { what: &'static str, address: Ipv4Addr },
    #[error("the range begins at {first}, after its end {last}")]
    Backwards { first: Ipv4Addr, last: Ipv4Addr },
    #[error("the range {first} to {last} has no address besides the server's and the router's")]
    Empty { first: Ipv4Addr, last: Ipv4Addr },
    #[error("a lease of {0} seconds is too short: take 120 or more")]
    Lease(u32),
}

impl Subnet {
    /// A network; the address must be the network's own.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Result<Subnet, BadPool> {
        if prefix > 32 {
            return Err(BadPool::Network(format!("{address}/{prefix}")));
        }
        let network = Subnet { address: Ipv4Addr::from(u32::from(address) & mask_bits(prefix)), prefix };
        if network.address != address {
            return Err(BadPool::HostBits { address, prefix, network });
        }
        Ok(network)
    }

    /// The network that this address is in, with this prefix length.
    #[must_use]
    pub fn around(address: Ipv4Addr, prefix: u8) -> Subnet {
        let prefix = prefix.min(32);
        Subnet { address: Ipv4Addr::from(u32::from(address) & mask_bits(prefix)), prefix }
    }

    #[must_use]
    pub fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from(mask_bits(self.prefix))
    }

    /// The first address: the network's own.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    /// The last address: all hosts.
    #[must_use]
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) | !mask_bits(self.prefix))
    }

    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask_bits(self.prefix) == u32::from(self.address)
    }

    /// A machine may have this address: it is inside, and neither the network's own nor the broadcast address.
    #[must_use]
    pub fn has_host(self, address: Ipv4Addr) -> bool {
        self.contains(address) && address != self.address && address != self.broadcast()
    }
}

fn mask_bits(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = BadPool;

    fn from_str(text: &str) -> Result<Subnet, BadPool> {
        let bad = || BadPool::Network(text.chars().take(40).collect());
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        Subnet::new(address.parse().map_err(|_| bad())?, prefix.parse().map_err(|_| bad())?)
    }
}

impl TryFrom<String> for Subnet {
    type Error = BadPool;

    fn try_from(text: String) -> Result<Subnet, BadPool> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> String {
        subnet.to_string()
    }
}

/// A network whose machines get their addresses from us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub network: Subnet,
    /// Our address as its clients reach it. Inside the network: the network is on our own wire. Outside: its clients
    /// reach us through a relay only.
    pub server: Ipv4Addr,
    /// The first and the last address that we give away.
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
    pub router: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    pub domain: Option<String>,
    /// How long an unknown machine may keep its address without asking again.
    pub lease_seconds: u32,
    /// The VLAN tag that its frames carry; `None`: they are untagged.
    pub vlan: Option<u16>,
    /// No other server serves this wire: a client that wants back an address of another network is refused it at once
    /// (RFC 2131 §4.3.2), rather than left to its timeout.
    pub authoritative: bool,
}

impl Pool {
    /// Looks for contradictions, so that a configuration is refused at the start and not at the first packet.
    pub fn check(&self) -> Result<(), BadPool> {
        let network = self.network;
        if !(8..=30).contains(&network.prefix()) {
            return Err(BadPool::Size(network));
        }
        let router = self.router.map(|router| ("the router", router));
        let server = self.is_local().then_some(("the server", self.server));
        let ends = [("the start of the range", self.first), ("the end of the range", self.last)];
        for (what, address) in ends.into_iter().chain(router).chain(server) {
            if !network.contains(address) {
                return Err(BadPool::Outside { what, address, network });
            }
            if !network.has_host(address) {
                return Err(BadPool::Special { what, address });
            }
        }
        let (first, last) = (self.first, self.last);
        if first > last {
            return Err(BadPool::Backwards { first, last });
        }
        if self.size() <= 2 && !(u32::from(first)..=u32::from(last)).any(|address| self.gives(address.into())) {
            return Err(BadPool::Empty { first, last });
        }
        if self.lease_seconds < 120 {
            return Err(BadPool::Lease(self.lease_seconds));
        }
        Ok(())
    }

    /// The network is on our own wire, not behind a relay.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.network.contains(self.server)
    }

    /// The address is one that a client may get from here.
    #[must_use]
    pub fn gives(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
            && self.network.has_host(address)
            && address != self.server
            && Some(address) != self.router
            && !self.dns.contains(&address)
    }

    /// How many addresses the range has.
    #[must_use]
    pub fn size(&self) -> u32 {
        (u32::from(self.last)).saturating_sub(u32::from(self.first)).saturating_add(1)
    }

    /// The address at this place of the range, counted around its end.
    pub(super) fn at(&self, place: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.first).saturating_add(place % self.size().max(1)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn pool() -> Pool {
        Pool {
            network: "10.0.0.0/24".parse().unwrap(),
            server: Ipv4Addr::new(10, 0, 0, 1),
            first: Ipv4Addr::new(10, 0, 0, 100),
            last: Ipv4Addr::new(10, 0, 0, 199),
            router: Some(Ipv4Addr::new(10, 0, 0, 1)),
            dns: vec![],
            domain: None,
            lease_seconds: 3600,
            vlan: None,
            authoritative: false,
        }
    }

    #[test]
    fn contradictions_are_found() {
        let refusal = |change: &dyn Fn(&mut Pool)| {
            let mut pool = pool();
            change(&mut pool);
            pool.check().map_err(|error| error.to_string())
        };
        assert_eq!(refusal(&|_| ()), Ok(()));
        let said = |change: &dyn Fn(&mut Pool), words: &str| {
            let said = refusal(change).unwrap_err();
            assert!(said.contains(words), "{said}");
        };
        said(&|pool| pool.last = Ipv4Addr::new(10, 0, 1, 9), "end of the range 10.0.1.9 is not inside 10.0.0.0/24");
        said(&|pool| pool.last = Ipv4Addr::new(10, 0, 0, 255), "broadcast");
        said(&|pool| pool.first = Ipv4Addr::new(10, 0, 0, 200), "begins at 10.0.0.200, after its end");
        said(&|pool| pool.router = Some(Ipv4Addr::new(10, 1, 0, 1)), "the router 10.1.0.1");
        said(&|pool| pool.lease_seconds = 5, "too short");
        said(
            &|pool| {
                pool.first = pool.server;
                pool.last = pool.server;
            },
            "no address besides",
        );
        said(&|pool| pool.network = "10.0.0.0/31".parse().unwrap(), "no room");
        assert_eq!(refusal(&|pool| pool.server = Ipv4Addr::new(192, 0, 2, 1)), Ok(()), "relayed");
    }

    #[test]
    fn networks_are_read_and_refused() {
        assert_eq!("10.0.0.0/8".parse::<Subnet>().unwrap().broadcast(), Ipv4Addr::new(10, 255, 255, 255));
        assert_eq!("0.0.0.0/0".parse::<Subnet>().unwrap().mask(), Ipv4Addr::UNSPECIFIED);
        for text in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0/8", "10.0.0.1/24", "/", "10.0.0.0/ 8", ""] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_network_holds_what_is_around_it(address: u32, prefix in 0_u8..=32) {
            let subnet = Subnet::around(address.into(), prefix);
            prop_assert!(subnet.contains(address.into()));
            prop_assert_eq!(subnet.to_string().parse::<Subnet>(), Ok(subnet));
            prop_assert!(subnet.address() <= subnet.broadcast());
        }
    }
}
