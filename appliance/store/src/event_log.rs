//! The durable events: a sequence on disk, read in pages from a cursor.
//!
//! A cursor is the place of an event in the one sequence of all events. Its text is enciphered: a reader who sees
//! only his own events must not learn from the numbers how busy the others are, nor go to a place he was never given.

use crate::codec;
use crate::error::Fault;
use crate::tables::EVENTS;
use leasehold_domain::event::Event;
use redb::{ReadTransaction, ReadableTable};
use ring::hmac;
use std::ops::Bound;
use std::sync::Arc;

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

/// A page of events.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPage {
    /// Oldest first.
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

    pub(crate) fn cursor(&self, text: &str) -> Result<Cursor, CursorError> {
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

/// Reads the events after `after` (`None`: from the oldest kept on) that `wanted` takes, `limit` at most.
pub(crate) fn page(
    transaction: &ReadTransaction,
    after: Option<Cursor>,
    limit: usize,
    next_event: u64,
    wanted: impl Fn(&Event) -> bool,
) -> Result<Result<EventPage, CursorError>, Fault> {
    let table = transaction.open_table(EVENTS)?;
    let oldest = table.first()?.map_or(next_event, |(key, _)| key.value());
    let after = after.map_or_else(|| oldest.saturating_sub(1), |cursor| cursor.0);
    if after.saturating_add(1) < oldest {
        return Ok(Err(CursorError::TooOld));
    }
    let mut page = EventPage { events: Vec::new(), next: Cursor(after), more: false };
    for (count, entry) in table.range((Bound::Excluded(after), Bound::Unbounded))?.enumerate() {
        if page.events.len() >= limit || count >= LOOK_AT {
            page.more = true;
            break;
        }
        let (key, value) = entry?;
        page.next = Cursor(key.value());
        let event: Arc<Event> = codec::decode(value.value())?;
        if wanted(&event) {
            page.events.push(Recorded { cursor: page.next, event });
        }
    }
    Ok(Ok(page))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
