//! The command service: what the appliance asks the machine to do, over HTTPS on port 9999.
//! In: requests with the token of this boot. Out: command results in ironic-python-agent's form.
//! `command` turns a request into a checked command; `registry` runs one at a time, remembers results and knows a
//! question that was asked before; `server` speaks HTTP.
mod command;
mod registry;
mod server;

pub use command::{Command, Phase, Timing};
pub use registry::{Registry, Work};
pub use server::{Server, Service};
