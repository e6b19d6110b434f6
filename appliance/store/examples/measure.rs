//! Measures the store: how long a start takes, and how many durable commands a second it carries out.
//!
//! `cargo run -p leasehold-store --example measure [--release] -- DIR`: DIR is an empty folder on the disk to be
//! measured. Prints one line for each number of commands in flight, then the start with 1 000 nodes.

use jiff::Timestamp;
use leasehold_domain::address::{Binding, ClientKey, Hold};
use leasehold_domain::id::{NodeId, PortId};
use leasehold_domain::mac::Mac;
use leasehold_domain::node::NodeSettings;
use leasehold_domain::port::PortSettings;
use leasehold_domain::{Actor, Command};
use leasehold_store::{Options, Store};
use serde_json::json;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};
use uuid::Uuid;

type Failed = Box<dyn std::error::Error>;

const NODES: u32 = 1000;
const SPAN: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let dir = std::env::args().nth(1).ok_or("the folder to measure in is missing")?;
    let dir = Path::new(&dir);
    let mut out = std::io::stdout();
    let store = Store::open(dir, Options::default())?;
    for number in 0..NODES {
        enroll(&store, number).await?;
    }
    store.close().await;
    starts(dir, &mut out).await?;
    let store = Store::open(dir, Options::default())?;
    for flight in [1, 32, 64, 1024] {
        let before = store.metrics();
        let start = Instant::now();
        let workers: Vec<_> = (0..flight).map(|worker| tokio::spawn(bind(store.clone(), worker, start))).collect();
        let mut total = 0;
        for worker in workers {
            total += worker.await??;
        }
        let after = store.metrics();
        let commits = after.commits - before.commits;
        writeln!(
            out,
            "{flight:5} in flight: {:8.0} bindings/s, {:5.1} a commit",
            f64::from(total) / start.elapsed().as_secs_f64(),
            f64::from(total) / commits as f64,
        )?;
    }
    store.close().await;
    starts(dir, &mut out).await
}

/// How long a start takes on a copy of the database as a clean end and as a kill leaves it.
async fn starts(dir: &Path, out: &mut impl Write) -> Result<(), Failed> {
    for killed in [false, true] {
        let copy = tempfile::tempdir_in(dir)?;
        let file = dir.join("leasehold.redb");
        let running = if killed { Some(Store::open(dir, Options::default())?) } else { None };
        if let Some(store) = &running {
            let command = Command::SetMaintenance { node: NodeId(Uuid::from_u128(1)), on: true, reason: None };
            store.submit(command, Actor::named("measure")).await?;
        }
        std::fs::copy(&file, copy.path().join("leasehold.redb"))?;
        if let Some(store) = running {
            store.close().await;
        }
        let start = Instant::now();
        let opened = Store::open(copy.path(), Options::default())?;
        let took = start.elapsed();
        let view = opened.view();
        let (nodes, bindings, size) =
            (view.node_count(), view.bindings().count(), std::fs::metadata(&file)?.len() >> 20);
        let how = if killed { "after a kill" } else { "after a clean end" };
        writeln!(out, "open {how}: {took:?} ({nodes} nodes, {bindings} bindings, {size} MiB)")?;
        opened.close().await;
    }
    Ok(())
}

fn create(number: u32) -> Command {
    let properties = json!({ "cpus": 64, "memory_mb": 262_144, "local_gb": 3600, "cpu_arch": "x86_64" });
    let driver_info = json!({ "ipmi_address": "192.0.2.1", "ipmi_username": "admin", "ipmi_port": 623 });
    let settings = NodeSettings {
        name: Some(format!("node{number}")),
        driver: "ipmi".into(),
        properties: properties.as_object().cloned().unwrap_or_default(),
        driver_info: driver_info.as_object().cloned().unwrap_or_default(),
        ..NodeSettings::default()
    };
    Command::CreateNode {
        id: NodeId(Uuid::from_u128(number.into())),
        settings: Box::new(settings),
        start: leasehold_domain::command::NodeStart::default(),
    }
}

async fn enroll(store: &Store, number: u32) -> Result<(), Failed> {
    let actor = Actor::named("measure");
    store.submit(create(number), actor.clone()).await?;
    let [_, a, b, c] = number.to_be_bytes();
    let settings = PortSettings::new(NodeId(Uuid::from_u128(number.into())), Mac([2, 0, 0, a, b, c]));
    let id = PortId(Uuid::from_u128(number.into()));
    store.submit(Command::CreatePort { id, settings: Box::new(settings) }, actor).await?;
    Ok(())
}

/// Binds addresses until the time is over; gives how many.
async fn bind(store: Store, worker: u32, start: Instant) -> Result<u32, leasehold_store::SubmitError> {
    let mut done = 0;
    while start.elapsed() < SPAN {
        let address = Ipv4Addr::from((10 << 24) | (worker << 6) | (done % 64));
        let [_, a, b, c] = address.octets();
        let mac = Mac([6, 0, 0, a, b, c]);
        let hold = Hold::Bound { client: ClientKey::Mac(mac), mac };
        let (since, expires) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        store.submit(Command::Bind(Binding { address, hold, since, expires }), Actor::System("dhcp")).await?;
        done += 1;
    }
    Ok(done)
}
