//! TFTP: one client with windows and round trips of several sizes, with losses, and many clients at once.
//!
//! In: a server and a case. Out: MB/s, for many at once also processor time and how many stalled. "bare loop" is the
//! least that a sender can do on this machine: windows by segmentation offload, no options but the asked ones, no files.

mod bare;
mod client;
mod crowd;
mod gso;

use crate::Plan;
use crate::appliance::{Appliance, OURS, noise, write_boot_files};
use crate::figures::{Column, Figures, column};
use crate::lab::{CLIENTS, Lab, SERVER, SERVER_INTERFACE};
use crate::process::Server;
use anyhow::Result;
use client::Fetch;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const COLUMNS: &[Column] = &[column("MB/s", 1), column("CPU s/GB", 2), column("stalled", 0)];
const MIB: usize = 1 << 20;
/// Long enough that no transfer of the slow cases reaches its end.
const LONG: &str = "long.bin";
const SHORT: &str = "short.bin";
const SHORT_SIZE: usize = 1_000_000;

struct Case {
    name: &'static str,
    window: u16,
    delay: Duration,
    loss: Option<u32>,
}

const CASES: &[Case] = &[
    Case { name: "window 4, RTT 0.5 ms", window: 4, delay: Duration::from_micros(500), loss: None },
    Case { name: "window 64, RTT 0", window: 64, delay: Duration::ZERO, loss: None },
    Case { name: "window 16, 1 DATA in 200 lost", window: 16, delay: Duration::ZERO, loss: Some(200) },
];

/// Somebody who serves TFTP, until it is dropped.
enum Serving {
    Program(Server),
    Bare(bare::Bare),
}

impl Serving {
    fn cpu(&self) -> f64 {
        match self {
            Serving::Program(server) => server.cpu(),
            Serving::Bare(bare) => bare.cpu(),
        }
    }
}

struct Peer {
    program: &'static str,
    name: &'static str,
    command: fn(&Path, &Path) -> Command,
}

const PEERS: &[Peer] = &[
    Peer { program: "in.tftpd", name: "tftpd-hpa", command: hpa },
    Peer { program: "atftpd", name: "atftpd", command: atftpd },
    Peer { program: "dnsmasq", name: "dnsmasq", command: dnsmasq },
];

pub(crate) fn run(plan: &Plan) -> Result<()> {
    let lab = Lab::new(plan)?;
    let files = lab.folder("boot-files")?;
    write_boot_files(&files, &[(LONG, noise(64 * MIB)), (SHORT, noise(SHORT_SIZE))])?;
    let mut figures = Figures::new("TFTP: blocks of 1468 bytes", COLUMNS);
    for round in 0..plan.rounds {
        eprintln!("TFTP, round {} of {}", round + 1, plan.rounds);
        let running = Appliance::new(&lab, "ours", Some(&files))?.start(&lab)?;
        measure(plan, &lab, &mut figures, OURS, Serving::Program(running.server))?;
        for peer in PEERS {
            let Some(program) = lab.program(peer.program) else {
                figures.note(format!("{} is not installed.", peer.program));
                continue;
            };
            let mut server = Server::start(&lab.server, lab.path(), peer.program, (peer.command)(&program, &files))?;
            server.wait(|| answers(&lab))?;
            measure(plan, &lab, &mut figures, peer.name, Serving::Program(server))?;
        }
        let content = noise(64 * MIB);
        let bare = lab.server.run(move || bare::Bare::start(content))??;
        measure(plan, &lab, &mut figures, "bare loop", Serving::Bare(bare))?;
    }
    figures.note("The losses and the round trip are made in the client: it drops every 200th DATA, or answers late.");
    figures.note(
        "The bare loop's processor time is that of its threads; it knows no losses beyond going back by a window.",
    );
    figures.print(OURS)
}

/// A request gets an answer.
fn answers(lab: &Lab) -> bool {
    let short = Fetch { file: SHORT, window: 1, patience: Duration::from_millis(200), ..Fetch::default() };
    lab.client.run(move || short.bytes(Instant::now() + Duration::from_secs(2))).ok().and_then(Result::ok).is_some()
}

fn measure(plan: &Plan, lab: &Lab, figures: &mut Figures, name: &str, serving: Serving) -> Result<()> {
    for case in CASES {
        let fetch = Fetch { file: LONG, window: case.window, delay: case.delay, loss: case.loss, ..Fetch::default() };
        let span = plan.span;
        let (before, began) = (serving.cpu(), Instant::now());
        let bytes = lab.client.run(move || {
            let (mut bytes, until) = (0, Instant::now() + span);
            // One after the other, should the file be too short for the span.
            while Instant::now() < until {
                bytes += fetch.bytes(until)?;
            }
            Ok::<_, anyhow::Error>(bytes)
        })??;
        let seconds = began.elapsed().as_secs_f64();
        let gigabytes = bytes as f64 / 1e9;
        figures.record(
            case.name,
            name,
            &[gigabytes * 1e3 / seconds, cpu_since(&serving, before) / gigabytes, f64::NAN],
        );
    }
    let before = serving.cpu();
    let crowd = lab.client.run(|| crowd::run(SHORT, SHORT_SIZE as u64, 4, CLIENTS, Duration::from_secs(30)))??;
    let gigabytes = crowd.bytes as f64 / 1e9;
    let figure = [gigabytes * 1e3 / crowd.seconds, cpu_since(&serving, before) / gigabytes, crowd.stalled as f64];
    figures.record("100 transfers of 1 MB at once, window 4", name, &figure);
    if let Serving::Program(server) = serving {
        server.stop()?;
    }
    Ok(())
}

/// `NaN` where nothing can be told: tftpd-hpa does not wait for the processes that it makes for its transfers.
fn cpu_since(serving: &Serving, before: f64) -> f64 {
    let used = serving.cpu() - before;
    if used > 0.0 && !matches!(serving, Serving::Program(server) if server.name() == "in.tftpd") {
        used
    } else {
        f64::NAN
    }
}

fn hpa(program: &Path, files: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["-L", "-s", "-u", "root", "-a"]).arg(format!("{SERVER}:69")).arg(files);
    command
}

fn atftpd(program: &Path, files: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--daemon", "--no-fork", "--user", "root", "--group", "root", "--maxthread", "200"]);
    command.args(["--logfile", "/dev/null", "--bind-address"]).arg(SERVER.to_string()).arg(files);
    command
}

fn dnsmasq(program: &Path, files: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["-k", "-C", "/dev/null", "--port=0", "--user=root", "--enable-tftp", "--bind-interfaces"])
        .args(["--tftp-max=200", "--quiet-tftp", "--pid-file="])
        .arg(format!("--interface={SERVER_INTERFACE}"))
        .arg(format!("--tftp-root={}", files.display()));
    command
}
