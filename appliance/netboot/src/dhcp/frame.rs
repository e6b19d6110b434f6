//! Ethernet frames with a UDP datagram or an ARP packet in them: read and written as bytes.

use std::net::Ipv4Addr;

const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const UDP: u8 = 17;
/// All stations on the wire.
pub(super) const EVERYBODY: [u8; 6] = [0xff; 6];

/// A UDP datagram as it came in a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) source_mac: [u8; 6],
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) payload: &'a [u8],
}

/// Reads a frame without VLAN tag (the kernel has taken it off). `None`: no whole UDP datagram over IPv4, or damaged.
/// `checked`: the checksum of UDP is to be looked at; it is not there yet in a frame that never left this machine.
pub(super) fn read_datagram(frame: &[u8], checked: bool) -> Option<Datagram<'_>> {
    let (ethernet, packet) = frame.split_at_checked(14)?;
    if ethernet[12..14] != IPV4 {
        return None;
    }
    let header_length = usize::from(packet.first()? & 0x0f) * 4;
    if packet[0] >> 4 != 4 || header_length < 20 {
        return None;
    }
    let header = packet.get(..header_length)?;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // The frame may be padded; what is behind the packet's own length is not part of it.
    let body = packet.get(header_length..total)?;
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    if header[9] != UDP || fragment != 0 || fold(sum(header, 0)) != 0 {
        return None;
    }
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let destination = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
    let length = usize::from(u16::from_be_bytes([*body.get(4)?, *body.get(5)?]));
    let udp = body.get(..length).filter(|udp| udp.len() >= 8)?;
    let has_checksum = udp[6..8] != [0, 0];
    if checked && has_checksum && fold(sum(udp, pseudo_header(source, destination, udp.len()))) != 0 {
        return None;
    }
    let mut source_mac = [0; 6];
    source_mac.copy_from_slice(&ethernet[6..12]);
    Some(Datagram {
        source_mac,
        source,
        destination,
        source_port: u16::from_be_bytes([udp[0], udp[1]]),
        destination_port: u16::from_be_bytes([udp[2], udp[3]]),
        payload: &udp[8..],
    })
}

/// Where a frame goes and comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) source_mac: [u8; 6],
    pub(super) destination_mac: [u8; 6],
    pub(super) vlan: Option<u16>,
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
}

/// Writes a frame. `None`: the payload is too long for a datagram.
pub(super) fn write_datagram(way: &Way, payload: &[u8]) -> Option<Vec<u8>> {
    let udp_length = u16::try_from(payload.len() + 8).ok()?;
    let total = udp_length.checked_add(20)?;
    let mut frame = Vec::with_capacity(payload.len() + 46);
    frame.extend(way.destination_mac);
    frame.extend(way.source_mac);
    if let Some(vlan) = way.vlan {
        frame.extend([0x81, 0x00]);
        frame.extend((vlan & 0x0fff).to_be_bytes());
    }
    frame.extend(IPV4);
    let header_at = frame.len();
    frame.extend([0x45, 0]);
    frame.extend(total.to_be_bytes());
    // Not to be fragmented, hence no identification needed (RFC 6864 §4.1).
    frame.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
    frame.extend(way.source.octets());
    frame.extend(way.destination.octets());
    let checksum = fold(sum(&frame[header_at..], 0));
    frame[header_at + 10..header_at + 12].copy_from_slice(&checksum.to_be_bytes());
    let udp_at = frame.len();
    frame.extend(way.source_port.to_be_bytes());
    frame.extend(way.destination_port.to_be_bytes());
    frame.extend(udp_length.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    let checksum = fold(sum(&frame[udp_at..], pseudo_header(way.source, way.destination, frame.len() - udp_at)));
    // Zero means "no checksum" in UDP; its other spelling means zero.
    let checksum = if checksum == 0 { 0xffff } else { checksum };
    frame[udp_at + 6..udp_at + 8].copy_from_slice(&checksum.to_be_bytes());
    Some(frame)
}

/// The sum of 16-bit words in one's complement, not yet folded (RFC 1071).
fn sum(bytes: &[u8], start: u32) -> u32 {
    let mut pairs = bytes.chunks_exact(2);
    let words: u32 = pairs.by_ref().map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let last = pairs.remainder().first().map_or(0, |byte| u32::from(*byte) << 8);
    start + words + last
}

fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, length: usize) -> u32 {
    let start = u32::from(UDP) + u32::try_from(length).unwrap_or(u32::MAX >> 1);
    sum(&destination.octets(), sum(&source.octets(), start))
}

/// The complement of the folded sum: the checksum of what has a zero in its place, and 0 for what carries a right one.
fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// What an ARP packet says (RFC 826), request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ArpPacket {
    pub(super) sender_mac: [u8; 6],
    pub(super) sender: Ipv4Addr,
    pub(super) target: Ipv4Addr,
}

/// Reads a frame with an ARP packet for IPv4 over Ethernet.
pub(super) fn read_arp(frame: &[u8]) -> Option<ArpPacket> {
    let packet = frame.get(14..42)?;
    if frame[12..14] != ARP || packet[..6] != [0, 1, 8, 0, 6, 4] || !matches!(packet[6..8], [0, 1] | [0, 2]) {
        return None;
    }
    let mut sender_mac = [0; 6];
    sender_mac.copy_from_slice(&packet[8..14]);
    Some(ArpPacket {
        sender_mac,
        sender: Ipv4Addr::new(packet[14], packet[15], packet[16], packet[17]),
        target: Ipv4Addr::new(packet[24], packet[25], packet[26], packet[27]),
    })
}

/// Writes a probe for an address: a request from nobody (RFC 5227 §2.1.1).
pub(super) fn write_probe(source_mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(60);
    frame.extend(EVERYBODY);
    frame.extend(source_mac);
    frame.extend(ARP);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(source_mac);
    frame.extend([0; 4]);
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame.resize(60, 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn way() -> Way {
        Way {
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: EVERYBODY,
            vlan: None,
            source: Ipv4Addr::new(10, 0, 0, 1),
            destination: Ipv4Addr::BROADCAST,
            source_port: 67,
            destination_port: 68,
        }
    }

    #[test]
    fn a_known_header_has_its_known_checksum() {
        // The example of RFC 1071's many texts: 4500 0073 0000 4000 4011 …, checksum b861.
        let header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(fold(sum(&header, 0)), 0xb861);
    }

    #[test]
    fn damaged_frames_are_not_read() {
        let frame = write_datagram(&way(), b"hello").unwrap();
        assert!(read_datagram(&frame, true).is_some());
        for index in 12..frame.len() {
            let mut damaged = frame.clone();
            damaged[index] ^= 0x55;
            assert!(read_datagram(&damaged, true).is_none(), "byte {index}");
            assert!(read_datagram(&frame[..index], true).is_none(), "cut at {index}");
        }
    }

    #[test]
    fn a_tag_stands_between_addresses_and_type() {
        let frame = write_datagram(&Way { vlan: Some(0x123), ..way() }, b"x").unwrap();
        assert_eq!(frame[12..18], [0x81, 0, 0x01, 0x23, 0x08, 0x00]);
    }

    #[test]
    fn a_probe_is_a_request_from_nobody() {
        let address = Ipv4Addr::new(10, 0, 0, 9);
        let frame = write_probe([2, 0, 0, 0, 0, 1], address);
        let packet = ArpPacket { sender_mac: [2, 0, 0, 0, 0, 1], sender: Ipv4Addr::UNSPECIFIED, target: address };
        assert_eq!(read_arp(&frame), Some(packet));
        assert_eq!((frame.len(), read_arp(&frame[..41])), (60, None));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(payload in proptest::collection::vec(any::<u8>(), 0..1400), source: u32, pad in 0..20_usize) {
            let way = Way { source: source.into(), ..way() };
            let mut frame = write_datagram(&way, &payload).unwrap();
            frame.resize(frame.len() + pad, 0xee);
            let read = read_datagram(&frame, true).unwrap();
            prop_assert_eq!(read.payload, &payload[..]);
            prop_assert_eq!((read.source, read.destination), (way.source, way.destination));
            prop_assert_eq!((read.source_port, read.destination_port, read.source_mac), (67, 68, way.source_mac));
        }

        #[test]
        fn any_frame_is_read_or_not(frame in proptest::collection::vec(any::<u8>(), 0..120), checked: bool) {
            let _ = read_datagram(&frame, checked);
            let _ = read_arp(&frame);
        }
    }
}
