//! The guard: everything that must be true of a datagram before the codec may touch it.
//!
//! `dhcproto` panics when `hlen` is above 16, does not look at the magic cookie, drops every option after a malformed
//! one without a word and does not follow option overload. All of that is settled here, with a reason for each refusal.

use dhcproto::v4::borrowed::{DhcpOptionIterator, Message};
use std::net::Ipv4Addr;

/// The longest datagram that is looked at, in bytes: a full Ethernet frame and some, not a jumbo frame.
pub const LARGEST_PACKET: usize = 2048;
/// Fixed header and magic cookie (RFC 2131 §2).
const SMALLEST_PACKET: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// More pieces than any client sends; a packet of empty options would have a thousand.
const MOST_OPTIONS: usize = 128;
/// RFC 1542 §4.1.1: a relay drops a message that went through more hops.
const MOST_HOPS: u8 = 16;

const PAD: u8 = 0;
const END: u8 = 255;
const OVERLOAD: u8 = 52;

/// A place in the packet that holds options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Behind the cookie.
    Options,
    /// The boot file name, used for options (RFC 2132 §9.3).
    File,
    /// The server name, used for options.
    ServerName,
}

impl std::fmt::Display for Area {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Area::Options => "the options",
            Area::File => "the options in the file field",
            Area::ServerName => "the options in the server name field",
        })
    }
}

/// Why a datagram is not looked at any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPacket {
    #[error("{0} bytes are too few for a DHCP message (240 at least)")]
    TooShort(usize),
    #[error("{0} bytes are more than a DHCP message may have here (2048 at most)")]
    TooLong(usize),
    #[error("the operation code is {0}, neither request (1) nor reply (2)")]
    Operation(u8),
    #[error("a {0} where the other direction was expected")]
    Direction(&'static str),
    #[error("hardware type {0} is not Ethernet (1)")]
    HardwareType(u8),
    #[error("hardware addresses of {0} bytes are not Ethernet's (6)")]
    HardwareLength(u8),
    #[error("the hardware address is all zeros or a group address")]
    HardwareAddress,
    #[error("{0} relay hops are too many (16 at most)")]
    Hops(u8),
    #[error("the DHCP cookie is missing: plain BOOTP or not DHCP at all")]
    Cookie,
    #[error("option {code} runs over the end of {area}")]
    Truncated { code: u8, area: Area },
    #[error("more than 128 options")]
    TooManyOptions,
    #[error("option overload (52) has the value {0}, not 1, 2 or 3")]
    Overload(u8),
    #[error("option {code} has {length} bytes; {wanted}")]
    OptionLength { code: u8, length: usize, wanted: &'static str },
    #[error("the message type (option 53) is missing: plain BOOTP")]
    NoMessageType,
    #[error("message type {0} is not one that this side takes")]
    MessageType(u8),
    #[error("the server identifier (option 54) is missing in a reply")]
    NoServer,
}

/// A datagram whose header and option structure are sound. Values of options are read by code, put together again
/// where they were split (RFC 3396) and gathered from overloaded fields.
#[derive(Debug)]
pub struct Packet<'a> {
    header: Message<'a>,
    options: Vec<(u8, Vec<u8>)>,
    file_is_options: bool,
}

impl<'a> Packet<'a> {
    /// Checks a datagram. Every refusal names what is wrong; nothing is skipped in silence.
    pub fn decode(bytes: &'a [u8]) -> Result<Packet<'a>, BadPacket> {
        if bytes.len() < SMALLEST_PACKET {
            return Err(BadPacket::TooShort(bytes.len()));
        }
        if bytes.len() > LARGEST_PACKET {
            return Err(BadPacket::TooLong(bytes.len()));
        }
        let [operation, hardware_type, hardware_length, hops] = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if !matches!(operation, 1 | 2) {
            return Err(BadPacket::Operation(operation));
        }
        if bytes[236..240] != COOKIE {
            return Err(BadPacket::Cookie);
        }
        if hardware_type != 1 {
            return Err(BadPacket::HardwareType(hardware_type));
        }
        // Before any call into the codec: it slices by this byte.
        if hardware_length != 6 {
            return Err(BadPacket::HardwareLength(hardware_length));
        }
        if hops > MOST_HOPS {
            return Err(BadPacket::Hops(hops));
        }
        if bytes[28] & 1 != 0 || bytes[28..34] == [0; 6] {
            return Err(BadPacket::HardwareAddress);
        }
        let header = Message::new(bytes).map_err(|_| BadPacket::TooShort(bytes.len()))?;
        let mut packet = Packet { header, options: Vec::with_capacity(24), file_is_options: false };
        let mut count = 0;
        packet.gather(&bytes[240..], Area::Options, &mut count)?;
        let overload = match packet.option(OVERLOAD) {
            None => 0,
            Some([value @ 1..=3]) => *value,
            Some([value]) => return Err(BadPacket::Overload(*value)),
            Some(other) => return Err(wrong_length(OVERLOAD, other.len(), "one is right")),
        };
        // RFC 3396 §5: the aggregate order is options, file, sname.
        if overload & 1 != 0 {
            packet.file_is_options = true;
            packet.gather(&bytes[108..236], Area::File, &mut count)?;
        }
        if overload & 2 != 0 {
            packet.gather(&bytes[44..108], Area::ServerName, &mut count)?;
        }
        Ok(packet)
    }

    fn gather(&mut self, area: &'a [u8], which: Area, count: &mut usize) -> Result<(), BadPacket> {
        walk(area, which, count)?;
        for option in DhcpOptionIterator::new(area) {
            let code = u8::from(option.code());
            match self.options.iter_mut().find(|(known, _)| *known == code) {
                Some((_, value)) => value.extend_from_slice(option.data()),
                None => self.options.push((code, option.data().to_vec())),
            }
        }
        Ok(())
    }

    /// The whole value of an option.
    #[must_use]
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(known, _)| *known == code).map(|(_, value)| value.as_slice())
    }

    /// The value of an option that has `N` bytes.
    pub fn fixed<const N: usize>(&self, code: u8, wanted: &'static str) -> Result<Option<[u8; N]>, BadPacket> {
        let Some(value) = self.option(code) else { return Ok(None) };
        value.try_into().map(Some).map_err(|_| wrong_length(code, value.len(), wanted))
    }

    /// The value of an option that is one address; the unspecified address counts as none.
    pub fn address(&self, code: u8) -> Result<Option<Ipv4Addr>, BadPacket> {
        let value = self.fixed::<4>(code, "four are right")?;
        Ok(value.map(Ipv4Addr::from).filter(|address| !address.is_unspecified()))
    }

    /// This is a reply of a server, not a request of a client.
    #[must_use]
    pub fn is_reply(&self) -> bool {
        self.header.opcode() == dhcproto::v4::Opcode::BootReply
    }

    /// The client's Ethernet address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        let mut mac = [0; 6];
        mac.copy_from_slice(&self.header.chaddr()[..6]);
        mac
    }

    /// Header fields, by the codec.
    #[must_use]
    pub fn header(&self) -> &Message<'a> {
        &self.header
    }

    /// The boot file name of the header; empty when the field holds options.
    #[must_use]
    pub fn file(&self) -> &'a [u8] {
        if self.file_is_options { &[] } else { self.header.fname() }
    }
}

pub(super) fn wrong_length(code: u8, length: usize, wanted: &'static str) -> BadPacket {
    BadPacket::OptionLength { code, length, wanted }
}

/// Looks at the structure of one area: every option ends inside it, and there are not too many of them. A missing end
/// mark is tolerated where the last option ends exactly with the area: old firmware does that.
fn walk(area: &[u8], which: Area, count: &mut usize) -> Result<(), BadPacket> {
    let mut rest = area;
    while let [code, after @ ..] = rest {
        match *code {
            PAD => rest = after,
            END => return Ok(()),
            code => {
                let truncated = BadPacket::Truncated { code, area: which };
                let [length, after @ ..] = after else { return Err(truncated) };
                rest = after.get(usize::from(*length)..).ok_or(truncated)?;
                *count += 1;
                if *count > MOST_OPTIONS {
                    return Err(BadPacket::TooManyOptions);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::client::{ClientMessage, Firmware};
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    fn plain(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 240];
        bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
        bytes[28..34].copy_from_slice(&MAC);
        bytes[236..].copy_from_slice(&COOKIE);
        bytes.extend(options);
        bytes
    }

    #[test]
    fn hostile_headers_are_refused_with_a_reason() {
        let good = plain(&[53, 1, 1, 255]);
        assert!(Packet::decode(&good).is_ok());
        let with = |index: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[index] = value;
            Packet::decode(&bytes).map(|_| ()).unwrap_err()
        };
        assert_eq!(with(0, 3), BadPacket::Operation(3));
        assert_eq!(with(1, 32), BadPacket::HardwareType(32));
        assert_eq!(with(2, 255), BadPacket::HardwareLength(255));
        assert_eq!(with(2, 17), BadPacket::HardwareLength(17));
        assert_eq!(with(2, 0), BadPacket::HardwareLength(0));
        assert_eq!(with(3, 17), BadPacket::Hops(17));
        assert_eq!(with(28, 0x53), BadPacket::HardwareAddress);
        assert_eq!(with(239, 98), BadPacket::Cookie);
        assert_eq!(Packet::decode(&good[..239]).map(|_| ()), Err(BadPacket::TooShort(239)));
        assert_eq!(Packet::decode(&vec![1; 2049]).map(|_| ()), Err(BadPacket::TooLong(2049)));
    }

    #[test]
    fn truncated_options_and_option_bombs_are_refused() {
        let refusal = |options: &[u8]| Packet::decode(&plain(options)).map(|_| ()).unwrap_err();
        assert_eq!(refusal(&[53, 1, 1, 12]), BadPacket::Truncated { code: 12, area: Area::Options });
        assert_eq!(refusal(&[53, 1, 1, 12, 9, b'a']), BadPacket::Truncated { code: 12, area: Area::Options });
        assert_eq!(refusal(&[12, 0].repeat(800)), BadPacket::TooManyOptions);
        assert_eq!(refusal(&[52, 1, 7, 255]), BadPacket::Overload(7));
        assert!(Packet::decode(&plain(&[53, 1, 1])).is_ok(), "an end mark may be missing");
    }

    #[test]
    fn split_options_are_joined_over_all_areas_in_order() {
        let mut bytes = plain(&[67, 2, b'a', b'b', 52, 1, 3, 67, 1, b'c', 255]);
        bytes[108..113].copy_from_slice(&[67, 1, b'd', 255, 9]);
        bytes[44..48].copy_from_slice(&[67, 1, b'e', 255]);
        let packet = Packet::decode(&bytes).unwrap();
        assert_eq!(packet.option(67), Some(&b"abcde"[..]));
        assert_eq!(packet.file(), b"", "the field holds options, not a name");
        bytes[109] = 200;
        assert_eq!(
            Packet::decode(&bytes).map(|_| ()).unwrap_err(),
            BadPacket::Truncated { code: 67, area: Area::File }
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            let _ = Packet::decode(&bytes);
        }

        #[test]
        fn mutated_packets_never_panic(
            firmware in prop_oneof![Just(Firmware::IpxeBios), Just(Firmware::UefiPxe), Just(Firmware::UefiHttp)],
            edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = ClientMessage::discover(firmware, MAC, 7).encode();
            for (place, value) in edits {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            if let Ok(packet) = Packet::decode(&bytes) {
                let _ = super::super::Request::from_packet(&packet);
                let _ = super::super::ServerMessage::from_packet(&packet);
            }
        }

        #[test]
        fn splitting_an_option_changes_nothing(value in proptest::collection::vec(any::<u8>(), 1..250), at in any::<prop::sample::Index>()) {
            let at = at.index(value.len());
            let piece = |part: &[u8]| [&[61, u8::try_from(part.len()).unwrap()][..], part].concat();
            let split = [piece(&value[..at]), vec![53, 1, 1], piece(&value[at..]), vec![255]].concat();
            let bytes = plain(&split);
            let packet = Packet::decode(&bytes).unwrap();
            prop_assert_eq!(packet.option(61), Some(&value[..]));
        }
    }
}
