//! The outermost layers of a datagram: the RMCP header, ASF's ping, and the session headers of IPMI 1.5 (used before a
//! session exists) and RMCP+ (section 13.6).

use super::reader::{Malformed, Reader};

/// Payload numbers of RMCP+ (table 13-16).
pub mod payload {
    pub const IPMI: u8 = 0x00;
    pub const SOL: u8 = 0x01;
    pub const OPEN_REQUEST: u8 = 0x10;
    pub const OPEN_RESPONSE: u8 = 0x11;
    pub const RAKP1: u8 = 0x12;
    pub const RAKP2: u8 = 0x13;
    pub const RAKP3: u8 = 0x14;
    pub const RAKP4: u8 = 0x15;
}

const RMCP_VERSION: u8 = 0x06;
const RMCP_NO_ACK: u8 = 0xff;
const CLASS_ASF: u8 = 0x06;
const CLASS_IPMI: u8 = 0x07;
const AUTH_NONE: u8 = 0x00;
const AUTH_RMCP_PLUS: u8 = 0x06;
const NEXT_HEADER: u8 = 0x07;
const ASF_ENTERPRISE: u32 = 4542;
const ASF_PING: u8 = 0x80;
const ASF_PONG: u8 = 0x40;
const ENCRYPTED: u8 = 0x80;
const AUTHENTICATED: u8 = 0x40;

/// A datagram, taken apart as far as that is possible without keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// ASF presence ping with its tag.
    Ping { tag: u8 },
    /// ASF presence pong: the tag of the ping, and whether the peer speaks IPMI.
    Pong { tag: u8, ipmi: bool },
    /// An IPMI 1.5 message outside of any session.
    Plain { message: &'a [u8] },
    /// An RMCP+ payload, of a session or of the handshake.
    Plus(Plus<'a>),
}

/// The RMCP+ session header, its payload and what follows it. Nothing of this has been checked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plus<'a> {
    /// Payload number without the two flags.
    pub kind: u8,
    pub encrypted: bool,
    pub authenticated: bool,
    /// The receiver's session id; 0 outside of a session.
    pub session: u32,
    pub sequence: u32,
    pub payload: &'a [u8],
    /// Everything from the authentication type to the end of the payload: what the code covers, with `trailer`'s front.
    pub head: &'a [u8],
    /// Integrity pad, pad length, next header and authentication code of an authenticated packet.
    pub trailer: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Takes a datagram apart.
    ///
    /// # Errors
    /// [`Malformed`] when it is no RMCP message of a class and form that matter here.
    pub fn parse(datagram: &'a [u8]) -> Result<Packet<'a>, Malformed> {
        let mut reader = Reader::new(datagram);
        let [version, _, sequence, class] = reader.array::<4>()?;
        if version != RMCP_VERSION {
            return Err(Malformed("not RMCP version 1"));
        }
        match class {
            CLASS_ASF => parse_asf(reader),
            CLASS_IPMI if sequence == RMCP_NO_ACK => parse_session(reader),
            // An acknowledge (bit 7 of the class) or another class: nothing that is ever asked for.
            _ => Err(Malformed("an RMCP class that is not used here")),
        }
    }
}

fn parse_asf(mut reader: Reader<'_>) -> Result<Packet<'_>, Malformed> {
    if u32::from_be_bytes(reader.array()?) != ASF_ENTERPRISE {
        return Err(Malformed("an ASF message of another enterprise"));
    }
    let [kind, tag, _, len] = reader.array::<4>()?;
    let data = reader.take(usize::from(len))?;
    match kind {
        ASF_PING => Ok(Packet::Ping { tag }),
        // IANA number (4), OEM defined (4), supported entities: bit 7 is IPMI.
        ASF_PONG => Ok(Packet::Pong { tag, ipmi: data.get(8).is_some_and(|entities| entities & 0x80 != 0) }),
        _ => Err(Malformed("an ASF message that is no ping or pong")),
    }
}

fn parse_session(mut reader: Reader<'_>) -> Result<Packet<'_>, Malformed> {
    let head = reader.rest();
    match reader.u8()? {
        AUTH_NONE => {
            let (sequence, session) = (reader.u32()?, reader.u32()?);
            if sequence != 0 || session != 0 {
                return Err(Malformed("an IPMI 1.5 session, which is never opened here"));
            }
            let len = reader.u8()?;
            Ok(Packet::Plain { message: reader.take(usize::from(len))? })
        }
        AUTH_RMCP_PLUS => {
            let kind = reader.u8()?;
            if kind & 0x3f == 0x02 {
                return Err(Malformed("an OEM payload"));
            }
            let (session, sequence) = (reader.u32()?, reader.u32()?);
            let len = reader.u16()?;
            let payload = reader.take(usize::from(len))?;
            let trailer = reader.rest();
            Ok(Packet::Plus(Plus {
                kind: kind & 0x3f,
                encrypted: kind & ENCRYPTED != 0,
                authenticated: kind & AUTHENTICATED != 0,
                session,
                sequence,
                payload,
                head: head.get(..head.len() - trailer.len()).unwrap_or_default(),
                trailer,
            }))
        }
        _ => Err(Malformed("an authentication type that is not used here")),
    }
}

fn rmcp(class: u8, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity + 4);
    out.extend([RMCP_VERSION, 0, RMCP_NO_ACK, class]);
    out
}

fn asf(kind: u8, tag: u8, data: &[u8]) -> Vec<u8> {
    let mut out = rmcp(CLASS_ASF, 8 + data.len());
    out.extend(ASF_ENTERPRISE.to_be_bytes());
    out.extend([kind, tag, 0, data.len() as u8]);
    out.extend_from_slice(data);
    out
}

/// A presence ping (ASF 2.0, 3.2.4.3). The tag must not be 255.
pub fn ping(tag: u8) -> Vec<u8> {
    asf(ASF_PING, tag, &[])
}

/// The answer to a presence ping: IPMI is spoken here.
pub fn pong(tag: u8) -> Vec<u8> {
    let mut data = [0; 16];
    data[..4].copy_from_slice(&ASF_ENTERPRISE.to_be_bytes());
    data[8] = 0x81;
    asf(ASF_PONG, tag, &data)
}

/// An IPMI 1.5 message outside of a session. Messages longer than 255 bytes do not exist there.
pub fn plain(message: &[u8]) -> Vec<u8> {
    let mut out = rmcp(CLASS_IPMI, 10 + message.len());
    out.push(AUTH_NONE);
    out.extend([0; 8]);
    out.push(message.len() as u8);
    out.extend_from_slice(message);
    out
}

/// An RMCP+ payload of the handshake: no session, no sequence, neither encrypted nor authenticated.
pub fn unprotected(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = rmcp(CLASS_IPMI, 12 + payload.len());
    plus_header(&mut out, kind, 0, 0, payload.len());
    out.extend_from_slice(payload);
    out
}

/// An RMCP+ payload of a session. `payload` is encrypted already, `sign` makes the code over what it is given.
pub fn protected(
    kind: u8,
    session: u32,
    sequence: u32,
    payload: &[u8],
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let mut out = rmcp(CLASS_IPMI, 12 + payload.len() + 40);
    plus_header(&mut out, kind | ENCRYPTED | AUTHENTICATED, session, sequence, payload.len());
    out.extend_from_slice(payload);
    // The code covers a multiple of four bytes: pad with 0xff (section 13.28.4).
    let covered = out.len() - 4 + 2;
    let pad = (4 - covered % 4) % 4;
    out.extend(std::iter::repeat_n(0xff, pad));
    out.extend([pad as u8, NEXT_HEADER]);
    let code = sign(out.get(4..).unwrap_or_default());
    out.extend(code);
    out
}

fn plus_header(out: &mut Vec<u8>, kind: u8, session: u32, sequence: u32, len: usize) {
    out.extend([AUTH_RMCP_PLUS, kind]);
    out.extend(session.to_le_bytes());
    out.extend(sequence.to_le_bytes());
    out.extend((len as u16).to_le_bytes());
}

impl<'a> Plus<'a> {
    /// The bytes the authentication code covers, and the code; `len` is the code's length in the session's suite.
    ///
    /// # Errors
    /// [`Malformed`] when the trailer is not made of a pad, its length, 7 and a code.
    pub fn split_trailer(&self, datagram_head: &'a [u8], len: usize) -> Result<(&'a [u8], &'a [u8]), Malformed> {
        let end = self.trailer.len().checked_sub(len).ok_or(Malformed("the authentication code is cut short"))?;
        let (front, code) = self.trailer.split_at(end);
        let [pad @ .., pad_len, next] = front else { return Err(Malformed("the session trailer is cut short")) };
        if *next != NEXT_HEADER || usize::from(*pad_len) != pad.len() {
            return Err(Malformed("the session trailer is not one"));
        }
        let covered = datagram_head.get(..self.head.len() + end).ok_or(Malformed("the packet is cut short"))?;
        Ok((covered, code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ping_and_pong_are_asf() {
        // The ping of ASF 2.0 as every tool sends it.
        assert_eq!(ping(0x10), [6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x80, 0x10, 0, 0]);
        assert_eq!(Packet::parse(&ping(3)), Ok(Packet::Ping { tag: 3 }));
        assert_eq!(Packet::parse(&pong(9)), Ok(Packet::Pong { tag: 9, ipmi: true }));
    }

    #[test]
    fn what_is_no_message_for_us_is_refused() {
        for bytes in [
            &b""[..],
            &[6, 0, 0xff],
            &[5, 0, 0xff, 7, 0],
            &[6, 0, 0xff, 0x87],
            &[6, 0, 0xff, 7, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            &[6, 0, 0xff, 7, 6, 0x02, 0, 0],
            &[6, 0, 0xff, 7, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200, 0, 1],
            &[6, 0, 0xff, 7, 2],
        ] {
            assert!(Packet::parse(bytes).is_err(), "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, len in 0usize..40) {
            if let Ok(Packet::Plus(plus)) = Packet::parse(&bytes) {
                let _ = plus.split_trailer(&bytes[4..], len);
            }
            let mut framed = vec![6, 0, 0xff, 7, 6];
            framed.extend(&bytes);
            if let Ok(Packet::Plus(plus)) = Packet::parse(&framed) {
                let _ = plus.split_trailer(&framed[4..], len);
            }
        }

        #[test]
        fn packets_come_back(payload in proptest::collection::vec(any::<u8>(), 0..300), session: u32, sequence: u32, kind in 0u8..2) {
            let bytes = protected(kind, session, sequence, &payload, |covered| {
                assert_eq!(covered.len() % 4, 0);
                vec![0xaa; 12]
            });
            let Ok(Packet::Plus(plus)) = Packet::parse(&bytes) else { panic!("not parsed") };
            prop_assert_eq!((plus.kind, plus.session, plus.sequence, plus.payload), (kind, session, sequence, &payload[..]));
            prop_assert!(plus.encrypted && plus.authenticated);
            let (covered, code) = plus.split_trailer(&bytes[4..], 12).unwrap();
            prop_assert_eq!(code, &[0xaa; 12][..]);
            prop_assert_eq!(covered, &bytes[4..bytes.len() - 12]);

            let bytes = unprotected(0x10, &payload);
            let Ok(Packet::Plus(plus)) = Packet::parse(&bytes) else { panic!("not parsed") };
            prop_assert_eq!((plus.kind, plus.session, plus.payload), (0x10, 0, &payload[..]));

            let short = &payload[..payload.len().min(200)];
            let bytes = plain(short);
            prop_assert_eq!(Packet::parse(&bytes), Ok(Packet::Plain { message: short }));
        }
    }
}
