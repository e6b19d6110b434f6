//! IPMI 2.0 over LAN (RMCP+): how a BMC without Redfish is talked to, and how one is simulated.
//!
//! In: datagrams, the time since some origin, seeds of randomness, wishes (commands, serial input). Out: datagrams,
//! deadlines and events. No socket and no clock in here: [`client`] is one conversation with a BMC, [`sim`] is the BMC's
//! side of it; both share the codecs, so that each is tested against the other and against third-party programs.
//!
//! References are to the "IPMI v2.0, revision 1.1" specification, ASF 2.0 for the ping, and the FRU information
//! storage definition v1.0.

pub mod cipher;
pub mod client;
pub mod command;
pub mod fru;
pub mod handshake;
pub mod message;
pub mod packet;
pub mod reader;
pub mod sdr;
pub mod secure;
pub mod sel;
pub mod sim;
pub mod sol;
pub mod text;

#[cfg(test)]
mod recorded;

pub use cipher::{CipherSuite, Entropy};
pub use client::{Client, Credentials, Event, Retry, SessionError};
pub use message::{Completion, Privilege};

/// The UDP port of RMCP, from the IANA registry (`asf-rmcp`).
pub const PORT: u16 = 623;
