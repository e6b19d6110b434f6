//! The durable events: a sequence on disk, read in pages from a cursor, kept to an age and a size.
//!
//! A cursor is the place of an event in the one sequence of all events. Its text is enciphered: a reader who sees
//! only his own events must not learn from the numbers how busy the others are, nor go to a place he was never given.

use crate::codec;
use crate::error::Fault;
use crate::event_index::{self, Entry, EventsBy, Walks};
use crate::tables::{EVENT_INDEX, EVENTS, META};
use jiff::Timestamp;
use leasehold_domain::event::Event;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use std::ops::Bound;
use std::sync::Arc;

/// What is kept of the size of all events.
const KEPT: &str = "events-kept";

/// A place in the sequence of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(pub(crate) u64);

impl Cursor {
    /// The plain number, for an API whose events have numbers: it tells whoever sees it how busy the box is.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The cursor of this number. One that no event had, or will have, is a place in the sequence, too.
    pub fn from_number(number: u64) -> Cursor {
        Cursor(number)
    }
}

/// An event and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    pub cursor: Cursor,
    pub event: Arc<Event>,
}

/// Which way a page goes, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventsFrom {
    /// Oldest first, those after this place (`None`: from the oldest kept on).
    After(Option<Cursor>),
    /// Newest first, those before this place (`None`: from the newest on).
    Before(Option<Cursor>),
}

/// A page of events.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPage {
    /// In the order that was asked for.
    pub events: Vec<Recorded>,
    /// Where the next page begins.
    pub next: Cursor,
    /// There are more events now, which may or may not be of those wanted.
    pub more: bool,
}

/// A cursor cannot be gone on from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// 400.
    #[error("The cursor was not made by this appliance: begin without one.")]
    Unknown,
    /// 410: events after it were already removed, so that a reader would miss some.
    #[error("The cursor is too old, events after it are no longer kept: read the present state and begin anew.")]
    TooOld,
}

/// Turns cursors into text and back.
pub(crate) struct CursorCipher(hmac::Key);

impl CursorCipher {
    pub(crate) fn new(key: &[u8]) -> CursorCipher {
        CursorCipher(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    fn eight(&self, purpose: &[u8], input: [u8; 8]) -> [u8; 8] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(purpose);
        context.update(&input);
        let mut out = [0; 8];
        out.copy_from_slice(&context.sign().as_ref()[..8]);
        out
    }

    /// The tag authenticates the number and is at the same time the nonce that hides it, so that one cursor always
    /// has the same text.
    pub(crate) fn text(&self, cursor: Cursor) -> String {
        let tag = self.eight(b"tag", cursor.0.to_be_bytes());
        let mask = u64::from_be_bytes(self.eight(b"mask", tag));
        format!("{}{:016x}", hex::encode(tag), cursor.0 ^ mask)
    }

    /// A text that no other has, even of the same cursor: who compares two of them does not learn whether anything has
    /// happened between them that is not his to see. `None`: the system gives no random numbers.
    pub(crate) fn fresh_text(&self, cursor: Cursor) -> Option<String> {
        let mut nonce = [0; 8];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mask = u64::from_be_bytes(self.eight(b"fresh", nonce));
        let hidden = (cursor.0 ^ mask).to_be_bytes();
        Some(hex::encode([nonce, hidden, self.seal(nonce, hidden)].concat()))
    }

    fn seal(&self, nonce: [u8; 8], hidden: [u8; 8]) -> [u8; 8] {
        let mut purpose = b"fresh tag".to_vec();
        purpose.extend_from_slice(&nonce);
        self.eight(&purpose, hidden)
    }

    fn fresh_cursor(&self, text: &str) -> Result<Cursor, CursorError> {
        let (mut nonce, mut hidden, mut bytes) = ([0; 8], [0; 8], [0; 24]);
        hex::decode_to_slice(text, &mut bytes).map_err(|_| CursorError::Unknown)?;
        nonce.copy_from_slice(&bytes[..8]);
        hidden.copy_from_slice(&bytes[8..16]);
        if self.seal(nonce, hidden) != bytes[16..] {
            return Err(CursorError::Unknown);
        }
        Ok(Cursor(u64::from_be_bytes(hidden) ^ u64::from_be_bytes(self.eight(b"fresh", nonce))))
    }

    pub(crate) fn cursor(&self, text: &str) -> Result<Cursor, CursorError> {
        if text.len() == 48 {
            return self.fresh_cursor(text);
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| CursorError::Unknown)?;
        let (mut tag, mut hidden) = ([0; 8], [0; 8]);
        tag.copy_from_slice(&bytes[..8]);
        hidden.copy_from_slice(&bytes[8..]);
        let mask = u64::from_be_bytes(self.eight(b"mask", tag));
        let cursor = Cursor(u64::from_be_bytes(hidden) ^ mask);
        if self.eight(b"tag", cursor.0.to_be_bytes()) == tag { Ok(cursor) } else { Err(CursorError::Unknown) }
    }
}

/// How many events one page looks at, whether or not they are wanted: a reader of few must not hold a transaction long.
const LOOK_AT: usize = 10_000;

/// Reads the events from `from` on that `by` finds and `wanted` takes, `limit` at most.
pub(crate) fn page(
    transaction: &ReadTransaction,
    by: &EventsBy,
    from: EventsFrom,
    limit: usize,
    next_event: u64,
    wanted: impl Fn(&Event) -> bool,
) -> Result<Result<EventPage, CursorError>, Fault> {
    let table = transaction.open_table(EVENTS)?;
    let oldest = table.first()?.map_or(next_event, |(key, _)| key.value());
    let newest = table.last()?.map_or(next_event.saturating_sub(1), |(key, _)| key.value());
    let (first, last, start) = match from {
        EventsFrom::After(after) => {
            let after = after.map_or_else(|| oldest.saturating_sub(1), |cursor| cursor.0);
            if after.saturating_add(1) < oldest {
                return Ok(Err(CursorError::TooOld));
            }
            (after.saturating_add(1), newest, after)
        }
        EventsFrom::Before(before) => {
            let before = before.map_or(newest.saturating_add(1), |cursor| cursor.0);
            (oldest, before.saturating_sub(1).min(newest), before)
        }
    };
    let newest_first = matches!(from, EventsFrom::Before(_));
    let mut walk = match Walks::begin(transaction, by, (first, last), newest_first)? {
        Some(walks) => Walk::Found(walks),
        None if first > last => Walk::Over,
        None => Walk::All(Box::new(table.range((Bound::Included(first), Bound::Included(last)))?), newest_first),
    };
    let mut page = EventPage { events: Vec::new(), next: Cursor(start), more: true };
    for _ in 0..LOOK_AT {
        if page.events.len() >= limit {
            return Ok(Ok(page));
        }
        let Some((number, at)) = walk.next()? else {
            // All there is was looked at, other people's too.
            page.next = Cursor(if newest_first { first.min(start) } else { last.max(start) });
            page.more = false;
            return Ok(Ok(page));
        };
        page.next = Cursor(number);
        let in_time = |at| by.since.is_none_or(|since| at >= since) && by.until.is_none_or(|until| at < until);
        if !at.is_none_or(in_time) {
            continue;
        }
        let Some(value) = table.get(number)? else { continue };
        // One that cannot be read is told nobody, and keeps nobody from the others.
        let event: Arc<Event> = match codec::decode(value.value()) {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(%error, number, "an event cannot be read and is left out");
                continue;
            }
        };
        if in_time(event.at) && wanted(&event) {
            page.events.push(Recorded { cursor: page.next, event });
        }
    }
    Ok(Ok(page))
}

/// The numbers of events, one after the other.
enum Walk<'a> {
    Found(Walks<'a>),
    All(Box<redb::Range<'a, u64, &'static [u8]>>, bool),
    Over,
}

impl Walk<'_> {
    fn next(&mut self) -> Result<Option<(u64, Option<Timestamp>)>, Fault> {
        let entry = match self {
            Walk::Found(walks) => return walks.next(),
            Walk::All(entries, true) => entries.next_back(),
            Walk::All(entries, false) => entries.next(),
            Walk::Over => None,
        };
        Ok(entry.transpose()?.map(|(number, _)| (number.value(), None)))
    }
}

/// An event as it is written.
pub(crate) struct Row {
    number: u64,
    bytes: Vec<u8>,
    found_by: Vec<Entry>,
}

impl Row {
    pub(crate) fn new(number: u64, event: &Event) -> Result<Row, codec::CodecError> {
        Ok(Row { number, bytes: codec::encode(event)?, found_by: event_index::entries(number, event) })
    }
}

/// How many of the events are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) at_most: u64,
    /// The events themselves, without what they are found by.
    pub(crate) bytes: u64,
    /// Age removes events only beyond this many, so that a clock that jumps cannot empty the log.
    pub(crate) at_least: u64,
    pub(crate) since: Timestamp,
}

/// Appends events and removes what is beyond the limit: at most twice what came in, so that a commit stays short.
pub(crate) fn append(transaction: &WriteTransaction, rows: &[Row], next: u64, limit: Limit) -> Result<(), Fault> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut added = 0;
    {
        let mut table = transaction.open_table(EVENTS)?;
        for row in rows {
            table.insert(row.number, row.bytes.as_slice())?;
            added += row.bytes.len() as u64;
        }
    }
    for row in rows {
        event_index::write(transaction, &row.found_by)?;
    }
    trim_with(transaction, next, limit, rows.len() * 2, added)
}

/// Removes the oldest events that are beyond the limit, so many at most.
pub(crate) fn trim(transaction: &WriteTransaction, next: u64, limit: Limit, at_once: usize) -> Result<(), Fault> {
    trim_with(transaction, next, limit, at_once, 0)
}

fn trim_with(transaction: &WriteTransaction, next: u64, limit: Limit, at_once: usize, added: u64) -> Result<(), Fault> {
    let mut meta = transaction.open_table(META)?;
    let mut kept = read_kept(meta.get(KEPT)?.as_ref().map(redb::AccessGuard::value))? + added;
    let mut table = transaction.open_table(EVENTS)?;
    let mut index = None;
    for _ in 0..at_once {
        let Some((number, value)) = table.first()?.map(|(number, value)| (number.value(), value.value().to_vec()))
        else {
            break;
        };
        let count = next.saturating_sub(number);
        let beyond = count > limit.at_most || kept > limit.bytes;
        let event = codec::decode::<Event>(&value);
        // An event that cannot be read is as good as old.
        let is_old = || event.as_ref().map_or(true, |event| event.at < limit.since);
        // The newest stays, whatever its size.
        if count <= 1 || !(beyond || (count > limit.at_least && is_old())) {
            break;
        }
        if let Ok(event) = &event {
            let index = match &mut index {
                Some(index) => index,
                empty => empty.insert(transaction.open_table(EVENT_INDEX)?),
            };
            event_index::forget(index, number, event)?;
        }
        kept = kept.saturating_sub(value.len() as u64);
        table.remove(number)?;
    }
    meta.insert(KEPT, kept.to_be_bytes().as_slice())?;
    Ok(())
}

fn read_kept(value: Option<&[u8]>) -> Result<u64, Fault> {
    let Some(bytes) = value else { return Ok(0) };
    let bytes = bytes.try_into().map_err(|_| Fault::Damaged("the size of the events cannot be read".into()))?;
    Ok(u64::from_be_bytes(bytes))
}

/// Number and time of an event; no time of one that cannot be read.
pub(crate) type Place = (u64, Option<Timestamp>);

/// The oldest event, and the size of all.
pub(crate) fn oldest(read: &ReadTransaction) -> Result<(Option<Place>, u64), Fault> {
    let kept = read_kept(read.open_table(META)?.get(KEPT)?.as_ref().map(redb::AccessGuard::value))?;
    let table = read.open_table(EVENTS)?;
    let time = |bytes: &[u8]| codec::decode::<Event>(bytes).ok().map(|event| event.at);
    let first = table.first()?.map(|(number, value)| (number.value(), time(value.value())));
    Ok((first, kept))
}

/// Makes the index and the size for events of before.
pub(crate) fn index_all(transaction: &WriteTransaction) -> Result<(), Fault> {
    let mut kept: u64 = 0;
    transaction.open_table(EVENT_INDEX)?;
    let table = transaction.open_table(EVENTS)?;
    for entry in table.iter()? {
        let (number, value) = entry?;
        kept += value.value().len() as u64;
        if let Ok(event) = codec::decode::<Event>(value.value()) {
            event_index::write(transaction, &event_index::entries(number.value(), &event))?;
        }
    }
    transaction.open_table(META)?.insert(KEPT, kept.to_be_bytes().as_slice())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use redb::ReadableDatabase;

    #[test]
    fn a_cursor_tells_nothing_of_its_number_and_is_good_for_one_key() {
        let cipher = CursorCipher::new(b"one");
        let (one, two) = (cipher.text(Cursor(1)), cipher.text(Cursor(2)));
        let same = one.bytes().zip(two.bytes()).filter(|(a, b)| a == b).count();
        assert!(same < 16, "{one} {two}");
        assert_eq!(CursorCipher::new(b"other").cursor(&one), Err(CursorError::Unknown));
        for text in ["", "1", "zz", &one[1..], &format!("{one}0")] {
            assert_eq!(cipher.cursor(text), Err(CursorError::Unknown), "{text}");
        }
    }

    #[test]
    fn who_compares_fresh_cursors_does_not_see_whether_anything_came_between() {
        let cipher = CursorCipher::new(b"one");
        let texts = [5, 5, 6].map(|number| cipher.fresh_text(Cursor(number)).expect("random numbers"));
        assert!(texts[0] != texts[1] && texts[1] != texts[2]);
        assert_eq!(texts.clone().map(|text| cipher.cursor(&text)), [5, 5, 6].map(|number| Ok(Cursor(number))));
        let moved = format!("{}{}", &texts[0][..16], &texts[2][16..]);
        assert_eq!(cipher.cursor(&moved), Err(CursorError::Unknown));
        assert_eq!(CursorCipher::new(b"other").cursor(&texts[0]), Err(CursorError::Unknown));
    }

    #[test]
    fn an_event_that_cannot_be_read_is_left_out_of_a_page() {
        let database = redb::Database::builder().create_with_backend(redb::backends::InMemoryBackend::new());
        let database = database.expect("a database");
        let write = database.begin_write().expect("begun");
        let what = leasehold_domain::event::What::NodeChanged;
        let event = Event { at: Timestamp::UNIX_EPOCH, node: None, owner: None, lessee: None, what };
        let limit = Limit { at_most: 100, bytes: u64::MAX, at_least: 100, since: Timestamp::MIN };
        let rows = [1, 3].map(|number| Row::new(number, &event).expect("encoded"));
        append(&write, &rows, 4, limit).expect("written");
        write.open_table(EVENTS).expect("a table").insert(2, b"\xff".as_slice()).expect("written");
        write.commit().expect("committed");
        let read = database.begin_read().expect("begun");
        for from in [EventsFrom::After(None), EventsFrom::Before(None)] {
            let page = page(&read, &EventsBy::default(), from, 10, 4, |_| true).expect("read").expect("a cursor");
            let mut numbers: Vec<u64> = page.events.iter().map(|recorded| recorded.cursor.0).collect();
            numbers.sort_unstable();
            assert_eq!((numbers, page.more), (vec![1, 3], false));
        }
    }

    proptest! {
        #[test]
        fn cursors_are_read_back(number in any::<u64>(), flip in 0_usize..128) {
            let cipher = CursorCipher::new(b"key");
            let text = cipher.text(Cursor(number));
            prop_assert_eq!(cipher.cursor(&text), Ok(Cursor(number)));
            let mut bytes = hex::decode(&text).expect("hex");
            bytes[flip / 8] ^= 1 << (flip % 8);
            prop_assert_eq!(cipher.cursor(&hex::encode(bytes)), Err(CursorError::Unknown));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = CursorCipher::new(b"key").cursor(&text);
        }
    }
}
