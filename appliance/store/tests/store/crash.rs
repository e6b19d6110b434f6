//! Kills (SIGKILL) a writing program at random moments and looks at what it left: every acknowledged change is there,
//! with its event and its audit row, and no half of one.
//!
//! The program is this test binary, called again with [`WRITER`]. `LEASEHOLD_KILLS` sets the number of kills.

use crate::common::{create, node_id, open, user};
use leasehold_domain::address::{Binding, ClientKey, Hold};
use leasehold_domain::event::What;
use leasehold_domain::id::NodeId;
use leasehold_domain::mac::Mac;
use leasehold_domain::{Actor, Command};
use leasehold_store::{Outcome, Store};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};

const KILLS: u32 = 20;
/// After so many kills another folder: each look at what is left reads all of it, so that its time grows with the kills.
const KILLS_OF_A_FOLDER: u32 = 25;
/// The folder the writer works on.
const WRITER: &str = "LEASEHOLD_TEST_WRITER";
/// Where the numbers of the writer's new nodes begin.
const FIRST: &str = "LEASEHOLD_TEST_FIRST";
/// Callers at once.
const CALLERS: u128 = 12;

/// What the writer does when it is called with [`WRITER`]; otherwise an empty test.
#[test]
fn writer() {
    let Ok(dir) = std::env::var(WRITER) else { return };
    let first: u128 = std::env::var(FIRST).ok().and_then(|text| text.parse().ok()).expect("a number");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    runtime.block_on(async {
        let store = open(&PathBuf::from(dir));
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                tokio::spawn(call(store.clone(), first + caller * 500_000, u8::try_from(caller).expect("few")))
            })
            .collect();
        for caller in callers {
            caller.await.expect("it is killed before it ends");
        }
    });
}

/// Creates nodes, changes each twice, binds addresses, and says what was acknowledged.
async fn call(store: Store, first: u128, caller: u8) {
    for number in first.. {
        let id = node_id(number);
        let mut commands = vec![create(number, &format!("n{number}"))];
        for on in [true, false] {
            commands.push(Command::SetMaintenance { node: id, on, reason: Some("x".repeat(300)) });
        }
        for command in commands {
            store.submit(command, user()).await.expect("carried out");
            let revision = store.view().node(id).expect("my own write").revision;
            say(&format!("node {number} {revision}\n"));
        }
        let mac = Mac([2, 0, 0, 0, 0, caller]);
        let since = jiff::Timestamp::from_second(i64::try_from(number).expect("small")).expect("a time");
        let hold = Hold::Bound { client: ClientKey::Mac(mac), mac };
        let address = Ipv4Addr::new(10, 0, 0, caller);
        let binding = Binding { address, hold, since, expires: since };
        store.submit(Command::Bind(binding), Actor::System("dhcp")).await.expect("carried out");
        say(&format!("bind {caller} {}\n", since.as_second()));
    }
}

fn say(line: &str) {
    // One call: a line is whole or not there.
    std::io::stdout().write_all(line.as_bytes()).and_then(|()| std::io::stdout().flush()).expect("somebody reads");
}

/// What was acknowledged.
#[derive(Default)]
struct Acknowledged {
    revisions: HashMap<u128, u64>,
    bindings: HashMap<u8, i64>,
}

impl Acknowledged {
    fn take(&mut self, line: &str) -> bool {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["node", number, revision] => {
                self.revisions.insert(number.parse().expect("a number"), revision.parse().expect("a number"));
            }
            ["bind", caller, since] => {
                self.bindings.insert(caller.parse().expect("a number"), since.parse().expect("a number"));
            }
            // The test harness talks too.
            _ => return false,
        }
        true
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(dir: &Path, first: u128) -> Child {
    Process::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "crash::writer", "--nocapture"])
        .env(WRITER, dir)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("it starts")
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let kills = std::env::var("LEASEHOLD_KILLS").ok().map_or(KILLS, |text| text.parse().expect("a number of kills"));
    let mut dir = tempfile::tempdir().expect("a folder");
    let mut acknowledged = Acknowledged::default();
    for kill in 0..kills {
        if kill % KILLS_OF_A_FOLDER == 0 {
            (dir, acknowledged) = (tempfile::tempdir().expect("a folder"), Acknowledged::default());
        }
        let mut child = Killed(start(dir.path(), u128::from(kill + 1) * 10_000_000));
        let mut lines = BufReader::new(child.0.stdout.take().expect("a pipe")).lines();
        // The number of acknowledgements to wait for differs from kill to kill; what is under way then is chance.
        let mut wanted = (kill * 37) % 150 + 1;
        while wanted > 0 {
            let line = lines.next().expect("the writer goes on until it is killed").expect("text");
            wanted -= u32::from(acknowledged.take(&line));
        }
        child.0.kill().expect("it runs");
        // What it had said before it was killed.
        for line in lines {
            acknowledged.take(&line.expect("text"));
        }
        drop(child);
        check(dir.path(), &acknowledged);
    }
}

fn check(dir: &Path, acknowledged: &Acknowledged) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let store = open(dir);
        let view = store.view();
        for (number, revision) in &acknowledged.revisions {
            let node =
                view.node(node_id(*number)).unwrap_or_else(|| panic!("node {number} was acknowledged and is gone"));
            assert!(node.revision >= *revision, "node {number} is at {}, {revision} was acknowledged", node.revision);
        }
        for (caller, since) in &acknowledged.bindings {
            let binding = view.binding(Ipv4Addr::new(10, 0, 0, *caller)).expect("it was acknowledged");
            let found = binding.since.as_second();
            assert!(found >= *since, "caller {caller} is at binding {found}, {since} was acknowledged");
        }

        // Each change has its event and its audit row: a node at revision r was created once and changed r times.
        let mut changes: HashMap<NodeId, (u64, u64)> = HashMap::new();
        let mut cursor = None;
        loop {
            let page = store.events_after(cursor, 5000, |_| true).await.expect("read");
            for recorded in &page.events {
                let counts = changes.entry(recorded.event.node.expect("all are of nodes")).or_default();
                match recorded.event.what {
                    What::NodeCreated { .. } => counts.0 += 1,
                    What::Maintenance { .. } => counts.1 += 1,
                    ref other => panic!("nobody did {other:?}"),
                }
            }
            cursor = Some(page.next);
            if !page.more {
                break;
            }
        }
        assert_eq!(changes.len(), view.node_count());
        let mut total = 0;
        for (node, (created, changed)) in &changes {
            let node = view.node(*node).expect("an event without its node");
            assert_eq!((*created, *changed), (1, node.revision), "events of {}", node.id);
            total += created + changed;
        }
        let audit = store.audit(usize::MAX).await.expect("read");
        assert_eq!(audit.iter().filter(|entry| entry.outcome == Outcome::Done).count() as u64, total);
        assert_eq!(store.audit_verify(None).await.expect("read").faults, [], "the chain goes on over every kill");
        store.close().await;
    });
}
