//! The account of offers and leases against a calendar that was kept hour by hour as the history went on.

use super::*;
use crate::lease::Offer;
use crate::lease::figures::{By, Day, Figures, Side, Tally, Window, day_of};

/// What was so in one hour, of one row.
#[derive(Clone, Debug)]
struct Hour {
    start: Timestamp,
    leased: bool,
    used: bool,
    /// The offer that stood, or the lease.
    owner: String,
    lessee: Option<String>,
    is_part: bool,
}

#[derive(Clone, Debug)]
enum More {
    Step(Step),
    Suboffer(i64, i64),
    Claim(usize, i64, i64),
    Withdraw(usize),
    Move(usize, i64),
}

fn more() -> impl Strategy<Value = More> {
    let times = || (0..90_i64, 1..30_i64).prop_map(|(start, length)| (start, start + length));
    prop_oneof![
        12 => step().prop_map(More::Step),
        1 => Just(More::Step(Step::Offer(0, 90))),
        2 => Just(More::Step(Step::Wait(9))),
        3 => Just(More::Step(Step::Work(20, true))),
        2 => Just(More::Step(Step::Deploy)),
        1 => times().prop_map(|(start, end)| More::Suboffer(start, end)),
        6 => (any::<usize>(), times()).prop_map(|(which, (start, end))| More::Claim(which, start, end)),
        1 => any::<usize>().prop_map(More::Withdraw),
        2 => (any::<usize>(), 1..60_i64).prop_map(|(which, end)| More::Move(which, end)),
    ]
}

struct Calendar {
    world: World,
    hours: Vec<Hour>,
}

impl Calendar {
    fn take(&mut self, number: usize, step: More) {
        let world = &mut self.world;
        let project = format!("project{}", number % 3);
        match step {
            More::Step(Step::Wait(hours)) => (0..hours).for_each(|_| self.pass()),
            More::Step(step) => world.take(number, step),
            More::Suboffer(start, end) => {
                if let Some(lessee) = world.lessee() {
                    let _ = world.offer(&lessee, start, end);
                }
            }
            More::Claim(which, start, end) => {
                let open: Vec<OfferId> = world.view.lease.offers().map(|offer| offer.id).collect();
                let Some(offer) = (!open.is_empty()).then(|| open[which % open.len()]) else { return };
                let (id, terms) = (LeaseId(world.id()), Terms::default());
                let (start, end) = (Some(at(start)), Some(at(end)));
                let wanted = Box::new(NewLease { project, start, end, ..NewLease::default() });
                let _ = world.give(Command::Lease(LeaseCommand::Claim { id, offer, wanted, terms }));
            }
            More::Withdraw(which) => {
                let open: Vec<OfferId> = world.view.lease.offers().map(|offer| offer.id).collect();
                if !open.is_empty() {
                    let id = open[which % open.len()];
                    let _ = world.give(Command::Lease(LeaseCommand::Withdraw { id }));
                }
            }
            More::Move(which, end) => {
                // As the reconciler has it: what is over by now was ended before anybody can move its end.
                world.tick();
                let open: Vec<_> = world.view.lease.leases().cloned().collect();
                if !open.is_empty() {
                    let (id, revision) = (open[which % open.len()].id, open[which % open.len()].revision);
                    let (end, terms) = (at(end), Terms { longest: None, ..Terms::default() });
                    let _ = world.give(Command::Lease(LeaseCommand::ChangeEnd { id, revision, end, terms }));
                }
            }
        }
    }

    /// An hour goes by, in which all is as it is now.
    fn pass(&mut self) {
        let (view, start) = (&self.world.view, self.world.now);
        for offer in view.lease.offers().filter(|offer| offer.span.has(start)) {
            let owner = offer.project.clone();
            let is_part = offer.parent.is_some();
            self.hours.push(Hour { start, leased: false, used: false, owner, lessee: None, is_part });
        }
        let has = view.node(NODE).and_then(|node| node.lease);
        let deployed = self.world.node().provision_state.is_deployed();
        // Who has the node, and those of whom he has it.
        let above = |id: &LeaseId| view.lease.lease(*id).and_then(|lease| lease.parent);
        let users: Vec<LeaseId> = std::iter::successors(has, above).filter(|_| deployed).collect();
        for lease in view.lease.leases().filter(|lease| !lease.state.is_ending() && lease.span.has(start)) {
            self.hours.push(Hour {
                start,
                leased: true,
                used: users.contains(&lease.id),
                owner: lease.owner.clone(),
                lessee: Some(lease.project.clone()),
                is_part: lease.parent.is_some(),
            });
        }
        self.world.wait(1);
    }

    fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.world.rows.values().filter_map(|row| match row {
            LeaseRow::Offer(offer) => Some(&**offer),
            _ => None,
        })
    }

    fn tally(&self, side: Side, by: By, days: (Day, Day)) -> Tally {
        let window = Window { first: days.0, end: days.1, now: self.world.now };
        let mut tally = Tally::new(side, by, window, 1000);
        self.offers().for_each(|offer| tally.offer(offer, None));
        for row in self.world.rows.values() {
            let LeaseRow::Lease(lease) = row else { continue };
            let offer = lease.offer.and_then(|id| self.offers().find(|offer| offer.id == id));
            tally.lease(lease, offer, None);
        }
        assert!(!tally.is_full());
        tally
    }

    /// What the hours of a day come to that `counts` takes. Spans of one level of the one node do not meet.
    fn counted(&self, day: Day, counts: impl Fn(&Hour) -> bool) -> Figures {
        let mut figures = Figures::default();
        for hour in self.hours.iter().filter(|hour| counts(hour)) {
            let end = hour.start + SignedDuration::from_hours(1);
            let midnight = Timestamp::from_second(86_400 * i64::from(day)).expect("a time");
            let next = midnight + SignedDuration::from_hours(24);
            let seconds = hour.start.max(midnight).duration_until(end.min(next)).as_secs().max(0);
            let same = |other: &&Hour| other.start == hour.start && other.is_part == hour.is_part && counts(other);
            let taken = !hour.leased && self.hours.iter().filter(same).any(|other| other.leased);
            match hour.leased {
                true => figures.leased += seconds,
                false if taken => {}
                false => figures.idle += seconds,
            }
            figures.used += if hour.used { seconds } else { 0 };
        }
        figures
    }
}

proptest! {
    #[test]
    fn figures_add_up_to_the_calendar(steps in prop::collection::vec(more(), 1..120)) {
        let mut calendar = Calendar { world: World::new(), hours: Vec::new() };
        for (number, step) in steps.into_iter().enumerate() {
            calendar.take(number, step);
        }
        let (first, last) = (day_of(at(0)), day_of(calendar.world.now));
        let by_day = By { day: true, ..By::default() };
        let of = |tally: &Tally, day: Day| {
            let sums = tally.sums();
            sums.into_iter().find(|(share, _)| share.day == Some(day)).map(|(_, figures)| figures).unwrap_or_default()
        };
        let all = calendar.tally(Side::All, by_day, (first, last + 1));
        for day in first..=last {
            prop_assert_eq!(of(&all, day), calendar.counted(day, |hour| !hour.is_part), "everybody's, {}", day);
            // One day alone says the same, and together they are the whole.
            prop_assert_eq!(calendar.tally(Side::All, by_day, (day, day + 1)).total(), of(&all, day));
        }
        let whole = calendar.tally(Side::All, By::default(), (first, last + 1));
        prop_assert_eq!(whole.total(), all.total());
        prop_assert_eq!(whole.sums().into_iter().map(|(_, figures)| figures).collect::<Vec<_>>().pop().unwrap_or_default(), all.total());
        prop_assert!(all.total().used <= all.total().leased && all.total().idle >= 0);
        let by_lessee = calendar.tally(Side::All, By { project: true, ..by_day }, (first, last + 1));
        for name in ["project0", "project1", "project2"] {
            let lessee = calendar.tally(Side::Lessee(name.into()), by_day, (first, last + 1));
            for day in first..=last {
                let had = calendar.counted(day, |hour| hour.lessee.as_deref() == Some(name));
                prop_assert_eq!(of(&lessee, day), had, "had by {}, {}", name, day);
                let sums = by_lessee.sums();
                let row = sums.iter().find(|(share, _)| share.day == Some(day) && share.project.as_deref() == Some(name));
                prop_assert_eq!(row.map(|(_, figures)| *figures).unwrap_or_default(), had);
            }
        }
        prop_assert_eq!(by_lessee.total(), all.total(), "each node once");
        for name in [OWNER, "project0", "project1", "project2"] {
            let owner = calendar.tally(Side::Owner(name.into()), by_day, (first, last + 1));
            // A project that leases of itself, or of one that leases of it, has the node on two levels.
            for day in first..=last {
                let own = |part: bool| calendar.counted(day, |hour| hour.owner == name && hour.is_part == part);
                let mut given = own(false);
                let under = own(true);
                given = Figures {
                    leased: given.leased + under.leased,
                    used: given.used + under.used,
                    idle: given.idle + under.idle,
                };
                prop_assert_eq!(of(&owner, day), given, "given by {}, {}", name, day);
            }
        }
    }
}
