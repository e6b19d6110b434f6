//! A TFTP client as firmware has one: block size, window, one ACK a window, the last ACK again when nothing comes.

use crate::lab::{CLIENT, SERVER};
use anyhow::{Result, bail};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

pub(super) const BLOCK: usize = 1468;

/// What a datagram leads to.
pub(super) enum Progress {
    Nothing,
    /// This is to be sent.
    Answer([u8; 4]),
    /// This is to be sent, and the file is whole.
    End([u8; 4]),
    Refused(String),
}

/// The receiving side of one transfer.
#[derive(Debug)]
pub(super) struct Receiver {
    /// Payload that came in order.
    pub(super) bytes: u64,
    last: u16,
    since_ack: u16,
    window: u16,
    peer: Option<SocketAddr>,
    gap: bool,
}

impl Default for Receiver {
    fn default() -> Receiver {
        Receiver { bytes: 0, last: 0, since_ack: 0, window: 1, peer: None, gap: false }
    }
}

impl Receiver {
    pub(super) fn request(file: &str, window: u16) -> Vec<u8> {
        format!("\0\x01{file}\0octet\0blksize\0{BLOCK}\0windowsize\0{window}\0").into_bytes()
    }

    pub(super) fn take(&mut self, datagram: &[u8], from: SocketAddr) -> Progress {
        if *self.peer.get_or_insert(from) != from {
            return Progress::Nothing;
        }
        match datagram {
            [0, 6, options @ ..] => {
                self.window = granted(options).unwrap_or(1);
                Progress::Answer(ack(0))
            }
            [0, 3, high, low, data @ ..] => self.data(u16::from_be_bytes([*high, *low]), data),
            [0, 5, words @ ..] => Progress::Refused(String::from_utf8_lossy(words).into_owned()),
            _ => Progress::Nothing,
        }
    }

    fn data(&mut self, block: u16, data: &[u8]) -> Progress {
        if block != self.last.wrapping_add(1) {
            // RFC 7440: what is missing is asked for at once, but once for each gap.
            if std::mem::replace(&mut self.gap, true) {
                return Progress::Nothing;
            }
            self.since_ack = 0;
            return Progress::Answer(ack(self.last));
        }
        (self.last, self.gap) = (block, false);
        self.bytes += data.len() as u64;
        self.since_ack += 1;
        if data.len() < BLOCK {
            return Progress::End(ack(block));
        }
        if self.since_ack < self.window {
            return Progress::Nothing;
        }
        self.since_ack = 0;
        Progress::Answer(ack(block))
    }

    /// What is sent when nothing comes: the last ACK; `None`: the request.
    pub(super) fn again(&mut self) -> Option<([u8; 4], SocketAddr)> {
        (self.since_ack, self.gap) = (0, false);
        Some((ack(self.last), self.peer?))
    }
}

/// One transfer by one socket, with a round trip and losses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetch {
    pub(super) file: &'static str,
    pub(super) window: u16,
    /// Between the last DATA of a window and its ACK.
    pub(super) delay: Duration,
    /// Every so many-th DATA is lost.
    pub(super) loss: Option<u32>,
    /// Silence after which the last ACK is sent again.
    pub(super) patience: Duration,
}

impl Default for Fetch {
    fn default() -> Fetch {
        Fetch { file: "", window: 1, delay: Duration::ZERO, loss: None, patience: Duration::from_secs(1) }
    }
}

impl Fetch {
    /// Fetches until the end of the file or `until`, and gives how many bytes came in order.
    pub(super) fn bytes(&self, until: Instant) -> Result<u64> {
        let socket = UdpSocket::bind(SocketAddrV4::new(CLIENT, 0))?;
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 20);
        socket.set_read_timeout(Some(self.patience))?;
        let (request, server) = (Receiver::request(self.file, self.window), SocketAddrV4::new(SERVER, 69));
        socket.send_to(&request, server)?;
        let mut buffer = [0; BLOCK + 64];
        let (mut receiver, mut seen, mut silent) = (Receiver::default(), 0_u32, 0);
        loop {
            if Instant::now() > until {
                if let Some(peer) = receiver.peer {
                    socket.send_to(b"\0\x05\0\0enough\0", peer)?;
                }
                return Ok(receiver.bytes);
            }
            let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                silent += 1;
                match receiver.again() {
                    Some((ack, peer)) => socket.send_to(&ack, peer)?,
                    None if silent > 8 => bail!("no answer"),
                    None => socket.send_to(&request, server)?,
                };
                continue;
            };
            if buffer.starts_with(&[0, 3]) {
                seen += 1;
                if self.loss.is_some_and(|each| seen.is_multiple_of(each)) {
                    continue;
                }
            }
            match receiver.take(&buffer[..length], from) {
                Progress::Nothing => {}
                Progress::Answer(ack) => {
                    if !self.delay.is_zero() {
                        std::thread::sleep(self.delay);
                    }
                    socket.send_to(&ack, from)?;
                }
                Progress::End(ack) => {
                    socket.send_to(&ack, from)?;
                    return Ok(receiver.bytes);
                }
                Progress::Refused(words) => bail!("the server refuses: {words}"),
            }
        }
    }
}

fn ack(block: u16) -> [u8; 4] {
    let [high, low] = block.to_be_bytes();
    [0, 4, high, low]
}

/// The window in an OACK's options.
fn granted(options: &[u8]) -> Option<u16> {
    let mut words = options.split(|byte| *byte == 0);
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        if name.eq_ignore_ascii_case(b"windowsize") {
            return std::str::from_utf8(value).ok()?.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_granted_window_is_read() {
        assert_eq!(granted(b"blksize\x001468\0windowsize\x0016\0"), Some(16));
        assert_eq!(granted(b"blksize\x001468\0"), None);
    }

    #[test]
    fn a_window_is_acknowledged_once_and_a_gap_at_once() {
        let from = SocketAddr::from(([10, 0, 0, 1], 99));
        let mut receiver = Receiver::default();
        assert!(matches!(receiver.take(b"\0\x06windowsize\x002\0", from), Progress::Answer([0, 4, 0, 0])));
        let data = |block: u8, length: usize| [&[0, 3, 0, block][..], &vec![7; length]].concat();
        assert!(matches!(receiver.take(&data(1, BLOCK), from), Progress::Nothing));
        assert!(matches!(receiver.take(&data(2, BLOCK), from), Progress::Answer([0, 4, 0, 2])));
        assert!(matches!(receiver.take(&data(4, BLOCK), from), Progress::Answer([0, 4, 0, 2])));
        assert!(matches!(receiver.take(&data(5, BLOCK), from), Progress::Nothing));
        assert!(matches!(receiver.take(&data(3, 9), from), Progress::End([0, 4, 0, 3])));
        assert_eq!(receiver.bytes, 2 * BLOCK as u64 + 9);
    }
}
