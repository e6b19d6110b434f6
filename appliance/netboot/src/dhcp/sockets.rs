//! The sockets of one interface, and how messages are taken from them: as many as there are, together.

use super::config::BootConfig;
use super::packet::{FrameNote, Hear, Inbox, PacketSocket, READABLE_OR_LOST};
use super::server::StartError;
use leasehold_protocols::dhcp::{LARGEST_PACKET, SERVER_PORT};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;

/// How many packets of one socket are taken before others have their turn.
const MOST_AT_ONCE: usize = 64;
/// Frame and headers around the largest message that is looked at.
const BUFFER: usize = LARGEST_PACKET + 128;

/// The sockets of one interface.
pub(super) struct Sockets {
    pub(super) dhcp: AsyncFd<PacketSocket>,
    pub(super) arp: AsyncFd<PacketSocket>,
    /// One for each untagged address of ours.
    pub(super) udp: Vec<(Ipv4Addr, UdpSocket)>,
}

impl Sockets {
    pub(super) fn open(config: &BootConfig) -> Result<Sockets, StartError> {
        let interface = || config.interface.clone();
        let general = |error: io::Error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => StartError::Privilege { interface: interface(), error },
            Some(libc::ENODEV | libc::ENXIO) => StartError::NoInterface { interface: interface() },
            _ => StartError::Other { interface: interface(), error },
        };
        let raw = |hear| PacketSocket::open(&config.interface, hear).and_then(PacketSocket::register).map_err(general);
        let tagged = config.pools.iter().any(|pool| pool.vlan.is_some());
        let own = config.pools.iter().find(|pool| pool.vlan.is_none()).map(|pool| pool.server);
        let not_to = own.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let hear = if tagged { Hear::TaggedDhcp } else { Hear::Dhcp { not_to } };
        let mut sockets = Sockets { dhcp: raw(hear)?, arp: raw(Hear::Arp)?, udp: Vec::new() };
        for pool in config.pools.iter().filter(|pool| pool.vlan.is_none()) {
            let address = pool.server;
            if sockets.udp.iter().any(|(known, _)| *known == address) {
                continue;
            }
            let udp = open_udp(&config.interface, address).map_err(|error| match error.raw_os_error() {
                Some(libc::EADDRNOTAVAIL) => StartError::NoAddress { interface: interface(), address },
                Some(libc::EADDRINUSE) => StartError::PortTaken { interface: interface(), address },
                _ => general(error),
            })?;
            sockets.udp.push((address, udp));
        }
        Ok(sockets)
    }

    pub(super) fn udp(&self, address: Ipv4Addr) -> Option<&UdpSocket> {
        self.udp.iter().find(|(known, _)| *known == address).or(self.udp.first()).map(|(_, socket)| socket)
    }
}

/// A UDP socket for what is sent to one address of ours on one interface. Without SO_REUSEADDR: a second server on
/// this machine is to be noticed.
fn open_udp(interface: &str, address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddrV4::new(address, SERVER_PORT).into())?;
    let _ = socket.set_recv_buffer_size(4 << 20);
    UdpSocket::from_std(socket.into())
}

/// The socket is still good.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EINTR | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Hands every message of a UDP socket to `hear`, and says `all` after those that came together, until the socket fails.
pub(super) async fn receive_messages<T: Default>(
    socket: &UdpSocket,
    hear: impl Fn(&[u8], &mut T),
    all: impl Fn(T),
) -> io::Error {
    let mut inbox = Inbox::new(MOST_AT_ONCE, BUFFER);
    loop {
        if let Err(error) = socket.readable().await {
            return error;
        }
        let taken = socket.try_io(Interest::READABLE, || match inbox.receive(socket) {
            // There is nothing more: to be told without another look, for what comes later wakes us anew.
            Ok(true) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        });
        match taken {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // What an earlier answer met (a relay that is gone) is told to the next read.
            Err(error) if is_passing(&error) => {}
            Err(error) => return error,
        }
        let mut turn = T::default();
        for message in inbox.messages() {
            hear(message, &mut turn);
        }
        all(turn);
        tokio::task::yield_now().await;
    }
}

/// The same for the frames of a raw socket.
pub(super) async fn receive_frames<T: Default>(
    socket: &AsyncFd<PacketSocket>,
    hear: impl Fn(&[u8], FrameNote, &mut T),
    all: impl Fn(T),
) -> io::Error {
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut ready = match socket.ready(READABLE_OR_LOST).await {
            Ok(ready) => ready,
            Err(error) => return error,
        };
        let lost = ready.ready().is_error();
        let mut turn = T::default();
        // As many as there are, but not for ever: other tasks of this thread have packets, too.
        for _ in 0..MOST_AT_ONCE {
            match ready.try_io(|socket| socket.get_ref().receive(&mut buffer)) {
                Ok(Ok(note)) if note.outgoing => {}
                Ok(Ok(note)) => hear(&buffer[..note.length], note, &mut turn),
                Ok(Err(error)) if is_passing(&error) => {}
                Ok(Err(error)) => return error,
                // A send may have met the error before: the kernel tells it once.
                Err(_would_block) if lost => return io::Error::from_raw_os_error(libc::ENETDOWN),
                Err(_would_block) => break,
            }
        }
        all(turn);
        tokio::task::yield_now().await;
    }
}
