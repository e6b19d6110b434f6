//! Which events are whose: what a reader of few finds his own by, without a look at all the others.
//!
//! Beside the sequence of events lie entries for each of them: by its owner, by its lessee, and, of those that tell of
//! leases and offers, by nobody in particular. A key ends in the number of the event, so that a page is a walk from a place
//! in the sequence on, either way; the value is the event's time, so that a reader of some days decodes nothing else.

use crate::error::Fault;
use crate::tables::EVENT_INDEX;
use jiff::Timestamp;
use leasehold_domain::event::Event;
use redb::{Range, ReadTransaction, Table, WriteTransaction};

/// First byte of a key: what the event tells of.
const LEASE: u8 = b'l';
const OTHER: u8 = b'o';
/// Second byte: whose it is.
const EVERYBODYS: u8 = 0;
const PROJECTS: u8 = 1;
const NUMBER: usize = 8;

/// Whose events are wanted, and of what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventsBy {
    /// Of these projects, as owner or lessee; `None`: everybody's.
    pub whose: Option<Vec<String>>,
    /// Of leases and offers only.
    pub leases: bool,
    /// From this moment on.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}

/// An entry of an event.
pub(crate) struct Entry {
    key: Vec<u8>,
    at: [u8; 12],
}

fn prefix(sort: u8, project: Option<&str>) -> Vec<u8> {
    match project {
        None => vec![sort, EVERYBODYS],
        Some(project) => {
            // The length keeps one name apart from another that begins with it.
            let length = u32::try_from(project.len()).unwrap_or(u32::MAX);
            [&[sort, PROJECTS], length.to_be_bytes().as_slice(), project.as_bytes()].concat()
        }
    }
}

fn sort_of(event: &Event) -> u8 {
    match event.what.kind().split_once('.') {
        Some(("lease" | "offer", _)) => LEASE,
        _ => OTHER,
    }
}

/// What the event of this number is found by.
pub(crate) fn entries(number: u64, event: &Event) -> Vec<Entry> {
    let sort = sort_of(event);
    let everybodys = (sort == LEASE).then_some(None);
    let lessee = event.lessee.as_deref().filter(|lessee| Some(*lessee) != event.owner.as_deref());
    let projects = event.owner.as_deref().into_iter().chain(lessee).map(Some);
    let at = time_bytes(event.at);
    let entry = |project| Entry { key: [prefix(sort, project).as_slice(), &number.to_be_bytes()].concat(), at };
    everybodys.into_iter().chain(projects).map(entry).collect()
}

pub(crate) fn write(transaction: &WriteTransaction, entries: &[Entry]) -> Result<(), Fault> {
    let mut table = transaction.open_table(EVENT_INDEX)?;
    for entry in entries {
        table.insert(entry.key.as_slice(), entry.at.as_slice())?;
    }
    Ok(())
}

pub(crate) fn forget(table: &mut Table<&[u8], &[u8]>, number: u64, event: &Event) -> Result<(), Fault> {
    for entry in entries(number, event) {
        table.remove(entry.key.as_slice())?;
    }
    Ok(())
}

fn time_bytes(at: Timestamp) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&at.as_second().to_be_bytes());
    bytes[8..].copy_from_slice(&at.subsec_nanosecond().to_be_bytes());
    bytes
}

fn time_of(bytes: &[u8]) -> Option<Timestamp> {
    let (second, nanosecond) = bytes.split_first_chunk::<8>()?;
    let nanosecond = i32::from_be_bytes(nanosecond.try_into().ok()?);
    Timestamp::new(i64::from_be_bytes(*second), nanosecond).ok()
}

/// Walks over the entries that a reader's events are found by, together in the order of their numbers.
pub(crate) struct Walks<'a> {
    walks: Vec<Walk<'a>>,
    newest_first: bool,
}

struct Walk<'a> {
    entries: Range<'a, &'static [u8], &'static [u8]>,
    head: Option<(u64, Option<Timestamp>)>,
}

impl<'a> Walks<'a> {
    /// Over the numbers from `first` to `last`. `None`: whoever reads everything of everybody needs no index.
    pub(crate) fn begin(
        transaction: &ReadTransaction,
        by: &EventsBy,
        (first, last): (u64, u64),
        newest_first: bool,
    ) -> Result<Option<Walks<'a>>, Fault> {
        let sorts = if by.leases { &[LEASE][..] } else { &[LEASE, OTHER] };
        let prefixes: Vec<Vec<u8>> = match &by.whose {
            None if !by.leases => return Ok(None),
            None => vec![prefix(LEASE, None)],
            Some(projects) => {
                let of = |project: &String| sorts.iter().map(|sort| prefix(*sort, Some(project))).collect::<Vec<_>>();
                projects.iter().flat_map(of).collect()
            }
        };
        let table = transaction.open_table(EVENT_INDEX)?;
        let mut walks = Walks { walks: Vec::new(), newest_first };
        if first > last {
            return Ok(Some(walks));
        }
        for prefix in prefixes {
            let from = [prefix.as_slice(), &first.to_be_bytes()].concat();
            let to = [prefix.as_slice(), &last.to_be_bytes()].concat();
            let mut walk = Walk { entries: table.range(from.as_slice()..=to.as_slice())?, head: None };
            walk.advance(newest_first)?;
            walks.walks.push(walk);
        }
        Ok(Some(walks))
    }

    /// The next event's number and time; each once, however often it is found.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Option<Timestamp>)>, Fault> {
        let heads = self.walks.iter().filter_map(|walk| walk.head);
        let next = if self.newest_first { heads.max_by_key(|head| head.0) } else { heads.min_by_key(|head| head.0) };
        let Some(next) = next else { return Ok(None) };
        for walk in self.walks.iter_mut().filter(|walk| walk.head.is_some_and(|head| head.0 == next.0)) {
            walk.advance(self.newest_first)?;
        }
        Ok(Some(next))
    }
}

impl Walk<'_> {
    fn advance(&mut self, newest_first: bool) -> Result<(), Fault> {
        let entry = if newest_first { self.entries.next_back() } else { self.entries.next() };
        self.head = match entry {
            None => None,
            Some(entry) => {
                let (key, at) = entry?;
                let number = key.value().last_chunk::<NUMBER>().copied().map(u64::from_be_bytes);
                let number = number.ok_or_else(|| Fault::Damaged("an entry of an event is too short".into()))?;
                Some((number, time_of(at.value())))
            }
        };
        Ok(())
    }
}
