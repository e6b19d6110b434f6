//! What somebody could try to have a node handed on with what is on it, or with what is his.

use super::*;
use crate::command::Who;
use crate::hardware::{Body, HardwareCommand, HardwareKey, VolumeTarget};
use crate::id::VolumeTargetId;
use crate::job::{StepRecord, StepState};
use crate::view::Change;
use serde_json::json;

/// Somebody with credentials for this project.
fn of(project: &str) -> Actor {
    Actor::User(Who { name: project.into(), project: Some(project.into()), ..Who::default() }.into())
}

impl World {
    fn try_change(&mut self, change: impl FnOnce(&mut NodeSettings)) -> Result<(), Refusal> {
        self.try_change_by(Actor::System("test"), change)
    }

    fn try_change_by(&mut self, actor: Actor, change: impl FnOnce(&mut NodeSettings)) -> Result<(), Refusal> {
        let node = self.node();
        let mut settings = node.settings.clone();
        change(&mut settings);
        let revision = node.revision;
        self.give_by(actor, Command::ChangeNode { id: NODE, revision, settings: Box::new(settings), maintenance: None })
    }

    fn maintain_by(&mut self, actor: Actor, on: bool) {
        let reason = Some("for a reason".to_owned());
        self.give_by(actor, Command::SetMaintenance { node: NODE, on, reason }).expect("allowed");
    }

    fn volume_by(&mut self, actor: Actor, number: u128) -> Result<(), Refusal> {
        let body = VolumeTarget {
            node: NODE,
            volume_type: "iscsi".into(),
            volume_id: number.to_string(),
            boot_index: i64::try_from(number).expect("small"),
            properties: serde_json::Map::new(),
            extra: serde_json::Map::new(),
        };
        let body = Box::new(Body::VolumeTarget(body));
        self.give_by(actor, Command::Hardware(HardwareCommand::Create { id: Uuid::from_u128(number), body }))
    }

    fn volumes(&self) -> Vec<u128> {
        self.view.hardware.volume_targets.of_node(NODE).map(|row| row.id.0.as_u128()).collect()
    }

    /// Ada's lease of the node, which has begun.
    fn adas(&mut self) -> LeaseId {
        let lease = self.lend(OWNER, "ada", 0, 5).expect("free");
        self.tick();
        assert_eq!(self.lease(lease), LeaseState::Active);
        lease
    }

    fn taken_back(&mut self, lease: LeaseId) {
        self.end(lease).expect("active");
        self.work_all();
        assert_eq!(self.lease(lease), LeaseState::Deleted);
    }
}

#[test]
fn a_node_that_is_taken_back_is_not_let_go() {
    let mut world = World::new();
    let lease = world.lend(OWNER, "ada", 0, 5).expect("free");
    world.tick();
    world.end(lease).expect("active");
    while world.node().provision_state != ProvisionState::CleanWait {
        let job = world.job().expect("it is taken back");
        let step = job.current().map(|step| step.name).expect("not done");
        world.give(Command::StartStep { job: job.id, step }).expect("its step");
        if world.node().provision_state != ProvisionState::CleanWait {
            world.give(Command::EndStep { job: job.id, step, end: StepEnd::Done(None) }).expect("its step");
        }
    }
    for verb in [Verb::Abort, Verb::Undeploy] {
        assert!(world.verb(verb).is_err(), "{verb:?}");
    }
    assert_eq!(world.job().map(|job| job.kind), Some(JobKind::HandOver));
}

#[test]
fn what_the_owner_left_at_a_clean_node_is_not_the_lessees() {
    let mut world = World::new();
    let drive = json!({"image_source": "mine", "configdrive": "mine"});
    world.try_change(|settings| settings.instance_info = drive.as_object().cloned().expect("an object")).expect("free");
    let lease = world.lend(OWNER, "ada", 0, 5).expect("free");
    world.tick();
    assert_eq!(world.lease(lease), LeaseState::WaitFulfill);
    world.settle();
    assert_eq!(world.job().map(|job| job.kind), Some(JobKind::HandOver));
    world.work_all();
    world.settle();
    assert_eq!(world.lease(lease), LeaseState::Active);
    assert!(world.node().settings.instance_info.is_empty());
}

#[test]
fn a_wipe_counts_for_the_machine_that_was_wiped() {
    let mut world = World::new();
    world.try_change(|settings| settings.driver = "ipmi".into()).expect("available");
    assert!(!world.node().wiped, "the fake one was");
    let mut world = World::new();
    let lease = world.lend(OWNER, "ada", 0, 5).expect("free");
    world.tick();
    assert_eq!(world.lease(lease), LeaseState::Active);
    assert!(matches!(world.try_change(|settings| settings.driver = "ipmi".into()), Err(Refusal::InUse(_))));
}

#[test]
fn no_other_driver_ends_a_quarantine() {
    let mut world = World::new();
    let lease = world.lend(OWNER, "ada", 0, 5).expect("free");
    world.tick();
    world.end(lease).expect("active");
    world.work(false);
    assert!(world.node().is_in_quarantine());
    assert!(matches!(world.try_change(|settings| settings.driver = "ipmi".into()), Err(Refusal::InUse(_))));
}

#[test]
fn a_lease_goes_no_longer_than_its_offer_also_when_that_was_withdrawn() {
    let mut world = World::new();
    let offer = world.offer(OWNER, 0, 10).expect("free");
    let (id, terms) = (LeaseId(world.id()), Terms::default());
    let (start, end) = (Some(at(0)), Some(at(10)));
    let wanted = Box::new(NewLease { project: "ada".into(), start, end, ..NewLease::default() });
    world.give(Command::Lease(LeaseCommand::Claim { id, offer, wanted, terms })).expect("free");
    world.give(Command::Lease(LeaseCommand::Withdraw { id: offer })).expect("open");
    let longer = |world: &mut World, terms: Terms| {
        let revision = world.view.lease.lease(id).map_or(0, |lease| lease.revision);
        world.give(Command::Lease(LeaseCommand::ChangeEnd { id, revision, end: at(20), terms }))
    };
    assert!(matches!(longer(&mut world, terms), Err(Refusal::InUse(why)) if why.contains("not open any more")));
    longer(&mut world, Terms { longest: None, ..terms }).expect("an administrator may");
}

#[test]
fn protection_goes_with_who_had_the_node() {
    let mut world = World::new();
    let lease = world.lend(OWNER, "ada", 0, 5).expect("free");
    world.tick();
    world.verb(Verb::Deploy).expect("available");
    world.work_all();
    world.try_change(|settings| settings.protected = true).expect("active");
    world.end(lease).expect("active");
    assert!(!world.node().settings.protected);
    world.work_all();
    world.settle();
    assert_eq!((world.lease(lease), world.node().lease), (LeaseState::Deleted, None));
}

#[test]
fn what_a_lessee_wrote_on_the_record_goes_with_him() {
    let mut world = World::new();
    let said = |text: &str| json!({"note": text}).as_object().cloned().expect("an object");
    world.volume_by(of(OWNER), 1).expect("off");
    world
        .try_change_by(of(OWNER), |settings| {
            settings.extra = said("the owner's");
            settings.description = Some("the owner's".into());
            settings.resource_class = Some("small".into());
        })
        .expect("allowed");
    let before = world.node();
    let lease = world.adas();
    let ada = || of("ada");
    world
        .try_change_by(ada(), |settings| {
            settings.extra = said("ada's");
            settings.description = Some("rack 7, ask eve@example.com".into());
            settings.automated_clean = Some(false);
        })
        .expect("she may");
    let class = world.try_change_by(ada(), |settings| settings.resource_class = Some("large".into()));
    assert!(matches!(class, Err(Refusal::InUse(_))), "{class:?}");
    world.maintain_by(ada(), true);
    world
        .give_by(ada(), Command::SetMachine { node: NODE, what: crate::command::MachineChange::Console(true) })
        .expect("hers");
    world.volume_by(ada(), 2).expect("hers");
    let owners = HardwareKey::VolumeTarget(VolumeTargetId(Uuid::from_u128(1)));
    let delete = HardwareCommand::Delete { key: owners, revision: 0 };
    let deleted = world.give_by(ada(), Command::Hardware(delete));
    assert!(matches!(deleted, Err(Refusal::Forbidden(_))), "{deleted:?}");
    world.taken_back(lease);
    let after = world.node();
    assert_eq!(after.settings, before.settings);
    assert_eq!((after.maintenance, after.maintenance_reason.clone()), (false, None));
    assert!(!after.machine.console_enabled && after.owners_word.is_none());
    assert_eq!(world.volumes(), [1]);
    assert_eq!(after.provision_state, ProvisionState::Available);
}

#[test]
fn what_its_keepers_say_during_a_lease_stays() {
    let mut world = World::new();
    let lease = world.adas();
    world.try_change_by(of("ada"), |settings| settings.description = Some("ada's".into())).expect("she may");
    world.try_change_by(of(OWNER), |settings| settings.automated_clean = Some(true)).expect("his");
    world.try_change(|settings| settings.resource_class = Some("large".into())).expect("an administrator's");
    world.maintain_by(of("ada"), true);
    world.maintain_by(of(OWNER), true);
    world.maintain_by(of("ada"), false);
    world.taken_back(lease);
    let node = world.node();
    assert_eq!((node.settings.description.clone(), node.settings.automated_clean), (None, Some(true)));
    assert_eq!(node.settings.resource_class.as_deref(), Some("large"));
    assert_eq!((node.maintenance, node.maintenance_reason.as_deref()), (true, Some("for a reason")));
}

#[test]
fn what_the_owner_has_begun_ends_before_a_lessee_comes() {
    let mut world = World::new();
    world.verb(Verb::Deploy).expect("available");
    let job = world.job().expect("it is deployed").id;
    let lease = world.lend(OWNER, "ada", 0, 5).expect("free");
    world.tick();
    world.settle();
    assert_eq!(world.job().map(|job| job.id), Some(job), "it goes on");
    world.work_all();
    world.settle();
    assert_eq!(world.job().map(|job| job.kind), Some(JobKind::HandOver));
    world.work_all();
    assert_eq!(world.lease(lease), LeaseState::Active);
}

#[test]
fn a_node_in_its_owners_hands_stays_there() {
    let mut world = World::new();
    world.verb(Verb::Manage).expect("available");
    world.give(Command::ObservePower { node: NODE, power: Some(PowerState::On), error: None }).expect("he works on it");
    let lease = world.lend(OWNER, "ada", 0, 5).expect("free");
    world.tick();
    world.settle();
    assert!(world.job().is_none() && world.lease(lease) == LeaseState::WaitFulfill);
    world.verb(Verb::Provide).expect("manageable");
    world.work_all();
    world.settle();
    assert_eq!(world.lease(lease), LeaseState::Active);
}

#[test]
fn firmware_is_written_to_its_end_and_the_node_is_nobodys_meanwhile() {
    use StepName::{BootFromNetwork, CheckFirmware, UpdateFirmware, Wipe};
    let states = [(UpdateFirmware, 0, true), (BootFromNetwork, 1, true), (CheckFirmware, 2, true), (Wipe, 3, false)];
    for (name, done, waits) in states {
        let mut world = World::new();
        let lease = world.adas();
        world.verb(Verb::Manage).expect("available");
        world.verb(Verb::Clean).expect("manageable");
        // As it is of a machine; the fake one has no firmware.
        let mut job = (*world.job().expect("a job")).clone();
        job.steps = [UpdateFirmware, BootFromNetwork, CheckFirmware, Wipe].map(StepRecord::pending).to_vec();
        job.steps.iter_mut().take(done).for_each(|step| step.state = StepState::Done);
        world.view.apply(&Change::PutJob(Arc::new(job.clone())));
        world.give(Command::StartStep { job: job.id, step: name }).expect("its step");
        world.end(lease).expect("hers");
        world.settle();
        assert_eq!(
            world.job().map(|job| job.kind),
            Some(if waits { JobKind::Clean } else { JobKind::HandOver }),
            "{name:?}"
        );
        assert_eq!((world.node().lease, world.node().settings.lessee.clone()), (None, None), "{name:?}");
        while waits && world.job().is_some_and(|job| job.flashes()) {
            assert!(world.work(true));
            world.settle();
        }
        assert_eq!(world.job().map(|job| job.kind), Some(JobKind::HandOver), "{name:?}");
        world.work_all();
        assert_eq!(world.lease(lease), LeaseState::Deleted);
    }
}

#[test]
fn firmware_is_not_the_lessees() {
    let mut world = World::new();
    world.adas();
    let flash = json!({"interface": "firmware", "step": "update", "args": {"settings": [{"component": "bmc", "url": "http://eve/"}]}});
    let bios = json!({"interface": "bios", "step": "factory_reset"});
    let wipe = json!({"interface": "deploy", "step": "erase_devices"});
    let clean = |world: &mut World, actor: Actor, step: &serde_json::Value| {
        let (job, input) =
            (JobId(world.id()), Box::new(JobInput { clean_steps: vec![step.clone()], ..JobInput::default() }));
        world.give_by(actor, Command::Provision { node: NODE, verb: Verb::Clean, job, input })
    };
    world.verb(Verb::Manage).expect("available");
    for step in [&flash, &bios] {
        let refused = clean(&mut world, of("ada"), step);
        assert!(matches!(&refused, Err(Refusal::Forbidden(why)) if why.contains("interface")), "{refused:?}");
    }
    clean(&mut world, of("ada"), &wipe).expect("she may");
    world.work_all();
    clean(&mut world, of(OWNER), &flash).expect("he may");
}
