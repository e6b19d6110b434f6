//! The steps of a service, in the order in which they were asked for.

use super::{Outcome, agent, hold};
use crate::Engine;
use leasehold_domain::hardware::ServiceStep;
use leasehold_domain::job::{Job, StepName};
use serde_json::json;

/// Carries them out, or goes on after those that were done before a restart.
pub(super) async fn run(engine: &Engine, job: &Job) -> Outcome {
    let node = super::node_of(engine, job)?;
    let (mut holds, mut commands) = (0, 0);
    let mut said = Vec::new();
    for step in &job.input.service_steps {
        match ServiceStep::find(step) {
            Some(ServiceStep::Hold) => {
                hold::wait(engine, job, holds).await?;
                holds += 1;
                said.push("held, and let go on".to_owned());
            }
            Some(ServiceStep::Agent) => {
                let params = agent::object(json!({"step": step, "node": agent::node_for_agent(&node), "ports": []}));
                let name = "service.execute_service_step";
                let done = agent::carry_out(engine, job, StepName::RunService, name, commands, &params).await?;
                commands += 1;
                said.extend(done.command_result.as_ref().and_then(agent::describe));
            }
            None => {
                return Err(format!("There is no such service step as {step}; there are: {}.", ServiceStep::names()));
            }
        }
    }
    Ok((!said.is_empty()).then(|| said.join("; ")))
}
