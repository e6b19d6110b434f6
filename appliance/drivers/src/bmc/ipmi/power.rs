//! Power state, power changes, and the interrupt that goes the same way.

use super::connection::Connection;
use super::failure::Failure;
use leasehold_domain::power::{PowerState, PowerTarget};
use leasehold_protocols::ipmi::command::{ChassisControl, Control, GetChassisStatus};
use leasehold_protocols::ipmi::message::Completion;

pub(super) async fn state(bmc: &mut Connection) -> Result<PowerState, Failure> {
    let status = bmc.ask(&GetChassisStatus).await?;
    Ok(if status.power_on { PowerState::On } else { PowerState::Off })
}

/// Asks for the change unless it is there already: BMCs differ in what they say to that.
pub(super) async fn set(bmc: &mut Connection, target: PowerTarget) -> Result<(), Failure> {
    let now = state(bmc).await?;
    let control = match (target, now) {
        (PowerTarget::On, PowerState::On) | (PowerTarget::Off | PowerTarget::SoftOff, PowerState::Off) => {
            return Ok(());
        }
        (PowerTarget::On | PowerTarget::Reboot, PowerState::Off) => Control::On,
        (PowerTarget::Off, PowerState::On) => Control::Off,
        (PowerTarget::SoftOff, PowerState::On) => Control::SoftOff,
        (PowerTarget::Reboot, PowerState::On) => Control::Cycle,
        (PowerTarget::SoftReboot, _) => {
            return Err(Failure::Unsupported("a soft reboot is a soft power off and a power on, one by one"));
        }
    };
    let result = bmc.ask(&ChassisControl(control)).await;
    let refusal = result.as_ref().err().and_then(Failure::completion);
    match (control, refusal) {
        (Control::Cycle, Some(code)) if code.is_unsupported() || code == Completion::INVALID_FIELD => {
            // Power cycle is optional (28.3), hard reset is not.
            bmc.ask(&ChassisControl(Control::Reset)).await
        }
        (_, Some(Completion::NOT_IN_THIS_STATE)) if state(bmc).await? == target.ends_in() => {
            // It has got there by itself meanwhile: a person at the button.
            Ok(())
        }
        _ => result,
    }
}

/// Pulses the diagnostic interrupt (28.3). Optional: a BMC without it says so.
pub(super) async fn interrupt(bmc: &mut Connection) -> Result<(), Failure> {
    if state(bmc).await? == PowerState::Off {
        return Err(Failure::Unsupported("the machine is off: there is nothing that an NMI could interrupt"));
    }
    let result = bmc.ask(&ChassisControl(Control::DiagnosticInterrupt)).await;
    match result.as_ref().err().and_then(Failure::completion) {
        Some(Completion::INVALID_FIELD) => Err(Failure::Unsupported("it has no diagnostic interrupt (NMI)")),
        _ => result,
    }
}
