//! Fairness: what one tenant feels of another who asks as much as he can.
//!
//! A quiet tenant asks for his node, one request each [`PACE`] on one connection: first alone, then beside a loud one, who
//! has [`LANES`] connections that never wait: half of them read pages of [`NODES`] nodes in detail, half change these nodes.
//! Once without a bound to the rate of a user, so that only the order in which requests are served protects the quiet one,
//! once with the `[limits]` that the program has by default, which also tells how much of the flood they turn away (429).
//!
//! **Sample: [`SAMPLES`] requests a case, each from its sending to the last byte of its answer. Threshold: beside a flood
//! the p99 is at most [`FACTOR`] times that alone and at most [`LONGEST`]**, meant for a release build on two cores, which
//! the clients of the flood share with the server, at the least priority. Whatever the times, an answer to the quiet one
//! that is not a 200 fails, and so does a flood that was none.

use crate::Plan;
use crate::appliance::{Appliance, OURS};
use crate::client::Client;
use crate::figures::{Column, Figures, column, percentile};
use crate::lab::Lab;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Between two requests of the quiet tenant: 200 a second, which is below what a user may ask by default.
const PACE: Duration = Duration::from_millis(5);
/// Requests of the quiet tenant in a case: ten seconds of them where he need not wait.
const SAMPLES: usize = 2_000;
/// Connections of the loud tenant.
const LANES: usize = 32;
/// Nodes of the loud tenant: a page of as many as a page may have.
const NODES: usize = 1_000;
/// How many times as long as alone the p99 may be beside a flood.
const FACTOR: f64 = 10.0;
/// How long it may be at all.
const LONGEST: Duration = Duration::from_millis(50);
/// How long the flood runs before the quiet tenant begins: until all connections are at work.
const RISE: Duration = Duration::from_millis(500);
const WORDS: &str = "a sentence of one tenant";

const COLUMNS: &[Column] = &[
    column("p99 ms", 2),
    column("p50 ms", 2),
    column("p99 ÷ alone", 1),
    column("pages/s", 0),
    column("changes/s", 0),
    column("429 of the flood", 0),
    column("429 %", 0),
];

pub(crate) fn run(plan: &Plan) -> Result<()> {
    let lab = Lab::new(plan)?;
    let mut figures = Figures::new("A tenant beside another's flood", COLUMNS);
    let appliance = Appliance::new(&lab, "ours", None)?;
    let server = appliance.start(&lab)?.server;
    let root = appliance.client(&lab)?;
    let tenants = lab.server.run(move || Tenants::new(&root))??;
    let (tenants, alone, flooded) = lab.server.run(move || -> Result<_> {
        let alone = tenants.ask(false)?;
        let flooded = tenants.ask(true)?;
        Ok((tenants, alone, flooded))
    })??;
    server.stop()?;
    forget_limits(&appliance)?;
    let server = appliance.start(&lab)?.server;
    let limited = lab.server.run(move || tenants.ask(true))??;
    server.stop()?;
    let cases =
        [("alone", &alone), ("beside a flood, rate unbounded", &flooded), ("beside a flood, by default", &limited)];
    for (name, case) in cases {
        figures.record(name, OURS, &case.row(&alone));
    }
    figures.note(format!(
        "{SAMPLES} requests, one each {} ms, beside {LANES} connections; threshold: p99 ÷ alone {FACTOR}, p99 {} ms.",
        PACE.as_millis(),
        LONGEST.as_millis()
    ));
    figures.print(OURS)?;
    for (name, case) in &cases[1..] {
        case.judge(&alone).with_context(|| (*name).to_owned())?;
    }
    Ok(())
}

/// Takes the section of the configuration out by which benchmarks are not bounded.
fn forget_limits(appliance: &Appliance) -> Result<()> {
    let path = appliance.state.with_file_name("leasehold.toml");
    let text = without_limits(&fs::read_to_string(&path)?).context("the configuration sets no [limits]")?;
    Ok(fs::write(path, text)?)
}

/// A configuration without its `[limits]`; `None`: it has none.
fn without_limits(text: &str) -> Option<String> {
    let (before, rest) = text.split_once("[limits]\n")?;
    let after = rest.find("\n[").map_or("", |at| &rest[at + 1..]);
    Some(format!("{before}{after}"))
}

/// What the quiet tenant saw, and what the flood was.
struct Case {
    /// Milliseconds.
    half: f64,
    most: f64,
    flood: Flood,
    /// How long the flood ran, in seconds.
    span: f64,
}

/// Answers to the loud tenant.
#[derive(Clone, Copy, Default)]
struct Flood {
    pages: u64,
    changes: u64,
    turned_away: u64,
}

impl Case {
    fn row(&self, alone: &Case) -> [f64; 7] {
        let Flood { pages, changes, turned_away } = self.flood;
        let all = (pages + changes + turned_away) as f64;
        let [pages, changes, turned_away] = [pages, changes, turned_away].map(|count| count as f64);
        let (pages, changes, share) = (pages / self.span, changes / self.span, 100.0 * turned_away / all);
        [self.most, self.half, self.most / alone.most, pages, changes, turned_away, share]
    }

    fn judge(&self, alone: &Case) -> Result<()> {
        let Flood { pages, changes, .. } = self.flood;
        ensure!(pages > 0 && changes > 0, "the flood was none: {pages} pages, {changes} changes");
        let longest = LONGEST.as_secs_f64() * 1e3;
        ensure!(
            self.most <= FACTOR * alone.most && self.most <= longest,
            "one tenant slows another: p99 {:.2} ms, alone {:.2} ms; at most {FACTOR} times that, and {longest} ms",
            self.most,
            alone.most
        );
        Ok(())
    }
}

/// Both of them. They say who they are by a password, which outlasts the restart between two cases.
struct Tenants {
    quiet: Client,
    loud: Client,
    node: String,
    nodes: Vec<String>,
}

impl Tenants {
    /// Makes them and their nodes, as the administrator.
    fn new(root: &Client) -> Result<Tenants> {
        let mut root = root.sibling();
        let role = root.json("GET", "/identity/v3/roles?name=admin", &Value::Null)?;
        let role = role["roles"][0]["id"].as_str().context("no role")?.to_owned();
        let mut tenant = |name: &str| -> Result<(Client, String)> {
            let project =
                id(&root.json("POST", "/identity/v3/projects", &json!({"project": {"name": name}}))?, "project")?;
            let user = json!({"user": {"name": name, "password": WORDS, "default_project_id": project}});
            let user = id(&root.json("POST", "/identity/v3/users", &user)?, "user")?;
            root.good("PUT", &format!("/identity/v3/projects/{project}/users/{user}/roles/{role}"), "")?;
            Ok((root.of_user(name, WORDS), project))
        };
        let ((quiet, his), (loud, others)) = (tenant("quiet")?, tenant("loud")?);
        let node = enroll(&mut root, "quiet", &his)?;
        let nodes: Result<Vec<_>> =
            (0..NODES).map(|number| enroll(&mut root, &format!("loud-{number}"), &others)).collect();
        Ok(Tenants { quiet, loud, node, nodes: nodes? })
    }

    /// The quiet one asks, alone or beside the flood.
    fn ask(&self, flooded: bool) -> Result<Case> {
        // As for the quiet one: the first request of a user checks his password.
        self.loud.sibling().good("GET", "/baremetal/v1/nodes?limit=1", "")?;
        let (over, counts) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 3]);
        let (began, lanes) = (Instant::now(), if flooded { LANES } else { 0 });
        let mut micros = std::thread::scope(|scope| -> Result<Vec<f64>> {
            let (over, counts) = (&over, &counts);
            let flood: Vec<_> = (0..lanes).map(|lane| scope.spawn(move || self.flood(lane, over, counts))).collect();
            let seen = self.paced();
            over.store(true, Ordering::Relaxed);
            for lane in flood {
                lane.join().map_err(|_| anyhow::anyhow!("a connection of the flood failed"))??;
            }
            seen
        })?;
        let [pages, changes, turned_away] = counts.map(AtomicU64::into_inner);
        let (half, most) = (percentile(&mut micros, 0.5) / 1e3, percentile(&mut micros, 0.99) / 1e3);
        let span = began.elapsed().as_secs_f64();
        Ok(Case { half, most, flood: Flood { pages, changes, turned_away }, span })
    }

    /// The times of the quiet one's requests, in microseconds.
    fn paced(&self) -> Result<Vec<f64>> {
        aside(-10)?;
        let mut client = self.quiet.sibling();
        let path = format!("/baremetal/v1/nodes/{}", self.node);
        // The first one checks the password, which is slow on purpose.
        client.good("GET", &path, "")?;
        std::thread::sleep(RISE);
        let (mut due, mut micros) = (Instant::now(), Vec::with_capacity(SAMPLES));
        while micros.len() < SAMPLES {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let asked = Instant::now();
            client.good("GET", &path, "").context("the quiet tenant")?;
            micros.push(asked.elapsed().as_secs_f64() * 1e6);
            // Who waited longer than a pace goes on at once, and does not catch up on what he has missed.
            due = (due + PACE).max(Instant::now());
        }
        Ok(micros)
    }

    /// One connection of the loud one, until it is over: pages, changes, refusals are counted.
    fn flood(&self, lane: usize, over: &AtomicBool, counts: &[AtomicU64; 3]) -> Result<()> {
        aside(15)?;
        let mut client = self.loud.sibling();
        let reads = lane.is_multiple_of(2);
        for number in (lane..).step_by(LANES) {
            if over.load(Ordering::Relaxed) {
                break;
            }
            let answer = if reads {
                client.call("GET", &format!("/baremetal/v1/nodes/detail?limit={NODES}"), "")
            } else {
                let patch = json!([{"op": "add", "path": "/extra/position", "value": number}]).to_string();
                client.call("PATCH", &format!("/baremetal/v1/nodes/{}", self.nodes[number / 2 % NODES]), &patch)
            };
            let at = match answer {
                Ok(answer) if answer.status == 200 => usize::from(!reads),
                // Another connection was at the same node.
                Ok(answer) if answer.status == 409 && !reads => 1,
                Ok(answer) if answer.status == 429 => 2,
                Ok(answer) => bail!("the loud tenant: {}", answer.status),
                // A server may hang up on such a one; he comes again.
                Err(_) => {
                    client = self.loud.sibling();
                    continue;
                }
            };
            counts[at].fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The clients stand for machines elsewhere: what those of the flood compute is not to take the appliance's processors, and
/// the quiet one is to read its answer when it comes. `nice`: of this thread.
fn aside(nice: i32) -> Result<()> {
    Ok(rustix::process::setpriority_process(Some(rustix::thread::gettid()), nice)?)
}

fn id(made: &Value, kind: &str) -> Result<String> {
    Ok(made[kind]["id"].as_str().context("no id")?.to_owned())
}

fn enroll(root: &mut Client, name: &str, owner: &str) -> Result<String> {
    let node = json!({
        "name": name,
        "driver": "fake-hardware",
        "owner": owner,
        "properties": {"cpus": 64, "memory_mb": 262_144, "local_gb": 3600, "cpu_arch": "x86_64"},
        "extra": {"rack": "r1", "position": 17},
    });
    let made = root.json("POST", "/baremetal/v1/nodes", &node)?;
    Ok(made["uuid"].as_str().context("no node")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(most: f64, pages: u64) -> Case {
        Case { half: 1.0, most, flood: Flood { pages, changes: 10, turned_away: 30 }, span: 2.0 }
    }

    #[test]
    fn both_thresholds_hold_and_a_flood_is_one() {
        let judged = |most, alone| case(most, 1).judge(&case(alone, 0)).is_ok();
        assert!(judged(10.0, 1.0) && judged(50.0, 6.0));
        assert!(!judged(10.1, 1.0), "ten times as long");
        assert!(!judged(50.1, 6.0), "too long whatever it is alone");
        assert!(!judged(f64::NAN, 1.0) && case(1.0, 0).judge(&case(1.0, 0)).is_err());
    }

    #[test]
    fn figures_of_a_case() {
        assert_eq!(case(4.0, 20).row(&case(2.0, 0)), [4.0, 1.0, 2.0, 10.0, 5.0, 30.0, 50.0]);
    }

    #[test]
    fn limits_go_and_the_rest_stays() {
        let rest = "[[interface]]\nname = \"x\"\n";
        let text = format!("a = 1\n[log]\nb = 2\n[limits]\nuser_rate = 1\nuser_burst = 2\n{rest}");
        assert_eq!(without_limits(&text), Some(format!("a = 1\n[log]\nb = 2\n{rest}")));
        assert_eq!(without_limits("a = 1\n[limits]\nb = 1\n"), Some("a = 1\n".to_owned()));
        assert_eq!(without_limits("a = 1\n"), None);
    }
}
