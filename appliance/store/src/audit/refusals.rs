//! Refusals that are not written yet: equal ones are counted, so that a flood of them costs a bounded amount of memory
//! and disk.

use super::{AuditEntry, Outcome, Source};
use jiff::Timestamp;
use std::collections::HashMap;

/// Different refusals kept apart until they are written; more are counted together.
const KINDS: usize = 256;
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

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Refused {
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

/// Refusals that are not written yet.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    counts: HashMap<Refused, Count>,
}

impl Refusals {
    pub(crate) fn note(&mut self, refusal: Refusal<'_>, at: Timestamp) {
        let Refusal { actor, source, what, subject, reason } = refusal;
        let mut key = Refused { actor: cut(actor), what: cut(what), subject: subject.map(cut) };
        if self.counts.len() >= KINDS && !self.counts.contains_key(&key) {
            key = Refused { actor: "(various)".into(), what: "(various)".into(), subject: None };
        }
        let count = self.counts.entry(key).or_insert_with(|| Count {
            source: Source::default(),
            reason: String::new(),
            count: 0,
            since: at,
            at,
        });
        count.source = source.clone();
        count.reason = cut(reason);
        count.count += 1;
        count.at = at;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// All of them, oldest first, as rows. They are forgotten here.
    pub(crate) fn take(&mut self) -> Vec<AuditEntry> {
        let mut entries: Vec<_> = self
            .counts
            .drain()
            .map(|(key, Count { source, reason, count, since, at })| AuditEntry {
                at,
                actor: key.actor,
                source,
                what: key.what,
                subject: key.subject,
                outcome: Outcome::Refused { reason, count, since },
                change: None,
            })
            .collect();
        entries.sort_by(|a, b| (a.at, &a.actor, &a.what, &a.subject).cmp(&(b.at, &b.actor, &b.what, &b.subject)));
        entries
    }

    /// Takes rows back that could not be written.
    pub(crate) fn put_back(&mut self, entries: Vec<AuditEntry>) {
        for entry in entries {
            if let Outcome::Refused { reason, count, since } = entry.outcome {
                let known = self.counts.len() < KINDS;
                let key = Refused { actor: entry.actor, what: entry.what, subject: entry.subject };
                if known || self.counts.contains_key(&key) {
                    let old = self.counts.entry(key).or_insert(Count {
                        source: entry.source,
                        reason,
                        count: 0,
                        since,
                        at: entry.at,
                    });
                    old.count += count;
                    old.since = old.since.min(since);
                }
            }
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn note(refusals: &mut Refusals, actor: &str, what: &str, subject: Option<&str>, second: i64) {
        let source = Source { scope: Some(second.to_string()), ..Source::default() };
        refusals.note(Refusal { actor, source: &source, what, subject, reason: "no" }, at(second));
    }

    #[test]
    fn equal_refusals_are_one_row() {
        let mut refusals = Refusals::default();
        for second in 1..=1000 {
            note(&mut refusals, "eve", "delete-node", Some("n"), second);
        }
        note(&mut refusals, "bob", "delete-node", Some("n"), 5);
        let rows = refusals.take();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1].outcome, Outcome::Refused { reason: "no".into(), count: 1000, since: at(1) });
        assert_eq!(rows[1].source.scope.as_deref(), Some("1000"), "where the last one came from");
        assert!(refusals.is_empty());
        // Rows that could not be written are counted on.
        refusals.put_back(rows);
        note(&mut refusals, "eve", "delete-node", Some("n"), 1001);
        let again = refusals.take();
        assert_eq!(again[1].outcome, Outcome::Refused { reason: "no".into(), count: 1001, since: at(1) });
    }

    #[test]
    fn a_flood_of_different_refusals_is_bounded() {
        let mut refusals = Refusals::default();
        for number in 0..10_000 {
            note(&mut refusals, &format!("user{number}"), &"x".repeat(10_000), None, number);
        }
        let rows = refusals.take();
        assert_eq!(rows.len(), KINDS + 1);
        assert!(rows.iter().all(|row| row.what.len() <= LONGEST));
        let total: u64 =
            rows.iter().map(|row| if let Outcome::Refused { count, .. } = row.outcome { count } else { 0 }).sum();
        assert_eq!(total, 10_000);
        refusals.put_back(rows);
        assert!(refusals.take().len() <= KINDS);
    }
}
