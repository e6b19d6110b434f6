//! Whose turn it is: processor time shared fairly between flows, a flow being the requests of one user or network.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996) without weights. Each flow has a virtual time that grows by
//! what its turns cost; of the flows that wait, the one with the least goes next, its own requests in their order. A flow
//! that comes back after a pause starts at the time of the flow that was served last: pauses save nothing up. So a flow
//! that asks for the first time waits for the turns that run and for at most one turn of each other flow, however many
//! requests those have waiting. Nothing is idle while somebody waits. No clock in here: what a turn has cost is told.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

/// Flows that are remembered when they have nothing to do; only those that used more than others are worth it.
const REMEMBERED: usize = 4096;

#[derive(Debug, Default)]
struct Flow {
    /// Its virtual time, in microseconds.
    used: u64,
    running: usize,
    /// The numbers of its requests that wait.
    waiting: VecDeque<u64>,
    /// Its place among flows of the same virtual time.
    since: u64,
}

/// What somebody who asks for a turn is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    /// When this number is started.
    Later(u64),
}

/// Who runs, and who waits for a turn.
#[derive(Debug)]
pub(super) struct Queue<F> {
    slots: usize,
    running: usize,
    /// The virtual time: that of the flow that was started last.
    now: u64,
    next: u64,
    flows: HashMap<F, Flow>,
    /// The flows that wait, by virtual time.
    backlog: BTreeMap<(u64, u64), F>,
}

impl<F: Clone + Eq + Hash> Queue<F> {
    /// So many turns at a time.
    pub(super) fn new(slots: usize) -> Queue<F> {
        let slots = slots.max(1);
        Queue { slots, running: 0, now: 0, next: 0, flows: HashMap::new(), backlog: BTreeMap::new() }
    }

    /// Somebody waits.
    pub(super) fn is_contended(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// A request of this flow wants a turn.
    pub(super) fn ask(&mut self, name: &F) -> Turn {
        self.next += 1;
        let number = self.next;
        let flow = self.flows.entry(name.clone()).or_default();
        if flow.waiting.is_empty() {
            flow.used = flow.used.max(self.now);
            flow.since = number;
        }
        if self.running < self.slots {
            self.now = flow.used;
            flow.used += 1;
            flow.running += 1;
            self.running += 1;
            return Turn::Now;
        }
        if flow.waiting.is_empty() {
            self.backlog.insert((flow.used, flow.since), name.clone());
        }
        flow.waiting.push_back(number);
        Turn::Later(number)
    }

    /// A turn of `name` has ended; what it cost is `payer`'s. Gives the number that is started instead.
    pub(super) fn done(&mut self, name: &F, payer: &F, cost: Duration) -> Option<u64> {
        self.running = self.running.saturating_sub(1);
        if let Some(flow) = self.flows.get_mut(name) {
            flow.running = flow.running.saturating_sub(1);
        }
        // The start has cost a microsecond already.
        let cost = u64::try_from(cost.as_micros()).unwrap_or(u64::MAX / 4).saturating_sub(1);
        if cost > 0 {
            let now = self.now;
            let flow = self.flows.entry(payer.clone()).or_default();
            let before = (flow.used, flow.since);
            flow.used = flow.used.max(now).saturating_add(cost);
            let after = (flow.used, flow.since);
            if let Some(waiting) = self.backlog.remove(&before) {
                self.backlog.insert(after, waiting);
            }
        }
        let started = self.start();
        self.forget(name);
        started
    }

    /// A request that waits has gone. `false`: it does not wait, and if it was started, [`Queue::done`] is due.
    pub(super) fn give_up(&mut self, name: &F, number: u64) -> bool {
        let Some(flow) = self.flows.get_mut(name) else { return false };
        let Some(at) = flow.waiting.iter().position(|waiting| *waiting == number) else { return false };
        flow.waiting.remove(at);
        if flow.waiting.is_empty() {
            self.backlog.remove(&(flow.used, flow.since));
            self.forget(name);
        }
        true
    }

    fn start(&mut self) -> Option<u64> {
        if self.running >= self.slots {
            return None;
        }
        let ((used, _), name) = self.backlog.pop_first()?;
        self.now = self.now.max(used);
        self.next += 1;
        let next = self.next;
        let flow = self.flows.get_mut(&name)?;
        let number = flow.waiting.pop_front();
        flow.used = used + 1;
        flow.running += 1;
        self.running += 1;
        if !flow.waiting.is_empty() {
            flow.since = next;
            self.backlog.insert((flow.used, flow.since), name);
        }
        number
    }

    /// What a flow has used is of interest only as long as others wait, or may soon.
    fn forget(&mut self, name: &F) {
        let now = self.now;
        let is_active = |flow: &Flow| flow.running > 0 || !flow.waiting.is_empty();
        if self.running == 0 {
            self.flows.clear();
        } else if self.flows.get(name).is_some_and(|flow| !is_active(flow) && flow.used <= now) {
            self.flows.remove(name);
        } else if self.flows.len() > REMEMBERED {
            self.flows.retain(|_, flow| is_active(flow) || flow.used > now);
            if self.flows.len() > REMEMBERED {
                self.flows.retain(|_, flow| is_active(flow));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const MS: Duration = Duration::from_millis(1);

    /// A queue, with what it has to be known of it from outside.
    struct Model {
        queue: Queue<u8>,
        slots: usize,
        running: Vec<(u8, u64)>,
        waiting: Vec<(u8, u64)>,
        started: Vec<u8>,
        numbers: u64,
    }

    impl Model {
        fn new(slots: usize) -> Model {
            Model { queue: Queue::new(slots), slots, running: vec![], waiting: vec![], started: vec![], numbers: 0 }
        }

        fn ask(&mut self, flow: u8) -> Option<u64> {
            match self.queue.ask(&flow) {
                Turn::Now => {
                    self.numbers += 1;
                    self.running.push((flow, u64::MAX - self.numbers));
                    self.started.push(flow);
                    None
                }
                Turn::Later(number) => {
                    self.waiting.push((flow, number));
                    Some(number)
                }
            }
        }

        fn end(&mut self, at: usize, cost: Duration) {
            let (flow, _) = self.running.swap_remove(at % self.running.len());
            if let Some(number) = self.queue.done(&flow, &flow, cost) {
                let at = self.waiting.iter().position(|(_, waiting)| *waiting == number).expect("it waited");
                let (flow, number) = self.waiting.remove(at);
                self.running.push((flow, number));
                self.started.push(flow);
            }
        }
    }

    #[test]
    fn who_asks_for_little_goes_before_who_asks_for_much() {
        let mut model = Model::new(1);
        for _ in 0..64 {
            model.ask(b'a');
        }
        model.end(0, 10 * MS);
        // Ten short ones while a long one runs: all of them come before the next long one.
        for _ in 0..10 {
            model.ask(b'b');
        }
        model.end(0, 10 * MS);
        for _ in 0..10 {
            model.end(0, MS / 10);
        }
        assert_eq!(model.started, [b"aa".as_slice(), &[b'b'; 10], b"a"].concat());
    }

    #[test]
    fn two_that_ask_for_the_same_share_alike() {
        let mut model = Model::new(2);
        for _ in 0..100 {
            model.ask(b'a');
        }
        for _ in 0..50 {
            model.ask(b'b');
        }
        for _ in 0..80 {
            model.end(0, MS);
        }
        let of_b = model.started.iter().filter(|flow| **flow == b'b').count();
        assert!((39..=41).contains(&of_b), "{of_b} of 82");
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let mut model = Model::new(1);
        for flow in 0..=255 {
            model.ask(flow);
        }
        let last = *model.waiting.last().expect("somebody waits");
        assert!(model.queue.give_up(&last.0, last.1));
        assert!(!model.queue.give_up(&last.0, last.1), "not twice");
        model.waiting.pop();
        while !model.running.is_empty() {
            model.end(0, MS);
        }
        assert_eq!(model.started.len(), 255);
        assert!(model.queue.flows.is_empty() && model.queue.backlog.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ask(u8),
        End(usize, u64),
        GiveUp(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u8..6).prop_map(Step::Ask),
            3 => (any::<usize>(), 0_u64..20_000).prop_map(|(at, cost)| Step::End(at, cost)),
            1 => any::<usize>().prop_map(Step::GiveUp),
        ]
    }

    proptest! {
        /// Whatever others do, before and after: who asks for the first time sees at most one turn of each of them begin
        /// before his own.
        #[test]
        fn nobody_waits_for_more_than_a_turn_of_each(
            slots in 1_usize..4,
            steps in proptest::collection::vec(any_step(), 0..300),
            later in proptest::collection::vec(any_step(), 0..300),
        ) {
            const NEW: u8 = 99;
            let mut model = Model::new(slots);
            let mut wanted: Option<Option<u64>> = None;
            let mut began = 0;
            let asking = Step::Ask(NEW);
            for step in steps.iter().chain([&asking]).chain(&later) {
                match step {
                    Step::Ask(flow) => {
                        let number = model.ask(*flow);
                        if *flow == NEW {
                            (wanted, began) = (Some(number), model.started.len());
                        }
                    }
                    Step::End(at, cost) if !model.running.is_empty() => {
                        // His own turn, once it has begun, goes on: he asks but once.
                        model.end(*at, Duration::from_micros(*cost));
                    }
                    Step::GiveUp(at) if !model.waiting.is_empty() => {
                        let at = at % model.waiting.len();
                        if model.waiting[at].0 != NEW {
                            let (flow, number) = model.waiting.remove(at);
                            prop_assert!(model.queue.give_up(&flow, number));
                        }
                    }
                    _ => {}
                }
                // Nothing is idle while somebody waits, and no more runs than may.
                prop_assert!(model.running.len() <= slots);
                prop_assert!(model.waiting.is_empty() || model.running.len() == model.slots);
                prop_assert_eq!(model.queue.is_contended(), !model.waiting.is_empty());
                let waits = model.waiting.iter().any(|(flow, _)| *flow == NEW);
                if let Some(Some(_)) = wanted && waits {
                    let since = &model.started[began..];
                    let others: HashSet<&u8> = since.iter().collect();
                    prop_assert_eq!(others.len(), since.len(), "somebody had two turns: {:?}", since);
                }
            }
        }

        /// Of flows that always want more, none uses more than the others by more than the turns it has at a time.
        #[test]
        fn time_is_shared_alike(slots in 1_usize..4, costs in proptest::collection::vec(1_u64..20_000, 2..6)) {
            let mut model = Model::new(slots);
            let mut used = vec![0; costs.len()];
            let flow = |at: usize| u8::try_from(at).expect("few");
            for at in 0..costs.len() {
                for _ in 0..=slots {
                    model.ask(flow(at));
                }
            }
            for _ in 0..2_000 {
                let at = usize::from(model.running[0].0);
                used[at] += costs[at];
                model.ask(flow(at));
                model.end(0, Duration::from_micros(costs[at]));
            }
            let most = costs.iter().max().expect("some") * (slots as u64 + 1);
            let (least, largest) = (used.iter().min().expect("some"), used.iter().max().expect("some"));
            prop_assert!(largest - least <= 2 * most, "{:?} for {:?}", used, costs);
        }
    }
}
