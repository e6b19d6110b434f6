//! What the tests share: a clock of their own, commands, a disk that fails when it is told to, views to compare.

use jiff::Timestamp;
use leasehold_domain::address::{Binding, ClientKey};
use leasehold_domain::id::{JobId, NodeId, PortId};
use leasehold_domain::identity::User;
use leasehold_domain::image::Image;
use leasehold_domain::job::Job;
use leasehold_domain::lease::{Edge, Lease, Offer, Quota};
use leasehold_domain::node::{Node, NodeSettings};
use leasehold_domain::port::Port;
use leasehold_domain::view::View;
use leasehold_domain::{Actor, Command};
use leasehold_store::{Disk, DiskAccess, Health, Options, Store};
use proptest::test_runner::Config as ProptestConfig;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

pub(crate) const ENGINE: Actor = Actor::System("engine");

pub(crate) fn user() -> Actor {
    Actor::named("anna")
}

/// How long an event may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// So many cases of a property, or as many as `PROPTEST_CASES` says.
pub(crate) fn cases(number: u32) -> ProptestConfig {
    let usual = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() { usual } else { ProptestConfig { cases: number, ..usual } }
}

/// Options for tests: a clock that counts seconds, little ballast, quick retries.
pub(crate) fn options() -> Options {
    let second = AtomicI64::new(1_800_000_000);
    Options {
        clock: Arc::new(move || {
            Timestamp::from_second(second.fetch_add(1, Ordering::Relaxed)).expect("not the end of time")
        }),
        ballast_bytes: 64 << 10,
        headroom_bytes: 1 << 20,
        retry: Duration::from_millis(20),
        ..Options::default()
    }
}

pub(crate) fn open(dir: &Path) -> Store {
    Store::open(dir, options()).expect("the store opens")
}

pub(crate) fn node_id(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(number))
}

pub(crate) fn create(number: u128, name: &str) -> Command {
    let settings = NodeSettings { name: Some(name.into()), driver: "ipmi".into(), ..NodeSettings::default() };
    Command::CreateNode {
        id: node_id(number),
        settings: Box::new(settings),
        start: leasehold_domain::command::NodeStart::default(),
    }
}

/// Waits until the store is in a state, with a deadline.
pub(crate) async fn wait_for(store: &Store, wanted: fn(&Health) -> bool) {
    let mut health = store.health();
    tokio::time::timeout(DEADLINE, health.wait_for(wanted)).await.expect("in time").expect("the store lives");
}

/// All that a view shows, in a fixed order.
#[derive(Debug, PartialEq)]
pub(crate) struct Rows {
    nodes: Vec<Arc<Node>>,
    names: Vec<Option<NodeId>>,
    ports: Vec<Arc<Port>>,
    jobs: Vec<Arc<Job>>,
    last_jobs: Vec<Option<JobId>>,
    node_ports: Vec<Vec<PortId>>,
    images: Vec<Arc<Image>>,
    users: Vec<Arc<User>>,
    offers: Vec<Arc<Offer>>,
    leases: Vec<Arc<Lease>>,
    quotas: Vec<Arc<Quota>>,
    edges: Vec<(Timestamp, Edge)>,
    bindings: Vec<Arc<Binding>>,
    clients: Vec<(ClientKey, Option<Arc<Binding>>)>,
}

pub(crate) fn rows(view: &View) -> Rows {
    let nodes: Vec<_> = view.nodes_after(None).cloned().collect();
    let bindings: Vec<_> = view.bindings().cloned().collect();
    Rows {
        names: nodes.iter().map(|node| view.node_by_name(node.settings.name.as_deref()?).map(|node| node.id)).collect(),
        ports: view.ports().cloned().collect(),
        jobs: view.jobs().cloned().collect(),
        last_jobs: nodes.iter().map(|node| view.last_job(node.id).map(|job| job.id)).collect(),
        node_ports: nodes.iter().map(|node| view.ports_of(node.id).map(|port| port.id).collect()).collect(),
        images: view.images().cloned().collect(),
        users: view.identity.users().cloned().collect(),
        offers: view.lease.offers().cloned().collect(),
        leases: view.lease.leases().cloned().collect(),
        quotas: view.lease.quotas().cloned().collect(),
        edges: view.lease.edges_until(Timestamp::MAX).collect(),
        clients: bindings
            .iter()
            .filter_map(|binding| binding.client())
            .map(|client| (client.clone(), view.binding_of(client).cloned()))
            .collect(),
        nodes,
        bindings,
    }
}

/// A disk that is full, or fails, when it is told to.
#[derive(Debug, Default)]
pub(crate) struct FakeDisk(Mutex<State>);

#[derive(Debug)]
struct State {
    available: u64,
    /// Accesses to the database file that still go well.
    left: Option<u64>,
    kind: io::ErrorKind,
    /// There is space again once this file is gone.
    held_by: Option<PathBuf>,
    failures: u64,
    last: Option<DiskAccess>,
}

impl Default for State {
    fn default() -> State {
        State {
            available: u64::MAX,
            left: None,
            kind: io::ErrorKind::StorageFull,
            held_by: None,
            failures: 0,
            last: None,
        }
    }
}

impl FakeDisk {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no test panicked in here")
    }

    pub(crate) fn set_available(&self, bytes: u64) {
        self.state().available = bytes;
    }

    /// Fails every access after this many more.
    pub(crate) fn fail_after(&self, accesses: u64, kind: io::ErrorKind) {
        let mut state = self.state();
        state.left = Some(accesses);
        state.kind = kind;
        state.held_by = None;
    }

    /// Is full after this many more accesses, until the file is removed.
    pub(crate) fn full_after_while(&self, accesses: u64, file: PathBuf) {
        self.fail_after(accesses, io::ErrorKind::StorageFull);
        self.state().held_by = Some(file);
    }

    pub(crate) fn heal(&self) {
        let failures = self.state().failures;
        *self.state() = State { failures, ..State::default() };
    }

    /// The last access to the file.
    pub(crate) fn last(&self) -> Option<DiskAccess> {
        self.state().last
    }

    pub(crate) fn failures(&self) -> u64 {
        self.state().failures
    }
}

impl Disk for FakeDisk {
    fn available(&self, _: &Path) -> io::Result<u64> {
        Ok(self.state().available)
    }

    fn admit(&self, access: DiskAccess) -> io::Result<()> {
        let mut state = self.state();
        state.last = Some(access);
        match state.left {
            None => Ok(()),
            Some(0) => {
                if state.held_by.as_ref().is_some_and(|file| !file.exists()) {
                    state.left = None;
                    return Ok(());
                }
                state.failures += 1;
                Err(state.kind.into())
            }
            Some(more) => {
                state.left = Some(more - 1);
                Ok(())
            }
        }
    }
}
