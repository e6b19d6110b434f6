//! The sending side of one transfer, as a state machine without clock or socket.
//!
//! The caller hands in each datagram of the client ([`Transfer::on_datagram`]) and tells when the deadline has passed
//! ([`Transfer::on_deadline`]); in between it asks what to send ([`Transfer::outgoing`]) and reports how much of it
//! the socket took ([`Transfer::sent`]), until there is nothing more. The content of the file is a parameter of each
//! call, so that the state of a transfer stays at a few hundred bytes however large the file or window.
//!
//! Loss is repaired by going back to the first block that is not acknowledged:
//! - the deadline passes (RFC 6298, see `rtt.rs`);
//! - an ACK for the middle of a window says that the client saw a gap (RFC 7440);
//! - a second ACK for the block before a window says that its first block was lost.
//!
//! The latter two are believed only while nothing has been sent twice since the last window that was acknowledged as
//! a whole. Each block that comes twice may make the client say again where it is, and believing that would send the
//! next blocks twice, for the rest of the file (the sorcerer's apprentice). An ACK that is not believed still moves the
//! window, which brings both sides into step again. With a window of one a second ACK is never believed.

use super::netascii::{Cursor, encode_block};
use super::options::Agreed;
use super::packet::{Mode, Packet, data_header};
use super::rtt::RoundTrip;
use std::time::Duration;

/// How long a client may be silent before its first ACK: it has just asked, so it is there or it never was.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may be silent later. Firmware that shows a progress bar or asks a question comes back late.
const PATIENCE: Duration = Duration::from_secs(30);
/// A client with a timeout option of its own gets at least this many of its timeouts.
const PATIENCE_TIMEOUTS: u32 = 6;

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The last block was acknowledged.
    Done,
    /// The client sent an ERROR. PXE firmware does so on purpose after it has learnt the size from the OACK.
    ClientError { code: u16, message: Vec<u8> },
    /// Nothing came from the client for too long.
    Silent,
    /// The client sent a packet that has no place in a transfer; it is to be told so (ERROR 4).
    Illegal,
}

/// What is to be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outgoing<'a> {
    /// One datagram as it is.
    Packet(&'a [u8]),
    /// DATA packets of consecutive blocks.
    Run(Run<'a>),
}

/// DATA packets of consecutive blocks whose payload lies end to end in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run<'a> {
    first: u64,
    blocks: u16,
    blksize: usize,
    payload: &'a [u8],
}

impl<'a> Run<'a> {
    /// The number of packets, at least one.
    #[must_use]
    pub fn blocks(&self) -> u16 {
        self.blocks
    }

    /// The size in bytes of each packet but perhaps the last.
    #[must_use]
    pub fn packet_size(&self) -> usize {
        self.blksize + 4
    }

    /// Header and payload of the packet at `index`, counted from 0.
    #[must_use]
    pub fn packet(&self, index: u16) -> ([u8; 4], &'a [u8]) {
        let from = (usize::from(index) * self.blksize).min(self.payload.len());
        let to = (from + self.blksize).min(self.payload.len());
        (data_header(wire(self.first + u64::from(index))), &self.payload[from..to])
    }
}

/// The state of one transfer to one client. Times are those since any fixed moment of the caller's choice.
#[derive(Debug, Clone)]
pub struct Transfer {
    mode: Mode,
    blksize: u16,
    window: u16,
    /// The OACK as long as it has not been answered, then empty.
    oack: Box<[u8]>,
    /// Whether the OACK is to be sent (again).
    oack_due: bool,
    /// The last block that the client acknowledged, in full width (the wire has the lower 16 bits); 0 is none.
    acked: u64,
    /// The next block to send.
    next: u64,
    /// The greatest block ever sent.
    highest: u64,
    /// The greatest block sent when we last went back: an ACK up to here may be the echo of a packet sent twice.
    recovery: u64,
    /// Whether a window beyond `recovery` has been acknowledged as a whole, so that ACKs mean what they say.
    in_step: bool,
    /// The OACK has been sent more than once, so its answer measures nothing.
    oack_repeated: bool,
    /// A packet sent once (0 for the OACK) and when: its answer is a measurement.
    timed: Option<(u64, Duration)>,
    /// Netascii only: the place after block `acked`.
    cursor: Cursor,
    round_trip: RoundTrip,
    deadline: Duration,
    heard_at: Duration,
    heard: bool,
    patience: Duration,
}

impl Transfer {
    /// Starts a transfer on agreed terms; the first packet is due at once.
    #[must_use]
    pub fn new(agreed: Agreed, now: Duration) -> Self {
        let wish = agreed.timeout;
        Transfer {
            mode: agreed.mode,
            blksize: agreed.blksize,
            window: agreed.windowsize,
            oack_due: !agreed.oack.is_empty(),
            oack: agreed.oack.into_boxed_slice(),
            acked: 0,
            next: 1,
            highest: 0,
            recovery: 0,
            in_step: true,
            oack_repeated: false,
            timed: None,
            cursor: Cursor::default(),
            round_trip: RoundTrip::new(wish),
            deadline: now,
            heard_at: now,
            heard: false,
            patience: wish
                .map_or(PATIENCE, |seconds| PATIENCE.max(Duration::from_secs(u64::from(seconds)) * PATIENCE_TIMEOUTS)),
        }
    }

    /// When [`Transfer::on_deadline`] is to be called if nothing comes before.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// When the client last made progress.
    #[must_use]
    pub fn heard_at(&self) -> Duration {
        self.heard_at
    }

    /// Whether the client has acknowledged anything. Until then its address may be forged.
    #[must_use]
    pub fn heard(&self) -> bool {
        self.heard
    }

    /// Whether any block of the file has been sent.
    #[must_use]
    pub fn data_sent(&self) -> bool {
        self.highest > 0
    }

    /// Whether the last block has been sent. For netascii, whose end is known only when it is acknowledged, never.
    #[must_use]
    pub fn everything_sent(&self, content: &[u8]) -> bool {
        self.mode == Mode::Octet && self.highest == last_block(content, self.blksize)
    }

    /// Payload bytes that the client has acknowledged, as they went over the wire.
    #[must_use]
    pub fn acknowledged(&self, content: &[u8]) -> u64 {
        match self.mode {
            Mode::Octet => (self.acked * u64::from(self.blksize)).min(content.len() as u64),
            Mode::Netascii => self.cursor.produced,
        }
    }

    /// What to send next, or nothing until the next datagram or deadline. `scratch` is working space that may be
    /// shared by all transfers; its content is replaced.
    #[must_use]
    pub fn outgoing<'a>(&'a self, content: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<Outgoing<'a>> {
        if !self.oack.is_empty() {
            return self.oack_due.then_some(Outgoing::Packet(&self.oack));
        }
        let end = self.acked + u64::from(self.window);
        match self.mode {
            Mode::Octet => {
                let end = end.min(last_block(content, self.blksize));
                let blocks = (end + 1).checked_sub(self.next).filter(|blocks| *blocks > 0)?;
                let blksize = usize::from(self.blksize);
                // No block is beyond the last of `content`, so these fit its length.
                let from = usize::try_from(self.next - 1).ok()? * blksize;
                let to = (usize::try_from(end).ok()? * blksize).min(content.len());
                let payload = content.get(from..to)?;
                Some(Outgoing::Run(Run { first: self.next, blocks: u16::try_from(blocks).ok()?, blksize, payload }))
            }
            Mode::Netascii => {
                let mut cursor = self.cursor;
                for _ in self.acked + 1..self.next {
                    if encode_block(content, &mut cursor, self.blksize, |_| {}) < self.blksize {
                        return None;
                    }
                }
                scratch.clear();
                let mut blocks = 0;
                for _ in self.next..=end {
                    blocks += 1;
                    if encode_block(content, &mut cursor, self.blksize, |byte| scratch.push(byte)) < self.blksize {
                        break;
                    }
                }
                let blksize = usize::from(self.blksize);
                (blocks > 0).then_some(Outgoing::Run(Run { first: self.next, blocks, blksize, payload: scratch }))
            }
        }
    }

    /// Reports that the first `packets` of what [`Transfer::outgoing`] returned have been handed to the network.
    pub fn sent(&mut self, packets: u16, now: Duration) {
        if packets == 0 {
            return;
        }
        self.deadline = now + self.round_trip.timeout();
        if !self.oack.is_empty() {
            // The first sending is timed; a repetition could be answered by an answer to the first.
            self.timed = (!self.oack_repeated).then_some((0, now));
            self.oack_repeated = true;
            self.oack_due = false;
            return;
        }
        let first = self.next;
        self.next += u64::from(packets);
        if first > self.highest {
            self.timed = Some((self.next - 1, now));
        }
        self.highest = self.highest.max(self.next - 1);
    }

    /// Takes a datagram that came from the client's address and port.
    /// What is no packet at all is ignored: it may be damaged, and answering damage helps nobody.
    pub fn on_datagram(&mut self, datagram: &[u8], content: &[u8], now: Duration) -> Option<Outcome> {
        match Packet::parse(datagram) {
            Ok(Packet::Ack { block }) => self.on_ack(block, content, now),
            Ok(Packet::Error { code, message }) => Some(Outcome::ClientError { code, message: message.to_vec() }),
            Ok(Packet::Read(_) | Packet::Write(_) | Packet::Data { .. } | Packet::OptionAck(_)) => {
                Some(Outcome::Illegal)
            }
            Err(_) => None,
        }
    }

    fn on_ack(&mut self, block: u16, content: &[u8], now: Duration) -> Option<Outcome> {
        if !self.oack.is_empty() {
            if block == 0 {
                self.oack = Box::default();
                self.progress(0, now);
            }
            return None;
        }
        let block = self.acked + u64::from(block.wrapping_sub(wire(self.acked)));
        if block > self.highest {
            // From the past, or for a block that has never been sent.
            return None;
        }
        if block == self.acked {
            if self.window > 1 && self.in_step && self.acked > 0 && self.next > self.acked + 1 {
                self.go_back();
            }
            return None;
        }
        if self.advance(block, content) {
            return Some(Outcome::Done);
        }
        self.progress(block, now);
        if block < self.highest {
            if self.in_step {
                self.go_back();
            }
        } else if block > self.recovery {
            self.in_step = true;
        }
        // After going back, an ACK for what was sent before may be ahead of us.
        self.next = self.next.max(block + 1);
        None
    }

    /// Moves the mark of what is acknowledged; true when that was the last block.
    fn advance(&mut self, block: u64, content: &[u8]) -> bool {
        let from = std::mem::replace(&mut self.acked, block);
        match self.mode {
            Mode::Octet => block == last_block(content, self.blksize),
            Mode::Netascii => {
                let mut length = self.blksize;
                for _ in from..block {
                    length = encode_block(content, &mut self.cursor, self.blksize, |_| {});
                }
                length < self.blksize
            }
        }
    }

    fn progress(&mut self, block: u64, now: Duration) {
        if let Some((timed, at)) = self.timed
            && timed == block
        {
            self.round_trip.measured(now.saturating_sub(at));
            self.timed = None;
        }
        self.heard = true;
        self.heard_at = now;
        self.deadline = now + self.round_trip.timeout();
    }

    fn go_back(&mut self) {
        self.recovery = self.highest;
        self.in_step = false;
        self.next = self.acked + 1;
        self.timed = None;
    }

    /// The client repeated its request, so our first packet did not reach it: it becomes due again. Without effect once
    /// the client has been heard of.
    pub fn repeat(&mut self) {
        if !self.heard {
            self.oack_due = !self.oack.is_empty();
            self.go_back();
        }
    }

    /// Takes notice that the time is `now`: where the deadline has passed, what is not acknowledged becomes due again,
    /// or the transfer ends because the client has been silent for too long.
    pub fn on_deadline(&mut self, now: Duration) -> Option<Outcome> {
        if now < self.deadline {
            return None;
        }
        let patience = if self.heard { self.patience } else { FIRST_PATIENCE };
        if now.saturating_sub(self.heard_at) >= patience {
            return Some(Outcome::Silent);
        }
        self.round_trip.back_off();
        self.deadline = now + self.round_trip.timeout();
        self.oack_due = !self.oack.is_empty();
        self.go_back();
        None
    }
}

/// The number of the last block, which is shorter than the others and may be empty.
fn last_block(content: &[u8], blksize: u16) -> u64 {
    (content.len() / usize::from(blksize)) as u64 + 1
}

/// A block number as it is on the wire: beyond 65535 it starts again at 0, as all clients that read large files do.
fn wire(block: u64) -> u16 {
    (block & 0xffff) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn terms(mode: Mode, blksize: u16, windowsize: u16) -> Agreed {
        Agreed { mode, blksize, windowsize, timeout: None, oack: Vec::new() }
    }

    fn ack(block: u16) -> [u8; 4] {
        let [high, low] = block.to_be_bytes();
        [0, 4, high, low]
    }

    /// Sends all that is due and returns the block numbers.
    fn flush(transfer: &mut Transfer, content: &[u8], now: Duration) -> Vec<u16> {
        let mut numbers = Vec::new();
        loop {
            let mut scratch = Vec::new();
            let packets = match transfer.outgoing(content, &mut scratch) {
                None => return numbers,
                Some(Outgoing::Packet(_)) => {
                    numbers.push(0);
                    1
                }
                Some(Outgoing::Run(run)) => {
                    for index in 0..run.blocks() {
                        let (header, payload) = run.packet(index);
                        numbers.push(u16::from_be_bytes([header[2], header[3]]));
                        assert!(payload.len() <= run.packet_size() - 4);
                    }
                    run.blocks()
                }
            };
            transfer.sent(packets, now);
        }
    }

    #[test]
    fn state_is_small() {
        assert!(size_of::<Transfer>() < 512, "{}", size_of::<Transfer>());
    }

    #[test]
    fn lock_step_ignores_duplicate_acks() {
        let content = [7; 1030];
        let mut transfer = Transfer::new(terms(Mode::Octet, 512, 1), Duration::ZERO);
        assert_eq!(flush(&mut transfer, &content, MS), [1]);
        assert_eq!(transfer.on_datagram(&ack(1), &content, MS * 2), None);
        assert_eq!(flush(&mut transfer, &content, MS * 2), [2]);
        // The apprentice: a second ACK 1 must not cause a second DATA 2.
        assert_eq!(transfer.on_datagram(&ack(1), &content, MS * 3), None);
        assert!(flush(&mut transfer, &content, MS * 3).is_empty());
        assert_eq!(transfer.on_datagram(&ack(2), &content, MS * 4), None);
        assert_eq!(flush(&mut transfer, &content, MS * 4), [3]);
        assert_eq!(transfer.acknowledged(&content), 1024);
        assert_eq!(transfer.on_datagram(&ack(3), &content, MS * 5), Some(Outcome::Done));
        assert_eq!(transfer.acknowledged(&content), 1030);
    }

    #[test]
    fn a_gap_is_repaired_at_once_and_only_once() {
        let content = [7; 100 * 10];
        let mut transfer = Transfer::new(terms(Mode::Octet, 10, 4), Duration::ZERO);
        assert_eq!(flush(&mut transfer, &content, MS), [1, 2, 3, 4]);
        // Block 3 was lost: the client acknowledges 2 when 4 comes.
        transfer.on_datagram(&ack(2), &content, MS * 3);
        assert_eq!(flush(&mut transfer, &content, MS * 3), [3, 4, 5, 6]);
        // The same ACK again is the echo, not a new loss.
        transfer.on_datagram(&ack(2), &content, MS * 3);
        assert!(flush(&mut transfer, &content, MS * 3).is_empty());
        transfer.on_datagram(&ack(6), &content, MS * 5);
        assert_eq!(flush(&mut transfer, &content, MS * 5), [7, 8, 9, 10]);
        // The first block of a window was lost, all was quiet before: a second ACK 6 says so.
        transfer.on_datagram(&ack(6), &content, MS * 7);
        assert_eq!(flush(&mut transfer, &content, MS * 7), [7, 8, 9, 10]);
        transfer.on_datagram(&ack(6), &content, MS * 7);
        assert!(flush(&mut transfer, &content, MS * 7).is_empty());
    }

    #[test]
    fn a_deadline_goes_back_to_the_last_ack_and_backs_off() {
        let content = [7; 100];
        let mut transfer = Transfer::new(terms(Mode::Octet, 10, 2), Duration::ZERO);
        assert_eq!(flush(&mut transfer, &content, Duration::ZERO), [1, 2]);
        assert_eq!(transfer.on_deadline(MS * 499), None);
        assert!(flush(&mut transfer, &content, MS * 499).is_empty());
        assert_eq!(transfer.on_deadline(MS * 500), None);
        assert_eq!(flush(&mut transfer, &content, MS * 500), [1, 2]);
        assert_eq!(transfer.deadline(), MS * 1500);
        // Never heard of: given up after ten seconds, not before.
        let mut last;
        let outcome = loop {
            last = transfer.deadline();
            if let Some(outcome) = transfer.on_deadline(last) {
                break outcome;
            }
            flush(&mut transfer, &content, last);
        };
        assert_eq!(outcome, Outcome::Silent);
        assert!(last >= FIRST_PATIENCE && last < FIRST_PATIENCE * 2);
    }

    #[test]
    fn options_are_acknowledged_before_data_flows() {
        let content = [7; 20];
        let mut agreed = terms(Mode::Octet, 10, 4);
        agreed.oack = b"\0\x06tsize\x0020\0".to_vec();
        let mut transfer = Transfer::new(agreed, Duration::ZERO);
        assert_eq!(flush(&mut transfer, &content, Duration::ZERO), [0]);
        assert_eq!(transfer.on_datagram(&ack(1), &content, MS), None);
        assert!(flush(&mut transfer, &content, MS).is_empty());
        assert!(!transfer.heard() && !transfer.data_sent());
        transfer.on_deadline(MS * 500);
        assert_eq!(flush(&mut transfer, &content, MS * 500), [0]);
        transfer.on_datagram(&ack(0), &content, MS * 501);
        // Twenty bytes in blocks of ten end with an empty third block.
        assert_eq!(flush(&mut transfer, &content, MS * 501), [1, 2, 3]);
        assert_eq!(transfer.on_datagram(&ack(3), &content, MS * 502), Some(Outcome::Done));
    }

    #[test]
    fn block_numbers_start_again_after_65535() {
        let content = vec![7; 8 * 70_000];
        let mut transfer = Transfer::new(terms(Mode::Octet, 8, 7), Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut sent = 0u64;
        loop {
            let numbers = flush(&mut transfer, &content, now);
            sent += numbers.len() as u64;
            now += MS;
            if transfer.on_datagram(&ack(*numbers.last().unwrap()), &content, now) == Some(Outcome::Done) {
                break;
            }
        }
        assert_eq!(sent, 70_001);
    }

    #[test]
    fn foreign_packets() {
        let content = [7; 20];
        let new = || Transfer::new(terms(Mode::Octet, 10, 4), Duration::ZERO);
        let error = Outcome::ClientError { code: 8, message: b"User aborted".to_vec() };
        assert_eq!(new().on_datagram(b"\0\x05\0\x08User aborted\0", &content, MS), Some(error));
        assert_eq!(new().on_datagram(b"\0\x03\0\x01data", &content, MS), Some(Outcome::Illegal));
        assert_eq!(new().on_datagram(b"garbage", &content, MS), None);
        assert_eq!(new().on_datagram(b"", &content, MS), None);
        // Blocks that were never sent.
        let mut transfer = new();
        assert_eq!(flush(&mut transfer, &content, MS), [1, 2, 3]);
        for block in [4, 5, 1000, 65535] {
            assert_eq!(transfer.on_datagram(&ack(block), &content, MS), None);
        }
        assert_eq!(transfer.acknowledged(&content), 0);
    }

    #[test]
    fn what_the_socket_did_not_take_stays_due() {
        let content = [7; 100];
        let mut transfer = Transfer::new(terms(Mode::Octet, 10, 6), Duration::ZERO);
        transfer.sent(2, MS);
        transfer.sent(0, MS);
        assert_eq!(flush(&mut transfer, &content, MS), [3, 4, 5, 6]);
    }
}
