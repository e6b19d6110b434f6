//! The audit on disk: appended to, trimmed at its start, read, verified.
//!
//! A row is a version byte, the entry's link, and the entry as JSON: the bytes that are hashed are those that are exported.
//! What trimming removes is remembered as the number and link of the last removed entry, so that the chain goes on.

use super::chain::{self, ChainFault, Link, START, Verifier};
use super::{AuditEntry, Outcome};
use crate::codec;
use crate::error::Fault;
use crate::tables::{AUDIT, META};
use jiff::Timestamp;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

/// The version of a row. Rows of version 1 had no link; the schema's third migration made them anew.
const VERSION: u8 = 2;
const LINK: usize = 32;
const KEPT: &str = "audit-kept";
/// Rows that one page looks at.
const LOOKED_AT: usize = 20_000;

/// An entry as it lies on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    pub number: u64,
    pub link: Link,
    /// The entry as JSON.
    pub text: String,
}

impl AuditRow {
    /// The entry, if it can be read.
    pub fn entry(&self) -> Option<AuditEntry> {
        serde_json::from_str(&self.text).ok()
    }
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Name or id of who did it.
    pub actor: Option<String>,
    /// The command's name, or the beginning of it.
    pub what: Option<String>,
    pub subject: Option<String>,
    pub refused_only: bool,
    /// From this moment on.
    pub since: Option<Timestamp>,
}

impl AuditFilter {
    fn takes(&self, entry: &AuditEntry) -> bool {
        let is =
            |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|wanted| found == Some(wanted));
        let actor = is(&self.actor, Some(&entry.actor)) || is(&self.actor, entry.source.user.as_deref());
        let what = self.what.as_deref().is_none_or(|wanted| entry.what.starts_with(wanted));
        let refused = !self.refused_only || matches!(entry.outcome, Outcome::Refused { .. });
        actor && what && is(&self.subject, entry.subject.as_deref()) && refused
    }
}

/// A page of entries, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditPage {
    pub rows: Vec<AuditRow>,
    /// Older ones are to be asked for before this number; `None`: there are none. A page may be empty and not the last.
    pub before: Option<u64>,
}

/// What verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The last entry that was removed by age or size, and its link; 0 when none was.
    pub removed: u64,
    pub anchor: Link,
    pub count: u64,
    pub last: u64,
    /// The link of the last entry: noted elsewhere, it shows later that nothing before it was changed.
    pub head: Link,
    pub faults: Vec<ChainFault>,
}

/// What is remembered of rows that were removed, and the size of those that are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kept {
    removed: u64,
    anchor: Link,
    bytes: u64,
}

impl Kept {
    fn read(value: Option<&[u8]>) -> Result<Kept, Fault> {
        let Some(bytes) = value else { return Ok(Kept::default()) };
        let number = |at: usize| -> Option<u64> { Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?)) };
        let anchor = bytes.get(8..8 + LINK).and_then(|link| link.try_into().ok());
        match (bytes.len(), number(0), anchor, number(8 + LINK)) {
            (48, Some(removed), Some(anchor), Some(bytes)) => Ok(Kept { removed, anchor, bytes }),
            _ => Err(Fault::Damaged("what the audit keeps cannot be read".into())),
        }
    }

    fn to_bytes(self) -> Vec<u8> {
        [&self.removed.to_be_bytes()[..], &self.anchor, &self.bytes.to_be_bytes()].concat()
    }
}

/// How much of the audit is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) at_most: u64,
    pub(crate) bytes: u64,
    /// Age removes entries only beyond this many.
    pub(crate) at_least: u64,
    pub(crate) since: Timestamp,
}

/// An entry made ready to be written as this number after this link, and its own link.
pub(crate) fn encode(before: &Link, number: u64, entry: &AuditEntry) -> Result<(Link, Vec<u8>), codec::CodecError> {
    let text = serde_json::to_vec(entry).map_err(|error| codec::CodecError::Encode(error.to_string()))?;
    let link = chain::link(before, number, &text);
    Ok((link, [&[VERSION][..], &link, &text].concat()))
}

fn decode(row: &[u8]) -> Option<(Link, &[u8])> {
    let (version, rest) = row.split_first()?;
    let (link, text) = rest.split_at_checked(LINK)?;
    (*version == VERSION).then_some((link.try_into().ok()?, text))
}

fn row(number: u64, bytes: &[u8]) -> Result<AuditRow, Fault> {
    let damaged = || Fault::Damaged(format!("entry {number} of the audit cannot be read"));
    let (link, text) = decode(bytes).ok_or_else(damaged)?;
    let text = String::from_utf8(text.to_vec()).map_err(|_| damaged())?;
    Ok(AuditRow { number, link, text })
}

/// Appends rows and removes what is beyond the limit: at most twice what came in, so that a commit stays short.
pub(crate) fn append(transaction: &WriteTransaction, rows: &[(u64, Vec<u8>)], limit: Limit) -> Result<(), Fault> {
    if rows.is_empty() {
        return Ok(());
    }
    let added: u64 = rows.iter().map(|(_, row)| row.len() as u64).sum();
    {
        let mut table = transaction.open_table(AUDIT)?;
        for (number, row) in rows {
            table.insert(*number, row.as_slice())?;
        }
    }
    trim_with(transaction, limit, rows.len() * 2, added)
}

/// Removes the oldest entries that are beyond the limit, so many at most.
pub(crate) fn trim(transaction: &WriteTransaction, limit: Limit, at_once: usize) -> Result<(), Fault> {
    trim_with(transaction, limit, at_once, 0)
}

fn trim_with(transaction: &WriteTransaction, limit: Limit, at_once: usize, added: u64) -> Result<(), Fault> {
    let mut meta = transaction.open_table(META)?;
    let mut kept = Kept::read(meta.get(KEPT)?.as_ref().map(redb::AccessGuard::value))?;
    kept.bytes += added;
    let mut table = transaction.open_table(AUDIT)?;
    let last = table.last()?.map_or(0, |(number, _)| number.value());
    for _ in 0..at_once {
        let Some((number, value)) = table.first()?.map(|(number, value)| (number.value(), value.value().to_vec()))
        else {
            break;
        };
        let count = (last + 1).saturating_sub(number);
        let decoded = decode(&value);
        // An entry that cannot be read is as good as old.
        let is_old = || decoded.and_then(|(_, text)| time(text)).is_none_or(|at| at < limit.since);
        // The newest stays, whatever its size.
        let beyond = count > limit.at_most || kept.bytes > limit.bytes;
        if count <= 1 || !(beyond || (count > limit.at_least && is_old())) {
            break;
        }
        kept = Kept {
            removed: number,
            anchor: decoded.map_or(START, |(link, _)| link),
            bytes: kept.bytes.saturating_sub(value.len() as u64),
        };
        table.remove(number)?;
    }
    meta.insert(KEPT, kept.to_bytes().as_slice())?;
    Ok(())
}

fn time(text: &[u8]) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct At {
        at: Timestamp,
    }
    serde_json::from_slice::<At>(text).ok().map(|entry| entry.at)
}

/// The first entry's number and time.
pub(crate) fn first_time(read: &ReadTransaction) -> Result<Option<(u64, Option<Timestamp>)>, Fault> {
    let table = read.open_table(AUDIT)?;
    let first = table.first()?;
    Ok(first.map(|(number, value)| (number.value(), decode(value.value()).and_then(|(_, text)| time(text)))))
}

/// The newest entries, newest first.
pub(crate) fn newest(read: &ReadTransaction, limit: usize) -> Result<Vec<AuditEntry>, Fault> {
    let table = read.open_table(AUDIT)?;
    let mut entries = Vec::new();
    for found in table.iter()?.rev().take(limit) {
        let (number, value) = found?;
        let row = row(number.value(), value.value())?;
        let wrong = || Fault::Damaged(format!("entry {} of the audit cannot be read", row.number));
        entries.push(row.entry().ok_or_else(wrong)?);
    }
    Ok(entries)
}

/// The entries before a number (`None`: the newest) that the filter takes, newest first.
pub(crate) fn page(
    read: &ReadTransaction,
    before: Option<u64>,
    limit: usize,
    filter: &AuditFilter,
) -> Result<AuditPage, Fault> {
    let table = read.open_table(AUDIT)?;
    let mut rows = Vec::new();
    for (looked_at, found) in table.range(..before.unwrap_or(u64::MAX))?.rev().enumerate() {
        let (number, value) = found?;
        let number = number.value();
        if rows.len() >= limit || looked_at >= LOOKED_AT {
            return Ok(AuditPage { rows, before: Some(number + 1) });
        }
        let row = row(number, value.value())?;
        let Some(entry) = row.entry() else { continue };
        if filter.since.is_some_and(|since| entry.at < since) {
            return Ok(AuditPage { rows, before: None });
        }
        if filter.takes(&entry) {
            rows.push(row);
        }
    }
    Ok(AuditPage { rows, before: None })
}

/// The entries after a number, oldest first; and the number and link after which the kept ones begin.
pub(crate) fn rows_after(
    read: &ReadTransaction,
    after: u64,
    limit: usize,
) -> Result<(u64, Link, Vec<AuditRow>), Fault> {
    let kept = Kept::read(read.open_table(META)?.get(KEPT)?.as_ref().map(redb::AccessGuard::value))?;
    let table = read.open_table(AUDIT)?;
    let mut rows = Vec::new();
    for found in table.range(after.saturating_add(1)..)?.take(limit) {
        let (number, value) = found?;
        rows.push(row(number.value(), value.value())?);
    }
    Ok((kept.removed, kept.anchor, rows))
}

/// Follows the whole chain, from what trimming left to the head that was written with the last commit; `noted` is an
/// entry whose link somebody has kept elsewhere.
pub(crate) fn verify(
    read: &ReadTransaction,
    (last, head): (u64, Link),
    noted: Option<(u64, Link)>,
) -> Result<Verified, Fault> {
    let kept = Kept::read(read.open_table(META)?.get(KEPT)?.as_ref().map(redb::AccessGuard::value))?;
    let mut verifier = Verifier::after(kept.removed, kept.anchor);
    let mut found = noted.filter(|(number, _)| *number == kept.removed).map(|_| kept.anchor);
    for entry in read.open_table(AUDIT)?.iter()? {
        let (number, value) = entry?;
        match decode(value.value()) {
            Some((link, text)) => {
                verifier.take(number.value(), &link, text);
                if noted.is_some_and(|(wanted, _)| wanted == number.value()) {
                    found = Some(link);
                }
            }
            None => verifier.take_unreadable(number.value()),
        }
    }
    let count = verifier.count();
    let mut faults = verifier.end(last, &head);
    if let Some((number, link)) = noted {
        // What was removed by age can no longer be compared.
        let gone = number < kept.removed;
        if !gone && found != Some(link) {
            faults.push(ChainFault::OtherHead { number });
        }
    }
    Ok(Verified { removed: kept.removed, anchor: kept.anchor, count, last, head, faults })
}

/// Makes a chain of rows of version 1. Gives the last link.
pub(crate) fn chain_rows(transaction: &WriteTransaction) -> Result<Link, Fault> {
    let mut table = transaction.open_table(AUDIT)?;
    let first = table.first()?.map(|(number, _)| number.value());
    let last = table.last()?.map_or(0, |(number, _)| number.value());
    let mut kept = Kept { removed: first.unwrap_or(1).saturating_sub(1), ..Kept::default() };
    let mut head = START;
    for number in first.into_iter().flat_map(|first| first..=last) {
        let Some(value) = table.get(number)? else { continue };
        let entry: AuditEntry = codec::decode(value.value())?;
        drop(value);
        let (link, row) = encode(&head, number, &entry)?;
        table.insert(number, row.as_slice())?;
        kept.bytes += row.len() as u64;
        head = link;
    }
    transaction.open_table(META)?.insert(KEPT, kept.to_bytes().as_slice())?;
    Ok(head)
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
