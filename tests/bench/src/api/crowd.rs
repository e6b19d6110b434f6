//! Calls on several connections at once: what a box answers that many people ask.
//!
//! One connection shows how long a call takes; a server that could use the time it waits for its disk shows that only
//! here. Only calls that succeeded count, on both sides: a peer whose database is locked by another of its calls says so.

use super::calls::Call;
use super::in_lab;
use crate::client::Client;
use crate::lab::Lab;
use crate::process::Server;
use anyhow::{Result, ensure};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Connections.
const LANES: usize = 16;
pub(super) const TITLE: &str = "Bare-metal API, 16 connections";

/// What came of it: succeeded calls each second, the server's processor time for one in µs, and failed ones in percent.
pub(super) fn measure(lab: &Lab, client: &Client, server: &Server, call: Call, span: Duration) -> Result<[f64; 3]> {
    let before = server.cpu();
    let (good, bad, took) = in_lab(lab, client, move |client| Ok(ask(client, &call, span)))?;
    ensure!(good > 0, "none of {bad} calls succeeded");
    let cpu = (server.cpu() - before) * 1e6 / good as f64;
    Ok([good as f64 / took, cpu, 100.0 * bad as f64 / (good + bad) as f64])
}

fn ask(client: &Client, call: &Call, span: Duration) -> (usize, usize, f64) {
    let [number, good, bad] = [const { AtomicUsize::new(0) }; 3];
    let began = Instant::now();
    let lane = || {
        let mut client = client.sibling();
        while began.elapsed() < span {
            let (method, path, body) = call(number.fetch_add(1, Ordering::Relaxed));
            match client.call(method, &path, &body) {
                Ok(answer) if (200..300).contains(&answer.status) => good.fetch_add(1, Ordering::Relaxed),
                Ok(_) => bad.fetch_add(1, Ordering::Relaxed),
                Err(_) => {
                    client = client.sibling();
                    bad.fetch_add(1, Ordering::Relaxed)
                }
            };
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(lane);
        }
    });
    let took = began.elapsed().as_secs_f64();
    (good.into_inner(), bad.into_inner(), took)
}
