//! Power state, power changes, and the interrupt that goes the same way.

use super::service::optional;
use super::session::Session;
use crate::bmc::BmcError;
use leasehold_domain::power::{PowerState, PowerTarget};
use leasehold_protocols::redfish::{self, ActionInfo, ComputerSystem, PowerAction, quirks_of, reset_candidates};
use serde_json::json;

impl Session {
    pub(super) async fn power(&mut self) -> Result<PowerState, BmcError> {
        let (system, _) = self.system().await?;
        self.power_of(&system)
    }

    fn power_of(&self, system: &ComputerSystem) -> Result<PowerState, BmcError> {
        match (system.power(), system.power_state.as_deref()) {
            (Some(redfish::PowerState::On), _) => Ok(PowerState::On),
            (Some(redfish::PowerState::Off), _) => Ok(PowerState::Off),
            (None, Some(odd)) => Err(self.endpoint.protocol(format!("it says the power state is {odd:?}"))),
            (None, None) => Err(self.endpoint.protocol("it does not say whether the machine is on")),
        }
    }

    /// Asks for the change unless it is there already: BMCs differ in what they say to that.
    pub(super) async fn set_power(&mut self, target: PowerTarget) -> Result<(), BmcError> {
        let (system, _) = self.system().await?;
        let now = self.power_of(&system)?;
        let action = match (target, now) {
            (PowerTarget::On, PowerState::On) | (PowerTarget::Off | PowerTarget::SoftOff, PowerState::Off) => {
                return Ok(());
            }
            (PowerTarget::On | PowerTarget::Reboot, PowerState::Off) => PowerAction::On,
            (PowerTarget::Off, PowerState::On) => PowerAction::ForceOff,
            (PowerTarget::SoftOff, PowerState::On) => PowerAction::GracefulOff,
            (PowerTarget::Reboot, PowerState::On) => PowerAction::Restart,
            (PowerTarget::SoftReboot, _) => {
                return Err(self.endpoint.unsupported("a soft reboot is a soft power off and a power on, one by one"));
            }
        };
        let result = self.reset(&system, action).await;
        if let (Err(BmcError::Refused { .. }), true) = (&result, action != PowerAction::Restart) {
            // It may have got there by itself meanwhile (a person at the button), and refuse for that.
            if self.power().await.is_ok_and(|state| state == target.ends_in()) {
                return Ok(());
            }
        }
        result
    }

    /// `Nmi` is a reset type among the others; a machine that is off has nothing to interrupt.
    pub(super) async fn inject_nmi(&mut self) -> Result<(), BmcError> {
        let (system, _) = self.system().await?;
        if self.power_of(&system)? == PowerState::Off {
            return Err(self.endpoint.unsupported("the machine is off: there is nothing that an NMI could interrupt"));
        }
        self.reset(&system, PowerAction::Interrupt).await
    }

    async fn reset(&mut self, system: &ComputerSystem, action: PowerAction) -> Result<(), BmcError> {
        let allowed = self.reset_types(system).await?;
        let candidates = reset_candidates(action, allowed.as_deref());
        let target = match system.reset_target() {
            Some(target) => target.to_owned(),
            None => format!("{}/Actions/ComputerSystem.Reset", self.system_path().await?.trim_end_matches('/')),
        };
        let mut refusal = self.endpoint.unsupported(format!(
            "it offers no reset type for that, only {}",
            allowed.as_deref().unwrap_or_default().join(", ")
        ));
        for reset_type in candidates {
            match self.post(&target, &json!({"ResetType": reset_type})).await {
                Ok(()) => {
                    let family = quirks_of(self.root.as_ref(), Some(system)).family;
                    tracing::debug!(bmc = %self.endpoint, reset_type, family, "power change accepted");
                    return Ok(());
                }
                // A BMC that does not say what it takes is asked for the next best.
                Err(error @ BmcError::Refused { .. }) if allowed.is_none() => refusal = error,
                Err(error) => return Err(error),
            }
        }
        Err(refusal)
    }

    /// The reset types that the BMC takes, from the action or from the action info that it links.
    async fn reset_types(&mut self, system: &ComputerSystem) -> Result<Option<Vec<String>>, BmcError> {
        if let Some(types) = system.reset_types() {
            return Ok(Some(types));
        }
        let Some(link) = system.actions.reset.as_ref().and_then(|reset| reset.action_info.clone()) else {
            return Ok(None);
        };
        let info = optional(self.get::<ActionInfo>(&link).await)?;
        Ok(info.and_then(|(info, _)| info.allowed("ResetType")))
    }
}
