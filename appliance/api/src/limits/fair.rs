//! Requests computed in turns: while a request is polled it holds one of as many turns as there are processors.
//!
//! A turn is what a request computes between two waits, not its whole life: who waits for the disk, a BMC or his client
//! holds nobody up. Which request is next, [`Queue`] says. Without this, sixty-four lists that one user asks for at once
//! would stand in the runtime's queue before the one node that another asks for. What computes long without waiting has to
//! end its turn itself now and then ([`another_turn`]): nobody can take it away.

use super::queue::{Queue, Turn};
use super::ticket::{Flow, Ticket};
use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Waiting {
    waker: Waker,
    started: bool,
}

#[derive(Debug)]
struct State {
    queue: Queue<Flow>,
    waiting: HashMap<u64, Waiting>,
}

/// The turns of all requests.
#[derive(Debug)]
pub(super) struct Turns(Mutex<State>);

impl Turns {
    pub(super) fn new(slots: usize) -> Turns {
        Turns(Mutex::new(State { queue: Queue::new(slots), waiting: HashMap::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody waits for a turn.
    pub(super) fn are_contended(&self) -> bool {
        self.lock().queue.is_contended()
    }

    fn ask(&self, flow: &Flow, waker: &Waker) -> Turn {
        let mut state = self.lock();
        let turn = state.queue.ask(flow);
        if let Turn::Later(number) = turn {
            state.waiting.insert(number, Waiting { waker: waker.clone(), started: false });
        }
        turn
    }

    /// The turn of this number has come; if not, `waker` is woken when it does.
    fn is_started(&self, number: u64, waker: &Waker) -> bool {
        let mut state = self.lock();
        match state.waiting.get_mut(&number) {
            Some(waiting) if !waiting.started => {
                waiting.waker.clone_from(waker);
                false
            }
            _ => {
                state.waiting.remove(&number);
                true
            }
        }
    }

    fn done(&self, flow: &Flow, payer: &Flow, cost: Duration) {
        let mut state = self.lock();
        let started = state.queue.done(flow, payer, cost);
        let started = started.and_then(|number| state.waiting.get_mut(&number));
        let waker = started.map(|waiting| {
            waiting.started = true;
            waiting.waker.clone()
        });
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn give_up(&self, flow: &Flow, number: u64) {
        let mut state = self.lock();
        state.waiting.remove(&number);
        let waited = state.queue.give_up(flow, number);
        drop(state);
        if !waited {
            // Its turn had come, and nobody takes it.
            self.done(flow, flow, Duration::ZERO);
        }
    }
}

/// A future that is polled in turns.
pub(super) struct Fair<F> {
    inner: Pin<Box<F>>,
    ticket: Ticket,
    waits: Option<(Flow, u64)>,
}

impl<F: Future> Fair<F> {
    pub(super) fn new(inner: F, ticket: Ticket) -> Fair<F> {
        Fair { inner: Box::pin(inner), ticket, waits: None }
    }
}

/// A turn that is being used; it ends also when what runs in it panics.
struct Running<'a> {
    ticket: &'a Ticket,
    flow: Flow,
    began: Instant,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Who asks may have become known in this turn; then it is his.
        self.ticket.turns().done(&self.flow, &self.ticket.flow(), self.began.elapsed());
    }
}

impl<F: Future> Future for Fair<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let me = self.get_mut();
        let turns = me.ticket.turns().clone();
        let flow = match me.waits.take() {
            Some((flow, number)) => {
                if !turns.is_started(number, context.waker()) {
                    me.waits = Some((flow, number));
                    return Poll::Pending;
                }
                flow
            }
            None => {
                let flow = me.ticket.flow();
                if let Turn::Later(number) = turns.ask(&flow, context.waker()) {
                    me.waits = Some((flow, number));
                    return Poll::Pending;
                }
                flow
            }
        };
        let mut flow = flow;
        loop {
            let running = Running { ticket: &me.ticket, flow, began: Instant::now() };
            PLACE.set(Place::InTurn);
            let polled = me.inner.as_mut().poll(context);
            let place = PLACE.replace(Place::Outside);
            drop(running);
            if polled.is_ready() || place != Place::Ended {
                return polled;
            }
            // Asked for here and not at the next poll: until then the runtime may have begun what computes long.
            flow = me.ticket.flow();
            if let Turn::Later(number) = turns.ask(&flow, context.waker()) {
                me.waits = Some((flow, number));
                return Poll::Pending;
            }
        }
    }
}

/// Where a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Outside,
    InTurn,
    /// What is being polled has ended its turn, and wants another.
    Ended,
}

thread_local! {
    static PLACE: Cell<Place> = const { Cell::new(Place::Outside) };
}

impl<F> Drop for Fair<F> {
    fn drop(&mut self) {
        if let Some((flow, number)) = self.waits.take() {
            self.ticket.turns().give_up(&flow, number);
        }
    }
}

/// Ends the turn, and goes on in the next: at once if nobody else waits for one, or if this is not computed in turns. To be
/// awaited by the request itself, not by a future of a set that is only polled when it is woken.
pub(crate) async fn another_turn() {
    let mut ended = false;
    std::future::poll_fn(|_| {
        if ended || PLACE.get() == Place::Outside {
            return Poll::Ready(());
        }
        // `Fair` polls again when the turn comes; nobody needs to be woken for that.
        ended = true;
        PLACE.set(Place::Ended);
        Poll::Pending
    })
    .await;
}

/// A place at work that is shared fairly between networks, such as the few in which passwords are looked at.
#[derive(Debug)]
pub(crate) struct Places(Arc<Turns>);

impl Places {
    pub(crate) fn new(slots: usize) -> Places {
        Places(Arc::new(Turns::new(slots)))
    }

    /// Waits for a place: of the networks that wait, the one that had least goes first.
    pub(crate) async fn enter(&self, network: std::net::IpAddr) -> Entered {
        let flow = Flow::Network(network);
        let mut waits = Waits { turns: self.0.clone(), flow, number: None };
        std::future::poll_fn(|context| match waits.number {
            Some(number) if waits.turns.is_started(number, context.waker()) => {
                waits.number = None;
                Poll::Ready(())
            }
            Some(_) => Poll::Pending,
            None => match waits.turns.ask(&waits.flow, context.waker()) {
                Turn::Now => Poll::Ready(()),
                Turn::Later(number) => {
                    waits.number = Some(number);
                    Poll::Pending
                }
            },
        })
        .await;
        Entered { turns: self.0.clone(), flow, began: Instant::now() }
    }
}

/// Somebody who waits for a place, and may go before he has it.
struct Waits {
    turns: Arc<Turns>,
    flow: Flow,
    number: Option<u64>,
}

impl Drop for Waits {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.turns.give_up(&self.flow, number);
        }
    }
}

/// A place that is taken; free again when dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    turns: Arc<Turns>,
    flow: Flow,
    began: Instant,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.turns.done(&self.flow, &self.flow, self.began.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Limits, Settings};
    use leasehold_domain::id::UserId;
    use std::net::{IpAddr, Ipv4Addr};

    const LONG: usize = 50;

    fn ticket(limits: &Arc<Limits>, last: u8) -> Ticket {
        Ticket::new(limits, Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))), false).map_err(|(_, e)| e).expect("room")
    }

    /// Notes its name for each piece of its work.
    async fn works(name: u8, pieces: usize, notes: Arc<Mutex<Vec<u8>>>) {
        for _ in 0..pieces {
            notes.lock().expect("no panic").push(name);
            another_turn().await;
        }
    }

    #[tokio::test]
    async fn who_computes_long_lets_others_in_between() {
        let limits = Arc::new(Limits { turns: Arc::new(Turns::new(1)), ..Limits::new(Settings::default()) });
        let notes = Arc::new(Mutex::new(Vec::new()));
        let work = |last, pieces| Fair::new(works(last, pieces, notes.clone()), ticket(&limits, last));
        // While the only turn is somebody else's all of them ask for one.
        let other = Flow::User(UserId(uuid::Uuid::nil()));
        limits.turns.ask(&other, Waker::noop());
        let turns = limits.turns.clone();
        let frees = async move { turns.done(&other, &other, Duration::ZERO) };
        tokio::join!(work(1, LONG), work(2, 3), work(3, 1), frees);
        let notes = notes.lock().expect("no panic").clone();
        assert_eq!(notes.len(), LONG + 4);
        let last_short = notes.iter().rposition(|name| *name != 1).expect("they worked");
        assert!(last_short < LONG / 2, "the long one held the turn: {notes:?}");
    }

    #[tokio::test]
    async fn outside_of_turns_nobody_waits() {
        let notes = Arc::new(Mutex::new(Vec::new()));
        works(1, 3, notes.clone()).await;
        assert_eq!(*notes.lock().expect("no panic"), [1, 1, 1]);
    }
}
