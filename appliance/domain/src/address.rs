//! Addresses of machines: pools, who holds which address, and what RFC 2131 says to who asks for one.
//!
//! In: a client's message in typed parts, the [`View`](crate::View), the moment. Out: a [`Verdict`]. What was
//! acknowledged is a [`Binding`] in the view; what was only offered is in [`Offers`], in memory, for half a minute.

mod choose;
mod lease;
mod offers;
mod pool;

pub use choose::{Choice, NoAddress, choose};
pub use lease::{Ask, Asked, DECLINED_SECONDS, Grant, Verdict, decide_lease};
pub use offers::{OFFER_SECONDS, Offers};
pub use pool::{BadPool, Pool, Subnet};

use crate::mac::Mac;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Whom an address is bound to: RFC 2131 §4.2, the client identifier if the client sends one, else its MAC address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ClientKey {
    Identifier(Vec<u8>),
    Mac(Mac),
}

impl ClientKey {
    /// The key of a client that sent this identifier (option 61) from this MAC address.
    ///
    /// A `known` machine (one of our ports) is its MAC address whatever it says: firmware, loader, ramdisk and system
    /// each send an identifier of their own, and all of them are the same machine, which is to have one address.
    /// The identifier that merely repeats the MAC address is the MAC address.
    #[must_use]
    pub fn of(mac: Mac, identifier: Option<&[u8]>, known: bool) -> ClientKey {
        match identifier {
            Some([1, rest @ ..]) if rest == mac.0 => ClientKey::Mac(mac),
            Some(identifier) if !known => ClientKey::Identifier(identifier.to_vec()),
            _ => ClientKey::Mac(mac),
        }
    }
}

/// Why an address is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hold {
    /// Acknowledged to a client.
    Bound { client: ClientKey, mac: Mac },
    /// A client or our own probe found somebody else at this address; nobody gets it until then.
    Declined,
}

/// A held address. Only what was acknowledged is recorded: an OFFER writes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub address: Ipv4Addr,
    pub hold: Hold,
    pub since: Timestamp,
    pub expires: Timestamp,
}

impl Binding {
    /// The address is still taken at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.expires
    }

    /// The client that holds it.
    pub fn client(&self) -> Option<&ClientKey> {
        match &self.hold {
            Hold::Bound { client, .. } => Some(client),
            Hold::Declined => None,
        }
    }

    /// The address is out of use until `seconds` from now: somebody else answers at it.
    #[must_use]
    pub fn declined(address: Ipv4Addr, now: Timestamp, seconds: i64) -> Binding {
        Binding { address, hold: Hold::Declined, since: now, expires: later(now, seconds) }
    }
}

/// `now` and so many seconds; the end of time where there is no such moment.
pub(crate) fn later(now: Timestamp, seconds: i64) -> Timestamp {
    now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}
