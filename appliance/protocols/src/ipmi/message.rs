//! The IPMI message inside a payload: addresses, network function, command, two checksums (section 13.8), and what
//! completion codes mean.

use std::fmt;

use super::reader::{Malformed, Reader};

/// Network functions (table 5-1); a response has the next odd number.
pub mod netfn {
    pub const CHASSIS: u8 = 0x00;
    pub const SENSOR: u8 = 0x04;
    pub const APP: u8 = 0x06;
    pub const STORAGE: u8 = 0x0a;
    pub const TRANSPORT: u8 = 0x0c;
}

/// The BMC's address on the IPMB, to which every request goes.
pub const BMC_ADDRESS: u8 = 0x20;
/// The software id of a remote console (81h, section 5.5).
pub const CONSOLE_ADDRESS: u8 = 0x81;

/// What a session may do (table 6-2); a power command needs `Operator`, most configuration `Administrator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Privilege {
    Callback = 1,
    User = 2,
    Operator = 3,
    Administrator = 4,
}

impl Privilege {
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The privilege with this number; 5 (OEM) and others are none of ours.
    pub fn from_code(code: u8) -> Option<Privilege> {
        [Privilege::Callback, Privilege::User, Privilege::Operator, Privilege::Administrator]
            .into_iter()
            .find(|privilege| privilege.code() == code)
    }
}

/// A completion code (table 5-2): 0 is success, everything else a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Completion(pub u8);

impl Completion {
    pub const OK: Completion = Completion(0x00);
    pub const NODE_BUSY: Completion = Completion(0xc0);
    pub const INVALID_COMMAND: Completion = Completion(0xc1);
    pub const INVALID_FOR_LUN: Completion = Completion(0xc2);
    pub const RESERVATION_LOST: Completion = Completion(0xc5);
    pub const CUT: Completion = Completion(0xc6);
    pub const LENGTH: Completion = Completion(0xc7);
    pub const TOO_LONG: Completion = Completion(0xc8);
    pub const OUT_OF_RANGE: Completion = Completion(0xc9);
    pub const CANNOT_RETURN: Completion = Completion(0xca);
    pub const NOT_PRESENT: Completion = Completion(0xcb);
    pub const INVALID_FIELD: Completion = Completion(0xcc);
    pub const ILLEGAL_FOR_SENSOR: Completion = Completion(0xcd);
    pub const IN_UPDATE: Completion = Completion(0xd0);
    pub const INITIALIZING: Completion = Completion(0xd2);
    pub const PRIVILEGE: Completion = Completion(0xd4);
    pub const NOT_IN_THIS_STATE: Completion = Completion(0xd5);
    pub const DISABLED: Completion = Completion(0xd6);
    pub const UNSPECIFIED: Completion = Completion(0xff);

    pub fn is_ok(self) -> bool {
        self == Completion::OK
    }

    /// The BMC has no such command or parameter, so that asking again is useless.
    pub fn is_unsupported(self) -> bool {
        matches!(self, Completion::INVALID_COMMAND | Completion::INVALID_FOR_LUN | Completion::DISABLED)
    }

    /// The BMC is busy and asks to be asked again.
    pub fn is_busy(self) -> bool {
        matches!(self, Completion::NODE_BUSY | Completion(0xc3) | Completion::IN_UPDATE | Completion::INITIALIZING)
    }
}

impl fmt::Display for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            0x00 => "done",
            0xc0 => "busy",
            0xc1 => "it does not know this command",
            0xc2 => "it does not know this command at this unit",
            0xc3 => "timeout inside of the BMC",
            0xc4 => "out of space",
            0xc5 => "the reservation was lost",
            0xc6 => "the request was cut",
            0xc7 => "the request has the wrong length",
            0xc8 => "the request is too long",
            0xc9 => "a value is out of range",
            0xca => "it cannot return that many bytes",
            0xcb => "there is no such sensor, record or data",
            0xcc => "a field of the request is invalid",
            0xcd => "the command is illegal for that sensor or record",
            0xce => "it cannot answer",
            0xcf => "it takes the request for a duplicate",
            0xd0 => "its sensor repository is being updated",
            0xd1 => "its firmware is being updated",
            0xd2 => "it is still starting",
            0xd3 => "it cannot reach the destination",
            0xd4 => "the user has not the privilege for this",
            0xd5 => "that is not possible in its present state",
            0xd6 => "the function is disabled",
            0x80..=0xbe => "a refusal particular to the command",
            0x01..=0x7e => "a refusal particular to its maker",
            _ => "no reason given",
        };
        write!(f, "{text} (completion code {:#04x})", self.0)
    }
}

/// A request as it travels, whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    pub netfn: u8,
    pub lun: u8,
    pub command: u8,
    /// 0 to 63; the response repeats it.
    pub sequence: u8,
    pub data: &'a [u8],
}

/// A response as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response<'a> {
    /// The network function of the request (even).
    pub netfn: u8,
    pub command: u8,
    pub sequence: u8,
    pub completion: Completion,
    pub data: &'a [u8],
}

impl<'a> Request<'a> {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(7 + self.data.len());
        frame(&mut out, [BMC_ADDRESS, self.netfn << 2 | self.lun & 3]);
        let body = [CONSOLE_ADDRESS, self.sequence << 2, self.command];
        tail(&mut out, &[&body, self.data]);
        out
    }

    /// # Errors
    /// [`Malformed`] when a checksum is wrong, the message is cut, or it is a response.
    pub fn parse(message: &'a [u8]) -> Result<Request<'a>, Malformed> {
        let ([_, function], body) = unframe(message)?;
        let mut reader = Reader::new(body);
        let [_, sequence, command] = reader.array::<3>()?;
        if function >> 2 & 1 != 0 {
            return Err(Malformed("a response where a request should be"));
        }
        Ok(Request { netfn: function >> 2, lun: function & 3, command, sequence: sequence >> 2, data: reader.rest() })
    }
}

impl<'a> Response<'a> {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.data.len());
        frame(&mut out, [CONSOLE_ADDRESS, (self.netfn | 1) << 2]);
        let body = [BMC_ADDRESS, self.sequence << 2, self.command, self.completion.0];
        tail(&mut out, &[&body, self.data]);
        out
    }

    /// # Errors
    /// [`Malformed`] when a checksum is wrong, the message is cut, or it is a request.
    pub fn parse(message: &'a [u8]) -> Result<Response<'a>, Malformed> {
        let ([_, function], body) = unframe(message)?;
        let mut reader = Reader::new(body);
        let [_, sequence, command, completion] = reader.array::<4>()?;
        if function >> 2 & 1 == 0 {
            return Err(Malformed("a request where a response should be"));
        }
        Ok(Response {
            netfn: function >> 2 & !1,
            command,
            sequence: sequence >> 2,
            completion: Completion(completion),
            data: reader.rest(),
        })
    }
}

/// The two's complement that makes the sum of the bytes and itself 0.
pub fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

fn frame(out: &mut Vec<u8>, head: [u8; 2]) {
    out.extend(head);
    out.push(checksum(&head));
}

fn tail(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let start = out.len();
    for part in parts {
        out.extend_from_slice(part);
    }
    let sum = checksum(out.get(start..).unwrap_or_default());
    out.push(sum);
}

fn unframe(message: &[u8]) -> Result<([u8; 2], &[u8]), Malformed> {
    let mut reader = Reader::new(message);
    let head = reader.array::<3>()?;
    let [body @ .., _] = reader.rest() else { return Err(Malformed("the message is cut short")) };
    if checksum(&head) != 0 || checksum(reader.rest()) != 0 {
        return Err(Malformed("a checksum of the message is wrong"));
    }
    Ok(([head[0], head[1]], body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_known_request_has_its_known_bytes() {
        // Get Channel Authentication Capabilities as every tool sends it first.
        let request = Request { netfn: netfn::APP, lun: 0, command: 0x38, sequence: 0, data: &[0x8e, 0x04] };
        assert_eq!(request.encode(), [0x20, 0x18, 0xc8, 0x81, 0x00, 0x38, 0x8e, 0x04, 0xb5]);
    }

    #[test]
    fn requests_are_no_responses_and_cut_ones_are_neither() {
        let request = Request { netfn: 6, lun: 0, command: 1, sequence: 5, data: &[] }.encode();
        assert!(Response::parse(&request).is_err());
        assert!(Request::parse(&request[..request.len() - 1]).is_err());
        let response = Response { netfn: 6, command: 1, sequence: 5, completion: Completion::OK, data: &[1] }.encode();
        assert!(Request::parse(&response).is_err());
        assert!(Response::parse(&[]).is_err());
    }

    proptest! {
        #[test]
        fn messages_come_back(netfn in 0u8..32, lun in 0u8..4, command: u8, sequence in 0u8..64, code: u8, data: Vec<u8>) {
            let netfn = netfn & !1;
            let request = Request { netfn, lun, command, sequence, data: &data };
            let bytes = request.encode();
            prop_assert_eq!(Request::parse(&bytes).unwrap(), request);
            let response = Response { netfn, command, sequence, completion: Completion(code), data: &data };
            let bytes = response.encode();
            prop_assert_eq!(Response::parse(&bytes).unwrap(), response);
        }

        #[test]
        fn one_changed_byte_is_noticed(at in 0usize..12, to in 1u8..=255) {
            let mut bytes = Response { netfn: 6, command: 1, sequence: 5, completion: Completion::OK, data: &[1, 2, 3, 4] }.encode();
            bytes[at] ^= to;
            prop_assert!(Response::parse(&bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Request::parse(&bytes);
            let _ = Response::parse(&bytes);
        }
    }
}
