//! The raw socket: frames in and out of one interface, below IP.
//!
//! A client without an address can neither be reached by the kernel's IP (it answers no ARP) nor heard by it in full
//! (the VLAN tag is gone, and unicast to foreign addresses with it). Unsafe, because the address family and the control
//! message of a packet socket exist in no safe interface: `sockaddr_ll`, `PACKET_AUXDATA`, `recvmsg`. Everything that is
//! unsafe is in this file; its face takes and gives slices and plain values.
#![allow(unsafe_code)]

mod many;

pub(super) use many::{Inbox, send as send_many};

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, SockFilter, Socket, Type};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, RawFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Which frames a socket hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hear {
    /// UDP over IPv4 to or from the port of DHCP servers, untagged; not what is sent to this address, for which a UDP
    /// socket listens: every message of a relay would be read twice.
    Dhcp {
        not_to: Ipv4Addr,
    },
    /// The same with any VLAN tag. It costs a look at every frame of the interface, in and out: the kernel takes the tag
    /// off before it gives a frame to sockets that named a protocol, and keeps it only for those that take all.
    TaggedDhcp,
    Arp,
}

impl Hear {
    fn ethertype(self) -> u16 {
        match self {
            Hear::Dhcp { .. } => 0x0800,
            Hear::TaggedDhcp => 0x0003,
            Hear::Arp => 0x0806,
        }
    }

    /// What the kernel lets through, so that other traffic costs no wake-up: classic BPF on the Ethernet frame, as
    /// (operation, jump if true, jump if false, value).
    fn filter(self) -> Vec<Instruction> {
        let not_to = match self {
            Hear::Arp => return vec![(RETURN, 0, 0, PASS)],
            // On a VLAN unicast comes here only.
            Hear::TaggedDhcp => Ipv4Addr::UNSPECIFIED,
            Hear::Dhcp { not_to } => not_to,
        };
        vec![
            (LOAD_HALF, 0, 0, 12),
            (IF_EQUAL, 0, 11, 0x0800),
            (LOAD_BYTE, 0, 0, 23),
            (IF_EQUAL, 0, 9, 17),
            (LOAD_HALF, 0, 0, 20),
            (IF_ANY_BIT, 7, 0, 0x1fff),
            (X_IS_HEADER_LENGTH, 0, 0, 14),
            (LOAD_HALF_AT_X, 0, 0, 16),
            (IF_EQUAL, 2, 0, 67),
            (LOAD_HALF_AT_X, 0, 0, 14),
            (IF_EQUAL, 3, 2, 67),
            (LOAD_WORD, 0, 0, 30),
            (IF_EQUAL, 0, 1, u32::from(not_to)),
            (RETURN, 0, 0, 0),
            (RETURN, 0, 0, PASS),
        ]
    }
}

type Instruction = (u16, u8, u8, u32);
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
/// Four times the low half of the byte: the length of an IPv4 header.
const X_IS_HEADER_LENGTH: u16 = 0xb1;
const LOAD_HALF_AT_X: u16 = 0x48;
const IF_EQUAL: u16 = 0x15;
const IF_ANY_BIT: u16 = 0x45;
/// How many bytes of the frame pass; 0: it is not heard.
const RETURN: u16 = 0x06;
const PASS: u32 = 0x4_0000;

/// What the kernel tells of a frame besides its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FrameNote {
    /// How many bytes of the buffer it has.
    pub(super) length: usize,
    /// The VLAN tag that the kernel took off.
    pub(super) vlan: Option<u16>,
    /// The checksum of UDP is still to be made by hardware that it never reached.
    pub(super) checksum_pending: bool,
    /// It was for another station: seen because the interface listens to everything, or because of its tag.
    pub(super) for_others: bool,
    /// We sent it ourselves.
    pub(super) outgoing: bool,
}

/// A packet socket on one interface, non-blocking.
#[derive(Debug)]
pub(super) struct PacketSocket {
    socket: Socket,
    mac: [u8; 6],
}

/// What a packet socket is waited for with: when its interface goes away, an error is all that the kernel tells.
pub(super) const READABLE_OR_LOST: Interest = Interest::READABLE.add(Interest::ERROR);

/// Room for the one control message that is asked for, with its alignment.
#[repr(align(8))]
struct Control([u8; 64]);

impl PacketSocket {
    /// Opens the socket. It needs the capability to use raw sockets.
    pub(super) fn open(interface: &str, hear: Hear) -> io::Result<PacketSocket> {
        // Protocol 0 hears nothing: nothing unfiltered gets in before the filter stands.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        socket.set_nonblocking(true)?;
        let filter: Vec<SockFilter> =
            hear.filter().iter().map(|(code, yes, no, value)| SockFilter::new(*code, *yes, *no, *value)).collect();
        socket.attach_filter(&filter)?;
        let index = rustix::net::netdevice::name_to_index(&socket, interface)?;
        set_auxdata(socket.as_raw_fd())?;
        socket.bind(&link_address(hear.ethertype(), index))?;
        // Room for the storm of a rack that is switched on; where the system allows less, less.
        let _ = socket.set_recv_buffer_size(4 << 20);
        let mac = own_mac(&socket.local_addr()?)?;
        Ok(PacketSocket { socket, mac })
    }

    /// Hands the socket to the runtime, to be woken when there is a frame. Must be called inside a runtime.
    pub(super) fn register(self) -> io::Result<AsyncFd<PacketSocket>> {
        // SAFETY: the socket owns its descriptor, never changes it, and is owned by what is returned.
        Ok(unsafe { AsyncFd::register_with_interest(self, READABLE_OR_LOST) }?)
    }

    /// The Ethernet address of the interface.
    pub(super) fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Takes the next frame. What does not fit the buffer is cut off.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<FrameNote> {
        let mut control = Control([0; 64]);
        let mut from = MaybeUninit::<libc::sockaddr_ll>::zeroed();
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: an all-zero msghdr is a valid, empty one.
        let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        message.msg_name = from.as_mut_ptr().cast();
        message.msg_namelen = socklen::<libc::sockaddr_ll>();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len();
        // SAFETY: every pointer in the header is to a live local or to the caller's buffer, with its right length, and
        // none is used after this function.
        let length = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: it was all zeros, which is a valid value, and the kernel wrote at most its size.
        let from = unsafe { from.assume_init() };
        let mut note = FrameNote {
            length: length.min(buffer.len()),
            for_others: from.sll_pkttype == libc::PACKET_OTHERHOST,
            outgoing: from.sll_pkttype == libc::PACKET_OUTGOING,
            ..FrameNote::default()
        };
        if let Some(aux) = auxdata(&message) {
            note.checksum_pending = aux.tp_status & libc::TP_STATUS_CSUMNOTREADY != 0;
            let tagged = aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
            // Tag 0 carries a priority only.
            note.vlan = Some(aux.tp_vlan_tci & 0x0fff).filter(|vlan| tagged && *vlan != 0);
        }
        Ok(note)
    }

    /// Sends a whole frame.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(|_| ())
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The length of an address structure, as the system takes it.
fn socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(libc::socklen_t::MAX)
}

/// Asks for the note of VLAN tag and checksum with each frame.
fn set_auxdata(socket: RawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the value is a live int and its length is an int's.
    let result = unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_PACKET,
            libc::PACKET_AUXDATA,
            (&raw const on).cast(),
            socklen::<libc::c_int>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The address of an interface for frames of one type.
fn link_address(ethertype: u16, index: u32) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is smaller than the storage, which is aligned for every address, and any bytes are a value.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = libc::sa_family_t::try_from(libc::AF_PACKET).unwrap_or_default();
    link.sll_protocol = ethertype.to_be();
    link.sll_ifindex = i32::try_from(index).unwrap_or_default();
    // SAFETY: the storage holds an address of this length.
    unsafe { SockAddr::new(storage, socklen::<libc::sockaddr_ll>()) }
}

/// The Ethernet address in the address that the kernel gives a bound packet socket.
fn own_mac(address: &SockAddr) -> io::Result<[u8; 6]> {
    let unfit = || io::Error::new(io::ErrorKind::Unsupported, "the interface is not Ethernet");
    if address.len() < socklen::<libc::sockaddr_ll>() - 2 {
        return Err(unfit());
    }
    // SAFETY: the storage behind the pointer is larger than `sockaddr_ll` and aligned for it; any bytes are a value.
    let link = unsafe { address.as_ptr().cast::<libc::sockaddr_ll>().read() };
    let ethernet = matches!(link.sll_hatype, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK);
    if !ethernet || link.sll_halen != 6 {
        return Err(unfit());
    }
    let [a, b, c, d, e, f, ..] = link.sll_addr;
    Ok([a, b, c, d, e, f])
}

/// The note in the control messages of a received frame.
fn auxdata(message: &libc::msghdr) -> Option<libc::tpacket_auxdata> {
    // SAFETY: the header was filled by the kernel over a live, aligned control buffer; these walk within its length,
    // and the data is read only where the message says it is long enough.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(message);
        while let Some(header) = control.as_ref() {
            let wanted = libc::CMSG_LEN(u32::try_from(size_of::<libc::tpacket_auxdata>()).unwrap_or(u32::MAX));
            if header.cmsg_level == libc::SOL_PACKET
                && header.cmsg_type == libc::PACKET_AUXDATA
                && header.cmsg_len >= usize::try_from(wanted).unwrap_or(usize::MAX)
            {
                return Some(libc::CMSG_DATA(control).cast::<libc::tpacket_auxdata>().read_unaligned());
            }
            control = libc::CMSG_NXTHDR(message, control);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_address_says_what_it_was_made_of() {
        let address = link_address(0x0800, 7);
        assert_eq!(i32::from(address.family()), libc::AF_PACKET);
        assert_eq!(own_mac(&address).map_err(|error| error.kind()), Err(io::ErrorKind::Unsupported), "no address yet");
    }

    /// What the kernel does with a filter: how many bytes pass. A load behind the end lets nothing pass.
    fn passes(filter: &[Instruction], frame: &[u8]) -> u32 {
        let byte = |at: usize| frame.get(at).map(|byte| u32::from(*byte));
        let half = |at: usize| Some(byte(at)? << 8 | byte(at + 1)?);
        let (mut a, mut x, mut at) = (0_u32, 0_usize, 0_usize);
        loop {
            let (code, yes, no, value) = filter[at];
            let place = value as usize;
            at += 1;
            let loaded = match code {
                LOAD_WORD => half(place).zip(half(place + 2)).map(|(high, low)| high << 16 | low),
                LOAD_HALF => half(place),
                LOAD_BYTE => byte(place),
                LOAD_HALF_AT_X => half(x + place),
                X_IS_HEADER_LENGTH => byte(place).inspect(|byte| x = (*byte as usize & 15) * 4).and(Some(a)),
                IF_EQUAL => {
                    at += usize::from(if a == value { yes } else { no });
                    Some(a)
                }
                IF_ANY_BIT => {
                    at += usize::from(if a & value != 0 { yes } else { no });
                    Some(a)
                }
                RETURN => return value,
                other => panic!("operation {other:#x}"),
            };
            match loaded {
                Some(loaded) => a = loaded,
                None => return 0,
            }
        }
    }

    #[test]
    fn only_dhcp_passes_the_filter() {
        use super::super::frame::{EVERYBODY, Way, write_datagram, write_probe};
        let frame = |source_port, destination_port| {
            let way = Way {
                source_mac: [2, 0, 0, 0, 0, 1],
                destination_mac: EVERYBODY,
                vlan: None,
                source: Ipv4Addr::UNSPECIFIED,
                destination: Ipv4Addr::BROADCAST,
                source_port,
                destination_port,
            };
            write_datagram(&way, b"payload").unwrap()
        };
        let served = Ipv4Addr::new(10, 0, 0, 1);
        let filter = &Hear::Dhcp { not_to: served }.filter()[..];
        for (source, destination, heard) in
            [(68, 67, true), (67, 68, true), (67, 67, true), (53, 68, false), (9, 9, false)]
        {
            assert_eq!(passes(filter, &frame(source, destination)) != 0, heard, "{source} to {destination}");
        }
        let changed = |index: usize, value: u8| {
            let mut frame = frame(68, 67);
            frame[index] = value;
            passes(filter, &frame)
        };
        assert_eq!(changed(13, 0xdd), 0, "not IPv4");
        assert_eq!(changed(23, 6), 0, "not UDP");
        assert_eq!(changed(21, 1), 0, "a later fragment");
        assert_eq!(passes(filter, &frame(68, 67)[..30]), 0, "cut");
        let to_us = |source, destination| {
            let mut frame = frame(source, destination);
            frame[30..34].copy_from_slice(&served.octets());
            frame
        };
        assert_eq!(passes(filter, &to_us(67, 67)), 0, "the UDP socket has it");
        assert_ne!(passes(filter, &to_us(67, 68)), 0, "a rival's answer");
        assert_ne!(passes(&Hear::TaggedDhcp.filter(), &to_us(67, 67)), 0, "perhaps on a VLAN");
        assert_ne!(passes(&Hear::Arp.filter(), &write_probe([2, 0, 0, 0, 0, 1], Ipv4Addr::LOCALHOST)), 0);
    }
}
