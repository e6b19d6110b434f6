//! How long to wait for an answer: the estimator of RFC 6298, with bounds for a boot network.
//!
//! RFC 6298 starts at one second and never goes below it, which is right for the internet and costs a booting
//! machine a second per lost packet. A boot network answers in well under a millisecond and its slowest clients
//! (firmware on a timer tick) within tens of milliseconds; a resend that came too early costs a window of packets
//! and nothing else, because duplicate ACKs never cause another one.

use std::time::Duration;

/// Before the first measurement.
const FIRST: Duration = Duration::from_millis(500);
/// Never shorter: below this the scheduler's own delays would count as losses.
const SHORTEST: Duration = Duration::from_millis(10);
/// Never longer, whatever the back-off: a client that comes back should not wait for us.
const LONGEST: Duration = Duration::from_secs(4);
/// The clock granularity G of RFC 6298: the least that the variation adds.
const GRANULARITY: Duration = Duration::from_millis(2);

/// The round-trip estimate of one transfer and the retransmission time that follows from it.
#[derive(Debug, Clone)]
pub(super) struct RoundTrip {
    smoothed: Option<Duration>,
    variation: Duration,
    timeout: Duration,
    ceiling: Duration,
}

impl RoundTrip {
    /// `wish` is the client's timeout option in seconds: we never wait longer than that.
    pub(super) fn new(wish: Option<u8>) -> Self {
        let ceiling = wish.map_or(LONGEST, |seconds| Duration::from_secs(u64::from(seconds)));
        RoundTrip { smoothed: None, variation: Duration::ZERO, timeout: FIRST.min(ceiling), ceiling }
    }

    /// Takes the time between a packet sent once and its answer (Karn: never that of a packet sent twice).
    pub(super) fn measured(&mut self, sample: Duration) {
        let smoothed = match self.smoothed {
            None => {
                self.variation = sample / 2;
                sample
            }
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(sample)) / 4;
                (smoothed * 7 + sample) / 8
            }
        };
        self.smoothed = Some(smoothed);
        let timeout = smoothed + (self.variation * 4).max(GRANULARITY);
        self.timeout = timeout.max(SHORTEST).min(self.ceiling);
    }

    /// Doubles the waiting time after a silence. It stays until the next measurement.
    pub(super) fn back_off(&mut self) {
        self.timeout = (self.timeout * 2).min(self.ceiling);
    }

    /// How long to wait now.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn follows_rfc_6298() {
        let mut trip = RoundTrip::new(None);
        assert_eq!(trip.timeout(), FIRST);
        trip.measured(Duration::from_millis(100));
        // SRTT = R, RTTVAR = R/2, RTO = SRTT + 4 RTTVAR.
        assert_eq!(trip.timeout(), Duration::from_millis(300));
        trip.measured(Duration::from_millis(100));
        // RTTVAR = 3/4 × 50.
        assert_eq!(trip.timeout(), Duration::from_millis(250));
        trip.back_off();
        assert_eq!(trip.timeout(), Duration::from_millis(500));
        for _ in 0..20 {
            trip.back_off();
        }
        assert_eq!(trip.timeout(), LONGEST);
        trip.measured(Duration::from_millis(100));
        assert!(trip.timeout() < Duration::from_millis(250));
    }

    #[test]
    fn a_client_may_ask_for_less_patience_but_not_for_none() {
        let mut trip = RoundTrip::new(Some(1));
        for _ in 0..5 {
            trip.back_off();
        }
        assert_eq!(trip.timeout(), Duration::from_secs(1));
        trip.measured(Duration::ZERO);
        assert_eq!(trip.timeout(), SHORTEST);
    }

    proptest! {
        #[test]
        fn stays_within_its_bounds(samples in prop::collection::vec(0u64..100_000_000, 1..50), wish in prop::option::of(1u8..)) {
            let mut trip = RoundTrip::new(wish);
            for micros in samples {
                trip.measured(Duration::from_micros(micros));
                prop_assert!(trip.timeout() >= SHORTEST);
                prop_assert!(trip.timeout() <= Duration::from_secs(u64::from(wish.unwrap_or(4))));
            }
        }
    }
}
