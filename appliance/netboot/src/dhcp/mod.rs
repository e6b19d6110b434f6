//! The DHCP server of the provisioning interfaces: PXE, UEFI HTTP Boot, iPXE and plain clients, direct or relayed.
//! In: frames and datagrams on the named interfaces, the current view, where boot files are. Out: answers, commands
//! that must be durable before an ACK goes out ([`Commit`]), and boot-trace events.
//! `server` runs it; `sockets` takes messages in; `interface` has them decided by `handle`, which knows no socket, and
//! committed; `answer` sends. `memory` has what is offered or being written; `frame` makes and reads Ethernet frames;
//! `packet` is the raw socket, and many messages at once; `probe` asks by ARP whether an address is taken; `rival`
//! remembers other servers.
//! An interface that is not named is never listened on and never answered.

mod answer;
mod config;
mod frame;
mod handle;
mod interface;
mod memory;
mod packet;
mod probe;
mod rival;
mod server;
mod sockets;

pub use config::{BadConfig, BootConfig};
pub use handle::{Action, Answer, Arrival, Outcome, Write, handle};
pub use server::{Commit, Counts, DhcpServer, Parts, StartError};
