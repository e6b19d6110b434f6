//! Which address a client is offered (RFC 2131 §4.3.1): the one it has, the one it had, the one it asks for, a new one.

use super::offers::Offers;
use super::pool::{Pool, Subnet};
use super::{Binding, ClientKey, Hold};
use crate::mac::Mac;
use crate::network::{is_anothers, tenant_address};
use crate::provision::ProvisionState;
use crate::view::View;
use jiff::Timestamp;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// At most so many places of a range are looked at for one request.
const MOST_LOOKS: u32 = 131_072;

/// Who asks, and what he can see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seeker<'a> {
    pub(super) client: &'a ClientKey,
    pub(super) mac: Mac,
    pub(super) known: bool,
    pub(super) pool: &'a Pool,
    pub(super) view: &'a View,
    pub(super) now: Timestamp,
}

/// An address that a client may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub address: Ipv4Addr,
    /// It is on record for this client already.
    pub own: bool,
}

/// No address can be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress {
    #[error("every address of the pool {first} to {last} in {network} is taken: widen the range or shorten the lease")]
    Exhausted { network: Subnet, first: Ipv4Addr, last: Ipv4Addr },
}

impl Seeker<'_> {
    /// The binding is this client's. A machine that became known keeps the address it got as an unknown one.
    pub(super) fn owns(&self, binding: &Binding) -> bool {
        match &binding.hold {
            Hold::Bound { client, mac } => client == self.client || (self.known && *mac == self.mac),
            Hold::Declined => false,
        }
    }

    /// The binding that is on record for this client in this pool, run out or not.
    pub(super) fn record(&self) -> Option<&Binding> {
        self.view.binding_of(self.client).map(AsRef::as_ref).filter(|binding| self.pool.gives(binding.address))
    }

    /// The address that the machine has by its tenant's networks, if it is free here; then it is to have no other. What
    /// another machine uses stays that machine's, whatever a tenant asks for.
    pub(super) fn reserved(&self, offers: &Offers) -> Option<Ipv4Addr> {
        let pool = self.pool;
        let address = tenant_address(self.view, self.mac, pool.network)?;
        let ours = address == pool.server || pool.router == Some(address) || pool.dns.contains(&address);
        let offered = offers.holder(address, self.now).is_some_and(|holder| holder != self.client);
        let taken = self
            .view
            .binding(address)
            .is_some_and(|binding| !self.owns(binding) && binding.holds(self.now) && !self.is_left_over(binding));
        (!ours && !offered && !taken).then_some(address)
    }

    /// The binding is that of a machine of ours which has another address by now, or which nobody uses.
    fn is_left_over(&self, binding: &Binding) -> bool {
        use ProvisionState::{Available, Enroll, Manageable};
        let Hold::Bound { client, mac } = &binding.hold else { return false };
        let moved = self.view.binding_of(client).is_some_and(|newest| newest.address != binding.address);
        let idle = self
            .view
            .node_by_mac(*mac)
            .is_some_and(|node| node.job.is_none() && matches!(node.provision_state, Available | Enroll | Manageable));
        moved || idle
    }

    /// The client may have this address: we give it, nobody else holds it, it is neither kept for nor reserved to another.
    pub(super) fn may_have(&self, address: Ipv4Addr, offers: &Offers) -> bool {
        if let Some(reserved) = self.reserved(offers) {
            return address == reserved;
        }
        let own = |binding: &Arc<Binding>| self.owns(binding) && binding.holds(self.now);
        if is_anothers(self.view, address, self.mac, self.pool.network) && !self.view.binding(address).is_some_and(own)
        {
            return false;
        }
        if !self.pool.gives(address) || offers.holder(address, self.now).is_some_and(|holder| holder != self.client) {
            return false;
        }
        match self.view.binding(address) {
            None => true,
            Some(binding) if self.owns(binding) => true,
            Some(binding) => !binding.holds(self.now) && !self.is_reserved(binding),
        }
    }

    /// A port that is still enrolled comes back to its address however long it was away.
    fn is_reserved(&self, binding: &Binding) -> bool {
        match &binding.hold {
            Hold::Bound { client: ClientKey::Mac(mac), .. } => self.view.port_by_mac(*mac).is_some(),
            _ => false,
        }
    }

    /// A new address. One that nobody ever had goes before one that somebody had.
    fn search(&self, offers: &mut Offers) -> Option<Ipv4Addr> {
        if offers.is_exhausted(self.pool.first, self.now) {
            return None;
        }
        let start = spread(self.client) % self.pool.size().max(1);
        let mut used = None;
        for look in 0..self.pool.size().min(MOST_LOOKS) {
            let address = self.pool.at(start.wrapping_add(look) % self.pool.size().max(1));
            if !self.may_have(address, offers) {
                continue;
            }
            if self.view.binding(address).is_none() {
                return Some(address);
            }
            used = used.or(Some(address));
            if look > 1024 {
                break;
            }
        }
        if used.is_none() {
            offers.exhausted(self.pool.first, self.now);
        }
        used
    }

    pub(super) fn choose(&self, requested: Option<Ipv4Addr>, offers: &mut Offers) -> Result<Choice, NoAddress> {
        let record = self.record().map(|binding| binding.address);
        let offered = offers.of(self.client, self.now);
        let reserved = self.reserved(offers);
        let wanted = [reserved, record, offered, requested]
            .into_iter()
            .flatten()
            .find(|address| self.may_have(*address, offers));
        let address = wanted.or_else(|| self.search(offers)).ok_or(NoAddress::Exhausted {
            network: self.pool.network,
            first: self.pool.first,
            last: self.pool.last,
        })?;
        let own = self.view.binding(address).is_some_and(|binding| self.owns(binding));
        Ok(Choice { address, own })
    }
}

/// The address for a client that asks for one, and perhaps for this one in particular. Writes nothing but the memory
/// of an empty pool.
pub fn choose(
    pool: &Pool,
    view: &View,
    offers: &mut Offers,
    client: &ClientKey,
    mac: Mac,
    requested: Option<Ipv4Addr>,
    now: Timestamp,
) -> Result<Choice, NoAddress> {
    let known = view.port_by_mac(mac).is_some();
    Seeker { client, mac, known, pool, view, now }.choose(requested, offers)
}

/// Where in a range the search for this client begins: always the same place, so that a machine tends to get the same
/// address again even when nothing is on record (FNV-1a).
fn spread(client: &ClientKey) -> u32 {
    let bytes: &[u8] = match client {
        ClientKey::Identifier(identifier) => identifier,
        ClientKey::Mac(mac) => &mac.0,
    };
    bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
