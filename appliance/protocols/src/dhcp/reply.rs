//! The server's answer: from typed parts to bytes that fit what the client takes.

use super::option::code;
use super::request::Request;
use dhcproto::v4::{DhcpOption, Encodable, Encoder, MessageType, OptionCode, UnknownOption};
use std::net::Ipv4Addr;

/// What kind of answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    Offer,
    Ack,
    Nak,
}

/// An address and how long it may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    /// Seconds from now. The client renews after half of them and asks anybody after seven eighths (RFC 2131 §4.4.5).
    pub seconds: u32,
}

/// What a client is told of the network it is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    pub mask: Option<Ipv4Addr>,
    pub broadcast: Option<Ipv4Addr>,
    pub routers: Vec<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    pub domain: Option<String>,
}

/// What the client is to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootFile {
    /// By TFTP, for PXE firmware.
    Tftp { server: Ipv4Addr, file: String },
    /// By HTTP, for UEFI HTTP Boot.
    Http { url: String },
    /// A script by HTTP, for iPXE.
    Script { url: String },
}

impl BootFile {
    /// The file name or URL.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            BootFile::Tftp { file, .. } => file,
            BootFile::Http { url } | BootFile::Script { url } => url,
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub kind: ReplyKind,
    /// The server's address as this client reaches it (option 54).
    pub server: Ipv4Addr,
    /// `None` in a refusal and in the answer to INFORM.
    pub lease: Option<Lease>,
    pub network: Network,
    pub boot: Option<BootFile>,
    /// Why it is refused (option 56).
    pub message: Option<String>,
}

/// The answer cannot be said in the room that the client takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    #[error("option {code} does not fit into the {room} bytes that the client takes")]
    NoRoom { code: u8, room: usize },
    #[error("the boot file name '{0}' is longer than 255 bytes or has a character that is not printable ASCII")]
    BootFile(String),
}

/// IP and UDP headers: option 57 counts the datagram, not the message.
const HEADERS: usize = 28;
/// What every client takes (RFC 2131 §2), and what fits an Ethernet frame.
const SMALLEST_DATAGRAM: u16 = 576;
const LARGEST_DATAGRAM: u16 = 1500;
/// BOOTP's length: older firmware and relays drop shorter messages.
const SMALLEST_MESSAGE: usize = 300;
const OPTIONS_START: usize = 240;
const FILE_FIELD: usize = 128;
/// PXE 2.1 table 2-1, tag 6 bit 3: load the named boot file at once; no menu, no boot server discovery.
const PXE_JUST_LOAD: [u8; 4] = [6, 1, 8, 255];
/// iPXE's `no-pxedhcp`: do not wait for a proxy's offer.
const IPXE_NO_PROXY: [u8; 3] = [0xb0, 1, 1];

impl Reply {
    /// An answer that says nothing yet but its kind.
    #[must_use]
    pub fn new(kind: ReplyKind, server: Ipv4Addr) -> Reply {
        Reply { kind, server, lease: None, network: Network::default(), boot: None, message: None }
    }

    /// The bytes that answer `request`. What the client asked for but can do without is left out when there is no
    /// room; what it cannot do without is an error.
    pub fn encode(&self, request: &Request) -> Result<Vec<u8>, ReplyError> {
        if let Some(boot) = &self.boot {
            let name = boot.name();
            if name.len() > 255 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(ReplyError::BootFile(name.chars().take(80).collect()));
            }
        }
        let datagram = request.max_size.unwrap_or(SMALLEST_DATAGRAM).clamp(SMALLEST_DATAGRAM, LARGEST_DATAGRAM);
        let mut bytes = self.header(request);
        // Kept free for what comes last: the relay's information (RFC 3046 §2.2) and the end mark.
        let relay = request.relay_information.as_deref();
        let tail = relay.map_or(0, |info| info.len() + 2) + 1;
        let room = (usize::from(datagram) - HEADERS).saturating_sub(tail);
        let mut writer = Writer { bytes: &mut bytes, room };

        for option in self.required(request) {
            writer.must(option)?;
        }
        for option in self.helpful(request) {
            writer.may(&option);
        }
        if let Some(info) = relay {
            writer.room = usize::from(datagram) - HEADERS - 1;
            writer.must_raw(code::RELAY_INFORMATION, info)?;
        }
        bytes.push(255);
        if bytes.len() < SMALLEST_MESSAGE {
            bytes.resize(SMALLEST_MESSAGE, 0);
        }
        Ok(bytes)
    }

    fn header(&self, request: &Request) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(576);
        bytes.extend([2, 1, 6, 0]);
        bytes.extend(request.xid.to_be_bytes());
        bytes.extend([0, 0]);
        // RFC 2131 §4.3.2: a relay must broadcast a refusal, for the client may have no usable address.
        let relayed_nak = self.kind == ReplyKind::Nak && request.is_relayed();
        bytes.extend((request.flags | if relayed_nak { 0x8000 } else { 0 }).to_be_bytes());
        let ciaddr = if self.kind == ReplyKind::Ack { request.ciaddr } else { Ipv4Addr::UNSPECIFIED };
        bytes.extend(ciaddr.octets());
        bytes.extend(self.lease.map_or(Ipv4Addr::UNSPECIFIED, |lease| lease.address).octets());
        let next = match &self.boot {
            Some(BootFile::Tftp { server, .. }) => *server,
            Some(_) => self.server,
            None => Ipv4Addr::UNSPECIFIED,
        };
        bytes.extend(next.octets());
        bytes.extend(request.giaddr.octets());
        bytes.extend(request.mac);
        bytes.resize(44, 0);
        if let Some(BootFile::Tftp { server, .. }) = &self.boot {
            bytes.extend(server.to_string().bytes());
        }
        bytes.resize(108, 0);
        // One byte stays for the NUL. A longer name goes by option 67 alone.
        if let Some(name) = self.boot.as_ref().map(BootFile::name).filter(|name| name.len() < FILE_FIELD) {
            bytes.extend(name.bytes());
        }
        bytes.resize(236, 0);
        bytes.extend([99, 130, 83, 99]);
        debug_assert_eq!(bytes.len(), OPTIONS_START);
        bytes
    }

    /// What the client cannot do without, in the order of need.
    fn required(&self, request: &Request) -> Vec<DhcpOption> {
        let kind = match self.kind {
            ReplyKind::Offer => MessageType::Offer,
            ReplyKind::Ack => MessageType::Ack,
            ReplyKind::Nak => MessageType::Nak,
        };
        let mut options = vec![DhcpOption::MessageType(kind), DhcpOption::ServerIdentifier(self.server)];
        // RFC 6842: the identifier comes back, so that a client behind a shared address knows its own answer.
        if let Some(id) = &request.client_id {
            options.push(DhcpOption::ClientIdentifier(id.clone()));
        }
        if self.kind == ReplyKind::Nak {
            return options;
        }
        if let Some(lease) = self.lease {
            options.push(DhcpOption::AddressLeaseTime(lease.seconds));
        }
        if let Some(mask) = self.network.mask {
            options.push(DhcpOption::SubnetMask(mask));
        }
        if !self.network.routers.is_empty() {
            options.push(DhcpOption::Router(self.network.routers.clone()));
        }
        if let Some(boot) = &self.boot {
            self.boot_options(boot, request, &mut options);
        }
        options
    }

    fn boot_options(&self, boot: &BootFile, request: &Request, options: &mut Vec<DhcpOption>) {
        match boot {
            BootFile::Tftp { server, .. } => {
                if request.vendor_class_starts_with("PXEClient") {
                    options.push(DhcpOption::ClassIdentifier(b"PXEClient".to_vec()));
                    options.push(DhcpOption::VendorExtensions(PXE_JUST_LOAD.to_vec()));
                }
                options.push(DhcpOption::TFTPServerName(server.to_string().into_bytes()));
            }
            // UEFI 2.10 §24.7.3.1: without the class in the answer, HTTP Boot takes it for an ordinary server's.
            BootFile::Http { .. } => options.push(DhcpOption::ClassIdentifier(b"HTTPClient".to_vec())),
            BootFile::Script { .. } => options.push(raw(code::IPXE, &IPXE_NO_PROXY)),
        }
        options.push(DhcpOption::BootfileName(boot.name().as_bytes().to_vec()));
        // RFC 4578: in all packets of PXE clients and servers.
        if let Some(id) = &request.machine_id {
            options.push(DhcpOption::ClientMachineIdentifier(id.clone()));
        }
    }

    /// What helps, as far as there is room.
    fn helpful(&self, request: &Request) -> Vec<DhcpOption> {
        let mut options = Vec::new();
        if let Some(message) = &self.message {
            options.push(DhcpOption::Message(message.chars().filter(char::is_ascii).take(120).collect()));
        }
        if self.kind == ReplyKind::Nak {
            return options;
        }
        if let Some(Lease { seconds, .. }) = self.lease {
            options.push(DhcpOption::Renewal(seconds / 2));
            options.push(DhcpOption::Rebinding(u32::try_from(u64::from(seconds) * 7 / 8).unwrap_or(seconds)));
        }
        if request.wants(code::DNS) && !self.network.dns.is_empty() {
            options.push(DhcpOption::DomainNameServer(self.network.dns.clone()));
        }
        if let Some(domain) = self.network.domain.as_ref().filter(|_| request.wants(code::DOMAIN)) {
            options.push(DhcpOption::DomainName(domain.clone()));
        }
        if let Some(address) = self.network.broadcast.filter(|_| request.wants(code::BROADCAST)) {
            options.push(DhcpOption::BroadcastAddr(address));
        }
        if self.boot.is_some() {
            if !request.architectures.is_empty() {
                let value: Vec<u8> = request.architectures.iter().flat_map(|arch| arch.to_be_bytes()).collect();
                options.push(raw(code::ARCHITECTURE, &value));
            }
            if let Some([kind, major, minor]) = request.network_interface {
                options.push(DhcpOption::ClientNetworkInterface(kind, major, minor));
            }
        }
        options
    }
}

fn raw(code: u8, value: &[u8]) -> DhcpOption {
    DhcpOption::Unknown(UnknownOption::new(OptionCode::from(code), value.to_vec()))
}

/// Appends options as long as there is room.
struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
    /// The length that the message may not exceed.
    room: usize,
}

impl Writer<'_> {
    fn may(&mut self, option: &DhcpOption) -> bool {
        let mut piece = Vec::with_capacity(32);
        let encoded = option.encode(&mut Encoder::new(&mut piece));
        let fits = encoded.is_ok() && self.bytes.len() + piece.len() <= self.room;
        if fits {
            self.bytes.extend(piece);
        }
        fits
    }

    /// As it came, even empty, which the codec would leave out.
    fn must_raw(&mut self, code: u8, value: &[u8]) -> Result<(), ReplyError> {
        let length = u8::try_from(value.len()).ok().filter(|_| self.bytes.len() + value.len() + 2 <= self.room);
        let length = length.ok_or(ReplyError::NoRoom { code, room: self.room })?;
        self.bytes.extend([code, length]);
        self.bytes.extend(value);
        Ok(())
    }

    fn must(&mut self, option: DhcpOption) -> Result<(), ReplyError> {
        if self.may(&option) {
            return Ok(());
        }
        Err(ReplyError::NoRoom { code: u8::from(OptionCode::from(&option)), room: self.room })
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::{ClientMessage, Firmware};
    use super::super::guard::Packet;
    use super::super::server::ServerMessage;
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);

    fn offer(boot: Option<BootFile>) -> Reply {
        Reply {
            kind: ReplyKind::Offer,
            server: SERVER,
            lease: Some(Lease { address: ADDRESS, seconds: 3600 }),
            network: Network {
                mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
                broadcast: Some(Ipv4Addr::new(10, 0, 0, 255)),
                routers: vec![SERVER],
                dns: vec![SERVER],
                domain: Some("rack.example".into()),
            },
            boot,
            message: None,
        }
    }

    fn answer(message: &ClientMessage, reply: &Reply) -> Vec<u8> {
        reply.encode(&Request::decode(&message.encode()).unwrap()).unwrap()
    }

    #[test]
    fn pxe_firmware_gets_what_it_needs_to_load_at_once() {
        let boot = BootFile::Tftp { server: SERVER, file: "ipxe/x86_64/snponly.efi".into() };
        let bytes = answer(&ClientMessage::discover(Firmware::UefiPxe, MAC, 3), &offer(Some(boot)));
        let packet = Packet::decode(&bytes).unwrap();
        assert_eq!(packet.option(60), Some(&b"PXEClient"[..]));
        assert_eq!(packet.option(43), Some(&[6, 1, 8, 255][..]));
        assert_eq!(packet.option(66), Some(&b"10.0.0.1"[..]));
        assert_eq!(packet.option(67), Some(&b"ipxe/x86_64/snponly.efi"[..]));
        assert_eq!(packet.file(), b"ipxe/x86_64/snponly.efi");
        assert_eq!(packet.header().siaddr(), SERVER);
        assert_eq!(packet.header().sname(), b"10.0.0.1");
        assert_eq!(packet.option(93), Some(&[0, 7][..]));
        assert_eq!(packet.option(94), Some(&[1, 3, 1][..]));
        assert_eq!(packet.option(97).map(<[u8]>::len), Some(17));
        assert_eq!(packet.option(58), Some(&1800_u32.to_be_bytes()[..]));
        assert_eq!(packet.option(59), Some(&3150_u32.to_be_bytes()[..]));
    }

    #[test]
    fn http_boot_and_ipxe_get_urls() {
        let url = "http://10.0.0.1/boot/x".to_string();
        let bytes = answer(
            &ClientMessage::discover(Firmware::UefiHttp, MAC, 3),
            &offer(Some(BootFile::Http { url: url.clone() })),
        );
        let packet = Packet::decode(&bytes).unwrap();
        assert_eq!((packet.option(60), packet.option(67)), (Some(&b"HTTPClient"[..]), Some(url.as_bytes())));
        let bytes = answer(
            &ClientMessage::discover(Firmware::IpxeUefi, MAC, 3),
            &offer(Some(BootFile::Script { url: url.clone() })),
        );
        let packet = Packet::decode(&bytes).unwrap();
        assert_eq!((packet.option(175), packet.option(67)), (Some(&[0xb0, 1, 1][..]), Some(url.as_bytes())));
        assert_eq!(packet.option(43), None);
    }

    #[test]
    fn without_a_boot_file_nothing_says_pxe() {
        let bytes = answer(&ClientMessage::discover(Firmware::UefiPxe, MAC, 3), &offer(None));
        let packet = Packet::decode(&bytes).unwrap();
        for code in [43, 60, 66, 67, 93, 97] {
            assert_eq!(packet.option(code), None, "{code}");
        }
        assert_eq!((packet.file(), packet.header().siaddr()), (&b""[..], Ipv4Addr::UNSPECIFIED));
        assert!(bytes.len() >= 300);
    }

    #[test]
    fn a_refusal_says_why_and_gives_nothing() {
        let mut message = ClientMessage::discover(Firmware::UefiPxe, MAC, 3);
        message.giaddr = Ipv4Addr::new(10, 9, 0, 1);
        let mut nak = Reply::new(ReplyKind::Nak, SERVER);
        nak.message = Some("taken".into());
        let bytes = answer(&message, &nak);
        let packet = Packet::decode(&bytes).unwrap();
        assert_eq!(packet.option(56), Some(&b"taken"[..]));
        assert_eq!((packet.option(51), packet.option(1)), (None, None));
        assert!(packet.header().flags().broadcast());
        assert_eq!(packet.header().yiaddr(), Ipv4Addr::UNSPECIFIED);
    }

    #[test]
    fn relay_information_comes_back_last_and_unchanged() {
        let mut message = ClientMessage::discover(Firmware::UefiPxe, MAC, 3);
        message.giaddr = Ipv4Addr::new(10, 9, 0, 1);
        message.set(82, &[1, 4, 0, 1, 0, 7]);
        let bytes = answer(&message, &offer(None));
        let end = bytes.iter().rposition(|byte| *byte == 255).unwrap();
        assert_eq!(&bytes[end - 8..end], &[82, 6, 1, 4, 0, 1, 0, 7]);
    }

    #[test]
    fn a_name_that_could_break_the_message_is_refused() {
        let request = Request::decode(&ClientMessage::discover(Firmware::UefiPxe, MAC, 3).encode()).unwrap();
        for file in ["a b".to_string(), "a\u{e9}".to_string(), "x".repeat(256)] {
            let reply = offer(Some(BootFile::Http { url: file }));
            assert!(matches!(reply.encode(&request), Err(ReplyError::BootFile(_))));
        }
    }

    proptest! {
        #[test]
        fn answers_fit_what_the_client_takes(
            max in proptest::option::of(any::<u16>()),
            file in "[!-~]{1,255}",
            id in proptest::option::of(proptest::collection::vec(any::<u8>(), 2..60)),
            relay in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60)),
            dns in 0..6_usize,
        ) {
            let mut message = ClientMessage::discover(Firmware::UefiHttp, MAC, 3);
            message.remove(57);
            if let Some(max) = max {
                message.set(57, &max.to_be_bytes());
            }
            if let Some(id) = &id {
                message.set(61, id);
            }
            if let Some(relay) = &relay {
                message.set(82, relay);
                message.giaddr = Ipv4Addr::new(10, 9, 0, 1);
            }
            let request = Request::decode(&message.encode()).unwrap();
            let mut reply = offer(Some(BootFile::Http { url: file.clone() }));
            reply.network.dns = vec![SERVER; dns];
            let limit = usize::from(max.unwrap_or(576).clamp(576, 1500)) - 28;
            match reply.encode(&request) {
                Ok(bytes) => {
                    prop_assert!(bytes.len() <= limit);
                    let read = ServerMessage::decode(&bytes).unwrap();
                    prop_assert_eq!(read.boot_file, file.into_bytes());
                    prop_assert_eq!((read.yiaddr, read.xid, read.mac), (ADDRESS, 3, MAC));
                    let packet = Packet::decode(&bytes).unwrap();
                    prop_assert_eq!(packet.option(61), id.as_deref());
                    prop_assert_eq!(packet.option(82), relay.as_deref());
                }
                Err(error) => prop_assert!(limit < 800, "{}", error),
            }
        }
    }
}
