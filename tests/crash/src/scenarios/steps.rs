//! The program is killed at every transition of every job of a node's life that can be seen from outside.

use super::Bases;
use crate::lanes;
use crate::node::Running;
use crate::report::Report;
use crate::world::{NODE, Snapshot, WORK_LIMIT, Work, World, at_rest};
use anyhow::{Result, bail, ensure};
use serde_json::Value;
use std::collections::{HashSet, VecDeque};
use std::fmt::{Display, Formatter};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A machine that reaches the network after the program is down.
const SLOW: Duration = Duration::from_secs(2);
const FOLLOW_EVERY: Duration = Duration::from_millis(3);

/// The state that a job begins in, and the job.
type Kind<'a> = (&'a Snapshot, fn() -> Work);

/// What a kill waits for.
struct Point<'a> {
    base: &'a Snapshot,
    work: Work,
    moment: Moment,
}

enum Moment {
    /// For example "power-cycle began".
    At(String),
    /// At each in turn, in one run of the job.
    Each,
    /// While the machine starts, and the program is down until the machine has given up and gone on to its disk.
    MissedBoot,
}

impl Display for Point<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match &self.moment {
            Moment::At(transition) => write!(f, "killed at '{transition}' of {}", self.work.kind()),
            Moment::Each => write!(f, "killed at each transition of one {}", self.work.kind()),
            Moment::MissedBoot => write!(f, "down while the machine boots for {}", self.work.kind()),
        }
    }
}

/// A node's whole life.
///
/// # Errors
/// When an undisturbed run fails.
pub(crate) fn run(worlds: &mut [World], bases: &Bases, report: &Report) -> Result<String> {
    let kinds: [Kind<'_>; 7] = [
        (&bases.enrolled, || Work::Manage),
        (&bases.manageable, || Work::Inspect),
        (&bases.manageable, || Work::Clean),
        (&bases.available, Work::deploy),
        (&bases.active, || Work::Undeploy),
        (&bases.active, || Work::Rescue),
        (&bases.rescue, || Work::Unrescue),
    ];
    run_all(worlds, &kinds, report)
}

/// The end of a lease.
///
/// # Errors
/// When an undisturbed run fails.
pub(crate) fn run_return(worlds: &mut [World], bases: &Bases, report: &Report) -> Result<String> {
    run_all(worlds, &[(&bases.leased, || Work::Return)], report)
}

fn run_all(worlds: &mut [World], kinds: &[Kind<'_>], report: &Report) -> Result<String> {
    let Some(first) = worlds.first_mut() else { bail!("there is no world") };
    let mut points = VecDeque::new();
    for (base, work) in kinds.iter().copied() {
        let names = lanes::alone(first, |world| transitions(world, base, &work()))?;
        for name in names {
            points.push_back(Point { base, work: work(), moment: Moment::At(name) });
        }
        points.push_back(Point { base, work: work(), moment: Moment::Each });
    }
    for (base, work) in kinds.iter().copied().filter(|(_, work)| !matches!(work(), Work::Manage | Work::Unrescue)) {
        points.push_back(Point { base, work: work(), moment: Moment::MissedBoot });
    }
    let points = Mutex::new(points);
    let next = || points.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    lanes::run(worlds, report, next, |world, point| match &point.moment {
        Moment::At(transition) => kill_at(world, point, transition),
        Moment::Each => kill_at_each(world, point),
        Moment::MissedBoot => missed_boot(world, point),
    });
    Ok(String::new())
}

/// The transitions of an undisturbed run, in order.
fn transitions(world: &mut World, base: &Snapshot, work: &Work) -> Result<Vec<String>> {
    world.restore(base)?;
    world.start()?;
    let mut follower = Follower::start(world, work)?;
    ask(world, work)?;
    world.must_end(work)?;
    let names = follower.look(world)?;
    ensure!(names.len() >= 4 && names.len() % 2 == 0, "the {} shows {names:?} only", work.kind());
    Ok(names)
}

fn ask(world: &mut World, work: &Work) -> Result<()> {
    let (status, answer) = world.ask_for(work)?;
    ensure!(status == 202, "{status}: {answer}");
    Ok(())
}

fn kill_at(world: &mut World, point: &Point<'_>, transition: &str) -> Result<()> {
    kill_when_seen(world, point, transition, Duration::ZERO)?;
    world.start()?;
    world.must_end(&point.work)
}

fn kill_when_seen(world: &mut World, point: &Point<'_>, transition: &str, post: Duration) -> Result<()> {
    world.restore(point.base)?;
    world.node.set_post(post);
    world.start()?;
    let mut follower = Follower::start(world, &point.work)?;
    ask(world, &point.work)?;
    let begin = Instant::now();
    while !follower.news(world)?.iter().any(|name| name == transition) {
        ensure!(begin.elapsed() < WORK_LIMIT, "it was not seen");
    }
    world.kill();
    Ok(())
}

fn missed_boot(world: &mut World, point: &Point<'_>) -> Result<()> {
    kill_when_seen(world, point, "power-cycle done", SLOW)?;
    let node = &world.node;
    world.common.stop.until("that the machine goes on to its disk", WORK_LIMIT, LOOK_EVERY, || {
        Ok(matches!(node.running(), Running::Disk(_)).then_some(()))
    })?;
    let boots = world.node.boots();
    world.start()?;
    world.must_end(&point.work)?;
    ensure!(world.node.boots() > boots, "the machine was not started again");
    Ok(())
}

fn kill_at_each(world: &mut World, point: &Point<'_>) -> Result<()> {
    world.restore(point.base)?;
    world.start()?;
    let mut follower = Follower::start(world, &point.work)?;
    ask(world, &point.work)?;
    let (begin, mut kills) = (Instant::now(), 0);
    loop {
        ensure!(begin.elapsed() < 2 * WORK_LIMIT, "it is not done after {kills} kills");
        if !follower.news(world)?.is_empty() {
            world.kill();
            kills += 1;
            world.start()?;
        // A quick job may be done before the first look: then it is killed after its last transition.
        } else if kills > 0 && at_rest(&world.show()?, point.work.ends_in())?.is_some() {
            break;
        }
    }
    world.must_end(&point.work)
}

/// Sees the transitions of one job as they are shown to users.
struct Follower {
    kind: &'static str,
    /// Rows that were there before the job began.
    after: String,
    seen: HashSet<String>,
}

impl Follower {
    /// What is shown already does not count.
    fn start(world: &mut World, work: &Work) -> Result<Follower> {
        let mut follower = Follower { kind: work.kind(), after: String::new(), seen: HashSet::new() };
        let rows = follower.rows(world)?;
        follower.after = rows.last().and_then(|row| row["at"].as_str()).map(str::to_owned).unwrap_or_default();
        Ok(follower)
    }

    /// All rows of the job's time: one that is committed late may carry an earlier time than one that was shown before.
    fn rows(&self, world: &mut World) -> Result<Vec<Value>> {
        let after = if self.after.is_empty() { String::new() } else { format!("?after={}", self.after) };
        let mut answer = world.api()?.get(&format!("/appliance/v1/nodes/{NODE}/trace{after}"))?;
        let Value::Array(rows) = answer["trace"].take() else { bail!("no trace: {answer}") };
        Ok(rows)
    }

    /// Transitions that were not seen before; waits a moment when there are none.
    fn news(&mut self, world: &mut World) -> Result<Vec<String>> {
        world.common.stop.check()?;
        let news = self.look(world)?;
        if news.is_empty() {
            std::thread::sleep(FOLLOW_EVERY);
        }
        Ok(news)
    }

    fn look(&mut self, world: &mut World) -> Result<Vec<String>> {
        let rows = self.rows(world)?;
        let ours = rows.iter().filter(|row| row["source"] == "job" && row["job"] == self.kind);
        let names = ours.filter_map(|row| row["what"].as_str().map(str::to_owned));
        Ok(names.filter(|name| self.seen.insert(name.clone())).collect())
    }
}
