//! Which addresses a port gets: those it asks for, or the lowest free ones of its subnets' pools.
//!
//! Pure: in go the network's subnets and what is taken, out come addresses. No address is given twice; the network's
//! own, its broadcast address and the gateway's are never given; what nobody asked for comes from the pools only.

use super::{FixedAddress, Subnet};
use crate::id::SubnetId;
use crate::refusal::Refusal;
use std::net::Ipv4Addr;

/// An address that a port is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedAddress {
    /// This one, of this subnet; `None`: of whichever subnet it belongs to.
    Exactly(Option<SubnetId>, Ipv4Addr),
    /// Any of this subnet.
    Of(SubnetId),
}

/// What a port is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// One address of a subnet that has some left; none where the network has no subnet.
    Usual,
    /// These, in this order.
    Wanted(Vec<WantedAddress>),
}

/// No address is left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("No more IP addresses available on network {0}.")]
pub struct NoFreeAddress(pub String);

/// Addresses of one port.
const MOST_ADDRESSES: usize = 5;

/// The addresses of a port on a network with these subnets. `taken`: whether another port has it.
pub fn allocate(
    network: &str,
    subnets: &[&Subnet],
    wanted: &Allocation,
    taken: impl Fn(SubnetId, Ipv4Addr) -> bool,
) -> Result<Vec<FixedAddress>, Refusal> {
    let wanted = match wanted {
        Allocation::Usual if subnets.is_empty() => return Ok(Vec::new()),
        Allocation::Usual => {
            let found = subnets.iter().find_map(|subnet| free(subnet, &[], &taken));
            return found.map(|fixed| vec![fixed]).ok_or_else(|| exhausted(network));
        }
        Allocation::Wanted(wanted) => wanted,
    };
    if wanted.len() > MOST_ADDRESSES {
        return Err(Refusal::Invalid(format!("Exceeded maximum amount of fixed ips per port: {MOST_ADDRESSES}.")));
    }
    let mut given: Vec<FixedAddress> = Vec::with_capacity(wanted.len());
    // What is asked for by its number goes first, so that nothing else of the same port takes it.
    for want in wanted {
        let WantedAddress::Exactly(subnet, address) = *want else { continue };
        let subnet = of_network(network, subnets, subnet, address)?;
        if !subnet.settings.is_usable(address) {
            return Err(Refusal::Invalid(format!(
                "IP address {address} is not a valid IP for the specified subnet {}: it is outside, or the network's \
                 own, its broadcast or its gateway's address.",
                subnet.settings.cidr
            )));
        }
        let fixed = FixedAddress { subnet: subnet.id, address };
        if taken(subnet.id, address) || given.contains(&fixed) {
            return Err(Refusal::Exists { what: "A port with IP address", name: address.to_string() });
        }
        given.push(fixed);
    }
    let mut all = Vec::with_capacity(wanted.len());
    for want in wanted {
        match *want {
            WantedAddress::Exactly(_, address) => all.extend(given.iter().find(|fixed| fixed.address == address)),
            WantedAddress::Of(id) => {
                let subnet = subnets.iter().find(|subnet| subnet.id == id).ok_or_else(|| elsewhere(network, id))?;
                let fixed = free(subnet, &given, &taken).ok_or_else(|| exhausted(network))?;
                given.push(fixed);
                all.push(fixed);
            }
        }
    }
    Ok(all)
}

fn of_network<'a>(
    network: &str,
    subnets: &[&'a Subnet],
    id: Option<SubnetId>,
    address: Ipv4Addr,
) -> Result<&'a Subnet, Refusal> {
    match id {
        Some(id) => subnets.iter().find(|subnet| subnet.id == id).copied().ok_or_else(|| elsewhere(network, id)),
        None => subnets.iter().find(|subnet| subnet.settings.cidr.contains(address)).copied().ok_or_else(|| {
            Refusal::Invalid(format!(
                "IP address {address} is not a valid IP for any of the subnets on network {network}."
            ))
        }),
    }
}

fn elsewhere(network: &str, subnet: SubnetId) -> Refusal {
    Refusal::Invalid(format!("Failed to create port on network {network}: the subnet {subnet} is not one of it."))
}

fn exhausted(network: &str) -> Refusal {
    Refusal::InUse(NoFreeAddress(network.to_owned()).to_string())
}

/// The lowest free address of the pools.
fn free(subnet: &Subnet, given: &[FixedAddress], taken: &impl Fn(SubnetId, Ipv4Addr) -> bool) -> Option<FixedAddress> {
    let places = subnet.settings.pools.iter().flat_map(|[first, last]| u32::from(*first)..=u32::from(*last));
    let fits = |fixed: &FixedAddress| {
        subnet.settings.is_usable(fixed.address) && !taken(subnet.id, fixed.address) && !given.contains(fixed)
    };
    places.map(|place| FixedAddress { subnet: subnet.id, address: Ipv4Addr::from(place) }).find(fits)
}

#[cfg(test)]
mod tests {
    use super::super::{About, Object, SubnetSettings, default_pools};
    use super::*;
    use crate::address::Subnet as Cidr;
    use crate::id::NetworkId;
    use jiff::Timestamp;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use uuid::Uuid;

    fn subnet(number: u128, base: u32, prefix: u8, gateway: Option<u32>, pools: Option<Vec<(u32, u32)>>) -> Subnet {
        let cidr = Cidr::around(Ipv4Addr::from(base), prefix);
        let at = |offset: u32| Ipv4Addr::from(u32::from(cidr.address()) + offset);
        let gateway = gateway.map(at);
        let pools = match pools {
            Some(pools) => pools.into_iter().map(|(first, last)| [at(first), at(last)]).collect(),
            None => default_pools(cidr, gateway),
        };
        Object {
            id: SubnetId(Uuid::from_u128(number)),
            revision: 0,
            settings: SubnetSettings {
                about: About::default(),
                network: NetworkId(Uuid::nil()),
                cidr,
                gateway,
                pools,
                dhcp: true,
                dns: Vec::new(),
                routes: Vec::new(),
            },
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: None,
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Usual,
        Of(u8),
        At(u8),
        Release(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Usual),
            2 => (0_u8..3).prop_map(Step::Of),
            3 => any::<u8>().prop_map(Step::At),
            2 => any::<u8>().prop_map(Step::Release),
        ]
    }

    proptest! {
        /// Whatever is asked for and given back: no address twice, none that no machine may have, and what was not
        /// asked for by its number from the pools.
        #[test]
        fn addresses_are_given_once_and_from_the_pools(
            prefix in 26_u8..=29,
            gateway in proptest::option::of(1_u32..7),
            cut in 2_u32..5,
            steps in proptest::collection::vec(step(), 0..120),
        ) {
            let last = (1_u32 << (32 - prefix)) - 2;
            let pools: Vec<(u32, u32)> = [(1, cut), (cut + 1, last)]
                .into_iter()
                .filter(|(first, last)| first <= last && !gateway.is_some_and(|at| (*first..=*last).contains(&at)))
                .collect();
            let first = subnet(1, 0x0a00_0000, prefix, gateway, Some(pools));
            let second = subnet(2, 0x0a01_0000, prefix, None, None);
            prop_assert!(first.settings.check().is_ok());
            let subnets = [&first, &second];
            let mut held: Vec<FixedAddress> = Vec::new();
            for step in steps {
                let (wanted, by_number) = match step {
                    Step::Usual => (Allocation::Usual, false),
                    Step::Of(index) => {
                        // A third that is not of the network.
                        let id = SubnetId(Uuid::from_u128(u128::from(index) + 1));
                        (Allocation::Wanted(vec![WantedAddress::Of(id), WantedAddress::Of(id)]), false)
                    }
                    Step::At(offset) => {
                        let address = Ipv4Addr::from(0x0a00_0000 + u32::from(offset) % (last + 3));
                        (Allocation::Wanted(vec![WantedAddress::Exactly(None, address)]), true)
                    }
                    Step::Release(index) => {
                        if !held.is_empty() {
                            let at = usize::from(index) % held.len();
                            held.swap_remove(at);
                        }
                        continue;
                    }
                };
                let taken = |subnet, address| held.contains(&FixedAddress { subnet, address });
                let Ok(given) = allocate("n", &subnets, &wanted, taken) else { continue };
                for fixed in &given {
                    let of = subnets.iter().find(|subnet| subnet.id == fixed.subnet).expect("of the network");
                    prop_assert!(of.settings.is_usable(fixed.address));
                    let pooled = of.settings.pools.iter().any(|[a, b]| (a..=b).contains(&&fixed.address));
                    prop_assert!(by_number || pooled, "{fixed:?}");
                }
                held.extend(given);
                let distinct: BTreeSet<_> = held.iter().map(|fixed| (fixed.subnet, fixed.address)).collect();
                prop_assert_eq!(distinct.len(), held.len());
            }
        }

        /// Nothing is left over: every address of the pools is given before the network is full.
        #[test]
        fn the_pools_are_used_up(prefix in 26_u8..=30, gateway in proptest::option::of(1_u32..3)) {
            let only = subnet(1, 0xc0a8_0000, prefix, gateway, None);
            let mut held = BTreeSet::new();
            while let Ok(given) = allocate("n", &[&only], &Allocation::Usual, |_, address| held.contains(&address)) {
                held.extend(given.into_iter().map(|fixed| fixed.address));
            }
            let expected = (1_usize << (32 - prefix)) - 2 - usize::from(gateway.is_some());
            prop_assert_eq!(held.len(), expected);
        }
    }

    #[test]
    fn special_addresses_are_refused_by_name() {
        let only = subnet(1, 0x0a00_0000, 24, Some(1), None);
        for last in [0, 1, 255] {
            let wanted = Allocation::Wanted(vec![WantedAddress::Exactly(None, Ipv4Addr::new(10, 0, 0, last))]);
            let refused = allocate("n", &[&only], &wanted, |_, _| false);
            assert!(matches!(refused, Err(Refusal::Invalid(_))), "{last}");
        }
        let outside = Allocation::Wanted(vec![WantedAddress::Exactly(Some(only.id), Ipv4Addr::new(10, 0, 1, 9))]);
        assert!(matches!(allocate("n", &[&only], &outside, |_, _| false), Err(Refusal::Invalid(_))));
        assert_eq!(allocate("n", &[], &Allocation::Usual, |_, _| false), Ok(Vec::new()));
    }
}
