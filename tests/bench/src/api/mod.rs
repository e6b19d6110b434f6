//! The bare-metal API: lists, one node, creation and change, and how long the program takes to start.
//!
//! One connection that asks again and again, over the loopback interface, without TLS. As an administrator, with a token
//! and with a password (Basic), against Ironic with the same nodes, where `--peers` has an environment with it
//! (`ironic/bin/ironic`); Ironic asks nobody who he is. Then pages, orders and filters at each number of nodes, also as
//! a lessee of ten of them, so that it shows what grows with the nodes that are not on the page.

mod calls;
mod crowd;
mod fleet;

use crate::Plan;
use crate::appliance::{Appliance, OURS};
use crate::client::Client;
use crate::figures::{Column, Figures, column, percentile};
use crate::ironic::{IRONIC, Ironic};
use crate::lab::Lab;
use crate::process::Server;
use anyhow::Result;
use calls::Call;
use fleet::Tenant;
use std::time::{Duration, Instant};

const CALLS: &[Column] =
    &[column("calls/s", 0), column("CPU µs/call", 0), column("p50 µs", 0), column("p99 µs", 0), column("kB", 1)];
const CROWD: &[Column] = &[column("calls/s", 0), column("CPU µs/call", 0), column("failed %", 1)];
const GROWTH: &[Column] = &[column("p99 µs", 0), column("p50 µs", 0), column("CPU µs/call", 0), column("kB", 1)];
const STARTS: &[Column] = &[column("ms", 0), column("RSS MB", 1)];
/// More nodes than this take the peer too long: each costs it a twentieth of a second.
const PEER_NODES: u32 = 2_000;

/// How the client says who he is.
#[derive(Clone, Copy)]
enum Proof {
    Token,
    Basic,
}

pub(crate) fn run(plan: &Plan, nodes: &[u32], only_growth: bool) -> Result<()> {
    let lab = Lab::new(plan)?;
    let mut starts = Figures::new("Start until ready", STARTS);
    let mut calls = Figures::new("Bare-metal API", CALLS);
    let mut crowd = Figures::new(crowd::TITLE, CROWD);
    let mut growth =
        Figures::new("Pages as the nodes grow in number (the last column: p99 of most nodes ÷ this)", GROWTH);
    let name = |count: u32| format!("{count} nodes");
    for count in nodes {
        for round in 0..plan.rounds {
            eprintln!("API, {count} nodes, round {} of {}", round + 1, plan.rounds);
            let appliance = Appliance::new(&lab, "ours", None)?;
            let mut start = |what: &str| -> Result<Server> {
                let running = appliance.start(&lab)?;
                starts.record(what, OURS, &[running.start.as_secs_f64() * 1e3, running.server.memory()]);
                Ok(running.server)
            };
            start("the very first (makes key, certificate, password)")?.stop()?;
            let server = start("no node")?;
            let tenant = fleet::fill(&lab, "/baremetal", &appliance.client(&lab)?, *count, true)?;
            server.stop()?;
            let server = start(&name(*count))?;
            let client = appliance.client(&lab)?;
            let token = in_lab(&lab, &client, |client| client.with_token(fleet::system()))?;
            if !only_growth {
                for (proof, client) in [(Proof::Token, &token), (Proof::Basic, &client)] {
                    let made = calls::first("/baremetal", proof, *count);
                    measure(plan, &lab, (&mut calls, OURS), (client, &server), &made)?;
                    in_crowd(plan, &lab, (&mut crowd, OURS), (client, &server), &made)?;
                }
            }
            if let Some(tenant) = tenant {
                in_growth(plan, &lab, (&mut growth, &name(*count)), (&token, &server), &tenant, *count)?;
            }
            starts.record(&format!("{count} nodes, after the calls"), OURS, &[f64::NAN, server.memory()]);
            server.stop()?;
            if *count <= PEER_NODES && !only_growth {
                against_ironic(plan, &lab, [&mut starts, &mut calls, &mut crowd], *count)?;
            }
        }
    }
    starts.print(OURS)?;
    calls.print(OURS)?;
    crowd.print(OURS)?;
    growth.print(&name(nodes.iter().copied().max().unwrap_or_default()))
}

fn against_ironic(plan: &Plan, lab: &Lab, [starts, calls, crowd]: [&mut Figures; 3], count: u32) -> Result<()> {
    let Some(ironic) = Ironic::new(lab, plan.peers.as_deref())? else { return Ok(()) };
    let began = Instant::now();
    let server = ironic.start(lab)?;
    starts.record("no node", IRONIC, &[began.elapsed().as_secs_f64() * 1e3, server.memory()]);
    fleet::fill(lab, "", &ironic.client(), count, false)?;
    // The same figures stand beside ours with a token and with a password.
    for proof in [Proof::Token, Proof::Basic] {
        let made = calls::first("", proof, count);
        measure(plan, lab, (calls, IRONIC), (&ironic.client(), &server), &made)?;
        in_crowd(plan, lab, (crowd, IRONIC), (&ironic.client(), &server), &made)?;
    }
    starts.record(&format!("{count} nodes, after the calls"), IRONIC, &[f64::NAN, server.memory()]);
    server.stop()
}

/// Does something with a client where the servers are.
fn in_lab<T: Send + 'static>(
    lab: &Lab,
    client: &Client,
    work: impl FnOnce(&mut Client) -> Result<T> + Send + 'static,
) -> Result<T> {
    let mut client = client.sibling();
    lab.server.run(move || work(&mut client))?
}

fn measure(
    plan: &Plan,
    lab: &Lab,
    (figures, who): (&mut Figures, &str),
    (client, server): (&Client, &Server),
    calls: &calls::First,
) -> Result<()> {
    for (name, call) in calls.made(lab, client)? {
        let Turn { mut micros, bytes, cpu } = repeat(plan, lab, client, server, call)?;
        let total: f64 = micros.iter().sum::<f64>() / 1e6;
        let (half, most) = (percentile(&mut micros, 0.5), percentile(&mut micros, 0.99));
        figures.record(&name, who, &[micros.len() as f64 / total, cpu, half, most, bytes as f64 / 1e3]);
    }
    Ok(())
}

/// Those that do not take all of the server each.
fn in_crowd(
    plan: &Plan,
    lab: &Lab,
    (figures, who): (&mut Figures, &str),
    (client, server): (&Client, &Server),
    calls: &calls::First,
) -> Result<()> {
    for (name, call) in
        calls.made(lab, client)?.into_iter().filter(|(name, _)| name.contains("/UUID") || name.contains("POST"))
    {
        let row = crowd::measure(lab, client, server, call, plan.span)?;
        figures.record(&name, who, &row);
    }
    Ok(())
}

fn in_growth(
    plan: &Plan,
    lab: &Lab,
    (figures, who): (&mut Figures, &str),
    (client, server): (&Client, &Server),
    tenant: &Tenant,
    count: u32,
) -> Result<()> {
    let owner = in_lab(lab, client, |client| Ok(client.sibling()))?;
    let lessee = tenant.client(lab, &owner)?;
    for (name, by_lessee, call) in calls::growing(lab, client, tenant, count)? {
        let client = if by_lessee { &lessee } else { client };
        let Turn { mut micros, bytes, cpu } = repeat(plan, lab, client, server, call)?;
        let (half, most) = (percentile(&mut micros, 0.5), percentile(&mut micros, 0.99));
        figures.record(&name, who, &[most, half, cpu, bytes as f64 / 1e3]);
    }
    Ok(())
}

/// What came of one call again and again.
struct Turn {
    micros: Vec<f64>,
    /// Length of the last answer.
    bytes: usize,
    /// Processor time of the server for one, in µs.
    cpu: f64,
}

fn repeat(plan: &Plan, lab: &Lab, client: &Client, server: &Server, call: Call) -> Result<Turn> {
    let (before, span) = (server.cpu(), plan.span);
    let (micros, bytes) = in_lab(lab, client, move |client| again_and_again(client, &call, span))?;
    let cpu = (server.cpu() - before) * 1e6 / micros.len() as f64;
    Ok(Turn { micros, bytes, cpu })
}

fn again_and_again(client: &mut Client, call: &Call, span: Duration) -> Result<(Vec<f64>, usize)> {
    // The first one checks the password, which is slow on purpose, and once in five minutes; the first list in an order
    // makes the order.
    for _ in 0..2 {
        let (method, path, body) = call(0);
        client.call(method, &path, &body)?;
    }
    let (began, mut micros, mut length) = (Instant::now(), Vec::new(), 0);
    while began.elapsed() < span || micros.is_empty() {
        let (method, path, body) = call(micros.len());
        let asked = Instant::now();
        length = client.good(method, &path, &body)?.len();
        micros.push(asked.elapsed().as_secs_f64() * 1e6);
    }
    Ok((micros, length))
}
