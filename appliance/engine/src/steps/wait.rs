//! Waiting for a machine that was started from the network: for its agent's call, or its inventory.

use super::{Outcome, agent};
use crate::{Engine, diagnosis};
use jiff::Timestamp;
use leasehold_domain::command::Command;
use leasehold_domain::job::{INVENTORY_ARRIVED, Job, StepName};

/// The agent's own report ends the step; until then there is nothing to do, but for a machine that missed its boot.
pub(super) async fn for_machine(engine: &Engine, job: &Job, step: StepName, taken_up: bool) -> Outcome {
    // It may have called in the moment between its start and this step.
    match step {
        StepName::AwaitInventory => {
            if super::node_of(engine, job)?.inspection_finished_at.is_some() {
                return Ok(Some(INVENTORY_ARRIVED.to_owned()));
            }
        }
        _ => {
            if let Ok(agent) = agent::contact(engine, job) {
                return Ok(Some(format!("the agent ({}) called from {}", agent.version, agent.callback_url)));
            }
        }
    }
    // Not told by the step's attempts: the program may have ended just before the first of them.
    if taken_up {
        start_if_silent(engine, job).await;
    }
    std::future::pending().await
}

/// While the appliance was down, the machine may have asked for its boot in vain and gone on to its disk: it never calls.
/// One that is still on its way fetches its loader some time; so silence decides.
async fn start_if_silent(engine: &Engine, job: &Job) {
    let since = Timestamp::now();
    tokio::time::sleep(engine.settings.silence_patience).await;
    if agent::contact(engine, job).is_ok() || diagnosis::boots(engine, job.node, since).await {
        return;
    }
    tracing::info!(node = %job.node, "the machine has missed its network boot; it is started again");
    if let Err(error) = engine.tell(Command::BootAgain { job: job.id }).await {
        tracing::warn!(%error, "the machine could not be started again");
    }
}
