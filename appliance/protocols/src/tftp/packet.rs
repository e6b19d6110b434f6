//! The packets of RFC 1350 and the option lists of RFC 2347, read without copying and written into a buffer.
//!
//! Reading is lenient where firmware is sloppy (zero padding behind a request, a last option value without its
//! terminator) and strict where leniency would let something through (an unterminated file name).

use thiserror::Error;

/// The longest request that is looked at, in bytes. RFC 2347 ends requests at 512 octets; some boot loaders put long
/// paths in theirs, so we read a little further.
pub const MAX_REQUEST: usize = 1024;

/// The most options of one request that are looked at; the rest is ignored, which RFC 2347 allows for any option.
const MAX_OPTIONS: usize = 16;

const READ: u16 = 1;
const WRITE: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OPTION_ACK: u16 = 6;

/// A datagram of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// RRQ: the sender wants to read a file.
    Read(Request<'a>),
    /// WRQ: the sender wants to write a file.
    Write(Request<'a>),
    /// DATA: a block of the file; a block shorter than the agreed size is the last one.
    Data { block: u16, payload: &'a [u8] },
    /// ACK: all blocks up to this one came.
    Ack { block: u16 },
    /// ERROR: the transfer is over.
    Error { code: u16, message: &'a [u8] },
    /// OACK: the options that the server agrees to.
    OptionAck(Options<'a>),
}

/// The body of a read or write request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// The name of the file as it came: any bytes but NUL, not checked in any way.
    pub file: &'a [u8],
    /// How the content is to be translated.
    pub mode: Mode,
    /// The options asked for.
    pub options: Options<'a>,
}

/// The transfer modes that are in use (`mail` is long dead and answered as an unknown mode).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bytes as they are.
    Octet,
    /// Text with CR LF line ends (RFC 764): LF goes out as CR LF, CR as CR NUL.
    Netascii,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Octet => "octet",
            Mode::Netascii => "netascii",
        }
    }
}

/// Error codes of RFC 1350 (0 to 7) and RFC 2347 (8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum ErrorCode {
    /// See the message.
    Undefined = 0,
    /// There is no such file.
    FileNotFound = 1,
    /// The file may not be read, or the server takes no files.
    AccessViolation = 2,
    /// Never used by us: nothing is written.
    DiskFull = 3,
    /// The packet has no place here.
    IllegalOperation = 4,
    /// The packet belongs to no transfer of this port.
    UnknownTransfer = 5,
    /// Never used by us: nothing is written.
    FileExists = 6,
    /// Never used by us: there are no users.
    NoSuchUser = 7,
    /// A client refuses the options it was offered.
    OptionRefused = 8,
}

/// Why a datagram is not a packet.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PacketError {
    /// Fewer bytes than the operation needs.
    #[error("the datagram ends before its {0}")]
    Short(&'static str),
    /// An operation that no RFC defines.
    #[error("operation {0} is not one of TFTP's (1 to 6)")]
    UnknownOperation(u16),
    /// A text that does not end in a NUL byte.
    #[error("the {0} has no terminating zero byte")]
    Unterminated(&'static str),
    /// A request without a file name.
    #[error("the request names no file")]
    NoFile,
    /// A mode that is neither octet nor netascii.
    #[error("the transfer mode is neither octet nor netascii")]
    UnknownMode,
    /// More bytes than any sensible request has.
    #[error("the request is longer than {MAX_REQUEST} bytes")]
    TooLong,
}

impl<'a> Packet<'a> {
    /// Reads one datagram.
    ///
    /// # Errors
    /// [`PacketError`] says what is wrong; nothing of such a datagram may be used.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, PacketError> {
        let (operation, rest) = number(datagram, "operation code")?;
        match operation {
            READ => Ok(Packet::Read(Request::parse(rest)?)),
            WRITE => Ok(Packet::Write(Request::parse(rest)?)),
            DATA => number(rest, "block number").map(|(block, payload)| Packet::Data { block, payload }),
            ACK => number(rest, "block number").map(|(block, _)| Packet::Ack { block }),
            ERROR => {
                let (code, text) = number(rest, "error code")?;
                let message = text.split(|byte| *byte == 0).next().unwrap_or_default();
                Ok(Packet::Error { code, message })
            }
            OPTION_ACK => Ok(Packet::OptionAck(Options { raw: rest })),
            other => Err(PacketError::UnknownOperation(other)),
        }
    }

    /// Appends the packet's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Packet::Read(request) => request.encode(READ, out),
            Packet::Write(request) => request.encode(WRITE, out),
            Packet::Data { block, payload } => {
                out.extend_from_slice(&data_header(*block));
                out.extend_from_slice(payload);
            }
            Packet::Ack { block } => {
                out.extend_from_slice(&ACK.to_be_bytes());
                out.extend_from_slice(&block.to_be_bytes());
            }
            Packet::Error { code, message } => {
                out.extend_from_slice(&ERROR.to_be_bytes());
                out.extend_from_slice(&code.to_be_bytes());
                out.extend_from_slice(message);
                out.push(0);
            }
            Packet::OptionAck(options) => {
                out.extend_from_slice(&OPTION_ACK.to_be_bytes());
                out.extend_from_slice(options.raw);
            }
        }
    }
}

/// The four bytes before the payload of a DATA packet.
#[must_use]
pub(super) fn data_header(block: u16) -> [u8; 4] {
    let [high, low] = block.to_be_bytes();
    [0, 3, high, low]
}

/// The bytes of an ERROR packet.
#[must_use]
pub fn encode_error(code: ErrorCode, message: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 5);
    Packet::Error { code: code as u16, message: message.as_bytes() }.encode(&mut out);
    out
}

impl<'a> Request<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        if bytes.len() > MAX_REQUEST {
            return Err(PacketError::TooLong);
        }
        let (file, rest) = text(bytes).ok_or(PacketError::Unterminated("file name"))?;
        if file.is_empty() {
            return Err(PacketError::NoFile);
        }
        let (mode, rest) = text(rest).ok_or(PacketError::Unterminated("transfer mode"))?;
        let mode = [Mode::Octet, Mode::Netascii]
            .into_iter()
            .find(|known| mode.eq_ignore_ascii_case(known.name().as_bytes()))
            .ok_or(PacketError::UnknownMode)?;
        Ok(Request { file, mode, options: Options { raw: rest } })
    }

    fn encode(&self, operation: u16, out: &mut Vec<u8>) {
        out.extend_from_slice(&operation.to_be_bytes());
        out.extend_from_slice(self.file);
        out.push(0);
        out.extend_from_slice(self.mode.name().as_bytes());
        out.push(0);
        out.extend_from_slice(self.options.raw);
    }
}

/// A list of options, still as bytes: name NUL value NUL, repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options<'a> {
    raw: &'a [u8],
}

impl<'a> Options<'a> {
    /// Takes bytes that [`Options::push`] made, or any others: what is not an option is skipped when read.
    #[must_use]
    pub fn from_bytes(raw: &'a [u8]) -> Self {
        Options { raw }
    }

    /// Appends one option to a list under construction.
    pub fn push(list: &mut Vec<u8>, name: &str, value: u64) {
        list.extend_from_slice(name.as_bytes());
        list.push(0);
        list.extend_from_slice(value.to_string().as_bytes());
        list.push(0);
    }

    /// The options in their order, names as they came. Ends at the first empty name (padding) or cut-off pair.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.raw;
        std::iter::from_fn(move || {
            let (name, after_name) = text(rest)?;
            if name.is_empty() {
                return None;
            }
            let (value, after_value) = text(after_name).unwrap_or((after_name, &[]));
            rest = after_value;
            Some((name, value))
        })
        .take(MAX_OPTIONS)
    }

    /// The value of the first option of this name; names are compared without regard to case (RFC 2347).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|(candidate, _)| candidate.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }
}

/// A big-endian 16-bit number at the front, and the rest.
fn number<'a>(bytes: &'a [u8], what: &'static str) -> Result<(u16, &'a [u8]), PacketError> {
    let (head, rest) = bytes.split_first_chunk::<2>().ok_or(PacketError::Short(what))?;
    Ok((u16::from_be_bytes(*head), rest))
}

/// The bytes before the first NUL, and those after it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_request_of_a_pxe_client() {
        let packet = b"\0\x01/snponly.efi\0octet\0tsize\x000\0BlkSize\x001468\0windowsize\x004\0\0\0\0";
        let Ok(Packet::Read(request)) = Packet::parse(packet) else { panic!("not a read request") };
        assert_eq!(request.file, b"/snponly.efi");
        assert_eq!(request.mode, Mode::Octet);
        assert_eq!(request.options.get("blksize"), Some(&b"1468"[..]));
        assert_eq!(request.options.iter().count(), 3);
        assert_eq!(request.options.get("timeout"), None);
    }

    #[test]
    fn a_last_value_without_terminator_still_counts() {
        let Ok(Packet::Read(request)) = Packet::parse(b"\0\x01f\0OCTET\0blksize\x00512") else { panic!() };
        assert_eq!(request.options.get("blksize"), Some(&b"512"[..]));
    }

    #[test]
    fn refuses_what_is_no_packet() {
        for (bytes, why) in [
            (&b""[..], PacketError::Short("operation code")),
            (b"\0", PacketError::Short("operation code")),
            (b"\0\x04\x01", PacketError::Short("block number")),
            (b"\0\x09xx", PacketError::UnknownOperation(9)),
            (b"\0\x01name", PacketError::Unterminated("file name")),
            (b"\0\x01name\0octet", PacketError::Unterminated("transfer mode")),
            (b"\0\x01\0octet\0", PacketError::NoFile),
            (b"\0\x01name\0mail\0", PacketError::UnknownMode),
        ] {
            assert_eq!(Packet::parse(bytes), Err(why), "{bytes:?}");
        }
        let mut long = b"\0\x01".to_vec();
        long.resize(MAX_REQUEST + 3, b'a');
        assert_eq!(Packet::parse(&long), Err(PacketError::TooLong));
    }

    #[test]
    fn an_option_bomb_is_cut_off() {
        let mut packet = b"\0\x01f\0octet\0".to_vec();
        for _ in 0..200 {
            packet.extend_from_slice(b"a\0b\0");
        }
        let Ok(Packet::Read(request)) = Packet::parse(&packet) else { panic!() };
        assert_eq!(request.options.iter().count(), MAX_OPTIONS);
    }

    fn word() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(1u8..=255, 1..40)
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
            if let Ok(Packet::Read(request) | Packet::Write(request)) = Packet::parse(&bytes) {
                prop_assert!(request.options.iter().count() <= MAX_OPTIONS);
                prop_assert!(!request.file.contains(&0));
            }
        }

        #[test]
        fn mutated_requests_never_panic(at in 0usize..60, byte in any::<u8>(), cut in 0usize..60) {
            let mut packet = b"\0\x01/ipxe/x.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0".to_vec();
            if let Some(slot) = packet.get_mut(at) { *slot = byte; }
            packet.truncate(packet.len() - cut.min(packet.len()));
            if let Ok(Packet::Read(request)) = Packet::parse(&packet) {
                request.options.iter().for_each(drop);
            }
        }

        #[test]
        fn requests_survive_the_round_trip(
            file in word(), netascii in any::<bool>(), names in prop::collection::vec((word(), word()), 0..8),
            write in any::<bool>(),
        ) {
            let mut raw = Vec::new();
            for (name, value) in &names {
                raw.extend_from_slice(name); raw.push(0);
                raw.extend_from_slice(value); raw.push(0);
            }
            let mode = if netascii { Mode::Netascii } else { Mode::Octet };
            let request = Request { file: &file, mode, options: Options::from_bytes(&raw) };
            let packet = if write { Packet::Write(request) } else { Packet::Read(request) };
            let mut bytes = Vec::new();
            packet.encode(&mut bytes);
            prop_assert_eq!(Packet::parse(&bytes), Ok(packet.clone()));
            let (Packet::Read(request) | Packet::Write(request)) = packet else { unreachable!() };
            let read: Vec<_> = request.options.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
            prop_assert_eq!(read, names);
        }

        #[test]
        fn other_packets_survive_the_round_trip(
            block in any::<u16>(), payload in prop::collection::vec(any::<u8>(), 0..600),
            message in prop::collection::vec(1u8..=255, 0..80),
        ) {
            for packet in [
                Packet::Data { block, payload: &payload },
                Packet::Ack { block },
                Packet::Error { code: block, message: &message },
                Packet::OptionAck(Options::from_bytes(&payload)),
            ] {
                let mut bytes = Vec::new();
                packet.encode(&mut bytes);
                prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
            }
        }
    }
}
