//! `leasehold-rack`: the virtual rack from the command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use leasehold_rack::appliance::Built;
use leasehold_rack::bmc::BmcPrograms;
use leasehold_rack::rack::{Rack, RackOptions};
use leasehold_rack::scenarios::{CheckOptions, TenantOptions};
use leasehold_rack::stop::{Stop, Stopped};
use leasehold_rack::trial::TrialOptions;
use leasehold_rack::{plan, say, scenarios, sweep, trial};

#[derive(Parser)]
#[command(version, about = "A virtual rack: two bare machines with firmware, BMCs and a switch, in network namespaces")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Take both machines from power-off to a deployed system, and prove it
    Try(TryArguments),
    /// Drive both machines end to end with the unmodified bare-metal client
    Check(CheckArguments),
    /// Have a lessee who is no administrator deploy a real Debian on both machines with the unmodified metalsmith
    Tenants(TenantArguments),
    /// Build the rack and keep it until Ctrl-C, without an appliance
    Up(RackArguments),
    /// Remove what a killed run left behind
    Sweep,
}

#[derive(Args)]
struct RackArguments {
    /// Port on 127.0.0.1 that leads to the appliance
    #[arg(long, default_value_t = plan::HOST_PORT)]
    port: u16,
    /// Keep disks, logs and state in this folder (new or empty)
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[derive(Args)]
struct TryArguments {
    #[command(flatten)]
    rack: RackArguments,
    /// End when both proofs are there; exit code 0 only then
    #[arg(long)]
    once: bool,
    /// Deploy this image instead of the small system
    #[arg(long, value_name = "FILE|URL", requires = "checksum")]
    image: Option<String>,
    /// Its SHA-256 or SHA-512
    #[arg(long, value_name = "SUM", requires = "image")]
    checksum: Option<String>,
    #[command(flatten)]
    built: BuiltArguments,
}

#[derive(Args)]
struct BuiltArguments {
    /// The program under trial; else LEASEHOLD_BIN
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Folder with loaders and ramdisk; else LEASEHOLD_BOOT_IMAGES
    #[arg(long, value_name = "DIR")]
    boot_images: Option<PathBuf>,
    /// The small system's image; else LEASEHOLD_SYSTEM_IMAGE
    #[arg(long, value_name = "FILE")]
    system: Option<PathBuf>,
}

/// A file or folder, as it is given or named by a variable.
fn found(given: Option<PathBuf>, option: &str, variable: &str) -> Result<PathBuf> {
    let path = given
        .or_else(|| std::env::var_os(variable).map(PathBuf::from))
        .with_context(|| format!("--{option} or {variable} is needed: packaging/try and check set it"))?;
    path.canonicalize().with_context(|| format!("{} ({variable}) cannot be read", path.display()))
}

impl BuiltArguments {
    fn files(self) -> Result<Built> {
        Ok(Built {
            program: found(self.program, "program", "LEASEHOLD_BIN")?,
            boot_images: found(self.boot_images, "boot-images", "LEASEHOLD_BOOT_IMAGES")?,
            system: found(self.system, "system", "LEASEHOLD_SYSTEM_IMAGE")?,
        })
    }
}

impl TryArguments {
    fn options(self) -> Result<TrialOptions> {
        Ok(TrialOptions {
            rack: self.rack.options(),
            built: self.built.files()?,
            image: self.image.zip(self.checksum),
            once: self.once,
        })
    }
}

#[derive(Args)]
struct CheckArguments {
    #[command(flatten)]
    rack: RackArguments,
    #[command(flatten)]
    built: BuiltArguments,
    /// The `baremetal` program; else from LEASEHOLD_CLIENTS
    #[arg(long, value_name = "FILE")]
    client: Option<PathBuf>,
    /// Only scenarios whose names hold this, after the first one
    #[arg(long, value_name = "WORDS")]
    only: Option<String>,
}

/// The folder of the Python clients.
fn clients() -> PathBuf {
    std::env::var_os("LEASEHOLD_CLIENTS").map_or_else(|| root().join(".cache/clients/bin"), PathBuf::from)
}

#[derive(Args)]
struct TenantArguments {
    #[command(flatten)]
    rack: RackArguments,
    #[command(flatten)]
    built: BuiltArguments,
    /// Folder with the programs of the clients; else LEASEHOLD_CLIENTS
    #[arg(long, value_name = "DIR")]
    clients: Option<PathBuf>,
    /// The Debian image, its .sha256 beside it; else LEASEHOLD_DEBIAN_IMAGE
    #[arg(long, value_name = "FILE")]
    debian: Option<PathBuf>,
}

impl TenantArguments {
    fn options(self) -> Result<TenantOptions> {
        Ok(TenantOptions {
            rack: self.rack.options(),
            built: self.built.files()?,
            clients: self.clients.unwrap_or_else(clients),
            debian: found(self.debian, "debian", "LEASEHOLD_DEBIAN_IMAGE")?,
        })
    }
}

impl CheckArguments {
    fn options(self) -> Result<CheckOptions> {
        Ok(CheckOptions {
            rack: self.rack.options(),
            built: self.built.files()?,
            client: self.client.unwrap_or_else(|| clients().join("baremetal")),
            only: self.only,
        })
    }
}

impl RackArguments {
    fn options(self) -> RackOptions {
        let root = root();
        let python = std::env::var_os("LEASEHOLD_RACK_PYTHON")
            .map_or_else(|| root.join(".cache/venv/bin/python"), PathBuf::from);
        let programs = BmcPrograms { folder: root.join("tests/rack/bmc"), python };
        RackOptions { port: self.port, keep: self.keep, programs }
    }
}

/// The project's folder: `LEASEHOLD_ROOT`, or where this program was built.
fn root() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
    std::env::var_os("LEASEHOLD_ROOT").map_or_else(|| built.to_owned(), PathBuf::from)
}

/// A scenario failed; its line has been printed.
#[derive(Debug, thiserror::Error)]
#[error("a scenario failed")]
struct Failed;

fn main() -> ExitCode {
    say::start_clock();
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        // Ctrl-C: the shell's own number for it.
        Err(error) if error.is::<Stopped>() => ExitCode::from(130),
        Err(error) if error.is::<Failed>() => ExitCode::FAILURE,
        Err(error) => {
            say::warn(&format!("leasehold-rack: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    let stop = Stop::on_signals()?;
    match task {
        Task::Sweep => sweep::sweep(),
        Task::Try(arguments) => trial::run(&arguments.options()?, &stop),
        Task::Check(arguments) => passed(scenarios::run(&arguments.options()?, &stop)?),
        Task::Tenants(arguments) => passed(scenarios::run_tenants(&arguments.options()?, &stop)?),
        Task::Up(arguments) => up(&arguments.options(), &stop),
    }
}

fn passed(all: bool) -> Result<()> {
    if all { Ok(()) } else { Err(Failed.into()) }
}

fn up(options: &RackOptions, stop: &Stop) -> Result<()> {
    let mut rack = Rack::start(options, stop)?;
    let wiring = rack.wiring()?;
    say::plain(&format!("\nA shell in the box:  nsenter --net={} bash", wiring.appliance.path()));
    for node in rack.nodes() {
        say::plain(&format!(
            "{}: BMC {}:{}, user {}, password {}; MAC {}; console {}",
            node.plan.name,
            node.plan.bmc_address,
            node.plan.bmc_port,
            plan::BMC_USER,
            node.bmc_password,
            node.plan.mac,
            node.serial_log.display()
        ));
    }
    say::plain("Ctrl-C takes the rack down.");
    while !stop.wait(Duration::from_secs(1)) {
        rack.check().context("the rack broke")?;
    }
    rack.stop()?;
    say::step("rack", "taken down: no process, namespace or folder is left");
    Ok(())
}
