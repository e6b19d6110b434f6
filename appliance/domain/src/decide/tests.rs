//! The life of a node through commands, and what must hold whatever happens.

use super::{Decision, decide};
use crate::command::{Actor, Answer, Command, Context, NodeStart, StepEnd};
use crate::id::{JobId, NodeId, PortId};
use crate::job::{Job, JobInput, JobState, StepName, StepState};
use crate::node::{Node, NodeSettings};
use crate::port::PortSettings;
use crate::power::{PowerState, PowerTarget};
use crate::provision::{ProvisionState, Verb};
use crate::refusal::Refusal;
use crate::view::{Change, View};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

mod drive;
mod listed;
mod rescue;

const NODE: NodeId = NodeId(Uuid::from_u128(1));

struct World {
    view: View,
    now: Timestamp,
    jobs: u128,
}

impl World {
    /// One node with a port, able to be deployed.
    fn new() -> World {
        let mut world = World { view: View::default(), now: Timestamp::UNIX_EPOCH, jobs: 0 };
        let image = json!({"image_source": "http://box/image", "image_checksum": "a".repeat(64)});
        let Value::Object(instance_info) = image else { unreachable!("an object") };
        let settings = NodeSettings {
            name: Some("node0".into()),
            driver: "ipmi".into(),
            instance_info,
            ..NodeSettings::default()
        };
        world.must(Command::CreateNode { id: NODE, settings: Box::new(settings), start: NodeStart::default() });
        world.must(Command::CreatePort {
            id: PortId(Uuid::from_u128(7)),
            settings: Box::new(port("52:54:00:00:00:01")),
        });
        world
    }

    fn give(&mut self, command: Command) -> Result<Answer, Refusal> {
        self.now = self.now.checked_add(SignedDuration::from_secs(1)).expect("in range");
        let context = Context { actor: Actor::named("ada"), now: self.now };
        let Decision { changes, answer, .. } = decide(&self.view, &command, &context)?;
        for change in &changes {
            self.view.apply(change);
        }
        Ok(answer)
    }

    fn must(&mut self, command: Command) -> Answer {
        let name = command.name();
        self.give(command).unwrap_or_else(|refusal| panic!("{name}: {refusal}"))
    }

    fn verb(&mut self, verb: Verb) -> Result<Answer, Refusal> {
        self.jobs += 1;
        let job = JobId(Uuid::from_u128(1000 + self.jobs));
        self.give(Command::Provision { node: NODE, verb, job, input: Box::new(JobInput::default()) })
    }

    fn node(&self) -> Arc<Node> {
        self.view.node(NODE).expect("the node").clone()
    }

    fn job(&self) -> Option<Arc<Job>> {
        self.view.running_job(&self.node()).cloned()
    }

    /// Does what engine and agent would do for the present step.
    fn work(&mut self, end: impl Fn(StepName) -> StepEnd) -> bool {
        let Some(job) = self.job() else { return false };
        let Some(step) = job.current().map(|step| step.name) else { return false };
        self.must(Command::StartStep { job: job.id, step });
        let boot = self.job().expect("still running").boots;
        match (step, end(step)) {
            (StepName::AwaitAgent, StepEnd::Done(_)) => self.must(heartbeat(job.id, boot)),
            (StepName::AwaitInventory, StepEnd::Done(_)) => {
                let inventory = json!({"inventory": {"cpu": {"count": 2}, "disks": [{"size": 4_u64 << 30}]}});
                self.must(Command::SaveInventory { job: job.id, boot, inventory })
            }
            (step, end) => self.must(Command::EndStep { job: job.id, step, end }),
        };
        true
    }

    fn finish(&mut self) {
        while self.work(|_| StepEnd::Done(None)) {}
    }

    fn at(state: &[Verb]) -> World {
        let mut world = World::new();
        for verb in state {
            world.verb(*verb).expect("a legal verb");
            world.finish();
        }
        world
    }
}

fn port(mac: &str) -> PortSettings {
    PortSettings::new(NODE, mac.parse().expect("a MAC"))
}

fn heartbeat(job: JobId, boot: u32) -> Command {
    let callback_url = "https://10.0.0.7:9999".into();
    Command::AgentHeartbeat { job, boot, callback_url, certificate: None, version: "1".into() }
}

#[test]
fn a_node_goes_the_whole_way() {
    let mut world = World::new();
    let expected = [
        (Verb::Manage, ProvisionState::Verifying, ProvisionState::Manageable),
        (Verb::Inspect, ProvisionState::Inspecting, ProvisionState::Manageable),
        (Verb::Provide, ProvisionState::Cleaning, ProvisionState::Available),
        (Verb::Deploy, ProvisionState::Deploying, ProvisionState::Active),
        (Verb::Undeploy, ProvisionState::Deleting, ProvisionState::Available),
    ];
    for (verb, during, after) in expected {
        world.verb(verb).expect("a legal verb");
        assert_eq!(
            (world.node().provision_state, world.node().target_provision_state),
            (during, Some(after)),
            "{verb:?}"
        );
        world.finish();
        assert_eq!(world.node().provision_state, after, "{verb:?}");
        assert_eq!(world.node().target_provision_state, None);
        assert!(world.job().is_none() && world.node().last_error.is_none());
    }
    assert!(world.node().settings.instance_info.is_empty(), "nothing of the former user is left");
    assert_eq!(world.node().settings.properties.get("cpus"), Some(&json!(2)), "found by the inspection");
}

#[test]
fn a_waiting_machine_shows_in_the_state() {
    let mut world = World::at(&[Verb::Manage, Verb::Provide]);
    world.verb(Verb::Deploy).expect("legal");
    while world.job().and_then(|job| job.current().map(|step| step.name)) != Some(StepName::AwaitAgent) {
        world.work(|_| StepEnd::Done(None));
    }
    let job = world.job().expect("running");
    world.must(Command::StartStep { job: job.id, step: StepName::AwaitAgent });
    assert_eq!(world.node().provision_state, ProvisionState::DeployWait);
    world.must(heartbeat(job.id, job.boots));
    assert_eq!(world.node().provision_state, ProvisionState::Deploying);
}

#[test]
fn an_abort_while_waiting_ends_the_job_and_stops_the_machine() {
    let mut world = World::at(&[Verb::Manage, Verb::Provide]);
    world.verb(Verb::Deploy).expect("legal");
    assert!(matches!(world.verb(Verb::Abort), Err(Refusal::Locked { .. })), "not while it works");
    while world.job().and_then(|job| job.current().map(|step| step.name)) != Some(StepName::AwaitAgent) {
        world.work(|_| StepEnd::Done(None));
    }
    let deployment = world.job().expect("running");
    world.must(Command::StartStep { job: deployment.id, step: StepName::AwaitAgent });
    world.verb(Verb::Abort).expect("legal");
    assert_eq!(world.node().provision_state, ProvisionState::DeployFailed);
    assert!(world.node().last_error.as_ref().is_some_and(|error| error.contains("Aborted by ada")));
    let late = world.give(heartbeat(deployment.id, deployment.boots));
    assert_eq!(late.err(), Some(Refusal::Stale), "a report of the aborted job");
    world.finish();
    assert_eq!(world.node().power_state, Some(PowerState::Off));
    world.verb(Verb::Deploy).expect("a failed deployment can be repeated");
}

#[test]
fn an_agent_of_an_earlier_boot_is_refused() {
    let mut world = World::at(&[Verb::Manage]);
    world.verb(Verb::Inspect).expect("legal");
    world.work(|_| StepEnd::Done(None));
    let job = world.job().expect("running");
    world.must(Command::StartStep { job: job.id, step: StepName::PowerCycle });
    // The appliance was restarted in the middle of the step and begins it again.
    world.must(Command::StartStep { job: job.id, step: StepName::PowerCycle });
    assert_eq!(world.give(heartbeat(job.id, 1)).err(), Some(Refusal::Stale));
    assert!(world.give(heartbeat(job.id, 2)).is_ok());
}

#[test]
fn a_machine_that_missed_its_boot_is_started_again_with_fresh_time() {
    let mut world = World::at(&[Verb::Manage, Verb::Provide]);
    world.verb(Verb::Deploy).expect("legal");
    while world.job().and_then(|job| job.current().map(|step| step.name)) != Some(StepName::AwaitAgent) {
        world.work(|_| StepEnd::Done(None));
    }
    let job = world.job().expect("running");
    let again = Command::BootAgain { job: job.id };
    assert_eq!(world.give(again.clone()).err(), Some(Refusal::Stale), "nobody waits yet");
    world.must(Command::StartStep { job: job.id, step: StepName::AwaitAgent });
    world.must(again.clone());
    let back = world.job().expect("running");
    let current = back.current().expect("a step");
    assert_eq!((current.name, current.state), (StepName::BootFromNetwork, StepState::Pending));
    assert!(back.steps.iter().skip(1).all(|step| step.deadline.is_none() && step.attempts == 0));
    assert!(!back.wants_agent(), "until it is started again");
    assert_eq!(world.give(heartbeat(job.id, 1)).err(), Some(Refusal::Stale), "an agent of the boot before");
    world.finish();
    assert_eq!(world.node().provision_state, ProvisionState::Active);
    assert_eq!(world.give(again).err(), Some(Refusal::Stale), "the job is over");
}

#[test]
fn an_inventory_that_comes_before_it_is_waited_for_is_kept() {
    let mut world = World::at(&[Verb::Manage]);
    world.verb(Verb::Inspect).expect("legal");
    world.work(|_| StepEnd::Done(None));
    let job = world.job().expect("running");
    world.must(Command::StartStep { job: job.id, step: StepName::PowerCycle });
    let inventory = json!({"inventory": {"cpu": {"count": 2}}});
    world.must(Command::SaveInventory { job: job.id, boot: 1, inventory });
    assert_eq!(world.node().provision_state, ProvisionState::Inspecting, "the start is not yet done");
    assert!(world.node().inspection_finished_at.is_some(), "the wait will see it");
    assert_eq!(world.node().settings.properties.get("cpus"), Some(&json!(2)));
    world.finish();
    assert_eq!(world.node().provision_state, ProvisionState::Manageable);
}

#[test]
fn a_step_taken_up_again_has_time_wherever_the_clock_has_gone() {
    let mut world = World::at(&[Verb::Manage]);
    world.verb(Verb::Inspect).expect("legal");
    let job = world.job().expect("running");
    let step = StepName::BootFromNetwork;
    let start = Command::StartStep { job: job.id, step };
    let limit = SignedDuration::from_secs(step.deadline_seconds());
    let deadline = |world: &World| {
        world.job().and_then(|job| job.current()?.deadline).expect("a deadline").duration_since(world.now)
    };
    world.must(start.clone());
    assert_eq!(deadline(&world), limit);
    world.must(start.clone());
    assert_eq!(deadline(&world), limit - SignedDuration::from_secs(1), "a quick restart gives no new time");
    world.now = world.now.checked_add(SignedDuration::from_hours(40)).expect("in range");
    world.must(start.clone());
    assert_eq!(deadline(&world), limit / 4, "a long one does");
    world.now = Timestamp::UNIX_EPOCH;
    world.must(start);
    assert_eq!(deadline(&world), limit, "a clock that was set back gives no more than there is");
}

#[test]
fn a_failed_cleaning_sets_the_node_aside() {
    let mut world = World::at(&[Verb::Manage]);
    world.verb(Verb::Provide).expect("legal");
    while world.work(|step| match step {
        StepName::Wipe => StepEnd::Failed("the disk returns old data".into()),
        _ => StepEnd::Done(None),
    }) {}
    let node = world.node();
    assert_eq!(node.provision_state, ProvisionState::CleanFailed);
    assert!(node.maintenance && node.fault.as_deref() == Some("clean failure"));
    assert_eq!(node.last_error.as_deref(), Some("the disk returns old data"));
    assert!(matches!(world.verb(Verb::Deploy), Err(Refusal::State { .. })));
}

#[test]
fn what_a_deployment_needs_is_asked_before_anything_happens() {
    let mut world = World::at(&[Verb::Manage, Verb::Provide]);
    let mut settings = world.node().settings.clone();
    settings.instance_info.remove("image_checksum");
    let revision = world.node().revision;
    world.must(Command::ChangeNode { id: NODE, revision, settings: Box::new(settings), maintenance: None });
    let before = world.node();
    assert!(matches!(world.verb(Verb::Deploy), Err(Refusal::Invalid(_))));
    assert_eq!(world.node(), before);
}

#[test]
fn a_change_on_old_knowledge_is_refused() {
    let mut world = World::new();
    let old = world.node();
    world.must(Command::SetMaintenance { node: NODE, on: true, reason: None });
    let change = Command::ChangeNode {
        id: NODE,
        revision: old.revision,
        settings: Box::new(old.settings.clone()),
        maintenance: None,
    };
    assert!(matches!(world.give(change), Err(Refusal::Conflict { .. })));
}

#[test]
fn a_certificate_is_pinned_for_the_address_that_showed_it() {
    let mut world = World::new();
    let at = |world: &mut World, address: &str| {
        let mut settings = world.node().settings.clone();
        settings.driver = "redfish".into();
        settings.driver_info.insert("redfish_address".into(), address.into());
        let revision = world.node().revision;
        world.must(Command::ChangeNode { id: NODE, revision, settings: Box::new(settings), maintenance: None });
    };
    let pin = |address: &str| Command::PinCertificate { node: NODE, address: address.into(), sha256: "ab".into() };
    at(&mut world, "https://one");
    world.must(pin("https://one"));
    at(&mut world, "https://two");
    assert_eq!(world.node().bmc_certificate, None, "it was the other's");
    assert!(matches!(world.give(pin("https://one")), Err(Refusal::Conflict { .. })));
    world.must(pin("https://two"));
}

#[test]
fn one_trait_more_or_less_leaves_the_others_whoever_changes_them() {
    let mut world = World::new();
    let change = |name: &str, on| Command::ChangeTrait { node: NODE, name: name.into(), on };
    world.must(change("CUSTOM_A", true));
    world.must(change("CUSTOM_B", true));
    world.must(change("CUSTOM_A", false));
    assert_eq!(world.node().settings.traits.iter().collect::<Vec<_>>(), ["CUSTOM_B"]);
    assert!(matches!(world.give(change("CUSTOM_A", false)), Err(Refusal::NotFound { .. })));
    assert!(matches!(world.give(change("lower", true)), Err(Refusal::Invalid(_))));
}

#[test]
fn names_and_addresses_belong_to_one_node() {
    let mut world = World::new();
    let twin = NodeSettings { name: Some("node0".into()), driver: "ipmi".into(), ..NodeSettings::default() };
    let other = NodeId(Uuid::from_u128(2));
    let create = |settings: NodeSettings| Command::CreateNode {
        id: other,
        settings: Box::new(settings),
        start: NodeStart::default(),
    };
    assert!(matches!(world.give(create(twin.clone())), Err(Refusal::Exists { .. })));
    assert!(matches!(world.give(create(NodeSettings { name: Some("a b".into()), ..twin })), Err(Refusal::Invalid(_))));
    let second = Command::CreatePort { id: PortId(Uuid::from_u128(8)), settings: Box::new(port("52:54:00:00:00:01")) };
    assert!(matches!(world.give(second), Err(Refusal::Exists { .. })));
    let group = Command::CreatePort { id: PortId(Uuid::from_u128(8)), settings: Box::new(port("01:00:5e:00:00:01")) };
    assert!(matches!(world.give(group), Err(Refusal::Invalid(_))));
}

#[test]
fn a_job_of_another_version_is_stopped_with_a_reason() {
    let mut world = World::at(&[Verb::Manage]);
    world.verb(Verb::Inspect).expect("legal");
    let mut job = (*world.job().expect("running")).clone();
    job.version += 1;
    world.view.apply(&Change::PutJob(Arc::new(job.clone())));
    world.must(Command::StartStep { job: job.id, step: StepName::BootFromNetwork });
    assert_eq!(world.node().provision_state, ProvisionState::InspectFailed);
    assert!(world.node().last_error.as_ref().is_some_and(|error| error.contains("another version")));
}

#[test]
fn a_lost_bmc_sets_the_node_aside_until_it_answers() {
    let mut world = World::at(&[Verb::Manage]);
    world.must(Command::ObservePower { node: NODE, power: None, error: Some("timeout".into()) });
    assert!(world.node().maintenance && world.node().fault.as_deref() == Some("power failure"));
    world.must(Command::ObservePower { node: NODE, power: Some(PowerState::On), error: None });
    assert!(!world.node().maintenance && world.node().fault.is_none());
    // What a person set aside stays aside.
    world.must(Command::SetMaintenance { node: NODE, on: true, reason: Some("fan".into()) });
    world.must(Command::ObservePower { node: NODE, power: Some(PowerState::Off), error: None });
    assert!(world.node().maintenance);
}

#[test]
fn a_bmc_that_falls_silent_while_a_job_works_is_the_jobs_to_tell() {
    let mut world = World::at(&[Verb::Manage, Verb::Provide]);
    world.verb(Verb::Deploy).expect("legal");
    world.must(Command::ObservePower { node: NODE, power: None, error: Some("timeout".into()) });
    assert!(!world.node().maintenance && world.node().fault.is_none());
}

#[test]
fn a_superseded_deployment_keeps_no_config_drive() {
    let mut world = World::at(&[Verb::Manage, Verb::Provide]);
    let job = JobId(Uuid::from_u128(999));
    let input = Box::new(JobInput { config_drive: Some("a user's keys".into()), ..JobInput::default() });
    world.must(Command::Provision { node: NODE, verb: Verb::Deploy, job, input });
    while world.job().and_then(|job| job.current().map(|step| step.name)) != Some(StepName::AwaitAgent) {
        world.work(|_| StepEnd::Done(None));
    }
    world.must(Command::StartStep { job, step: StepName::AwaitAgent });
    let input = Box::new(JobInput::default());
    let abort = Command::Provision { node: NODE, verb: Verb::Abort, job: JobId(Uuid::from_u128(998)), input };
    let context = Context { actor: Actor::System("test"), now: world.now };
    let decision = decide(&world.view, &abort, &context).expect("legal");
    let ended = decision.changes.iter().find_map(|change| match change {
        Change::PutJob(ended) if ended.id == job => Some(ended),
        _ => None,
    });
    assert_eq!(ended.expect("closed with the abort").input.config_drive, None);
}

/// Gives the node changed settings.
fn change(world: &mut World, how: impl FnOnce(&mut NodeSettings)) -> Result<Answer, Refusal> {
    let node = world.node();
    let mut settings = node.settings.clone();
    how(&mut settings);
    let (id, revision) = (node.id, node.revision);
    world.give(Command::ChangeNode { id, revision, settings: Box::new(settings), maintenance: None })
}

fn in_use<T: std::fmt::Debug>(result: Result<T, Refusal>) -> bool {
    matches!(result, Err(Refusal::InUse(_)))
}

#[test]
fn what_may_be_changed_depends_on_the_state() {
    let mut world = World::at(&[Verb::Manage, Verb::Provide]);
    assert!(in_use(change(&mut world, |settings| settings.protected = true)), "nobody uses it");
    assert!(in_use(change(&mut world, |settings| settings.retired = true)), "it is free");
    change(&mut world, |settings| settings.resource_class = Some("large".into())).expect("nobody relies on it");
    world.verb(Verb::Deploy).expect("legal");
    assert!(in_use(change(&mut world, |settings| settings.extra.clear())), "it is on its way");
    while world.job().is_some() {
        world.work(|_| StepEnd::Done(None));
    }
    assert!(in_use(change(&mut world, |settings| settings.driver = "redfish".into())));
    assert!(in_use(change(&mut world, |settings| settings.resource_class = Some("small".into()))));
    let reason = |settings: &mut NodeSettings| settings.protected_reason = Some("mine".into());
    assert!(matches!(change(&mut world, reason), Err(Refusal::Invalid(_))), "a reason for nothing");
    change(&mut world, |settings| settings.protected = true).expect("in use");
    change(&mut world, reason).expect("protected");
    assert!(matches!(world.verb(Verb::Undeploy), Err(Refusal::Forbidden(_))));
    change(&mut world, |settings| settings.protected = false).expect("the reason goes with it");
    assert_eq!(world.node().settings.protected_reason, None);
}

#[test]
fn a_driver_has_its_own_interfaces() {
    let mut world = World::at(&[Verb::Manage]);
    let deploy = |value: &str| {
        let value = value.to_owned();
        move |settings: &mut NodeSettings| drop(settings.interfaces.insert("deploy_interface".into(), value))
    };
    assert!(matches!(change(&mut world, deploy("fake")), Err(Refusal::Invalid(_))));
    change(&mut world, |settings| settings.driver = "fake-hardware".into()).expect("it is unused");
    change(&mut world, deploy("fake")).expect("it has that");
    let back = change(&mut world, |settings| settings.driver = "ipmi".into());
    assert!(matches!(back, Err(Refusal::Invalid(_))), "with an interface that ipmi has not");
    assert!(matches!(change(&mut world, |settings| settings.driver = "none".into()), Err(Refusal::Invalid(_))));
}

#[test]
fn a_part_belongs_to_a_node_of_the_same_owner() {
    let mut world = World::new();
    let create = |number: u128, owner: &str, parent: Option<NodeId>| {
        let mut settings =
            NodeSettings { driver: "fake-hardware".into(), owner: Some(owner.into()), ..NodeSettings::default() };
        if let Some(parent) = parent {
            settings.labels.insert("parent_node".into(), parent.to_string().into());
        }
        let id = NodeId(Uuid::from_u128(number));
        (id, Command::CreateNode { id, settings: Box::new(settings), start: NodeStart::default() })
    };
    let (parent, command) = create(10, "p", None);
    world.must(command);
    let (part, command) = create(11, "p", Some(parent));
    world.must(command);
    for (number, owner, parent) in [(12, "q", parent), (13, "p", NodeId(Uuid::from_u128(99))), (14, "p", part)] {
        let (_, command) = create(number, owner, Some(parent));
        assert!(matches!(world.give(command), Err(Refusal::Invalid(_))), "{number}");
    }
    assert!(in_use(world.give(Command::DeleteNode { id: parent })), "it has a part");
    world.must(Command::DeleteNode { id: part });
    world.must(Command::DeleteNode { id: parent });
}

#[test]
fn a_port_moves_only_to_a_node_of_the_same_owner() {
    let mut world = World::new();
    let other = NodeId(Uuid::from_u128(2));
    let settings = NodeSettings { driver: "fake-hardware".into(), owner: Some("q".into()), ..NodeSettings::default() };
    world.must(Command::CreateNode { id: other, settings: Box::new(settings), start: NodeStart::default() });
    let id = PortId(Uuid::from_u128(7));
    let moved = PortSettings { node: other, ..port("52:54:00:00:00:01") };
    let command = Command::ChangePort { id, revision: 0, settings: Box::new(moved) };
    assert!(matches!(world.give(command.clone()), Err(Refusal::Invalid(_))));
    change(&mut world, |settings| settings.owner = Some("q".into())).expect("given away");
    world.must(command);
}

#[test]
fn a_node_without_a_machine_needs_neither_port_nor_image() {
    let mut world = World { view: View::default(), now: Timestamp::UNIX_EPOCH, jobs: 0 };
    let settings = NodeSettings { driver: "fake-hardware".into(), ..NodeSettings::default() };
    let start = NodeStart { available: true, maintenance: false };
    world.must(Command::CreateNode { id: NODE, settings: Box::new(settings), start });
    let mut run = |verb: Verb, state: ProvisionState| {
        world.verb(verb).expect("legal");
        while let Some(job) = world.job() {
            assert!(!job.wants_agent(), "no machine is to boot for it");
            let (job, step) = (job.id, job.current().expect("it runs").name);
            world.must(Command::StartStep { job, step });
            world.must(Command::EndStep { job, step, end: StepEnd::Done(None) });
        }
        assert_eq!(world.node().provision_state, state, "{verb:?}");
    };
    run(Verb::Deploy, ProvisionState::Active);
    run(Verb::Service, ProvisionState::Active);
    run(Verb::Rescue, ProvisionState::Rescue);
    run(Verb::Unrescue, ProvisionState::Active);
    run(Verb::Undeploy, ProvisionState::Available);
    run(Verb::Manage, ProvisionState::Manageable);
    run(Verb::Inspect, ProvisionState::Manageable);
    run(Verb::Adopt, ProvisionState::Active);
}

#[test]
fn a_retired_node_is_wiped_and_given_to_nobody() {
    let mut world = World::at(&[Verb::Manage, Verb::Provide]);
    world.verb(Verb::Deploy).expect("legal");
    world.finish();
    change(&mut world, |settings| settings.retired = true).expect("in use");
    world.verb(Verb::Undeploy).expect("legal");
    world.finish();
    assert_eq!(world.node().provision_state, ProvisionState::Manageable);
    assert!(matches!(world.verb(Verb::Provide), Err(Refusal::Invalid(_))));
}

/// What may happen to a node, in any order.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Verb(Verb),
    Power(PowerTarget),
    Step(bool),
    Restart,
    BootAgain,
    Maintenance(bool),
    LostBmc,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => proptest::sample::select(Verb::ALL.to_vec()).prop_map(Happening::Verb),
        1 => proptest::sample::select(PowerTarget::ALL.to_vec()).prop_map(Happening::Power),
        12 => proptest::bool::weighted(0.9).prop_map(Happening::Step),
        2 => Just(Happening::Restart),
        1 => Just(Happening::BootAgain),
        1 => any::<bool>().prop_map(Happening::Maintenance),
        1 => Just(Happening::LostBmc),
    ]
}

proptest! {
    #[test]
    fn in_every_history_a_node_is_busy_with_one_job_and_free_only_when_wiped(
        history in proptest::collection::vec(happening(), 0..120)
    ) {
        let mut world = World::new();
        let mut wiped = false;
        for event in history {
            let before = world.node();
            match event {
                Happening::Verb(verb) => { let _either_is_fine = world.verb(verb); }
                Happening::Power(target) => {
                    world.jobs += 1;
                    let job = JobId(Uuid::from_u128(1000 + world.jobs));
                    let _either_is_fine = world.give(Command::Power { node: NODE, target, job, soft_timeout: None });
                }
                Happening::Step(ok) => {
                    let step = world.job().and_then(|job| job.current().map(|step| step.name));
                    world.work(|_| if ok { StepEnd::Done(None) } else { StepEnd::Failed("broken".into()) });
                    wiped |= ok && step == Some(StepName::Wipe);
                }
                Happening::Restart => {
                    if let Some((job, step)) = world.job().and_then(|job| Some((job.id, job.current()?.name))) {
                        world.must(Command::StartStep { job, step });
                    }
                }
                Happening::BootAgain => {
                    if let Some(job) = world.job() {
                        let _either_is_fine = world.give(Command::BootAgain { job: job.id });
                    }
                }
                Happening::Maintenance(on) => { world.must(Command::SetMaintenance { node: NODE, on, reason: None }); }
                Happening::LostBmc => { world.must(Command::ObservePower { node: NODE, power: None, error: None }); }
            }
            let node = world.node();
            // Work and job belong together (a power change or a stop may hold a resting node).
            if node.provision_state.is_busy() {
                prop_assert!(world.job().is_some(), "busy without a job: {:?}", node.provision_state);
                prop_assert!(node.target_provision_state.is_some());
            }
            let running = world.view.jobs().filter(|job| job.is_running()).count();
            prop_assert!(running <= 1, "{running} jobs at a time");
            prop_assert_eq!(running == 1, node.job.is_some());
            if let Some(job) = world.job() {
                let pending_before_done = job.steps.windows(2)
                    .any(|pair| pair[0].state != StepState::Done && pair[1].state == StepState::Done);
                prop_assert!(!pending_before_done, "a step was skipped");
                prop_assert_eq!(job.state.clone(), JobState::Running);
            }
            if node.provision_state == ProvisionState::Available && before.provision_state != ProvisionState::Available {
                prop_assert!(wiped, "free without a wipe");
            }
            if node.provision_state == ProvisionState::Active {
                wiped = false;
            }
            prop_assert!(node.generation >= before.generation);
        }
    }
}
