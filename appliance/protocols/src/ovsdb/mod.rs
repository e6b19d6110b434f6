//! OVSDB, the management protocol of Open vSwitch (RFC 7047): JSON-RPC 1.0 over a byte stream.
//!
//! In: bytes as they come ([`Framer`]), and what is wanted of a database ([`Operation`]). Out: the peer's messages
//! ([`Incoming`]), bytes to send, and what a transaction came to ([`outcomes`]), rows as typed columns ([`Row`]).
//! A peer can neither make this panic nor make it keep more than the limits of [`Framer`].

mod frame;
mod message;
mod operation;
mod outcome;
mod schema;
mod value;

pub use frame::{FrameError, Framer, LONGEST_MESSAGE};
pub use message::{Incoming, NotRpc, PeerError, echo_reply, request};
pub use operation::{Comparison, Condition, Mutation, Operation, Until, transact};
pub use outcome::{Outcome, TransactError, outcomes};
pub use schema::{NotSchema, Schema};
pub use value::{Atom, Datum, NotDatum, Row, RowId};
