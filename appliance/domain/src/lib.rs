//! The rules. Pure: no clock, socket, file, randomness or async; time and ids are parameters.
//!
//! In: a read view of the state, a command, the moment it happens. Out: changes and events, or a refusal that
//! says what, why and what to do. Everything else in the program is an adapter around this crate.

pub mod power;
