//! Interfaces (linux/sockios.h, linux/if.h) and sockets that hear raw frames (linux/if_packet.h).

use rustix::fd::OwnedFd;
use rustix::ioctl::{Opcode, Updater, ioctl};
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, bind, netdevice, socket_with};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

const SIOCGIFFLAGS: Opcode = 0x8913;
const SIOCSIFFLAGS: Opcode = 0x8914;
const SIOCGIFADDR: Opcode = 0x8915;

/// `struct ifreq`: a name, and a union whose largest member is 24 bytes.
#[repr(C, align(8))]
struct IfReq {
    name: [u8; 16],
    value: [u8; 24],
}

impl IfReq {
    fn new(name: &str) -> rustix::io::Result<IfReq> {
        let mut request = IfReq { name: [0; 16], value: [0; 24] };
        // The kernel wants a terminating zero.
        match request.name.get_mut(..name.len()) {
            Some(place) if name.len() < 16 && !name.is_empty() => place.copy_from_slice(name.as_bytes()),
            _ => return Err(rustix::io::Errno::NODEV),
        }
        Ok(request)
    }

    fn call<const OPCODE: Opcode>(&mut self) -> rustix::io::Result<()> {
        let socket = any_socket()?;
        // SAFETY: the three SIOC*IF* calls used here read and write one struct ifreq at the pointer, which IfReq is
        // laid out as (16 + 24 bytes, aligned to 8).
        unsafe { ioctl(&socket, Updater::<OPCODE, IfReq>::new(self)) }
    }
}

fn any_socket() -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
}

/// Flags of an interface that the agent looks at or sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceFlags(u16);

impl InterfaceFlags {
    const UP: u16 = 0x1;
    const LOOPBACK: u16 = 0x8;
    const ALLMULTI: u16 = 0x200;

    /// Switched on.
    #[must_use]
    pub fn is_up(self) -> bool {
        self.0 & Self::UP != 0
    }

    /// Not a real interface.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        self.0 & Self::LOOPBACK != 0
    }

    /// Switched on, and hearing every multicast frame.
    #[must_use]
    pub fn listening(self) -> InterfaceFlags {
        InterfaceFlags(self.0 | Self::UP | Self::ALLMULTI)
    }
}

/// Reads an interface's flags.
///
/// # Errors
/// `ENODEV` when there is no such interface.
pub fn interface_flags(name: &str) -> rustix::io::Result<InterfaceFlags> {
    let mut request = IfReq::new(name)?;
    request.call::<SIOCGIFFLAGS>()?;
    Ok(InterfaceFlags(u16::from_ne_bytes([request.value[0], request.value[1]])))
}

/// Sets an interface's flags.
///
/// # Errors
/// The kernel's, for example for want of rights.
pub fn set_interface_flags(name: &str, flags: InterfaceFlags) -> rustix::io::Result<()> {
    let mut request = IfReq::new(name)?;
    request.value[..2].copy_from_slice(&flags.0.to_ne_bytes());
    request.call::<SIOCSIFFLAGS>()
}

/// The interface's first IPv4 address, if it has one.
#[must_use]
pub fn ipv4_address(name: &str) -> Option<Ipv4Addr> {
    let mut request = IfReq::new(name).ok()?;
    request.call::<SIOCGIFADDR>().ok()?;
    // struct sockaddr_in: family (2), port (2), address (4).
    let [_, _, _, _, a, b, c, d, ..] = request.value;
    Some(Ipv4Addr::new(a, b, c, d))
}

/// `struct sockaddr_ll`.
#[repr(C)]
struct LinkAddress {
    family: u16,
    protocol: u16,
    index: i32,
    hardware_type: u16,
    packet_type: u8,
    address_length: u8,
    address: [u8; 8],
}

// SAFETY: the pointer is to a whole struct sockaddr_ll that outlives the call of `f`, and the length is its size.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        f(std::ptr::from_ref(self).cast(), size_of::<Self>() as SocketAddrLen)
    }
}

/// A socket that hears the frames of one Ethernet type on one interface, head included.
///
/// # Errors
/// `EPERM` without the right to raw sockets, `ENODEV` when there is no such interface.
pub fn frame_socket(interface: &str, ether_type: u16) -> rustix::io::Result<OwnedFd> {
    let index = netdevice::name_to_index(any_socket()?.as_fd(), interface)?;
    // Protocol 0 hears nothing until the bind below names interface and type at once.
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None::<Protocol>)?;
    let address = LinkAddress {
        family: AddressFamily::PACKET.as_raw(),
        protocol: ether_type.to_be(),
        index: i32::try_from(index).map_err(|_| rustix::io::Errno::NODEV)?,
        hardware_type: 0,
        packet_type: 0,
        address_length: 0,
        address: [0; 8],
    };
    bind(&socket, &address)?;
    Ok(socket)
}
