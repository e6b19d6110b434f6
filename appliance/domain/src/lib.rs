//! The rules. Pure: no clock, socket, file, randomness or async; time and ids are parameters.
//!
//! In: a read view of the state, a command, the moment it happens. Out: changes and events, or a refusal that
//! says what, why and what to do. Everything else in the program is an adapter around this crate.

pub mod address;
pub mod before;
pub mod boot;
pub mod command;
pub mod decide;
pub mod driver;
pub mod event;
pub mod facet;
pub mod grouped;
pub mod hardware;
pub mod id;
pub mod identity;
pub mod image;
pub mod job;
pub mod lease;
pub mod listed;
pub mod mac;
pub mod network;
pub mod node;
pub mod notice;
pub mod policy;
pub mod port;
pub mod power;
pub mod provision;
pub mod refusal;
pub mod rows;
pub mod view;
pub mod wire_steps;

pub use command::{Actor, Answer, Command, Context};
pub use decide::{Decision, decide};
pub use refusal::Refusal;
pub use view::{Change, View};
