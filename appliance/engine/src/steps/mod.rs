//! What each step of a job does. Every step first looks whether its effect is already there.
//!
//! In: the engine, the job as its step began. Out: what came of it in a user's words, or why it failed for good.
//! Passing troubles (a BMC that is busy, an agent that does not answer at once) are tried again until the deadline.

mod agent;
mod bios;
mod bmc;
mod fake;
mod firmware;
mod hold;
mod ports;
mod rescue;
mod service;
mod wait;

use crate::switches::Stand;
use crate::{Engine, diagnosis};
use leasehold_domain::driver;
use leasehold_domain::image::wanted_image;
use leasehold_domain::job::{Job, JobKind, StepName};
use leasehold_domain::node::Node;
use std::sync::Arc;
use std::time::Duration;

/// How long a machine's BMC may take to cut its power after a failure.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// What came of a step: a detail for the timeline, or the reason why it failed.
pub(crate) type Outcome = Result<Option<String>, String>;

/// Carries out one step. `taken_up`: the first of a job that was left before, when this program or another was ended.
pub(crate) async fn perform(engine: &Engine, job: &Job, step: StepName, taken_up: bool) -> Outcome {
    let node = node_of(engine, job)?;
    if driver::is_fake(&node.settings.driver)
        && let Some(work) = fake::work_of(job, step)
    {
        return fake::perform(engine, job, &node, work).await;
    }
    match step {
        StepName::CheckBmc => bmc::check(engine, &node).await,
        StepName::ReadPower => bmc::read_power(engine, &node).await,
        StepName::BootFromNetwork => bmc::boot_from_network(engine, &node).await,
        StepName::BootFromDisk => bmc::boot_from_disk(engine, &node).await,
        StepName::PowerCycle => bmc::start_from_network(engine, job, &node).await,
        StepName::PowerOff => {
            agent::flush(engine, job).await;
            bmc::power_off(engine, job, &node).await
        }
        StepName::PowerOn => bmc::power_on(engine, &node).await,
        StepName::ChangePower => bmc::change_power(engine, job, &node).await,
        StepName::PrepareImage => prepare_image(engine, job, &node).await,
        StepName::Wipe => agent::wipe(engine, job).await,
        StepName::WriteImage => agent::write_image(engine, job, &node).await,
        StepName::InstallBootloader => agent::install_bootloader(engine, job).await,
        StepName::AwaitAgent | StepName::AwaitInventory => wait::for_machine(engine, job, step, taken_up).await,
        StepName::ReleaseInstance => Ok(None),
        StepName::OpenRescue => rescue::open(engine, job).await,
        StepName::RunService => service::run(engine, job).await,
        StepName::SetBios => bios::set(engine, job, &node).await,
        StepName::CheckBios => bios::check(engine, job, &node).await,
        StepName::UpdateFirmware => firmware::update(engine, job, &node).await,
        StepName::CheckFirmware => firmware::check(engine, job, &node).await,
        StepName::PortsIdle => ports::put(engine, job, step, Stand::Idle).await,
        StepName::PortsProvisioning => ports::put(engine, job, step, Stand::Provisioning).await,
        StepName::PortsCleaning => ports::put(engine, job, step, Stand::Cleaning).await,
        StepName::PortsTenant => ports::put(engine, job, step, Stand::Tenant).await,
        StepName::Unknown => Err("This step belongs to another version of the program.".into()),
    }
}

fn node_of(engine: &Engine, job: &Job) -> Result<Arc<Node>, String> {
    engine.view().node(job.node).cloned().ok_or_else(|| "The node was removed.".to_owned())
}

/// Why a step that is not done at its deadline has failed.
pub(crate) async fn overdue(engine: &Engine, job: &Job, step: StepName) -> String {
    let limit = step.deadline_seconds();
    if step.waits_for_machine() {
        let since = job
            .steps
            .iter()
            .rev()
            .filter(|record| record.name == StepName::PowerCycle)
            .find_map(|record| record.started_at);
        let seen = diagnosis::why_no_agent(engine, job.node, since.unwrap_or(job.created_at)).await;
        return format!("Timeout reached while waiting for callback ({limit} s). {seen}");
    }
    let last = engine
        .view()
        .job(job.id)
        .and_then(|job| job.current().and_then(|record| record.detail.clone()))
        .map(|detail| format!(" Last: {detail}"))
        .unwrap_or_default();
    format!("The step \"{}\" was not done within {limit} s.{last}", step.name())
}

/// After a failure the machine must not sit in the ramdisk, able to be taken for something else, nor be on anybody's wire:
/// its switch ports are cut, and its power, if its BMC lets us. Gives why its ports are not known to be cut.
pub(crate) async fn stop_machine(engine: &Engine, job: &Job) -> Option<String> {
    let (cut, ()) = tokio::join!(ports::isolate(engine, job), power_off_after_failure(engine, job));
    cut.map(|why| {
        tracing::warn!(job = %job.id, why, "its switch ports could not be put on idle after a failure");
        format!("Its switch ports are not known to be cut off, which is tried again: {why}")
    })
}

async fn power_off_after_failure(engine: &Engine, job: &Job) {
    // A machine that is taken from somebody must not go on for him either, whichever step failed.
    let taken = matches!(job.kind, JobKind::HandOver | JobKind::Undeploy);
    if job.boots == 0 && !taken {
        return;
    }
    let Ok(node) = node_of(engine, job) else { return };
    if driver::is_fake(&node.settings.driver) && job.boots == 0 {
        return;
    }
    // A dead BMC must not keep the failure from being told.
    match tokio::time::timeout(STOP_PATIENCE, bmc::cut_power(engine, &node)).await {
        Ok(Ok(_)) => {}
        Ok(Err(why)) => tracing::warn!(node = node.title(), why, "could not power off after a failure"),
        Err(_) => tracing::warn!(node = node.title(), "its BMC did not power it off in time after a failure"),
    }
}

async fn prepare_image(engine: &Engine, job: &Job, node: &Node) -> Outcome {
    let mut wanted = wanted_image(node)?;
    // What was allowed when it was asked for, whatever the node says by now.
    if let Some(image) = job.input.image {
        wanted.source = image.to_string();
    }
    let provided = engine.images.provide(&engine.store, &wanted, job.id).await;
    let image = provided.map_err(|error| error.to_string())?;
    let size = image.content.as_ref().map_or(0, |content| content.raw_size);
    Ok(Some(format!("image {} is verified and ready ({} MiB)", image.id, size >> 20)))
}
