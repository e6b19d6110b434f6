//! What a server says, as an onlooker reads it: enough to notice a rival, and to check our own answers in tests.

use super::guard::{BadPacket, Packet};
use super::option::code;
use std::net::Ipv4Addr;

/// A server's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerMessage {
    /// 2 offer, 5 acknowledgement, 6 refusal (RFC 2132 §9.6).
    pub message_type: u8,
    pub xid: u32,
    /// Option 54.
    pub server: Ipv4Addr,
    /// The address that the client is given; unspecified in a refusal and from a proxy.
    pub yiaddr: Ipv4Addr,
    pub mac: [u8; 6],
    /// The boot file, from option 67 or the header.
    pub boot_file: Vec<u8>,
}

impl ServerMessage {
    /// Guards and reads a datagram.
    pub fn decode(bytes: &[u8]) -> Result<ServerMessage, BadPacket> {
        ServerMessage::from_packet(&Packet::decode(bytes)?)
    }

    /// Reads a guarded packet.
    pub fn from_packet(packet: &Packet<'_>) -> Result<ServerMessage, BadPacket> {
        if !packet.is_reply() {
            return Err(BadPacket::Direction("request"));
        }
        let [kind] = packet.fixed::<1>(code::MESSAGE_TYPE, "one is right")?.ok_or(BadPacket::NoMessageType)?;
        if !matches!(kind, 2 | 5 | 6) {
            return Err(BadPacket::MessageType(kind));
        }
        let server = packet.address(code::SERVER)?.ok_or(BadPacket::NoServer)?;
        let boot_file = packet.option(code::BOOT_FILE).unwrap_or_else(|| packet.file());
        let header = packet.header();
        Ok(ServerMessage {
            message_type: kind,
            xid: header.xid(),
            server,
            yiaddr: header.yiaddr(),
            mac: packet.mac(),
            boot_file: boot_file.to_vec(),
        })
    }
}
