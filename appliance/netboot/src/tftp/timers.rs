//! Deadlines of many transfers: which is next, at the cost of one heap entry each.
//!
//! A deadline moves with every packet, nearly always to a later time. So an entry is left where it is, and when its
//! time comes the transfer's real deadline is looked up and queued again. Only a deadline that moves to an earlier
//! time gets a new entry; the old one is then stale and is dropped when its time comes.

use super::table::Key;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Duration, Key)>>,
}

impl Timers {
    /// Notes that `key` has something to do at `deadline`. `queued` is the transfer's own note of its live entry.
    pub(super) fn set(&mut self, key: Key, deadline: Duration, queued: &mut Option<Duration>) {
        if queued.is_none_or(|at| deadline < at) {
            *queued = Some(deadline);
            self.heap.push(Reverse((deadline, key)));
        }
    }

    /// When [`Timers::due`] may next return something.
    pub(super) fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes an entry whose time has come. It is stale if the transfer is gone or has noted another entry.
    pub(super) fn due(&mut self, now: Duration) -> Option<(Duration, Key)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_unless_the_deadline_comes_nearer() {
        let ms = Duration::from_millis;
        let mut timers = Timers::default();
        let key = Key { slot: 3, generation: 1 };
        let mut queued = None;
        timers.set(key, ms(500), &mut queued);
        for later in 501..600 {
            timers.set(key, ms(later), &mut queued);
        }
        assert_eq!(timers.heap.len(), 1);
        timers.set(key, ms(20), &mut queued);
        assert_eq!((timers.next(), queued), (Some(ms(20)), Some(ms(20))));
        assert_eq!(timers.due(ms(19)), None);
        assert_eq!(timers.due(ms(20)), Some((ms(20), key)));
        // What is left is the stale one, which its time tells.
        assert_eq!(timers.due(ms(700)), Some((ms(500), key)));
        assert_eq!(timers.due(ms(700)), None);
    }
}
