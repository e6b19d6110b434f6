//! The messages of a UEFI client as a relay hands them on (RFC 2131; PXE 2.1 options), and what is read of answers.

use crate::lab::CLIENT;
use std::net::Ipv4Addr;

pub(super) const OFFER: u8 = 2;
pub(super) const ACK: u8 = 5;
pub(super) const NAK: u8 = 6;

/// The options of firmware: sizes, wishes, vendor class, architecture, network interface, machine id.
fn boot_options(mac: [u8; 6], out: &mut Vec<u8>) {
    out.extend([57, 2, 0x05, 0xc0]);
    out.push(55);
    let wishes =
        [1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97, 128];
    out.push(wishes.len() as u8);
    out.extend(wishes);
    out.extend([97, 17, 0]);
    out.extend([0x4c; 10]);
    out.extend(mac);
    out.extend([94, 3, 1, 3, 0x10]);
    out.extend([93, 2, 0, 7]);
    let class = b"PXEClient:Arch:00007:UNDI:003016";
    out.push(60);
    out.push(class.len() as u8);
    out.extend(class);
}

fn head(xid: u32, mac: [u8; 6], kind: u8) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(384);
    bytes.resize(236, 0);
    bytes[..4].copy_from_slice(&[1, 1, 6, 1]);
    bytes[4..8].copy_from_slice(&xid.to_be_bytes());
    bytes[24..28].copy_from_slice(&CLIENT.octets());
    bytes[28..34].copy_from_slice(&mac);
    bytes.extend([99, 130, 83, 99, 53, 1, kind]);
    bytes
}

pub(super) fn discover(xid: u32, mac: [u8; 6]) -> Vec<u8> {
    let mut bytes = head(xid, mac, 1);
    boot_options(mac, &mut bytes);
    bytes.push(255);
    bytes
}

pub(super) fn request(xid: u32, mac: [u8; 6], address: Ipv4Addr, server: Ipv4Addr) -> Vec<u8> {
    let mut bytes = head(xid, mac, 3);
    bytes.extend([54, 4]);
    bytes.extend(server.octets());
    bytes.extend([50, 4]);
    bytes.extend(address.octets());
    boot_options(mac, &mut bytes);
    bytes.push(255);
    bytes
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) kind: u8,
    pub(super) xid: u32,
    pub(super) address: Ipv4Addr,
    pub(super) server: Ipv4Addr,
    /// It names a boot file, in the header or in option 67.
    pub(super) boots: bool,
}

pub(super) fn read(bytes: &[u8]) -> Option<Answer> {
    let head = bytes.get(..236).filter(|head| head[0] == 2)?;
    let address = |at: usize, from: &[u8]| Some(Ipv4Addr::from(<[u8; 4]>::try_from(from.get(at..at + 4)?).ok()?));
    let mut answer = Answer {
        kind: 0,
        xid: u32::from_be_bytes(head[4..8].try_into().ok()?),
        address: address(16, head)?,
        server: Ipv4Addr::UNSPECIFIED,
        boots: head[108] != 0,
    };
    let mut rest = bytes.get(240..)?;
    while let Some((code, after)) = rest.split_first() {
        if *code == 255 {
            break;
        }
        if *code == 0 {
            rest = after;
            continue;
        }
        let (length, after) = after.split_first()?;
        let value = after.get(..usize::from(*length))?;
        match code {
            53 => answer.kind = *value.first()?,
            54 => answer.server = address(0, value)?,
            67 => answer.boots = true,
            _ => {}
        }
        rest = &after[value.len()..];
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let mut bytes = discover(0x0102_0304, [2, 0, 0, 0, 0, 9]);
        assert_eq!(read(&bytes), None, "a request is no answer");
        bytes[0] = 2;
        bytes[16..20].copy_from_slice(&[10, 0, 0, 9]);
        let end = bytes.len() - 1;
        bytes.splice(end.., [54, 4, 10, 0, 0, 1, 67, 1, b'x', 255]);
        bytes[242] = OFFER;
        let server = Ipv4Addr::new(10, 0, 0, 1);
        let expected =
            Answer { kind: OFFER, xid: 0x0102_0304, address: Ipv4Addr::new(10, 0, 0, 9), server, boots: true };
        assert_eq!(read(&bytes), Some(expected));
        bytes.truncate(bytes.len() - 3);
        assert_eq!(read(&bytes), None);
    }
}
