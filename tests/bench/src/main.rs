//! Benchmarks: the real program against its peers, alternately, on this machine.
//!
//! In: a built `leasehold` (`LEASEHOLD_BIN`) and whatever peers are installed (Kea, dnsmasq, ISC dhcpd, tftpd-hpa,
//! atftpd, nginx, wrk); a missing one is said and left out. Out: one table per subject, medians over the rounds, with the
//! ratio of ours to each peer *of the same round*. No figure passes or fails, but those of `timing` and
//! `fairness`, and two winners in `claims`: absolute ones depend on the machine, and only ratios inside one run count. Sockets live in network namespaces
//! that the program makes itself; needs root.

mod api;
mod appliance;
mod claims;
mod client;
mod commits;
mod dhcp;
mod fairness;
mod figures;
mod http;
mod image;
mod ironic;
mod lab;
mod process;
mod tftp;
mod timing;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Benchmarks of Leasehold against its peers.
#[derive(Parser)]
#[command(name = "leasehold-bench", version)]
struct Arguments {
    /// How often each contender has its turn.
    #[arg(long, default_value_t = 3, global = true)]
    rounds: usize,
    /// How long one case of one turn takes, in seconds, where time is the bound.
    #[arg(long, default_value_t = 3.0, global = true)]
    seconds: f64,
    /// On the disk to be measured; everything in it that the run makes is removed again.
    #[arg(long, default_value = "target", global = true)]
    folder: PathBuf,
    /// Peers that are not installed, unpacked here (`usr/sbin/…`): two of them may exclude each other as packages.
    #[arg(long, global = true)]
    peers: Option<PathBuf>,
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Subcommand)]
enum Subject {
    /// Leases through a relay: DISCOVER, OFFER, REQUEST, ACK with PXE options.
    Dhcp {
        /// How many leases there are already; several make several passes.
        #[arg(long, value_delimiter = ',', default_value = "1000")]
        leases: Vec<u32>,
        /// Only Kea, not the slow ones.
        #[arg(long)]
        only_kea: bool,
    },
    /// Boot files by TFTP.
    Tftp,
    /// Boot files and scripts by HTTP.
    Http,
    /// Durable commits of the store, against the bare database.
    Commits,
    /// Claims of offers, in the store against the bare database and over HTTP. Fails when two win the same hour.
    Claims,
    /// The bare-metal API, and the start of the program.
    Api {
        /// How many nodes there are; several make several passes.
        #[arg(long, value_delimiter = ',', default_value = "1000")]
        nodes: Vec<u32>,
        /// Only what grows with the nodes, not what is compared with the peer.
        #[arg(long)]
        only_growth: bool,
    },
    /// Whether the time of an answer tells what is hidden from what is not there. Fails beyond the stated threshold.
    Timing,
    /// Whether one tenant can slow another. Fails beyond the stated threshold.
    Fairness,
    /// Packing an image and writing it to a disk.
    Image,
}

/// What every subject needs to know.
struct Plan {
    rounds: usize,
    span: Duration,
    folder: PathBuf,
    peers: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leasehold-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let plan = Plan {
        rounds: arguments.rounds.max(1),
        span: Duration::from_secs_f64(arguments.seconds.clamp(0.1, 60.0)),
        folder: std::path::absolute(&arguments.folder)?,
        peers: arguments.peers.as_ref().map(std::path::absolute).transpose()?,
    };
    std::fs::create_dir_all(&plan.folder)?;
    match &arguments.subject {
        Subject::Dhcp { leases, only_kea } => dhcp::run(&plan, leases, *only_kea),
        Subject::Tftp => tftp::run(&plan),
        Subject::Http => http::run(&plan),
        Subject::Commits => commits::run(&plan),
        Subject::Claims => claims::run(&plan),
        Subject::Api { nodes, only_growth } => api::run(&plan, nodes, *only_growth),
        Subject::Timing => timing::run(&plan),
        Subject::Fairness => fairness::run(&plan),
        Subject::Image => image::run(&plan),
    }
}
