//! DHCP for IPv4 with the options of PXE, UEFI HTTP Boot and iPXE, over the codec of `dhcproto`.
//! In: the payload of a UDP datagram, as hostile as the wire makes it ([`Packet`] guards, [`Request`] and
//! [`ServerMessage`] give it types). Out: the payload of the answer ([`Reply`]) and where it goes ([`destination`]).
//! [`client`] is the other side: what firmware and operating systems send, for tests, load and simulated machines.
//! RFC 2131, 2132, 3004, 3046, 3396, 3527, 4578, 5859 and 6842; no clock, no socket, no policy.

pub mod client;
mod destination;
mod guard;
mod option;
mod reply;
mod request;
mod server;

pub use destination::{Destination, destination};
pub use guard::{Area, BadPacket, LARGEST_PACKET, Packet};
pub use option::{IpxeFeatures, user_classes};
pub use reply::{BootFile, Lease, Network, Reply, ReplyError, ReplyKind};
pub use request::{Request, RequestKind};
pub use server::ServerMessage;

/// The port that servers and relays listen on.
pub const SERVER_PORT: u16 = 67;
/// The port that clients listen on.
pub const CLIENT_PORT: u16 = 68;
