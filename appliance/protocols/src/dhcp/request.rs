//! What a client asks, with types.

use super::guard::{BadPacket, Packet, wrong_length};
use super::option::{IpxeFeatures, code, link_selection, user_classes};
use dhcproto::v4::MessageType;
use std::net::Ipv4Addr;

/// The messages that clients send (RFC 2131 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    Discover,
    Request,
    Decline,
    Release,
    Inform,
}

/// A client's message. Only what decides about the answer or is echoed in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub kind: RequestKind,
    pub xid: u32,
    pub secs: u16,
    pub flags: u16,
    /// The address that the client uses already.
    pub ciaddr: Ipv4Addr,
    /// The relay's address on the client's network.
    pub giaddr: Ipv4Addr,
    pub mac: [u8; 6],
    /// Option 61.
    pub client_id: Option<Vec<u8>>,
    /// Option 50.
    pub requested: Option<Ipv4Addr>,
    /// Option 54.
    pub server: Option<Ipv4Addr>,
    /// Option 55, in the client's order.
    pub parameters: Vec<u8>,
    /// Option 57: the largest IP datagram that the client takes.
    pub max_size: Option<u16>,
    /// Option 60.
    pub vendor_class: Option<Vec<u8>>,
    /// Option 77.
    pub user_classes: Vec<Vec<u8>>,
    /// Option 93, all of it, in the client's order.
    pub architectures: Vec<u16>,
    /// Option 94.
    pub network_interface: Option<[u8; 3]>,
    /// Option 97.
    pub machine_id: Option<Vec<u8>>,
    /// Option 175; `None` where it is missing.
    pub ipxe: Option<IpxeFeatures>,
    /// Option 82 as the relay sent it.
    pub relay_information: Option<Vec<u8>>,
    /// The subnet that the relay named (RFC 3527); only from a relay, never from the client itself.
    pub link: Option<Ipv4Addr>,
    /// Option 12.
    pub host_name: Option<Vec<u8>>,
    /// Option 56: why a client declined.
    pub message: Option<Vec<u8>>,
}

impl Request {
    /// Guards and reads a datagram.
    pub fn decode(bytes: &[u8]) -> Result<Request, BadPacket> {
        Request::from_packet(&Packet::decode(bytes)?)
    }

    /// Reads a guarded packet.
    pub fn from_packet(packet: &Packet<'_>) -> Result<Request, BadPacket> {
        if packet.is_reply() {
            return Err(BadPacket::Direction("reply"));
        }
        let [kind] = packet.fixed::<1>(code::MESSAGE_TYPE, "one is right")?.ok_or(BadPacket::NoMessageType)?;
        let kind = match MessageType::from(kind) {
            MessageType::Discover => RequestKind::Discover,
            MessageType::Request => RequestKind::Request,
            MessageType::Decline => RequestKind::Decline,
            MessageType::Release => RequestKind::Release,
            MessageType::Inform => RequestKind::Inform,
            _ => return Err(BadPacket::MessageType(kind)),
        };
        let client_id = packet.option(code::CLIENT_ID);
        if let Some(id) = client_id.filter(|id| !(2..=255).contains(&id.len())) {
            return Err(wrong_length(code::CLIENT_ID, id.len(), "2 to 255 are right"));
        }
        let machine_id = packet.option(code::MACHINE_ID);
        if let Some(id) = machine_id.filter(|id| !(1..=64).contains(&id.len())) {
            return Err(wrong_length(code::MACHINE_ID, id.len(), "17 are usual, 64 the most"));
        }
        let relay_information = packet.option(code::RELAY_INFORMATION);
        if let Some(info) = relay_information.filter(|info| info.len() > 255) {
            return Err(wrong_length(code::RELAY_INFORMATION, info.len(), "255 are the most"));
        }
        let architectures = packet.option(code::ARCHITECTURE).unwrap_or_default();
        if !architectures.len().is_multiple_of(2) || architectures.len() > 32 {
            return Err(wrong_length(code::ARCHITECTURE, architectures.len(), "two for each of at most 16 is right"));
        }
        let header = packet.header();
        let giaddr = header.giaddr();
        let owned = |code| packet.option(code).map(<[u8]>::to_vec);
        Ok(Request {
            kind,
            xid: header.xid(),
            secs: header.secs(),
            flags: u16::from(header.flags()),
            ciaddr: header.ciaddr(),
            giaddr,
            mac: packet.mac(),
            client_id: client_id.map(<[u8]>::to_vec),
            requested: packet.address(code::REQUESTED_ADDRESS)?,
            server: packet.address(code::SERVER)?,
            parameters: owned(code::PARAMETERS).unwrap_or_default(),
            max_size: packet.fixed::<2>(code::MAX_SIZE, "two are right")?.map(u16::from_be_bytes),
            vendor_class: owned(code::VENDOR_CLASS),
            user_classes: packet
                .option(code::USER_CLASS)
                .map(|value| user_classes(value).into_iter().map(<[u8]>::to_vec).collect())
                .unwrap_or_default(),
            architectures: architectures.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect(),
            network_interface: packet.fixed::<3>(code::NETWORK_INTERFACE, "three are right")?,
            machine_id: machine_id.map(<[u8]>::to_vec),
            ipxe: packet.option(code::IPXE).map(IpxeFeatures::parse),
            link: relay_information.filter(|_| !giaddr.is_unspecified()).and_then(link_selection),
            relay_information: relay_information.map(<[u8]>::to_vec),
            host_name: owned(code::HOST_NAME),
            message: owned(code::MESSAGE),
        })
    }

    /// The client cannot take unicast before it has an address (RFC 2131 §2).
    #[must_use]
    pub fn wants_broadcast(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// The message came through a relay.
    #[must_use]
    pub fn is_relayed(&self) -> bool {
        !self.giaddr.is_unspecified()
    }

    /// The client asks for this option, or for none in particular.
    #[must_use]
    pub fn wants(&self, option: u8) -> bool {
        self.parameters.is_empty() || self.parameters.contains(&option)
    }

    /// The vendor class begins with this text (`PXEClient`, `HTTPClient`).
    #[must_use]
    pub fn vendor_class_starts_with(&self, text: &str) -> bool {
        self.vendor_class.as_ref().is_some_and(|class| class.starts_with(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::{ClientMessage, Firmware};
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    #[test]
    fn firmware_is_read_in_full() {
        let request = Request::decode(&ClientMessage::discover(Firmware::IpxeBios, MAC, 9).encode()).unwrap();
        assert_eq!((request.kind, request.xid, request.mac), (RequestKind::Discover, 9, MAC));
        assert_eq!(request.architectures, [0]);
        assert_eq!(request.user_classes, [b"iPXE"]);
        assert!(request.ipxe.as_ref().is_some_and(|ipxe| ipxe.http() && ipxe.linux()));
        assert_eq!(request.client_id.as_deref(), Some(&[1, 0x52, 0x54, 0, 0x12, 0x34, 0x56][..]));
        assert_eq!(request.max_size, Some(1472));

        let request = Request::decode(&ClientMessage::discover(Firmware::UefiHttp, MAC, 9).encode()).unwrap();
        assert!(request.vendor_class_starts_with("HTTPClient"));
        assert_eq!((request.architectures.as_slice(), request.ipxe), (&[16][..], None));
    }

    #[test]
    fn every_architecture_is_kept() {
        let mut message = ClientMessage::discover(Firmware::UefiPxe, MAC, 1);
        message.set(93, &[0, 9, 0, 7]);
        assert_eq!(Request::decode(&message.encode()).unwrap().architectures, [9, 7]);
        message.set(93, &[0, 9, 0]);
        let refusal = Request::decode(&message.encode()).unwrap_err();
        assert_eq!(refusal.to_string(), "option 93 has 3 bytes; two for each of at most 16 is right");
    }

    #[test]
    fn a_client_cannot_choose_a_subnet_by_posing_as_a_relay() {
        let mut message = ClientMessage::discover(Firmware::UefiPxe, MAC, 1);
        message.set(82, &[5, 4, 10, 9, 0, 0]);
        assert_eq!(Request::decode(&message.encode()).unwrap().link, None);
        message.giaddr = Ipv4Addr::new(10, 8, 0, 1);
        assert_eq!(Request::decode(&message.encode()).unwrap().link, Some(Ipv4Addr::new(10, 9, 0, 0)));
    }

    #[test]
    fn messages_of_servers_and_bootp_are_refused() {
        let mut bytes = ClientMessage::discover(Firmware::UefiPxe, MAC, 1).encode();
        bytes[0] = 2;
        assert_eq!(Request::decode(&bytes).unwrap_err(), BadPacket::Direction("reply"));
        let mut message = ClientMessage::discover(Firmware::UefiPxe, MAC, 1);
        message.set(53, &[2]);
        assert_eq!(Request::decode(&message.encode()).unwrap_err(), BadPacket::MessageType(2));
        message.remove(53);
        assert_eq!(Request::decode(&message.encode()).unwrap_err(), BadPacket::NoMessageType);
    }
}
