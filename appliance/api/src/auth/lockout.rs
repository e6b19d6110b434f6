//! How long somebody waits after failed logins.
//!
//! Three counts: of an account from one network (who mistypes, or guesses from one place), of an account from everywhere
//! (who guesses from many places), of a network over all accounts (who tries names). Waits double from failure to
//! failure. Nobody can lock another's account out: the first tries from a network are always looked at, and a network
//! from which a login once went well never waits longer than a minute, whatever strangers do.

use crate::limits::network_of;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Records of each kind; beyond, old ones go.
const MOST: usize = 8192;
/// Failures lose half of their number for each of these.
const HALF_LIFE: SignedDuration = SignedDuration::from_hours(1);
/// The longest wait where a login went well before.
const FRIENDLY: SignedDuration = SignedDuration::from_secs(60);

/// The first so many failures cost nothing; then the wait doubles from a second up to the longest.
#[derive(Clone, Copy)]
struct Limit {
    free: u32,
    longest: SignedDuration,
}

const OF_PAIR: Limit = Limit { free: 5, longest: SignedDuration::from_mins(15) };
const OF_ACCOUNT: Limit = Limit { free: 20, longest: SignedDuration::from_mins(15) };
const OF_NETWORK: Limit = Limit { free: 30, longest: SignedDuration::from_mins(5) };
/// Tries from a network that are looked at whatever others do to the account.
const ALWAYS: u32 = 2;

/// An account as it was named: domain and name, known or not.
pub(crate) type Account = String;

#[derive(Clone, Copy)]
struct Record {
    failures: u32,
    last: Timestamp,
    /// A login went well.
    good: bool,
}

impl Record {
    /// The failures that still count.
    fn counted(&self, now: Timestamp) -> u32 {
        let halves = now.duration_since(self.last).as_secs() / HALF_LIFE.as_secs();
        let halves = u32::try_from(halves.max(0)).unwrap_or(u32::MAX);
        self.failures.checked_shr(halves).unwrap_or(0)
    }

    fn wait(&self, limit: Limit, now: Timestamp) -> SignedDuration {
        let counted = self.counted(now);
        if counted < limit.free {
            return SignedDuration::ZERO;
        }
        let doubled = SignedDuration::from_secs(1_i64 << (counted - limit.free).min(20));
        doubled.min(limit.longest) - now.duration_since(self.last)
    }
}

#[derive(Default)]
struct Counts {
    pairs: HashMap<(Account, IpAddr), Record>,
    accounts: HashMap<Account, Record>,
    networks: HashMap<IpAddr, Record>,
}

/// The failed logins of late.
#[derive(Default)]
pub(crate) struct Lockout(Mutex<Counts>);

impl Lockout {
    /// How long the account cannot be tried from this address; `None`: now is fine.
    pub(crate) fn wait(&self, account: &str, address: Option<IpAddr>, now: Timestamp) -> Option<SignedDuration> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let network = network_of(address);
        let pair = counts.pairs.get(&(account.to_owned(), network));
        let good = pair.is_some_and(|pair| pair.good);
        let tried = pair.map_or(0, |pair| pair.counted(now));
        let of_pair = pair.map_or(SignedDuration::ZERO, |pair| pair.wait(OF_PAIR, now));
        let of_account = counts.accounts.get(account).filter(|_| tried >= ALWAYS);
        let of_account = of_account.map_or(SignedDuration::ZERO, |record| record.wait(OF_ACCOUNT, now));
        let of_network = counts.networks.get(&network).filter(|_| !good);
        let of_network = of_network.map_or(SignedDuration::ZERO, |record| record.wait(OF_NETWORK, now));
        let longest = of_pair.max(of_account).max(of_network);
        let longest = if good { longest.min(FRIENDLY) } else { longest };
        longest.is_positive().then_some(longest)
    }

    /// A login failed.
    pub(crate) fn failed(&self, account: &str, address: Option<IpAddr>, now: Timestamp) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let network = network_of(address);
        count(&mut counts.pairs, (account.to_owned(), network), now);
        count(&mut counts.accounts, account.to_owned(), now);
        count(&mut counts.networks, network, now);
    }

    /// A login went well. What others did to the account elsewhere stays counted.
    pub(crate) fn succeeded(&self, account: &str, address: Option<IpAddr>, now: Timestamp) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = &mut counts.pairs;
        make_room(pairs, now);
        pairs.insert((account.to_owned(), network_of(address)), Record { failures: 0, last: now, good: true });
    }
}

fn count<K: Eq + Hash>(records: &mut HashMap<K, Record>, key: K, now: Timestamp) {
    make_room(records, now);
    let record = records.entry(key).or_insert(Record { failures: 0, last: now, good: false });
    record.failures = record.counted(now).saturating_add(1);
    record.last = now;
}

fn make_room<K: Eq + Hash>(records: &mut HashMap<K, Record>, now: Timestamp) {
    if records.len() < MOST {
        return;
    }
    records.retain(|_, record| record.good || record.counted(now) > 0);
    if records.len() >= MOST {
        // A flood: what it has not reached yet starts anew, and so does it.
        records.retain(|_, record| record.good && now.duration_since(record.last) < HALF_LIFE * 24);
    }
    if records.len() >= MOST {
        records.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 66)));
    const ADA: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn waits_double_and_end() {
        let lockout = Lockout::default();
        for _ in 0..5 {
            assert_eq!(lockout.wait("ada", EVE, at(0)), None);
            lockout.failed("ada", EVE, at(0));
        }
        assert_eq!(lockout.wait("ada", EVE, at(0)), Some(SignedDuration::from_secs(1)));
        lockout.failed("ada", EVE, at(1));
        assert_eq!(lockout.wait("ada", EVE, at(1)), Some(SignedDuration::from_secs(2)));
        assert_eq!(lockout.wait("ada", EVE, at(3)), None);
        assert_eq!(lockout.wait("bob", EVE, at(1)), None, "another account");
    }

    #[test]
    fn a_network_that_tries_many_names_waits_too() {
        let lockout = Lockout::default();
        for number in 0..40 {
            lockout.failed(&format!("user{number}"), EVE, at(0));
        }
        assert!(lockout.wait("somebody", EVE, at(0)).is_some());
        assert_eq!(lockout.wait("somebody", ADA, at(0)), None);
    }

    #[test]
    fn ipv6_neighbours_are_one() {
        let (one, two) = ("2001:db8::1".parse().ok(), "2001:db8::2".parse().ok());
        let lockout = Lockout::default();
        for _ in 0..9 {
            lockout.failed("ada", one, at(0));
        }
        assert!(lockout.wait("ada", two, at(0)).is_some());
    }

    proptest! {
        /// Whatever strangers do, a network that knows the password gets in within a minute, and one that is new at once.
        #[test]
        fn nobody_locks_another_out(tries in proptest::collection::vec((0u8..60, 0i64..400), 1..300)) {
            let lockout = Lockout::default();
            let mut now = 0;
            lockout.succeeded("ada", ADA, at(0));
            for (stranger, pause) in tries {
                now += pause;
                let from = Some(IpAddr::from([198, 51, 100, stranger]));
                if lockout.wait("ada", from, at(now)).is_none() {
                    lockout.failed("ada", from, at(now));
                }
                let friend = lockout.wait("ada", ADA, at(now)).unwrap_or_default();
                prop_assert!(friend <= FRIENDLY);
                prop_assert_eq!(lockout.wait("ada", "203.0.113.9".parse().ok(), at(now)), None);
            }
        }
    }
}
