//! Carries out one job: its steps in order, each within its deadline, until it is done, failed or superseded.

use crate::{Engine, steps};
use jiff::Timestamp;
use leasehold_domain::command::{Answer, Command, StepEnd};
use leasehold_domain::id::JobId;
use leasehold_domain::job::{Job, StepName, StepState};
use leasehold_store::SubmitError;
use std::sync::Arc;
use std::time::Duration;

/// How long to wait before a report is given again that the store could not take (a full disk).
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// Works on the job until nothing is left to do for it.
pub(crate) async fn run(engine: &Engine, id: JobId) {
    // A job that has begun was left by a runner before, be it between two of its steps.
    let mut taken_up = engine.view().job(id).is_some_and(|job| has_begun(job));
    while let Some(step) = next_step(engine, id) {
        let Some(Answer::Job(job)) = report(engine, Command::StartStep { job: id, step }).await else { return };
        let outcome = tokio::select! {
            outcome = steps::perform(engine, &job, step, std::mem::take(&mut taken_up)) => Some(outcome),
            () = deadline(&job) => Some(Err(steps::overdue(engine, &job, step).await)),
            () = superseded(engine, id, step) => None,
            reason = agent_failure(engine, id) => Some(Err(reason)),
        };
        let end = match outcome {
            // The state has moved on without us: an agent's report ended the step, or another job took over.
            None => continue,
            Some(Ok(detail)) => StepEnd::Done(detail),
            Some(Err(reason)) => {
                // Whoever takes over meanwhile starts the machine: then it is not ours to stop.
                tokio::select! {
                    uncut = steps::stop_machine(engine, &job) => StepEnd::Failed(match uncut {
                        None => reason,
                        Some(uncut) => format!("{reason} {uncut}"),
                    }),
                    () = superseded(engine, id, step) => continue,
                }
            }
        };
        // A heartbeat may have ended the step in the same moment. Refused for any other reason, it is for the supervisor.
        let refused = report(engine, Command::EndStep { job: id, step, end }).await.is_none();
        if refused && next_step(engine, id) == Some(step) {
            return;
        }
    }
}

fn has_begun(job: &Job) -> bool {
    job.steps.iter().any(|step| step.state != StepState::Pending)
}

fn next_step(engine: &Engine, id: JobId) -> Option<StepName> {
    let view = engine.view();
    let job = view.job(id).filter(|job| job.is_running())?;
    job.current().map(|step| step.name)
}

/// Gives a report, for as long as it takes the store to take it. `None`: the job is no longer the current one.
async fn report(engine: &Engine, command: Command) -> Option<Answer> {
    loop {
        match engine.tell(command.clone()).await {
            Ok(committed) => return committed.map(|committed| committed.answer),
            Err(SubmitError::Closed) => return None,
            Err(error) => {
                tracing::warn!(command = command.name(), %error, "the store cannot take a report now; trying again");
                tokio::time::sleep(STORE_PATIENCE).await;
            }
        }
    }
}

/// Returns when the current step's time is over. Asked just after the step began: from then on time is counted, not
/// read from the clock, which may jump.
async fn deadline(job: &Arc<Job>) {
    let Some((step, deadline)) = job.current().and_then(|step| Some((step, step.deadline?))) else {
        return std::future::pending().await;
    };
    let limit = step.name.deadline_seconds();
    let left = match step.attempts {
        ..=1 => limit,
        _ => deadline.duration_since(Timestamp::now()).as_secs().clamp(step.name.least_seconds(), limit),
    };
    tokio::time::sleep(Duration::from_secs(left.unsigned_abs())).await;
}

/// Returns when the job's agent says that it cannot go on.
async fn agent_failure(engine: &Engine, id: JobId) -> String {
    let mut feed = engine.store.subscribe();
    loop {
        let view = engine.view();
        let node = view.job(id).and_then(|job| view.node(job.node));
        let agent = node.and_then(|node| node.agent.as_ref()).filter(|agent| agent.job == id);
        if let Some(reason) = agent.and_then(|agent| agent.failure.clone()) {
            return reason;
        }
        if feed.next().await.is_none() {
            return std::future::pending().await;
        }
    }
}

/// Returns when this step is no longer the job's running one.
async fn superseded(engine: &Engine, id: JobId, step: StepName) {
    let mut feed = engine.store.subscribe();
    loop {
        let view = engine.view();
        let still = view
            .job(id)
            .filter(|job| job.is_running())
            .and_then(|job| job.current())
            .is_some_and(|record| record.name == step && record.state == StepState::Running);
        if !still {
            return;
        }
        if feed.next().await.is_none() {
            return;
        }
    }
}
