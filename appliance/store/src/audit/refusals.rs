//! Refusals that are not written yet: equal ones are counted, so that a flood of them costs a bounded amount of memory
//! and disk.
//!
//! Refusals belong to a source: the user, the address of somebody unknown, or the name of a part. A source's first rows
//! are written at the next gathering; while it goes on, its rows become rarer, each with a larger count: a flood of a day
//! is some hundred rows, and does not push older entries out. A source that varies what it tries (names in logins, ids
//! in paths) has so many rows of its own, and the rest in one.

use super::{AuditEntry, Outcome, Source};
use jiff::Timestamp;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Different refusals kept apart until they are written, of all sources and of one; more are counted together.
const KINDS: usize = 256;
const KINDS_OF_SOURCE: usize = 64;
/// Sources that have a pace of their own; further ones share one.
const SOURCES: usize = 1024;
/// So many times a source's rows are written at each gathering; then the time between doubles, so often.
const PROMPT: u32 = 6;
const DOUBLED: u32 = 6;
/// Instead of what is counted together.
const VARIOUS: &str = "(various)";
/// Characters of a text that comes from outside, such as the name in a failed login.
const LONGEST: usize = 200;

/// Something that was not done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal<'a> {
    pub(crate) actor: &'a str,
    pub(crate) source: &'a Source,
    pub(crate) what: &'a str,
    pub(crate) subject: Option<&'a str>,
    pub(crate) reason: &'a str,
}

/// To whom refusals belong; `None`: all that have no pace of their own.
type Whose = Option<String>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Refused {
    whose: Whose,
    actor: String,
    what: String,
    subject: Option<String>,
}

#[derive(Clone, Debug)]
struct Count {
    /// Of the last one.
    source: Source,
    reason: String,
    count: u64,
    since: Timestamp,
    at: Timestamp,
}

/// How often the rows of a source are written.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Refusals of it that are kept apart now.
    kinds: usize,
    written: u32,
    next: Instant,
}

/// Refusals that are not written yet.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    counts: HashMap<Refused, Count>,
    /// No entry: nothing of it is waiting or was written of late.
    paces: HashMap<Whose, Pace>,
}

impl Refusals {
    pub(crate) fn note(&mut self, refusal: Refusal<'_>, at: Timestamp) {
        let Refusal { actor, source, what, subject, reason } = refusal;
        let key = self.key(source, cut(actor), cut(what), subject.map(cut));
        let count = self.count(key, Count { source: source.clone(), reason: String::new(), count: 0, since: at, at });
        count.source = source.clone();
        count.reason = cut(reason);
        count.count += 1;
        count.at = at;
    }

    /// Under what a refusal is counted.
    fn key(&self, source: &Source, actor: String, what: String, subject: Option<String>) -> Refused {
        let mut whose = Some(whose(source, &actor));
        if self.paces.len() >= SOURCES && !self.paces.contains_key(&whose) {
            whose = None;
        }
        let various = |whose: Whose, actor: String| Refused { whose, actor, what: VARIOUS.into(), subject: None };
        let kinds = self.paces.get(&whose).map_or(0, |pace| pace.kinds);
        let mut key = Refused { whose, actor, what, subject };
        if kinds >= KINDS_OF_SOURCE && !self.counts.contains_key(&key) {
            // A user is one, whatever he tries; who is unknown may say any name.
            let actor = if source.user.is_some() { key.actor } else { VARIOUS.into() };
            key = various(key.whose, actor);
        }
        if self.counts.len() >= KINDS && !self.counts.contains_key(&key) {
            key = various(None, VARIOUS.into());
        }
        key
    }

    fn count(&mut self, key: Refused, new: Count) -> &mut Count {
        if !self.counts.contains_key(&key) {
            let new = Pace { kinds: 0, written: 0, next: Instant::now() };
            self.paces.entry(key.whose.clone()).or_insert(new).kinds += 1;
        }
        self.counts.entry(key).or_insert(new)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Those that are due, oldest first, as rows; `gather` is the shortest time between two. They are forgotten here.
    pub(crate) fn take(&mut self, now: Instant, gather: Duration) -> Vec<AuditEntry> {
        // A source that was silent for as long as it would have had to wait begins anew.
        self.paces.retain(|_, pace| pace.kinds > 0 || now < pace.next + pause(pace.written, gather));
        let paces = &mut self.paces;
        let due: Vec<_> = self
            .counts
            .extract_if(|key, _| paces.get(&key.whose).is_none_or(|pace| pace.next <= now))
            .map(|(key, count)| (key.whose.clone(), row(key, count)))
            .collect();
        for (whose, _) in &due {
            if let Some(pace) = paces.get_mut(whose).filter(|pace| pace.kinds > 0) {
                pace.kinds = 0;
                pace.written += 1;
                pace.next = now + pause(pace.written, gather);
            }
        }
        sorted(due.into_iter().map(|(_, row)| row).collect())
    }

    /// All of them, before the end.
    pub(crate) fn take_all(&mut self) -> Vec<AuditEntry> {
        self.paces.clear();
        sorted(self.counts.drain().map(|(key, count)| row(key, count)).collect())
    }

    /// Takes rows back that could not be written.
    pub(crate) fn put_back(&mut self, entries: Vec<AuditEntry>) {
        for entry in entries {
            let AuditEntry { at, actor, source, what, subject, outcome, .. } = entry;
            if let Outcome::Refused { reason, count, since } = outcome {
                let key = self.key(&source, actor, what, subject);
                let old = self.count(key, Count { source, reason, count: 0, since, at });
                old.count += count;
                old.since = old.since.min(since);
            }
        }
    }
}

/// The user, or where somebody unknown is; where neither is known, the name.
fn whose(source: &Source, actor: &str) -> String {
    match (&source.user, source.address) {
        (Some(user), _) => user.clone(),
        (None, Some(address)) => address.to_string(),
        (None, None) => cut(actor),
    }
}

fn pause(written: u32, gather: Duration) -> Duration {
    gather * (1 << written.saturating_sub(PROMPT).min(DOUBLED))
}

fn row(key: Refused, count: Count) -> AuditEntry {
    let Count { source, reason, count, since, at } = count;
    AuditEntry {
        at,
        actor: key.actor,
        source,
        what: key.what,
        subject: key.subject,
        outcome: Outcome::Refused { reason, count, since },
        change: None,
    }
}

fn sorted(mut entries: Vec<AuditEntry>) -> Vec<AuditEntry> {
    entries.sort_by(|a, b| (a.at, &a.actor, &a.what, &a.subject).cmp(&(b.at, &b.actor, &b.what, &b.subject)));
    entries
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GATHER: Duration = Duration::from_secs(5);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn note(refusals: &mut Refusals, actor: &str, what: &str, subject: Option<&str>, second: i64) {
        let source = Source { scope: Some(second.to_string()), ..Source::default() };
        refusals.note(Refusal { actor, source: &source, what, subject, reason: "no" }, at(second));
    }

    fn from(refusals: &mut Refusals, address: [u8; 4], actor: &str) {
        let source = Source { address: Some(address.into()), ..Source::default() };
        refusals.note(Refusal { actor, source: &source, what: "login", subject: None, reason: "no" }, at(1));
    }

    fn total(rows: &[AuditEntry]) -> u64 {
        let count = |row: &AuditEntry| if let Outcome::Refused { count, .. } = row.outcome { count } else { 0 };
        rows.iter().map(count).sum()
    }

    #[test]
    fn equal_refusals_are_one_row() {
        let mut refusals = Refusals::default();
        for second in 1..=1000 {
            note(&mut refusals, "eve", "delete-node", Some("n"), second);
        }
        note(&mut refusals, "bob", "delete-node", Some("n"), 5);
        let rows = refusals.take(Instant::now(), GATHER);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1].outcome, Outcome::Refused { reason: "no".into(), count: 1000, since: at(1) });
        assert_eq!(rows[1].source.scope.as_deref(), Some("1000"), "where the last one came from");
        assert!(refusals.is_empty());
        // Rows that could not be written are counted on.
        refusals.put_back(rows);
        note(&mut refusals, "eve", "delete-node", Some("n"), 1001);
        let again = refusals.take_all();
        assert_eq!(again[1].outcome, Outcome::Refused { reason: "no".into(), count: 1001, since: at(1) });
    }

    #[test]
    fn a_flood_of_different_refusals_is_bounded() {
        let mut refusals = Refusals::default();
        for number in 0..10_000 {
            note(&mut refusals, &format!("user{number}"), &"x".repeat(10_000), None, number);
        }
        let rows = refusals.take(Instant::now(), GATHER);
        assert_eq!(rows.len(), KINDS + 1);
        assert!(rows.iter().all(|row| row.what.len() <= LONGEST));
        assert_eq!(total(&rows), 10_000);
        refusals.put_back(rows);
        assert_eq!(total(&refusals.take_all()), 10_000);
    }

    #[test]
    fn who_tries_names_from_one_address_does_not_hide_what_others_do() {
        let mut refusals = Refusals::default();
        for number in 0..10_000 {
            from(&mut refusals, [192, 0, 2, 66], &format!("user{number}"));
        }
        from(&mut refusals, [192, 0, 2, 1], "ada");
        let rows = refusals.take(Instant::now(), GATHER);
        assert_eq!((rows.len(), total(&rows)), (KINDS_OF_SOURCE + 2, 10_001));
        assert!(rows.iter().any(|row| row.actor == "ada"));
        let various = rows.iter().find(|row| row.what == VARIOUS).expect("the rest");
        assert_eq!(various.source.address, Some([192, 0, 2, 66].into()), "and it is told where they came from");
    }

    #[test]
    fn a_flood_that_goes_on_is_written_ever_more_rarely_and_others_at_once() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let (mut rows, mut count) = (0, 0);
        let day = 24 * 3600 / 5;
        for gathering in 1..=day {
            from(&mut refusals, [192, 0, 2, 66], "eve");
            let now = start + GATHER * gathering;
            let written = refusals.take(now, GATHER);
            rows += written.len();
            count += total(&written);
        }
        assert!((250..400).contains(&rows), "{rows} rows in a day");
        assert_eq!(count + total(&refusals.take_all()), u64::from(day), "each is counted");

        let mut refusals = Refusals::default();
        for gathering in 1..1000 {
            from(&mut refusals, [192, 0, 2, 66], "eve");
            let _written = refusals.take(start + GATHER * gathering, GATHER);
        }
        from(&mut refusals, [192, 0, 2, 1], "ada");
        let now = start + GATHER * 1000;
        assert!(refusals.take(now, GATHER).iter().any(|row| row.actor == "ada"), "another's is not kept back");
        let _last = refusals.take(now + GATHER * 64, GATHER);
        let later = now + GATHER * 200;
        assert!(refusals.take(later, GATHER).is_empty() && refusals.paces.is_empty(), "after a pause it begins anew");
    }

    proptest! {
        /// Nothing is lost and nothing counted twice, and what waits is bounded, whatever comes and whenever it is written.
        #[test]
        fn every_refusal_is_counted_once(steps in proptest::collection::vec((0_u8..8, 0_u8..60, 0_u8..4), 0..500)) {
            let (mut refusals, start) = (Refusals::default(), Instant::now());
            let (mut noted, mut written, mut now) = (0, 0, start);
            for (who, what, then) in steps {
                from(&mut refusals, [192, 0, 2, who], &what.to_string());
                noted += 1;
                prop_assert!(refusals.counts.len() <= KINDS + 1);
                let waiting: usize = refusals.paces.values().map(|pace| pace.kinds).sum();
                prop_assert_eq!(waiting, refusals.counts.len());
                now += GATHER * u32::from(then) / 2;
                let rows = if then > 0 { refusals.take(now, GATHER) } else { Vec::new() };
                if then == 3 {
                    refusals.put_back(rows);
                } else {
                    written += total(&rows);
                }
            }
            prop_assert_eq!(written + total(&refusals.take_all()), noted);
        }
    }
}
