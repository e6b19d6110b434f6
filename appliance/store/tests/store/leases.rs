//! Offers and leases on disk: what is not over is in the view after every start, what is over is found on disk by whose it
//! was, and nothing is in both or in neither.

use crate::common::{ENGINE, cases, create, options, rows, user};
use jiff::{SignedDuration, Timestamp};
use leasehold_domain::command::{Answer, StepEnd};
use leasehold_domain::id::{JobId, LeaseId, NodeId, OfferId, QuotaId};
use leasehold_domain::job::StepState;
use leasehold_domain::lease::{
    Lease, LeaseCommand, LeaseRow, LeaseState, Limits, NewLease, NewOffer, Offer, OfferState, Terms,
};
use leasehold_domain::node::NodeSettings;
use leasehold_domain::power::PowerState;
use leasehold_domain::provision::Verb;
use leasehold_domain::rows::Rows;
use leasehold_domain::view::Change;
use leasehold_domain::{Command, Refusal, View};
use leasehold_store::{EndedBy, EndedPage, EndedPlace, Feed, News, Options, Store, SubmitError};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use uuid::Uuid;

const OWNER: &str = "owner";
const BEGIN: i64 = 1_800_000_000;

/// A store whose clock is the test's.
struct World {
    store: Store,
    clock: Arc<AtomicI64>,
    ids: u128,
}

impl World {
    fn open(dir: &Path, clock: Arc<AtomicI64>) -> World {
        let shown = clock.clone();
        let read = move || Timestamp::from_second(shown.load(Ordering::Relaxed)).expect("a time");
        let options = Options { clock: Arc::new(read), ..options() };
        World { store: Store::open(dir, options).expect("the store opens"), clock, ids: 1000 }
    }

    fn new(dir: &Path) -> World {
        World::open(dir, Arc::new(AtomicI64::new(BEGIN)))
    }

    async fn again(self, dir: &Path) -> World {
        self.store.close().await;
        World { ids: self.ids, ..World::open(dir, self.clock) }
    }

    fn at(&self, hours: i64) -> Timestamp {
        self.store.now() + SignedDuration::from_hours(hours)
    }

    fn wait(&self, hours: i64) {
        self.clock.fetch_add(hours * 3600, Ordering::Relaxed);
    }

    fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    async fn give(&self, command: Command) -> Result<Answer, SubmitError> {
        self.store.submit(command, ENGINE).await.map(|committed| committed.answer)
    }

    async fn node(&self, number: u128) -> NodeId {
        let Command::CreateNode { id, settings, start } = create(number, &format!("n{number}")) else { unreachable!() };
        let digest = "a".repeat(64);
        let info = json!({ "image_source": "http://box/image", "image_checksum": digest });
        let settings = NodeSettings {
            owner: Some(OWNER.into()),
            driver: "fake-hardware".into(),
            instance_info: info.as_object().cloned().unwrap_or_default(),
            ..*settings
        };
        self.give(Command::CreateNode { id, settings: Box::new(settings), start }).await.expect("new");
        id
    }

    async fn offer(&mut self, node: NodeId, from: i64, until: i64) -> Result<OfferId, SubmitError> {
        let id = OfferId(self.id());
        let (start, end) = (Some(self.at(from)), Some(self.at(until)));
        let wanted = Box::new(NewOffer { project: OWNER.into(), start, end, ..NewOffer::default() });
        let terms = Terms::default();
        self.give(Command::Lease(LeaseCommand::Offer { id, node, wanted, terms })).await.map(|_| id)
    }

    async fn lease(&mut self, node: NodeId, project: &str, from: i64, until: i64) -> Result<LeaseId, SubmitError> {
        let id = LeaseId(self.id());
        let (start, end) = (Some(self.at(from)), Some(self.at(until)));
        let wanted = Box::new(NewLease { project: project.into(), start, end, ..NewLease::default() });
        let (owner, terms) = (OWNER.to_owned(), Terms::default());
        self.give(Command::Lease(LeaseCommand::Lease { id, node, owner, wanted, terms })).await.map(|_| id)
    }

    async fn claim(&mut self, offer: OfferId, project: &str, from: i64, until: i64) -> Result<LeaseId, SubmitError> {
        let id = LeaseId(self.id());
        let (start, end) = (Some(self.at(from)), Some(self.at(until)));
        let wanted = Box::new(NewLease { project: project.into(), start, end, ..NewLease::default() });
        let terms = Terms::default();
        self.give(Command::Lease(LeaseCommand::Claim { id, offer, wanted, terms })).await.map(|_| id)
    }

    /// The node is verified, wiped and free.
    async fn ready(&mut self, node: NodeId) {
        for verb in [Verb::Manage, Verb::Provide] {
            let job = JobId(self.id());
            self.give(Command::Provision { node, verb, job, input: Box::default() }).await.expect("legal");
            self.work_all(node).await;
        }
    }

    /// The node's job to its end.
    async fn work_all(&self, node: NodeId) {
        while let Some(command) = work(&self.store.view(), node, true) {
            self.give(command).await.expect("its step");
        }
    }

    async fn end(&mut self, id: LeaseId) -> Result<Answer, SubmitError> {
        let job = JobId(self.id());
        self.give(Command::Lease(LeaseCommand::End { id, job })).await
    }

    async fn tick(&mut self) {
        let edges: Vec<_> = self.store.view().lease.edges_until(self.store.now()).collect();
        for (_, edge) in edges {
            let (job, terms) = (JobId(self.id()), Terms::default());
            self.give(Command::Lease(LeaseCommand::Tick { edge, job, terms })).await.expect("never refused");
        }
    }

    async fn ended(&self, by: EndedBy) -> Vec<LeaseId> {
        self.page(vec![by], None, 1000).await.rows.iter().map(|lease| lease.id).collect()
    }

    async fn page(&self, by: Vec<EndedBy>, after: Option<EndedPlace>, limit: usize) -> EndedPage<Lease> {
        self.store.ended_leases(by, after, limit, |_| true).await.expect("read")
    }
}

#[tokio::test]
async fn what_is_over_is_found_by_id_and_by_whose_it_was() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut world = World::new(dir.path());
    let (one, two) = (world.node(1).await, world.node(2).await);
    let offer = world.offer(one, 1, 100).await.expect("free");
    let claimed = world.claim(offer, "ada", 10, 20).await.expect("offered");
    let other = world.claim(offer, "bob", 20, 30).await.expect("offered");
    let given = world.lease(two, "ada", 10, 20).await.expect("free");
    let kept = world.lease(two, "bob", 20, 30).await.expect("free");
    for lease in [claimed, given, other] {
        world.wait(1);
        world.end(lease).await.expect("not over");
    }
    world.give(Command::Lease(LeaseCommand::Withdraw { id: offer })).await.expect("open");

    let before = rows(&world.store.view());
    let mut world = world.again(dir.path()).await;
    assert_eq!(rows(&world.store.view()), before);
    assert!(world.store.view().lease.lease(kept).is_some() && world.store.view().lease.offer(offer).is_none());
    let (ada, bob) = (EndedBy::Project("ada".into()), EndedBy::Project("bob".into()));
    assert_eq!(world.ended(EndedBy::All).await, [other, given, claimed]);
    assert_eq!(world.ended(ada.clone()).await, [given, claimed]);
    assert_eq!(world.ended(bob.clone()).await, [other]);
    assert_eq!(world.ended(EndedBy::Project("ad".into())).await, []);
    assert_eq!(world.ended(EndedBy::Owner(OWNER.into())).await, [other, given, claimed]);
    assert_eq!(world.ended(EndedBy::Node(two)).await, [given]);
    assert_eq!(world.ended(EndedBy::Offer(offer)).await, [other, claimed]);
    let shown = world.store.ended_lease(given).await.expect("read").expect("it is over");
    assert_eq!((shown.state, shown.project.as_str()), (LeaseState::Deleted, "ada"));
    assert_eq!(world.store.ended_lease(kept).await.expect("read"), None);
    let shown = world.store.ended_offer(offer).await.expect("read").expect("it is over");
    assert_eq!(shown.state, OfferState::Deleted);
    let offers = world.store.ended_offers(vec![EndedBy::Node(one)], None, 9, |_| true).await.expect("read");
    assert_eq!(offers.rows.iter().map(|offer| offer.id).collect::<Vec<_>>(), [offer]);

    // Of whoever it was, each once, and page by page.
    let all = vec![ada, bob, EndedBy::Owner(OWNER.into())];
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = world.page(all.clone(), after, 1).await;
        assert!(page.rows.len() <= 1);
        seen.extend(page.rows.iter().map(|lease| lease.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, [other, given, claimed]);
    let wanted = world.store.ended_leases(all, None, 9, |lease| lease.project == "bob").await.expect("read");
    assert_eq!((wanted.rows.len(), wanted.next), (1, None));
    world.end(kept).await.expect("not over");
    assert_eq!(world.ended(EndedBy::Node(two)).await, [kept, given], "newest first");
    world.store.close().await;
}

#[tokio::test]
async fn the_audit_tells_what_a_lease_was_and_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut world = World::new(dir.path());
    let node = world.node(1).await;
    let lease = world.lease(node, "ada", 1, 2).await.expect("free");
    let end = world.at(3);
    let change = LeaseCommand::ChangeEnd { id: lease, revision: 0, end, terms: Terms::default() };
    world.store.submit(Command::Lease(change), user()).await.expect("free");
    let job = JobId(world.id());
    world.store.submit(Command::Lease(LeaseCommand::End { id: lease, job }), user()).await.expect("not over");
    let told = world.store.audit(2).await.expect("read");
    let change = |nth: usize| told[nth].change.clone().expect("a change")[format!("lease {lease}")].clone();
    assert_eq!((told[0].what.as_str(), told[1].what.as_str()), ("delete-lease", "change-lease"));
    assert_eq!(told[0].subject, Some(lease.to_string()));
    assert_eq!(change(0)["state"], json!(["created", "deleted"]));
    assert_eq!(change(1)["span.end"][1], json!(end));
    world.store.close().await;
}

#[tokio::test]
async fn a_quota_holds_after_a_restart_until_it_is_taken_away() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut world = World::new(dir.path());
    let node = world.node(1).await;
    let set = |world: &mut World, class: Option<&str>, limits: Option<Limits>| {
        let (id, class) = (QuotaId(world.id()), class.map(str::to_owned));
        Command::Lease(LeaseCommand::SetQuota { id, project: "ada".into(), class, limits })
    };
    let none = Limits { leases: Some(1), nodes: Some(7), ..Limits::default() };
    for class in [None, Some("gpu")] {
        let command = set(&mut world, class, Some(none));
        world.store.submit(command, user()).await.expect("set");
    }
    world.lease(node, "ada", 1, 2).await.expect("the first");
    let before = rows(&world.store.view());
    let mut world = world.again(dir.path()).await;
    assert_eq!(rows(&world.store.view()), before);
    let quotas: Vec<_> = world.store.view().lease.quotas_of("ada").map(|quota| quota.class.clone()).collect();
    assert_eq!(quotas, [None, Some("gpu".into())]);
    let second = world.lease(node, "ada", 3, 4).await;
    assert!(matches!(second, Err(SubmitError::Refused(Refusal::OverQuota(_)))), "{second:?}");
    let command = set(&mut world, None, None);
    world.store.submit(command, user()).await.expect("it was there");
    let told = world.store.audit(1).await.expect("read");
    assert_eq!((told[0].what.as_str(), told[0].subject.as_deref()), ("set-lease-quota", Some("ada")));
    let mut world = world.again(dir.path()).await;
    assert!(world.store.view().lease.quota("ada", None).is_none());
    world.lease(node, "ada", 3, 4).await.expect("no bound any more");
    world.store.close().await;
}

#[tokio::test]
async fn what_is_told_of_an_unused_lease_is_told_after_a_restart_too_and_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut world = World::new(dir.path());
    let node = world.node(1).await;
    world.ready(node).await;
    let lease = world.lease(node, "ada", 0, 100).await.expect("free");
    world.tick().await;
    world.work_all(node).await;
    assert_eq!(world.store.view().lease.lease(lease).map(|lease| lease.state), Some(LeaseState::Active));
    let mut world = world.again(dir.path()).await;
    world.wait(24);
    assert_eq!(world.store.view().lease.edges_until(world.store.now()).count(), 1);
    world.tick().await;
    let world = world.again(dir.path()).await;
    assert!(world.store.view().lease.lease(lease).is_some_and(|lease| lease.watch.warned && !lease.watch.used));
    assert_eq!(world.store.view().lease.edges_until(world.store.now()).count(), 0);
    let command =
        Command::Provision { node, verb: Verb::Deploy, job: JobId(Uuid::from_u128(7)), input: Box::default() };
    world.give(command).await.expect("available");
    let world = world.again(dir.path()).await;
    assert!(world.store.view().lease.lease(lease).is_some_and(|lease| lease.watch.used));
    world.store.close().await;
}

#[derive(Clone, Debug)]
enum Wish {
    Offer(u8, i64, i64),
    Withdraw(usize),
    Claim(usize, u8, i64, i64),
    Lease(u8, u8, i64, i64),
    End(usize),
    Wait(i64),
    Tick,
    Settle(u8),
    Deploy(u8),
    Work(u8, bool),
    PressButton(u8),
    Reopen,
}

fn wish() -> impl Strategy<Value = Wish> {
    let node = || 0..2_u8;
    let times = || (0..30_i64, 1..12_i64).prop_map(|(start, length)| (start, start + length));
    prop_oneof![
        2 => (node(), times()).prop_map(|(node, (from, until))| Wish::Offer(node, from, until)),
        1 => any::<usize>().prop_map(Wish::Withdraw),
        3 => (any::<usize>(), node(), times()).prop_map(|(offer, whose, (from, until))| Wish::Claim(offer, whose, from, until)),
        3 => (node(), node(), times()).prop_map(|(node, whose, (from, until))| Wish::Lease(node, whose, from, until)),
        2 => any::<usize>().prop_map(Wish::End),
        4 => (0..6_i64).prop_map(Wish::Wait),
        5 => Just(Wish::Tick),
        2 => node().prop_map(Wish::Settle),
        1 => node().prop_map(Wish::Deploy),
        8 => (node(), prop::bool::weighted(0.95)).prop_map(|(node, ok)| Wish::Work(node, ok)),
        1 => node().prop_map(Wish::PressButton),
        1 => Just(Wish::Reopen),
    ]
}

/// One move of the node's job.
fn work(view: &View, node: NodeId, ok: bool) -> Option<Command> {
    let job = view.node(node).and_then(|node| view.running_job(node))?;
    let step = job.current()?;
    Some(match step.state {
        StepState::Pending => Command::StartStep { job: job.id, step: step.name },
        _ => {
            let end = if ok { StepEnd::Done(None) } else { StepEnd::Failed("no".into()) };
            Command::EndStep { job: job.id, step: step.name, end }
        }
    })
}

/// The last that was told of each offer and lease.
#[derive(Default)]
struct Told {
    /// So far the feed was read.
    snapshot: u64,
    offers: BTreeMap<OfferId, Arc<Offer>>,
    leases: BTreeMap<LeaseId, Arc<Lease>>,
}

impl Told {
    fn take(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Lease(Rows::Put(LeaseRow::Offer(offer))) => drop(self.offers.insert(offer.id, offer.clone())),
                Change::Lease(Rows::Put(LeaseRow::Lease(lease))) => drop(self.leases.insert(lease.id, lease.clone())),
                _ => {}
            }
        }
    }
}

async fn run(wishes: Vec<Wish>) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut world = World::new(dir.path());
    let nodes = [world.node(1).await, world.node(2).await];
    let mut told = Told::default();
    let mut feed = world.store.subscribe();
    for node in nodes {
        world.ready(node).await;
    }
    for wish in wishes {
        let view = world.store.view();
        let node = |number: u8| nodes[usize::from(number)];
        let project = |number: u8| format!("project{number}");
        match wish {
            Wish::Offer(number, from, until) => drop(world.offer(node(number), from, until).await),
            Wish::Withdraw(which) | Wish::Claim(which, ..) if view.lease.offers().count() > 0 => {
                let offer = view.lease.offers().nth(which % view.lease.offers().count()).expect("there").id;
                match wish {
                    Wish::Claim(_, whose, from, until) => drop(world.claim(offer, &project(whose), from, until).await),
                    _ => drop(world.give(Command::Lease(LeaseCommand::Withdraw { id: offer })).await),
                }
            }
            Wish::Lease(number, whose, from, until) => {
                drop(world.lease(node(number), &project(whose), from, until).await);
            }
            Wish::End(which) if view.lease.leases().count() > 0 => {
                let lease = view.lease.leases().nth(which % view.lease.leases().count()).expect("there").id;
                let _ = world.end(lease).await;
            }
            Wish::Wait(hours) => world.wait(hours),
            Wish::Tick => world.tick().await,
            Wish::Settle(number) => {
                let job = JobId(world.id());
                let settle = LeaseCommand::Settle { node: node(number), job };
                world.give(Command::Lease(settle)).await.expect("never refused");
            }
            Wish::Deploy(number) => {
                let (job, input) = (JobId(world.id()), Box::default());
                let _ = world.give(Command::Provision { node: node(number), verb: Verb::Deploy, job, input }).await;
            }
            Wish::Work(number, ok) => {
                if let Some(command) = work(&view, node(number), ok) {
                    world.give(command).await.expect("its step");
                }
            }
            Wish::PressButton(number) => {
                let on = Some(PowerState::On);
                world.give(Command::ObservePower { node: node(number), power: on, error: None }).await.expect("seen");
            }
            Wish::Reopen => {
                let before = rows(&world.store.view());
                world = world.again(dir.path()).await;
                (feed, told.snapshot) = (world.store.subscribe(), 0);
                assert_eq!(rows(&world.store.view()), before);
            }
            Wish::Withdraw(_) | Wish::Claim(..) | Wish::End(_) => {}
        }
        told.follow(&mut feed, &world.store).await;
    }
    let before = rows(&world.store.view());
    let world = world.again(dir.path()).await;
    let view = world.store.view();
    assert_eq!(rows(&view), before, "the disk says what the view said");
    let (mut over, mut offers_over) = (0, 0);
    for (id, lease) in &told.leases {
        let ended = world.store.ended_lease(*id).await.expect("read");
        let (live, cold) = if lease.state.is_over() { (None, Some(lease)) } else { (Some(lease), None) };
        assert_eq!((view.lease.lease(*id), ended.as_ref()), (live, cold));
        over += usize::from(lease.state.is_over());
    }
    for (id, offer) in &told.offers {
        let ended = world.store.ended_offer(*id).await.expect("read");
        let (live, cold) = if offer.is_open() { (Some(offer), None) } else { (None, Some(offer)) };
        assert_eq!((view.lease.offer(*id), ended.as_ref()), (live, cold));
        offers_over += usize::from(!offer.is_open());
    }
    let page = world.page(vec![EndedBy::All], None, 10_000).await;
    assert_eq!((page.rows.len(), page.next), (over, None));
    assert!(page.rows.is_sorted_by(|one, next| one.updated_at >= next.updated_at));
    let mut found = Vec::new();
    for node in nodes {
        found.extend(world.ended(EndedBy::Node(node)).await);
    }
    let mut all: Vec<_> = page.rows.iter().map(|lease| lease.id).collect();
    found.sort();
    all.sort();
    assert_eq!(found, all, "each is found by its node");
    let page =
        world.store.ended_offers(vec![EndedBy::Owner(OWNER.into())], None, 10_000, |_| true).await.expect("read");
    assert_eq!(page.rows.len(), offers_over);
    world.store.close().await;
}

impl Told {
    /// What the feed has told up to the present state.
    async fn follow(&mut self, feed: &mut Feed, store: &Store) {
        while self.snapshot < store.snapshot() {
            match feed.next().await {
                Some(News::Update(update)) => {
                    self.take(&update.changes);
                    self.snapshot = update.snapshot;
                }
                other => panic!("{other:?}: every update is read"),
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn what_is_over_is_on_disk_and_the_rest_is_in_the_view(wishes in proptest::collection::vec(wish(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(run(wishes));
    }
}
