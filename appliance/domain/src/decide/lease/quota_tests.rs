//! Quotas, how many there may be at all, and leases that count as one because they touch.

use super::*;
use crate::id::ProjectId;
use crate::identity::{DEFAULT_DOMAIN, IdentityRow, Project};
use crate::lease::{back_to_back, usage_of};

fn bound(world: &mut World, limits: Limits) {
    let id = QuotaId(Uuid::from_u128(77));
    let (project, limits) = (LESSEE.to_owned(), Some(limits));
    world.does(LeaseCommand::SetQuota { id, project, class: None, limits }).expect("set");
}

fn too_much<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
    match result {
        Err(Refusal::OverQuota(words)) => words,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_has_more_than_his_quota() {
    let mut world = World::new();
    let offers = [11, 12, 13].map(|number| another(&mut world, number));
    bound(&mut world, Limits { nodes: Some(2), node_hours: Some(60), ..Limits::default() });
    let all = [(1, offers[0]), (2, offers[1]), (3, offers[2])];
    assert!(too_much(reserve(&mut world, 1, &all, (10, 20))).contains("2 nodes at a time, and would have 3"));
    assert_eq!(world.view.lease.leases().count(), 0, "all or nothing");
    reserve(&mut world, 1, &all[..2], (10, 20)).expect("two are allowed");
    too_much(world.claim_of(4, offers[2], (19, 21)));
    world.claim_of(4, offers[2], (20, 30)).expect("when the others are back");
    let hours = too_much(world.claim_of(5, offers[0], (30, 61)));
    assert!(hours.contains("60 node-hours ahead, and would have 61"), "{hours}");
    too_much(world.move_end(4, 61));
    world.move_end(4, 25).expect("less is always allowed");
    let id = QuotaId(Uuid::from_u128(78));
    let gone = LeaseCommand::SetQuota { id, project: LESSEE.into(), class: None, limits: None };
    let context = Context { actor: Actor::System("test"), now: world.now };
    let decision = decide(&world.view, &Command::Lease(gone), &context).expect("it was there");
    decision.changes.iter().for_each(|change| world.view.apply(change));
    world.claim_of(5, offers[0], (30, 200)).expect("no bound any more");
}

#[test]
fn leases_back_to_back_on_one_node_count_as_one() {
    let mut world = World::new();
    let offer = another(&mut world, 11);
    bound(&mut world, Limits { longest_hours: Some(24), ..Limits::default() });
    too_much(world.claim_of(1, offer, (0, 25)));
    world.claim_of(1, offer, (0, 20)).expect("short enough");
    let words = too_much(world.claim_of(2, offer, (20, 30)));
    assert!(words.contains("for 24 hours in a row, and this would be 30"), "{words}");
    world.claim_of(2, offer, (21, 31)).expect("after a pause");
    world.claim_of(3, offer, (40, 50)).expect("short enough");
    too_much(world.claim_of(4, offer, (31, 40)));
}

/// A project of the default domain, or below another; its id.
fn project(world: &mut World, number: u128, parent: Option<u128>) -> String {
    let project = Project {
        id: ProjectId(Uuid::from_u128(number)),
        name: format!("p{number}"),
        description: String::new(),
        domain: DEFAULT_DOMAIN,
        parent: Some(parent.map_or(DEFAULT_DOMAIN, |parent| ProjectId(Uuid::from_u128(parent)))),
        enabled: true,
        tags: Vec::new(),
        created_at: at(0),
    };
    let id = project.id_text();
    world.view.apply(&Change::Identity(Rows::Put(IdentityRow::Project(Arc::new(project)))));
    id
}

impl World {
    fn claim_for(&mut self, number: u128, project: &str, offer: OfferId, times: (i64, i64)) -> Claimed {
        let wanted = Box::new(NewLease { project: project.into(), ..*self.wanted(Some(times)) });
        let terms = self.terms;
        lease(self.does(LeaseCommand::Claim { id: lease_id(number), offer, wanted, terms }))
    }

    fn bound(&mut self, number: u128, project: &str, class: Option<&str>, limits: Limits) {
        let (id, class) = (QuotaId(Uuid::from_u128(number)), class.map(str::to_owned));
        let command = LeaseCommand::SetQuota { id, project: project.into(), class, limits: Some(limits) };
        self.does(command).expect("set");
    }
}

type Claimed = Result<Arc<Lease>, Refusal>;

#[test]
fn a_quota_bounds_all_that_stand_below_its_project() {
    let mut world = World::new();
    let offers = [11, 12, 13].map(|number| another(&mut world, number));
    let (top, one, other) =
        (project(&mut world, 1, None), project(&mut world, 2, Some(1)), project(&mut world, 3, Some(1)));
    let stranger = project(&mut world, 4, None);
    world.bound(90, &top, None, Limits { nodes: Some(1), ..Limits::default() });
    world.claim_for(1, &one, offers[0], (10, 20)).expect("one is allowed");
    let words = too_much(world.claim_for(2, &other, offers[1], (15, 25)));
    assert!(words.contains(&format!("Project {top} may have 1 nodes at a time, and would have 2")), "{words}");
    world.claim_for(2, &other, offers[1], (20, 25)).expect("after the other's");
    world.claim_for(3, &stranger, offers[2], (15, 25)).expect("not below it");
    world.bound(91, &one, None, Limits { nodes: Some(5), ..Limits::default() });
    too_much(world.claim_for(4, &one, offers[2], (30, 31)).and_then(|_| world.claim_for(5, &one, offers[1], (30, 31))));
}

#[test]
fn a_quota_of_a_class_bounds_that_class_alone() {
    let mut world = World::new();
    let offers = [11, 12, 13].map(|number| another(&mut world, number));
    for (number, class) in [(11, "gpu"), (12, "gpu"), (13, "cpu")] {
        let node = world.view.node(NodeId(Uuid::from_u128(500 + number))).expect("there");
        let settings = NodeSettings { resource_class: Some(class.into()), ..node.settings.clone() };
        let node = Node { settings, ..(**node).clone() };
        world.view.apply(&Change::PutNode(Arc::new(node)));
    }
    world.bound(90, LESSEE, Some("gpu"), Limits { leases: Some(1), ..Limits::default() });
    world.claim_of(1, offers[0], (10, 20)).expect("the first");
    let words = too_much(world.claim_of(2, offers[1], (30, 40)));
    assert!(words.contains("for class 'gpu' may have 1 leases, and would have 2"), "{words}");
    world.claim_of(3, offers[2], (10, 20)).expect("of another class");
}

#[test]
fn what_is_let_on_within_a_tree_takes_no_second_node() {
    let mut world = World::new();
    let (top, below) = (project(&mut world, 1, None), project(&mut world, 2, Some(1)));
    world.bound(90, &top, None, Limits { nodes: Some(1), node_hours: Some(100), ..Limits::default() });
    let lend = |world: &mut World, number: u128, owner: &str, project: &str, times: (i64, i64)| {
        let wanted = Box::new(NewLease { project: project.into(), ..*world.wanted(Some(times)) });
        let (id, owner, terms) = (lease_id(number), owner.to_owned(), world.terms);
        world.does(LeaseCommand::Lease { id, node: NODE, owner, wanted, terms })
    };
    lend(&mut world, 1, OWNER, &top, (0, 100)).expect("within it");
    world.activate(1);
    lend(&mut world, 2, &top, &below, (0, 90)).expect("the same node, the same hours");
    let usage = usage_of(&world.view, &top, None, world.now);
    assert_eq!((usage.nodes, usage.leases, usage.node_hours), (1, 2, 100));
    assert_eq!(usage_of(&world.view, &below, None, world.now).node_hours, 90);
}

#[test]
fn nobody_has_more_leases_or_offers_than_any_may_have() {
    let mut world = World::new();
    let offers = [11, 12, 13].map(|number| another(&mut world, number));
    world.terms.leases = 2;
    let all = [(1, offers[0]), (2, offers[1]), (3, offers[2])];
    let words = too_much(reserve(&mut world, 1, &all, (10, 20)));
    assert!(words.contains("has 2 leases that are not over"), "{words}");
    reserve(&mut world, 1, &all[..2], (10, 20)).expect("two are allowed");
    too_much(world.claim_of(4, offers[2], (10, 20)));
    world.terms.offers = 3;
    let words = too_much(world.offer(1, OWNER, 0, 10));
    assert!(words.contains("has 3 open offers"), "{words}");
    world.does(LeaseCommand::Withdraw { id: offers[0] }).expect("open");
    world.offer(1, OWNER, 0, 10).expect("one less");
}

#[test]
fn a_lease_is_let_on_so_often_and_no_more() {
    let mut world = World::new();
    world.terms.parts = 3;
    world.lease(1, OWNER, Some((0, 100))).expect("free");
    world.activate(1);
    for number in 0..3 {
        world
            .lease(
                2 + number,
                LESSEE,
                Some((10 + i64::try_from(number).expect("few"), 11 + i64::try_from(number).expect("few"))),
            )
            .expect("his");
    }
    let words = too_much(world.lease(9, LESSEE, Some((50, 60))));
    assert!(words.contains("was let on 3 times"), "{words}");
}

#[test]
fn touching_leases_of_one_project_are_no_longer_than_one_may_be() {
    let mut world = World::new();
    let offer = another(&mut world, 11);
    let day = 24;
    world.claim_of(1, offer, (0, 10 * day)).expect("short enough");
    let words = match world.claim_of(2, offer, (10 * day, 22 * day)) {
        Err(Refusal::Forbidden(words)) => words,
        other => panic!("{other:?}"),
    };
    assert!(words.contains("21 days") && words.contains("22 days") && words.contains("same project"), "{words}");
    world.claim_for(3, "another", offer, (10 * day, 11 * day)).expect("another project");
    world.claim_of(4, offer, (11 * day, 12 * day)).expect("another had it between");
    world.move_end(1, 10 * day).expect("no longer than it was");
    world.terms.longest = None;
    world.claim_of(5, offer, (12 * day, 40 * day)).expect("an administrator");
    world.terms = Terms::default();
    assert!(matches!(world.move_end(5, 41 * day), Err(Refusal::Forbidden(_))));
    world.move_end(5, 35 * day).expect("shorter, though longer than it might be made");
}

#[test]
fn a_tree_takes_no_turns_around_its_longest() {
    let mut world = World::new();
    let offer = another(&mut world, 11);
    let (one, other) = (project(&mut world, 2, Some(1)), project(&mut world, 3, Some(1)));
    let top = project(&mut world, 1, None);
    world.bound(90, &top, None, Limits { longest_hours: Some(24), ..Limits::default() });
    world.claim_for(1, &one, offer, (0, 20)).expect("short enough");
    let words = too_much(world.claim_for(2, &other, offer, (20, 30)));
    assert!(words.contains("24 hours in a row, and this would be 30"), "{words}");
}

#[test]
fn ten_thousand_parts_end_with_their_lease_in_time_that_grows_with_them() {
    let ends = |parts: i64| {
        let mut world = World::new();
        world.terms = Terms { parts: 1_000_000, longest: None, leases: 1_000_000, ..world.terms };
        world.lease(1, OWNER, Some((0, 1_000_000))).expect("free");
        world.activate(1);
        for number in 0..parts {
            let id = 10 + u128::try_from(number).expect("not below 0");
            let part = Lease {
                id: lease_id(id),
                parent: Some(lease_id(1)),
                span: span(2 * number, 2 * number + 1),
                ..(**world.view.lease.lease(lease_id(1)).expect("there")).clone()
            };
            let part = Lease { state: LeaseState::Created, owner: LESSEE.into(), ..part };
            world.view.apply(&Change::Lease(Rows::Put(LeaseRow::Lease(Arc::new(part)))));
        }
        let began = std::time::Instant::now();
        let end = LeaseCommand::End { id: lease_id(1), job: JobId(Uuid::from_u128(5)) };
        let context = Context { actor: Actor::System("test"), now: world.now };
        let decision = decide(&world.view, &Command::Lease(end), &context).expect("his");
        let took = began.elapsed();
        assert!(decision.changes.len() as i64 > parts);
        took
    };
    let (few, many) = (ends(1000).max(ends(1000)), ends(10_000).min(ends(10_000)));
    // Ten times as many; a hundred times as long it would be if each looked at all others.
    assert!(many < 40 * few, "{few:?} and {many:?}");
}

proptest! {
    /// Against a list that is looked through hour by hour.
    #[test]
    fn a_row_is_what_each_hour_around_it_says(
        leases in prop::collection::vec((0..40_i64, 1..6_i64, 0..2_u8), 0..16),
        which in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new();
        let offer = another(&mut world, 11);
        let mut made: Vec<Arc<Lease>> = Vec::new();
        for (number, (start, length, whose)) in (10..).zip(leases) {
            let project = if whose == 0 { LESSEE } else { "another" };
            made.extend(world.claim_for(number, project, offer, (start, start + length)).ok());
        }
        prop_assume!(!made.is_empty());
        let one = which.get(&made);
        let has = |hour: i64| made.iter().any(|lease| lease.project == one.project && lease.span.has(at(hour)));
        let hour = (0..60).find(|hour| one.span.start == at(*hour)).expect("one of these");
        let first = (0..=hour).rev().take_while(|hour| has(*hour)).last().expect("at least its own");
        let last = (hour..60).take_while(|hour| has(*hour)).last().expect("at least its own");
        let row = back_to_back(&world.view.lease, one, |project| project == one.project);
        prop_assert_eq!(row, span(first, last + 1));
    }
}
