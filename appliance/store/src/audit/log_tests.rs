//! The audit on disk: kept within its limits, read by pages, and no change of it goes unseen.

use super::*;
use proptest::prelude::*;
use redb::{Database, ReadableDatabase, backends::InMemoryBackend};

fn entry(number: u64, actor: &str) -> AuditEntry {
    AuditEntry {
        at: Timestamp::from_second(i64::try_from(number).expect("small")).expect("a time"),
        actor: actor.into(),
        source: super::super::Source::default(),
        what: "change-node".into(),
        subject: Some(format!("n{}", number % 3)),
        outcome: Outcome::Done,
        change: Some(serde_json::json!({"name": ["é", number]})),
    }
}

struct Log {
    database: Database,
    last: u64,
    head: Link,
}

impl Log {
    fn new() -> Log {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).expect("a database");
        let write = database.begin_write().expect("write");
        write.open_table(AUDIT).expect("audit");
        write.open_table(META).expect("meta");
        write.commit().expect("committed");
        Log { database, last: 0, head: START }
    }

    fn add(&mut self, count: u64, limit: Limit) {
        let mut rows = Vec::new();
        for _ in 0..count {
            self.last += 1;
            let (link, row) = encode(&self.head, self.last, &entry(self.last, "ann")).expect("encoded");
            self.head = link;
            rows.push((self.last, row));
        }
        self.write(|write| append(write, &rows, limit));
    }

    fn write(&self, work: impl FnOnce(&WriteTransaction) -> Result<(), Fault>) {
        let write = self.database.begin_write().expect("write");
        work(&write).expect("written");
        write.commit().expect("committed");
    }

    fn verify(&self, noted: Option<(u64, Link)>) -> Verified {
        verify(&self.database.begin_read().expect("read"), (self.last, self.head), noted).expect("verified")
    }
}

const ALL: Limit = Limit { at_most: u64::MAX, bytes: u64::MAX, at_least: u64::MAX, since: Timestamp::MIN };

#[test]
fn the_chain_goes_on_over_what_age_count_and_size_remove() {
    let mut log = Log::new();
    log.add(100, ALL);
    let (noted, first) = ((log.last, log.head), log.verify(None));
    assert_eq!((first.removed, first.count, first.faults.len()), (0, 100, 0));
    log.add(1, Limit { at_most: 50, ..ALL });
    log.add(60, Limit { at_most: 50, ..ALL });
    assert_eq!((log.verify(Some(noted)).removed, log.verify(Some(noted)).faults.len()), (111, 0));
    let since = Timestamp::from_second(131).expect("a time");
    log.write(|write| trim(write, Limit { at_least: 10, since, ..ALL }, 1000));
    assert_eq!(log.verify(None).removed, 130);
    // Age leaves the newest so many, whatever the clock says; the size leaves the last entry.
    log.write(|write| trim(write, Limit { at_least: 10, since: Timestamp::MAX, ..ALL }, 1000));
    assert_eq!((log.verify(None).count, log.verify(None).faults.len()), (10, 0));
    log.write(|write| trim(write, Limit { bytes: 1, ..ALL }, 1000));
    assert_eq!((log.verify(None).count, log.verify(None).removed), (1, 160));
    log.add(5, ALL);
    assert_eq!(log.verify(Some((166, log.head))).faults, Vec::new());
    assert_eq!(log.verify(Some((166, START))).faults, [ChainFault::OtherHead { number: 166 }]);
}

#[test]
fn pages_go_back_to_the_oldest_and_take_what_is_wanted() {
    let mut log = Log::new();
    log.add(10, ALL);
    let read = log.database.begin_read().expect("read");
    let wanted = AuditFilter { subject: Some("n1".into()), actor: Some("ann".into()), ..AuditFilter::default() };
    let mut numbers = Vec::new();
    let mut before = None;
    loop {
        let found = page(&read, before, 2, &wanted).expect("a page");
        numbers.extend(found.rows.iter().map(|row| row.number));
        match found.before {
            Some(next) => before = Some(next),
            None => break,
        }
    }
    assert_eq!(numbers, [10, 7, 4, 1]);
    let refused = AuditFilter { refused_only: true, ..AuditFilter::default() };
    assert!(page(&read, None, 10, &refused).expect("a page").rows.is_empty());
}

/// The rows as they lie there.
fn rows(log: &Log) -> Vec<(u64, Vec<u8>)> {
    let read = log.database.begin_read().expect("read");
    let table = read.open_table(AUDIT).expect("audit");
    let rows = table.iter().expect("rows").map(|row| {
        let (number, value) = row.expect("a row");
        (number.value(), value.value().to_vec())
    });
    rows.collect()
}

/// What is said when the rows are these instead.
fn faults_of(log: &Log, rows: &[(u64, Vec<u8>)], noted: Option<(u64, Link)>) -> Vec<ChainFault> {
    log.write(|write| {
        let mut table = write.open_table(AUDIT)?;
        table.retain(|_, _| false)?;
        for (number, row) in rows {
            table.insert(*number, row.as_slice())?;
        }
        Ok(())
    });
    log.verify(noted).faults
}

#[test]
fn an_altered_a_missing_a_moved_and_a_cut_off_entry_are_each_found_and_named() {
    let mut log = Log::new();
    log.add(6, ALL);
    let whole = rows(&log);
    assert_eq!(faults_of(&log, &whole, None), []);

    // Altered: another name in it, with the old link.
    let mut altered = whole.clone();
    let at = altered[2].1.windows(3).position(|three| three == b"ann").expect("the actor");
    altered[2].1[at..at + 3].copy_from_slice(b"eve");
    assert_eq!(faults_of(&log, &altered, None), [ChainFault::Altered { number: 3 }]);
    // And with a link that fits: then the next one does not.
    let (_, fitting) = encode(&whole[1].1[1..33].try_into().expect("a link"), 3, &entry(3, "eve")).expect("encoded");
    altered[2].1 = fitting;
    assert_eq!(faults_of(&log, &altered, None), [ChainFault::Altered { number: 4 }]);

    // Missing: one in the middle, and the first.
    for gone in [0, 3] {
        let mut missing = whole.clone();
        missing.remove(gone);
        let (from, to) = (gone as u64 + 1, gone as u64 + 1);
        assert_eq!(faults_of(&log, &missing, None), [ChainFault::Missing { from, to }]);
    }
    // The rest is given new numbers, so that none is missing.
    let mut closed = whole.clone();
    closed.remove(3);
    for (row, number) in closed.iter_mut().zip(1..) {
        row.0 = number;
    }
    let said = faults_of(&log, &closed, None);
    assert!(said.contains(&ChainFault::Altered { number: 4 }), "{said:?}");
    assert!(said.contains(&ChainFault::EndsEarly { found: 5, expected: 6 }), "{said:?}");

    // Moved: two entries in each other's place.
    let mut moved = whole.clone();
    let (one, other) = (moved[1].1.clone(), moved[4].1.clone());
    (moved[1].1, moved[4].1) = (other, one);
    let said = faults_of(&log, &moved, None);
    for number in [2, 5] {
        assert!(said.contains(&ChainFault::Altered { number }), "{said:?}");
    }

    // Cut off at the end.
    assert_eq!(faults_of(&log, &whole[..4], None), [ChainFault::EndsEarly { found: 4, expected: 6 }]);
    assert_eq!(faults_of(&log, &[], None), [ChainFault::EndsEarly { found: 0, expected: 6 }]);
    // Also when the head that lies beside the entries is set back with them, if somebody noted a later one.
    let noted = (log.last, log.head);
    (log.last, log.head) = (4, whole[3].1[1..33].try_into().expect("a link"));
    assert_eq!(faults_of(&log, &whole[..4], None), [], "nothing in the file says that there were more");
    assert_eq!(faults_of(&log, &whole[..4], Some(noted)), [ChainFault::OtherHead { number: 6 }]);
}

proptest! {
    /// Whoever changes the file finds no place where it goes unseen.
    #[test]
    fn what_is_done_to_the_table_is_found(count in 2..20_u64, at in 0..20_u64, other in 0..20_u64, how in 0..6_u8) {
        let mut log = Log::new();
        log.add(count, ALL);
        log.add(1, Limit { at_most: count.max(3), ..ALL });
        let first = log.verify(None).removed + 1;
        let kept = log.last - first + 1;
        let (at, other) = (first + at % kept, first + other % kept);
        let before: Vec<_> = rows_after(&log.database.begin_read().expect("read"), 0, 100).expect("rows").2;
        log.write(|write| {
            let mut table = write.open_table(AUDIT)?;
            let bytes = |number: u64, table: &redb::Table<u64, &[u8]>| {
                table.get(number).expect("read").expect("there").value().to_vec()
            };
            let (mut one, two) = (bytes(at, &table), bytes(other, &table));
            match how {
                0 => {
                    table.remove(at)?;
                }
                1 => {
                    table.insert(at, two.as_slice())?;
                    table.insert(other, one.as_slice())?;
                }
                2 => {
                    // Another actor, and a link that fits.
                    let previous = if at == first { log.verify(None).anchor } else { bytes(at - 1, &table)[1..33].try_into().expect("a link") };
                    let (_, row) = encode(&previous, at, &entry(at, "eve"))?;
                    table.insert(at, row.as_slice())?;
                }
                3 => {
                    let end = one.len() - 1 - usize::try_from(other).expect("small") % 20;
                    one[end] ^= 1;
                    table.insert(at, one.as_slice())?;
                }
                4 => {
                    table.insert(at, b"x".as_slice())?;
                }
                _ => {
                    table.insert(log.last + 1, one.as_slice())?;
                }
            }
            Ok(())
        });
        let same = rows_after(&log.database.begin_read().expect("read"), 0, 100).is_ok_and(|after| after.2 == before);
        prop_assert_eq!(log.verify(None).faults.is_empty(), same, "{} of {}", how, at);
    }
}
