//! The clock that hyper bounds the arrival of a request's head by: one timer for each connection, not for each request.
//!
//! hyper makes a sleep before each request and drops it when the head is there, 30 s too early nearly always. Each such
//! sleep of its own would be entered into tokio's timer wheel and taken out again, under a lock that all connections
//! share. Here they all stand on the one sleep of their connection, which is only moved when it has run out too early.

use hyper::rt::{Sleep, Timer};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The timer of one connection.
#[derive(Debug, Clone)]
pub(super) struct ConnectionTimer(Arc<Mutex<Pin<Box<tokio::time::Sleep>>>>);

/// One wait, for a moment of its own.
#[derive(Debug)]
struct Wait {
    until: Instant,
    timer: ConnectionTimer,
}

impl ConnectionTimer {
    /// `usual`: how far off the moments usually are, so that the first of them need not move the timer.
    pub(super) fn new(usual: Duration) -> Self {
        ConnectionTimer(Arc::new(Mutex::new(Box::pin(tokio::time::sleep(usual)))))
    }
}

impl Timer for ConnectionTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Wait { until: deadline, timer: self.clone() })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let until = tokio::time::Instant::from_std(self.until);
        let mut sleep = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Later than the timer is set would be too late; earlier only wakes for nothing.
        if sleep.deadline() > until {
            sleep.as_mut().reset(until);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if tokio::time::Instant::now() >= until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
        Poll::Pending
    }
}

impl Sleep for Wait {}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn each_wait_ends_at_its_own_moment_and_not_before() {
        let timer = ConnectionTimer::new(3 * SHORT);
        // Shorter than the timer was set to, longer, after one that was dropped half-way, and one that is over already.
        for (wait, dropped) in
            [(SHORT, false), (5 * SHORT, false), (4 * SHORT, true), (2 * SHORT, false), (Duration::ZERO, false)]
        {
            let before = timer.now();
            let sleep = timer.sleep(wait);
            if dropped {
                assert!(tokio::time::timeout(wait / 2, sleep).await.is_err());
                continue;
            }
            sleep.await;
            assert!(timer.now() - before >= wait, "{wait:?}");
        }
    }

    #[tokio::test]
    async fn a_wait_is_not_held_up_by_a_longer_one_before_it() {
        let timer = ConnectionTimer::new(Duration::from_secs(3600));
        let mut long = timer.sleep(Duration::from_secs(3600));
        assert!(polled_once(&mut long).await.is_pending());
        drop(long);
        // Would last an hour otherwise.
        tokio::time::timeout(Duration::from_secs(30), timer.sleep(SHORT)).await.expect("its own moment");
    }

    async fn polled_once(sleep: &mut Pin<Box<dyn Sleep>>) -> Poll<()> {
        std::future::poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx))).await
    }
}
