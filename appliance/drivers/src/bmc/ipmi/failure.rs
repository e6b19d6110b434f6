//! What can go wrong on the way to a BMC, and how it is told to people.

use super::Target;
use crate::bmc::BmcError;
use leasehold_protocols::ipmi::client::SessionError;
use leasehold_protocols::ipmi::command::CommandError;
use leasehold_protocols::ipmi::message::Completion;

/// Why the steps of a call did not end well.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No session (any more). `noise`: how many datagrams came that made no sense, and the last reason.
    #[error("{error}")]
    Session { error: SessionError, noise: Option<(u32, String)> },
    /// The socket or the name look-up says no.
    #[error("{0}")]
    Network(String),
    /// The BMC refused one command, or answered it unreadably.
    #[error("{0}")]
    Command(#[from] CommandError),
    /// The BMC answers, but what it says cannot be.
    #[error("{0}")]
    Nonsense(&'static str),
    /// The call asks for what IPMI, or this BMC, does not have.
    #[error("{0}")]
    Unsupported(&'static str),
}

impl Failure {
    /// The session is of no more use.
    pub(super) fn ends_session(&self) -> bool {
        matches!(self, Failure::Session { .. } | Failure::Network(_))
    }

    /// The completion code of a refused command.
    pub(super) fn completion(&self) -> Option<Completion> {
        match self {
            Failure::Command(error) => error.completion(),
            _ => None,
        }
    }

    pub(super) fn into_error(self, target: &Target) -> BmcError {
        let address = target.to_string();
        let detail = self.to_string();
        match self {
            Failure::Network(_) => BmcError::Unreachable { address, detail },
            Failure::Session { error, .. } if error.is_about_credentials() => BmcError::Credentials { address, detail },
            Failure::Session { error: SessionError::NoAnswer { .. }, noise: Some((count, why)) } => {
                BmcError::Protocol { address, detail: format!("{count} datagrams came that make no sense ({why})") }
            }
            Failure::Session { error, .. } => match error {
                SessionError::NoAnswer { .. } => BmcError::Unreachable { address, detail },
                SessionError::NotIpmi2 | SessionError::NoSuite { .. } => BmcError::Unsupported { address, detail },
                SessionError::Exhausted => BmcError::Protocol { address, detail },
                _ => BmcError::Refused { address, detail },
            },
            Failure::Command(CommandError::Refused { completion, .. }) => match completion {
                Completion::PRIVILEGE => BmcError::Credentials { address, detail },
                completion if completion.is_unsupported() => BmcError::Unsupported { address, detail },
                _ => BmcError::Refused { address, detail },
            },
            Failure::Command(CommandError::Malformed { .. }) | Failure::Nonsense(_) => {
                BmcError::Protocol { address, detail }
            }
            Failure::Unsupported(_) => BmcError::Unsupported { address, detail },
        }
    }
}
