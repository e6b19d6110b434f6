//! What the simulated BMC answers to each request.

use std::time::Duration;

use super::super::command::{
    ActivateSol, BootFlags, BootSource, CloseSession, ColdReset, Command, Control, DISABLE_BOOT_FLAG_EXPIRY,
    LAST_RECORD, boot_parameter,
};
use super::super::message::{Completion, Privilege, Request, netfn};
use super::super::packet::payload;
use super::super::sol::{Link, Pace};
use super::{Phase, Sim};

type Answer = Result<Vec<u8>, Completion>;

/// Largest SOL payload in both directions.
const SOL_PAYLOAD: u16 = 200;

/// The session that this request has ended.
pub(super) fn ended_session(request: &Request<'_>, completion: Completion) -> Option<u32> {
    let is_close = (request.netfn, request.command) == (CloseSession::NETFN, CloseSession::COMMAND);
    (is_close && completion.is_ok()).then(|| request.data.first_chunk().map(|id| u32::from_le_bytes(*id))).flatten()
}

/// Whether the BMC has started itself anew by this request: it remembers no session afterwards.
pub(super) fn forgets_sessions(request: &Request<'_>, completion: Completion) -> bool {
    (request.netfn, request.command) == (ColdReset::NETFN, ColdReset::COMMAND) && completion.is_ok()
}

/// The privilege a command needs; `None`: it may be asked without a session.
fn needs(netfn: u8, command: u8) -> Option<Privilege> {
    match (netfn, command) {
        (netfn::APP, 0x37 | 0x38 | 0x54) => None,
        (netfn::CHASSIS, 0x02 | 0x08 | 0x09) | (netfn::APP, 0x48 | 0x49) => Some(Privilege::Operator),
        (netfn::STORAGE, 0x47) => Some(Privilege::Operator),
        (netfn::APP, 0x02 | 0x03) => Some(Privilege::Administrator),
        _ => Some(Privilege::User),
    }
}

impl<P: Copy + Eq> Sim<P> {
    /// Runs a request of session `id`, or of none.
    pub(super) fn run(&mut self, now: Duration, id: Option<u32>, request: &Request<'_>) -> (Completion, Vec<u8>) {
        if needs(request.netfn, request.command) > self.privilege(id) {
            return (Completion::PRIVILEGE, Vec::new());
        }
        let answer = match request.netfn {
            netfn::APP => self.app(now, id, request),
            netfn::CHASSIS => self.chassis(now, request),
            netfn::SENSOR => self.sensor(request),
            netfn::STORAGE => self.storage(request),
            netfn::TRANSPORT => self.transport(request),
            _ => Err(Completion::INVALID_COMMAND),
        };
        match answer {
            Ok(data) => (Completion::OK, data),
            Err(completion) => (completion, Vec::new()),
        }
    }

    fn privilege(&self, id: Option<u32>) -> Option<Privilege> {
        let session = self.sessions.iter().find(|session| Some(session.id) == id)?;
        match &session.phase {
            Phase::Active { privilege, .. } => Some(*privilege),
            Phase::Opened { .. } | Phase::Challenged { .. } => None,
        }
    }

    fn app(&mut self, now: Duration, id: Option<u32>, request: &Request<'_>) -> Answer {
        match (request.command, request.data) {
            // Get Device ID: sensors, SDR repository, SEL and FRU; maker 0x7fff.
            (0x01, _) => Ok(vec![0x20, 0x81, 0x01, 0x07, 0x02, 0x0f, 0xff, 0x7f, 0x00, 0x01, 0x00, 0, 0, 0, 0]),
            (0x02, _) => {
                self.machine.bmc_resets.0 += 1;
                Ok(Vec::new())
            }
            (0x03, _) => {
                self.machine.bmc_resets.1 += 1;
                Ok(Vec::new())
            }
            (0x37, _) => Ok(self.config.guid.to_vec()),
            (0x38, [_, privilege]) if (1..=4).contains(privilege) => {
                let key = u8::from(self.config.bmc_key.is_some()) << 5;
                // Channel 1; IPMI 2.0 data, no IPMI 1.5 authentication; named users; RMCP+ only.
                Ok(vec![1, 0x80, key | 0x04, 0x02, 0, 0, 0, 0])
            }
            (0x38, _) => Err(Completion::INVALID_FIELD),
            (0x3b, [asked]) => self.raise(id, *asked),
            (0x3c, bytes) => {
                let known = bytes.first_chunk().map(|id| u32::from_le_bytes(*id));
                let known = self.sessions.iter().any(|session| Some(session.id) == known);
                // 87h: invalid session id.
                if known { Ok(Vec::new()) } else { Err(Completion(0x87)) }
            }
            (0x48, [payload::SOL, 1, ..]) => self.activate_sol(now, id),
            (0x49, [payload::SOL, 1, ..]) => {
                // 80h: it is deactivated already.
                self.sol.take().map(|_| Vec::new()).ok_or(Completion(0x80))
            }
            (0x4a, [payload::SOL]) => Ok(vec![1, u8::from(self.sol.is_some()), 0]),
            (0x54, [_, payload::IPMI, index]) => {
                let records: Vec<u8> = self
                    .config
                    .suites
                    .iter()
                    .flat_map(|suite| {
                        [
                            0xc0,
                            suite.id(),
                            suite.authentication(),
                            0x40 | suite.integrity(),
                            0x80 | suite.confidentiality(),
                        ]
                    })
                    .collect();
                let part = records.chunks(16).nth(usize::from(index & 0x3f)).unwrap_or_default();
                let mut data = vec![1];
                data.extend_from_slice(part);
                Ok(data)
            }
            (0x48 | 0x49 | 0x4a | 0x54, _) => Err(Completion::INVALID_FIELD),
            _ => Err(Completion::INVALID_COMMAND),
        }
    }

    fn raise(&mut self, id: Option<u32>, asked: u8) -> Answer {
        let session = self.sessions.iter_mut().find(|session| Some(session.id) == id);
        let Some(Phase::Active { privilege, .. }) = session.as_ref().map(|session| &session.phase) else {
            return Err(Completion::INVALID_COMMAND);
        };
        // 0 asks for the present one.
        let asked = if asked == 0 { Some(*privilege) } else { Privilege::from_code(asked) };
        let (Some(asked), Some(session)) = (asked, session) else { return Err(Completion::INVALID_FIELD) };
        if asked > session.most {
            // 81h: it exceeds the limit of user or channel.
            return Err(Completion(0x81));
        }
        if let Phase::Active { privilege, .. } = &mut session.phase {
            *privilege = asked;
        }
        Ok(vec![asked.code()])
    }

    fn activate_sol(&mut self, _now: Duration, id: Option<u32>) -> Answer {
        let Some(id) = id else { return Err(Completion::INVALID_COMMAND) };
        if self.sol.is_some() {
            return Err(Completion(ActivateSol::ALREADY_ACTIVE));
        }
        self.sol = Some((id, Link::new(SOL_PAYLOAD, Pace::default())));
        let mut data = vec![0; 4];
        data.extend(SOL_PAYLOAD.to_le_bytes());
        data.extend(SOL_PAYLOAD.to_le_bytes());
        data.extend(self.config.port.to_le_bytes());
        data.extend([0xff, 0xff]);
        Ok(data)
    }

    fn chassis(&mut self, now: Duration, request: &Request<'_>) -> Answer {
        match (request.command, request.data) {
            (0x01, _) => Ok(vec![u8::from(self.machine.power_on), 0, 0, 0]),
            (0x02, [control]) => {
                let control = Control::from_code(control & 0x0f).ok_or(Completion::INVALID_FIELD)?;
                if !self.machine.power_on && !matches!(control, Control::Off | Control::On) {
                    return Err(Completion::NOT_IN_THIS_STATE);
                }
                self.machine.control(now, control);
                Ok(Vec::new())
            }
            (0x08, [parameter, data @ ..]) => self.set_boot(parameter & 0x7f, data),
            (0x09, [parameter, ..]) => self.get_boot(parameter & 0x7f),
            (0x02 | 0x08 | 0x09, _) => Err(Completion::LENGTH),
            _ => Err(Completion::INVALID_COMMAND),
        }
    }

    fn set_boot(&mut self, parameter: u8, data: &[u8]) -> Answer {
        match (parameter, data) {
            (boot_parameter::SET_IN_PROGRESS, [0..=2]) | (boot_parameter::INFO_ACKNOWLEDGE, [_, _]) => {}
            (boot_parameter::FLAG_VALID_CLEARING, [mask]) => {
                self.machine.boot_flags_stay = mask & DISABLE_BOOT_FLAG_EXPIRY != 0;
            }
            (boot_parameter::FLAGS, [_, _, _, _, _]) => {
                let mut flags = BootFlags::parse(data).map_err(|_| Completion::LENGTH)?;
                if self.config.forgets_boot_bits {
                    flags.valid = false;
                    flags.persistent = false;
                }
                self.machine.boot = flags;
            }
            (0 | 3 | 4 | 5, _) => return Err(Completion::LENGTH),
            // 80h: parameter not supported.
            _ => return Err(Completion(0x80)),
        }
        Ok(Vec::new())
    }

    fn get_boot(&self, parameter: u8) -> Answer {
        let mut data = vec![1, parameter];
        match parameter {
            boot_parameter::SET_IN_PROGRESS => data.push(0),
            boot_parameter::FLAG_VALID_CLEARING => {
                data.push(if self.machine.boot_flags_stay { DISABLE_BOOT_FLAG_EXPIRY } else { 0 });
            }
            boot_parameter::INFO_ACKNOWLEDGE => data.extend([0, 0]),
            boot_parameter::FLAGS => {
                let flags = self.machine.boot;
                let none = flags.source == BootSource::None && !flags.valid;
                data.extend(if none { [0; 5] } else { flags.encode() });
            }
            _ => return Err(Completion(0x80)),
        }
        Ok(data)
    }

    fn sensor(&self, request: &Request<'_>) -> Answer {
        match (request.command, request.data) {
            (0x2d, [number]) => {
                let sensor = self.machine.sensors.iter().find(|sensor| sensor.number == *number);
                let sensor = sensor.ok_or(Completion::NOT_PRESENT)?;
                Ok(sensor.reading(self.machine.power_on).to_vec())
            }
            (0x2d, _) => Err(Completion::LENGTH),
            _ => Err(Completion::INVALID_COMMAND),
        }
    }

    fn storage(&mut self, request: &Request<'_>) -> Answer {
        match (request.command, request.data) {
            (0x10, [0]) => {
                let [low, high] = (self.machine.fru.len() as u16).to_le_bytes();
                Ok(vec![low, high, 0])
            }
            (0x11, [0, low, high, count]) => {
                let part = self.part(&self.machine.fru, u16::from_le_bytes([*low, *high]).into(), *count)?;
                let mut data = vec![part.len() as u8];
                data.extend_from_slice(part);
                Ok(data)
            }
            (0x20, _) => {
                let [low, high] = (self.machine.sensors.len() as u16).to_le_bytes();
                Ok(vec![0x51, low, high, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x02])
            }
            (0x22 | 0x42, _) => Ok(vec![1, 0]),
            (0x23, [reserved, _, low, high, offset, count]) => {
                if *offset != 0 && *reserved != 1 {
                    return Err(Completion::RESERVATION_LOST);
                }
                let last = (self.machine.sensors.len() as u16).saturating_sub(1);
                let at = match u16::from_le_bytes([*low, *high]) {
                    LAST_RECORD => last,
                    at => at,
                };
                let sensor = self.machine.sensors.get(usize::from(at)).ok_or(Completion::NOT_PRESENT)?;
                let record = sensor.record(at);
                let part = self.part(&record, (*offset).into(), *count)?;
                let next = if at == last { LAST_RECORD } else { at + 1 };
                let mut data = next.to_le_bytes().to_vec();
                data.extend_from_slice(part);
                Ok(data)
            }
            (0x40, _) => {
                let [low, high] = (self.machine.log.len() as u16).to_le_bytes();
                let mut data = vec![0x51, low, high, 0xff, 0x03];
                data.extend([0; 8]);
                data.push(0x02);
                Ok(data)
            }
            (0x43, [_, _, low, high, 0, _]) => {
                let log = &self.machine.log;
                let at = match u16::from_le_bytes([*low, *high]) {
                    0 => 0,
                    LAST_RECORD => log.len().wrapping_sub(1),
                    id => log
                        .iter()
                        .position(|record| record.starts_with(&id.to_le_bytes()))
                        .ok_or(Completion::NOT_PRESENT)?,
                };
                let record = log.get(at).ok_or(Completion::NOT_PRESENT)?;
                let next = log.get(at + 1).and_then(|record| record.first_chunk().copied());
                let mut data = next.unwrap_or(LAST_RECORD.to_le_bytes()).to_vec();
                data.extend(record);
                Ok(data)
            }
            (0x47, [_, _, b'C', b'L', b'R', _]) => {
                self.machine.log.clear();
                Ok(vec![1])
            }
            (0x48, _) => Ok(vec![0x00, 0xf1, 0x53, 0x65]),
            (0x10 | 0x11, [device, ..]) if *device != 0 => Err(Completion::NOT_PRESENT),
            (0x10 | 0x11 | 0x23 | 0x43 | 0x47, _) => Err(Completion::LENGTH),
            _ => Err(Completion::INVALID_COMMAND),
        }
    }

    /// A part of a record, if it is not more than the BMC returns at once.
    fn part<'a>(&self, record: &'a [u8], offset: usize, count: u8) -> Result<&'a [u8], Completion> {
        let rest = record.get(offset..).filter(|rest| !rest.is_empty()).ok_or(Completion::OUT_OF_RANGE)?;
        if count > self.config.chunk {
            return Err(Completion::CANNOT_RETURN);
        }
        Ok(rest.get(..usize::from(count)).unwrap_or(rest))
    }

    /// SOL's configuration parameters (26.3), as far as consoles read them.
    fn transport(&self, request: &Request<'_>) -> Answer {
        let (0x22, [_, parameter, ..]) = (request.command, request.data) else {
            return Err(Completion::INVALID_COMMAND);
        };
        let [port_low, port_high] = self.config.port.to_le_bytes();
        let data: &[u8] = match parameter {
            0 => &[0],
            1 => &[1],
            // Encrypted and authenticated, for operators.
            2 => &[0xc3],
            3 => &[5, 60],
            4 => &[7, 50],
            // 115 200 baud.
            5 | 6 => &[0x0a],
            7 => &[1],
            8 => &[port_low, port_high],
            _ => return Err(Completion(0x80)),
        };
        Ok([&[0x11], data].concat())
    }
}
