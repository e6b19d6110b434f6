//! The clock of the box jumps, while the program runs and between two runs: a deployment goes on.
//!
//! The program gets its time through `libfaketime`, which is preloaded; nobody else's clock moves.

use super::Bases;
use crate::appliance::Started;
use crate::lanes;
use crate::report::Report;
use crate::world::{Snapshot, WORK_LIMIT, Work, World, at_rest};
use anyhow::{Result, bail, ensure};
use std::fmt::{Display, Formatter};
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
const FOLDERS: [&str; 3] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];

/// Long enough that the wait for the machine is seen.
const POST: Duration = Duration::from_millis(300);

struct Point {
    /// The clock at the start, against the right time.
    from: &'static str,
    to: &'static str,
    /// The provision state in which it jumps.
    when: &'static str,
    restart: bool,
}

impl Display for Point {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let restart = if self.restart { "between two runs " } else { "" };
        write!(f, "the clock jumps {restart}from {} to {} in '{}'", self.from, self.to, self.when)
    }
}

/// # Errors
/// When `libfaketime` is not installed.
pub(crate) fn run(worlds: &mut [World], bases: &Bases, report: &Report) -> Result<String> {
    let library = FOLDERS.iter().map(|folder| PathBuf::from(folder).join(LIBRARY)).find(|path| path.exists());
    let Some(library) = library else { bail!("{LIBRARY} is missing: install the package libfaketime") };
    let mut points = Vec::new();
    for when in ["deploying", "wait call-back"] {
        for (from, to) in [("+0", "+3d"), ("+0", "-3d"), ("-20y", "+0")] {
            for restart in [false, true] {
                points.push(Point { from, to, when, restart });
            }
        }
    }
    let points = Mutex::new(points);
    let next = || points.lock().unwrap_or_else(PoisonError::into_inner).pop();
    lanes::run(worlds, report, next, |world, point| jump(world, &bases.available, &library, point));
    Ok(String::new())
}

fn jump(world: &mut World, base: &Snapshot, library: &std::path::Path, point: &Point) -> Result<()> {
    world.restore(base)?;
    let clock = world.site.folder.join("clock");
    // Written beside and renamed: a read of half of it would be another jump.
    let set = |offset: &str| -> Result<()> {
        let part = clock.with_extension("part");
        fs::write(&part, format!("{offset}\n"))?;
        Ok(fs::rename(part, &clock)?)
    };
    set(point.from)?;
    let environment = [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("DONT_FAKE_MONOTONIC", "1".into()),
    ];
    world.node.set_post(POST);
    start(world, &environment)?;
    let work = Work::deploy();
    let (status, answer) = world.ask_for(&work)?;
    ensure!(status == 202, "{status}: {answer}");
    let begin = Instant::now();
    loop {
        let node = world.show()?;
        ensure!(at_rest(&node, work.ends_in())?.is_none(), "it was done before the jump");
        if node["provision_state"] == point.when {
            break;
        }
        ensure!(begin.elapsed() < WORK_LIMIT, "'{}' was not seen", point.when);
        std::thread::sleep(Duration::from_millis(2));
    }
    if point.restart {
        world.kill();
    }
    set(point.to)?;
    if point.restart {
        start(world, &environment)?;
    }
    world.must_end(&work)
}

fn start(world: &mut World, environment: &[(&str, String)]) -> Result<()> {
    world.appliance = None;
    match world.site.start_under(None, environment)? {
        Started::Ready(appliance) => world.appliance = Some(appliance),
        Started::Killed(_) => bail!("the program was killed without a plan"),
    }
    Ok(())
}
