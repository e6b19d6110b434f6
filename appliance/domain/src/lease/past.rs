//! What is remembered of a lease for the account of it, beside its time: of what class its node was, when its end began,
//! and how long a system of its user's stood on the node.

use super::figures::{Day, by_day, second};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Of leases that were over before this was remembered there is nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Past {
    /// The resource class of the node when the lease was made: what becomes of the node later changes no account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// When its end began: its time was over, it was given back, or it came to nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    pub used: Used,
}

/// How long a system of a user's was deployed on the node: the lessee's, or of whoever leased it of him. From the end of a
/// deployment until the node is undeployed, deployed anew, or taken back; a rescue or service in between is part of it.
///
/// Whole seconds of each day, so that it stays small however often something is deployed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Used {
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// Days in their order, and the seconds of each that are over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    days: Vec<(Day, u32)>,
}

impl Used {
    pub fn is_now(&self) -> bool {
        self.since.is_some()
    }

    pub(crate) fn begin(&mut self, at: Timestamp) {
        self.since.get_or_insert(at);
    }

    pub(crate) fn end(&mut self, at: Timestamp) {
        let Some(since) = self.since.take() else { return };
        for (day, seconds) in by_day(second(since), second(at)) {
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            match self.days.binary_search_by_key(&day, |(day, _)| *day) {
                Ok(place) => {
                    if let Some((_, sum)) = self.days.get_mut(place) {
                        *sum = sum.saturating_add(seconds);
                    }
                }
                Err(place) => self.days.insert(place, (day, seconds)),
            }
        }
    }

    /// Days and seconds, what goes on counted until `until`. A day may be there twice.
    pub fn days(&self, until: Timestamp) -> impl Iterator<Item = (Day, i64)> + '_ {
        let past = self.days.iter().map(|(day, seconds)| (*day, i64::from(*seconds)));
        let present = self.since.into_iter().flat_map(move |since| by_day(second(since), second(until)));
        past.chain(present)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    proptest! {
        #[test]
        fn days_add_up_to_all_that_was_used(
            uses in prop::collection::vec((0..200_000_i64, 0..200_000_i64), 0..12),
            open in prop::option::of(0..200_000_i64),
        ) {
            let (mut used, mut now, mut sum) = (Used::default(), 0, 0);
            for (pause, length) in uses {
                used.begin(at(now + pause));
                used.begin(at(now + pause + length));
                used.end(at(now + pause + length));
                used.end(at(now + pause + 2 * length));
                now += pause + length;
                sum += length;
            }
            if let Some(open) = open {
                used.begin(at(now));
                now += open;
                sum += open;
            }
            prop_assert_eq!(used.days(at(now)).map(|(_, seconds)| seconds).sum::<i64>(), sum);
            prop_assert!(used.days(at(now)).all(|(_, seconds)| seconds <= 86_400));
            prop_assert!(used.days.is_sorted_by(|one, next| one.0 < next.0));
        }
    }
}
