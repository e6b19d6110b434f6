//! A BMC, simulated: the other side of every message of this room, for tests of the client and for racks without BMCs.
//!
//! In: datagrams with the peer they came from, the time, the machine's serial output. Out: datagrams, the machine's power
//! and boot flags, serial input. It opens cipher suites 3 and 17, insists on privilege as real BMCs do, and answers every
//! request (what it does not know with C1h). `ipmitool -I lanplus` is its judge, as `ipmi_sim` is the client's.

mod commands;
mod machine;

use std::collections::VecDeque;
use std::time::Duration;

pub use machine::{Machine, SensorKind, SimSensor};

use super::cipher::{CipherSuite, Entropy};
use super::handshake::{Exchange, OpenRequest, OpenResponse, Rakp1, Rakp2, Rakp3, Rakp4, Status};
use super::message::{Completion, Privilege, Request, Response};
use super::packet::{self, Packet, Plus, payload};
use super::secure::SecureEnd;
use super::sol::{self, Heard, Link};

/// Sessions and openings at one time.
const SESSIONS: usize = 8;
/// A session without a packet for so long is forgotten (60 s, section 6.12.15).
const SILENCE: Duration = Duration::from_secs(60);

/// A user of the simulated BMC.
#[derive(Debug, Clone)]
pub struct User {
    pub name: String,
    pub password: String,
    /// Highest privilege of a session.
    pub privilege: Privilege,
}

/// How the simulated BMC is set up.
#[derive(Debug, Clone)]
pub struct Config {
    pub users: Vec<User>,
    /// The suites it takes and lists.
    pub suites: Vec<CipherSuite>,
    /// A BMC key (K_G), of which the session keys are made instead of the password.
    pub bmc_key: Option<Vec<u8>>,
    /// The GUID in the byte order of SMBIOS.
    pub guid: [u8; 16],
    /// Keeps neither the valid nor the persistent bit of the boot flags, as `ipmi_sim` does.
    pub forgets_boot_bits: bool,
    /// Most bytes it returns of a record or a FRU at once.
    pub chunk: u8,
    /// The UDP port it names in answers.
    pub port: u16,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            users: vec![User {
                name: "admin".into(),
                password: "password".into(),
                privilege: Privilege::Administrator,
            }],
            suites: CipherSuite::ALL.to_vec(),
            bmc_key: None,
            guid: [0x23, 0x95, 0xa3, 0x61, 0xf2, 0x78, 0xe5, 0x11, 0x98, 0x62, 0xe6, 0x40, 0x2c, 0xfc, 0x32, 0x23],
            forgets_boot_bits: false,
            chunk: 32,
            port: super::PORT,
        }
    }
}

#[derive(Debug)]
enum Phase {
    Opened { suite: CipherSuite, console_id: u32 },
    Challenged { exchange: Exchange, user: usize },
    Active { exchange: Exchange, user: usize, end: SecureEnd, privilege: Privilege },
}

#[derive(Debug)]
struct Session<P> {
    peer: P,
    id: u32,
    /// Highest privilege the console asked for.
    most: Privilege,
    phase: Phase,
    seen: Duration,
}

/// A simulated BMC with its machine. `P` is whatever tells peers apart (a socket address).
#[derive(Debug)]
pub struct Sim<P> {
    config: Config,
    entropy: Entropy,
    sessions: Vec<Session<P>>,
    /// The machine behind the BMC: tests and servers read and change it.
    pub machine: Machine,
    sol: Option<(u32, Link)>,
    transmit: VecDeque<(P, Vec<u8>)>,
    serial: VecDeque<u8>,
    breaks: u32,
}

impl<P: Copy + Eq> Sim<P> {
    pub fn new(config: Config, machine: Machine, seed: [u8; 32]) -> Sim<P> {
        Sim {
            config,
            entropy: Entropy::new(seed),
            sessions: Vec::new(),
            machine,
            sol: None,
            transmit: VecDeque::new(),
            serial: VecDeque::new(),
            breaks: 0,
        }
    }

    /// The next datagram to send, and to whom.
    pub fn transmit(&mut self) -> Option<(P, Vec<u8>)> {
        self.transmit.pop_front()
    }

    /// Sessions that are open now.
    pub fn open_sessions(&self) -> usize {
        self.sessions.iter().filter(|session| matches!(session.phase, Phase::Active { .. })).count()
    }

    /// Forgets all sessions, as a BMC does that has started anew.
    pub fn restart(&mut self) {
        self.sessions.clear();
        self.sol = None;
    }

    /// Whether a console has the serial line.
    pub fn has_console(&self) -> bool {
        self.sol.is_some()
    }

    /// Output of the machine's serial line. Without a console it is lost.
    pub fn write_serial(&mut self, now: Duration, data: &[u8]) {
        if let Some((_, link)) = &mut self.sol {
            link.write(data);
        }
        self.flush_sol(now);
    }

    /// What the console has typed since the last look.
    pub fn read_serial(&mut self) -> Vec<u8> {
        self.serial.drain(..).collect()
    }

    /// Breaks that consoles have sent so far.
    pub fn breaks(&self) -> u32 {
        self.breaks
    }

    /// When [`Sim::tick`] is to be called if nothing comes before.
    pub fn deadline(&self) -> Option<Duration> {
        let link = self.sol.as_ref().and_then(|(_, link)| link.deadline());
        link.into_iter().chain(self.machine.deadline()).min()
    }

    /// Lets the time pass: serial data is repeated, a machine shuts down.
    pub fn tick(&mut self, now: Duration) {
        self.machine.tick(now);
        self.flush_sol(now);
    }

    /// Takes a datagram. What is no message for a BMC is dropped without a word.
    pub fn handle(&mut self, now: Duration, peer: P, datagram: &[u8]) {
        self.machine.tick(now);
        match Packet::parse(datagram) {
            Ok(Packet::Ping { tag }) => self.transmit.push_back((peer, packet::pong(tag))),
            Ok(Packet::Plain { message }) => self.take_plain(now, peer, message),
            Ok(Packet::Plus(plus)) if plus.session == 0 => self.take_handshake(now, peer, &plus),
            Ok(Packet::Plus(plus)) => self.take_active(now, peer, &plus, datagram),
            Ok(Packet::Pong { .. }) | Err(_) => {}
        }
        self.flush_sol(now);
    }

    fn take_plain(&mut self, now: Duration, peer: P, message: &[u8]) {
        let Ok(request) = Request::parse(message) else { return };
        let (completion, data) = self.run(now, None, &request);
        let response = respond(&request, completion, &data);
        self.transmit.push_back((peer, packet::plain(&response)));
    }

    fn take_handshake(&mut self, now: Duration, peer: P, plus: &Plus<'_>) {
        let answer = match plus.kind {
            payload::OPEN_REQUEST => OpenRequest::parse(plus.payload)
                .map(|request| (payload::OPEN_RESPONSE, self.open(now, peer, &request).encode())),
            payload::RAKP1 => {
                Rakp1::parse(plus.payload).map(|rakp| (payload::RAKP2, self.challenge(now, &rakp).encode()))
            }
            payload::RAKP3 => match Rakp3::parse(plus.payload).map(|rakp| self.activate(now, &rakp)) {
                Ok(Some(rakp)) => Ok((payload::RAKP4, rakp.encode())),
                Ok(None) => return,
                Err(why) => Err(why),
            },
            _ => return,
        };
        if let Ok((kind, bytes)) = answer {
            self.transmit.push_back((peer, packet::unprotected(kind, &bytes)));
        }
    }

    fn open(&mut self, now: Duration, peer: P, request: &OpenRequest) -> OpenResponse {
        self.sessions.retain(|session| now.saturating_sub(session.seen) < SILENCE);
        let mut response = OpenResponse {
            tag: request.tag,
            status: Status::OK,
            privilege: request.privilege,
            console_id: request.console_id,
            bmc_id: 0,
            authentication: request.authentication,
            integrity: request.integrity,
            confidentiality: request.confidentiality,
        };
        // 0 asks for the highest there is.
        let most = match request.privilege {
            0 => Some(Privilege::Administrator),
            code => Privilege::from_code(code),
        };
        let suite = CipherSuite::from_algorithms(request.authentication, request.integrity, request.confidentiality)
            .filter(|suite| self.config.suites.contains(suite));
        match (most, suite) {
            (None, _) => response.status = Status::INVALID_ROLE,
            (_, None) => response.status = Status::NO_SUITE,
            _ if self.sessions.len() >= SESSIONS => response.status = Status::NO_RESOURCES,
            (Some(most), Some(suite)) => {
                response.bmc_id = u32::from_le_bytes(self.entropy.draw()).max(1);
                response.privilege = most.code();
                self.sessions.push(Session {
                    peer,
                    id: response.bmc_id,
                    most,
                    phase: Phase::Opened { suite, console_id: request.console_id },
                    seen: now,
                });
            }
        }
        response
    }

    fn challenge(&mut self, now: Duration, rakp: &Rakp1) -> Rakp2 {
        let mut answer = Rakp2 {
            tag: rakp.tag,
            status: Status::OK,
            console_id: 0,
            random: [0; 16],
            guid: [0; 16],
            code: Vec::new(),
        };
        let Some(session) = self.sessions.iter_mut().find(|session| session.id == rakp.bmc_id) else {
            answer.status = Status::INVALID_SESSION;
            return answer;
        };
        let (suite, console_id) = match &session.phase {
            Phase::Opened { suite, console_id } => (*suite, *console_id),
            Phase::Challenged { exchange, .. } => (exchange.suite, exchange.console_id),
            Phase::Active { .. } => {
                answer.status = Status::INVALID_SESSION;
                return answer;
            }
        };
        answer.console_id = console_id;
        let user = self.config.users.iter().position(|user| user.name.as_bytes() == rakp.user);
        let allowed = user.and_then(|at| self.config.users.get(at)).zip(Privilege::from_code(rakp.role & 0x0f));
        let (Some(user), Some((known, asked))) = (user, allowed) else {
            answer.status = Status::UNAUTHORIZED_NAME;
            return answer;
        };
        if asked > known.privilege || asked > session.most {
            answer.status = Status::UNAUTHORIZED_ROLE;
            return answer;
        }
        session.seen = now;
        session.most = asked;
        let exchange = Exchange {
            suite,
            console_id,
            bmc_id: session.id,
            console_random: rakp.random,
            bmc_random: self.entropy.draw(),
            guid: self.config.guid,
            role: rakp.role,
            user: rakp.user.clone(),
        };
        answer.random = exchange.bmc_random;
        answer.guid = exchange.guid;
        answer.code = exchange.bmc_proof(known.password.as_bytes());
        session.phase = Phase::Challenged { exchange, user };
        answer
    }

    fn activate(&mut self, now: Duration, rakp: &Rakp3) -> Option<Rakp4> {
        let at = self.sessions.iter().position(|session| session.id == rakp.bmc_id);
        let Some((at, session)) = at.and_then(|at| self.sessions.get_mut(at).map(|session| (at, session))) else {
            return Some(Rakp4 { tag: rakp.tag, status: Status::INVALID_SESSION, console_id: 0, code: Vec::new() });
        };
        // A console that repeats RAKP 3 has not heard the answer.
        let (exchange, user, known) = match &session.phase {
            Phase::Opened { .. } => return None,
            Phase::Challenged { exchange, user } => (exchange.clone(), *user, false),
            Phase::Active { exchange, user, .. } => (exchange.clone(), *user, true),
        };
        let password = self.config.users.get(user)?.password.as_bytes();
        let console_id = exchange.console_id;
        if rakp.status != Status::OK || !exchange.check_console_proof(password, &rakp.code) {
            if !known {
                self.sessions.remove(at);
            }
            let status = Status::INVALID_CODE;
            return (rakp.status == Status::OK).then_some(Rakp4 {
                tag: rakp.tag,
                status,
                console_id,
                code: Vec::new(),
            });
        }
        let keys = exchange.keys(self.config.bmc_key.as_deref().unwrap_or(password));
        let code = exchange.key_proof(&keys);
        if !known {
            let end = SecureEnd::new(keys, exchange.bmc_id, console_id);
            session.phase = Phase::Active { exchange, user, end, privilege: Privilege::User.min(session.most) };
        }
        session.seen = now;
        Some(Rakp4 { tag: rakp.tag, status: Status::OK, console_id, code })
    }

    fn take_active(&mut self, now: Duration, peer: P, plus: &Plus<'_>, datagram: &[u8]) {
        let Some(session) = self.sessions.iter_mut().find(|session| session.id == plus.session) else { return };
        let Phase::Active { end, .. } = &mut session.phase else { return };
        let Ok(bytes) = end.open(plus, datagram) else { return };
        session.seen = now;
        session.peer = peer;
        let id = session.id;
        match plus.kind {
            payload::IPMI => {
                let Ok(request) = Request::parse(&bytes) else { return };
                let (completion, data) = self.run(now, Some(id), &request);
                let response = respond(&request, completion, &data);
                self.send(id, payload::IPMI, &response);
                if let Some(ended) = commands::ended_session(&request, completion) {
                    self.end_session(ended);
                }
                if commands::forgets_sessions(&request, completion) {
                    self.restart();
                }
            }
            payload::SOL => self.take_sol(now, id, &bytes),
            _ => {}
        }
    }

    fn send(&mut self, id: u32, kind: u8, bytes: &[u8]) {
        let Some(session) = self.sessions.iter_mut().find(|session| session.id == id) else { return };
        let Phase::Active { end, .. } = &mut session.phase else { return };
        if let Some(datagram) = end.seal(kind, bytes, self.entropy.draw()) {
            self.transmit.push_back((session.peer, datagram));
        }
    }

    fn end_session(&mut self, id: u32) {
        self.sessions.retain(|session| session.id != id);
        if self.sol.as_ref().is_some_and(|(owner, _)| *owner == id) {
            self.sol = None;
        }
    }

    fn take_sol(&mut self, now: Duration, id: u32, bytes: &[u8]) {
        let Some((_, link)) = self.sol.as_mut().filter(|(owner, _)| *owner == id) else { return };
        for heard in link.handle(now, bytes).unwrap_or_default() {
            match heard {
                Heard::Data(data) => self.serial.extend(data),
                Heard::Flags(flags) if flags & sol::BREAK != 0 => self.breaks += 1,
                Heard::Flags(_) => {}
            }
        }
    }

    fn flush_sol(&mut self, now: Duration) {
        let Some((id, mut link)) = self.sol.take() else { return };
        while let Some(bytes) = link.poll(now) {
            self.send(id, payload::SOL, &bytes);
        }
        if !link.is_lost() && self.sessions.iter().any(|session| session.id == id) {
            self.sol = Some((id, link));
        }
    }
}

fn respond(request: &Request<'_>, completion: Completion, data: &[u8]) -> Vec<u8> {
    Response { netfn: request.netfn, command: request.command, sequence: request.sequence, completion, data }.encode()
}

#[cfg(test)]
mod tests;
