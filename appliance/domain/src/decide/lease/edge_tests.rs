//! What begins and ends, with a machine that is made ready by jobs: each way once, then random histories.

use crate::command::{Actor, Command, Context, NodeStart, StepEnd};
use crate::decide::decide;
use crate::id::{JobId, LeaseId, NodeId, OfferId};
use crate::job::{Job, JobInput, JobKind, StepName};
use crate::lease::{Lease, LeaseCommand, LeaseRow, LeaseState, NewLease, NewOffer, OfferState, Terms};
use crate::node::{Node, NodeSettings, QUARANTINE};
use crate::power::PowerState;
use crate::provision::{ProvisionState, Verb};
use crate::refusal::Refusal;
use crate::rows::{Row, RowKey, Rows};
use crate::view::{Change, View};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

const NODE: NodeId = NodeId(Uuid::from_u128(1));
const OWNER: &str = "owner";

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(1_900_000_000 + 3600 * hour).expect("a time")
}

struct World {
    view: View,
    now: Timestamp,
    ids: u128,
    /// Somebody may have left something on the disks.
    dirty: bool,
    /// The last state of every lease that there was.
    leases: BTreeMap<LeaseId, LeaseState>,
    /// All that was told.
    told: Vec<crate::event::Event>,
    /// The last row of every offer and lease.
    rows: BTreeMap<Vec<u8>, LeaseRow>,
}

impl World {
    /// A node that is available.
    fn new() -> World {
        let (view, leases) = (View::default(), BTreeMap::new());
        let mut world =
            World { view, now: at(0), ids: 0, dirty: true, leases, told: Vec::new(), rows: BTreeMap::new() };
        let driver = "fake-hardware".to_owned();
        let settings = NodeSettings { owner: Some(OWNER.into()), driver, ..NodeSettings::default() };
        world
            .give(Command::CreateNode { id: NODE, settings: Box::new(settings), start: NodeStart::default() })
            .expect("new");
        for verb in [Verb::Manage, Verb::Provide] {
            world.verb(verb).expect("legal");
            world.work_all();
        }
        assert!(world.node().wiped && world.node().provision_state == ProvisionState::Available);
        world
    }

    fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(1000 + self.ids)
    }

    fn node(&self) -> Arc<Node> {
        self.view.node(NODE).expect("there").clone()
    }

    fn job(&self) -> Option<Arc<Job>> {
        self.view.running_job(&self.node()).cloned()
    }

    fn lease(&self, id: LeaseId) -> LeaseState {
        self.leases[&id]
    }

    fn give(&mut self, command: Command) -> Result<(), Refusal> {
        self.give_by(Actor::System("test"), command)
    }

    fn give_by(&mut self, actor: Actor, command: Command) -> Result<(), Refusal> {
        let context = Context { actor, now: self.now };
        let decision = decide(&self.view, &command, &context)?;
        let before = self.view.node(NODE).cloned();
        self.told.extend(decision.events.iter().cloned());
        for change in &decision.changes {
            self.view.apply(change);
            if let Change::Lease(Rows::Put(row)) = change {
                self.rows.insert(row.key().bytes(), row.clone());
                if let LeaseRow::Lease(lease) = row {
                    self.leases.insert(lease.id, lease.state);
                }
            }
        }
        if let Some(before) = before {
            self.check(&before, &command);
        }
        Ok(())
    }

    /// What must hold whatever happens.
    fn check(&mut self, before: &Node, command: &Command) {
        if let Command::EndStep { step: StepName::Wipe, end: StepEnd::Done(_), .. } = command {
            self.dirty = false;
        }
        let node = self.node();
        if node.lease != before.lease && node.lease.is_some() {
            assert!(!self.dirty, "{command:?} gives a node away that was not wiped");
            assert_eq!(node.provision_state, ProvisionState::Available);
        }
        let starts = self.job().is_some_and(|job| job.kind == JobKind::Deploy);
        let by_hand = node.power_state == Some(PowerState::On) && node.job.is_none();
        self.dirty |= node.lease.is_some() || starts || by_hand;
        assert!(!node.wiped || !self.dirty, "{command:?}");
        if node.is_in_quarantine() {
            assert_ne!(node.provision_state, ProvisionState::Available, "{command:?} frees what was not wiped");
            assert!(!node.wiped && node.lease.is_none(), "{command:?}");
            let kind = self.job().map(|job| job.kind);
            assert!(!matches!(kind, Some(JobKind::Deploy | JobKind::Rescue | JobKind::Service)), "{command:?}");
        }
        if before.is_in_quarantine() && !node.is_in_quarantine() {
            assert!(matches!(command, Command::EndStep { step: StepName::Wipe, .. }), "{command:?} ends quarantine");
        }
        let lease = node.lease.map(|id| self.view.lease.lease(id).expect("a lease that is not over"));
        assert_eq!(node.settings.lessee, lease.map(|lease| lease.project.clone()));
        let named = node.settings.properties.get("lease_uuid").and_then(|id| id.as_str()).map(str::to_owned);
        assert_eq!(named, node.lease.map(|id| id.to_string()));
        assert_eq!(node.settings.owner.as_deref(), Some(OWNER));
        if let Some(lease) = lease {
            assert_eq!(lease.state, LeaseState::Active, "{command:?}");
        }
        let present = self.view.lease.leases().filter(|lease| lease.state.is_present()).map(|lease| lease.parent);
        let levels: Vec<_> = present.collect();
        assert!((1..levels.len()).all(|at| !levels[at..].contains(&levels[at - 1])), "two at a time after {command:?}");
        for lease in self.view.lease.leases().filter(|lease| lease.state == LeaseState::Active) {
            let above = lease.parent.map(|id| self.view.lease.lease(id).expect("not over before its parts"));
            assert!(above.is_none_or(|above| above.state == LeaseState::Active), "{command:?}");
        }
    }

    fn verb(&mut self, verb: Verb) -> Result<(), Refusal> {
        let job = JobId(self.id());
        self.give(Command::Provision { node: NODE, verb, job, input: Box::new(JobInput::default()) })
    }

    /// One step of the running job.
    fn work(&mut self, ok: bool) -> bool {
        let Some(job) = self.job() else { return false };
        let Some(step) = job.current().map(|step| step.name) else { return false };
        self.give(Command::StartStep { job: job.id, step }).expect("its step");
        let end = if ok { StepEnd::Done(None) } else { StepEnd::Failed("the disk returns old data".into()) };
        self.give(Command::EndStep { job: job.id, step, end }).expect("its step");
        true
    }

    fn work_all(&mut self) {
        while self.work(true) {}
    }

    /// Everything that time has brought about, as the reconciler does it.
    fn tick(&mut self) {
        let edges: Vec<_> = self.view.lease.edges_until(self.now).collect();
        for (_, edge) in edges {
            let job = JobId(self.id());
            self.give(Command::Lease(LeaseCommand::Tick { edge, job, terms: Terms::default() }))
                .expect("never refused");
        }
        if self.view.lease.edges_until(self.now).next().is_some() {
            // What begins only after something else has ended.
            self.tick();
        }
    }

    fn settle(&mut self) {
        let job = JobId(self.id());
        self.give(Command::Lease(LeaseCommand::Settle { node: NODE, job })).expect("never refused");
    }

    fn wait(&mut self, hours: i64) {
        self.now += SignedDuration::from_hours(hours);
    }

    fn offer(&mut self, project: &str, start: i64, end: i64) -> Result<OfferId, Refusal> {
        let id = OfferId(self.id());
        let (start, end) = (Some(at(start)), Some(at(end)));
        let wanted = Box::new(NewOffer { project: project.into(), start, end, ..NewOffer::default() });
        self.give(Command::Lease(LeaseCommand::Offer { id, node: NODE, wanted, terms: Terms::default() }))?;
        Ok(id)
    }

    fn lend(&mut self, owner: &str, project: &str, start: i64, end: i64) -> Result<LeaseId, Refusal> {
        let id = LeaseId(self.id());
        let (owner, terms) = (owner.to_owned(), Terms::default());
        let (start, end) = (Some(at(start)), Some(at(end)));
        let wanted = Box::new(NewLease { project: project.into(), start, end, ..NewLease::default() });
        self.give(Command::Lease(LeaseCommand::Lease { id, node: NODE, owner, wanted, terms }))?;
        Ok(id)
    }

    fn end(&mut self, id: LeaseId) -> Result<(), Refusal> {
        let job = JobId(self.id());
        self.give(Command::Lease(LeaseCommand::End { id, job }))
    }
}

#[test]
fn a_clean_node_is_the_lessees_at_once_and_goes_back_through_a_wipe() {
    let mut world = World::new();
    let lease = world.lend(OWNER, "ada", 1, 5).expect("free");
    world.tick();
    assert_eq!((world.lease(lease), world.node().settings.lessee.clone()), (LeaseState::Created, None));
    world.wait(1);
    world.tick();
    assert_eq!((world.lease(lease), world.node().lease), (LeaseState::Active, Some(lease)));
    assert_eq!(world.node().settings.lessee.as_deref(), Some("ada"));
    world.wait(4);
    world.tick();
    assert_eq!((world.lease(lease), world.node().settings.lessee.clone()), (LeaseState::WaitExpire, None));
    assert_eq!(world.job().expect("a job").kind, JobKind::HandOver);
    world.work_all();
    let node = world.node();
    assert_eq!((world.lease(lease), node.provision_state), (LeaseState::Expired, ProvisionState::Available));
    assert!(node.wiped && world.view.lease.lease(lease).is_none());
}

#[test]
fn a_deployment_in_the_middle_is_superseded() {
    let mut world = World::new();
    let lease = world.lend(OWNER, "ada", 0, 5).expect("free");
    world.tick();
    world.verb(Verb::Deploy).expect("available");
    assert!(world.work(true));
    let deployment = world.job().expect("a job").id;
    world.end(lease).expect("his");
    let job = world.job().expect("another");
    assert!(job.id != deployment && job.kind == JobKind::HandOver);
    assert!(matches!(world.end(lease), Err(Refusal::InUse(_))), "twice");
    world.work_all();
    assert_eq!((world.lease(lease), world.node().lease), (LeaseState::Deleted, None));
}

#[test]
fn the_owners_own_data_is_wiped_before_the_lessee_comes() {
    let mut world = World::new();
    world.verb(Verb::Deploy).expect("available");
    world.work_all();
    assert_eq!(world.node().provision_state, ProvisionState::Active);
    let lease = world.lend(OWNER, "ada", 0, 5).expect("free");
    world.tick();
    assert_eq!(world.lease(lease), LeaseState::WaitFulfill);
    world.work_all();
    assert_eq!((world.lease(lease), world.node().lease), (LeaseState::Active, Some(lease)));
}

#[test]
fn a_lease_under_a_lease_ends_first_and_the_upper_one_has_the_node_again() {
    let mut world = World::new();
    let upper = world.lend(OWNER, "ada", 0, 10).expect("free");
    world.tick();
    let lower = world.lend("ada", "bob", 1, 3).expect("hers");
    let offer = world.offer("ada", 4, 6).expect("hers");
    world.wait(1);
    world.tick();
    assert_eq!(world.lease(lower), LeaseState::WaitFulfill, "her data is on the disks");
    world.work_all();
    assert_eq!(world.node().settings.lessee.as_deref(), Some("bob"));
    world.wait(2);
    world.tick();
    world.work_all();
    assert_eq!((world.lease(lower), world.node().lease), (LeaseState::Expired, Some(upper)));
    let lower = world.lend("ada", "bob", 7, 9).expect("hers");
    world.wait(4);
    world.tick();
    world.work_all();
    assert_eq!((world.lease(lower), world.node().lease), (LeaseState::Active, Some(lower)));
    world.end(upper).expect("hers");
    assert_eq!([world.lease(upper), world.lease(lower)], [LeaseState::WaitCancel; 2]);
    assert!(world.view.lease.offer(offer).is_none_or(|offer| offer.state != OfferState::Available));
    world.work_all();
    assert_eq!([world.lease(upper), world.lease(lower)], [LeaseState::Deleted; 2]);
}

#[test]
fn what_cannot_be_wiped_is_in_quarantine_and_nobody_gets_it() {
    let mut world = World::new();
    let lease = world.lend(OWNER, "ada", 0, 5).expect("free");
    let next = world.lend(OWNER, "bob", 5, 9).expect("free");
    world.tick();
    world.wait(5);
    world.tick();
    while world.work(world.job().and_then(|job| job.current().map(|step| step.name)) != Some(StepName::Wipe)) {}
    let node = world.node();
    assert_eq!((world.lease(lease), node.lease), (LeaseState::Error, None));
    assert_eq!((node.maintenance, node.fault.as_deref()), (true, Some(QUARANTINE)));
    world.settle();
    assert_eq!(world.lease(next), LeaseState::WaitFulfill);
    world.wait(4);
    world.tick();
    assert_eq!(world.lease(next), LeaseState::Expired);
    assert_eq!(world.node().settings.lessee, None);
}

#[test]
fn a_box_that_slept_through_a_lease_says_that_it_is_over() {
    let mut world = World::new();
    let lease = world.lend(OWNER, "ada", 1, 2).expect("free");
    let next = world.lend(OWNER, "bob", 2, 9).expect("free");
    world.wait(3);
    world.tick();
    assert_eq!([world.lease(lease), world.lease(next)], [LeaseState::Expired, LeaseState::Active]);
}

#[test]
fn while_it_is_leased_nobody_changes_whose_it_is() {
    let mut world = World::new();
    world.lend(OWNER, "ada", 0, 5).expect("free");
    world.tick();
    let changes: [fn(&mut NodeSettings); 3] = [
        |settings| settings.lessee = Some("eve".into()),
        |settings| settings.owner = Some("eve".into()),
        |settings| drop(settings.properties.remove("lease_uuid")),
    ];
    for change in changes {
        let node = world.node();
        let mut settings = node.settings.clone();
        change(&mut settings);
        let command =
            Command::ChangeNode { id: NODE, revision: node.revision, settings: Box::new(settings), maintenance: None };
        assert!(matches!(world.give(command), Err(Refusal::InUse(_))));
    }
    assert!(matches!(world.give(Command::DeleteNode { id: NODE }), Err(Refusal::InUse(_))));
}

#[derive(Clone, Debug)]
enum Step {
    Offer(i64, i64),
    Lend(i64, i64),
    LendOn(i64, i64),
    End(usize),
    Wait(i64),
    Work(u8, bool),
    Deploy,
    Undeploy,
    PressButton,
    Maintenance(bool),
    Retry,
    Release,
    Provide,
    Settle,
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    let times = || (0..60_i64, 1..12_i64).prop_map(|(start, length)| (start, start + length));
    prop_oneof![
        1 => times().prop_map(|(start, end)| Step::Offer(start, end)),
        3 => times().prop_map(|(start, end)| Step::Lend(start, end)),
        3 => times().prop_map(|(start, end)| Step::LendOn(start, end)),
        2 => any::<usize>().prop_map(Step::End),
        // Now and then somebody sets the clock back.
        5 => (-4..6_i64).prop_map(Step::Wait),
        6 => (1..8_u8, prop::bool::weighted(0.95)).prop_map(|(steps, ok)| Step::Work(steps, ok)),
        2 => Just(Step::Deploy),
        1 => Just(Step::Undeploy),
        1 => Just(Step::PressButton),
        1 => any::<bool>().prop_map(Step::Maintenance),
        1 => Just(Step::Retry),
        1 => Just(Step::Release),
        1 => Just(Step::Provide),
        2 => Just(Step::Settle),
        4 => Just(Step::Tick),
    ]
}

impl World {
    /// Whoever has the node by a lease.
    fn lessee(&self) -> Option<String> {
        let lease: Option<&Arc<Lease>> = self.node().lease.and_then(|id| self.view.lease.lease(id));
        lease.map(|lease| lease.project.clone())
    }

    /// The step of this number.
    fn take(&mut self, number: usize, step: Step) {
        let project = format!("project{}", number % 3);
        match step {
            Step::Offer(start, end) => drop(self.offer(OWNER, start, end)),
            Step::Lend(start, end) => drop(self.lend(OWNER, &project, start, end)),
            Step::LendOn(start, end) => {
                if let Some(lessee) = self.lessee() {
                    let _ = self.lend(&lessee, &project, start, end);
                }
            }
            Step::End(which) => {
                let open: Vec<_> = self.view.lease.leases().map(|lease| lease.id).collect();
                if !open.is_empty() {
                    let _ = self.end(open[which % open.len()]);
                }
            }
            Step::Wait(hours) => self.wait(hours),
            Step::Work(steps, ok) => {
                for _ in 0..steps {
                    if !self.work(ok) {
                        break;
                    }
                }
            }
            Step::Deploy => drop(self.verb(Verb::Deploy)),
            Step::Undeploy => drop(self.verb(Verb::Undeploy)),
            Step::PressButton => {
                self.give(Command::ObservePower { node: NODE, power: Some(PowerState::On), error: None })
                    .expect("seen");
            }
            Step::Maintenance(on) => {
                self.give(Command::SetMaintenance { node: NODE, on, reason: None }).expect("allowed");
            }
            Step::Retry => {
                let job = JobId(self.id());
                let _ = self.give(Command::Lease(LeaseCommand::Retry { node: NODE, job }));
            }
            Step::Release => drop(self.give(Command::Lease(LeaseCommand::Release { node: NODE }))),
            Step::Provide => {
                let _ = self.verb(Verb::Manage);
                let _ = self.verb(Verb::Provide);
            }
            Step::Settle => self.settle(),
            Step::Tick => self.tick(),
        }
    }
}

#[path = "figures_tests.rs"]
mod figures;
#[path = "quarantine_tests.rs"]
mod quarantine;
#[path = "trick_tests.rs"]
mod tricks;
#[path = "unused_tests.rs"]
mod unused;

proptest! {
    #[test]
    fn a_node_is_handed_on_clean_whatever_happens(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for (number, step) in steps.into_iter().enumerate() {
            world.take(number, step);
        }
        // The owner mends the node and gives it out of his hands, and all that time has brought about is carried out:
        // nobody waits in vain.
        world.give(Command::SetMaintenance { node: NODE, on: false, reason: None }).expect("allowed");
        for _ in 0..4 {
            world.tick();
            world.settle();
            world.work_all();
            if world.node().is_in_quarantine() {
                world.retry().expect("nobody works on it");
            } else if world.node().provision_state == ProvisionState::Manageable {
                world.verb(Verb::Provide).expect("manageable");
            }
            world.work_all();
        }
        prop_assert_eq!(world.view.lease.edges_until(world.now).count(), 0);
        let wanted = world.view.lease.wanted(NODE).map(|lease| (lease.id, lease.state));
        prop_assert_eq!(world.node().lease, wanted.map(|(id, _)| id));
        prop_assert!(wanted.is_none_or(|(_, state)| state == LeaseState::Active));
        prop_assert_eq!(world.view.lease.ending(NODE).count(), 0);
        for (id, state) in &world.leases {
            prop_assert_eq!(world.view.lease.lease(*id).is_none(), state.is_over());
        }
    }
}
