//! Sees to it that every running job has exactly one runner: at the start for jobs that a stop or crash left, later
//! for each new one. Level, not edge: it compares the state with its runners whenever the state changed.

use crate::{Engine, runner};
use leasehold_domain::id::JobId;
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::time::Duration;
use tokio::task::{Id, JoinSet};

/// Before a job that its runner left is taken up again.
const PAUSE: Duration = Duration::from_secs(5);

/// Runs for ever.
pub(crate) async fn run(engine: Engine) {
    let mut feed = engine.store.subscribe();
    let mut runners = Runners::new(PAUSE);
    loop {
        let view = engine.view();
        for job in view.jobs().filter(|job| job.is_running()) {
            runners.see_to(job.id, || {
                let (engine, id) = (engine.clone(), job.id);
                async move {
                    runner::run(&engine, id).await;
                    // A runner leaves a running job only where its reports are refused, which is a defect: slowly, then.
                    if engine.view().job(id).is_some_and(|job| job.is_running()) {
                        tracing::error!(job = %id, "a job was left unfinished; it is taken up again");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            });
        }
        tokio::select! {
            news = feed.next() => if news.is_none() {
                // The store is closing: jobs go on at the next start.
                return;
            },
            () = runners.one_ended() => {}
        }
    }
}

/// The runners at work, at most one for a job.
struct Runners {
    /// How long a job waits whose runner panicked.
    pause: Duration,
    jobs: HashSet<JobId>,
    tasks: JoinSet<()>,
    /// Whose job a task works on, or holds back for a while.
    of_task: HashMap<Id, JobId>,
}

impl Runners {
    fn new(pause: Duration) -> Runners {
        Runners { pause, jobs: HashSet::new(), tasks: JoinSet::new(), of_task: HashMap::new() }
    }

    /// Starts a runner for the job if it has none.
    fn see_to<F>(&mut self, job: JobId, runner: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if self.jobs.insert(job) {
            let task = self.tasks.spawn(runner());
            self.of_task.insert(task.id(), job);
        }
    }

    /// Returns when a job has no runner any more; never while none works.
    async fn one_ended(&mut self) {
        let (task, error) = match self.tasks.join_next_with_id().await {
            None => return std::future::pending().await,
            Some(Ok((task, ()))) => (task, None),
            Some(Err(error)) => (error.id(), Some(error)),
        };
        let Some(job) = self.of_task.remove(&task) else { return };
        match error {
            None => {
                self.jobs.remove(&job);
            }
            // A runner that panicked is a bug. Its job must not hang, nor spin; the others go on.
            Some(error) => {
                tracing::error!(%error, %job, "a job's runner failed; its job is taken up again");
                let pause = self.tasks.spawn(tokio::time::sleep(self.pause));
                self.of_task.insert(pause.id(), job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use uuid::Uuid;

    #[tokio::test]
    async fn a_runner_that_panics_is_started_again_and_the_others_go_on() {
        let (broken, others) = (JobId(Uuid::from_u128(0)), [1, 2, 3].map(|number| JobId(Uuid::from_u128(number))));
        let starts = Arc::new(AtomicU32::new(0));
        let mut runners = Runners::new(Duration::from_millis(1));
        let mut attempts = 0;
        while attempts < 3 {
            runners.see_to(broken, || {
                attempts += 1;
                async { panic!("a defect") }
            });
            for job in others {
                let starts = starts.clone();
                runners.see_to(job, || async move {
                    starts.fetch_add(1, Ordering::Relaxed);
                    std::future::pending().await
                });
            }
            let ended = tokio::time::timeout(Duration::from_secs(60), runners.one_ended());
            ended.await.expect("the panic is seen, and its pause ends");
        }
        assert_eq!(starts.load(Ordering::Relaxed), 3, "each of the others was started once");
    }
}
