//! Where it is noted which switch ports are not known to be idle: in the store, with everything else.

use leasehold_domain::command::{Actor, Command};
use leasehold_domain::hardware::HardwareCommand;
use leasehold_domain::{Refusal, View};
use leasehold_store::{Store, SubmitError};
use std::future::Future;
use std::sync::Arc;

/// The state, and a way to note in it.
pub trait Notes: Sync {
    /// The state now.
    fn view(&self) -> Arc<View>;
    /// Notes something; it is on record when this returns.
    fn note(&self, command: HardwareCommand) -> impl Future<Output = Result<(), NotNoted>> + Send;
}

/// Nothing was noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotNoted {
    pub why: String,
    /// Trying again may help.
    pub may_pass: bool,
}

impl From<Refusal> for NotNoted {
    fn from(refusal: Refusal) -> NotNoted {
        // Somebody was quicker: what he has changed is looked at the next time.
        NotNoted { may_pass: matches!(refusal, Refusal::Conflict { .. }), why: refusal.to_string() }
    }
}

impl Notes for Store {
    fn view(&self) -> Arc<View> {
        Store::view(self)
    }

    async fn note(&self, command: HardwareCommand) -> Result<(), NotNoted> {
        match self.submit(Command::Hardware(command), Actor::System("switches")).await {
            Ok(_) => Ok(()),
            Err(SubmitError::Refused(refusal)) => Err(refusal.into()),
            Err(error) => Err(NotNoted { why: error.to_string(), may_pass: true }),
        }
    }
}
