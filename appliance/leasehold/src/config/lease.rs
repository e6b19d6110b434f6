//! On what terms nodes are leased: `[lease]`.

use super::ConfigError;
use jiff::SignedDuration;
use leasehold_domain::lease::Terms;
use leasehold_engine::leases::LeaseSettings;
use leasehold_store::Retention;
use serde::Deserialize;

/// The keys of the table.
pub(super) const KEYS: &[&str] = &[
    "usual_hours",
    "longest_hours",
    "shortest_minutes",
    "horizon_days",
    "depth",
    "patience_hours",
    "offers",
    "leases",
    "parts",
    "unused_warn_hours",
    "history_days",
    "history_leases",
];

/// So many leases that are over stay, whatever their age: a clock that jumps does not empty the history.
const LEAST_HISTORY: u64 = 10_000;
/// Longer is a slip of the pen, and still far from the end of time.
const MOST_HOURS: u32 = 24 * 366 * 10;

const MOST_DAYS: u32 = 366 * 100;

/// How long, how deep, how many.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Lease {
    /// A lease whose end nobody names is so long.
    pub(crate) usual_hours: u32,
    /// No lease is longer, but an administrator's.
    pub(crate) longest_hours: u32,
    /// No lease is shorter, but an administrator's.
    pub(crate) shortest_minutes: u32,
    /// No lease begins later than so long from now, but an administrator's.
    pub(crate) horizon_days: u32,
    /// How many leases may stand above one another: 1 is that of the owner.
    pub(crate) depth: u32,
    /// How long a lease whose time has come waits for its node.
    pub(crate) patience_hours: u32,
    /// Offers of one project that may be open at a time.
    pub(crate) offers: u32,
    /// Leases of one project that may be ahead or go on at a time.
    pub(crate) leases: u32,
    /// Offers and leases that may stand under one lease at a time, of each kind.
    pub(crate) parts: u32,
    /// After so many hours owner and lessee are told that a lease is not used; 0: never.
    pub(crate) unused_warn_hours: u32,
    /// How long offers and leases that are over are kept.
    pub(crate) history_days: u32,
    /// How many of them at most.
    pub(crate) history_leases: u64,
}

impl Default for Lease {
    fn default() -> Lease {
        let usual = Terms::default();
        let hours = |length: SignedDuration| u32::try_from(length.as_hours()).unwrap_or(MOST_HOURS);
        let count = |most: usize| u32::try_from(most).unwrap_or(u32::MAX);
        Lease {
            usual_hours: hours(usual.usual),
            longest_hours: usual.longest.map_or(MOST_HOURS, hours),
            shortest_minutes: 10,
            horizon_days: 366,
            depth: usual.depth,
            patience_hours: hours(usual.patience),
            offers: count(usual.offers),
            leases: count(usual.leases),
            parts: count(usual.parts),
            unused_warn_hours: usual.unused_warn_hours.unwrap_or(0),
            history_days: 3660,
            history_leases: 2_000_000,
        }
    }
}

impl Lease {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, why: String| Err(ConfigError::Value { key: format!("lease.{key}"), why });
        let hours = [
            ("usual_hours", self.usual_hours),
            ("longest_hours", self.longest_hours),
            ("patience_hours", self.patience_hours),
        ];
        for (key, value) in hours {
            if !(1..=MOST_HOURS).contains(&value) {
                return wrong(key, format!("must be 1 to {MOST_HOURS} (ten years)"));
            }
        }
        if self.usual_hours > self.longest_hours {
            return wrong("usual_hours", format!("is more than lease.longest_hours, {}", self.longest_hours));
        }
        if u64::from(self.shortest_minutes) > 60 * u64::from(self.usual_hours) {
            return wrong("shortest_minutes", format!("is more than lease.usual_hours, {}", self.usual_hours));
        }
        if !(1..=MOST_DAYS).contains(&self.horizon_days) {
            return wrong("horizon_days", format!("must be 1 to {MOST_DAYS} (a hundred years)"));
        }
        if self.unused_warn_hours > MOST_HOURS {
            return wrong("unused_warn_hours", format!("must be 0 (never) to {MOST_HOURS} (ten years)"));
        }
        if !(1..=100_000).contains(&self.parts) {
            return wrong("parts", "must be 1 to 100000: all of them end with the lease, in one go".into());
        }
        if self.history_days == 0 || self.history_leases < LEAST_HISTORY {
            return wrong("history_leases", format!("must be {LEAST_HISTORY} or more, and history_days 1 or more"));
        }
        if !(1..=16).contains(&self.depth) {
            return wrong("depth", "must be 1 (nobody lets on what he has) to 16".into());
        }
        Ok(())
    }

    /// How long the store keeps what is over.
    pub(crate) fn retention(&self) -> Retention {
        Retention { at_most: self.history_leases, at_least: LEAST_HISTORY, days: self.history_days }
    }

    /// As the engine and the API take them.
    pub(crate) fn settings(&self) -> LeaseSettings {
        let hours = |hours: u32| SignedDuration::from_hours(i64::from(hours));
        let count = |most: u32| usize::try_from(most).unwrap_or(usize::MAX);
        let users = Terms {
            usual: hours(self.usual_hours),
            longest: Some(hours(self.longest_hours)),
            shortest: SignedDuration::from_mins(i64::from(self.shortest_minutes)),
            horizon: Some(hours(24 * self.horizon_days)),
            depth: self.depth,
            patience: hours(self.patience_hours),
            offers: count(self.offers),
            leases: count(self.leases),
            parts: count(self.parts),
            unused_warn_hours: Some(self.unused_warn_hours).filter(|hours| *hours > 0),
        };
        LeaseSettings { users }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use jiff::SignedDuration;
    use leasehold_domain::lease::Terms;

    fn refusal(text: &str) -> String {
        Config::parse(text).expect_err("a refusal").to_string()
    }

    #[test]
    fn nothing_said_is_as_esi_leap_has_it_within_bounds() {
        let config = Config::parse("").expect("defaults");
        let (shortest, horizon) = (SignedDuration::from_mins(10), Some(SignedDuration::from_hours(24 * 366)));
        assert_eq!(config.lease.settings().terms(false), Terms { shortest, horizon, ..Terms::default() });
        let free = Terms { longest: None, ..Terms::default() };
        assert_eq!(config.lease.settings().terms(true), free, "an administrator");
    }

    #[test]
    fn what_is_said_holds() {
        let text = "[lease]\nusual_hours = 2\nlongest_hours = 3\ndepth = 1\noffers = 0";
        let more = "\nleases = 5\nparts = 6\nunused_warn_hours = 7\nhistory_days = 8\nhistory_leases = 10001";
        let config = Config::parse(&format!("{text}{more}")).expect("terms");
        let terms = config.lease.settings().terms(false);
        assert_eq!((terms.usual, terms.longest), (SignedDuration::from_hours(2), Some(SignedDuration::from_hours(3))));
        assert_eq!((terms.depth, terms.offers, terms.leases, terms.parts), (1, 0, 5, 6));
        assert_eq!(terms.unused_warn_hours, Some(7));
        let keep = config.lease.retention();
        assert_eq!((keep.days, keep.at_most, keep.at_least), (8, 10_001, 10_000));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        assert!(refusal("[lease]\nlongest_hour = 1").contains("did you mean 'lease.longest_hours'"));
        assert!(refusal("[lease]\nusual_hours = 0").contains("lease.usual_hours"));
        assert!(refusal("[lease]\nusual_hours = 600").contains("lease.longest_hours, 504"));
        assert!(refusal("[lease]\nusual_hours = 1\nshortest_minutes = 61").contains("lease.shortest_minutes"));
        assert!(refusal("[lease]\nhorizon_days = 0").contains("lease.horizon_days"));
        assert!(refusal("[lease]\ndepth = 0").contains("lease.depth"));
        assert!(refusal("[lease]\nparts = 0").contains("lease.parts"));
        assert!(refusal("[lease]\nhistory_days = 0").contains("history_days"));
        assert!(refusal("[lease]\nhistory_leases = 9999").contains("lease.history_leases"));
        assert!(refusal("[lease]\nunused_warn_hours = 4000000000").contains("lease.unused_warn_hours"));
        assert!(refusal("[lease]\npatience_hours = 4000000000").contains("lease.patience_hours"));
    }
}
