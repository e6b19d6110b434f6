//! Opening a session: capabilities, cipher suites, Open Session, RAKP 1 to 4.
//!
//! Each question is repeated under a new tag or number. Answers to any repetition are taken, except in RAKP 2: the BMC
//! draws a new random number for every RAKP 1, so only the answer to the latest one fits what it remembers.

use std::time::Duration;

use super::super::cipher::{CipherSuite, Entropy, Keys};
use super::super::command::{self, Command};
use super::super::handshake::{Exchange, OpenRequest, OpenResponse, Rakp1, Rakp2, Rakp3, Rakp4, Status, role};
use super::super::message::{Request, Response};
use super::super::packet::{self, Packet, payload};
use super::super::secure::SecureEnd;
use super::{Credentials, Retry, SessionError, Step};

/// Tries of the questions that can be done without.
const SHORT: u8 = 2;

#[derive(Debug)]
enum Stage {
    Capabilities,
    Suites { index: u8, records: Vec<u8> },
    Session { console_id: u32 },
    Rakp1 { exchange: Exchange },
    Rakp3 { exchange: Exchange, keys: Keys },
}

/// How it ended.
#[derive(Debug)]
pub(super) enum Opened {
    Session(SecureEnd),
    Failed(SessionError),
}

#[derive(Debug)]
pub(super) struct Open {
    credentials: Credentials,
    /// Still to be tried, the next one first.
    candidates: Vec<CipherSuite>,
    tried: Vec<CipherSuite>,
    offered: Vec<u8>,
    retry: Retry,
    stage: Stage,
    /// The tag (or request sequence) of the latest datagram, and how many datagrams this stage has sent.
    tag: u8,
    sent: u8,
    again_at: Option<Duration>,
    due: bool,
    heard: bool,
    result: Option<Opened>,
}

impl Open {
    pub(super) fn new(credentials: Credentials, suites: &[CipherSuite], retry: Retry, entropy: &mut Entropy) -> Open {
        let [tag] = entropy.draw::<1>();
        Open {
            credentials,
            candidates: suites.to_vec(),
            tried: Vec::new(),
            offered: Vec::new(),
            retry,
            stage: Stage::Capabilities,
            tag,
            sent: 0,
            again_at: None,
            due: true,
            heard: false,
            result: None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.again_at
    }

    pub(super) fn result(&mut self) -> Option<Opened> {
        self.result.take()
    }

    fn step(&self) -> Step {
        match self.stage {
            Stage::Capabilities | Stage::Suites { .. } => Step::Capabilities,
            Stage::Session { .. } => Step::Open,
            Stage::Rakp1 { .. } => Step::Rakp1,
            Stage::Rakp3 { .. } => Step::Rakp3,
        }
    }

    fn fail(&mut self, error: SessionError) {
        self.result = Some(Opened::Failed(error));
        self.again_at = None;
        self.due = false;
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.sent = 0;
        self.again_at = None;
        self.due = true;
    }

    /// The datagram that is due now.
    pub(super) fn transmit(&mut self, now: Duration, entropy: &mut Entropy) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.due) {
            return None;
        }
        self.tag = self.tag.wrapping_add(1);
        self.sent = self.sent.saturating_add(1);
        // Only the latest RAKP 1 counts, so a slow BMC must be given longer each time, or it would never be in time.
        let patience = match self.stage {
            Stage::Rakp1 { .. } | Stage::Rakp3 { .. } => self.retry.timeout * u32::from(self.sent),
            _ => self.retry.timeout,
        };
        self.again_at = Some(now + patience);
        let privilege = self.credentials.privilege();
        let datagram = match &mut self.stage {
            Stage::Capabilities => {
                let command = command::AuthCapabilities { privilege };
                packet::plain(&message::<command::AuthCapabilities>(self.tag, &command.encode()))
            }
            Stage::Suites { index, .. } => {
                let command = command::CipherSuites { index: *index };
                packet::plain(&message::<command::CipherSuites>(self.tag, &command.encode()))
            }
            Stage::Session { console_id } => {
                // A fresh id for each try would lose late answers; one for each suite tells their answers apart.
                if *console_id == 0 {
                    *console_id = u32::from_le_bytes(entropy.draw()).max(1);
                }
                let suite = *self.candidates.first()?;
                let request = OpenRequest {
                    tag: self.tag,
                    privilege: privilege.code(),
                    console_id: *console_id,
                    authentication: suite.authentication(),
                    integrity: suite.integrity(),
                    confidentiality: suite.confidentiality(),
                };
                packet::unprotected(payload::OPEN_REQUEST, &request.encode())
            }
            Stage::Rakp1 { exchange } => {
                if exchange.console_random == [0; 16] {
                    exchange.console_random = entropy.draw();
                }
                let rakp = Rakp1 {
                    tag: self.tag,
                    bmc_id: exchange.bmc_id,
                    random: exchange.console_random,
                    role: exchange.role,
                    user: exchange.user.clone(),
                };
                packet::unprotected(payload::RAKP1, &rakp.encode())
            }
            Stage::Rakp3 { exchange, .. } => {
                let rakp = Rakp3 {
                    tag: self.tag,
                    status: Status::OK,
                    bmc_id: exchange.bmc_id,
                    code: exchange.console_proof(self.credentials.password()),
                };
                packet::unprotected(payload::RAKP3, &rakp.encode())
            }
        };
        Some(datagram)
    }

    pub(super) fn tick(&mut self, now: Duration) {
        if self.again_at.is_none_or(|at| now < at) {
            return;
        }
        let optional = match self.stage {
            Stage::Suites { .. } => true,
            Stage::Session { .. } => self.candidates.len() > 1 || self.is_unlisted(),
            _ => false,
        };
        let tries = if optional { SHORT } else { self.retry.tries };
        if self.sent < tries {
            self.due = true;
            return;
        }
        match self.stage {
            // A BMC need not know this question.
            Stage::Suites { .. } => self.start_session(),
            // Some BMCs (`ipmi_sim`) keep silent instead of refusing a suite.
            Stage::Session { .. } if optional => self.next_suite(Status::NO_SUITE),
            _ => self.fail(SessionError::NoAnswer { step: self.step(), heard: self.heard }),
        }
    }

    /// The BMC has listed its suites, without the one that is being tried.
    fn is_unlisted(&self) -> bool {
        let suite = self.candidates.first();
        !self.offered.is_empty() && suite.is_some_and(|suite| !self.offered.contains(&suite.id()))
    }

    /// Takes a packet. An error says why it was dropped.
    pub(super) fn take(&mut self, _now: Duration, packet: &Packet<'_>) -> Result<(), String> {
        match (&self.stage, packet) {
            (Stage::Capabilities | Stage::Suites { .. }, Packet::Plain { message }) => {
                let response = Response::parse(message).map_err(|why| why.to_string())?;
                self.take_plain(&response)
            }
            (Stage::Session { .. }, Packet::Plus(plus)) if plus.kind == payload::OPEN_RESPONSE && plus.session == 0 => {
                let response = OpenResponse::parse(plus.payload).map_err(|why| why.to_string())?;
                self.take_open(&response)
            }
            (Stage::Rakp1 { .. }, Packet::Plus(plus)) if plus.kind == payload::RAKP2 && plus.session == 0 => {
                let response = Rakp2::parse(plus.payload).map_err(|why| why.to_string())?;
                self.take_rakp2(&response)
            }
            (Stage::Rakp3 { .. }, Packet::Plus(plus)) if plus.kind == payload::RAKP4 && plus.session == 0 => {
                let response = Rakp4::parse(plus.payload).map_err(|why| why.to_string())?;
                self.take_rakp4(&response)
            }
            _ => Err("a packet that was not asked for".to_owned()),
        }
    }

    /// Whether a tag is one of those this stage has sent.
    fn is_ours(&self, tag: u8) -> bool {
        self.tag.wrapping_sub(tag) < self.sent
    }

    fn take_plain(&mut self, response: &Response<'_>) -> Result<(), String> {
        let back = (self.tag % 64).wrapping_sub(response.sequence) % 64;
        if back >= self.sent {
            return Err("an answer to no question of ours".to_owned());
        }
        match &mut self.stage {
            Stage::Capabilities if is_answer::<command::AuthCapabilities>(response) => {
                self.heard = true;
                let privilege = self.credentials.privilege();
                let command = command::AuthCapabilities { privilege };
                // An error, or an answer of another form, does not prove that RMCP+ is not spoken.
                let known = command::read_reply(&command, response.completion, response.data).ok();
                if known.is_some_and(|known| known.extended && !known.ipmi_2) {
                    self.fail(SessionError::NotIpmi2);
                } else {
                    self.enter(Stage::Suites { index: 0, records: Vec::new() });
                }
                Ok(())
            }
            Stage::Suites { index, records } if is_answer::<command::CipherSuites>(response) => {
                let command = command::CipherSuites { index: *index };
                let Ok(part) = command::read_reply(&command, response.completion, response.data) else {
                    self.start_session();
                    return Ok(());
                };
                records.extend_from_slice(&part);
                // A full part (16 bytes) means that there may be another; 64 of them is all there can be.
                if part.len() == 16 && *index < 0x3f {
                    let (index, records) = (*index + 1, std::mem::take(records));
                    self.enter(Stage::Suites { index, records });
                } else {
                    self.offered = command::suite_ids(records);
                    self.start_session();
                }
                Ok(())
            }
            _ => Err("an answer to another question".to_owned()),
        }
    }

    /// Suites that the BMC lists come first, in our order; what it does not list is still tried: lists are often wrong.
    fn start_session(&mut self) {
        let offered = &self.offered;
        self.candidates.sort_by_key(|suite| !offered.contains(&suite.id()));
        if self.candidates.is_empty() {
            self.fail_suite(Status::NO_SUITE);
        } else {
            self.enter(Stage::Session { console_id: 0 });
        }
    }

    fn next_suite(&mut self, status: Status) {
        if !self.candidates.is_empty() {
            self.tried.push(self.candidates.remove(0));
        }
        if self.candidates.is_empty() {
            self.fail_suite(status);
        } else {
            self.enter(Stage::Session { console_id: 0 });
        }
    }

    fn fail_suite(&mut self, status: Status) {
        let list = |ids: &[u8]| {
            let ids: Vec<String> = ids.iter().map(u8::to_string).collect();
            if ids.is_empty() { "an unknown set".to_owned() } else { ids.join(", ") }
        };
        let tried: Vec<u8> = self.tried.iter().map(|suite| suite.id()).collect();
        self.fail(SessionError::NoSuite { tried: list(&tried), offered: list(&self.offered), status });
    }

    fn take_open(&mut self, response: &OpenResponse) -> Result<(), String> {
        let (Stage::Session { console_id }, Some(suite)) = (&self.stage, self.candidates.first().copied()) else {
            return Ok(());
        };
        let console_id = *console_id;
        if !self.is_ours(response.tag) || response.console_id != console_id {
            return Err("an answer to the opening of another session".to_owned());
        }
        self.heard = true;
        if response.status.is_about_suite() {
            self.next_suite(response.status);
        } else if response.status.is_about_user() {
            self.fail(SessionError::Unauthorized(response.status));
        } else if response.status != Status::OK {
            self.fail(SessionError::Refused { step: Step::Open, status: response.status });
        } else if response.bmc_id == 0
            || CipherSuite::from_algorithms(response.authentication, response.integrity, response.confidentiality)
                != Some(suite)
        {
            // It would weaken the session silently.
            self.next_suite(Status::NO_SUITE);
        } else {
            self.enter(Stage::Rakp1 {
                exchange: Exchange {
                    suite,
                    console_id,
                    bmc_id: response.bmc_id,
                    console_random: [0; 16],
                    bmc_random: [0; 16],
                    guid: [0; 16],
                    role: role(self.credentials.privilege()),
                    user: self.credentials.user().to_vec(),
                },
            });
        }
        Ok(())
    }

    fn take_rakp2(&mut self, response: &Rakp2) -> Result<(), String> {
        let Stage::Rakp1 { exchange } = &self.stage else { return Ok(()) };
        if response.tag != self.tag || response.console_id != exchange.console_id {
            return Err("an answer to another RAKP 1".to_owned());
        }
        if response.status != Status::OK {
            let error = refusal(Step::Rakp1, response.status);
            self.fail(error);
            return Ok(());
        }
        let exchange = Exchange { bmc_random: response.random, guid: response.guid, ..exchange.clone() };
        if !exchange.check_bmc_proof(self.credentials.password(), &response.code) {
            self.fail(SessionError::WrongPassword);
            return Ok(());
        }
        let keys = exchange.keys(self.credentials.session_key());
        self.enter(Stage::Rakp3 { exchange, keys });
        Ok(())
    }

    fn take_rakp4(&mut self, response: &Rakp4) -> Result<(), String> {
        let Stage::Rakp3 { exchange, keys } = &self.stage else { return Ok(()) };
        if !self.is_ours(response.tag) || response.console_id != exchange.console_id {
            return Err("an answer to another RAKP 3".to_owned());
        }
        if response.status != Status::OK {
            let error = refusal(Step::Rakp3, response.status);
            self.fail(error);
        } else if exchange.check_key_proof(keys, &response.code) {
            self.result = Some(Opened::Session(SecureEnd::new(keys.clone(), exchange.console_id, exchange.bmc_id)));
            self.again_at = None;
        } else if self.credentials.has_bmc_key() {
            self.fail(SessionError::Unauthorized(Status::INVALID_CODE));
        } else {
            self.fail(SessionError::WrongKey);
        }
        Ok(())
    }
}

fn refusal(step: Step, status: Status) -> SessionError {
    if status.is_about_user() { SessionError::Unauthorized(status) } else { SessionError::Refused { step, status } }
}

fn message<C: Command>(sequence: u8, data: &[u8]) -> Vec<u8> {
    Request { netfn: C::NETFN, lun: 0, command: C::COMMAND, sequence: sequence % 64, data }.encode()
}

fn is_answer<C: Command>(response: &Response<'_>) -> bool {
    (response.netfn, response.command) == (C::NETFN, C::COMMAND)
}
