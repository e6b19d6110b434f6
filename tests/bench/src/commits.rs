//! Durable commits: the store with its decisions, feed and answers, against the bare database writing the same rows.
//!
//! In: how many commands are outstanding. Out: commands a second and this process's time for one. The bare loop writes a
//! row of the same key and length for each command, as many in one transaction as are outstanding, and nothing else.

use crate::Plan;
use crate::appliance::OURS;
use crate::figures::{Column, Figures, column};
use anyhow::Result;
use jiff::Timestamp;
use leasehold_domain::address::{Binding, ClientKey, Hold};
use leasehold_domain::mac::Mac;
use leasehold_domain::{Actor, Command};
use leasehold_store::{Options, Store};
use redb::{Database, TableDefinition};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

const COLUMNS: &[Column] = &[column("commands/s", 0), column("a commit", 1), column("CPU µs each", 1)];
const OUTSTANDING: [u32; 3] = [1, 64, 1024];
/// Rows that come again and again: as many machines have a lease.
const ROWS: u32 = 10_000;
const LIVE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("live");

pub(crate) fn run(plan: &Plan) -> Result<()> {
    let mut figures = Figures::new("Store: durable commands (a lease each)", COLUMNS);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for round in 0..plan.rounds {
        eprintln!("commits, round {} of {}", round + 1, plan.rounds);
        for outstanding in OUTSTANDING {
            let case = format!("{outstanding} outstanding");
            let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&plan.folder)?;
            let figure = runtime.block_on(ours(folder.path(), outstanding, plan.span))?;
            figures.record(&case, OURS, &figure);
            let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&plan.folder)?;
            figures.record(&case, "bare redb", &bare(folder.path(), outstanding, plan.span)?);
        }
    }
    figures.print(OURS)
}

fn own_cpu() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

fn binding(number: u32) -> Binding {
    let address = Ipv4Addr::from(0x0a61_0000 + number % ROWS);
    let [_, a, b, c] = address.octets();
    let mac = Mac([6, 0, 0, a, b, c]);
    // Never the same twice, as an extended lease is not.
    let expires = Timestamp::UNIX_EPOCH + Duration::from_secs(u64::from(number));
    Binding { address, hold: Hold::Bound { client: ClientKey::Mac(mac), mac }, since: Timestamp::UNIX_EPOCH, expires }
}

async fn ours(folder: &Path, outstanding: u32, span: Duration) -> Result<[f64; 3]> {
    let store = Store::open(folder, Options::default())?;
    let (began, before, cpu) = (Instant::now(), store.metrics(), own_cpu());
    let workers: Vec<_> = (0..outstanding)
        .map(|worker| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = 0_u32;
                while began.elapsed() < span {
                    let command = Command::Bind(binding(worker + done * outstanding));
                    store.submit(command, Actor::System("dhcp")).await?;
                    done += 1;
                }
                Ok::<_, leasehold_store::SubmitError>(done)
            })
        })
        .collect();
    let mut total = 0;
    for worker in workers {
        total += worker.await??;
    }
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), own_cpu() - cpu);
    let commits = store.metrics().commits - before.commits;
    store.close().await;
    let total = f64::from(total);
    Ok([total / seconds, total / commits as f64, cpu * 1e6 / total])
}

fn bare(folder: &Path, outstanding: u32, span: Duration) -> Result<[f64; 3]> {
    // A row as the store writes it, in length.
    let row = vec![7; serde_json::to_vec(&binding(0))?.len()];
    let database = Database::create(folder.join("bare.redb"))?;
    let (began, cpu) = (Instant::now(), own_cpu());
    let (mut total, mut commits) = (0_u32, 0_u32);
    while began.elapsed() < span {
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(LIVE)?;
            for number in total..total + outstanding {
                let address = Ipv4Addr::from(0x0a61_0000 + number % ROWS).octets();
                table.insert([&b"b"[..], &address].concat().as_slice(), row.as_slice())?;
            }
        }
        transaction.commit()?;
        total += outstanding;
        commits += 1;
    }
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), own_cpu() - cpu);
    let total = f64::from(total);
    Ok([total / seconds, total / f64::from(commits), cpu * 1e6 / total])
}
