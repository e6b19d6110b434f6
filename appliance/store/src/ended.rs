//! Offers and leases that are over: on disk only, found by id, and in pages by whose they were, newest first.
//!
//! A row lies under its id. Beside it are entries without a value, one for each thing that it is looked for by, whose
//! keys end in when it was over: a page is a walk backwards from a place, and costs the same among a thousand and among
//! a million. Nothing here changes again; what has been over for too long is removed ([`crate::ended_trim`]).

use crate::codec::{self, CodecError};
use crate::error::Fault;
use crate::live;
use crate::tables::{self, ENDED, Op, kind};
use jiff::Timestamp;
use leasehold_domain::id::{LeaseId, NodeId, OfferId};
use leasehold_domain::lease::{Lease, LeaseRow, Offer};
use leasehold_domain::rows::{RowKey, Rows};
use redb::{Range, ReadTransaction};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// First byte of a key: what it is of.
const OFFER: u8 = b'o';
const LEASE: u8 = b'l';
/// Second byte: the row itself, or what it is found by.
const ROW: u8 = 0;
const ALL: u8 = 1;
const PROJECT: u8 = 2;
const OWNER: u8 = 3;
const NODE: u8 = 4;
const CLAIMED: u8 = 5;
/// Bytes of a place: when, and the id.
const PLACE: usize = 12 + 16;

/// How many one page looks at, whether or not they are wanted: a reader of few must not hold a transaction long.
const LOOK_AT: usize = 10_000;

/// What offers and leases that are over are looked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndedBy {
    All,
    /// The lessee of a lease; whose offer it was.
    Project(String),
    /// Who gave the lease. An offer has no other owner than its project.
    Owner(String),
    Node(NodeId),
    /// The leases by which this offer was claimed.
    Offer(OfferId),
}

/// Where a page ended, to go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndedPlace([u8; PLACE]);

/// A page of what is over.
#[derive(Clone, Debug, PartialEq)]
pub struct EndedPage<T> {
    /// Newest first.
    pub rows: Vec<Arc<T>>,
    /// Where the next page begins; `None`: this was the last one. A page may be empty although there are more.
    pub next: Option<EndedPlace>,
}

/// What a change of an offer or a lease does to the disk: what is over leaves [`tables::LIVE`] for here.
pub(crate) fn lease(change: &Rows<LeaseRow>, ops: &mut Vec<Op>) -> Result<(), CodecError> {
    match change {
        Rows::Put(LeaseRow::Offer(offer)) if !offer.is_open() => {
            retire(offer, ops)?;
        }
        Rows::Put(LeaseRow::Lease(lease)) if lease.state.is_over() => {
            retire(lease, ops)?;
        }
        _ => {
            ops.push(live::room(kind::LEASE, change)?);
            return Ok(());
        }
    }
    ops.push(Op::DeleteLive(tables::room_key(kind::LEASE, &change.key().bytes())));
    Ok(())
}

fn retire<T: Kept + serde::Serialize>(row: &Arc<T>, ops: &mut Vec<Op>) -> Result<(), CodecError> {
    ops.push(Op::PutEnded(row_key(T::WHAT, row.place()), codec::encode(row)?));
    ops.extend(entries(&**row).into_iter().map(|key| Op::PutEnded(key, Vec::new())));
    Ok(())
}

/// The keys of all entries by which a row is found.
pub(crate) fn entries<T: Kept>(row: &T) -> Vec<Vec<u8>> {
    let (place, all) = (row.place(), (ALL, &[][..]));
    let found_by = row.found_by();
    let by = std::iter::once(all).chain(found_by.iter().map(|(by, whose)| (*by, *whose)));
    by.map(|(by, whose)| [&prefix(T::WHAT, by, whose), &place.0[..]].concat()).collect()
}

/// Times before 1970 come first: a clock that was never set must not put its rows after all others.
pub(crate) fn place(at: Timestamp, id: &[u8; 16]) -> EndedPlace {
    let mut bytes = [0; PLACE];
    let (when, which) = bytes.split_at_mut(12);
    let (seconds, nanoseconds) = when.split_at_mut(8);
    let since_first = at.duration_since(Timestamp::MIN);
    seconds.copy_from_slice(&u64::try_from(since_first.as_secs()).unwrap_or(0).to_be_bytes());
    nanoseconds.copy_from_slice(&u32::try_from(since_first.subsec_nanos()).unwrap_or(0).to_be_bytes());
    which.copy_from_slice(id);
    EndedPlace(bytes)
}

pub(crate) fn row_key(what: u8, place: EndedPlace) -> Vec<u8> {
    [&[what, ROW], &place.0[12..]].concat()
}

/// What all entries by this thing begin with. The length keeps one name apart from another that begins with it.
fn prefix(what: u8, by: u8, whose: &[u8]) -> Vec<u8> {
    let length = u32::try_from(whose.len()).unwrap_or(u32::MAX);
    [&[what, by], length.to_be_bytes().as_slice(), whose].concat()
}

/// The keys of the rows themselves, from the first one on; the end is not one of them.
pub(crate) fn rows(what: u8) -> (Vec<u8>, Vec<u8>) {
    (vec![what, ROW], vec![what, ROW + 1])
}

/// The keys of the entries by this thing of what was over then or later; the end is not one of them.
pub(crate) fn entries_since(what: u8, by: &EndedBy, since: Timestamp) -> (Vec<u8>, Vec<u8>) {
    let start = prefix_of(what, by);
    let end = [&start, [u8::MAX; PLACE].as_slice()].concat();
    ([&start, &place(since, &[0; 16]).0[..]].concat(), end)
}

/// The place in which the key of an entry ends.
pub(crate) fn place_in(key: &[u8]) -> Result<EndedPlace, Fault> {
    let place = key.last_chunk::<PLACE>().copied().map(EndedPlace);
    place.ok_or_else(|| Fault::Damaged("an entry of an ended lease is too short".into()))
}

/// A kind of row that is kept here.
pub(crate) trait Kept: DeserializeOwned {
    const WHAT: u8;
    fn place(&self) -> EndedPlace;
    /// What it is looked for by, beside all.
    fn found_by(&self) -> Vec<(u8, &[u8])>;
}

impl Kept for Offer {
    const WHAT: u8 = OFFER;

    fn place(&self) -> EndedPlace {
        place(self.updated_at.unwrap_or(self.created_at), self.id.0.as_bytes())
    }

    fn found_by(&self) -> Vec<(u8, &[u8])> {
        vec![(PROJECT, self.project.as_bytes()), (NODE, self.node.0.as_bytes())]
    }
}

impl Kept for Lease {
    const WHAT: u8 = LEASE;

    fn place(&self) -> EndedPlace {
        place(self.updated_at.unwrap_or(self.created_at), self.id.0.as_bytes())
    }

    fn found_by(&self) -> Vec<(u8, &[u8])> {
        let mut found_by = vec![
            (PROJECT, self.project.as_bytes()),
            (OWNER, self.owner.as_bytes()),
            (NODE, self.node.0.as_bytes().as_slice()),
        ];
        found_by.extend(self.offer.iter().map(|offer| (CLAIMED, offer.0.as_bytes().as_slice())));
        found_by
    }
}

pub(crate) fn offer(transaction: &ReadTransaction, id: OfferId) -> Result<Option<Arc<Offer>>, Fault> {
    one(transaction, OFFER, id.0.as_bytes())
}

pub(crate) fn one_lease(transaction: &ReadTransaction, id: LeaseId) -> Result<Option<Arc<Lease>>, Fault> {
    one(transaction, LEASE, id.0.as_bytes())
}

fn one<T: DeserializeOwned>(transaction: &ReadTransaction, what: u8, id: &[u8; 16]) -> Result<Option<Arc<T>>, Fault> {
    let table = transaction.open_table(ENDED)?;
    let value = table.get([&[what, ROW], id.as_slice()].concat().as_slice())?;
    Ok(value.map(|value| codec::decode(value.value())).transpose()?)
}

/// Those that any of `by` finds and `wanted` takes, after `after` (`None`: from the newest on), `limit` at most. Each is
/// there once, however often it is found.
pub(crate) fn page<T: Kept>(
    transaction: &ReadTransaction,
    by: &[EndedBy],
    after: Option<EndedPlace>,
    limit: usize,
    wanted: impl Fn(&T) -> bool,
) -> Result<EndedPage<T>, Fault> {
    let table = transaction.open_table(ENDED)?;
    let mut walks = Vec::new();
    for by in by {
        let start = prefix_of(T::WHAT, by);
        let end = match after {
            Some(after) => [&start, &after.0[..]].concat(),
            // No place is made of these alone: years end before.
            None => [&start, [u8::MAX; PLACE].as_slice()].concat(),
        };
        walks.push(Walk::begin(table.range(start.as_slice()..end.as_slice())?)?);
    }
    let (mut page, mut looked_at) = (EndedPage { rows: Vec::new(), next: None }, 0);
    let mut last = after;
    while let Some(place) = walks.iter().filter_map(|walk| walk.head).max() {
        if page.rows.len() >= limit || looked_at >= LOOK_AT {
            page.next = last;
            break;
        }
        for walk in walks.iter_mut().filter(|walk| walk.head == Some(place)) {
            walk.advance()?;
        }
        (last, looked_at) = (Some(place), looked_at + 1);
        let Some(value) = table.get(row_key(T::WHAT, place).as_slice())? else { continue };
        let row: Arc<T> = codec::decode(value.value())?;
        if row.place() == place && wanted(&row) {
            page.rows.push(row);
        }
    }
    Ok(page)
}

pub(crate) fn prefix_of(what: u8, by: &EndedBy) -> Vec<u8> {
    match by {
        EndedBy::All => prefix(what, ALL, &[]),
        EndedBy::Owner(project) if what == LEASE => prefix(what, OWNER, project.as_bytes()),
        EndedBy::Project(project) | EndedBy::Owner(project) => prefix(what, PROJECT, project.as_bytes()),
        EndedBy::Node(node) => prefix(what, NODE, node.0.as_bytes()),
        EndedBy::Offer(offer) => prefix(what, CLAIMED, offer.0.as_bytes()),
    }
}

/// A walk backwards over the entries by one thing.
struct Walk<'a> {
    entries: Range<'a, &'static [u8], &'static [u8]>,
    head: Option<EndedPlace>,
}

impl<'a> Walk<'a> {
    fn begin(entries: Range<'a, &'static [u8], &'static [u8]>) -> Result<Walk<'a>, Fault> {
        let mut walk = Walk { entries, head: None };
        walk.advance()?;
        Ok(walk)
    }

    fn advance(&mut self) -> Result<(), Fault> {
        self.head = match self.entries.next_back() {
            None => None,
            Some(entry) => {
                let (key, _) = entry?;
                Some(place_in(key.value())?)
            }
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::carry_out;
    use jiff::SignedDuration;
    use leasehold_domain::lease::{Label, LeaseState, Past, Span, Watch, Wish};
    use redb::{Database, ReadableDatabase, backends::InMemoryBackend};
    use std::time::{Duration, Instant};
    use uuid::Uuid;

    fn ended(number: u64) -> Lease {
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(i64::try_from(number).expect("not so many"));
        Lease {
            id: LeaseId(Uuid::from_u128(u128::from(number))),
            label: Label::default(),
            purpose: None,
            project: format!("lessee{}", number % 7),
            owner: "owner".into(),
            node: NodeId(Uuid::from_u128(u128::from(number % 100))),
            span: Span::ALL,
            offer: None,
            parent: None,
            group: None,
            state: LeaseState::Expired,
            reason: None,
            ready_by: None,
            fulfilled_at: None,
            expired_at: Some(at),
            created_at: at,
            updated_at: Some(at),
            revision: 3,
            wish: Wish::default(),
            watch: Watch::default(),
            past: Past::default(),
        }
    }

    fn database() -> Database {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).expect("a database in memory");
        fill(&database, 0..1);
        database
    }

    fn fill(database: &Database, numbers: std::ops::Range<u64>) {
        let mut ops = Vec::new();
        for number in numbers {
            lease(&Rows::Put(LeaseRow::Lease(Arc::new(ended(number)))), &mut ops).expect("it can be written");
        }
        let transaction = database.begin_write().expect("write");
        carry_out(&transaction, &ops).expect("written");
        transaction.commit().expect("committed");
    }

    #[test]
    fn a_page_looks_at_so_many_and_goes_on_from_there() {
        let database = database();
        let count = u64::try_from(LOOK_AT).expect("a number") + 100;
        fill(&database, 1..count);
        let read = database.begin_read().expect("read");
        let rare = |lease: &Lease| lease.id.0.as_u128() == 50;
        let first = page(&read, &[EndedBy::All], None, 10, rare).expect("read");
        assert!(first.rows.is_empty() && first.next.is_some(), "not found yet, and not all were looked at");
        let next = page(&read, &[EndedBy::All], first.next, 10, rare).expect("read");
        assert_eq!((next.rows.len(), next.next), (1, None));
    }

    #[test]
    fn times_before_1970_and_at_the_ends_of_time_are_in_order() {
        let nanosecond = SignedDuration::from_nanos(1);
        let times = [
            Timestamp::MIN,
            Timestamp::MIN + nanosecond,
            Timestamp::UNIX_EPOCH - nanosecond,
            Timestamp::UNIX_EPOCH,
            Timestamp::UNIX_EPOCH + nanosecond,
            Timestamp::MAX,
        ];
        assert!(times.map(|at| place(at, &[0; 16])).is_sorted_by(|one, next| one < next));
        assert!(place(Timestamp::MAX, &[u8::MAX; 16]).0 < [u8::MAX; PLACE]);
    }

    /// The shortest of some tries, each a page by a lessee, one by all, and a look at one.
    fn cost(database: &Database, count: u64) -> Duration {
        let tries = (0..20).map(|number| {
            let begin = Instant::now();
            let read = database.begin_read().expect("read");
            let by = [EndedBy::Project(format!("lessee{}", number % 7)), EndedBy::Node(NodeId(Uuid::from_u128(3)))];
            assert_eq!(page::<Lease>(&read, &by, None, 100, |_| true).expect("read").rows.len(), 100);
            assert_eq!(page::<Lease>(&read, &[EndedBy::All], None, 100, |_| true).expect("read").rows.len(), 100);
            let id = LeaseId(Uuid::from_u128(u128::from(count / 2)));
            assert!(one_lease(&read, id).expect("read").is_some());
            begin.elapsed()
        });
        tries.min().expect("some tries")
    }

    /// `cargo test -p leasehold-store --release -- --ignored costs_the_same`
    #[test]
    #[ignore = "writes a million rows first, which takes its time"]
    fn a_page_costs_the_same_among_a_thousand_and_among_a_million() {
        let database = database();
        fill(&database, 1..1000);
        let few = cost(&database, 1000);
        for from in (1000..1_000_000).step_by(50_000) {
            fill(&database, from..(from + 50_000).min(1_000_000));
        }
        let many = cost(&database, 1_000_000);
        assert!(many < 3 * few, "{few:?} among a thousand, {many:?} among a million");
    }
}
