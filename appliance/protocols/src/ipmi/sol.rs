//! Serial over LAN (section 15): the packet, and one end of the link. Console and BMC follow the same rules (one packet
//! under way, acknowledged with the count of characters taken, sent again when nothing comes), so both use [`Link`].

use std::collections::VecDeque;
use std::time::Duration;

use super::reader::{Malformed, Reader};

/// In both directions: the packet that is acknowledged was not (wholly) taken.
pub const NACK: u8 = 0x40;
/// From the console: hold the line in break.
pub const BREAK: u8 = 0x10;
/// From the BMC: characters cannot be taken now.
pub const UNAVAILABLE: u8 = 0x20;
/// From the BMC: SOL ends or has ended.
pub const DEACTIVATED: u8 = 0x10;
/// From the BMC: characters of the machine were lost.
pub const OVERRUN: u8 = 0x08;
/// From the BMC: the machine held the line in break.
pub const BREAK_SEEN: u8 = 0x04;

/// The payload of a SOL packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// 1 to 15 for a packet that wants an acknowledge, 0 for one that only acknowledges.
    pub sequence: u8,
    /// The sequence number that is acknowledged; 0: none.
    pub acked: u8,
    /// How many characters of the acknowledged packet were taken.
    pub accepted: u8,
    /// Operation (from the console) or status (from the BMC).
    pub flags: u8,
    pub data: &'a [u8],
}

impl<'a> Frame<'a> {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.sequence & 0x0f, self.acked & 0x0f, self.accepted, self.flags];
        out.extend_from_slice(self.data);
        out
    }

    /// # Errors
    /// [`Malformed`] when it is shorter than its four header bytes.
    pub fn parse(payload: &'a [u8]) -> Result<Frame<'a>, Malformed> {
        let mut reader = Reader::new(payload);
        let [sequence, acked, accepted, flags] = reader.array::<4>()?;
        Ok(Frame { sequence: sequence & 0x0f, acked: acked & 0x0f, accepted, flags, data: reader.rest() })
    }
}

/// What the other end did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Characters, in order and each once.
    Data(Vec<u8>),
    /// The flags of a packet other than NACK: [`BREAK`] at the BMC, [`DEACTIVATED`] and so on at the console.
    Flags(u8),
}

/// How long a packet waits for its acknowledge and how often it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub retry: Duration,
    pub tries: u8,
}

impl Default for Pace {
    fn default() -> Self {
        // The defaults of the BMC's own retry parameters lie between 100 ms and 500 ms.
        Pace { retry: Duration::from_millis(500), tries: 8 }
    }
}

#[derive(Debug, Clone)]
struct Sent {
    sequence: u8,
    data: Vec<u8>,
    flags: u8,
    tries: u8,
    again_at: Duration,
}

/// One end of a SOL link. Times are since an origin of the caller's.
#[derive(Debug)]
pub struct Link {
    pace: Pace,
    /// Most characters in one packet.
    chunk: usize,
    queue: VecDeque<u8>,
    flags: u8,
    sequence: u8,
    sent: Option<Sent>,
    /// After a NACK nothing new is sent before this.
    hold_until: Duration,
    /// The newest packet of the other end and how many of its characters were taken.
    last: Option<(u8, u8)>,
    acknowledge: bool,
    lost: bool,
}

impl Link {
    /// `packet` is the largest payload that the other end takes, header included.
    pub fn new(packet: u16, pace: Pace) -> Link {
        // Characters are counted in one byte; a BMC that names a senseless size gets small packets.
        let chunk = usize::from(packet).saturating_sub(4).clamp(1, 200);
        Link {
            pace,
            chunk,
            queue: VecDeque::new(),
            flags: 0,
            sequence: 0,
            sent: None,
            hold_until: Duration::ZERO,
            last: None,
            acknowledge: false,
            lost: false,
        }
    }

    /// Queues characters for the other end.
    pub fn write(&mut self, data: &[u8]) {
        self.queue.extend(data);
    }

    /// Sends these flags with the next packet ([`BREAK`], [`DEACTIVATED`], …).
    pub fn signal(&mut self, flags: u8) {
        self.flags |= flags & !NACK;
    }

    /// Characters that the other end has not taken yet.
    pub fn unsent(&self) -> usize {
        self.queue.len() + self.sent.as_ref().map_or(0, |sent| sent.data.len())
    }

    /// A packet was sent as often as it may be and never acknowledged: the other end is gone.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Takes a packet of the other end.
    ///
    /// # Errors
    /// [`Malformed`]; the packet has had no effect.
    pub fn handle(&mut self, now: Duration, payload: &[u8]) -> Result<Vec<Heard>, Malformed> {
        let frame = Frame::parse(payload)?;
        let mut heard = Vec::new();
        if frame.acked != 0 {
            self.handle_acknowledge(now, &frame);
        }
        let flags = frame.flags & !NACK;
        if frame.sequence == 0 {
            if flags != 0 {
                heard.push(Heard::Flags(flags));
            }
            return Ok(heard);
        }
        self.acknowledge = true;
        if self.last.is_some_and(|(sequence, _)| sequence == frame.sequence) {
            // Our acknowledge was lost: say it again, deliver nothing twice.
            return Ok(heard);
        }
        // More than the count can say is not taken: the sender keeps the rest.
        let taken = frame.data.get(..usize::from(u8::MAX)).unwrap_or(frame.data);
        self.last = Some((frame.sequence, taken.len() as u8));
        if flags != 0 {
            heard.push(Heard::Flags(flags));
        }
        if !taken.is_empty() {
            heard.push(Heard::Data(taken.to_vec()));
        }
        Ok(heard)
    }

    fn handle_acknowledge(&mut self, now: Duration, frame: &Frame<'_>) {
        let Some(sent) = self.sent.take_if(|sent| sent.sequence == frame.acked) else { return };
        let refused = frame.flags & NACK != 0;
        let rest = sent.data.get(usize::from(frame.accepted)..).unwrap_or_default();
        if refused || !rest.is_empty() {
            self.hold_until = now + self.pace.retry;
        }
        for byte in rest.iter().rev() {
            self.queue.push_front(*byte);
        }
        if refused && sent.data.is_empty() {
            self.flags |= sent.flags;
        }
    }

    /// The next packet to send now, if there is one.
    pub fn poll(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.lost {
            return None;
        }
        if let Some(sent) = &mut self.sent {
            if now >= sent.again_at {
                if sent.tries == 0 {
                    self.lost = true;
                    return None;
                }
                sent.tries -= 1;
                sent.again_at = now + self.pace.retry;
                let (sequence, data, flags) = (sent.sequence, sent.data.clone(), sent.flags);
                return Some(self.frame(sequence, flags, &data));
            }
        } else if now >= self.hold_until && (!self.queue.is_empty() || self.flags != 0) {
            self.sequence = self.sequence % 15 + 1;
            let count = self.queue.len().min(self.chunk);
            let data: Vec<u8> = self.queue.drain(..count).collect();
            let flags = std::mem::take(&mut self.flags);
            let packet = self.frame(self.sequence, flags, &data);
            self.sent = Some(Sent {
                sequence: self.sequence,
                data,
                flags,
                tries: self.pace.tries.saturating_sub(1),
                again_at: now + self.pace.retry,
            });
            return Some(packet);
        }
        self.acknowledge.then(|| self.frame(0, 0, &[]))
    }

    /// When [`Link::poll`] should be asked again if nothing else happens.
    pub fn deadline(&self) -> Option<Duration> {
        match &self.sent {
            _ if self.lost => None,
            Some(sent) => Some(sent.again_at),
            None if !self.queue.is_empty() || self.flags != 0 => Some(self.hold_until),
            None => None,
        }
    }

    fn frame(&mut self, sequence: u8, flags: u8, data: &[u8]) -> Vec<u8> {
        let (acked, accepted) = match self.last {
            Some(last) if self.acknowledge => last,
            _ => (0, 0),
        };
        self.acknowledge = false;
        Frame { sequence, acked, accepted, flags, data }.encode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PACE: Pace = Pace { retry: Duration::from_millis(100), tries: 3 };

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn characters_travel_and_are_acknowledged_with_their_count() {
        let mut console = Link::new(64, PACE);
        let mut bmc = Link::new(64, PACE);
        console.write(b"help\r");
        let packet = console.poll(at(0)).unwrap();
        assert_eq!(packet, b"\x01\x00\x00\x00help\r");
        assert_eq!(console.poll(at(1)), None, "one packet under way at a time");
        assert_eq!(bmc.handle(at(1), &packet).unwrap(), [Heard::Data(b"help\r".to_vec())]);
        let ack = bmc.poll(at(1)).unwrap();
        assert_eq!(ack, [0, 1, 5, 0]);
        assert!(console.handle(at(2), &ack).unwrap().is_empty());
        assert_eq!((console.unsent(), console.deadline()), (0, None));
    }

    #[test]
    fn a_repeated_packet_is_acknowledged_again_and_delivered_once() {
        let mut bmc = Link::new(64, PACE);
        let packet = Frame { sequence: 4, acked: 0, accepted: 0, flags: 0, data: b"x" }.encode();
        assert_eq!(bmc.handle(at(0), &packet).unwrap().len(), 1);
        assert_eq!(bmc.poll(at(0)), Some(vec![0, 4, 1, 0]));
        assert_eq!(bmc.handle(at(9), &packet).unwrap().len(), 0);
        assert_eq!(bmc.poll(at(9)), Some(vec![0, 4, 1, 0]));
        assert_eq!(bmc.poll(at(9)), None);
    }

    #[test]
    fn what_was_not_taken_is_sent_again_later() {
        let mut console = Link::new(64, PACE);
        console.write(b"abcdef");
        console.poll(at(0)).unwrap();
        let nack = Frame { sequence: 0, acked: 1, accepted: 2, flags: NACK | UNAVAILABLE, data: b"" }.encode();
        assert_eq!(console.handle(at(10), &nack).unwrap(), [Heard::Flags(UNAVAILABLE)]);
        assert_eq!(console.poll(at(20)), None);
        assert_eq!(console.deadline(), Some(at(110)));
        assert_eq!(console.poll(at(110)).unwrap(), b"\x02\x00\x00\x00cdef");
    }

    #[test]
    fn a_packet_nobody_acknowledges_ends_the_link() {
        let mut console = Link::new(64, PACE);
        console.write(b"a");
        for ms in [0, 100, 200] {
            assert!(console.poll(at(ms)).is_some(), "at {ms}");
            assert!(!console.is_lost());
        }
        assert_eq!(console.poll(at(300)), None);
        assert!(console.is_lost());
    }

    #[test]
    fn a_break_is_sent_and_heard() {
        let mut console = Link::new(64, PACE);
        let mut bmc = Link::new(64, PACE);
        console.signal(BREAK);
        let packet = console.poll(at(0)).unwrap();
        assert_eq!(bmc.handle(at(0), &packet).unwrap(), [Heard::Flags(BREAK)]);
        let ack = bmc.poll(at(0)).unwrap();
        console.handle(at(0), &ack).unwrap();
        assert_eq!(console.deadline(), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(packets: Vec<Vec<u8>>, packet: u16) {
            let mut link = Link::new(packet, PACE);
            link.write(b"some input");
            for (n, packet) in packets.iter().enumerate() {
                let _ = link.handle(at(n as u64), packet);
                let _ = link.poll(at(n as u64 * 40));
            }
        }

        /// Whatever is lost on the way: what arrives is what was sent, in order, as long as the link lives.
        #[test]
        fn a_lossy_line_loses_nothing(
            up in proptest::collection::vec(any::<u8>(), 0..300),
            down in proptest::collection::vec(any::<u8>(), 0..300),
            losses in proptest::collection::vec(any::<bool>(), 0..40),
        ) {
            let pace = Pace { retry: Duration::from_millis(100), tries: 60 };
            let (mut console, mut bmc) = (Link::new(40, pace), Link::new(40, pace));
            console.write(&up);
            bmc.write(&down);
            let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
            let mut losses = losses.into_iter();
            for step in 0..400u64 {
                let now = at(step * 50);
                while let Some(packet) = console.poll(now) {
                    if !losses.next().unwrap_or(false) {
                        for heard in bmc.handle(now, &packet).unwrap() {
                            let Heard::Data(data) = heard else { continue };
                            got_up.extend(data);
                        }
                    }
                }
                while let Some(packet) = bmc.poll(now) {
                    if !losses.next().unwrap_or(false) {
                        for heard in console.handle(now, &packet).unwrap() {
                            let Heard::Data(data) = heard else { continue };
                            got_down.extend(data);
                        }
                    }
                }
            }
            prop_assert_eq!(got_up, up);
            prop_assert_eq!(got_down, down);
        }
    }
}
