//! TFTP without sockets: packets, option negotiation and the sending side of one transfer.
//! In: datagrams as bytes, the content of the file as a slice, and the present time as a parameter.
//! Out: what to send next ([`Outgoing`]), the next deadline, and how the transfer ended ([`Outcome`]).
//! RFC 1350 (protocol), 2347 (options), 2348 (blksize), 2349 (timeout, tsize), 7440 (windowsize). Read requests
//! only: a boot server takes no files. Nothing in here knows a clock or does I/O; `netboot` runs it.

mod netascii;
mod options;
mod packet;
mod rtt;
mod transfer;

pub use options::{Agreed, Limits, negotiate};
pub use packet::{ErrorCode, MAX_REQUEST, Mode, Options, Packet, PacketError, Request, encode_error};
pub use transfer::{Outcome, Outgoing, Run, Transfer};

#[cfg(test)]
mod simulation;
