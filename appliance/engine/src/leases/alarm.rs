//! A timer that follows the wall clock: it rings when the clock says so, and when somebody sets the clock.

use jiff::SignedDuration;
use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::time::Duration;
use tokio::net::unix::pipe::Receiver;

/// Where the timer cannot be used.
const COARSE: Duration = Duration::from_secs(1);
/// Longer waits are as good as this one: hours that the clock of a kernel can hold.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 365 * 100);

/// The timer. It is read like a pipe, which is the way that tokio has to wait for a descriptor without `unsafe`.
pub(super) struct Alarm(Receiver);

impl Alarm {
    pub(super) fn new() -> io::Result<Alarm> {
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Alarm(Receiver::from_owned_fd_unchecked(timer)?))
    }

    /// Returns after this time by the wall clock, or when that is set; never, when there is nothing to wait for. It may
    /// return for nothing.
    pub(super) async fn rings(&self, after: Option<SignedDuration>) {
        let Some(after) = after else { return std::future::pending().await };
        if !after.is_positive() {
            return;
        }
        match self.set(after.min(LONGEST)) {
            Ok(()) => {}
            // The clock was set since the timer was set last.
            Err(Errno::CANCELED) => return,
            Err(error) => {
                tracing::warn!(%error, "the timer for the edges of leases cannot be set");
                return tokio::time::sleep(COARSE).await;
            }
        }
        loop {
            if self.0.readable().await.is_err() {
                return tokio::time::sleep(COARSE).await;
            }
            match self.0.try_read(&mut [0; 8]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // It rang, or the clock was set.
                Ok(_) | Err(_) => return,
            }
        }
    }

    fn set(&self, after: SignedDuration) -> Result<(), Errno> {
        let now = clock_gettime(ClockId::Realtime);
        let nanoseconds = now.tv_nsec + i64::from(after.subsec_nanos());
        let at = Timespec {
            tv_sec: now.tv_sec.saturating_add(after.as_secs()).saturating_add(nanoseconds / 1_000_000_000),
            tv_nsec: nanoseconds % 1_000_000_000,
        };
        let once = Itimerspec { it_interval: Timespec::default(), it_value: at };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &once)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_rings_when_its_time_has_come_and_not_before() {
        let alarm = Alarm::new().expect("a timer");
        for wait in [30, 1, 0, -5] {
            let begin = std::time::Instant::now();
            let rings = alarm.rings(Some(SignedDuration::from_millis(wait)));
            tokio::time::timeout(Duration::from_secs(20), rings).await.expect("it rings");
            assert!(i64::try_from(begin.elapsed().as_millis()).expect("short") >= wait);
        }
    }

    #[tokio::test]
    async fn a_wait_that_was_given_up_does_not_ring_for_the_next_one() {
        let alarm = Alarm::new().expect("a timer");
        let short = alarm.rings(Some(SignedDuration::from_millis(5)));
        let given_up = tokio::time::timeout(Duration::from_millis(1), short).await;
        for wait in [Some(SignedDuration::MAX), None] {
            let next = tokio::time::timeout(Duration::from_millis(60), alarm.rings(wait)).await;
            assert!(next.is_err(), "{wait:?} {given_up:?}");
        }
    }
}
