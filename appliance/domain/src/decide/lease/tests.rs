//! Random histories against a model that knows nothing but lists, and each rule once.

use crate::command::{Actor, Answer, Command, Context};
use crate::decide::decide;
use crate::id::{JobId, LeaseId, NodeId, OfferId, QuotaId, ReservationId};
use crate::lease::{Lease, LeaseCommand, LeaseRow, LeaseState, Limits, NewLease, NewOffer, Offer, Span, Terms};
use crate::node::{Node, NodeSettings};
use crate::refusal::Refusal;
use crate::rows::Rows;
use crate::view::{Change, View};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::sync::Arc;
use uuid::Uuid;

const OWNER: &str = "owner";
const LESSEE: &str = "lessee";
const NODE: NodeId = NodeId(Uuid::from_u128(1));

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(1_900_000_000 + 3600 * hour).expect("a time")
}

fn span(start: i64, end: i64) -> Span {
    Span::new(at(start), at(end)).expect("not empty")
}

fn offer_id(number: u128) -> OfferId {
    OfferId(Uuid::from_u128(1000 + number))
}

fn lease_id(number: u128) -> LeaseId {
    LeaseId(Uuid::from_u128(2000 + number))
}

struct World {
    view: View,
    now: Timestamp,
    terms: Terms,
}

impl World {
    fn new() -> World {
        let mut view = View::default();
        let settings = NodeSettings { owner: Some(OWNER.into()), ..NodeSettings::default() };
        view.apply(&Change::PutNode(Arc::new(Node::enrolled(NODE, settings, at(0)))));
        World { view, now: at(0), terms: Terms::default() }
    }

    fn does(&mut self, command: LeaseCommand) -> Result<LeaseRow, Refusal> {
        let context = Context { actor: Actor::System("test"), now: self.now };
        let decision = decide(&self.view, &Command::Lease(command), &context)?;
        decision.changes.iter().for_each(|change| self.view.apply(change));
        match decision.answer {
            Answer::Lease(row) => Ok(row),
            other => panic!("{other:?}"),
        }
    }

    fn offer(&mut self, number: u128, project: &str, start: i64, end: i64) -> Result<Arc<Offer>, Refusal> {
        let wanted =
            NewOffer { project: project.into(), start: Some(at(start)), end: Some(at(end)), ..NewOffer::default() };
        let (id, terms) = (offer_id(number), self.terms);
        match self.does(LeaseCommand::Offer { id, node: NODE, wanted: Box::new(wanted), terms })? {
            LeaseRow::Offer(offer) => Ok(offer),
            other => panic!("{other:?}"),
        }
    }

    fn claim(&mut self, number: u128, offer: u128, times: Option<(i64, i64)>) -> Result<Arc<Lease>, Refusal> {
        let wanted = self.wanted(times);
        let (id, offer, terms) = (lease_id(number), offer_id(offer), self.terms);
        lease(self.does(LeaseCommand::Claim { id, offer, wanted, terms }))
    }

    fn claim_of(&mut self, number: u128, offer: OfferId, times: (i64, i64)) -> Result<Arc<Lease>, Refusal> {
        let (wanted, terms) = (self.wanted(Some(times)), self.terms);
        lease(self.does(LeaseCommand::Claim { id: lease_id(number), offer, wanted, terms }))
    }

    fn lease(&mut self, number: u128, owner: &str, times: Option<(i64, i64)>) -> Result<Arc<Lease>, Refusal> {
        let wanted = self.wanted(times);
        let (id, terms) = (lease_id(number), self.terms);
        lease(self.does(LeaseCommand::Lease { id, node: NODE, owner: owner.into(), wanted, terms }))
    }

    fn move_end(&mut self, number: u128, end: i64) -> Result<Arc<Lease>, Refusal> {
        let revision = self.view.lease.lease(lease_id(number)).map_or(0, |lease| lease.revision);
        let terms = self.terms;
        lease(self.does(LeaseCommand::ChangeEnd { id: lease_id(number), revision, end: at(end), terms }))
    }

    fn wanted(&self, times: Option<(i64, i64)>) -> Box<NewLease> {
        let (start, end) = (times.map(|(start, _)| at(start)), times.map(|(_, end)| at(end)));
        Box::new(NewLease { project: LESSEE.into(), start, end, ..NewLease::default() })
    }

    /// What time has brought about, in its order; the node is never ready.
    fn tick(&mut self) {
        let edges: Vec<_> = self.view.lease.edges_until(self.now).collect();
        for (_, edge) in edges {
            let command = LeaseCommand::Tick { edge, job: JobId(Uuid::nil()), terms: self.terms };
            let context = Context { actor: Actor::System("test"), now: self.now };
            let decision = decide(&self.view, &Command::Lease(command), &context).expect("never refused");
            decision.changes.iter().for_each(|change| self.view.apply(change));
        }
    }

    /// As if its time had come and the node had been ready.
    fn activate(&mut self, number: u128) {
        let lease = (**self.view.lease.lease(lease_id(number)).expect("there")).clone();
        let lease = Lease { state: LeaseState::Active, ..lease };
        self.view.apply(&Change::Lease(Rows::Put(LeaseRow::Lease(Arc::new(lease)))));
    }
}

fn lease(row: Result<LeaseRow, Refusal>) -> Result<Arc<Lease>, Refusal> {
    row.map(|row| match row {
        LeaseRow::Lease(lease) => lease,
        other => panic!("{other:?}"),
    })
}

fn in_use<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
    match result {
        Err(Refusal::InUse(words)) => words,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_claim_without_times_goes_from_now_to_what_comes_first() {
    let mut world = World::new();
    world.offer(1, OWNER, 0, 1000).expect("free");
    world.now = at(2);
    assert_eq!(world.claim(1, 1, Some((50, 60))).expect("free").span, span(50, 60));
    assert_eq!(world.claim(2, 1, None).expect("free").span, span(2, 50), "until the next lease");
    world.now = at(60);
    assert_eq!(world.claim(3, 1, None).expect("free").span, span(60, 60 + 168), "the usual time");
    world.now = at(900);
    assert_eq!(world.claim(4, 1, None).expect("free").span, span(900, 1000), "until the offer ends");
    let words = in_use(world.claim(5, 1, Some((999, 1001))));
    assert!(words.contains("is not within that of offer"), "{words}");
}

#[test]
fn the_range_that_is_in_the_way_is_told() {
    let mut world = World::new();
    world.offer(1, OWNER, 10, 20).expect("free");
    world.claim(1, 1, Some((12, 14))).expect("free");
    for meets in [(13, 15), (11, 13), (12, 14), (11, 15), (13, 14)] {
        let words = in_use(world.claim(2, 1, Some(meets)));
        assert!(words.contains(&format!("leased {}", span(12, 14))), "{words}");
    }
    world.claim(2, 1, Some((14, 15))).expect("neighbours do not meet");
    let words = in_use(world.offer(2, OWNER, 19, 30));
    assert!(words.contains(&format!("offered {}", span(10, 20))), "{words}");
    let words = in_use(world.lease(3, OWNER, Some((15, 16))));
    assert!(words.contains("offered"), "an owner's lease does not take what he offers: {words}");
    world.lease(3, OWNER, Some((20, 22))).expect("free");
    in_use(world.offer(2, OWNER, 21, 30));
}

#[test]
fn no_lease_is_empty_ends_before_now_or_is_too_long() {
    let mut world = World::new();
    world.offer(1, OWNER, 0, 10_000).expect("free");
    world.now = at(100);
    for (start, end) in [(200, 200), (300, 200), (10, 90)] {
        assert!(matches!(world.claim(1, 1, Some((start, end))), Err(Refusal::Invalid(_))), "{start} {end}");
    }
    let longest = 21 * 24;
    assert!(matches!(world.claim(1, 1, Some((100, 101 + longest))), Err(Refusal::Forbidden(_))));
    assert_eq!(world.claim(1, 1, Some((0, 100 + longest))).expect("as long as may be").span.start, at(100));
    assert!(matches!(world.move_end(1, 102 + longest), Err(Refusal::Forbidden(_))));
    world.terms.longest = None;
    world.move_end(1, 102 + longest).expect("an administrator");
    assert!(matches!(world.move_end(1, 100), Err(Refusal::Invalid(_))), "over");
}

#[test]
fn no_lease_is_too_short_or_begins_too_far_ahead() {
    let mut world = World::new();
    world.offer(1, OWNER, 0, 100_000).expect("free");
    let free = world.terms;
    let (shortest, horizon) = (SignedDuration::from_hours(2), Some(SignedDuration::from_hours(100)));
    world.terms = Terms { shortest, horizon, ..free };
    let words = world.claim(1, 1, Some((10, 11))).expect_err("too short").to_string();
    assert!(words.contains("2 hours at least"), "{words}");
    let words = world.claim(1, 1, Some((101, 110))).expect_err("too far").to_string();
    assert!(words.contains("4 days and 4 hours from now at the latest"), "{words}");
    assert!(matches!(world.lease(1, OWNER, Some((200_000, 200_010))), Err(Refusal::Forbidden(_))));
    world.claim(1, 1, Some((100, 102))).expect("just so");
    assert!(matches!(world.move_end(1, 101), Err(Refusal::Forbidden(_))), "by its end neither");
    world.terms = world.terms.of_administrators();
    world.claim(2, 1, Some((90_000, 90_001))).expect("an administrator");
}

#[test]
fn an_end_moves_where_nobody_is() {
    let mut world = World::new();
    world.offer(1, OWNER, 0, 100).expect("free");
    world.claim(1, 1, Some((0, 10))).expect("free");
    world.claim(2, 1, Some((20, 30))).expect("free");
    assert_eq!(world.move_end(1, 20).expect("free").span, span(0, 20));
    in_use(world.move_end(1, 21));
    assert_eq!(world.move_end(1, 5).expect("earlier").span, span(0, 5));
    in_use(world.move_end(2, 101));
    let stale = LeaseCommand::ChangeEnd { id: lease_id(1), revision: 0, end: at(6), terms: world.terms };
    assert!(matches!(world.does(stale), Err(Refusal::Conflict { .. })));
}

#[test]
fn what_is_let_on_stays_within_the_lease_and_no_deeper_than_it_may() {
    let mut world = World::new();
    assert!(matches!(world.offer(1, LESSEE, 0, 10), Err(Refusal::Forbidden(_))), "not his");
    world.lease(1, OWNER, Some((0, 100))).expect("free");
    assert!(matches!(world.offer(1, LESSEE, 0, 10), Err(Refusal::Forbidden(_))), "not yet his");
    world.activate(1);
    let part = world.offer(1, LESSEE, 10, 50).expect("his");
    assert_eq!(part.parent, Some(lease_id(1)));
    in_use(world.offer(2, LESSEE, 90, 101));
    world.claim(2, 1, Some((10, 20))).expect("free");
    let words = in_use(world.move_end(1, 40));
    assert!(words.contains("Offer"), "{words}");
    let words = in_use(world.move_end(1, 15));
    assert!(words.contains("Lease"), "{words}");
    // A third lease above one another is one too many, whoever asks.
    world.now = at(12);
    world.activate(2);
    let words = world.offer(3, LESSEE, 15, 18).expect_err("too deep").to_string();
    assert!(words.contains("let on 2 times already"), "{words}");
}

#[test]
fn who_comes_next_begins_when_the_one_before_was_shown_to_end() {
    let mut world = World::new();
    world.offer(1, OWNER, 0, 1000).expect("free");
    world.now = at(2) + SignedDuration::from_nanos(1_234_567_890);
    let first = world.claim(1, 1, None).expect("free").span;
    assert_eq!(first.start, at(2) + SignedDuration::from_nanos(1_234_567_000), "what is shown is all that there is");
    let (id, offer, terms) = (lease_id(2), offer_id(1), world.terms);
    let wanted = NewLease { project: LESSEE.into(), start: Some(first.end), ..NewLease::default() };
    let claim = LeaseCommand::Claim { id, offer, wanted: Box::new(wanted), terms: Terms { longest: None, ..terms } };
    assert_eq!(lease(world.does(claim)).expect("no nanosecond in the way").span.start, first.end);
}

#[test]
fn what_ended_is_not_made_once_more() {
    let mut world = World::new();
    world.offer(1, OWNER, 0, 1000).expect("free");
    world.claim(1, 1, Some((10, 20))).expect("free");
    world.does(LeaseCommand::End { id: lease_id(1), job: JobId(Uuid::nil()) }).expect("ahead");
    assert!(matches!(world.claim(1, 1, Some((10, 20))), Err(Refusal::Exists { .. })));
    world.does(LeaseCommand::Withdraw { id: offer_id(1) }).expect("open");
    assert!(matches!(world.offer(1, OWNER, 0, 1000), Err(Refusal::Exists { .. })));
}

#[test]
fn a_clock_that_is_set_back_puts_nobody_before_who_has_the_node() {
    let mut world = World::new();
    world.offer(1, OWNER, 0, 1000).expect("free");
    world.now = at(12);
    world.claim(1, 1, Some((12, 20))).expect("free");
    world.tick();
    world.activate(1);
    world.now = at(11);
    for times in [None, Some((11, 12))] {
        let words = in_use(world.claim(2, 1, times));
        assert!(words.contains(&format!("leased {}", span(12, 20))), "{words}");
    }
    world.claim(2, 1, Some((20, 21))).expect("after it");
    assert_eq!(world.move_end(1, 19).expect("it is his").span.end, at(19));
}

#[test]
fn an_offer_for_a_project_is_for_no_other() {
    let mut world = World::new();
    let wanted = NewOffer { project: OWNER.into(), lessee: Some("another".into()), ..NewOffer::default() };
    let terms = world.terms;
    world.does(LeaseCommand::Offer { id: offer_id(1), node: NODE, wanted: Box::new(wanted), terms }).expect("free");
    assert!(matches!(world.claim(1, 1, None), Err(Refusal::Forbidden(_))));
}

#[derive(Clone, Debug)]
enum Step {
    Offer(i64, i64),
    Withdraw(usize),
    Claim(usize, i64, i64),
    Lease(i64, i64),
    MoveEnd(usize, i64),
    Wait(i64),
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    let times = || (0..60_i64, 1..20_i64).prop_map(|(start, length)| (start, start + length));
    prop_oneof![
        times().prop_map(|(start, end)| Step::Offer(start, end)),
        any::<usize>().prop_map(Step::Withdraw),
        (any::<usize>(), times()).prop_map(|(offer, (start, end))| Step::Claim(offer, start, end)),
        times().prop_map(|(start, end)| Step::Lease(start, end)),
        (any::<usize>(), 0..90_i64).prop_map(|(lease, end)| Step::MoveEnd(lease, end)),
        // Now and then somebody sets the clock back.
        (-3..6_i64).prop_map(Step::Wait),
        Just(Step::Tick),
    ]
}

proptest! {
    #[test]
    fn nobody_has_a_node_while_another_has_it(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for (number, step) in steps.into_iter().enumerate() {
            let number = number as u128;
            let offers: Vec<_> = world.view.lease.offers().cloned().collect();
            let leases: Vec<_> = world.view.lease.leases().cloned().collect();
            let nth = |at: usize, count: usize| (count > 0).then(|| at % count);
            // What a list that is looked through says of the time.
            let now = world.now;
            let before = |span: Span, lease: &Lease| lease.state.is_present() && span.start < lease.span.end;
            let taken = |span: Span| leases.iter().any(|lease| lease.span.meets(&span) || before(span, lease));
            let offered = |span: Span| offers.iter().any(|offer| offer.span.meets(&span));
            match step {
                Step::Offer(start, end) => {
                    let wanted = Span::new(at(start).max(now), at(end)).ok();
                    let fits = wanted.is_some_and(|span| !taken(span) && !offered(span));
                    prop_assert_eq!(world.offer(number, OWNER, start, end).is_ok(), fits);
                }
                Step::Withdraw(which) => if let Some(which) = nth(which, offers.len()) {
                    world.does(LeaseCommand::Withdraw { id: offers[which].id }).expect("there");
                },
                Step::Claim(which, start, end) => if let Some(which) = nth(which, offers.len()) {
                    let wanted = Span::new(at(start).max(now), at(end)).ok();
                    let fits = wanted.is_some_and(|span| offers[which].span.holds(&span) && !taken(span));
                    let claimed = offers[which].id.0.as_u128() - 1000;
                    prop_assert_eq!(world.claim(number, claimed, Some((start, end))).is_ok(), fits);
                },
                Step::Lease(start, end) => {
                    let wanted = Span::new(at(start).max(now), at(end)).ok();
                    let fits = wanted.is_some_and(|span| !taken(span) && !offered(span));
                    prop_assert_eq!(world.lease(number, OWNER, Some((start, end))).is_ok(), fits);
                }
                Step::MoveEnd(which, end) => if let Some(which) = nth(which, leases.len()) {
                    let _ = world.move_end(leases[which].id.0.as_u128() - 2000, end);
                },
                Step::Wait(hours) => world.now = now + SignedDuration::from_hours(hours),
                Step::Tick => world.tick(),
            }
            let present = world.view.lease.leases().filter(|lease| lease.state.is_present()).count();
            prop_assert!(present <= 1, "two have the node at a time");
            let (offers, leases) = world.view.lease.under((NODE, None));
            prop_assert_eq!(leases.len(), world.view.lease.leases().count());
            prop_assert!(leases.windows(2).all(|pair| pair[0].span.end <= pair[1].span.start));
            prop_assert!(offers.windows(2).all(|pair| pair[0].span.end <= pair[1].span.start));
            for lease in &leases {
                let offered = offers.iter().filter(|offer| offer.span.meets(&lease.span)).map(|offer| Some(offer.id));
                prop_assert!(offered.clone().all(|offer| offer == lease.offer), "{:?}", lease);
            }
            for offer in &offers {
                let free = world.view.lease.free_of(offer);
                prop_assert!(free.iter().all(|span| offer.span.holds(span) && !leases.iter().any(|lease| lease.span.meets(span))));
            }
            let edges = world.view.lease.edges_until(Timestamp::MAX).count();
            let open = offers.iter().filter(|offer| offer.edge().is_some()).count();
            prop_assert_eq!(edges, open + leases.iter().filter(|lease| lease.edge().is_some()).count());
        }
    }
}

/// Another node of the owner's, offered from hour 0 to 1000; gives its offer.
fn another(world: &mut World, number: u128) -> OfferId {
    let id = NodeId(Uuid::from_u128(500 + number));
    let settings = NodeSettings { owner: Some(OWNER.into()), ..NodeSettings::default() };
    world.view.apply(&Change::PutNode(Arc::new(Node::enrolled(id, settings, at(0)))));
    let wanted = NewOffer { project: OWNER.into(), end: Some(at(1000)), ..NewOffer::default() };
    let (offer, terms) = (offer_id(number), world.terms);
    world.does(LeaseCommand::Offer { id: offer, node: id, wanted: Box::new(wanted), terms }).expect("free");
    offer
}

fn reserve(world: &mut World, group: u128, claims: &[(u128, OfferId)], times: (i64, i64)) -> Result<LeaseRow, Refusal> {
    let (wanted, terms) = (world.wanted(Some(times)), world.terms);
    let claims = claims.iter().map(|(lease, offer)| (lease_id(*lease), *offer)).collect();
    world.does(LeaseCommand::Reserve { id: ReservationId(Uuid::from_u128(group)), claims, wanted, terms })
}

#[test]
fn a_reservation_has_all_of_its_nodes_or_none() {
    let mut world = World::new();
    let offers = [11, 12, 13].map(|number| another(&mut world, number));
    reserve(&mut world, 1, &[(1, offers[0]), (2, offers[1])], (10, 20)).expect("both are free");
    let group = ReservationId(Uuid::from_u128(1));
    assert_eq!(world.view.lease.group(group).count(), 2);
    in_use(reserve(&mut world, 2, &[(3, offers[2]), (4, offers[1])], (15, 25)));
    assert!(world.view.lease.lease(lease_id(3)).is_none(), "nor the one that was free");
    let twice = reserve(&mut world, 2, &[(3, offers[2]), (4, offers[2])], (15, 25));
    assert!(matches!(twice, Err(Refusal::Invalid(_))), "{twice:?}");
    let again = reserve(&mut world, 1, &[(5, offers[2])], (15, 25));
    assert!(matches!(again, Err(Refusal::Exists { .. })), "{again:?}");
    let none = reserve(&mut world, 3, &[], (15, 25));
    assert!(matches!(none, Err(Refusal::Invalid(_))), "{none:?}");
}

#[test]
fn a_reservation_is_moved_and_given_back_as_one() {
    let mut world = World::new();
    let offers = [11, 12].map(|number| another(&mut world, number));
    reserve(&mut world, 1, &[(1, offers[0]), (2, offers[1])], (10, 20)).expect("both are free");
    let (id, terms) = (ReservationId(Uuid::from_u128(1)), world.terms);
    let ends = |world: &World| world.view.lease.group(id).map(|lease| lease.span.end).collect::<Vec<_>>();
    let leases = vec![lease_id(1), lease_id(2)];
    let until = |hour| LeaseCommand::ChangeGroupEnd { id, leases: leases.clone(), end: at(hour), terms };
    world.does(until(30)).expect("free");
    assert_eq!(ends(&world), [at(30); 2]);
    let other = world.claim_of(3, offers[1], (35, 40)).expect("free");
    in_use(world.does(until(36)));
    assert_eq!(ends(&world), [at(30); 2], "one could not, so none did");
    // Who was asked about some of them has no say in the others.
    let end = |numbers: &[u128]| {
        let leases = numbers.iter().map(|number| (lease_id(*number), JobId(Uuid::from_u128(*number)))).collect();
        LeaseCommand::EndGroup { id, leases }
    };
    let some = LeaseCommand::ChangeGroupEnd { id, leases: vec![lease_id(1)], end: at(20), terms };
    for judged in [some, end(&[1]), end(&[1, 2, 3]), end(&[])] {
        let refused = world.does(judged.clone());
        assert!(matches!(refused, Err(Refusal::Conflict { .. })), "{judged:?}: {refused:?}");
    }
    assert_eq!(ends(&world), [at(30); 2]);
    world.does(end(&[1, 2])).expect("both are given back");
    assert_eq!(world.view.lease.group(id).count(), 0);
    assert!(world.view.lease.lease(other.id).is_some(), "what is not of the group stays");
    let gone = world.does(until(30));
    assert!(matches!(gone, Err(Refusal::NotFound { .. })), "{gone:?}");
}

#[path = "quota_tests.rs"]
mod quotas;
