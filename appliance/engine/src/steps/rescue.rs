//! The ramdisk lets its machine's user in.
//!
//! The agent makes the login and stays until it hears, by the refusal of its next heartbeat, that this step is on record:
//! so a program that was killed in between finds it still there. Then it closes for good.

use super::{Outcome, agent};
use crate::{Engine, rescue};
use leasehold_domain::job::{Job, StepName};
use serde_json::json;

pub(super) async fn open(engine: &Engine, job: &Job) -> Outcome {
    let hash = rescue::password_hash(engine, job)?;
    let params = agent::object(json!({"rescue_password": hash, "hashed": true}));
    let done = agent::carry_out(engine, job, StepName::OpenRescue, "rescue.finalize_rescue", 0, &params).await?;
    let told = done.command_result.as_ref().and_then(agent::describe);
    Ok(Some(told.unwrap_or_else(|| "the user rescue may log in".into())))
}
