use super::*;
use crate::disk::RealDisk;
use jiff::Timestamp;
use leasehold_domain::address::{ClientKey, Hold};
use leasehold_domain::mac::Mac;
use proptest::prelude::*;
use std::fs;

fn put(last: u8, second: i64) -> Entry {
    let mac = Mac([2, 0, 0, 0, 0, last]);
    let at = Timestamp::from_second(second).expect("a time");
    let hold = Hold::Bound { client: ClientKey::Mac(mac), mac };
    Entry::Put(Arc::new(Binding { address: Ipv4Addr::new(10, 0, 0, last), hold, since: at, expires: at }))
}

fn open(dir: &Path, folded: u64) -> Result<(Journal, View), Fault> {
    let mut view = View::default();
    Journal::open(dir, Arc::new(RealDisk), folded, &mut view).map(|journal| (journal, view))
}

/// What is at the addresses that are written here: the second, if any.
fn seconds(view: &View) -> Vec<Option<i64>> {
    let at = |last| view.binding(Ipv4Addr::new(10, 0, 0, last)).map(|binding| binding.since.as_second());
    (0..8).map(at).collect()
}

#[test]
fn a_record_is_there_again_until_it_is_folded() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut journal, _) = open(dir.path(), 0).expect("opened");
    journal.append(&[put(1, 1), put(2, 1)]).expect("written");
    journal.append(&[put(1, 2), Entry::Delete(Ipv4Addr::new(10, 0, 0, 2))]).expect("written");
    let (mut journal, view) = open(dir.path(), 0).expect("opened");
    assert_eq!(seconds(&view)[..3], [None, Some(2), None]);
    let fold = journal.next_fold(1, true).expect("two addresses");
    assert_eq!(fold, Fold { addresses: vec![Ipv4Addr::new(10, 0, 0, 1)], through: None });
    journal.folded(&fold);
    let fold = journal.next_fold(9, true).expect("one more");
    assert_eq!(fold, Fold { addresses: vec![Ipv4Addr::new(10, 0, 0, 2)], through: Some(2) });
    journal.folded(&fold);
    assert_eq!(journal.next_fold(9, true), None);
    journal.append(&[put(3, 3)]).expect("written");
    assert_eq!(seconds(&open(dir.path(), 2).expect("opened").1)[..4], [None, None, None, Some(3)]);
}

#[test]
fn files_take_turns_and_are_written_over() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut journal, _) = open(dir.path(), 0).expect("opened");
    let mut folded = 0;
    for round in 1..20_u8 {
        // Records of different length, so that what is left of older ones lies across the newer ones.
        let entries: Vec<_> = (0..round % 5 + 1).map(|last| put(last, i64::from(round))).collect();
        journal.append(&entries).expect("written");
        if round % 3 == 0 {
            let fold = journal.next_fold(usize::MAX, true).expect("something");
            journal.append(&[put(7, i64::from(round))]).expect("written");
            folded = fold.through.expect("all");
            journal.folded(&fold);
        }
        let (_, view) = open(dir.path(), folded).expect("opened");
        let expected = journal.whole_fold();
        let found: Vec<_> = view.bindings().map(|binding| binding.address).collect();
        assert_eq!(found, expected.addresses, "after round {round}");
    }
    let lengths = FILES.map(|name| fs::metadata(dir.path().join(name)).expect("there").len());
    assert!(lengths.iter().all(|length| *length <= STEP), "{lengths:?}");
}

#[test]
fn a_lost_record_is_not_passed_over() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut journal, _) = open(dir.path(), 0).expect("opened");
    journal.append(&[put(1, 1)]).expect("written");
    journal.append(&[put(2, 1)]).expect("written");
    journal.next_fold(1, true).expect("the other file is next");
    journal.append(&[put(3, 1)]).expect("written");
    let sealed = FILES
        .map(|name| dir.path().join(name))
        .into_iter()
        .find(|path| read_records(&fs::read(path).expect("read")).0.first().is_some_and(|record| record.number == 1));
    let sealed = sealed.expect("one has the first record");
    let mut bytes = fs::read(&sealed).expect("read");
    bytes[HEAD + 3] ^= 1;
    fs::write(&sealed, bytes).expect("written");
    let error = open(dir.path(), 0).expect_err("two records are lost");
    assert!(matches!(&error, Fault::Damaged(why) if why.contains("lacks record 1 before 3")), "{error}");
    assert_eq!(seconds(&open(dir.path(), 2).expect("the database has them").1)[3], Some(1));
}

/// A disk that fails at the n-th access.
#[derive(Debug)]
struct Failing(std::sync::atomic::AtomicI64);

impl Disk for Failing {
    fn available(&self, _: &Path) -> std::io::Result<u64> {
        Ok(u64::MAX)
    }

    fn admit(&self, _: DiskAccess) -> std::io::Result<()> {
        match self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) {
            1 => Err(std::io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_record_that_failed_is_replaced_or_made_void() {
    for access in 1..=5 {
        for fold in [false, true] {
            let dir = tempfile::tempdir().expect("a folder");
            let mut view = View::default();
            let disk = Arc::new(Failing(access.into()));
            let mut journal = Journal::open(dir.path(), disk, 0, &mut view).expect("opened");
            let mut folded = 0;
            for number in 1..4 {
                if journal.append(&[put(number, i64::from(number))]).is_ok() {
                    continue;
                }
                if fold {
                    let fold = journal.whole_fold();
                    assert_eq!(fold.through, Some(number.into()), "what was tried is void, too");
                    folded = number.into();
                    journal.folded(&fold);
                }
            }
            let (_, view) = open(dir.path(), folded).expect("opened");
            let failed = if access <= 3 { 1 } else { 2 };
            let expected =
                (1..4).map(|number| (number != failed && (!fold || number > failed)).then_some(i64::from(number)));
            assert_eq!(seconds(&view)[1..4], expected.collect::<Vec<_>>(), "access {access}, fold {fold}");
        }
    }
}

proptest! {
    #[test]
    fn a_torn_or_altered_tail_ends_at_a_whole_record(
        sizes in proptest::collection::vec(1_u8..5, 1..8),
        cut in 0_usize..2000,
        flip in any::<bool>(),
    ) {
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for (number, size) in (7..).zip(&sizes) {
            let entries: Vec<_> = (0..*size).map(|last| put(last, number)).collect();
            let number = u64::try_from(number).expect("small");
            bytes.extend(write_record(number, &brief::encode_entries(&entries).expect("encoded")).expect("short"));
            ends.push(bytes.len());
        }
        let cut = cut % bytes.len();
        match flip {
            true => bytes[cut] ^= 0x10,
            false => bytes.truncate(cut),
        }
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        let (records, end) = read_records(&bytes);
        prop_assert_eq!(records.len(), whole);
        prop_assert_eq!(usize::try_from(end).expect("small"), ends[whole]);
    }

    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(read_records(&bytes).1, 0);
    }
}
