//! The protocols of the boot network and of BMCs, as bytes and state machines.
//! In: datagrams, frames and documents as they come, and the present time as a parameter where one is needed.
//! Out: parsed packets, answers to send, the next deadline, or an event for whoever does the I/O.
//! Nothing in here opens a socket, reads a clock or knows a node: `netboot` and `drivers` do the I/O, `domain` decides.
//! Every parser takes arbitrary bytes without panicking; each has a property test that says so.

pub mod dhcp;
pub mod ipmi;
pub mod ipxe;
pub mod ovsdb;
pub mod redfish;
pub mod tftp;
