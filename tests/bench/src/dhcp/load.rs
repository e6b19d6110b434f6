//! Clients behind one relay, so many at a time, each through a whole lease.

use super::many::{self, Incoming};
use super::message::{self, ACK, NAK, OFFER};
use crate::lab::{CLIENT, SERVER};
use anyhow::{Result, bail};
use rustix::time::{ClockId, clock_gettime};
use std::net::{SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

/// After this long an exchange counts as unanswered.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which machines ask.
#[derive(Clone, Copy, Debug)]
pub(super) enum Machines {
    /// Nobody's.
    Unknown,
    /// Enrolled.
    Reserved,
}

impl Machines {
    pub(super) fn mac(self, number: u32) -> [u8; 6] {
        let [a, b, c, d] = number.to_be_bytes();
        [2, if matches!(self, Machines::Reserved) { 0xee } else { 0xbe }, a, b, c, d]
    }

    pub(super) fn mac_text(self, number: u32) -> String {
        self.mac(number).map(|byte| format!("{byte:02x}")).join(":")
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) machines: Machines,
    /// The first machine's number, and how many there are; they take turns.
    pub(super) from: u32,
    pub(super) count: u32,
    pub(super) flight: u32,
    pub(super) span: Duration,
    /// Each machine once, then it is over.
    pub(super) once: bool,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) done: u64,
    pub(super) unanswered: u64,
    /// Offers that named a boot file.
    pub(super) booting: u64,
    pub(super) took: Duration,
    /// Of each lease, from DISCOVER to ACK.
    pub(super) micros: Vec<f64>,
    /// The processor time of the clients themselves, in seconds: what a faster server cannot take away.
    pub(super) own_cpu: f64,
}

struct Exchange {
    xid: u32,
    machine: u32,
    mac: [u8; 6],
    began: Instant,
    requested: bool,
}

struct Relay {
    load: Load,
    /// Connected to the server.
    socket: UdpSocket,
    /// What goes out next, in one call.
    outgoing: Vec<Vec<u8>>,
    started: u32,
    serial: u32,
    outcome: Outcome,
}

impl Load {
    /// Runs it; in the clients' namespace.
    pub(super) fn run(self) -> Result<Outcome> {
        let socket = UdpSocket::bind(SocketAddrV4::new(CLIENT, 67))?;
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        socket.connect(SocketAddrV4::new(SERVER, 67))?;
        let (micros, took) = (Vec::new(), Duration::ZERO);
        let outcome = Outcome { done: 0, unanswered: 0, booting: 0, took, micros, own_cpu: 0.0 };
        Relay { load: self, socket, outgoing: Vec::new(), started: 0, serial: 0, outcome }.run()
    }
}

impl Relay {
    fn run(mut self) -> Result<Outcome> {
        let (began, began_cpu) = (Instant::now(), own_cpu());
        let mut slots: Vec<Option<Exchange>> = Vec::new();
        for slot in 0..self.load.flight {
            slots.push(self.begin(slot, began));
        }
        let mut incoming = Incoming::new(self.load.flight as usize);
        let mut last_look = began;
        while slots.iter().any(Option::is_some) {
            many::send(&self.socket, &self.outgoing)?;
            self.outgoing.clear();
            // A timeout is no more than a reason to look for what is late.
            let received = incoming.receive(&self.socket);
            let now = Instant::now();
            if received.is_ok() {
                for answer in incoming.datagrams().filter_map(message::read) {
                    self.answer(&mut slots, &answer, now, began)?;
                }
            }
            if now.duration_since(last_look) > Duration::from_millis(50) {
                last_look = now;
                for slot in 0..self.load.flight {
                    let late =
                        slots[slot as usize].as_ref().is_some_and(|one| now.duration_since(one.began) > PATIENCE);
                    if late {
                        self.outcome.unanswered += 1;
                        if self.outcome.unanswered > 1000 {
                            bail!("the server does not answer");
                        }
                        slots[slot as usize] = self.begin(slot, began);
                    }
                }
            }
        }
        self.outcome.took = began.elapsed();
        self.outcome.own_cpu = own_cpu() - began_cpu;
        Ok(self.outcome)
    }

    /// Starts the next machine's exchange, unless it is over.
    fn begin(&mut self, slot: u32, began: Instant) -> Option<Exchange> {
        let over = if self.load.once { self.started >= self.load.count } else { began.elapsed() >= self.load.span };
        if over {
            return None;
        }
        let machine = self.load.from + self.started % self.load.count;
        self.started += 1;
        self.serial = self.serial.wrapping_add(1) & 0xff_ffff;
        let (xid, mac) = (self.serial << 8 | slot, self.load.machines.mac(machine));
        self.outgoing.push(message::discover(xid, mac));
        Some(Exchange { xid, machine, mac, began: Instant::now(), requested: false })
    }

    fn answer(
        &mut self,
        slots: &mut [Option<Exchange>],
        answer: &message::Answer,
        now: Instant,
        began: Instant,
    ) -> Result<()> {
        let slot = answer.xid & 0xff;
        let Some(place) = slots.get_mut(slot as usize) else { return Ok(()) };
        let Some(one) = place.as_mut().filter(|one| one.xid == answer.xid) else { return Ok(()) };
        match answer.kind {
            OFFER if !one.requested => {
                self.outcome.booting += u64::from(answer.boots);
                one.requested = true;
                self.outgoing.push(message::request(one.xid, one.mac, answer.address, answer.server));
            }
            ACK if one.requested => {
                self.outcome.done += 1;
                self.outcome.micros.push(now.duration_since(one.began).as_secs_f64() * 1e6);
                *place = self.begin(slot, began);
            }
            NAK => bail!("a lease was refused: machine {}", one.machine),
            _ => {}
        }
        Ok(())
    }
}

/// Processor time of this thread so far, in seconds.
fn own_cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
