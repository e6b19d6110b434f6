//! The audit: what people did or tried, without what the appliance says to itself.
//!
//! A command that was carried out has its row in the same transaction. Refusals are gathered in memory, equal ones
//! counted, and written together now and then: a flood of them costs a bounded amount of memory and disk.

use crate::codec;
use crate::error::Fault;
use crate::tables::AUDIT;
use jiff::Timestamp;
use leasehold_domain::{Actor, Command};
use redb::{ReadTransaction, ReadableTable};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// One row of the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When it happened, or, of refusals, when the last one did.
    pub at: Timestamp,
    pub actor: String,
    /// The command, with its verb where it has one: `provision active`.
    pub what: String,
    /// The id of what it was about.
    pub subject: Option<String>,
    pub outcome: Outcome,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Done,
    /// So often since then; the reason is that of the last time.
    Refused {
        reason: String,
        count: u64,
        since: Timestamp,
    },
}

/// People are audited; the appliance's own parts have the timeline.
pub(crate) fn is_audited(actor: &Actor) -> bool {
    !matches!(actor, Actor::System(_))
}

/// Name and subject of a command. Settings and secrets are not told: the events say what changed.
pub(crate) fn describe(command: &Command) -> (String, Option<String>) {
    let name = command.name();
    let (what, subject) = match command {
        Command::CreateNode { id, .. } | Command::ChangeNode { id, .. } | Command::DeleteNode { id } => {
            (None, id.to_string())
        }
        Command::CreatePort { id, .. } | Command::ChangePort { id, .. } | Command::DeletePort { id } => {
            (None, id.to_string())
        }
        Command::Provision { node, verb, .. } => (Some(verb.name()), node.to_string()),
        Command::Power { node, target, .. } => (Some(target.name()), node.to_string()),
        Command::SetMaintenance { node, on, .. } => (Some(if *on { "on" } else { "off" }), node.to_string()),
        Command::SetTraits { node, .. }
        | Command::ChangeTrait { node, .. }
        | Command::ObservePower { node, .. }
        | Command::PinCertificate { node, .. } => (None, node.to_string()),
        Command::StartStep { job, step }
        | Command::StepProgress { job, step, .. }
        | Command::EndStep { job, step, .. } => (Some(step.name()), job.to_string()),
        Command::UseImage { job, .. }
        | Command::BootAgain { job }
        | Command::AgentHeartbeat { job, .. }
        | Command::SaveInventory { job, .. }
        | Command::AgentFailed { job, .. } => (None, job.to_string()),
        Command::Bind(binding) => (None, binding.address.to_string()),
        Command::Unbind { address } => (None, address.to_string()),
        Command::AddImage(image) => (None, image.id.to_string()),
        Command::ImageReady { id, .. }
        | Command::ImageFailed { id, .. }
        | Command::NameImage { id, .. }
        | Command::DeleteImage { id }
        | Command::EvictImage { id } => (None, id.to_string()),
        Command::Identity(command) => (None, command.subject()),
        Command::Network(command) => (None, command.subject()),
        Command::Hardware(command) => (None, command.subject()),
        Command::CreateUser(user) => (None, user.id.to_string()),
        Command::SetPassword { user, .. } => (None, user.to_string()),
    };
    (what.map_or_else(|| name.to_owned(), |what| format!("{name} {what}")), Some(subject))
}

/// The newest entries, newest first.
pub(crate) fn newest(transaction: &ReadTransaction, limit: usize) -> Result<Vec<AuditEntry>, Fault> {
    let table = transaction.open_table(AUDIT)?;
    let mut entries = Vec::new();
    for entry in table.iter()?.rev().take(limit) {
        entries.push(codec::decode(entry?.1.value())?);
    }
    Ok(entries)
}

/// Different refusals kept apart until they are written; more are counted together.
const KINDS: usize = 256;
/// Characters of a text that comes from outside, such as the name in a failed login.
const LONGEST: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Refused {
    actor: String,
    what: String,
    subject: Option<String>,
}

#[derive(Clone, Debug)]
struct Count {
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
    pub(crate) fn note(&mut self, actor: &str, what: &str, subject: Option<&str>, reason: &str, at: Timestamp) {
        let mut key = Refused { actor: cut(actor), what: cut(what), subject: subject.map(cut) };
        if self.counts.len() >= KINDS && !self.counts.contains_key(&key) {
            key = Refused { actor: "(various)".into(), what: "(various)".into(), subject: None };
        }
        let count = self.counts.entry(key).or_insert(Count { reason: String::new(), count: 0, since: at, at });
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
            .map(|(key, Count { reason, count, since, at })| AuditEntry {
                at,
                actor: key.actor,
                what: key.what,
                subject: key.subject,
                outcome: Outcome::Refused { reason, count, since },
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
                    let old = self.counts.entry(key).or_insert(Count { reason, count: 0, since, at: entry.at });
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

    #[test]
    fn equal_refusals_are_one_row() {
        let mut refusals = Refusals::default();
        for second in 1..=1000 {
            refusals.note("eve", "delete-node", Some("n"), "no", at(second));
        }
        refusals.note("bob", "delete-node", Some("n"), "no", at(5));
        let rows = refusals.take();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1].outcome, Outcome::Refused { reason: "no".into(), count: 1000, since: at(1) });
        assert!(refusals.is_empty());
    }

    #[test]
    fn a_flood_of_different_refusals_is_bounded() {
        let mut refusals = Refusals::default();
        for number in 0..10_000 {
            refusals.note(&format!("user{number}"), &"x".repeat(10_000), None, "no", at(number));
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
