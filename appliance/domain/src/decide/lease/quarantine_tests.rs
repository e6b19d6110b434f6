//! Quarantine, and what counts as a wipe.

use super::*;
use crate::boot::{AgentSource, BootScript, UnknownMachines, boot_script};
use crate::id::PortId;
use crate::mac::Mac;
use crate::port::PortSettings;
use crate::power::PowerTarget;
use serde_json::json;

/// Its first lease has ended, and its wipe has failed; another begins in four hours, the owner does without wipes.
fn world_in_quarantine() -> World {
    let mut world = World::new();
    world.change(|settings| settings.automated_clean = Some(false));
    world.lend(OWNER, "ada", 0, 5).expect("free");
    world.tick();
    world.wait(5);
    world.tick();
    while world.work(world.job().and_then(|job| job.current().map(|step| step.name)) != Some(StepName::Wipe)) {}
    assert!(world.node().is_in_quarantine() && world.node().maintenance);
    world
}

impl World {
    fn change(&mut self, change: impl FnOnce(&mut NodeSettings)) {
        let node = self.node();
        let mut settings = node.settings.clone();
        change(&mut settings);
        let settings = Box::new(settings);
        self.give(Command::ChangeNode { id: NODE, revision: node.revision, settings, maintenance: None })
            .expect("allowed");
    }

    pub(super) fn retry(&mut self) -> Result<(), Refusal> {
        let job = JobId(self.id());
        self.give(Command::Lease(LeaseCommand::Retry { node: NODE, job }))
    }

    fn release(&mut self) -> Result<(), Refusal> {
        self.give(Command::Lease(LeaseCommand::Release { node: NODE }))
    }
}

#[test]
fn it_is_neither_offered_nor_leased_nor_used() {
    let mut world = world_in_quarantine();
    assert!(matches!(world.offer(OWNER, 6, 9), Err(Refusal::InUse(why)) if why.contains("quarantine")));
    assert!(matches!(world.lend(OWNER, "bob", 6, 9), Err(Refusal::InUse(why)) if why.contains("quarantine")));
    world.give(Command::SetMaintenance { node: NODE, on: false, reason: None }).expect("allowed");
    assert!(world.node().is_in_quarantine(), "that it may be worked on says nothing of what is on it");
    for verb in Verb::ALL {
        let _ = world.verb(verb);
        assert!(world.node().is_in_quarantine() && world.node().provision_state != ProvisionState::Active, "{verb:?}");
        world.work(false);
    }
}

#[test]
fn it_is_tried_again_and_free_when_it_was_wiped() {
    let mut world = world_in_quarantine();
    world.retry().expect("in quarantine");
    assert!(matches!(world.retry(), Err(Refusal::Locked { .. })), "it is under way");
    while world.work(world.job().and_then(|job| job.current().map(|step| step.name)) != Some(StepName::Wipe)) {}
    assert!(world.node().is_in_quarantine() && world.node().maintenance, "once more");
    world.retry().expect("in quarantine");
    world.work_all();
    let node = world.node();
    assert_eq!((node.provision_state, node.wiped, node.fault.clone()), (ProvisionState::Available, true, None));
    assert!(matches!(world.retry(), Err(Refusal::Invalid(_))) && matches!(world.release(), Err(Refusal::Invalid(_))));
}

#[test]
fn what_its_owner_has_mended_is_wiped_before_it_is_free() {
    let mut world = world_in_quarantine();
    let power = |world: &mut World| {
        let job = JobId(world.id());
        world.give(Command::Power { node: NODE, target: PowerTarget::On, job, soft_timeout: None })
    };
    assert!(matches!(power(&mut world), Err(Refusal::Invalid(why)) if why.contains("stays off")));
    world.release().expect("in quarantine");
    let node = world.node();
    assert_eq!((node.provision_state, node.maintenance), (ProvisionState::Manageable, false));
    power(&mut world).expect("his to mend");
    world.work_all();
    assert!(world.verb(Verb::Adopt).is_err());
    world.verb(Verb::Provide).expect("manageable");
    assert!(world.job().expect("a job").steps.iter().any(|step| step.name == StepName::Wipe), "though he does without");
    assert!(world.node().is_in_quarantine());
    world.work_all();
    assert!(world.node().wiped && world.node().provision_state == ProvisionState::Available);
    assert!(world.offer(OWNER, 6, 9).is_ok());
}

#[test]
fn it_boots_nothing_but_the_agent_that_wipes_it() {
    let mut world = world_in_quarantine();
    let mac = Mac([2, 0, 0, 0, 0, 7]);
    let (id, settings) = (PortId(Uuid::from_u128(77)), Box::new(PortSettings::new(NODE, mac)));
    world.give(Command::CreatePort { id, settings }).expect("new");
    let source = AgentSource {
        kernel_url: String::new(),
        initrds: Vec::new(),
        rescue: None,
        api_url: String::new(),
        inspection_url: String::new(),
        pin: None,
        consoles: Vec::new(),
        extra: Vec::new(),
    };
    let script =
        |world: &World| boot_script(&world.view, mac, UnknownMachines::NoBoot, &source, |_, _| Some("x".into()));
    assert!(matches!(script(&world), BootScript::Stay { text } if text.contains("quarantine")));
    world.release().expect("in quarantine");
    assert!(matches!(script(&world), BootScript::Stay { .. }), "its disk is nobody's to start");
}

#[test]
fn a_dead_bmc_does_not_end_it() {
    let mut world = world_in_quarantine();
    world.release().expect("in quarantine");
    for power in [None, Some(PowerState::Off)] {
        let error = power.is_none().then(|| "no answer".to_owned());
        world.give(Command::ObservePower { node: NODE, power, error }).expect("seen");
        assert!(world.node().is_in_quarantine(), "{power:?}");
    }
}

#[test]
fn steps_that_erase_nothing_are_no_wipe() {
    for (step, wiped) in [("burn_in_cpu", false), ("erase_devices_metadata", false), ("erase_devices", true)] {
        let mut world = World::new();
        world.verb(Verb::Manage).expect("available");
        let clean_steps = vec![json!({"interface": "deploy", "step": step})];
        let (job, input) = (JobId(world.id()), Box::new(JobInput { clean_steps, ..JobInput::default() }));
        world.give(Command::Provision { node: NODE, verb: Verb::Clean, job, input }).expect("manageable");
        world.work_all();
        assert_eq!((world.node().provision_state, world.node().wiped), (ProvisionState::Manageable, wiped), "{step}");
    }
}

#[test]
fn a_retired_node_is_taken_back_once() {
    let mut world = World::new();
    let lease = world.lend(OWNER, "ada", 0, 5).expect("free");
    let next = world.lend(OWNER, "bob", 5, 9).expect("free");
    world.tick();
    world.verb(Verb::Deploy).expect("hers");
    world.work_all();
    world.change(|settings| settings.retired = true);
    world.wait(5);
    world.tick();
    world.work_all();
    assert_eq!((world.lease(lease), world.node().provision_state), (LeaseState::Expired, ProvisionState::Manageable));
    world.settle();
    assert!(world.job().is_none(), "a wipe would make it nobody's");
    assert_eq!(world.lease(next), LeaseState::WaitFulfill);
}

#[test]
fn a_clock_that_is_set_back_takes_nothing_from_anybody() {
    let mut world = World::new();
    let lease = world.lend(OWNER, "ada", 2, 5).expect("free");
    world.wait(3);
    world.tick();
    world.wait(-2);
    world.settle();
    assert_eq!((world.lease(lease), world.node().lease), (LeaseState::Active, Some(lease)));
    assert!(world.lend("ada", "bob", 3, 4).is_ok(), "it is hers to let on");
}

#[test]
fn who_mends_it_has_it_in_his_hands_though_a_lessee_waits() {
    let mut world = world_in_quarantine();
    world.release().expect("in quarantine");
    let next = world.lend(OWNER, "bob", 5, 9);
    assert!(next.is_err(), "in quarantine");
    let mut world = World::new();
    world.lend(OWNER, "ada", 0, 5).expect("free");
    let next = world.lend(OWNER, "bob", 5, 9).expect("free");
    world.tick();
    world.wait(5);
    world.tick();
    while world.work(world.job().and_then(|job| job.current().map(|step| step.name)) != Some(StepName::Wipe)) {}
    world.release().expect("in quarantine");
    world.tick();
    world.settle();
    assert_eq!((world.lease(next), world.job().map(|job| job.kind)), (LeaseState::WaitFulfill, None));
    world.retry().expect("in quarantine");
    world.work_all();
    world.settle();
    assert_eq!(world.lease(next), LeaseState::Active);
}
