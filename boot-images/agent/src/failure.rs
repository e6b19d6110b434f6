//! A failure as it is reported: in the class names of ironic-python-agent, with our words for why and what to do.

use leasehold_wire::agent::CommandError;

/// Classes of failure, named and numbered as ironic-python-agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command cannot be understood.
    InvalidCommand,
    /// The command's parameters cannot be used.
    InvalidCommandParams,
    /// No such command, extension or result.
    NotFound,
    /// Another command is still at work.
    Busy,
    /// The steps were planned with another version of the agent.
    VersionMismatch,
    /// No disk fits the hints, or the image.
    DeviceNotFound,
    /// The image could not be fetched.
    ImageDownload,
    /// The image's bytes are not the ones that were promised.
    ImageChecksum,
    /// The disk did not take the image.
    ImageWrite,
    /// Erasing failed, or data was still there afterwards.
    Erase,
    /// Cleaning failed.
    Cleaning,
    /// A service step failed.
    Servicing,
    /// The machine's user could not be let in.
    Rescue,
    /// Partition table, config drive or boot entry could not be made.
    Deployment,
    /// The machine could not be switched off or booted again.
    Reboot,
}

impl Kind {
    fn face(self) -> (&'static str, u16, &'static str) {
        match self {
            Kind::InvalidCommand => ("InvalidCommandError", 400, "Invalid command"),
            Kind::InvalidCommandParams => ("InvalidCommandParamsError", 400, "Invalid command parameters"),
            Kind::NotFound => ("RequestedObjectNotFoundError", 404, "Not found"),
            Kind::Busy => ("AgentIsBusy", 409, "Agent is busy"),
            Kind::VersionMismatch => ("VersionMismatch", 500, "The agent is another version than planned with"),
            Kind::DeviceNotFound => ("DeviceNotFound", 404, "No suitable disk"),
            Kind::ImageDownload => ("ImageDownloadError", 500, "Error downloading image"),
            Kind::ImageChecksum => ("ImageChecksumError", 500, "Error verifying image checksum"),
            Kind::ImageWrite => ("ImageWriteError", 500, "Error writing image to device"),
            Kind::Erase => ("BlockDeviceEraseError", 500, "Error erasing block device"),
            Kind::Cleaning => ("CleaningError", 500, "Clean step failed"),
            Kind::Servicing => ("ServicingError", 500, "Service step failed"),
            Kind::Rescue => ("RescueError", 500, "The rescue system cannot be opened"),
            Kind::Deployment => ("DeploymentError", 500, "Deploy step failed"),
            Kind::Reboot => ("SystemRebootError", 500, "Error rebooting system"),
        }
    }
}

/// What failed, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {details}", .kind.face().2)]
pub struct Failure {
    /// The class.
    pub kind: Kind,
    /// Why, and what to do, in a person's words.
    pub details: String,
}

impl Failure {
    /// A failure of a class with its reason.
    pub fn new(kind: Kind, details: impl Into<String>) -> Failure {
        Failure { kind, details: details.into() }
    }

    /// The HTTP status that fits.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.kind.face().1
    }

    /// As it stands in a command's result.
    #[must_use]
    pub fn to_wire(&self) -> CommandError {
        let (kind, code, message) = self.kind.face();
        CommandError { kind: kind.to_owned(), code, message: message.to_owned(), details: self.details.clone() }
    }
}

/// Gives an error of another kind its class and its place: `.or_failure(Kind::ImageWrite, || "…")`.
pub trait OrFailure<T> {
    /// Words before the error's own.
    ///
    /// # Errors
    /// The error, as a [`Failure`] of `kind` that reads "`place`: error".
    fn or_failure(self, kind: Kind, place: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: std::fmt::Display> OrFailure<T> for Result<T, E> {
    fn or_failure(self, kind: Kind, place: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(kind, format!("{}: {error}", place())))
    }
}
