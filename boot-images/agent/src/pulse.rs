//! What sets the pace of the agent's waits: a heartbeat that should come soon, an alarm to tell, the end.

use ring::rand::{SecureRandom, SystemRandom};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Heartbeats that were asked for come no closer together than this.
const CLOSEST: Duration = Duration::from_millis(500);

/// Shared by all threads.
#[derive(Clone, Default)]
pub struct Pulse {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    wake: bool,
    over: bool,
    alarm: Option<String>,
}

impl Pulse {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A heartbeat should come soon.
    pub fn wake(&self) {
        self.lock().wake = true;
        self.shared.1.notify_all();
    }

    /// The machine leaves: every wait ends, nothing is begun any more.
    pub fn end(&self) {
        self.lock().over = true;
        self.shared.1.notify_all();
    }

    /// Something is wrong with the agent itself; heartbeats tell it from now on.
    pub fn raise(&self, alarm: String) {
        self.lock().alarm = Some(alarm);
        self.wake();
    }

    /// What is wrong with the agent itself.
    #[must_use]
    pub fn alarm(&self) -> Option<String> {
        self.lock().alarm.clone()
    }

    /// Waits until the next heartbeat is due, `at_most`, or until it is asked for. True: the end has come.
    #[must_use]
    pub fn next(&self, at_most: Duration) -> bool {
        if self.rest(CLOSEST.min(at_most)) {
            return true;
        }
        let waiting = |state: &mut State| !state.over && !state.wake;
        let (mut state, _) = self
            .shared
            .1
            .wait_timeout_while(self.lock(), at_most.saturating_sub(CLOSEST), waiting)
            .unwrap_or_else(PoisonError::into_inner);
        state.wake = false;
        state.over
    }

    /// Waits so long, or until the end. True: the end has come.
    pub fn rest(&self, so_long: Duration) -> bool {
        let waited = self.shared.1.wait_timeout_while(self.lock(), so_long, |state| !state.over);
        waited.unwrap_or_else(PoisonError::into_inner).0.over
    }

    /// Waits for the end.
    pub fn wait_for_end(&self) {
        drop(self.shared.1.wait_while(self.lock(), |state| !state.over));
    }
}

/// A random number from 0 to 1, so that machines do not act in step.
#[must_use]
pub fn chance() -> f64 {
    let mut bytes = [0u8; 4];
    // Without random numbers the middle will do.
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_end_when_they_should() {
        let pulse = Pulse::default();
        pulse.wake();
        assert!(!pulse.next(Duration::from_secs(3600)));
        let other = pulse.clone();
        let thread = std::thread::spawn(move || other.next(Duration::from_secs(3600)));
        pulse.end();
        assert!(thread.join().unwrap());
        assert!(pulse.rest(Duration::from_secs(3600)));
        pulse.wait_for_end();
        assert!((0.0..=1.0).contains(&chance()));
    }
}
