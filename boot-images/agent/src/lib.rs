//! The deploy agent: a program in a ramdisk that a machine boots over the network, and that inspects, cleans and
//! images the machine as the appliance tells it. In: the kernel command line, the appliance's answers and commands
//! (`leasehold_wire::agent`), the machine's devices. Out: an inventory, clean disks, a verified image, a boot entry.
//! `agent` is the way through it; `service` takes commands, `steps` carries them out with `image`, `disk` and `boot`;
//! `rescue` lets a machine's user in; `http` and `tls` speak; `kernel` is the only unsafe code.
pub mod agent;
pub mod appliance;
pub mod boot;
pub mod clock;
pub mod console;
pub mod disk;
pub mod failure;
mod heartbeat;
pub mod http;
pub mod image;
pub mod inventory;
pub mod kernel;
pub mod machine;
pub mod parameters;
pub mod pulse;
pub mod rescue;
pub mod service;
pub mod steps;
pub mod tls;

#[cfg(test)]
mod tests;
