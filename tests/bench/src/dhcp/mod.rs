//! DHCP: whole leases through a relay, with the options that firmware sends.
//!
//! In: how many leases there are already. Out: leases a second, waiting times and the server's processor time for one,
//! with 1 and with 32 clients at a time. "first" machines were never seen before: ours has each on disk before its ACK;
//! they come on top of the leases that there are already.
//! "unknown" machines come back while their record still covers the lease: ours writes nothing. "reserved" ones are enrolled ports (for Kea: hosts).

mod load;
mod many;
mod message;
mod peers;

use crate::Plan;
use crate::appliance::{Appliance, OURS, write_boot_files};
use crate::figures::{Column, Figures, column, percentile};
use crate::lab::Lab;
use crate::process::Server;
use anyhow::{Result, bail};
use load::{Load, Machines, Outcome};
use serde_json::json;
use std::time::Duration;

const COLUMNS: &[Column] = &[
    column("DORA/s", 0),
    column("CPU µs/DORA", 1),
    column("p50 µs", 0),
    column("p99 µs", 0),
    column("unanswered", 0),
    column("the client's µs/DORA", 1),
];
/// How many machines are new in the case "first", and of a slow server.
const FIRST: [u32; 2] = [10_000, 1000];
/// Enrolled machines.
const RESERVED: u32 = 500;

/// A running DHCP server of either kind.
struct Turn {
    server: Server,
    name: &'static str,
    /// It is too slow to be filled with this many leases.
    slow: bool,
}

pub(crate) fn run(plan: &Plan, leases: &[u32], only_kea: bool) -> Result<()> {
    let lab = Lab::new(plan)?;
    let mut figures = Figures::new("DHCP: relayed DORA with PXE options", COLUMNS);
    for count in leases {
        for round in 0..plan.rounds {
            eprintln!("DHCP, {count} leases, round {} of {}", round + 1, plan.rounds);
            let turn = ours(&lab)?;
            measure(plan, &lab, &mut figures, turn, *count)?;
            for peer in peers::ALL.iter().filter(|peer| !only_kea || peer.is_kea) {
                match peers::start(&lab, peer)? {
                    Some(turn) => measure(plan, &lab, &mut figures, turn, *count)?,
                    None => figures.note(format!("{} is not installed.", peer.program)),
                }
            }
        }
    }
    figures.note(
        "Ours and dhcpd have a first lease on disk before the ACK, ours writes nothing for unknown machines that come back soon; Kea writes its file without syncing it, dnsmasq rewrites its file.",
    );
    figures.print(OURS)
}

fn ours(lab: &Lab) -> Result<Turn> {
    let files = lab.folder("boot-files")?;
    write_boot_files(&files, &[("snponly.efi", vec![7; 300_000])])?;
    let appliance = Appliance::new(lab, "ours", Some(&files))?;
    let running = appliance.start(lab)?;
    let mut client = appliance.client(lab)?;
    let enrolled = move || -> Result<()> {
        for number in 0..RESERVED {
            let node = json!({"name": format!("n{number}"), "driver": "ipmi"});
            let node = client.json("POST", "/baremetal/v1/nodes", &node)?;
            let port = json!({"node_uuid": node["uuid"], "address": Machines::Reserved.mac_text(number)});
            client.json("POST", "/baremetal/v1/ports", &port)?;
        }
        Ok(())
    };
    lab.server.run(enrolled)??;
    Ok(Turn { server: running.server, name: OURS, slow: false })
}

fn measure(plan: &Plan, lab: &Lab, figures: &mut Figures, turn: Turn, leases: u32) -> Result<()> {
    let (fill, more) = if turn.slow { (leases.min(1000), FIRST[1]) } else { (leases, FIRST[0]) };
    let case = |what: &str, flight: u32| format!("{what}, {flight} in flight, {fill} leases");
    // The leases to begin with; then those that are measured.
    for (from, count) in [(0, fill), (fill, more)] {
        let machines = Machines::Unknown;
        let first = Load { machines, from, count, flight: 32, span: Duration::from_secs(120), once: true };
        // What a server puts off is part of what a lease costs: it is waited for, before and after.
        let before = turn.server.settled();
        let (outcome, _) = drive(lab, &turn.server, first)?;
        let cpu = turn.server.settled() - before;
        if outcome.done < u64::from(count) {
            bail!("{}: only {} of {count} leases were given", turn.name, outcome.done);
        }
        if from > 0 {
            record(figures, &case("first", 32), &turn, outcome, cpu);
        }
    }
    let kinds: &[(&str, Machines, u32)] =
        &[("unknown", Machines::Unknown, fill), ("reserved", Machines::Reserved, RESERVED)];
    for (what, machines, count) in kinds.iter().copied().filter(|(what, ..)| *what == "unknown" || turn.has_reserved())
    {
        if what == "reserved" {
            // Each one's first lease may be written; it is the ones after that are meant.
            let load = Load { machines, from: 0, count, flight: 32, span: Duration::from_secs(60), once: true };
            drive(lab, &turn.server, load)?;
        }
        for flight in [1, 32] {
            let load = Load { machines, from: 0, count, flight, span: plan.span, once: false };
            let (outcome, cpu) = drive(lab, &turn.server, load)?;
            record(figures, &case(what, flight), &turn, outcome, cpu);
        }
    }
    turn.server.stop()
}

impl Turn {
    fn has_reserved(&self) -> bool {
        self.name == OURS || self.name.starts_with("Kea")
    }
}

fn drive(lab: &Lab, server: &Server, load: Load) -> Result<(Outcome, f64)> {
    let before = server.cpu();
    let outcome = lab.client.run(move || load.run())??;
    Ok((outcome, server.cpu() - before))
}

fn record(figures: &mut Figures, case: &str, turn: &Turn, mut outcome: Outcome, cpu: f64) {
    let done = outcome.done as f64;
    let (half, most) = (percentile(&mut outcome.micros, 0.5), percentile(&mut outcome.micros, 0.99));
    let rate = done / outcome.took.as_secs_f64();
    let own = outcome.own_cpu * 1e6 / done;
    figures.record(case, turn.name, &[rate, cpu * 1e6 / done, half, most, outcome.unanswered as f64, own]);
}
