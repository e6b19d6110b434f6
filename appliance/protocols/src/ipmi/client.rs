//! The console's side of one session: from the first packet to the last, without socket or clock.
//!
//! The caller gives datagrams ([`Client::handle`]), the time and requests; it takes datagrams ([`Client::transmit`]),
//! the next deadline ([`Client::deadline`]) and events ([`Client::event`]). One request is under way at a time (many
//! BMCs lose the second one); SOL flows beside it. Nothing is believed that is not of this session: before the keys
//! exist, random ids and tags tie an answer to its question, afterwards only the authentication code counts.

mod error;
mod open;

use std::collections::VecDeque;
use std::time::Duration;

pub use error::{Credentials, CredentialsError, SessionError, Step};
use open::{Open, Opened};

use super::cipher::{CipherSuite, Entropy};
use super::command::{self, Command};
use super::message::{Completion, Privilege, Request, Response, netfn};
use super::packet::{Packet, Plus, payload};
use super::secure::SecureEnd;
use super::sol;

/// How long one datagram waits for its answer, and how often it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    pub timeout: Duration,
    pub tries: u8,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { timeout: Duration::from_secs(1), tries: 4 }
    }
}

/// What has happened since the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The session is open at the privilege that was asked for.
    Ready { suite: CipherSuite },
    /// The answer to the request.
    Reply { completion: Completion, data: Vec<u8> },
    /// The session could not be opened, or has ended by an error. Nothing more comes.
    Failed(SessionError),
    /// The session was closed as asked.
    Closed,
    /// From the machine's serial line.
    Sol(sol::Heard),
    /// The BMC acknowledges no serial input any more.
    SolLost,
}

/// A request cannot be sent now: the session is not open, or another request is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no request can be sent now: the session is not open or still waits for an answer")]
pub struct NotReady;

/// A request under way, with every sequence number it was sent under: an answer to any of them answers it.
#[derive(Debug)]
struct UnderWay {
    netfn: u8,
    lun: u8,
    command: u8,
    data: Vec<u8>,
    purpose: Purpose,
    timeout: Duration,
    tries: u8,
    sequences: Vec<u8>,
    again_at: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Raise,
    Caller,
    Close,
}

#[derive(Debug)]
enum State {
    Opening(Box<Open>),
    Active { end: SecureEnd, under_way: Option<UnderWay>, raised: bool },
    Over,
}

/// A session with one BMC.
#[derive(Debug)]
pub struct Client {
    privilege: Privilege,
    retry: Retry,
    entropy: Entropy,
    state: State,
    sequence: u8,
    transmit: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
    sol: Option<sol::Link>,
    dropped: u32,
    why_dropped: Option<String>,
}

impl Client {
    /// Begins to open a session. `suites` are tried in this order (those that the BMC lists first); `seed` is 32
    /// fresh bytes of the operating system's randomness.
    pub fn open(
        now: Duration,
        credentials: Credentials,
        suites: &[CipherSuite],
        retry: Retry,
        seed: [u8; 32],
    ) -> Client {
        let mut entropy = Entropy::new(seed);
        let [sequence] = entropy.draw::<1>();
        let privilege = credentials.privilege();
        let open = Open::new(credentials, suites, retry, &mut entropy);
        let mut client = Client {
            privilege,
            retry,
            entropy,
            state: State::Opening(Box::new(open)),
            sequence: sequence % 64,
            transmit: VecDeque::new(),
            events: VecDeque::new(),
            sol: None,
            dropped: 0,
            why_dropped: None,
        };
        client.drive_open(now);
        client
    }

    /// The next datagram to send.
    pub fn transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop_front()
    }

    /// The next event.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Client::tick`] is to be called if nothing comes before.
    pub fn deadline(&self) -> Option<Duration> {
        let own = match &self.state {
            State::Opening(open) => open.deadline(),
            State::Active { under_way, .. } => under_way.as_ref().map(|request| request.again_at),
            State::Over => return None,
        };
        let sol = self.sol.as_ref().and_then(sol::Link::deadline);
        own.into_iter().chain(sol).min()
    }

    /// Datagrams that were not of this session or made no sense, and what was wrong with the last one.
    pub fn dropped(&self) -> (u32, Option<&str>) {
        (self.dropped, self.why_dropped.as_deref())
    }

    /// Whether a request can be sent now.
    pub fn is_ready(&self) -> bool {
        matches!(&self.state, State::Active { under_way: None, raised: true, .. })
    }

    /// Takes a datagram from the BMC's address.
    pub fn handle(&mut self, now: Duration, datagram: &[u8]) {
        if let Err(why) = self.take(now, datagram) {
            self.dropped = self.dropped.saturating_add(1);
            self.why_dropped = Some(why);
        }
        self.flush_sol(now);
    }

    fn take(&mut self, now: Duration, datagram: &[u8]) -> Result<(), String> {
        let packet = Packet::parse(datagram).map_err(|why| why.to_string())?;
        match &mut self.state {
            State::Opening(open) => {
                open.take(now, &packet)?;
                self.drive_open(now);
                Ok(())
            }
            State::Active { .. } => match packet {
                Packet::Plus(plus) => self.take_active(now, &plus, datagram),
                _ => Err("a packet outside of the session".to_owned()),
            },
            State::Over => Err("the session is over".to_owned()),
        }
    }

    /// Lets the time pass: sends again what was not answered, gives up what was not answered often enough.
    pub fn tick(&mut self, now: Duration) {
        match &mut self.state {
            State::Opening(open) => {
                open.tick(now);
                self.drive_open(now);
            }
            State::Active { under_way: Some(request), .. } if now >= request.again_at => self.send_again(now),
            State::Active { .. } | State::Over => {}
        }
        self.flush_sol(now);
    }

    /// Sends a command of [`command`]; its answer comes as [`Event::Reply`], for [`command::read_reply`].
    ///
    /// # Errors
    /// [`NotReady`]; nothing was sent.
    pub fn request<C: Command>(&mut self, now: Duration, command: &C) -> Result<(), NotReady> {
        let timeout = C::PATIENCE.max(self.retry.timeout);
        let number = (command.netfn(), command.command());
        self.start(now, number, command.lun(), command.encode(), Purpose::Caller, timeout)
    }

    /// Ends the session. [`Event::Closed`] follows, also when the BMC does not answer.
    pub fn close(&mut self, now: Duration) {
        self.sol = None;
        let State::Active { end, under_way, raised } = &mut self.state else {
            self.finish(Event::Closed);
            return;
        };
        *under_way = None;
        *raised = true;
        let data = command::CloseSession { session: end.remote() }.encode();
        let close = (command::CloseSession::NETFN, command::CloseSession::COMMAND);
        let timeout = self.retry.timeout;
        if self.start(now, close, 0, data, Purpose::Close, timeout).is_err() {
            self.finish(Event::Closed);
        }
    }

    /// The datagram that ends the session, for a caller who cannot wait for the answer. `None`: there is none open.
    pub fn abandon(&mut self) -> Option<Vec<u8>> {
        let State::Active { end, .. } = &mut self.state else { return None };
        let data = command::CloseSession { session: end.remote() }.encode();
        let request = Request {
            netfn: netfn::APP,
            lun: 0,
            command: command::CloseSession::COMMAND,
            sequence: self.sequence,
            data: &data,
        };
        let datagram = end.seal(payload::IPMI, &request.encode(), self.entropy.draw());
        self.state = State::Over;
        datagram
    }

    /// Begins to carry serial data, after [`command::ActivateSol`] was answered with `activation`.
    pub fn start_sol(&mut self, activation: &command::SolActivation, pace: sol::Pace) {
        self.sol = Some(sol::Link::new(activation.inbound, pace));
    }

    /// Queues characters for the machine's serial line.
    ///
    /// # Errors
    /// [`NotReady`] when SOL was not started or has ended.
    pub fn write_sol(&mut self, now: Duration, data: &[u8]) -> Result<(), NotReady> {
        self.sol.as_mut().ok_or(NotReady)?.write(data);
        self.flush_sol(now);
        Ok(())
    }

    /// Holds the machine's serial line in break.
    ///
    /// # Errors
    /// [`NotReady`] when SOL was not started or has ended.
    pub fn break_sol(&mut self, now: Duration) -> Result<(), NotReady> {
        self.sol.as_mut().ok_or(NotReady)?.signal(sol::BREAK);
        self.flush_sol(now);
        Ok(())
    }

    /// Serial input that the BMC has not taken yet, in bytes.
    pub fn unsent_sol(&self) -> usize {
        self.sol.as_ref().map_or(0, sol::Link::unsent)
    }

    fn drive_open(&mut self, now: Duration) {
        let State::Opening(open) = &mut self.state else { return };
        while let Some(datagram) = open.transmit(now, &mut self.entropy) {
            self.transmit.push_back(datagram);
        }
        match open.result() {
            None => {}
            Some(Opened::Failed(error)) => self.finish(Event::Failed(error)),
            Some(Opened::Session(end)) => {
                self.state = State::Active { end, under_way: None, raised: false };
                let data = command::SetPrivilege { privilege: self.privilege }.encode();
                let raise = (command::SetPrivilege::NETFN, command::SetPrivilege::COMMAND);
                let timeout = self.retry.timeout;
                if self.start(now, raise, 0, data, Purpose::Raise, timeout).is_err() {
                    self.finish(Event::Failed(SessionError::Exhausted));
                }
            }
        }
    }

    fn start(
        &mut self,
        now: Duration,
        (netfn, command): (u8, u8),
        lun: u8,
        data: Vec<u8>,
        purpose: Purpose,
        timeout: Duration,
    ) -> Result<(), NotReady> {
        let tries = if purpose == Purpose::Close { 2 } else { self.retry.tries.max(1) };
        let State::Active { under_way: under_way @ None, raised, .. } = &mut self.state else { return Err(NotReady) };
        if !*raised && purpose != Purpose::Raise {
            return Err(NotReady);
        }
        let sequences = Vec::with_capacity(usize::from(tries));
        *under_way = Some(UnderWay { netfn, lun, command, data, purpose, timeout, tries, sequences, again_at: now });
        self.send_again(now);
        Ok(())
    }

    /// Sends the request under way (again), under a new sequence number.
    fn send_again(&mut self, now: Duration) {
        let State::Active { end, under_way: Some(request), .. } = &mut self.state else { return };
        if request.tries == 0 {
            let (command, purpose) = (request.command, request.purpose);
            return match purpose {
                Purpose::Close => self.finish(Event::Closed),
                Purpose::Raise | Purpose::Caller => {
                    self.finish(Event::Failed(SessionError::NoAnswer { step: Step::Command(command), heard: true }));
                }
            };
        }
        request.tries -= 1;
        self.sequence = (self.sequence + 1) % 64;
        request.sequences.push(self.sequence);
        request.again_at = now + request.timeout;
        let message = Request {
            netfn: request.netfn,
            lun: request.lun,
            command: request.command,
            sequence: self.sequence,
            data: &request.data,
        };
        match end.seal(payload::IPMI, &message.encode(), self.entropy.draw()) {
            Some(datagram) => self.transmit.push_back(datagram),
            None => self.finish(Event::Failed(SessionError::Exhausted)),
        }
    }

    fn take_active(&mut self, now: Duration, plus: &Plus<'_>, datagram: &[u8]) -> Result<(), String> {
        let State::Active { end, .. } = &mut self.state else { return Ok(()) };
        if plus.session == 0 {
            return Err("a late packet of the handshake".to_owned());
        }
        let bytes = end.open(plus, datagram).map_err(|why| why.to_string())?;
        match plus.kind {
            payload::IPMI => self.take_response(now, &bytes),
            payload::SOL => self.take_sol(now, &bytes),
            _ => Err("a payload that was not asked for".to_owned()),
        }
    }

    fn take_response(&mut self, now: Duration, message: &[u8]) -> Result<(), String> {
        let response = Response::parse(message).map_err(|why| why.to_string())?;
        let State::Active { under_way, raised, .. } = &mut self.state else { return Ok(()) };
        let answered = under_way.take_if(|request| {
            (request.netfn, request.command) == (response.netfn, response.command)
                && request.sequences.contains(&response.sequence)
        });
        let Some(mut request) = answered else { return Err("an answer to no question of ours".to_owned()) };
        if response.completion.is_busy() && request.tries > 0 {
            // Asked to come back: the next try, a little later. Earlier numbers have been answered by this.
            request.sequences.clear();
            request.again_at = now + request.timeout / 2;
            *under_way = Some(request);
            return Ok(());
        }
        match request.purpose {
            Purpose::Close => self.finish(Event::Closed),
            Purpose::Caller => {
                self.events.push_back(Event::Reply { completion: response.completion, data: response.data.to_vec() });
            }
            Purpose::Raise if response.completion.is_ok() => {
                *raised = true;
                if let State::Active { end, .. } = &self.state {
                    self.events.push_back(Event::Ready { suite: end.keys().suite() });
                }
            }
            Purpose::Raise => {
                let (privilege, completion) = (self.privilege, response.completion);
                if let Some(datagram) = self.abandon() {
                    self.transmit.push_back(datagram);
                }
                self.finish(Event::Failed(SessionError::Privilege { privilege, completion }));
            }
        }
        Ok(())
    }

    fn take_sol(&mut self, now: Duration, bytes: &[u8]) -> Result<(), String> {
        let link = self.sol.as_mut().ok_or("serial data although SOL is not active")?;
        let heard = link.handle(now, bytes).map_err(|why| why.to_string())?;
        let ended =
            heard.iter().any(|heard| matches!(heard, sol::Heard::Flags(flags) if flags & sol::DEACTIVATED != 0));
        self.events.extend(heard.into_iter().map(Event::Sol));
        if ended {
            self.flush_sol(now);
            self.sol = None;
        }
        Ok(())
    }

    fn flush_sol(&mut self, now: Duration) {
        let State::Active { end, .. } = &mut self.state else { return };
        let Some(link) = &mut self.sol else { return };
        while let Some(packet) = link.poll(now) {
            match end.seal(payload::SOL, &packet, self.entropy.draw()) {
                Some(datagram) => self.transmit.push_back(datagram),
                None => return self.finish(Event::Failed(SessionError::Exhausted)),
            }
        }
        if link.is_lost() {
            self.sol = None;
            self.events.push_back(Event::SolLost);
        }
    }

    fn finish(&mut self, event: Event) {
        self.events.push_back(event);
        self.state = State::Over;
        self.sol = None;
    }
}
