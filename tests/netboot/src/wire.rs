//! A network card as raw frames: what firmware does before it has an address, and what no honest client does.
//!
//! `unsafe` is needed for one thing: the kernel's address structure of packet sockets, which no safe crate makes.
#![allow(unsafe_code)]

use anyhow::{Context, Result};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

pub(crate) const EVERYBODY: [u8; 6] = [0xff; 6];
const ETHERNET_HEAD: usize = 14;
const IP_HEAD: usize = 20;
const UDP_HEAD: usize = 8;
const IPV4: [u8; 2] = [8, 0];

/// A card, heard and spoken on below IP.
pub(crate) struct Wire {
    socket: Socket,
    pub(crate) mac: [u8; 6],
}

/// A UDP datagram with the frame around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) to_mac: [u8; 6],
    pub(crate) to: SocketAddrV4,
    pub(crate) from: SocketAddrV4,
    pub(crate) payload: Vec<u8>,
}

impl Wire {
    /// Opens the card. Call it in the card's namespace.
    pub(crate) fn open(card: &str) -> Result<Wire> {
        let of_card = |name: &str| std::fs::read_to_string(format!("/sys/class/net/{card}/{name}"));
        let index: i32 = of_card("ifindex")?.trim().parse()?;
        let mut mac = [0; 6];
        for (byte, text) in mac.iter_mut().zip(of_card("address")?.trim().split(':')) {
            *byte = u8::from_str_radix(text, 16)?;
        }
        let socket = Socket::new(Domain::PACKET, Type::RAW, None).context("a packet socket")?;
        let protocol = u16::try_from(libc::ETH_P_ALL)?.to_be();
        // SAFETY: a zeroed sockaddr_ll is valid; it is smaller than the storage, and its own size is given back.
        let (_, address) = unsafe {
            SockAddr::try_init(|storage, length| {
                let link = storage.cast::<libc::sockaddr_ll>();
                (*link).sll_family = libc::AF_PACKET as libc::sa_family_t;
                (*link).sll_protocol = protocol;
                (*link).sll_ifindex = index;
                *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
                Ok(())
            })?
        };
        socket.bind(&address)?;
        socket.set_recv_buffer_size(1 << 20)?;
        Ok(Wire { socket, mac })
    }

    /// Sends a frame as it is.
    pub(crate) fn send(&self, frame: &[u8]) -> Result<()> {
        self.socket.send(frame).map(drop).context("the frame cannot be sent")
    }

    /// The next UDP datagram; `None` when none came until `deadline`.
    pub(crate) fn receive(&self, deadline: Instant) -> Result<Option<Heard>> {
        let mut buffer = vec![0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match (&self.socket).read(&mut buffer) {
                Ok(length) => {
                    if let Some(heard) = read_datagram(&buffer[..length]) {
                        return Ok(Some(heard));
                    }
                }
                Err(error)
                    if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A frame around a datagram.
pub(crate) fn datagram(
    from_mac: [u8; 6],
    to_mac: [u8; 6],
    from: SocketAddrV4,
    to: SocketAddrV4,
    payload: &[u8],
) -> Vec<u8> {
    let short = |number: usize| u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
    let mut frame = [&to_mac[..], &from_mac, &IPV4].concat();
    let mut head = vec![0x45, 0];
    head.extend(short(IP_HEAD + UDP_HEAD + payload.len()));
    head.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    head.extend(from.ip().octets());
    head.extend(to.ip().octets());
    let sum: u32 = head.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    head[10..12].copy_from_slice(&checksum.to_be_bytes());
    frame.extend(head);
    frame.extend(from.port().to_be_bytes());
    frame.extend(to.port().to_be_bytes());
    frame.extend(short(UDP_HEAD + payload.len()));
    // No checksum, which IPv4 allows.
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

/// A client's broadcast.
pub(crate) fn from_client(mac: [u8; 6], payload: &[u8]) -> Vec<u8> {
    let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
    datagram(mac, EVERYBODY, nowhere, SocketAddrV4::new(Ipv4Addr::BROADCAST, 67), payload)
}

fn read_datagram(frame: &[u8]) -> Option<Heard> {
    let to_mac = frame.get(..6)?.try_into().ok()?;
    if frame.get(12..14)? != IPV4 {
        return None;
    }
    let ip = frame.get(ETHERNET_HEAD..)?;
    if ip.get(9) != Some(&17) {
        return None;
    }
    let udp = ip.get(usize::from(ip[0] & 15) * 4..)?;
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?));
    let number = |at: usize| Some(u16::from_be_bytes(udp.get(at..at + 2)?.try_into().ok()?));
    Some(Heard {
        to_mac,
        from: SocketAddrV4::new(address(12)?, number(0)?),
        to: SocketAddrV4::new(address(16)?, number(2)?),
        payload: udp.get(UDP_HEAD..usize::from(number(4)?))?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let (from, to) =
            (SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 67), SocketAddrV4::new(Ipv4Addr::BROADCAST, 68));
        let frame = datagram([2; 6], EVERYBODY, from, to, b"hello");
        let heard = Heard { to_mac: EVERYBODY, to, from, payload: b"hello".to_vec() };
        assert_eq!(read_datagram(&frame), Some(heard));
        for length in 0..frame.len() {
            assert_eq!(read_datagram(&frame[..length]), None);
        }
    }
}
