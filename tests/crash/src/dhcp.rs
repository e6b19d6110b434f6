//! The simulated machine's DHCP client: from DISCOVER to an address on its network card.

use anyhow::{Context, Result, bail, ensure};
use leasehold_protocols::dhcp::client::{ClientMessage, Firmware};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) const CARD: &str = "eth0";
/// Between two tries; an answer to the first comes after the server has probed the address.
const AGAIN: Duration = Duration::from_millis(700);
const HEAD: usize = 240;
const OFFER: u8 = 2;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// Gets an address for the card and sets it.
pub(crate) fn configure(mac: [u8; 6], patience: Duration) -> Result<Ipv4Addr> {
    ip(&["address", "flush", "dev", CARD])?;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_broadcast(true)?;
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(CARD.as_bytes()))?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68).into())?;
    let socket = UdpSocket::from(socket);
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        let xid = uuid::Uuid::new_v4().as_fields().0;
        let mut discover = ClientMessage::discover(Firmware::IpxeBios, mac, xid);
        // The card has no address yet: what is not broadcast it would not hear.
        discover.flags = 0x8000;
        let Some(offer) = exchange(&socket, &discover, OFFER)? else { continue };
        if let Some(ack) = exchange(&socket, &discover.select(offer.server, offer.address), ACK)? {
            ip(&["address", "add", &format!("{}/24", ack.address), "dev", CARD])?;
            return Ok(ack.address);
        }
    }
    bail!("no DHCP server answered")
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    kind: u8,
    address: Ipv4Addr,
    server: Ipv4Addr,
}

/// Sends, and waits for an answer of this kind; `None`: none came, or a refusal.
fn exchange(socket: &UdpSocket, message: &ClientMessage, kind: u8) -> Result<Option<Answer>> {
    socket.send_to(&message.encode(), (Ipv4Addr::BROADCAST, 67))?;
    let deadline = Instant::now() + AGAIN;
    let mut buffer = [0; 1500];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        let Ok((length, _)) = socket.recv_from(&mut buffer) else { return Ok(None) };
        match read(&buffer[..length], message.xid) {
            Some(answer) if answer.kind == kind => return Ok(Some(answer)),
            Some(answer) if answer.kind == NAK => return Ok(None),
            _ => {}
        }
    }
}

fn read(bytes: &[u8], xid: u32) -> Option<Answer> {
    if bytes.first() != Some(&2) || bytes.get(4..8)? != xid.to_be_bytes() {
        return None;
    }
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(16..20)?).ok()?);
    let (mut kind, mut server) = (None, None);
    let mut options = bytes.get(HEAD..)?;
    while let [code, rest @ ..] = options {
        match *code {
            0 => options = rest,
            255 => break,
            code => {
                let (length, rest) = rest.split_first()?;
                let value = rest.get(..usize::from(*length))?;
                match code {
                    53 => kind = value.first().copied(),
                    54 => server = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from),
                    _ => {}
                }
                options = &rest[value.len()..];
            }
        }
    }
    Some(Answer { kind: kind?, address, server: server? })
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("ip cannot be started")?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "ip {}: {words}", arguments.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_answers_to_our_own_question_are_read() {
        let mut bytes = vec![0; HEAD];
        bytes[0] = 2;
        bytes[4..8].copy_from_slice(&7_u32.to_be_bytes());
        bytes[16..20].copy_from_slice(&[10, 0, 0, 9]);
        bytes.extend([53, 1, 5, 0, 54, 4, 10, 0, 0, 1, 255]);
        let answer = Answer { kind: ACK, address: Ipv4Addr::new(10, 0, 0, 9), server: Ipv4Addr::new(10, 0, 0, 1) };
        assert_eq!(read(&bytes, 7), Some(answer));
        assert_eq!(read(&bytes, 8), None);
        for length in 0..bytes.len() - 1 {
            assert_eq!(read(&bytes[..length], 7), None, "{length}");
        }
    }
}
