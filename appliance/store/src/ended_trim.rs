//! How long offers and leases that are over are kept: the oldest go first, by age and where there are too many.
//!
//! How many there are is told by the length of their table, which has four to six keys for each: so the bound is one of
//! keys, and met by a row more or less.

use crate::codec;
use crate::ended::{self, EndedBy, EndedPlace, Kept};
use crate::error::Fault;
use crate::store::Retention;
use crate::tables::ENDED;
use jiff::Timestamp;
use leasehold_domain::lease::{Lease, Offer};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, WriteTransaction};

/// Keys of a lease that was claimed of an offer; all others have fewer.
const KEYS: u64 = 6;

/// What goes, by how many keys there are: all that is older than this; `None`: nothing.
fn bound(keys: u64, keep: Retention, since: Timestamp) -> Option<EndedPlace> {
    if keys > keep.at_most.saturating_mul(KEYS) {
        return Some(ended::place(Timestamp::MAX, &[u8::MAX; 16]));
    }
    (keys > keep.at_least.saturating_mul(KEYS)).then(|| ended::place(since, &[0; 16]))
}

/// There is something to remove.
pub(crate) fn is_due(read: &ReadTransaction, keep: Retention, since: Timestamp) -> Result<bool, Fault> {
    let table = read.open_table(ENDED)?;
    let Some(bound) = bound(table.len()?, keep, since) else { return Ok(false) };
    Ok(oldest::<Lease>(&table, bound, 1)?.or(oldest::<Offer>(&table, bound, 1)?).is_some())
}

/// Removes the oldest, `most` of each kind at most; how many went.
pub(crate) fn trim(write: &WriteTransaction, keep: Retention, since: Timestamp, most: usize) -> Result<usize, Fault> {
    Ok(trim_kind::<Lease>(write, keep, since, most)? + trim_kind::<Offer>(write, keep, since, most)?)
}

fn trim_kind<T: Kept>(
    write: &WriteTransaction,
    keep: Retention,
    since: Timestamp,
    most: usize,
) -> Result<usize, Fault> {
    let mut table = write.open_table(ENDED)?;
    let Some(bound) = bound(table.len()?, keep, since) else { return Ok(0) };
    let places = oldest::<T>(&table, bound, most)?.unwrap_or_default();
    for place in &places {
        let key = ended::row_key(T::WHAT, *place);
        let row: Option<T> = table.get(key.as_slice())?.map(|value| codec::decode(value.value())).transpose()?;
        for entry in row.iter().flat_map(ended::entries) {
            table.remove(entry.as_slice())?;
        }
        table.remove(key.as_slice())?;
    }
    Ok(places.len())
}

/// The places of the oldest that lie before this one; `None`: there are none.
fn oldest<T: Kept>(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    bound: EndedPlace,
    most: usize,
) -> Result<Option<Vec<EndedPlace>>, Fault> {
    let (from, until) = ended::entries_since(T::WHAT, &EndedBy::All, Timestamp::MIN);
    let mut places = Vec::new();
    for entry in table.range(from.as_slice()..until.as_slice())?.take(most) {
        let place = ended::place_in(entry?.0.value())?;
        if place >= bound {
            break;
        }
        places.push(place);
    }
    Ok((!places.is_empty()).then_some(places))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::fixture::{at, lease, offer};
    use crate::tables::carry_out;
    use leasehold_domain::lease::LeaseRow;
    use leasehold_domain::rows::Rows;
    use redb::{Database, ReadableDatabase, backends::InMemoryBackend};
    use std::sync::Arc;

    fn database(leases: u64) -> Database {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).expect("a database in memory");
        let mut ops = Vec::new();
        for number in 0..leases {
            ended::lease(&Rows::Put(LeaseRow::Lease(Arc::new(lease(number)))), &mut ops).expect("it can be written");
            if number % 10 == 9 {
                let offer = LeaseRow::Offer(Arc::new(offer(number / 10)));
                ended::lease(&Rows::Put(offer), &mut ops).expect("it can be written");
            }
        }
        let write = database.begin_write().expect("write");
        carry_out(&write, &ops).expect("written");
        write.commit().expect("committed");
        database
    }

    fn keys(database: &Database) -> u64 {
        database.begin_read().expect("read").open_table(ENDED).expect("there").len().expect("a length")
    }

    /// As often as something is due.
    fn trim_all(database: &Database, keep: Retention, since: Timestamp) -> usize {
        let mut gone = 0;
        while is_due(&database.begin_read().expect("read"), keep, since).expect("read") {
            let write = database.begin_write().expect("write");
            let now = trim(&write, keep, since, 7).expect("trimmed");
            write.commit().expect("committed");
            assert!(now > 0, "what is due goes");
            gone += now;
        }
        gone
    }

    const FOREVER: Retention = Retention { at_most: u64::MAX, at_least: 0, days: 1 };

    #[test]
    fn what_is_too_old_goes_with_all_its_keys() {
        let database = database(100);
        assert_eq!(trim_all(&database, FOREVER, at(0)), 0);
        // Leases that were over before the fiftieth hour, and the offers of ten hours each.
        assert_eq!(trim_all(&database, FOREVER, at(50)), 49 + 4);
        let read = database.begin_read().expect("read");
        assert!(ended::one_lease(&read, lease(48).id).expect("read").is_none());
        assert!(ended::one_lease(&read, lease(49).id).expect("read").is_some());
        assert_eq!(keys(&database), 51 * 6 + 6 * 4, "nothing is left of what went");
        assert_eq!(trim_all(&database, FOREVER, Timestamp::MAX), 51 + 6);
        assert_eq!(keys(&database), 0);
    }

    #[test]
    fn a_clock_that_jumps_does_not_empty_the_history_and_no_more_are_kept_than_may_be() {
        let database = database(100);
        let jumped = Retention { at_least: 200, ..FOREVER };
        assert_eq!(trim_all(&database, jumped, Timestamp::MAX), 0);
        let few = Retention { at_most: 50, at_least: 10, days: 1 };
        assert!(trim_all(&database, few, Timestamp::MIN) > 0);
        let left = keys(&database);
        assert!((250..=300).contains(&left), "{left}");
        let read = database.begin_read().expect("read");
        assert!(ended::one_lease(&read, lease(99).id).expect("read").is_some(), "the newest stay");
    }
}
