//! The sockets of the TFTP server: listening, one per transfer, and the sending of a run of blocks.

use super::gso;
use leasehold_protocols::tftp::Run;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg_addr, sendto, sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

/// The most packets that one GSO message may hold (`UDP_MAX_SEGMENTS` of kernels before 6.9).
const MOST_SEGMENTS: usize = 64;
/// The most bytes of one GSO message: below 64 KiB less the headers.
const MOST_BYTES: usize = 65_000;
/// The smallest block that is sent in batches. The kernel cuts every message on the socket, so a segment must not be
/// smaller than our longest OACK or ERROR, which stay well below this.
const SMALLEST_BATCHED: usize = 512;
/// The MTU of an Ethernet, where the kernel does not tell.
const ETHERNET: u32 = 1500;
/// IPv4, UDP and TFTP headers.
const HEADERS: u32 = 20 + 8 + 4;

/// A socket on which requests come in.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: UdpSocket,
    address: SocketAddrV4,
    interface: Option<String>,
}

impl Listener {
    pub(super) fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Binds it to its interface again: the kernel means the one that was there, not one of the same name that was made
    /// after it.
    pub(super) fn attach_again(&self) {
        if let Some(interface) = &self.interface {
            // It may be away, or not yet back; the next time counts.
            let _ = SockRef::from(&self.socket).bind_device(Some(interface.as_bytes()));
        }
    }
}

/// Binds a listening socket.
pub(super) fn listen(address: SocketAddrV4, interface: Option<&str>) -> io::Result<Listener> {
    let socket = bound(address, interface)?;
    // Room for the requests of a rack that is switched on at once. The kernel may grant less, which is no error.
    let _ = socket.set_recv_buffer_size(1 << 20);
    let socket = UdpSocket::from(socket);
    let address = match socket.local_addr()? {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(_) => address,
    };
    Ok(Listener { socket, address, interface: interface.map(str::to_owned) })
}

fn bound(address: SocketAddrV4, interface: Option<&str>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    socket.bind(&SocketAddr::V4(address).into())?;
    Ok(socket)
}

/// The socket of one transfer.
#[derive(Debug)]
pub(super) struct Sender {
    socket: UdpSocket,
    batches: bool,
}

/// How far a run got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) packets: u16,
    /// The socket's buffer is full: wait until it is writable.
    pub(super) full: bool,
}

impl Sender {
    /// A socket on the listener's address and a port of its own, for packets of `blksize` bytes of payload.
    pub(super) fn open(listener: &Listener, blksize: u16) -> io::Result<Self> {
        let address = SocketAddrV4::new(*listener.address.ip(), 0);
        let socket = UdpSocket::from(bound(address, listener.interface.as_deref())?);
        let worth_it = (SMALLEST_BATCHED..MOST_BYTES / 2).contains(&usize::from(blksize));
        let batches = worth_it && gso::set_segment(&socket, blksize.saturating_add(4)).is_ok();
        Ok(Sender { socket, batches })
    }

    pub(super) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Sends one datagram. An error other than a full buffer counts as a loss on the way: the client's silence will
    /// bring it up again, and a route may come back.
    pub(super) fn packet(&self, peer: SocketAddrV4, bytes: &[u8]) -> Sent {
        match sendto(&self.socket, bytes, SendFlags::empty(), &peer) {
            Err(Errno::AGAIN) => Sent { packets: 0, full: true },
            _ => Sent { packets: 1, full: false },
        }
    }

    /// Sends a run of blocks, as many at once as the kernel takes.
    pub(super) fn run(&mut self, peer: SocketAddrV4, run: &Run<'_>) -> Sent {
        let mut sent = 0;
        while sent < run.blocks() {
            let most = if self.batches { MOST_SEGMENTS.min(MOST_BYTES / run.packet_size()).max(1) } else { 1 };
            let count = usize::from(run.blocks() - sent).min(most);
            match self.batch(peer, run, sent, count) {
                Ok(()) => sent += count as u16,
                Err(Errno::AGAIN) => return Sent { packets: sent, full: true },
                Err(_) if count > 1 => {
                    // No checksum offload on the way out, a smaller MTU than the route says, an odd driver: send this
                    // transfer's packets one by one from now on.
                    self.batches = false;
                    let _ = gso::set_segment(&self.socket, 0);
                }
                Err(_) => sent += 1,
            }
        }
        Sent { packets: sent, full: false }
    }

    fn batch(&self, peer: SocketAddrV4, run: &Run<'_>, from: u16, count: usize) -> Result<(), Errno> {
        let mut headers = [[0; 4]; MOST_SEGMENTS];
        for (header, index) in headers[..count].iter_mut().zip(from..) {
            *header = run.packet(index).0;
        }
        let mut parts = [IoSlice::new(&[]); MOST_SEGMENTS * 2];
        for ((pair, header), index) in parts.chunks_exact_mut(2).zip(&headers[..count]).zip(from..) {
            pair[0] = IoSlice::new(header);
            pair[1] = IoSlice::new(run.packet(index).1);
        }
        let mut control = SendAncillaryBuffer::default();
        sendmsg_addr(&self.socket, &peer, &parts[..count * 2], &mut control, SendFlags::empty()).map(drop)
    }
}

/// The greatest block that reaches `peer` in one frame: bigger ones would be fragmented, and one lost fragment loses
/// the block. Asked of the kernel's routes with a socket of its own, as connecting the transfer's would hide strangers.
pub(super) fn greatest_block(listener: &Listener, peer: SocketAddrV4) -> u16 {
    let mtu = || -> io::Result<u32> {
        let probe = bound(SocketAddrV4::new(*listener.address.ip(), 0), listener.interface.as_deref())?;
        probe.connect(&SocketAddr::V4(peer).into())?;
        Ok(sockopt::ip_mtu(&probe)?)
    };
    let mtu = mtu().unwrap_or(ETHERNET);
    u16::try_from(mtu.saturating_sub(HEADERS)).unwrap_or(u16::MAX)
}

/// Whether a request from this address can be answered at all.
pub(super) fn is_answerable(peer: SocketAddrV4) -> bool {
    let address: &Ipv4Addr = peer.ip();
    peer.port() != 0 && !address.is_unspecified() && !address.is_broadcast() && !address.is_multicast()
}
