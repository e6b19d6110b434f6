//! The bare-metal API: lists, one node, creation and change, and how long the program takes to start.
//!
//! One connection that asks again and again, over the loopback interface, as an administrator, without TLS. The peer is
//! Ironic with the same nodes, where `--peers` has an environment with it (`ironic/bin/ironic`).

use crate::Plan;
use crate::appliance::{Appliance, OURS};
use crate::client::Client;
use crate::figures::{Column, Figures, column, percentile};
use crate::ironic::{IRONIC, Ironic};
use crate::lab::Lab;
use crate::process::Server;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const CALLS: &[Column] =
    &[column("calls/s", 0), column("CPU µs/call", 0), column("p50 µs", 0), column("p99 µs", 0), column("kB", 1)];
const STARTS: &[Column] = &[column("ms", 0), column("RSS MB", 1)];
/// Connections that fill the appliance with nodes.
const FILLERS: u32 = 16;
/// More nodes than this take the peer too long: each costs it a twentieth of a second.
const PEER_NODES: u32 = 2_000;

/// A server with a bare-metal API.
struct Target<'a> {
    who: &'static str,
    /// Before `/v1`.
    base: &'static str,
    client: &'a dyn Fn() -> Result<Client>,
    server: &'a Server,
}

pub(crate) fn run(plan: &Plan, nodes: &[u32]) -> Result<()> {
    let lab = Lab::new(plan)?;
    let mut starts = Figures::new("Start until ready", STARTS);
    let mut calls = Figures::new("Bare-metal API", CALLS);
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
            fill(&lab, "/baremetal", &appliance.client()?, *count)?;
            server.stop()?;
            let server = start(&format!("{count} nodes"))?;
            let client = || appliance.client();
            let ours = Target { who: OURS, base: "/baremetal", client: &client, server: &server };
            measure(plan, &lab, &mut calls, &ours, *count)?;
            starts.record(&format!("{count} nodes, after the calls"), OURS, &[f64::NAN, server.memory()]);
            server.stop()?;
            if *count <= PEER_NODES
                && let Some(ironic) = Ironic::new(&lab, plan.peers.as_deref())?
            {
                let began = Instant::now();
                let server = ironic.start(&lab)?;
                let start = began.elapsed().as_secs_f64() * 1e3;
                starts.record("no node", IRONIC, &[start, server.memory()]);
                fill(&lab, "", &ironic.client(), *count)?;
                let client = || Ok(ironic.client());
                let peer = Target { who: IRONIC, base: "", client: &client, server: &server };
                measure(plan, &lab, &mut calls, &peer, *count)?;
                starts.record(&format!("{count} nodes, after the calls"), IRONIC, &[f64::NAN, server.memory()]);
                server.stop()?;
            }
        }
    }
    starts.print(OURS)?;
    calls.print(OURS)
}

/// A node as an operator enrolls one.
fn node(name: &str) -> Value {
    json!({
        "name": name,
        "driver": "fake-hardware",
        "driver_info": {"address": "192.0.2.1", "username": "admin"},
        "properties": {"cpus": 64, "memory_mb": 262_144, "local_gb": 3600, "cpu_arch": "x86_64"},
        "resource_class": "baremetal",
        "extra": {"rack": "r1", "position": 17},
    })
}

fn fill(lab: &Lab, base: &'static str, client: &Client, count: u32) -> Result<()> {
    let client = client.sibling();
    let (nodes, ports) = (format!("{base}/v1/nodes"), format!("{base}/v1/ports"));
    lab.server.run(move || {
        let one = |lane: u32| -> Result<()> {
            let mut client = client.sibling();
            for number in (lane..count).step_by(FILLERS as usize) {
                let answer = client.json("POST", &nodes, &node(&format!("node{number}")))?;
                let [_, a, b, c] = number.to_be_bytes();
                let mac = format!("02:ee:00:{a:02x}:{b:02x}:{c:02x}");
                client.json("POST", &ports, &json!({"node_uuid": answer["uuid"], "address": mac}))?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let one = &one;
            let lanes: Vec<_> = (0..FILLERS).map(|lane| scope.spawn(move || one(lane))).collect();
            lanes.into_iter().try_for_each(|lane| lane.join().unwrap_or_else(|_| anyhow::bail!("a client failed")))
        })
    })?
}

/// One kind of call: what is sent the n-th time.
type Call = Box<dyn Fn(usize) -> (&'static str, String, String) + Send>;

fn measure(plan: &Plan, lab: &Lab, figures: &mut Figures, target: &Target<'_>, count: u32) -> Result<()> {
    let (base, server) = (target.base, target.server);
    let mut client = (target.client)()?;
    let every = format!("{base}/v1/nodes?limit=1000");
    let first = lab.server.run(move || client.json("GET", &every, &Value::Null))??;
    let uuids: Vec<String> = first["nodes"]
        .as_array()
        .context("no nodes")?
        .iter()
        .filter_map(|node| Some(node["uuid"].as_str()?.to_owned()))
        .collect();
    let of = |number: usize, uuids: &[String]| uuids[number % uuids.len()].clone();
    let (shown, changed, run) = (uuids.clone(), uuids, std::process::id());
    let calls: Vec<(&str, Call)> = vec![
        ("GET /v1/nodes", Box::new(move |_| ("GET", format!("{base}/v1/nodes"), String::new()))),
        ("GET /v1/nodes/detail", Box::new(move |_| ("GET", format!("{base}/v1/nodes/detail"), String::new()))),
        ("GET /v1/nodes?limit=50", Box::new(move |_| ("GET", format!("{base}/v1/nodes?limit=50"), String::new()))),
        (
            "GET /v1/nodes/UUID",
            Box::new(move |number| ("GET", format!("{base}/v1/nodes/{}", of(number, &shown)), String::new())),
        ),
        (
            "PATCH /v1/nodes/UUID",
            Box::new(move |number| {
                let patch = json!([{"op": "add", "path": "/extra/position", "value": number}]);
                ("PATCH", format!("{base}/v1/nodes/{}", of(number, &changed)), patch.to_string())
            }),
        ),
        (
            "POST /v1/nodes",
            Box::new(move |number| {
                ("POST", format!("{base}/v1/nodes"), node(&format!("new-{run}-{number}")).to_string())
            }),
        ),
    ];
    for (name, call) in calls {
        let (mut client, span) = ((target.client)()?, plan.span);
        let before = server.cpu();
        let (mut micros, bytes) = lab.server.run(move || repeat(&mut client, &call, span))??;
        let done = micros.len() as f64;
        let (half, most) = (percentile(&mut micros, 0.5), percentile(&mut micros, 0.99));
        let total: f64 = micros.iter().sum::<f64>() / 1e6;
        let cpu = (server.cpu() - before) * 1e6 / done;
        figures.record(
            &format!("{name}, {count} nodes"),
            target.who,
            &[done / total, cpu, half, most, bytes as f64 / 1e3],
        );
    }
    Ok(())
}

/// Waiting times, and the length of the last answer.
fn repeat(client: &mut Client, call: &Call, span: Duration) -> Result<(Vec<f64>, usize)> {
    let (began, mut micros, mut length) = (Instant::now(), Vec::new(), 0);
    // The first one checks the password, which is slow on purpose, and once in five minutes.
    client.good("GET", "/baremetal/v1/drivers", "")?;
    while began.elapsed() < span {
        let (method, path, body) = call(micros.len());
        let asked = Instant::now();
        length = client.good(method, &path, &body)?.len();
        micros.push(asked.elapsed().as_secs_f64() * 1e6);
    }
    Ok((micros, length))
}
