//! Existence by the time of an answer: what the clock tells a stranger of what is hidden from him.
//!
//! Pairs of requests, one about what is there and hidden, one about what nobody has, interleaved and in turns the first
//! of their pair, on one connection. The measure is rank-based: how often the hidden one takes longer than the missing
//! one (Mann-Whitney, ties half). An attacker who can tell the two apart by one answer is right that often; 0.5 is
//! blindness. **Sample: [`PAIRS`] pairs; threshold: 0.5 ± [`THRESHOLD`]**, some five standard deviations of blindness
//! at that sample, so that a busy machine does not fail a right program. Logins cost Argon2 each: [`LOGINS`] pairs,
//! ± [`LOGIN_THRESHOLD`]. That the same work is done at all is tested without a clock (`api::tests::attacks::existence`).

use crate::Plan;
use crate::appliance::{Appliance, OURS};
use crate::client::Client;
use crate::figures::{Column, Figures, column, median};
use crate::lab::Lab;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Pairs of requests of a case.
const PAIRS: usize = 2_000;
/// How far from one half the share of longer answers may be.
const THRESHOLD: f64 = 0.05;
/// Pairs of failed logins.
const LOGINS: usize = 200;
/// The same for them: five standard deviations at that sample.
const LOGIN_THRESHOLD: f64 = 0.15;
/// Between two requests of one user: the appliance lets a user ask so often and no faster.
const PACE: Duration = Duration::from_millis(4);
/// Things that are hidden, and things that nobody has.
const THINGS: usize = 50;
/// The stranger's password, and the wrong one.
const WORD: &str = "a sentence of the stranger";

const COLUMNS: &[Column] = &[
    column("hidden is longer", 4),
    column("threshold ±", 2),
    column("pairs", 0),
    column("hidden p50 µs", 1),
    column("missing p50 µs", 1),
];

pub(crate) fn run(plan: &Plan) -> Result<()> {
    let lab = Lab::new(plan)?;
    let mut figures = Figures::new("Existence by the time of an answer", COLUMNS);
    let appliance = Appliance::new(&lab, "ours", None)?;
    let server = appliance.start(&lab)?.server;
    let root = appliance.client(&lab)?;
    let verdicts = lab.server.run(move || measure(&root))??;
    for Verdict { case, share, threshold, hidden, missing, pairs } in &verdicts {
        figures.record(case, OURS, &[*share, *threshold, *pairs as f64, *hidden, *missing]);
    }
    server.stop()?;
    figures
        .note(format!("{PAIRS} interleaved pairs, threshold 0.5 ± {THRESHOLD}; logins {LOGINS}, ± {LOGIN_THRESHOLD}."));
    figures.print(OURS)?;
    let over: Vec<_> = verdicts.iter().filter(|verdict| (verdict.share - 0.5).abs() > verdict.threshold).collect();
    let names: Vec<_> = over.iter().map(|verdict| verdict.case.as_str()).collect();
    ensure!(over.is_empty(), "the clock tells what is hidden from what is not there: {}", names.join(", "));
    Ok(())
}

/// What came of a case.
struct Verdict {
    case: String,
    share: f64,
    threshold: f64,
    hidden: f64,
    missing: f64,
    pairs: usize,
}

impl Verdict {
    fn of(case: &str, threshold: f64, mut hidden: Vec<f64>, mut missing: Vec<f64>) -> Verdict {
        let (share, pairs) = (longer(&mut hidden, &mut missing), hidden.len());
        let (hidden, missing) = (median(hidden.into_iter()), median(missing.into_iter()));
        Verdict { case: case.to_owned(), share, threshold, hidden, missing, pairs }
    }
}

/// How often one of the first takes longer than one of the second, ties half: U ÷ (n × m). Sorts both.
fn longer(first: &mut [f64], second: &mut [f64]) -> f64 {
    first.sort_by(f64::total_cmp);
    second.sort_by(f64::total_cmp);
    let (mut below, mut upto, mut wins) = (0, 0, 0.0);
    for one in first.iter() {
        while second.get(below).is_some_and(|other| other < one) {
            below += 1;
        }
        while second.get(upto).is_some_and(|other| other <= one) {
            upto += 1;
        }
        wins += below as f64 + (upto - below) as f64 / 2.0;
    }
    wins / (first.len() * second.len()) as f64
}

fn measure(root: &Client) -> Result<Vec<Verdict>> {
    let mut root = root.sibling();
    let project = root.json("POST", "/identity/v3/projects", &json!({"project": {"name": "hidden"}}))?;
    let owner = project["project"]["id"].as_str().context("no project")?.to_owned();
    let mut uuids = Vec::new();
    for number in 0..THINGS {
        let node = json!({"driver": "fake-hardware", "name": format!("hidden-{number:03}"), "owner": owner});
        let made = root.json("POST", "/baremetal/v1/nodes", &node)?;
        uuids.push(made["uuid"].as_str().context("no node")?.to_owned());
    }
    let stranger = stranger(&mut root)?;
    let of = |number: usize| number % THINGS;
    // Of the same shape as those that are there.
    let nobodys: Vec<String> = uuids.iter().map(|uuid| format!("{}f{}", &uuid[..9], &uuid[10..])).collect();
    let hidden_name = |number: usize| format!("hidden-{:03}", of(number));
    let missing_name = |number: usize| format!("hodden-{:03}", of(number));
    let uuid = |list: &[String], number: usize| list[of(number)].clone();
    let get = |ident: String| ("GET", format!("/baremetal/v1/nodes/{ident}"), String::new());
    let delete = |ident: String| ("DELETE", format!("/baremetal/v1/nodes/{ident}"), String::new());
    let patch = |ident: String| {
        let body = json!([{"op": "replace", "path": "/owner", "value": "x"}]).to_string();
        ("PATCH", format!("/baremetal/v1/nodes/{ident}"), body)
    };
    let pairs = |hidden: &dyn Fn(usize) -> Call, missing: &dyn Fn(usize) -> Call| {
        compare(&mut stranger.sibling(), 404, hidden, missing)
    };
    let mut verdicts = Vec::new();
    let mut judge = |case: &str, (hidden, missing): (Vec<f64>, Vec<f64>), threshold| {
        verdicts.push(Verdict::of(case, threshold, hidden, missing));
    };
    judge("GET node by UUID", pairs(&|n| get(uuid(&uuids, n)), &|n| get(uuid(&nobodys, n)))?, THRESHOLD);
    judge("GET node by name", pairs(&|n| get(hidden_name(n)), &|n| get(missing_name(n)))?, THRESHOLD);
    judge("PATCH node by UUID", pairs(&|n| patch(uuid(&uuids, n)), &|n| patch(uuid(&nobodys, n)))?, THRESHOLD);
    judge("DELETE node by name", pairs(&|n| delete(hidden_name(n)), &|n| delete(missing_name(n)))?, THRESHOLD);
    judge("login: wrong password, unknown user", logins(&root)?, LOGIN_THRESHOLD);
    Ok(verdicts)
}

/// A user who has the highest role, in a project of his own.
fn stranger(root: &mut Client) -> Result<Client> {
    let project = root.json("POST", "/identity/v3/projects", &json!({"project": {"name": "stranger"}}))?;
    let project = project["project"]["id"].as_str().context("no project")?.to_owned();
    let user = json!({"user": {"name": "stranger", "password": WORD, "default_project_id": project}});
    let user = root.json("POST", "/identity/v3/users", &user)?;
    let user = user["user"]["id"].as_str().context("no user")?.to_owned();
    let roles = root.json("GET", "/identity/v3/roles?name=admin", &Value::Null)?;
    let role = roles["roles"][0]["id"].as_str().context("no role")?;
    root.good("PUT", &format!("/identity/v3/projects/{project}/users/{user}/roles/{role}"), "")?;
    let stranger = root.of_user("stranger", WORD);
    stranger.sibling().good("GET", "/baremetal/v1/nodes", "")?;
    Ok(stranger)
}

type Call = (&'static str, String, String);

/// Times of both kinds, in microseconds.
fn compare(
    client: &mut Client,
    status: u16,
    hidden: &dyn Fn(usize) -> Call,
    missing: &dyn Fn(usize) -> Call,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut there, mut nowhere) = (Vec::new(), Vec::new());
    for number in 0..PAIRS {
        for turn in 0..2 {
            let is_hidden = (number + turn) % 2 == 0;
            let call = if is_hidden { hidden(number) } else { missing(number) };
            let micros = timed(client, &call, status)?;
            if is_hidden {
                there.push(micros)
            } else {
                nowhere.push(micros)
            }
            std::thread::sleep(PACE);
        }
    }
    Ok((there, nowhere))
}

fn timed(client: &mut Client, (method, path, body): &Call, status: u16) -> Result<f64> {
    let began = Instant::now();
    let answer = client.call(method, path, body)?;
    let micros = began.elapsed().as_secs_f64() * 1e6;
    ensure!(answer.status == status, "{method} {path}: {} instead of {status}", answer.status);
    Ok(micros)
}

/// Failed logins of one that is there and one that is not. Each pair comes from an address of its own: after a few
/// failures an address waits.
fn logins(root: &Client) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut there, mut nowhere) = (Vec::new(), Vec::new());
    for number in 0..LOGINS {
        let [high, low] = u16::try_from(number + 1)?.to_be_bytes();
        for turn in 0..2 {
            let is_known = (number + turn) % 2 == 0;
            let name = if is_known { "stranger" } else { "strangest" };
            let mut client = root.of_user(name, "not at all the sentence");
            client.connect_from(Ipv4Addr::new(127, 77, high, low))?;
            let micros = timed(&mut client, &("GET", "/baremetal/v1/drivers".into(), String::new()), 401)?;
            if is_known { there.push(micros) } else { nowhere.push(micros) }
        }
    }
    Ok((there, nowhere))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_longer_how_often() {
        let of = |first: &[f64], second: &[f64]| longer(&mut first.to_vec(), &mut second.to_vec());
        assert_eq!(of(&[2.0, 4.0], &[1.0, 3.0]), 0.75);
        assert_eq!(of(&[1.0, 1.0], &[1.0, 1.0]), 0.5);
        assert_eq!((of(&[5.0], &[1.0, 2.0]), of(&[1.0], &[2.0, 3.0])), (1.0, 0.0));
        let verdict = Verdict::of("x", THRESHOLD, vec![3.0, 1.0, 2.0], vec![3.0, 2.0, 1.0]);
        assert_eq!((verdict.share, verdict.hidden, verdict.missing, verdict.pairs), (0.5, 2.0, 2.0, 3));
    }
}
