//! New firmware: the BMC fetches and writes it, the machine starts with it, and the version is read back.
//!
//! What was begun stands in the step's detail, so that a restart follows it instead of beginning it again.

use super::Outcome;
use super::bmc::patiently;
use crate::Engine;
use leasehold_domain::command::Command;
use leasehold_domain::job::{Job, StepName};
use leasehold_domain::listed::{BmcWork, FirmwareUpdate, Part};
use leasehold_domain::node::Node;
use leasehold_drivers::bmc::BmcError;
use leasehold_drivers::bmc::features::FirmwareTask;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at an update.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// An update that has not begun after so long begins when the machine starts.
const BEGINS_WITHIN: Duration = Duration::from_secs(120);
/// A BMC that writes its own firmware is away meanwhile, or answers what makes no sense.
const AWAY_FOR: Duration = Duration::from_secs(900);
/// How long the BMC may take to show another version after the machine's start. The same may have been written again.
const SHOWS_WITHIN: Duration = Duration::from_secs(120);

/// An update that the BMC has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Begun {
    /// What ran before, if the BMC told.
    version: Option<String>,
    task: Option<String>,
}

/// Stands between version and task.
const TAKEN: &str = "; the BMC has taken the update";
const UNKNOWN: &str = "unknown";

impl fmt::Display for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from version {}{TAKEN}", self.version.as_deref().unwrap_or(UNKNOWN))?;
        self.task.as_ref().map_or(Ok(()), |task| write!(f, " as {task}"))
    }
}

impl Begun {
    fn read(detail: &str) -> Option<Begun> {
        let (version, task) = detail.strip_prefix("from version ")?.split_once(TAKEN)?;
        let task = task.strip_prefix(" as ").map(str::to_owned);
        Some(Begun { version: Some(version.to_owned()).filter(|version| version != UNKNOWN), task })
    }

    /// Of the job's last update, as far as it has come.
    fn of(job: &Job) -> Option<Begun> {
        let mut records = job.steps.iter().rev().filter(|step| step.name == StepName::UpdateFirmware);
        Begun::read(records.find(|step| step.attempts > 0)?.detail.as_deref()?)
    }
}

fn work(job: &Job) -> Result<FirmwareUpdate, String> {
    match job.part() {
        Some(Part::Bmc(BmcWork::UpdateFirmware(update))) => Ok(update),
        _ => Err("The job names no such step.".to_owned()),
    }
}

pub(super) async fn update(engine: &Engine, job: &Job, node: &Node) -> Outcome {
    let FirmwareUpdate { component, url, wait } = work(job)?;
    let failed = |why: String| format!("The firmware of {component} was not updated: {why}");
    let known = job.current().and_then(|step| Begun::read(step.detail.as_deref()?));
    let begun = match known {
        Some(begun) => begun,
        None => {
            let version = version(engine, node, &component).await.map_err(|error| failed(error.to_string()))?;
            let bmc = engine.bmcs.of(node).map_err(|error| error.to_string())?;
            // Not tried again by itself: an answer may be lost, and the update be begun.
            let task = bmc.update_firmware(component.clone(), url).await.map_err(|error| failed(error.to_string()))?;
            let begun = Begun { version, task };
            let report =
                Command::StepProgress { job: job.id, step: StepName::UpdateFirmware, detail: begun.to_string() };
            engine.tell(report).await.map_err(|error| error.to_string())?;
            begun
        }
    };
    follow(engine, node, &begun, Some(BEGINS_WITHIN)).await.map_err(failed)?;
    tokio::time::sleep(Duration::from_secs(u64::from(wait))).await;
    Ok(Some(begun.to_string()))
}

pub(super) async fn check(engine: &Engine, job: &Job, node: &Node) -> Outcome {
    let FirmwareUpdate { component, .. } = work(job)?;
    let begun = Begun::of(job).ok_or("The job does not tell which update it began.")?;
    follow(engine, node, &begun, None)
        .await
        .map_err(|why| format!("The firmware of {component} was not updated: {why}"))?;
    let deadline = Instant::now() + SHOWS_WITHIN;
    loop {
        let now = patiently(engine, node, |bmc| async move { bmc.firmware().await }).await?;
        let now = now.into_iter().find(|part| part.component == component).map(|part| part.version);
        match (&begun.version, now) {
            (before, Some(now)) if before.as_ref() != Some(&now) => {
                return Ok(Some(format!("{component}: {} → {now}", before.as_deref().unwrap_or(UNKNOWN))));
            }
            (_, now) if Instant::now() >= deadline => {
                let now = now.unwrap_or_else(|| UNKNOWN.to_owned());
                return Ok(Some(format!(
                    "{component}: the update has ended, and the BMC shows version {now}, as before"
                )));
            }
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// What the part runs now; a part that the BMC does not list has no version.
async fn version(engine: &Engine, node: &Node, component: &str) -> Result<Option<String>, String> {
    let parts = patiently(engine, node, |bmc| async move { bmc.firmware().await }).await?;
    let known = parts.iter().map(|part| part.component.as_str()).collect::<Vec<_>>().join(", ");
    match parts.iter().find(|part| part.component == component) {
        Some(part) => Ok(Some(part.version.clone())),
        None => Err(format!("the BMC lists no firmware of it; it lists {known}")),
    }
}

/// Returns when the update has ended well, or, with `begins`, when it waits for the machine's start.
async fn follow(engine: &Engine, node: &Node, begun: &Begun, begins: Option<Duration>) -> Result<(), String> {
    let Some(task) = &begun.task else { return Ok(()) };
    let (since, mut answered) = (Instant::now(), Instant::now());
    loop {
        let bmc = engine.bmcs.of(node).map_err(|error| error.to_string())?;
        match bmc.firmware_task(task.clone()).await {
            Ok(FirmwareTask::Done | FirmwareTask::Forgotten) => return Ok(()),
            Ok(FirmwareTask::Failed(why)) => return Err(why),
            Ok(FirmwareTask::Waiting(_)) if begins.is_some_and(|begins| since.elapsed() >= begins) => return Ok(()),
            Ok(FirmwareTask::Waiting(_) | FirmwareTask::Working(_)) => answered = Instant::now(),
            Err(error @ BmcError::Certificate { .. }) => return Err(error.to_string()),
            Err(error) if answered.elapsed() >= AWAY_FOR => return Err(error.to_string()),
            Err(error) => {
                tracing::info!(node = node.title(), %error, "the BMC tells nothing of its update; asking again")
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_is_read_back_from_the_record() {
        for (version, task) in
            [(Some("7.7; x"), Some("/redfish/v1/TaskService/Tasks/4 as 2")), (None, None), (Some("1"), None)]
        {
            let begun = Begun { version: version.map(str::to_owned), task: task.map(str::to_owned) };
            assert_eq!(Begun::read(&begun.to_string()), Some(begun));
        }
        assert_eq!(Begun::read("power off"), None);
    }
}
