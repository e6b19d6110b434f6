//! The program is killed at any moment while users write: every change that was acknowledged is there afterwards, and
//! no half of one.

use crate::api::{Api, BAREMETAL, text};
use crate::lanes;
use crate::report::Report;
use crate::world::World;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Kills of all lanes together.
const KILLS: u64 = 120;
const ALL_KILLS: u64 = 600;
/// Kills on one state folder.
const SERIES: u64 = 15;
const USERS: u64 = 8;
const PAGE: usize = 1000;
/// Changes between a start and a kill.
const CHANGES_LIMIT: Duration = Duration::from_secs(20);

/// What users know of a node.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The last value whose change was acknowledged; `None`: not even its creation.
    acknowledged: Option<u64>,
    /// The last value that was asked for.
    asked: u64,
    deleted: Deletion,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Deletion {
    #[default]
    No,
    Asked,
    Acknowledged,
}

type Model = Mutex<BTreeMap<String, Known>>;

/// # Errors
/// None of its own.
pub(crate) fn run(worlds: &mut [World], report: &Report, all: bool) -> Result<String> {
    let kills = if all { ALL_KILLS } else { KILLS };
    let next = AtomicU64::new(0);
    let series = || {
        let first = next.fetch_add(SERIES, Ordering::SeqCst);
        (first < kills).then(|| format!("kills {} to {}", first + 1, first + SERIES))
    };
    let changes = AtomicU64::new(0);
    lanes::run(worlds, report, series, |world, name| {
        let seed = name.bytes().map(u64::from).sum();
        let count = killed_again_and_again(world, report, seed)?;
        changes.fetch_add(count, Ordering::SeqCst);
        Ok(())
    });
    Ok(format!("{} acknowledged changes", changes.load(Ordering::SeqCst)))
}

fn killed_again_and_again(world: &mut World, report: &Report, seed: u64) -> Result<u64> {
    world.forget()?;
    let model = Model::default();
    let mut total = 0;
    world.start()?;
    for round in 0..SERIES {
        world.common.stop.check()?;
        // What is under way when the kill comes is chance; how much was done before differs from round to round.
        let wanted = (seed + round * 37) % 150 + 1;
        total += write_until_killed(world, &model, round, wanted)?;
        world.start()?;
        let outcome = look(&world.api()?, &model);
        report.point(&format!("kill {} after {wanted} changes", round + 1), outcome);
    }
    world.kill();
    Ok(total)
}

/// Lets users write, and kills the program once so many changes were acknowledged.
fn write_until_killed(world: &mut World, model: &Model, round: u64, wanted: u64) -> Result<u64> {
    let api = world.api()?;
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let users: Vec<_> = (0..USERS)
            .map(|user| {
                let (api, done) = (&api, &done);
                scope.spawn(move || user_at_work(api, model, &format!("r{round}u{user}"), done))
            })
            .collect();
        let begin = Instant::now();
        while done.load(Ordering::SeqCst) < wanted && begin.elapsed() < CHANGES_LIMIT {
            std::thread::sleep(Duration::from_millis(1));
        }
        world.kill();
        for user in users {
            user.join().map_err(|_| anyhow::anyhow!("a user failed"))??;
        }
        let done = done.load(Ordering::SeqCst);
        ensure!(done >= wanted, "only {done} of {wanted} changes were made in time");
        Ok(done)
    })
}

/// Creates nodes, changes them, deletes every second one, until nobody answers.
fn user_at_work(api: &Api, model: &Model, name: &str, done: &AtomicU64) -> Result<()> {
    let note = |node: &str, change: &dyn Fn(&mut Known)| {
        change(model.lock().unwrap_or_else(PoisonError::into_inner).entry(node.to_owned()).or_default());
    };
    // `None`: nobody answers any more.
    let give = |method: &str, path: &str, body: Option<&Value>| -> Result<Option<()>> {
        match api.ask(method, path, body) {
            Ok((status, _)) if (200..300).contains(&status) => {
                done.fetch_add(1, Ordering::SeqCst);
                Ok(Some(()))
            }
            Ok((status, answer)) => bail!("{method} {path}: {status}: {answer}"),
            Err(_) => Ok(None),
        }
    };
    for number in 0.. {
        let node = format!("{name}n{number}");
        let path = format!("{BAREMETAL}/nodes/{node}");
        note(&node, &|known| known.asked = 0);
        let extra = json!({"one": 0, "other": 0, "filler": "x".repeat(200)});
        let body = json!({"name": node, "driver": "ipmi", "extra": extra});
        if give("POST", &format!("{BAREMETAL}/nodes"), Some(&body))?.is_none() {
            return Ok(());
        }
        note(&node, &|known| known.acknowledged = Some(0));
        for value in 1..=3 {
            note(&node, &|known| known.asked = value);
            let set = |field: &str| json!({"op": "replace", "path": format!("/extra/{field}"), "value": value});
            if give("PATCH", &path, Some(&json!([set("one"), set("other")])))?.is_none() {
                return Ok(());
            }
            note(&node, &|known| known.acknowledged = Some(value));
        }
        if number % 2 == 0 {
            note(&node, &|known| known.deleted = Deletion::Asked);
            if give("DELETE", &path, None)?.is_none() {
                return Ok(());
            }
            note(&node, &|known| known.deleted = Deletion::Acknowledged);
        }
    }
    Ok(())
}

/// Compares what is there with what users know; from then on, what is there is what they know.
fn look(api: &Api, model: &Model) -> Result<()> {
    let mut found = all_nodes(api)?;
    let mut model = model.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, known) in model.iter_mut() {
        let Some(extra) = found.remove(name) else {
            ensure!(
                known.deleted != Deletion::No || known.acknowledged.is_none(),
                "{name} was acknowledged ({known:?}) and is gone"
            );
            known.deleted = Deletion::Acknowledged;
            continue;
        };
        ensure!(known.deleted != Deletion::Acknowledged, "{name} was deleted and is there again");
        let (one, other) = (extra["one"].as_u64(), extra["other"].as_u64());
        ensure!(one == other, "half of a change of {name} is there: {one:?} and {other:?}");
        let value = one.with_context(|| format!("{name} has lost its values: {extra}"))?;
        let least = known.acknowledged.unwrap_or(0);
        ensure!((least..=known.asked).contains(&value), "{name} has {value}; known: {known:?}");
        *known = Known { acknowledged: Some(value), asked: value, deleted: Deletion::No };
    }
    ensure!(found.is_empty(), "nodes that nobody asked for: {:?}", found.keys());
    model.retain(|_, known| known.deleted == Deletion::No);
    Ok(())
}

fn all_nodes(api: &Api) -> Result<BTreeMap<String, Value>> {
    let mut nodes = BTreeMap::new();
    let mut marker = String::new();
    loop {
        let mut page = api.get(&format!("{BAREMETAL}/nodes?fields=uuid,name,extra&limit={PAGE}{marker}"))?;
        let Value::Array(rows) = page["nodes"].take() else { bail!("no list: {page}") };
        let count = rows.len();
        for mut row in rows {
            marker = format!("&marker={}", text(&row, "uuid")?);
            let twice = nodes.insert(text(&row, "name")?.to_owned(), row["extra"].take());
            ensure!(twice.is_none(), "a node is listed twice: {row}");
        }
        if count < PAGE {
            return Ok(nodes);
        }
    }
}

impl World {
    /// The program is stopped and its state removed: the next start is a first one.
    ///
    /// # Errors
    /// The disk's.
    fn forget(&mut self) -> Result<()> {
        self.kill();
        self.forget_password();
        match fs::remove_dir_all(self.site.state()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}
