//! The program is killed at its n-th sync of a file, for every n up to the end of a deployment, or of a lease: each commit
//! is one.

use crate::appliance::{Appliance, Started};
use crate::hold::{Calls, Moment, Plan};
use crate::lanes;
use crate::report::Report;
use crate::world::{Snapshot, WORK_LIMIT, Work, World, at_rest};
use anyhow::{Result, bail, ensure};
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Fewer points than this mean that the kills do not happen.
const LEAST: u64 = 15;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the program is killed in.
#[derive(Clone, Copy)]
pub(crate) struct During<'a> {
    pub(crate) base: &'a Snapshot,
    /// The state that the node rests in until it is asked for.
    pub(crate) rests_in: &'static str,
    pub(crate) work: fn() -> Work,
}

struct Point(Plan, &'static str);

impl Display for Point {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let (Plan { calls, nth, moment }, kind) = (self.0, self.1);
        let call = match calls {
            Calls::Syncs => "sync",
            Calls::Writes => "write",
        };
        let moment = match moment {
            Moment::Before => "before",
            Moment::After => "after",
        };
        write!(f, "killed {moment} {call} {} of one {kind}", nth.unwrap_or_default())
    }
}

/// # Errors
/// When the kills do not happen.
pub(crate) fn run(
    worlds: &mut [World],
    during: During<'_>,
    report: &Report,
    calls: Calls,
    moment: Moment,
) -> Result<String> {
    let (next, kind) = (AtomicU64::new(1), (during.work)().kind());
    let survived = AtomicBool::new(false);
    let places = Mutex::new(BTreeMap::<String, u32>::new());
    let points = || {
        let nth = Some(next.fetch_add(1, Ordering::SeqCst));
        (!survived.load(Ordering::SeqCst)).then_some(Point(Plan { calls, nth, moment }, kind))
    };
    lanes::run(worlds, report, points, |world, point| {
        match carry_out(world, during, point.0)? {
            Some(place) => *places.lock().unwrap_or_else(PoisonError::into_inner).entry(place).or_default() += 1,
            None => survived.store(true, Ordering::SeqCst),
        }
        Ok(())
    });
    let places = places.into_inner().unwrap_or_else(PoisonError::into_inner);
    let kills: u32 = places.values().sum();
    ensure!(u64::from(kills) >= LEAST, "only {kills} kills happened");
    let places: Vec<String> = places.iter().map(|(place, count)| format!("{place} {count}")).collect();
    Ok(format!("{kills} kills in {}", places.join(", ")))
}

/// Does the work under the plan. The file whose call the program did not survive; `None`: it was not killed.
fn carry_out(world: &mut World, during: During<'_>, plan: Plan) -> Result<Option<String>> {
    world.restore(during.base)?;
    let work = (during.work)();
    let mut asked = false;
    let killed;
    match world.site.start_under(Some(plan), &[])? {
        Started::Killed(seen) => killed = seen.killed_at,
        Started::Ready(appliance) => {
            world.appliance = Some(appliance);
            // No answer: the request may have been carried out, or not.
            asked = matches!(world.ask_for(&work), Ok((202, _)));
            if let Some(mut appliance) = wait(world, &work)? {
                killed = seen_after_death(&mut appliance)?;
            } else {
                world.proof(&work)?;
                return Ok(None);
            }
        }
    }
    world.start()?;
    let node = world.show()?;
    if node["provision_state"] == during.rests_in && node["target_provision_state"].is_null() {
        ensure!(!asked, "the {} was acknowledged, and after the restart nobody knows of it", work.kind());
        let (status, answer) = world.ask_for(&work)?;
        ensure!(status == 202, "after the restart: {status}: {answer}");
    }
    world.must_end(&work)?;
    killed.map(Some).ok_or_else(|| anyhow::anyhow!("it ended before its plan"))
}

/// Waits until the program was killed (then it is given back), or the node is at rest.
fn wait(world: &mut World, work: &Work) -> Result<Option<Appliance>> {
    let begin = Instant::now();
    loop {
        let ended = match &mut world.appliance {
            Some(appliance) => appliance.ended()?.is_some(),
            None => bail!("the program was not started"),
        };
        if ended {
            return Ok(world.appliance.take());
        }
        // An answer that does not come is the kill itself, or it will be seen at the next look.
        if let Ok(node) = world.show()
            && at_rest(&node, work.ends_in())?.is_some()
        {
            return Ok(None);
        }
        ensure!(begin.elapsed() < WORK_LIMIT, "neither killed nor done; its log ends:\n{}", world.site.log_tail());
        std::thread::sleep(LOOK_EVERY);
    }
}

fn seen_after_death(appliance: &mut Appliance) -> Result<Option<String>> {
    let seen = appliance.seen();
    if seen.killed_at.is_none() {
        bail!("the program ended by itself: {:?}", appliance.ended()?);
    }
    Ok(seen.killed_at)
}
