//! The commands: what each asks, and how its answer reads. One type a command; [`Command`] ties number, request and
//! answer together, so that an answer cannot be read as that of another command.

mod app;
mod chassis;
mod raw;
mod reset;
mod storage;

use std::time::Duration;

pub use app::{
    ActivateSol, AuthCapabilities, Capabilities, CipherSuites, CloseSession, DeactivateSol, DeviceId, GetDeviceId,
    GetSystemGuid, SetPrivilege, SolActivation, guid_text, suite_ids,
};
pub use chassis::{
    BootFlags, BootSource, ChassisControl, ChassisStatus, Control, DISABLE_BOOT_FLAG_EXPIRY, GetBootOption,
    GetChassisStatus, SetBootOption, boot_parameter,
};
pub use raw::{RawRequest, RawRequestError};
pub use reset::{ColdReset, WarmReset};
pub use storage::{
    FruArea, GetFruArea, GetSdr, GetSdrInfo, GetSelEntry, GetSelInfo, GetSensorReading, LAST_RECORD, ReadFru, Reading,
    ReserveSdr, SdrInfo, SdrPart, SelEntryPart, SelInfo,
};

use super::message::Completion;
use super::reader::Malformed;

/// A request of IPMI and the shape of its answer.
pub trait Command {
    /// As the specification names it, for messages.
    const NAME: &'static str;
    const NETFN: u8;
    const COMMAND: u8;
    /// Least time to wait for an answer: some commands make the BMC work, and repeating them does harm.
    const PATIENCE: Duration = Duration::ZERO;
    type Reply;

    /// The network function of this request; [`Command::NETFN`] but for requests that a user writes himself.
    fn netfn(&self) -> u8 {
        Self::NETFN
    }

    /// The number of this request; [`Command::COMMAND`] but for requests that a user writes himself.
    fn command(&self) -> u8 {
        Self::COMMAND
    }

    /// The unit inside of the BMC; 0 but for sensors that live elsewhere.
    fn lun(&self) -> u8 {
        0
    }

    /// The request's data.
    fn encode(&self) -> Vec<u8>;

    /// Reads the data of a successful answer.
    ///
    /// # Errors
    /// [`Malformed`] when it has not the shape it should have.
    fn parse(&self, data: &[u8]) -> Result<Self::Reply, Malformed>;
}

/// Why a command did not do what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("{command}: {completion}")]
    Refused { command: &'static str, completion: Completion },
    #[error("the answer to {command} cannot be read: {why}")]
    Malformed { command: &'static str, why: Malformed },
}

impl CommandError {
    /// The completion code of a refusal.
    pub fn completion(&self) -> Option<Completion> {
        match self {
            CommandError::Refused { completion, .. } => Some(*completion),
            CommandError::Malformed { .. } => None,
        }
    }
}

/// The typed answer to `command`.
///
/// # Errors
/// [`CommandError`] when the BMC refused, or when its answer makes no sense.
pub fn read_reply<C: Command>(command: &C, completion: Completion, data: &[u8]) -> Result<C::Reply, CommandError> {
    if !completion.is_ok() {
        return Err(CommandError::Refused { command: C::NAME, completion });
    }
    command.parse(data).map_err(|why| CommandError::Malformed { command: C::NAME, why })
}
