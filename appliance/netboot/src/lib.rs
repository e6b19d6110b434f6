//! The servers that a booting machine talks to: DHCP, TFTP, and HTTP for boot files and scripts.
//! In: packets and requests from provisioning interfaces, the boot file tree, and what the appliance decides per machine.
//! Out: answers, files straight from shared mappings, and one boot-trace event per step ([`trace::BootEvent`]).
//! What a machine gets is decided in `domain`, what a packet means in `protocols`; here are the sockets between them.
//! Only this crate and `api` listen on the network, and only on the interfaces that the configuration names.

pub mod dhcp;
pub mod files;
pub mod http;
pub mod tftp;
pub mod trace;
