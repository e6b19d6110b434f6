//! Steps that speak to the BMC.

use super::Outcome;
use crate::Engine;
use leasehold_domain::command::{Command, MachineChange};
use leasehold_domain::job::{Job, JobKind};
use leasehold_domain::node::Node;
use leasehold_domain::power::{BootDevice, BootMode, BootSetting, PowerState, PowerTarget};
use leasehold_drivers::bmc::guard::{power_off_soft_then_hard, wait_for_power};
use leasehold_drivers::bmc::{Bmc, BmcError};
use serde_json::Value;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How long a machine may take to show the power state that was asked for.
const POWER_PATIENCE: Duration = Duration::from_secs(90);

/// Asks again, with growing pauses, while the BMC does not answer; the step's deadline ends it.
pub(super) async fn patiently<T, F, Fut>(engine: &Engine, node: &Node, call: F) -> Result<T, String>
where
    F: Fn(Arc<dyn Bmc>) -> Fut,
    Fut: Future<Output = Result<T, BmcError>>,
{
    let mut pause = Duration::from_millis(500);
    loop {
        let bmc = engine.bmcs.of(node).map_err(|error| error.to_string())?;
        match call(bmc).await {
            Ok(value) => return Ok(value),
            Err(error @ (BmcError::Unreachable { .. } | BmcError::Protocol { .. })) => {
                tracing::info!(node = node.title(), %error, "the BMC did not answer; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(15));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Address and credentials work; the certificate is pinned the first time.
pub(super) async fn check(engine: &Engine, node: &Node) -> Outcome {
    let node = engine.pinned(node.id).await?;
    // At enrolment a wrong address must be told at once, not tried for a minute.
    let bmc = engine.bmcs.of(&node).map_err(|error| error.to_string())?;
    let identity = bmc.identity().await.map_err(|error| error.to_string())?;
    observe_modes(engine, &node, bmc.as_ref()).await;
    let parts = [identity.manufacturer, identity.model, identity.serial];
    let text: Vec<_> = parts.into_iter().flatten().filter(|part| !part.trim().is_empty()).collect();
    Ok((!text.is_empty()).then(|| text.join(" ")))
}

/// Puts on record how the firmware starts, where the BMC tells. What it does not tell is no reason to fail.
async fn observe_modes(engine: &Engine, node: &Node, bmc: &dyn Bmc) {
    let mode = bmc.boot_mode().await.ok().flatten().map(MachineChange::BootMode);
    let secure = bmc.secure_boot().await.ok().flatten().map(MachineChange::SecureBoot);
    for what in mode.into_iter().chain(secure) {
        if let Err(error) = engine.tell(Command::SetMachine { node: node.id, what }).await {
            tracing::info!(node = node.title(), %error, "how the firmware starts was not recorded");
        }
    }
}

pub(super) async fn read_power(engine: &Engine, node: &Node) -> Outcome {
    let power = patiently(engine, node, |bmc| async move { bmc.power().await }).await?;
    let told = engine.tell(Command::ObservePower { node: node.id, power: Some(power), error: None }).await;
    told.map_err(|error| error.to_string())?;
    Ok(Some(power.name().to_owned()))
}

/// The firmware mode that the node's keeper or user wants (`capabilities:boot_mode`), if they say.
fn wanted_mode(node: &Node) -> Option<BootMode> {
    let capability = |capabilities: &Value| -> Option<String> {
        match capabilities {
            Value::Object(map) => map.get("boot_mode").and_then(Value::as_str).map(str::to_owned),
            Value::String(text) => {
                text.split(',').find_map(|pair| pair.trim().strip_prefix("boot_mode:")).map(str::to_owned)
            }
            _ => None,
        }
    };
    let settings = &node.settings;
    let given = [&settings.instance_info, &settings.properties]
        .into_iter()
        .filter_map(|map| map.get("capabilities"))
        .find_map(capability);
    match given.as_deref() {
        Some("uefi") => Some(BootMode::Uefi),
        Some("bios") => Some(BootMode::Bios),
        _ => None,
    }
}

async fn set_boot(engine: &Engine, node: &Node, device: BootDevice, persistent: bool) -> Result<(), String> {
    let setting = BootSetting { device, persistent, mode: wanted_mode(node) };
    patiently(engine, node, |bmc| async move { bmc.set_boot_device(setting).await }).await
}

pub(super) async fn boot_from_network(engine: &Engine, node: &Node) -> Outcome {
    set_boot(engine, node, BootDevice::Pxe, false).await?;
    Ok(Some("the next boot is from the network".into()))
}

pub(super) async fn boot_from_disk(engine: &Engine, node: &Node) -> Outcome {
    set_boot(engine, node, BootDevice::Disk, true).await?;
    Ok(Some("from now on it boots from its disk".into()))
}

async fn switch(engine: &Engine, node: &Node, target: PowerTarget) -> Result<(), String> {
    let state = target.ends_in();
    patiently(engine, node, |bmc| async move {
        if bmc.power().await? != state {
            bmc.set_power(target).await?;
            wait_for_power(bmc.as_ref(), state, POWER_PATIENCE).await?;
        }
        Ok(())
    })
    .await
}

/// Off. A user's own system, or his rescue system, is asked first where he means to go on with what is on his disks.
pub(super) async fn power_off(engine: &Engine, job: &Job, node: &Node) -> Outcome {
    let first = job.boots == 0 && job.current().is_some_and(|step| step.attempts == 1);
    if job.kind == JobKind::Unrescue || job.kind == JobKind::Service && first {
        shut_down(engine, node).await;
    }
    cut_power(engine, node).await
}

/// Off, whatever runs.
pub(super) async fn cut_power(engine: &Engine, node: &Node) -> Outcome {
    switch(engine, node, PowerTarget::Off).await?;
    Ok(None)
}

/// Asks what runs on the machine to shut down, and gives it the time that a user's system has for that. Whatever comes of
/// it, the step that follows switches the machine off.
async fn shut_down(engine: &Engine, node: &Node) {
    let patience = engine.settings.soft_off_patience;
    let asked = async {
        let bmc = engine.bmcs.of(node).map_err(|error| error.to_string())?;
        power_off_soft_then_hard(bmc.as_ref(), patience).await.map_err(|error| error.to_string())
    };
    if let Err(why) = asked.await {
        tracing::info!(node = node.title(), why, "the machine could not be asked to shut down");
    }
}

pub(super) async fn power_on(engine: &Engine, node: &Node) -> Outcome {
    switch(engine, node, PowerTarget::On).await?;
    Ok(None)
}

/// Off and on, whatever it was: the machine starts afresh with the boot secret of this boot. A system that is to be
/// serviced shuts down in order, the first time, when its own system runs; one that is to be rescued may not be able to.
pub(super) async fn start_from_network(engine: &Engine, job: &Job, node: &Node) -> Outcome {
    if job.kind == JobKind::Service && job.boots == 1 && job.current().is_some_and(|step| step.attempts == 1) {
        shut_down(engine, node).await;
    }
    switch(engine, node, PowerTarget::Off).await?;
    // An attempt that a restart of the appliance cut short may have started the machine already, and that start has
    // used the setting for the next boot up.
    if job.current().is_some_and(|step| step.attempts > 1) {
        set_boot(engine, node, BootDevice::Pxe, false).await?;
    }
    switch(engine, node, PowerTarget::On).await?;
    Ok(None)
}

async fn power_cycle(engine: &Engine, node: &Node) -> Result<(), String> {
    switch(engine, node, PowerTarget::Off).await?;
    switch(engine, node, PowerTarget::On).await
}

pub(super) async fn change_power(engine: &Engine, job: &Job, node: &Node) -> Outcome {
    let JobKind::Power(target) = job.kind else { return Err("This job names no power target.".into()) };
    let patience = job
        .input
        .soft_timeout
        .map_or(engine.settings.soft_off_patience, |seconds| Duration::from_secs(u64::from(seconds)));
    match target {
        PowerTarget::On | PowerTarget::Off => switch(engine, node, target).await?,
        PowerTarget::Reboot => power_cycle(engine, node).await?,
        PowerTarget::SoftOff | PowerTarget::SoftReboot => {
            let bmc = engine.bmcs.of(node).map_err(|error| error.to_string())?;
            let was = bmc.power().await.map_err(|error| error.to_string())?;
            if was == PowerState::On {
                let off = power_off_soft_then_hard(bmc.as_ref(), patience).await;
                off.map_err(|error| error.to_string())?;
            }
            if target == PowerTarget::SoftReboot {
                switch(engine, node, PowerTarget::On).await?;
            }
        }
    }
    Ok(Some(target.ends_in().name().to_owned()))
}
