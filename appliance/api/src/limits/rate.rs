//! How often somebody may ask: a bucket of tokens for each.
//!
//! A bucket holds as many tokens as may be spent at once, and fills at a steady rate; a request takes one. Who finds it
//! empty is told how long until there is one again. The time is a parameter, so that tests need not wait for it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Buckets that are remembered; beyond, those that nobody took from for longest go. A forgotten one is full again.
const MOST: usize = 16_384;

/// A steady rate, and what may be spent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second.
    pub per_second: u32,
    /// Requests at once after a pause.
    pub burst: u32,
}

/// What a token is counted in, so that a nanosecond at a rate of one a second is one.
const TOKEN: u128 = 1_000_000_000;

impl Rate {
    fn full(self) -> u128 {
        u128::from(self.burst) * TOKEN
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: u128,
    at: Instant,
}

impl Bucket {
    /// As it is now. A clock that went back adds nothing.
    fn filled(self, rate: Rate, now: Instant) -> Bucket {
        let passed = now.saturating_duration_since(self.at).as_nanos();
        let level = (self.level + passed * u128::from(rate.per_second)).min(rate.full());
        Bucket { level, at: self.at.max(now) }
    }
}

/// The buckets of all.
#[derive(Debug)]
pub(super) struct Rates<K> {
    rate: Rate,
    buckets: Mutex<HashMap<K, Bucket>>,
}

impl<K: Eq + Hash> Rates<K> {
    pub(super) fn new(rate: Rate) -> Rates<K> {
        Rates { rate, buckets: Mutex::default() }
    }

    /// Takes a token, or says how long until there is one.
    pub(super) fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST && !buckets.contains_key(&key) {
            make_room(&mut buckets, self.rate, now);
        }
        let bucket = buckets.entry(key).or_insert(Bucket { level: self.rate.full(), at: now });
        *bucket = bucket.filled(self.rate, now);
        if let Some(rest) = bucket.level.checked_sub(TOKEN) {
            bucket.level = rest;
            return Ok(());
        }
        let nanoseconds = (TOKEN - bucket.level).div_ceil(u128::from(self.rate.per_second.max(1)));
        Err(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Full buckets say nothing; of the others the older half goes.
fn make_room<K: Eq + Hash>(buckets: &mut HashMap<K, Bucket>, rate: Rate, now: Instant) {
    buckets.retain(|_, bucket| bucket.filled(rate, now).level < rate.full());
    if buckets.len() >= MOST {
        let mut times: Vec<Instant> = buckets.values().map(|bucket| bucket.at).collect();
        let middle = times.len() / 2;
        let (_, middle, _) = times.select_nth_unstable(middle);
        let middle = *middle;
        buckets.retain(|_, bucket| bucket.at > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: Rate = Rate { per_second: 10, burst: 5 };

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn a_burst_is_free_and_then_the_rate_holds() {
        let (rates, start) = (Rates::new(RATE), Instant::now());
        for _ in 0..5 {
            assert_eq!(rates.take("ada", start), Ok(()));
        }
        assert_eq!(rates.take("ada", start), Err(ms(100)));
        assert_eq!(rates.take("bob", start), Ok(()), "another's bucket");
        assert_eq!(rates.take("ada", start + ms(100)), Ok(()));
        assert!(rates.take("ada", start + ms(100)).is_err());
        assert_eq!(rates.take("ada", start), Err(ms(100)), "a clock that goes back fills nothing");
    }

    #[test]
    fn a_flood_of_names_costs_bounded_memory_and_forgets_the_oldest() {
        let (rates, start) = (Rates::new(RATE), Instant::now());
        for _ in 0..5 {
            assert_eq!(rates.take(0, start + ms(100)), Ok(()));
        }
        for key in 1..3 * MOST {
            let _spent = rates.take(key, start + Duration::from_micros(key as u64));
        }
        assert!(rates.len() <= MOST);
    }

    proptest! {
        /// Whatever the moments: never more than the burst and what the rate gives, and who waits as told gets in.
        #[test]
        fn no_more_than_burst_and_rate(pauses in proptest::collection::vec(0_u64..300, 1..200)) {
            let (rates, start) = (Rates::new(RATE), Instant::now());
            let (mut now, mut taken) = (0, 0);
            for pause in pauses {
                now += pause;
                match rates.take((), start + ms(now)) {
                    Ok(()) => taken += 1,
                    Err(wait) => {
                        prop_assert!(wait > Duration::ZERO && wait <= ms(100));
                        now += u64::try_from(wait.as_millis()).expect("short") + 1;
                        prop_assert_eq!(rates.take((), start + ms(now)), Ok(()));
                        taken += 1;
                    }
                }
                prop_assert!(taken <= 5 + now / 100);
            }
        }
    }
}
