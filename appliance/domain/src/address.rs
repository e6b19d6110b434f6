//! DHCP bindings: which address belongs to whom, and until when.

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
}
