//! What was offered or is being written, and what a probe found: in memory, short-lived and bounded.
//!
//! A crash may forget all of it: an offer is a promise for half a minute, and a client that comes back with it after
//! a restart gets its address if nobody else has it.

use super::{ClientKey, later};
use crate::mac::Mac;
use jiff::Timestamp;
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// How long an offer is kept for its client. Firmware that waits for a proxy's offer, and retries once, is still in time.
pub const OFFER_SECONDS: i64 = 30;
/// How long a probe's "nobody there" is believed.
const PROBE_SECONDS: i64 = 120;
/// How many declines of one machine count in [`DECLINE_WINDOW`] seconds: one that declines whatever it gets would
/// empty the pool.
const MOST_DECLINES: u32 = 8;
const DECLINE_WINDOW: i64 = 3600;
/// How many entries each table may have; the oldest go first.
const MOST_ENTRIES: usize = 65_536;
/// How long an empty pool is not searched again.
const EXHAUSTED_SECONDS: i64 = 3;

#[derive(Clone, Debug)]
struct Offer {
    client: ClientKey,
    until: Timestamp,
}

/// The key that no client can have: an identifier has two bytes at least (RFC 2132 §9.14).
fn nobody() -> ClientKey {
    ClientKey::Identifier(Vec::new())
}

/// Offers and what goes with them.
#[derive(Clone, Debug, Default)]
pub struct Offers {
    by_address: HashMap<Ipv4Addr, Offer>,
    by_client: HashMap<ClientKey, Ipv4Addr>,
    writing: HashMap<Ipv4Addr, ClientKey>,
    probed: HashMap<Ipv4Addr, Timestamp>,
    declines: HashMap<Mac, (u32, Timestamp)>,
    exhausted: HashMap<Ipv4Addr, Timestamp>,
}

impl Offers {
    /// Keeps an address for a client. The one that was kept for it before is free again.
    pub fn put(&mut self, address: Ipv4Addr, client: &ClientKey, now: Timestamp) {
        if self.by_address.len() >= MOST_ENTRIES {
            self.sweep(now);
        }
        self.forget_client(client);
        if let Some(old) =
            self.by_address.insert(address, Offer { client: client.clone(), until: later(now, OFFER_SECONDS) })
            && self.by_client.get(&old.client) == Some(&address)
        {
            self.by_client.remove(&old.client);
        }
        self.by_client.insert(client.clone(), address);
    }

    /// The client for which an address is kept.
    #[must_use]
    pub fn holder(&self, address: Ipv4Addr, now: Timestamp) -> Option<&ClientKey> {
        let offered = || self.by_address.get(&address).filter(|offer| now < offer.until).map(|offer| &offer.client);
        self.writing.get(&address).or_else(offered)
    }

    /// The address that is kept for a client.
    #[must_use]
    pub fn of(&self, client: &ClientKey, now: Timestamp) -> Option<Ipv4Addr> {
        self.by_client.get(client).copied().filter(|address| self.holder(*address, now) == Some(client))
    }

    /// The client took another server's offer, gave up or gave back.
    pub fn forget_client(&mut self, client: &ClientKey) {
        if let Some(address) = self.by_client.remove(client) {
            self.by_address.remove(&address);
        }
    }

    /// Something is being written about the address for this client (`None`: that nobody is to have it). Until
    /// [`Offers::settled`], nobody else gets it, whatever the view still shows.
    pub fn writing(&mut self, address: Ipv4Addr, client: Option<&ClientKey>) {
        self.writing.insert(address, client.cloned().unwrap_or_else(nobody));
    }

    /// What was being written about the address is in the view now, or never will be.
    pub fn settled(&mut self, address: Ipv4Addr) {
        self.writing.remove(&address);
    }

    /// A probe found somebody at the address.
    pub fn found_taken(&mut self, address: Ipv4Addr, now: Timestamp) {
        let offer = Offer { client: nobody(), until: later(now, super::DECLINED_SECONDS) };
        if let Some(offer) = self.by_address.insert(address, offer) {
            self.by_client.remove(&offer.client);
        }
        self.probed.remove(&address);
    }

    /// A probe found nobody at the address.
    pub fn found_free(&mut self, address: Ipv4Addr, now: Timestamp) {
        if self.probed.len() >= MOST_ENTRIES {
            self.sweep(now);
        }
        self.probed.insert(address, later(now, PROBE_SECONDS));
    }

    /// A probe found nobody there, not long ago.
    #[must_use]
    pub fn is_probed(&self, address: Ipv4Addr, now: Timestamp) -> bool {
        self.probed.get(&address).is_some_and(|until| now < *until)
    }

    /// Counts a decline of this machine; `false`: it declines too much to be believed.
    pub fn may_decline(&mut self, mac: Mac, now: Timestamp) -> bool {
        if self.declines.len() >= MOST_ENTRIES {
            self.sweep(now);
        }
        let (count, until) = self.declines.entry(mac).or_insert((0, later(now, DECLINE_WINDOW)));
        if now >= *until {
            (*count, *until) = (0, later(now, DECLINE_WINDOW));
        }
        *count += 1;
        *count <= MOST_DECLINES
    }

    /// The pool that begins at this address was searched in vain just now.
    pub(super) fn exhausted(&mut self, first: Ipv4Addr, now: Timestamp) {
        self.exhausted.insert(first, later(now, EXHAUSTED_SECONDS));
    }

    pub(super) fn is_exhausted(&self, first: Ipv4Addr, now: Timestamp) -> bool {
        self.exhausted.get(&first).is_some_and(|until| now < *until)
    }

    /// Forgets what is over; if that is not enough (a flood), forgets all offers, which costs their clients a retry.
    pub fn sweep(&mut self, now: Timestamp) {
        self.by_address.retain(|_, offer| now < offer.until);
        self.probed.retain(|_, until| now < *until);
        self.declines.retain(|_, (_, until)| now < *until);
        if self.by_address.len() >= MOST_ENTRIES {
            self.by_address.clear();
        }
        for table_is_full in [self.probed.len() >= MOST_ENTRIES, self.declines.len() >= MOST_ENTRIES] {
            if table_is_full {
                self.probed.clear();
                self.declines.clear();
            }
        }
        let by_address = &self.by_address;
        self.by_client.retain(|client, address| by_address.get(address).is_some_and(|offer| offer.client == *client));
    }

    /// How many addresses are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// None is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> ClientKey {
        ClientKey::Mac(Mac([2, 0, 0, 0, 0, number]))
    }

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    #[test]
    fn an_offer_ends_by_itself() {
        let mut offers = Offers::default();
        let now = Timestamp::UNIX_EPOCH;
        offers.put(ADDRESS, &client(1), now);
        assert_eq!(offers.of(&client(1), now), Some(ADDRESS));
        let after = later(now, OFFER_SECONDS);
        assert_eq!((offers.of(&client(1), after), offers.holder(ADDRESS, after)), (None, None));
        offers.put(ADDRESS, &client(2), after);
        assert_eq!((offers.of(&client(1), after), offers.of(&client(2), after)), (None, Some(ADDRESS)));
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut offers = Offers::default();
        let now = Timestamp::UNIX_EPOCH;
        for number in 0..200_000_u32 {
            let [a, b, c, d] = number.to_be_bytes();
            offers.put(Ipv4Addr::from(number), &ClientKey::Mac(Mac([2, 0, a, b, c, d])), now);
        }
        assert!(offers.len() <= MOST_ENTRIES && offers.by_client.len() <= MOST_ENTRIES);
    }

    #[test]
    fn one_machine_cannot_decline_a_pool_away() {
        let mut offers = Offers::default();
        let now = Timestamp::UNIX_EPOCH;
        let believed = (0..100).filter(|_| offers.may_decline(Mac([2, 0, 0, 0, 0, 1]), now)).count();
        assert_eq!(believed, 8);
        assert!(offers.may_decline(Mac([2, 0, 0, 0, 0, 1]), later(now, DECLINE_WINDOW)));
    }
}
