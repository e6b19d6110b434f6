//! The edges of leases with the real store, the real supervisor of jobs and nodes without a machine.

use super::LeaseSettings;
use crate::bmcs::Bmcs;
use crate::images::{ImageSettings, ImageStore, Patience, never_fetched_from};
use crate::tickets::Tickets;
use crate::{Engine, Settings, Wipe};
use jiff::{SignedDuration, Timestamp};
use leasehold_domain::command::{Actor, NodeStart};
use leasehold_domain::event::What;
use leasehold_domain::id::{JobId, LeaseId, NodeId};
use leasehold_domain::job::JobInput;
use leasehold_domain::lease::{LeaseCommand, LeaseState, NewLease, Terms};
use leasehold_domain::node::{Node, NodeSettings};
use leasehold_domain::provision::{ProvisionState, Verb};
use leasehold_domain::{Command, View};
use leasehold_store::{KeySource, Options, Sealer, Store, SubmitError, Trace, TraceOptions};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

/// Longer than any of these waits should ever be.
const PATIENCE: Duration = Duration::from_secs(60);
const OWNER: &str = "owner";

/// Seconds that the store's clock is ahead of the right time.
type Ahead = Arc<AtomicI64>;

struct Rig {
    engine: Engine,
    ahead: Ahead,
    folder: Option<TempDir>,
}

impl Rig {
    fn new() -> Rig {
        let folder = tempfile::tempdir().expect("a folder");
        Rig::open(folder, Arc::default())
    }

    fn open(folder: TempDir, ahead: Ahead) -> Rig {
        let engine = engine(folder.path(), ahead.clone());
        Rig { engine, ahead, folder: Some(folder) }
    }

    /// The appliance is down, and comes up again.
    async fn again(mut self) -> Rig {
        self.engine.trace.close().await;
        self.engine.store.close().await;
        let folder = self.folder.take().expect("there");
        let ahead = self.ahead.clone();
        drop(self);
        Rig::open(folder, ahead)
    }

    /// The clock is set; whatever happens next on the box lets it be noticed where the kernel does not tell.
    async fn set_clock(&self, by: i64) {
        self.ahead.fetch_add(by, Ordering::Relaxed);
        let id = NodeId(Uuid::new_v4());
        let settings = NodeSettings { driver: "fake-hardware".into(), ..NodeSettings::default() };
        let (settings, start) = (Box::new(settings), NodeStart::default());
        self.give(Command::CreateNode { id, settings, start }).await.expect("new");
    }

    async fn give(&self, command: Command) -> Result<(), SubmitError> {
        self.engine.store.submit(command, Actor::System("test")).await.map(drop)
    }

    async fn verb(&self, node: NodeId, verb: Verb) {
        let steps = vec![json!({"interface": "deploy", "step": "erase_devices"})];
        let input = JobInput { service_steps: steps, ..JobInput::default() };
        let job = JobId(Uuid::new_v4());
        self.give(Command::Provision { node, verb, job, input: Box::new(input) }).await.expect("legal");
    }

    /// A node that is wiped and free.
    async fn node(&self, driver_info: Value) -> NodeId {
        let id = NodeId(Uuid::new_v4());
        let settings = NodeSettings {
            owner: Some(OWNER.into()),
            driver: "fake-hardware".into(),
            driver_info: driver_info.as_object().cloned().unwrap_or_default(),
            ..NodeSettings::default()
        };
        self.give(Command::CreateNode { id, settings: Box::new(settings), start: NodeStart::default() })
            .await
            .expect("new");
        for (verb, state) in [(Verb::Manage, ProvisionState::Manageable), (Verb::Provide, ProvisionState::Available)] {
            self.verb(id, verb).await;
            self.until(|view| rests(view, id, state)).await;
        }
        assert!(self.shown(id).wiped);
        id
    }

    async fn change(&self, node: NodeId, change: impl FnOnce(&mut NodeSettings)) {
        let shown = self.shown(node);
        let mut settings = shown.settings.clone();
        change(&mut settings);
        let settings = Box::new(settings);
        let change = Command::ChangeNode { id: node, revision: shown.revision, settings, maintenance: None };
        self.give(change).await.expect("free");
    }

    fn shown(&self, node: NodeId) -> Arc<Node> {
        self.engine.view().node(node).expect("there").clone()
    }

    /// A lease from then on, in seconds from now.
    async fn lease(&self, node: NodeId, project: &str, from: i64, until: i64) -> LeaseId {
        let now = self.engine.store.now();
        self.lease_at(node, project, now + SignedDuration::from_secs(from), now + SignedDuration::from_secs(until))
            .await
    }

    async fn lease_at(&self, node: NodeId, project: &str, start: Timestamp, end: Timestamp) -> LeaseId {
        let id = LeaseId(Uuid::new_v4());
        let wanted = NewLease { project: project.into(), start: Some(start), end: Some(end), ..NewLease::default() };
        let (owner, wanted) = (OWNER.to_owned(), Box::new(wanted));
        let terms = Terms { longest: None, ..Terms::default() };
        self.give(Command::Lease(LeaseCommand::Lease { id, node, owner, wanted, terms })).await.expect("free");
        id
    }

    async fn end(&self, lease: LeaseId) {
        self.give(Command::Lease(LeaseCommand::End { id: lease, job: JobId(Uuid::new_v4()) })).await.expect("goes on");
    }

    async fn until(&self, seen: impl Fn(&View) -> bool) {
        let mut feed = self.engine.store.subscribe();
        let wait = async {
            while !seen(&self.engine.view()) {
                feed.next().await.expect("the store is open");
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("it happens");
    }

    async fn until_active(&self, lease: LeaseId) {
        self.until(|view| view.lease.lease(lease).is_some_and(|lease| lease.state == LeaseState::Active)).await;
    }

    /// What became of a lease that is over.
    async fn outcome(&self, lease: LeaseId) -> LeaseState {
        self.until(|view| view.lease.lease(lease).is_none()).await;
        self.engine.store.ended_lease(lease).await.expect("read").expect("it is over").state
    }

    /// How late after its moment a lease became this.
    async fn lateness(&self, lease: LeaseId, state: LeaseState, moment: Timestamp) -> SignedDuration {
        let mut after = None;
        loop {
            let page = self.engine.store.events_after(after, 10_000, move |event| {
                matches!(event.what, What::LeaseChanged { lease: of, state: now, .. } if of == lease && now == state)
            });
            let page = page.await.expect("read");
            if let Some(found) = page.events.first() {
                return moment.duration_until(found.event.at);
            }
            assert!(page.more, "it never became {state:?}");
            after = Some(page.next);
        }
    }

    fn must_be_clean(&self, node: NodeId) {
        let node = self.shown(node);
        assert_eq!(node.provision_state, ProvisionState::Available, "{:?}", node.last_error);
        assert!(node.wiped && node.lease.is_none() && node.job.is_none());
        assert_eq!((node.settings.lessee.as_deref(), node.settings.properties.get("lease_uuid")), (None, None));
    }
}

fn rests(view: &View, node: NodeId, state: ProvisionState) -> bool {
    view.node(node).is_some_and(|node| node.provision_state == state && node.job.is_none())
}

fn engine(folder: &Path, ahead: Ahead) -> Engine {
    let clock = move || Timestamp::now() + SignedDuration::from_secs(ahead.load(Ordering::Relaxed));
    let store = Store::open(folder, Options { clock: Arc::new(clock), ..Options::default() }).expect("a store");
    let sealer = Arc::new(Sealer::open(&KeySource::File(folder.join("key"))).expect("a key"));
    let images = ImageSettings {
        folder: folder.join("images"),
        import_folder: None,
        max_size: 1 << 30,
        reserve: 0,
        quota: None,
        forbidden: never_fetched_from(),
        allowed: Vec::new(),
        patience: Patience::default(),
    };
    let images = ImageStore::open(images, &store.view()).expect("a folder of images");
    let settings = Settings {
        agent_url: "https://10.0.0.1:8444".into(),
        wipe: Wipe::Full,
        power_sync_every: Duration::from_secs(3600),
        soft_off_patience: Duration::from_secs(1),
        silence_patience: Duration::from_secs(600),
        lease: LeaseSettings::default(),
    };
    Engine {
        trace: Trace::open(folder, TraceOptions::default()).expect("a trace"),
        bmcs: Arc::new(Bmcs::new(sealer.clone())),
        images: Arc::new(images),
        tickets: Arc::new(Tickets::new(sealer.clone())),
        switches: Arc::default(),
        sealer,
        settings: Arc::new(settings),
        store,
    }
}

/// `held`: leases that wait for another day.
async fn begin_and_end_within_a_second(held: usize) {
    let rig = Rig::new();
    let _running = rig.engine.start();
    let (node, other) = (rig.node(Value::Null).await, rig.node(Value::Null).await);
    let (terms, day) = (Terms::default(), rig.engine.store.now() + SignedDuration::from_hours(24));
    let lease = |number: i64| {
        // Those that touch would count as one long lease.
        let start = day + SignedDuration::from_mins(2 * number);
        let end = start + SignedDuration::from_mins(1);
        let wanted = NewLease { project: "ada".into(), start: Some(start), end: Some(end), ..NewLease::default() };
        let (id, owner, wanted) = (LeaseId(Uuid::new_v4()), OWNER.to_owned(), Box::new(wanted));
        Command::Lease(LeaseCommand::Lease { id, node: other, owner, wanted, terms })
    };
    let numbers: Vec<i64> = (0..i64::try_from(held).expect("not so many")).collect();
    for some in numbers.chunks(1000) {
        let commands = some.iter().map(|number| lease(*number)).collect();
        let given = rig.engine.store.submit_all(commands, &Actor::System("test")).await;
        assert!(given.iter().all(Result::is_ok));
    }
    let (start, end) = (rig.engine.store.now() + SignedDuration::from_secs(1), SignedDuration::from_secs(1));
    let end = start + end;
    let lease = rig.lease_at(node, "bob", start, end).await;
    let next = rig.lease_at(node, "eve", end, end + SignedDuration::from_hours(1)).await;
    assert_eq!(rig.outcome(lease).await, LeaseState::Expired);
    rig.until_active(next).await;
    for (lease, state, moment) in
        [(lease, LeaseState::Active, start), (lease, LeaseState::WaitExpire, end), (next, LeaseState::WaitFulfill, end)]
    {
        let late = rig.lateness(lease, state, moment).await;
        assert!(!late.is_negative() && late < SignedDuration::from_secs(1), "{state:?} came {late:?} late");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_begin_and_end_in_their_second() {
    begin_and_end_within_a_second(2000).await;
}

/// `cargo test -p leasehold-engine --release -- --ignored --nocapture a_hundred_thousand`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes a hundred thousand leases first, which takes its time"]
async fn leases_begin_and_end_in_their_second_among_a_hundred_thousand() {
    begin_and_end_within_a_second(100_000).await;
}

#[tokio::test]
async fn what_came_while_the_box_was_down_is_caught_up_in_its_order() {
    let rig = Rig::new();
    let running = rig.engine.start();
    let (node, other) = (rig.node(Value::Null).await, rig.node(Value::Null).await);
    let whole = rig.lease(node, "ada", 100, 200).await;
    let next = rig.lease(node, "bob", 200, 100_000).await;
    let active = rig.lease(other, "ada", -5, 300).await;
    rig.until_active(active).await;
    drop(running);
    rig.ahead.fetch_add(1000, Ordering::Relaxed);
    let rig = rig.again().await;
    let _running = rig.engine.start();
    assert_eq!(rig.outcome(whole).await, LeaseState::Expired);
    assert_eq!(rig.outcome(active).await, LeaseState::Expired);
    rig.until_active(next).await;
    rig.must_be_clean(other);
    assert_eq!(rig.shown(node).settings.lessee.as_deref(), Some("bob"));
}

#[tokio::test]
async fn who_waits_has_the_node_when_it_is_in_order_again() {
    let mut rig = Rig::new();
    for down in [false, true] {
        let running = rig.engine.start();
        let node = rig.node(Value::Null).await;
        rig.verb(node, Verb::Deploy).await;
        rig.until(|view| rests(view, node, ProvisionState::Active)).await;
        rig.give(Command::SetMaintenance { node, on: true, reason: None }).await.expect("allowed");
        let lease = rig.lease(node, "ada", -1, 3600).await;
        rig.until(|view| view.lease.lease(lease).is_some_and(|lease| lease.state == LeaseState::WaitFulfill)).await;
        let running = (!down).then_some(running);
        rig.give(Command::SetMaintenance { node, on: false, reason: None }).await.expect("allowed");
        let running = match running {
            Some(running) => running,
            None => {
                rig = rig.again().await;
                rig.engine.start()
            }
        };
        rig.until_active(lease).await;
        drop(running);
    }
}

#[tokio::test]
async fn a_clock_that_is_set_takes_nothing_from_anybody_before_its_time() {
    let rig = Rig::new();
    let _running = rig.engine.start();
    let node = rig.node(Value::Null).await;
    let lease = rig.lease(node, "ada", 1000, 2000).await;
    rig.set_clock(1500).await;
    rig.until_active(lease).await;
    rig.set_clock(-1400).await;
    // Whatever else happens to the node meanwhile.
    rig.verb(node, Verb::Deploy).await;
    rig.until(|view| rests(view, node, ProvisionState::Active)).await;
    let settle = LeaseCommand::Settle { node, job: JobId(Uuid::new_v4()) };
    rig.give(Command::Lease(settle)).await.expect("never refused");
    assert_eq!(rig.shown(node).lease, Some(lease), "before its start it is still hers");
    rig.set_clock(3000).await;
    assert_eq!(rig.outcome(lease).await, LeaseState::Expired);
    rig.must_be_clean(node);
}

#[tokio::test]
async fn a_node_is_taken_back_whatever_it_is_doing() {
    const LONG: i64 = 3600;
    let rig = Rig::new();
    let _running = rig.engine.start();
    let node = rig.node(Value::Null).await;
    // Nobody wipes between uses of this one, but between people it is wiped.
    rig.change(node, |settings| settings.automated_clean = Some(false)).await;
    type Case = (&'static [(Verb, ProvisionState)], &'static str, ProvisionState);
    let cases: [Case; 8] = [
        (&[], "", ProvisionState::Available),
        (&[], "manage", ProvisionState::Manageable),
        (&[], "boot", ProvisionState::DeployWait),
        (&[], "deploy", ProvisionState::Deploying),
        (&[(Verb::Deploy, ProvisionState::Active)], "", ProvisionState::Active),
        (&[(Verb::Deploy, ProvisionState::Active), (Verb::Rescue, ProvisionState::Rescue)], "", ProvisionState::Rescue),
        (&[(Verb::Deploy, ProvisionState::Active)], "rescue", ProvisionState::RescueWait),
        (&[(Verb::Deploy, ProvisionState::Active)], "service", ProvisionState::Servicing),
    ];
    for (verbs, slow, state) in cases {
        let lease = rig.lease(node, "ada", -1, LONG).await;
        rig.until_active(lease).await;
        for (verb, state) in verbs {
            rig.verb(node, *verb).await;
            rig.until(|view| rests(view, node, *state)).await;
        }
        // The wait for a rescue system is a start of the machine.
        let work = if slow == "rescue" { "boot" } else { slow };
        if !matches!(work, "" | "manage") {
            rig.change(node, |settings| drop(settings.driver_info.insert(format!("fake_{work}_delay"), LONG.into())))
                .await;
        }
        match slow {
            "manage" => rig.verb(node, Verb::Manage).await,
            "boot" | "deploy" => rig.verb(node, Verb::Deploy).await,
            "rescue" => rig.verb(node, Verb::Rescue).await,
            "service" => rig.verb(node, Verb::Service).await,
            _ => {}
        }
        rig.until(|view| view.node(node).is_some_and(|node| node.provision_state == state)).await;
        if work == "boot" {
            // It would keep the agent of the wipe away, too.
            rig.end(lease).await;
            rig.until(|view| view.node(node).is_some_and(|node| node.provision_state == ProvisionState::CleanWait))
                .await;
            let job = rig.shown(node).job.expect("a job");
            let step = leasehold_domain::job::StepName::AwaitAgent;
            let end = leasehold_domain::command::StepEnd::Done(None);
            rig.give(Command::EndStep { job, step, end }).await.expect("its step");
        } else {
            rig.end(lease).await;
        }
        assert_eq!(rig.outcome(lease).await, LeaseState::Deleted, "{state:?}");
        rig.must_be_clean(node);
        rig.change(node, |settings| settings.driver_info.clear()).await;
    }
}

#[tokio::test]
async fn what_cannot_be_wiped_is_nobodys_until_it_was() {
    let rig = Rig::new();
    let _running = rig.engine.start();
    let node = rig.node(Value::Null).await;
    rig.change(node, |settings| settings.automated_clean = Some(false)).await;
    let lease = rig.lease(node, "ada", -1, 3600).await;
    let next = rig.lease(node, "bob", 3600, 9_000_000).await;
    rig.until_active(lease).await;
    rig.change(node, |settings| drop(settings.driver_info.insert("fake_clean_fail".into(), "old data".into()))).await;
    rig.set_clock(4000).await;
    assert_eq!(rig.outcome(lease).await, LeaseState::Error);
    assert!(rig.shown(node).is_in_quarantine() && rig.shown(node).maintenance);
    let retry = |job| rig.give(Command::Lease(LeaseCommand::Retry { node, job }));
    retry(JobId(Uuid::new_v4())).await.expect("in quarantine");
    rig.until(|view| view.node(node).is_some_and(|node| node.job.is_none() && node.maintenance)).await;
    assert!(rig.shown(node).is_in_quarantine(), "again");
    rig.change(node, |settings| settings.driver_info.clear()).await;
    retry(JobId(Uuid::new_v4())).await.expect("in quarantine");
    rig.until_active(next).await;
    assert_eq!((rig.shown(node).fault.clone(), rig.shown(node).settings.lessee.as_deref()), (None, Some("bob")));
}
