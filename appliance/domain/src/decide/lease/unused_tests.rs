//! Leases that nobody uses: told of once, given back where the owner wishes it, and left alone once they are used.

use super::*;
use crate::event::What;
use crate::lease::Wish;
use crate::power::PowerTarget;

impl World {
    /// A lease by an owner who wants the node back after so many hours.
    fn lend_to_be_used(&mut self, project: &str, end: i64, hours: Option<u32>) -> LeaseId {
        let (id, terms) = (LeaseId(self.id()), Terms::default());
        let wish = Wish { return_unused_hours: hours, ..Wish::default() };
        let (start, end) = (Some(at(0)), Some(at(end)));
        let wanted = Box::new(NewLease { project: project.into(), start, end, wish, ..NewLease::default() });
        let command = LeaseCommand::Lease { id, node: NODE, owner: OWNER.into(), wanted, terms };
        self.give(Command::Lease(command)).expect("free");
        self.tick();
        assert_eq!(self.lease(id), LeaseState::Active);
        id
    }

    /// What was told of unused leases: whose, and whether they are given back.
    fn unused(&self) -> Vec<(Option<&str>, Option<&str>, bool)> {
        let told = self.told.iter().filter_map(|event| match event.what {
            What::LeaseUnused { returned, .. } => Some((event.owner.as_deref(), event.lessee.as_deref(), returned)),
            _ => None,
        });
        told.collect()
    }
}

#[test]
fn owner_and_lessee_are_told_once_that_nobody_uses_a_lease() {
    let mut world = World::new();
    let lease = world.lend_to_be_used("ada", 100, None);
    world.wait(23);
    world.tick();
    assert_eq!(world.unused(), []);
    assert_eq!(world.view.lease.next_edge().map(|(at, _)| at), Some(at(24)), "the timer waits for it");
    world.wait(1);
    world.tick();
    assert_eq!(world.unused(), [(Some(OWNER), Some("ada"), false)]);
    world.wait(50);
    world.tick();
    assert_eq!((world.unused().len(), world.lease(lease)), (1, LeaseState::Active), "nobody wants it back");
    assert_eq!(world.view.lease.next_edge().map(|(at, _)| at), Some(at(100)));
}

#[test]
fn an_unused_lease_is_given_back_where_its_owner_wishes() {
    let mut world = World::new();
    let lease = world.lend_to_be_used("ada", 100, Some(30));
    world.wait(24);
    world.tick();
    assert_eq!(world.unused(), [(Some(OWNER), Some("ada"), false)]);
    world.wait(6);
    world.tick();
    assert_eq!(world.unused()[1], (Some(OWNER), Some("ada"), true));
    assert_eq!((world.lease(lease), world.node().lease), (LeaseState::WaitCancel, None));
    let reason = world.view.lease.lease(lease).and_then(|lease| lease.reason.clone());
    assert!(reason.is_some_and(|why| why.contains("30 hours")));
    world.work_all();
    assert_eq!((world.lease(lease), world.node().lease), (LeaseState::Deleted, None), "as any early return");
}

#[test]
fn a_box_that_slept_gives_it_back_without_a_word_before() {
    let mut world = World::new();
    let lease = world.lend_to_be_used("ada", 100, Some(30));
    world.wait(40);
    world.tick();
    assert_eq!((world.unused().len(), world.lease(lease)), (1, LeaseState::WaitCancel));
    let mut world = World::new();
    let lease = world.lend_to_be_used("ada", 100, Some(30));
    world.wait(200);
    world.tick();
    assert_eq!((world.unused().len(), world.lease(lease)), (0, LeaseState::WaitExpire), "its time is over anyway");
}

#[test]
fn what_is_used_stays() {
    let uses: [fn(&mut World); 2] = [
        |world| world.verb(Verb::Deploy).expect("available"),
        |world| {
            let job = JobId(world.id());
            let power = Command::Power { node: NODE, target: PowerTarget::On, job, soft_timeout: None };
            world.give(power).expect("free");
        },
    ];
    for uses in uses {
        let mut world = World::new();
        let lease = world.lend_to_be_used("ada", 100, Some(30));
        world.wait(10);
        let revision = world.view.lease.lease(lease).map(|lease| lease.revision);
        uses(&mut world);
        world.work_all();
        assert_eq!(world.view.lease.lease(lease).map(|lease| lease.revision), revision, "nobody's change fails by it");
        world.wait(80);
        world.tick();
        assert_eq!((world.unused(), world.lease(lease)), (vec![], LeaseState::Active));
        assert_eq!(world.view.lease.next_edge().map(|(at, _)| at), Some(at(100)));
    }
}

#[test]
fn power_that_is_cut_or_comes_by_a_button_is_no_use() {
    let mut world = World::new();
    let lease = world.lend_to_be_used("ada", 100, Some(30));
    let job = JobId(world.id());
    world.give(Command::Power { node: NODE, target: PowerTarget::Off, job, soft_timeout: None }).expect("free");
    world.work_all();
    world.give(Command::ObservePower { node: NODE, power: Some(PowerState::On), error: None }).expect("seen");
    world.wait(30);
    world.tick();
    assert_eq!(world.lease(lease), LeaseState::WaitCancel);
}

#[test]
fn who_lets_it_on_uses_it_when_the_other_does() {
    for used in [false, true] {
        let mut world = World::new();
        let upper = world.lend_to_be_used("ada", 100, Some(30));
        let lower = world.lend("ada", "bob", 0, 90).expect("hers");
        world.tick();
        world.settle();
        world.work_all();
        assert_eq!(world.lease(lower), LeaseState::Active);
        if used {
            world.verb(Verb::Deploy).expect("available");
            world.work_all();
        }
        world.wait(30);
        world.tick();
        let state = if used { LeaseState::Active } else { LeaseState::WaitCancel };
        assert_eq!([world.lease(upper), world.lease(lower)], [state; 2], "{used}");
    }
}
