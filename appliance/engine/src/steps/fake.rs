//! Steps that an agent would carry out, on a node without a machine: they take their time, or fail, as was set.

use super::{Outcome, hold};
use crate::Engine;
use leasehold_domain::job::{Job, JobKind, StepName};
use leasehold_domain::node::Node;
use leasehold_drivers::bmc::fake::{Settings, Work};
use serde_json::Value;

/// The work that stands for a step; `None`: the step is done as on any other node.
pub(super) fn work_of(job: &Job, step: StepName) -> Option<Work> {
    match step {
        StepName::AwaitAgent => Some(Work::Boot),
        StepName::AwaitInventory => Some(Work::Inspect),
        StepName::Wipe => Some(Work::Clean),
        StepName::WriteImage => Some(Work::Deploy),
        StepName::OpenRescue => Some(Work::Rescue),
        StepName::RunService => Some(Work::Service),
        StepName::PowerOff | StepName::PowerOn if job.kind == JobKind::Unrescue => Some(Work::Rescue),
        _ => None,
    }
}

/// Carries it out; a step of the user's list that is called `hold` waits until he lets it go on.
pub(super) async fn perform(engine: &Engine, job: &Job, node: &Node, work: Work) -> Outcome {
    let settings = Settings::read(&node.settings.driver_info).map_err(|error| error.to_string())?;
    let named = match work {
        Work::Clean => job.input.clean_steps.as_slice(),
        Work::Service => job.input.service_steps.as_slice(),
        _ => &[],
    };
    let holds = named.iter().filter(|step| step.get("step").and_then(Value::as_str) == Some("hold"));
    for (nth, _) in (0..).zip(holds) {
        hold::wait(engine, job, nth).await?;
    }
    settings.work(work).await?;
    Ok(Some(format!("{}: there is no machine", work.name())))
}
