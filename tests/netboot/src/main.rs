//! `leasehold-netboot-check`: the boot servers of the real program, asked by real clients and by bad ones.
//!
//! In: the program (`LEASEHOLD_BIN`), boot images (`LEASEHOLD_BOOT_IMAGES`), root, and the clients busybox, dhclient,
//! tftp, atftp, curl and dnsmasq. Out: a line per scenario, then `netboot: N passed, N failed`; exit 0 only without
//! failure. Everything runs in network namespaces of its own; nothing of it remains, however it ends.

mod bmc;
mod dhcp;
mod scenarios;
mod wire;
mod world;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use leasehold_rack::say;
use leasehold_rack::stop::Stop;
use leasehold_rack::sweep;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use world::World;

/// Boots machines that are none from the real program, and looks what they get.
#[derive(Parser)]
#[command(name = "leasehold-netboot-check")]
struct Arguments {
    /// Only scenarios whose names contain one of these; all when none is named.
    wanted: Vec<String>,
    /// Keep state and logs in this folder, which must be new or empty.
    #[arg(long)]
    keep: Option<PathBuf>,
}

fn main() -> ExitCode {
    run(&Arguments::parse()).unwrap_or_else(|error| {
        say::warn(&format!("leasehold-netboot-check: {error:#}"));
        ExitCode::FAILURE
    })
}

fn file_from(variable: &str, what: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    let path = path.with_context(|| format!("{variable} is not set: it must name {what}"))?;
    path.canonicalize().with_context(|| format!("{variable}: {}", path.display()))
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!(rustix::process::geteuid().is_root(), "this needs root: it makes network namespaces");
    let program = file_from("LEASEHOLD_BIN", "the 'leasehold' that was built")?;
    let boot_files = file_from("LEASEHOLD_BOOT_IMAGES", "the folder that leasehold-boot-images wrote")?;
    let stop = Stop::on_signals()?;
    say::start_clock();
    // A run that was killed could not remove its folder.
    sweep::sweep()?;
    let mut world = World::make(program, boot_files, arguments.keep.as_deref(), &stop)?;
    let (mut passed, mut failed) = (0, 0);
    for (name, scenario) in scenarios::ALL {
        if !arguments.wanted.is_empty() && !arguments.wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            continue;
        }
        let begin = Instant::now();
        let outcome = scenario(&mut world).and_then(|detail| world.check().map(|()| detail));
        stop.check()?;
        let seconds = begin.elapsed().as_secs_f64();
        match outcome {
            Ok(detail) => {
                passed += 1;
                let colon = if detail.is_empty() { "" } else { ": " };
                say::step("passed", &format!("{name} ({seconds:.1} s){colon}{detail}"));
            }
            Err(error) => {
                failed += 1;
                say::step("FAILED", &format!("{name} ({seconds:.1} s): {error:#}"));
            }
        }
    }
    drop(world);
    say::plain(&format!("netboot: {passed} passed, {failed} failed"));
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
