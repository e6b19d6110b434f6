//! A step of a user's list that is called `hold`: the job waits until he lets it go on.

use crate::Engine;
use leasehold_domain::command::Command;
use leasehold_domain::id::JobId;
use leasehold_domain::job::Job;

/// Returns when the hold is over. `nth`: which hold of the job it is, counted from 0; those that somebody has let go on,
/// be it before a restart, are over.
pub(super) async fn wait(engine: &Engine, job: &Job, nth: u32) -> Result<(), String> {
    let mut feed = engine.store.subscribe();
    let passed = |id: JobId| engine.view().job(id).is_none_or(|job| job.input.holds_passed > nth);
    let is_held = || engine.view().node(job.node).is_some_and(|node| node.provision_state.is_held());
    if !passed(job.id) && !is_held() {
        engine.tell(Command::HoldJob { job: job.id }).await.map_err(|error| error.to_string())?;
    }
    while !passed(job.id) {
        if feed.next().await.is_none() {
            return std::future::pending().await;
        }
    }
    Ok(())
}
