//! Sees to it that every running job has exactly one runner: at the start for jobs that a stop or crash left, later
//! for each new one. Level, not edge: it compares the state with its runners whenever the state changed.

use crate::{Engine, runner};
use leasehold_domain::id::JobId;
use std::collections::HashSet;
use std::time::Duration;
use tokio::task::JoinSet;

/// Before a job that its runner left is taken up again.
const PAUSE: Duration = Duration::from_secs(5);

/// Runs for ever.
pub(crate) async fn run(engine: Engine) {
    let mut feed = engine.store.subscribe();
    let mut at_work: HashSet<JobId> = HashSet::new();
    let mut runners: JoinSet<JobId> = JoinSet::new();
    loop {
        let view = engine.view();
        for job in view.jobs().filter(|job| job.is_running()) {
            if at_work.insert(job.id) {
                let (engine, id) = (engine.clone(), job.id);
                runners.spawn(async move {
                    runner::run(&engine, id).await;
                    // A runner leaves a running job only where its reports are refused, which is a defect: slowly, then.
                    if engine.view().job(id).is_some_and(|job| job.is_running()) {
                        tracing::error!(job = %id, "a job was left unfinished; it is taken up again");
                        tokio::time::sleep(PAUSE).await;
                    }
                    id
                });
            }
        }
        tokio::select! {
            news = feed.next() => if news.is_none() {
                // The store is closing: jobs go on at the next start.
                return;
            },
            Some(ended) = runners.join_next() => match ended {
                Ok(id) => {
                    at_work.remove(&id);
                }
                // A runner that panicked is a bug; its job must not hang, so all that are left are looked at again.
                Err(error) => {
                    tracing::error!(%error, "a job's runner failed; its job is taken up again");
                    at_work.clear();
                    runners.abort_all();
                }
            },
        }
    }
}
