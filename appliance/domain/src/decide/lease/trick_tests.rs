//! What somebody could try to have a node handed on with what is on it, or with what is his.

use super::*;
use serde_json::json;

impl World {
    fn try_change(&mut self, change: impl FnOnce(&mut NodeSettings)) -> Result<(), Refusal> {
        let node = self.node();
        let mut settings = node.settings.clone();
        change(&mut settings);
        let revision = node.revision;
        self.give(Command::ChangeNode { id: NODE, revision, settings: Box::new(settings), maintenance: None })
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
