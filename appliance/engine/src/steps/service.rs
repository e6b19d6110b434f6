//! The steps of a service, in the order in which they were asked for.

use super::{Outcome, agent, hold};
use crate::Engine;
use leasehold_domain::hardware::ServiceStep;
use leasehold_domain::job::{Job, StepName};
use leasehold_domain::listed::Part;
use serde_json::json;

/// Carries out those of the present part of the list, or goes on after those that were done before a restart.
pub(super) async fn run(engine: &Engine, job: &Job) -> Outcome {
    let node = super::node_of(engine, job)?;
    let list = &job.input.service_steps;
    let Some(Part::Agent(range)) = job.part() else { return Err("The job names no service step.".into()) };
    let (earlier, steps) = (list.get(..range.start).unwrap_or_default(), list.get(range.clone()).unwrap_or_default());
    let held = earlier.iter().filter(|step| ServiceStep::find(step) == Some(ServiceStep::Hold));
    // Holds are counted through the job, an agent's commands from its start.
    let (mut holds, mut commands) = (u32::try_from(held.count()).unwrap_or(u32::MAX), 0);
    let mut said = Vec::new();
    for step in steps {
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
