//! Which addresses the appliance does not talk to on somebody's behalf: its own, the link's, the BMCs'.
//!
//! In: a host of a URL that a user gave. Out: the addresses to connect to, or a refusal. A name is resolved once, and
//! the connection goes to the very addresses that were checked: a name server cannot answer the check one thing and
//! the connection another.

use hyper_util::client::legacy::connect::dns::Name;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_service::Service;

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network that `address` lies in; a prefix that is too long means the address alone.
    pub fn around(address: IpAddr, prefix: u8) -> Network {
        Network { address, prefix }
    }

    fn contains(&self, address: IpAddr) -> bool {
        let same = |a: u128, b: u128, bits: u32| {
            let shift = bits - u32::from(self.prefix).min(bits);
            shift >= bits || a >> shift == b >> shift
        };
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same(u32::from(own).into(), u32::from(other).into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.into(), other.into(), 128),
            _ => false,
        }
    }
}

/// What nobody may have us connect to, wherever the box stands: loopback, link-local, and addresses that are no host's.
pub fn never_fetched_from() -> Vec<Network> {
    const V4: [(Ipv4Addr, u8); 5] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(224, 0, 0, 0), 4),
        (Ipv4Addr::BROADCAST, 32),
    ];
    const V6: [(Ipv6Addr, u8); 3] = [
        // Loopback, unspecified, and IPv4 addresses in their old disguise.
        (Ipv6Addr::UNSPECIFIED, 96),
        (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
        (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
    ];
    let v4 = V4.map(|(address, prefix)| Network::around(address.into(), prefix));
    let v6 = V6.map(|(address, prefix)| Network::around(address.into(), prefix));
    v4.into_iter().chain(v6).collect()
}

/// The IPv4 address inside an IPv6 one that only leads there: mapped (`::ffff:…`) or by NAT64 (`64:ff9b::…`).
fn plain(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        other => other,
    }
}

/// Checks and resolves.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    forbidden: Arc<[Network]>,
}

impl Guard {
    pub(super) fn new(forbidden: &[Network]) -> Guard {
        Guard { forbidden: forbidden.into() }
    }

    /// Refuses an address; the reason does not say which network it is in.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), String> {
        let address = plain(address);
        if self.forbidden.iter().any(|network| network.contains(address)) {
            return Err(format!(
                "{address} is a loopback, link-local or management address, where no images are fetched from"
            ));
        }
        Ok(())
    }

    /// Refuses the host of a URL if it is a forbidden address; a name is looked at when it is resolved.
    pub(super) fn check_host(&self, host: &str) -> Result<(), String> {
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) => self.check(address),
            Err(_) => Ok(()),
        }
    }

    /// All addresses of a name, or a refusal if one of them is forbidden.
    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<_> = tokio::net::lookup_host((name, 0)).await?.collect();
        for address in &found {
            self.check(address.ip()).map_err(|why| io::Error::new(io::ErrorKind::PermissionDenied, why))?;
        }
        Ok(found)
    }
}

impl Service<Name> for Guard {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guard = self.clone();
        Box::pin(async move { Ok(guard.resolve(name.as_str()).await?.into_iter()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn guard() -> Guard {
        let mut forbidden = never_fetched_from();
        forbidden.push(Network::around("10.9.0.1".parse().expect("an address"), 24));
        forbidden.push(Network::around("fd00::1".parse().expect("an address"), 64));
        Guard::new(&forbidden)
    }

    #[test]
    fn inner_addresses_are_refused_in_every_spelling() {
        for bad in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "169.254.169.254",
            "10.9.0.77",
            "255.255.255.255",
            "224.0.0.1",
            "[::1]",
            "[::]",
            "[fe80::1]",
            "[ff02::1]",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[64:ff9b::a09:4d]",
            "[fd00::5]",
            "[::ffff:10.9.0.77]",
        ] {
            assert!(guard().check_host(bad).is_err(), "{bad}");
        }
        for good in ["10.9.1.1", "192.0.2.1", "[2001:db8::1]", "[fd01::1]", "images.example"] {
            assert_eq!(guard().check_host(good), Ok(()), "{good}");
        }
    }

    #[tokio::test]
    async fn a_name_is_refused_for_what_it_resolves_to() {
        let refused = guard().resolve("localhost").await.expect_err("a refusal");
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        // What the C library reads as an address is one.
        assert!(guard().resolve("127.1").await.is_err());
        assert!(guard().resolve("0x7f000001").await.is_err());
    }

    proptest! {
        #[test]
        fn a_network_holds_what_shares_its_prefix(a: u32, b: u32, prefix in 0_u8..=40) {
            let network = Network::around(Ipv4Addr::from(a).into(), prefix);
            let bits = u32::from(prefix).min(32);
            let same = bits == 0 || a >> (32 - bits) == b >> (32 - bits);
            prop_assert_eq!(network.contains(Ipv4Addr::from(b).into()), same);
        }
    }
}
