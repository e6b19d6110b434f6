//! The DHCP server of the provisioning interfaces: PXE, UEFI HTTP Boot, iPXE and plain clients, direct or relayed.
//! In: frames and datagrams on the named interfaces, the current view, where boot files are. Out: answers, commands
//! that must be durable before an ACK goes out ([`Commit`]), and boot-trace events.
//! `handle` decides without a socket; `frame` makes and reads Ethernet frames; `packet` is the raw socket; `probe` asks
//! by ARP whether an address is taken; `rival` remembers other servers; `server` moves the packets.
//! An interface that is not named is never listened on and never answered.

mod config;
mod frame;
mod handle;
mod packet;
mod probe;
mod rival;
mod server;

pub use config::{BadConfig, BootConfig};
pub use handle::{Action, Answer, Arrival, Outcome, Write, handle};
pub use server::{Commit, Counts, DhcpServer, Parts, StartError};
