//! All offers and leases that are over and whose time may reach into a span, one after another, for whoever adds them up.
//!
//! A few are found by the entries that say when they were over; of many the rows are read as they lie, which costs a
//! tenth of finding each. They are read in slices, each in a transaction of its own: a long one would keep the space of
//! all that is changed meanwhile. What ends while it is read may come or not: whoever counts has a snapshot in which it is
//! not over, and takes it from there.

use crate::codec;
use crate::ended::{self, EndedBy, Kept};
use crate::error::{Fault, ReadError};
use crate::store::Store;
use crate::tables::ENDED;
use jiff::Timestamp;
use leasehold_domain::id::OfferId;
use leasehold_domain::lease::{Lease, Offer};
use redb::ReadTransaction;
use std::collections::HashMap;
use std::sync::Arc;

/// Rows of one slice.
const SLICE: usize = 10_000;
/// Of more entries than these all rows are read instead.
const FEW: usize = 20_000;
/// Offers that are kept at hand while the leases are read that were claimed of them.
const OFFERS: usize = 10_000;

/// Who adds up.
pub trait Account: Send + 'static {
    /// An offer that is not over, by the snapshot.
    fn open_offer(&self, id: OfferId) -> Option<Arc<Offer>>;
    fn offer(&mut self, offer: &Offer);
    /// `offer`: the one that it was claimed of.
    fn lease(&mut self, lease: &Lease, offer: Option<&Offer>);
}

/// Where a reading goes on.
#[derive(Clone, Debug)]
struct Walk {
    /// The keys of rows lie here, not those of entries.
    rows: bool,
    from: Vec<u8>,
    end: Vec<u8>,
}

impl Store {
    /// Hands over the offers and leases that any of these finds and that were not over before `since`; and these leases,
    /// which are not over, with the offers that they were claimed of.
    pub async fn account<A: Account>(
        &self,
        offers: Option<EndedBy>,
        leases: EndedBy,
        since: Timestamp,
        live: Vec<Arc<Lease>>,
        mut account: A,
    ) -> Result<A, ReadError> {
        if let Some(by) = offers {
            let mut walk = self.read(move |read| begin::<Offer>(read, &by, since)).await?;
            while let Some(here) = walk {
                (account, walk) = self
                    .read(move |read| {
                        let next = slice::<Offer>(read, here, |_, offer| {
                            account.offer(offer);
                            Ok(())
                        })?;
                        Ok((account, next))
                    })
                    .await?;
            }
        }
        let mut known = HashMap::new();
        let mut walk;
        (account, known, walk) = self
            .read(move |read| {
                for lease in live {
                    with_offer(read, &mut account, &mut known, &lease)?;
                }
                Ok((account, known, begin::<Lease>(read, &leases, since)?))
            })
            .await?;
        while let Some(here) = walk {
            (account, known, walk) = self
                .read(move |read| {
                    let next =
                        slice::<Lease>(read, here, |read, lease| with_offer(read, &mut account, &mut known, lease))?;
                    Ok((account, known, next))
                })
                .await?;
        }
        Ok(account)
    }
}

fn with_offer<A: Account>(
    read: &ReadTransaction,
    account: &mut A,
    known: &mut Offers,
    lease: &Lease,
) -> Result<(), Fault> {
    let offer = match lease.offer {
        Some(id) => claimed(read, account, known, id)?,
        None => None,
    };
    account.lease(lease, offer.as_deref());
    Ok(())
}

type Offers = HashMap<OfferId, Option<Arc<Offer>>>;

fn claimed<A: Account>(
    read: &ReadTransaction,
    account: &A,
    known: &mut Offers,
    id: OfferId,
) -> Result<Option<Arc<Offer>>, Fault> {
    if let Some(offer) = account.open_offer(id) {
        return Ok(Some(offer));
    }
    if let Some(offer) = known.get(&id) {
        return Ok(offer.clone());
    }
    if known.len() >= OFFERS {
        known.clear();
    }
    let offer = ended::offer(read, id)?;
    known.insert(id, offer.clone());
    Ok(offer)
}

fn begin<T: Kept>(read: &ReadTransaction, by: &EndedBy, since: Timestamp) -> Result<Option<Walk>, Fault> {
    let (from, end) = ended::entries_since(T::WHAT, by, since);
    let table = read.open_table(ENDED)?;
    let mut entries = table.range(from.as_slice()..end.as_slice())?;
    if *by == EndedBy::All && entries.nth(FEW).transpose()?.is_some() {
        let (from, end) = ended::rows(T::WHAT);
        return Ok(Some(Walk { rows: true, from, end }));
    }
    Ok(Some(Walk { rows: false, from, end }))
}

/// Some of them; where it goes on, if there are more.
fn slice<T: Kept>(
    read: &ReadTransaction,
    walk: Walk,
    mut take: impl FnMut(&ReadTransaction, &T) -> Result<(), Fault>,
) -> Result<Option<Walk>, Fault> {
    let table = read.open_table(ENDED)?;
    for (number, entry) in table.range(walk.from.as_slice()..walk.end.as_slice())?.enumerate() {
        let (key, value) = entry?;
        if number == SLICE {
            return Ok(Some(Walk { from: key.value().to_vec(), ..walk }));
        }
        if walk.rows {
            take(read, &codec::decode(value.value())?)?;
            continue;
        }
        let place = ended::place_in(key.value())?;
        let Some(value) = table.get(ended::row_key(T::WHAT, place).as_slice())? else { continue };
        let row: T = codec::decode(value.value())?;
        if row.place() == place {
            take(read, &row)?;
        }
    }
    Ok(None)
}

/// Rows for tests.
#[cfg(test)]
pub(crate) mod fixture {
    use jiff::{SignedDuration, Timestamp};
    use leasehold_domain::id::{LeaseId, NodeId, OfferId};
    use leasehold_domain::lease::{Label, Lease, LeaseState, Offer, OfferState, Past, Span, Watch, Wish};
    use uuid::Uuid;

    pub(crate) const HOUR: SignedDuration = SignedDuration::from_hours(1);

    /// Hours after the first lease begins.
    pub(crate) fn at(hour: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH + HOUR * i32::try_from(hour).expect("not so many")
    }

    pub(crate) fn offer(number: u64) -> Offer {
        Offer {
            id: OfferId(Uuid::from_u128(u128::from(number))),
            label: Label::default(),
            project: format!("owner{}", number % 3),
            lessee: None,
            node: NodeId(Uuid::from_u128(u128::from(number % 100))),
            span: Span { start: at(number * 10), end: at(number * 10 + 10) },
            parent: None,
            state: OfferState::Expired,
            created_at: at(0),
            updated_at: Some(at(number * 10 + 10)),
            wish: Wish::default(),
            class: None,
        }
    }

    /// An hour within the offer of ten leases.
    pub(crate) fn lease(number: u64) -> Lease {
        let offer = offer(number / 10);
        Lease {
            id: LeaseId(Uuid::from_u128(
                u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(number),
            )),
            label: Label::default(),
            purpose: None,
            project: format!("lessee{}", number % 7),
            owner: offer.project,
            node: offer.node,
            span: Span { start: at(number), end: at(number + 1) },
            offer: Some(offer.id),
            parent: None,
            group: None,
            state: LeaseState::Expired,
            reason: None,
            ready_by: None,
            fulfilled_at: Some(at(number)),
            expired_at: Some(at(number + 1)),
            created_at: at(number),
            updated_at: Some(at(number + 1)),
            revision: 3,
            wish: Wish::default(),
            watch: Watch::default(),
            past: Past { class: Some("gpu".into()), ended_at: Some(at(number + 1)), ..Past::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::tables::carry_out;
    use fixture::{HOUR, at, lease, offer};
    use leasehold_domain::id::LeaseId;
    use leasehold_domain::lease::figures::{By, Side, Tally, Window, day_of};
    use leasehold_domain::lease::{LeaseRow, LeaseState};
    use leasehold_domain::rows::Rows;
    use std::collections::BTreeMap;
    use std::time::Instant;
    use uuid::Uuid;

    /// A store with so many leases and a tenth as many offers that are over.
    async fn store(leases: u64) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        Store::open(folder.path(), Options::default()).expect("a store").close().await;
        let database = redb::Database::open(folder.path().join("leasehold.redb")).expect("its database");
        for from in (0..leases).step_by(50_000) {
            let mut ops = Vec::new();
            for number in from..leases.min(from + 50_000) {
                ended::lease(&Rows::Put(LeaseRow::Lease(Arc::new(lease(number)))), &mut ops)
                    .expect("it can be written");
                if number % 10 == 0 {
                    let offer = LeaseRow::Offer(Arc::new(offer(number / 10)));
                    ended::lease(&Rows::Put(offer), &mut ops).expect("it can be written");
                }
            }
            let transaction = database.begin_write().expect("write");
            carry_out(&transaction, &ops).expect("written");
            transaction.commit().expect("committed");
        }
        drop(database);
        let store = Store::open(folder.path(), Options::default()).expect("a store");
        (folder, store)
    }

    /// Notes what it is handed.
    #[derive(Default)]
    struct Noted {
        offers: BTreeMap<OfferId, u32>,
        leases: BTreeMap<LeaseId, u32>,
        wrong: u32,
    }

    impl Account for Noted {
        fn open_offer(&self, _: OfferId) -> Option<Arc<Offer>> {
            None
        }

        fn offer(&mut self, offer: &Offer) {
            *self.offers.entry(offer.id).or_default() += 1;
        }

        fn lease(&mut self, lease: &Lease, offer: Option<&Offer>) {
            *self.leases.entry(lease.id).or_default() += 1;
            self.wrong += u32::from(offer.map(|offer| offer.id) != lease.offer);
        }
    }

    #[tokio::test]
    async fn each_is_handed_over_once_with_its_offer_from_whatever_time_on() {
        let count = u64::try_from(FEW).expect("a number") + 5000;
        let (_folder, store) = store(count).await;
        let live = vec![Arc::new(Lease { id: LeaseId(Uuid::max()), state: LeaseState::Active, ..lease(7) })];
        let noted = async |by: (Option<EndedBy>, EndedBy), since: u64| {
            let noted = store.account(by.0, by.1, at(since), live.clone(), Noted::default()).await.expect("read");
            assert!(noted.leases.values().chain(noted.offers.values()).all(|times| *times == 1));
            assert_eq!(noted.wrong, 0);
            (noted.offers.len() as u64, noted.leases.len() as u64 - 1)
        };
        let all = || (Some(EndedBy::All), EndedBy::All);
        // Of many, also those come that were over long before: whoever counts looks at their times.
        assert_eq!(noted(all(), 0).await, (count / 10, count));
        assert_eq!(noted(all(), count - 100).await, (11, 101));
        let mine = (Some(EndedBy::Project("owner1".into())), EndedBy::Owner("owner1".into()));
        let (offers, leases) = noted(mine, 0).await;
        assert!(offers.abs_diff(count / 30) <= 1 && leases.abs_diff(count / 3) <= 10, "{offers} {leases}");
        assert_eq!(noted((None, EndedBy::Project("lessee1".into())), 0).await.0, 0);
        store.close().await;
    }

    struct Counting(Tally);

    impl Account for Counting {
        fn open_offer(&self, _: OfferId) -> Option<Arc<Offer>> {
            None
        }

        fn offer(&mut self, offer: &Offer) {
            self.0.offer(offer, None);
        }

        fn lease(&mut self, lease: &Lease, offer: Option<&Offer>) {
            self.0.lease(lease, offer, None);
        }
    }

    /// `cargo test -p leasehold-store -- --ignored --nocapture million`
    #[tokio::test]
    #[ignore = "writes a million rows first, which takes its time"]
    async fn figures_of_a_million_leases_come_in_seconds() {
        let count = 1_000_000;
        let (_folder, store) = store(count).await;
        let by = By { project: true, owner: true, class: true, node: true, day: false };
        for (what, first) in [("of all", 0), ("of the last day", i32::try_from(count / 24).expect("days"))] {
            let window = Window { first, end: day_of(at(count)) + 1, now: at(count + 100) };
            let since = Timestamp::UNIX_EPOCH + HOUR * (24 * first);
            let begin = Instant::now();
            let counting = Counting(Tally::new(Side::All, by, window, 50_000));
            let counted = store.account(Some(EndedBy::All), EndedBy::All, since, Vec::new(), counting).await;
            let total = counted.expect("read").0.total();
            let took = begin.elapsed();
            eprintln!("figures {what} of {count} leases: {took:?}, {} node-hours leased", total.leased / 3600);
            assert_eq!((total.leased, total.idle), (total.offered(), 0));
            assert!(took.as_secs() < 60, "{took:?}");
        }
        store.close().await;
    }
}
