//! Steps that put a node's switch ports where they are to stand.

use super::Outcome;
use crate::Engine;
use crate::switches::Stand;
use leasehold_domain::command::Command;
use leasehold_domain::job::{Job, StepName};
use std::time::Duration;

/// Puts them there, again and again while a switch does not answer or somebody else changes the same port; the step's
/// deadline ends it. What is not known to stand there stops the job: nobody may be let near the machine then.
pub(super) async fn put(engine: &Engine, job: &Job, step: StepName, stand: Stand) -> Outcome {
    let mut pause = Duration::from_millis(500);
    loop {
        match engine.switches.set(&engine.store, job.node, stand).await {
            Ok(done) => return Ok(Some(done)),
            Err(trouble) if trouble.may_pass => {
                tracing::info!(job = %job.id, step = step.name(), %trouble, "a switch port is not set; trying again");
                let report = Command::StepProgress { job: job.id, step, detail: trouble.to_string() };
                engine.tell(report).await.map_err(|error| error.to_string())?;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(15));
            }
            Err(trouble) => return Err(trouble.to_string()),
        }
    }
}

/// How long the switches of a node may take to isolate it after a failure.
const ISOLATION: Duration = Duration::from_secs(60);

/// Puts them on idle after a failure, once; why not, if not. Where it is not known, it is tried again for as long as the
/// node stays as it is.
pub(super) async fn isolate(engine: &Engine, job: &Job) -> Option<String> {
    if !job.steps.iter().any(|step| step.name.is_of_ports()) {
        return None;
    }
    match tokio::time::timeout(ISOLATION, engine.switches.set(&engine.store, job.node, Stand::Idle)).await {
        Ok(Ok(_)) => None,
        Ok(Err(trouble)) => Some(trouble.to_string()),
        Err(_) => Some(format!("a switch did not answer within {} s", ISOLATION.as_secs())),
    }
}
