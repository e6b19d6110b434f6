//! Which addresses the appliance does not talk to on somebody's behalf: its own, the link's, the BMCs'.
//!
//! In: a host of a URL that a user gave. Out: the addresses to connect to, or a refusal. A name is resolved once, and
//! the connection goes to the very addresses that were checked: a name server cannot answer the check one thing and
//! the connection another. Networks are forbidden and allowed; of those that hold an address, the narrowest decides, so
//! that a mirror on a management network can be let through, and the box's own address on an allowed one stays shut.

use hyper_util::client::legacy::connect::dns::Name;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_service::Service;

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write ADDRESS/PREFIX, as 10.0.0.0/24, or a single address")]
pub struct NoNetwork;

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Network, NoNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| NoNetwork)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        if prefix <= bits { Ok(Network { address, prefix }) } else { Err(NoNetwork) }
    }
}

impl Network {
    /// An address and nothing beside it.
    pub fn only(address: IpAddr) -> Network {
        Network { address, prefix: 128 }
    }

    /// Whether one of the two lies in the other.
    pub fn overlaps(&self, other: Network) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

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

/// An address is not talked to. It does not say which address a name has, nor which network that is in: who gives names
/// would learn what the box's own name server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its address is a loopback, link-local or management address, which nobody may have the appliance talk to")]
pub(crate) struct NotAllowed;

impl NotAllowed {
    /// Whether it is this what an error comes from.
    pub(crate) fn is_cause_of(error: &(dyn std::error::Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            // The error inside one of input and output is not called its source.
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if inner.is_some_and(|inner| inner.is::<NotAllowed>()) {
                return true;
            }
            next = error.source();
        }
        false
    }
}

/// What nobody may have us connect to, wherever the box stands: loopback, link-local, and addresses that are no host's.
///
/// See [`private_networks`] for what is closed to some besides.
pub fn never_fetched_from() -> Vec<Network> {
    const V4: [(Ipv4Addr, u8); 5] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(224, 0, 0, 0), 4),
        // Reserved, with broadcast.
        (Ipv4Addr::new(240, 0, 0, 0), 4),
    ];
    const V6: [(Ipv6Addr, u8); 6] = [
        // Loopback, unspecified, and IPv4 addresses in their old disguise.
        (Ipv6Addr::UNSPECIFIED, 96),
        (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
        // Site-local, the predecessor of unique local addresses (RFC 3879).
        (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10),
        (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
        // A site's own NAT64 (RFC 8215) and Teredo (RFC 4380): where an IPv4 address stands in them is not to be seen.
        (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48),
        (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32),
    ];
    let v4 = V4.map(|(address, prefix)| Network::around(address.into(), prefix));
    let v6 = V6.map(|(address, prefix)| Network::around(address.into(), prefix));
    v4.into_iter().chain(v6).collect()
}

/// Networks that are inside somebody's house: RFC 1918, those that carriers share (RFC 6598), and unique local ones
/// (RFC 4193).
pub fn private_networks() -> Vec<Network> {
    const V4: [(Ipv4Addr, u8); 4] = [
        (Ipv4Addr::new(10, 0, 0, 0), 8),
        (Ipv4Addr::new(100, 64, 0, 0), 10),
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
    ];
    let v4 = V4.map(|(address, prefix)| Network::around(address.into(), prefix));
    let v6 = Network::around(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0).into(), 7);
    v4.into_iter().chain([v6]).collect()
}

/// The IPv4 address inside an IPv6 one that only leads there: mapped (`::ffff:…`), translated (`::ffff:0:…`, RFC 2765),
/// by NAT64 (`64:ff9b::…`, RFC 6052) or by 6to4 (`2002:…`, RFC 3056).
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else { return address.to_canonical() };
    let octets = v6.octets();
    let inner = |at: usize| IpAddr::V4(Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]));
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => inner(12),
        [0x2002, ..] => inner(2),
        _ => IpAddr::V6(v6),
    }
}

/// What becomes of a name: the addresses it has at this moment.
type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;
/// Asks for a name: the system's resolver, or a test's.
type Lookup = Arc<dyn Fn(&str) -> Answer + Send + Sync>;

/// Checks and resolves.
#[derive(Clone)]
pub(crate) struct Guard {
    forbidden: Arc<[Network]>,
    allowed: Arc<[Network]>,
    lookup: Lookup,
}

impl Guard {
    /// `allowed`: what may be fetched from although a wider network in `forbidden` holds it.
    pub(crate) fn new(forbidden: &[Network], allowed: &[Network]) -> Guard {
        let lookup: Lookup = Arc::new(|name| {
            let name = name.to_owned();
            Box::pin(async move {
                let found = tokio::net::lookup_host((name, 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            })
        });
        Guard { forbidden: forbidden.into(), allowed: allowed.into(), lookup }
    }

    /// Refuses an address.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), NotAllowed> {
        let address = plain(address);
        let narrowest = |networks: &[Network]| {
            networks.iter().filter(|network| network.contains(address)).map(|network| network.prefix).max()
        };
        // None is less than any.
        if narrowest(&self.forbidden) > narrowest(&self.allowed) { Err(NotAllowed) } else { Ok(()) }
    }

    /// Refuses the host of a URL if it is a forbidden address; a name is looked at when it is resolved.
    pub(crate) fn check_host(&self, host: &str) -> Result<(), String> {
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) => self.check(address).map_err(|why| why.to_string()),
            Err(_) => Ok(()),
        }
    }

    /// All addresses of a name, or a refusal if one of them is forbidden.
    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let found = (self.lookup)(name).await?;
        for address in &found {
            if let Err(why) = self.check(*address) {
                tracing::info!(name, %address, "a name leads where nobody may have the appliance talk to");
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
            }
        }
        // The connector puts the port of the URL in.
        Ok(found.into_iter().map(|address| SocketAddr::new(address, 0)).collect())
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
#[path = "guard_tests.rs"]
mod tests;
