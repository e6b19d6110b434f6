//! `leasehold-crash`: kills the appliance, fills its disk, moves its clock, and looks whether its promises hold.
//!
//! In: the program (`LEASEHOLD_BIN`), root. Out: a line per scenario, then `N passed, N failed`; exit 0 only without
//! failure. Everything runs in network namespaces of its own, with a node that is simulated: an IPMI BMC, and a machine
//! that runs the real deploy agent on a disk that is a file. Nothing of it remains, however it ends.

mod api;
mod appliance;
mod dhcp;
mod firmware;
mod hold;
mod image;
mod lanes;
mod node;
mod report;
mod scenarios;
mod world;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use hold::{Calls, Moment};
use leasehold_rack::stop::Stop;
use report::Report;
use scenarios::commits::{self, During};
use std::path::PathBuf;
use std::process::ExitCode;
use world::{Work, World};

/// Kills the appliance at every step and every commit of a simulated node's life, and looks what it left.
#[derive(Parser)]
#[command(name = "leasehold-crash")]
struct Arguments {
    /// What runs on the simulated machine; started by this program itself.
    #[command(subcommand)]
    part: Option<Part>,
    /// Only these; all when none is named.
    scenarios: Vec<Scenario>,
    /// Also kills at each write of a deployment, and more often under load.
    #[arg(long)]
    all: bool,
    /// Boxes at work at the same time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    lanes: u8,
    /// Only points whose name holds this.
    #[arg(long)]
    only: Option<String>,
    /// Tell also what passed.
    #[arg(long)]
    verbose: bool,
    /// Keep states and logs in this folder, which must not exist.
    #[arg(long)]
    keep: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Part {
    #[command(hide = true)]
    Firmware(firmware::Arguments),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Killed at every transition of every job.
    Steps,
    /// Killed at every sync of a deployment.
    Commits,
    /// Killed while users write.
    Load,
    /// The disk is full.
    FullDisk,
    /// Two starts on one folder, a port in use, an unreadable configuration.
    Starts,
    /// The clock jumps.
    Clock,
    /// Killed at every transition and every sync of a lease's end.
    Lease,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.part {
        Some(Part::Firmware(part)) => firmware::main(part),
        None => run(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("leasehold-crash: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!(rustix::process::geteuid().is_root(), "this needs root: it makes network namespaces");
    let program = std::env::var_os("LEASEHOLD_BIN").map(PathBuf::from);
    let program = program.context("LEASEHOLD_BIN names no program: it must be the 'leasehold' that was built")?;
    let program = program.canonicalize().with_context(|| format!("LEASEHOLD_BIN: {}", program.display()))?;
    let stop = Stop::on_signals()?;
    let temporary = tempfile::tempdir()?;
    let folder = match &arguments.keep {
        Some(keep) => {
            std::fs::create_dir(keep).with_context(|| format!("{} cannot be made", keep.display()))?;
            keep.canonicalize()?
        }
        None => temporary.path().to_owned(),
    };
    let report = Report::new(arguments.verbose);
    let common = world::common(program, &folder, &stop, arguments.only.as_deref())?;
    let mut worlds = (0..arguments.lanes)
        .map(|lane| World::make(&common, &format!("lane{lane}")))
        .collect::<Result<Vec<World>>>()?;
    scenarios(arguments, &mut worlds, &report);
    drop(worlds);
    ensure!(!stop.requested(), "stopped on request");
    let counts = report.counts();
    report.say(&format!("crash: {} passed, {} failed", counts.passed, counts.failed));
    Ok(if counts.failed == 0 && counts.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn scenarios(arguments: &Arguments, worlds: &mut [World], report: &Report) {
    let wanted = |scenario| arguments.scenarios.is_empty() || arguments.scenarios.contains(&scenario);
    let Some(first) = worlds.first_mut() else { return };
    let stop = first.common.stop.clone();
    let mut bases = None;
    report.scenario("a node's whole life, undisturbed", || {
        bases = Some(scenarios::bases(first)?);
        report.point("from enrolment to a deployed system", Ok(()));
        Ok(String::new())
    });
    let Some(bases) = bases else { return };
    let mut run = |name: &str, which: Scenario, work: &mut dyn FnMut(&mut [World]) -> Result<String>| {
        if wanted(which) && !stop.requested() {
            report.scenario(name, || work(worlds));
        }
    };
    let all = arguments.all;
    run("starts that must fail", Scenario::Starts, &mut |worlds| scenarios::starts::run(worlds, report));
    run("the disk is full", Scenario::FullDisk, &mut |worlds| scenarios::full_disk::run(worlds, report));
    run("the clock jumps", Scenario::Clock, &mut |worlds| scenarios::clock::run(worlds, &bases, report));
    run("killed at every step", Scenario::Steps, &mut |worlds| scenarios::steps::run(worlds, &bases, report));
    let mut kinds = vec![
        ("killed before every commit", Calls::Syncs, Moment::Before),
        ("killed after every commit", Calls::Syncs, Moment::After),
    ];
    if all {
        kinds.push(("killed at every write", Calls::Writes, Moment::Before));
    }
    let deployment = During { base: &bases.available, rests_in: "available", work: Work::deploy };
    for (name, calls, moment) in &kinds {
        run(name, Scenario::Commits, &mut |worlds| commits::run(worlds, deployment, report, *calls, *moment));
    }
    let lease = "the end of a lease, killed at every step";
    run(lease, Scenario::Lease, &mut |worlds| scenarios::steps::run_return(worlds, &bases, report));
    let returned = During { base: &bases.leased, rests_in: "active", work: || Work::Return };
    for (name, calls, moment) in &kinds {
        let name = format!("the end of a lease, {name}");
        run(&name, Scenario::Lease, &mut |worlds| commits::run(worlds, returned, report, *calls, *moment));
    }
    run("killed under load", Scenario::Load, &mut |worlds| scenarios::load::run(worlds, report, all));
}
