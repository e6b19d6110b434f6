//! The agent's own calls into the kernel that no crate has a safe face for, and nothing else: ioctls on disks,
//! interfaces, the real-time clock and the IPMI device, and the address of a packet socket.
//! In: open files and plain values. Out: plain values or the kernel's error. Everything outside this folder is safe code.
#![allow(unsafe_code)] // ioctls and sockaddr_ll have no safe form; each use states why it is sound
mod block;
mod clock;
mod ipmi;
mod net;

pub use block::{discard, drop_caches, reread_partitions};
pub use clock::set_hardware_clock;
pub use ipmi::IpmiDevice;
pub use net::{InterfaceFlags, frame_socket, interface_flags, ipv4_address, set_interface_flags};
