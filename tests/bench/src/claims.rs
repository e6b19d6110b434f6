//! Claims of offered nodes: durable ones in the store against the bare database, and over HTTP with policy and audit.
//!
//! [`NODES`] nodes are each offered for ever; whoever claims takes one hour of a node after the other, on as many nodes at
//! a time as there are callers. The bare loop writes the rows that came of the claims before it in the same run, those of
//! lease, event and audit, as many of each in one transaction as claims are outstanding; it decides nothing. At last ten
//! thousand tries on one hour of one offer: exactly one may win, or the run fails.

use crate::Plan;
use crate::appliance::{Appliance, OURS};
use crate::client::Client;
use crate::figures::{Column, Figures, column, percentile};
use crate::lab::Lab;
use anyhow::{Context, Result, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use leasehold_domain::command::NodeStart;
use leasehold_domain::id::{LeaseId, NodeId, OfferId};
use leasehold_domain::lease::{LeaseCommand, NewLease, NewOffer, Terms};
use leasehold_domain::node::NodeSettings;
use leasehold_domain::{Actor, Command};
use leasehold_store::{Options, Store};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

const STORE: &[Column] = &[column("claims/s", 0), column("a commit", 1)];
const HTTP: &[Column] = &[column("claims/s", 0), column("p50 ms", 2), column("p99 ms", 2), column("CPU µs each", 0)];
/// Nodes, and callers at a time.
const NODES: u32 = 64;
/// Tries on one hour.
const TRIES: usize = 10_000;
/// Before it nobody claims.
const FIRST: &str = "2090-01-01T00:00:00Z";
const OWNER: &str = "owner";
const WORDS: &str = "an hour of each of them";
type Bytes = TableDefinition<'static, &'static [u8], &'static [u8]>;
type Numbered = TableDefinition<'static, u64, &'static [u8]>;
const LIVE: Bytes = TableDefinition::new("live");
const EVENTS: Numbered = TableDefinition::new("events");
const AUDIT: Numbered = TableDefinition::new("audit");

pub(crate) fn run(plan: &Plan) -> Result<()> {
    let mut store = Figures::new("Claims in the store, 64 outstanding", STORE);
    let mut http = Figures::new("Claims over HTTP, 64 connections, token, policy and audit", HTTP);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for round in 0..plan.rounds {
        eprintln!("claims, round {} of {}", round + 1, plan.rounds);
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&plan.folder)?;
        let (claims, commits) = runtime.block_on(ours(folder.path(), plan.span))?;
        let rate = claims / plan.span.as_secs_f64();
        store.record("claims", OURS, &[rate, claims / commits]);
        let other = tempfile::Builder::new().prefix("bench-").tempdir_in(&plan.folder)?;
        let rate = bare(&folder.path().join("leasehold.redb"), other.path(), claims as usize)?;
        store.record("claims", "bare redb, the same rows", &[rate, f64::from(NODES)]);
        over_http(plan, &mut http)?;
    }
    store.print(OURS)?;
    http.print(OURS)
}

/// Every other hour: those that touch would count as one long lease.
fn hour(number: u32) -> Result<(Timestamp, Timestamp)> {
    let start = FIRST.parse::<Timestamp>()?.checked_add(SignedDuration::from_hours(2 * i64::from(number)))?;
    Ok((start, start.checked_add(SignedDuration::from_hours(1))?))
}

/// Claims for a time; how many, and in how many commits.
async fn ours(folder: &Path, span: Duration) -> Result<(f64, f64)> {
    let terms = Terms { leases: usize::MAX, ..Terms::default() };
    let (store, actor) = (Store::open(folder, Options::default())?, Actor::Local(0));
    let mut offers = Vec::new();
    for number in 0..u128::from(NODES) {
        let (node, offer) = (NodeId(Uuid::from_u128(1 + number)), OfferId(Uuid::from_u128(1000 + number)));
        let settings =
            NodeSettings { driver: "fake-hardware".into(), owner: Some(OWNER.into()), ..NodeSettings::default() };
        let create = Command::CreateNode { id: node, settings: Box::new(settings), start: NodeStart::default() };
        store.submit(create, actor.clone()).await?;
        let wanted = Box::new(NewOffer { project: OWNER.into(), ..NewOffer::default() });
        store.submit(Command::Lease(LeaseCommand::Offer { id: offer, node, wanted, terms }), actor.clone()).await?;
        offers.push(offer);
    }
    let (began, before) = (Instant::now(), store.metrics().commits);
    let workers: Vec<_> = offers
        .into_iter()
        .map(|offer| {
            let (store, actor) = (store.clone(), actor.clone());
            tokio::spawn(async move {
                let mut done = 0_u32;
                while began.elapsed() < span {
                    let (start, end) = hour(done)?;
                    let wanted = NewLease {
                        project: "lessee".into(),
                        start: Some(start),
                        end: Some(end),
                        ..NewLease::default()
                    };
                    let id = LeaseId(Uuid::new_v4());
                    let claim = LeaseCommand::Claim { id, offer, wanted: Box::new(wanted), terms };
                    store.submit(Command::Lease(claim), actor.clone()).await?;
                    done += 1;
                }
                anyhow::Ok(done)
            })
        })
        .collect();
    let mut total = 0;
    for worker in workers {
        total += worker.await??;
    }
    let commits = store.metrics().commits - before;
    store.close().await;
    Ok((f64::from(total), commits as f64))
}

/// Writes the last rows of that database that came of so many claims again; claims a second.
fn bare(written: &Path, folder: &Path, claims: usize) -> Result<f64> {
    let from = Database::open(written)?;
    let reading = from.begin_read()?;
    let leases: Vec<(Vec<u8>, Vec<u8>)> = reading
        .open_table(LIVE)?
        .iter()?
        .filter_map(|row| row.ok().map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
        .filter(|(key, _)| key.first() == Some(&b'l'))
        .collect();
    let last = |table: Numbered| -> Result<Vec<Vec<u8>>> {
        let table = reading.open_table(table)?;
        let rows = table.iter()?.rev().take(claims).map(|row| row.map(|(_, value)| value.value().to_vec()));
        Ok(rows.collect::<Result<_, _>>()?)
    };
    let (events, audit) = (last(EVENTS)?, last(AUDIT)?);
    let count = leases.len().min(events.len()).min(audit.len()).min(claims);
    ensure!(count >= claims / 2, "{count} rows of {claims} claims were found");
    let database = Database::create(folder.join("bare.redb"))?;
    // In an order as claims come: one of each node.
    let step = leases.len().div_ceil(NODES as usize).max(1);
    let order: Vec<usize> = (0..step).flat_map(|first| (first..leases.len()).step_by(step)).take(count).collect();
    let began = Instant::now();
    let mut number = 0_u64;
    for batch in order.chunks(NODES as usize) {
        let transaction = database.begin_write()?;
        {
            let mut live = transaction.open_table(LIVE)?;
            let (mut told, mut noted) = (transaction.open_table(EVENTS)?, transaction.open_table(AUDIT)?);
            for at in batch {
                let (key, value) = &leases[*at];
                live.insert(key.as_slice(), value.as_slice())?;
                let row = usize::try_from(number)?;
                told.insert(number, events[row].as_slice())?;
                noted.insert(number, audit[row].as_slice())?;
                number += 1;
            }
        }
        transaction.commit()?;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

fn over_http(plan: &Plan, figures: &mut Figures) -> Result<()> {
    let lab = Lab::new(plan)?;
    let appliance = Appliance::new(&lab, "claims", None)?;
    // Whoever claims hour after hour comes far.
    appliance.configure("[lease]\nhorizon_days = 36600\n")?;
    let server = appliance.start(&lab)?.server;
    let (root, span) = (appliance.client(&lab)?, plan.span);
    let (lessee, offers) = lab.server.run(move || market(&root))??;
    let before = server.cpu();
    let (mut millis, took) = lab.server.run({
        let (lessee, offers) = (lessee.sibling(), offers.clone());
        move || hours(&lessee, &offers, span)
    })??;
    let (count, cpu) = (millis.len() as f64, server.cpu() - before);
    let (half, most) = (percentile(&mut millis, 0.5), percentile(&mut millis, 0.99));
    figures.record("claims of 64 nodes", OURS, &[count / took, half, most, cpu * 1e6 / count]);
    let (tries, took, mut millis) = lab.server.run(move || race(&lessee, &offers[0]))??;
    let (half, most) = (percentile(&mut millis, 0.5), percentile(&mut millis, 0.99));
    figures.record("tries on one hour, one of which wins", OURS, &[tries as f64 / took, half, most, f64::NAN]);
    server.stop()
}

/// The nodes of an owner, an offer of each, and a lessee.
fn market(root: &Client) -> Result<(Client, Vec<String>)> {
    let mut admin = root.with_token(json!({"system": {"all": true}}))?;
    let mut project = |name: &str| -> Result<String> {
        let made = admin.json("POST", "/identity/v3/projects", &json!({"project": {"name": name}}))?;
        Ok(made["project"]["id"].as_str().context("no id")?.to_owned())
    };
    let (owner, lessee) = (project(OWNER)?, project("lessee")?);
    let user = json!({"user": {"name": "lessee", "password": WORDS, "default_project_id": lessee}});
    let user = admin.json("POST", "/identity/v3/users", &user)?;
    let user = user["user"]["id"].as_str().context("no id")?;
    let roles = admin.json("GET", "/identity/v3/roles?name=member", &Value::Null)?;
    let role = roles["roles"][0]["id"].as_str().context("no role")?;
    admin.good("PUT", &format!("/identity/v3/projects/{lessee}/users/{user}/roles/{role}"), "")?;
    let mut offers = Vec::new();
    for number in 0..NODES {
        let node = json!({"name": format!("n{number}"), "driver": "fake-hardware", "owner": owner});
        admin.json("POST", "/baremetal/v1/nodes", &node)?;
        let offer = admin.json("POST", "/lease/v1/offers", &json!({"resource_uuid": format!("n{number}")}))?;
        offers.push(offer["uuid"].as_str().context("no offer")?.to_owned());
    }
    let lessee = root.of_user("lessee", WORDS).with_token(json!({"project": {"id": lessee}}))?;
    Ok((lessee, offers))
}

fn wish(number: u32) -> Result<String> {
    let (start, end) = hour(number)?;
    Ok(json!({"start_time": start.to_string(), "end_time": end.to_string()}).to_string())
}

/// One connection for each offer, an hour after the other: milliseconds of each, and how long it took in seconds.
fn hours(lessee: &Client, offers: &[String], span: Duration) -> Result<(Vec<f64>, f64)> {
    let began = Instant::now();
    let one = |offer: &String| -> Result<Vec<f64>> {
        let (mut client, path) = (lessee.sibling(), format!("/lease/v1/offers/{offer}/claim"));
        let mut millis = Vec::new();
        while began.elapsed() < span {
            let body = wish(u32::try_from(millis.len())?)?;
            let asked = Instant::now();
            client.good("POST", &path, &body)?;
            millis.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        Ok(millis)
    };
    let all = std::thread::scope(|scope| -> Result<Vec<f64>> {
        let lanes: Vec<_> = offers.iter().map(|offer| scope.spawn(move || one(offer))).collect();
        let mut all = Vec::new();
        for lane in lanes {
            all.extend(lane.join().unwrap_or_else(|_| bail!("a client failed"))?);
        }
        Ok(all)
    })?;
    Ok((all, began.elapsed().as_secs_f64()))
}

/// Everybody tries the same hour.
fn race(lessee: &Client, offer: &str) -> Result<(usize, f64, Vec<f64>)> {
    let (path, body) = (format!("/lease/v1/offers/{offer}/claim"), wish(1_000_000)?);
    let (left, won) = (AtomicUsize::new(TRIES), AtomicUsize::new(0));
    let began = Instant::now();
    let one = || -> Result<Vec<f64>> {
        let (mut client, mut millis) = (lessee.sibling(), Vec::new());
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            let asked = Instant::now();
            match client.call("POST", &path, &body)?.status {
                201 => won.fetch_add(1, Ordering::Relaxed),
                409 => 0,
                other => bail!("a try was answered with {other}"),
            };
            millis.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        Ok(millis)
    };
    let millis = std::thread::scope(|scope| -> Result<Vec<f64>> {
        let lanes: Vec<_> = (0..NODES).map(|_| scope.spawn(one)).collect();
        let mut all = Vec::new();
        for lane in lanes {
            all.extend(lane.join().unwrap_or_else(|_| bail!("a client failed"))?);
        }
        Ok(all)
    })?;
    let winners = won.into_inner();
    ensure!(winners == 1, "{winners} of {TRIES} tries won the same hour");
    Ok((TRIES, began.elapsed().as_secs_f64(), millis))
}
