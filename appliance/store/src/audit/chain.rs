//! The chain: each entry of the audit carries a hash of itself and of the link before it.
//!
//! In: entries as they are stored, in order. Out: what is wrong with them. Whoever changes, removes or moves an entry
//! would have to make every later link anew; the last link, kept elsewhere, shows that too.

use ring::digest::{Context, SHA256};

/// SHA-256 over the link before, the entry's number (eight bytes, big-endian) and the entry's text.
pub type Link = [u8; 32];

/// The link before the first entry.
pub const START: Link = [0; 32];

/// The link of an entry.
pub fn link(before: &Link, number: u64, entry: &[u8]) -> Link {
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(&number.to_be_bytes());
    context.update(entry);
    let mut link = START;
    link.copy_from_slice(context.finish().as_ref());
    link
}

/// Something was done to the audit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    #[error("entry {number}, or its link, was altered, or another entry was put in its place")]
    Altered { number: u64 },
    #[error("the entries {from} to {to} are missing")]
    Missing { from: u64, to: u64 },
    #[error("entry {number} stands after entry {after}")]
    OutOfOrder { number: u64, after: u64 },
    #[error("entry {number} cannot be read")]
    Unreadable { number: u64 },
    #[error("the last entry is {found}, and should be {expected}: later ones are missing")]
    EndsEarly { found: u64, expected: u64 },
    #[error("the last link is another one than was noted when entry {number} was written")]
    OtherHead { number: u64 },
}

/// Faults that are told; more say nothing more.
const MOST: usize = 100;

/// Follows a chain, entry by entry.
#[derive(Clone, Debug)]
pub struct Verifier {
    last: u64,
    link: Link,
    count: u64,
    faults: Vec<ChainFault>,
}

impl Verifier {
    /// Begins after this entry, whose link is known; 0 and [`START`] for all.
    pub fn after(number: u64, link: Link) -> Verifier {
        Verifier { last: number, link, count: 0, faults: Vec::new() }
    }

    /// The next entry, with the link that is stored with it.
    pub fn take(&mut self, number: u64, stored: &Link, entry: &[u8]) {
        self.count += 1;
        let expected = self.last.saturating_add(1);
        if number < expected {
            self.fault(ChainFault::OutOfOrder { number, after: self.last });
        } else if number > expected {
            self.fault(ChainFault::Missing { from: expected, to: number - 1 });
        }
        // After a gap the link before is not known, and what follows is measured by the stored one.
        if number == expected && link(&self.link, number, entry) != *stored {
            self.fault(ChainFault::Altered { number });
        }
        self.last = self.last.max(number);
        self.link = *stored;
    }

    /// An entry of which nothing can be read.
    pub fn take_unreadable(&mut self, number: u64) {
        self.count += 1;
        self.fault(ChainFault::Unreadable { number });
        self.last = self.last.max(number);
    }

    fn fault(&mut self, fault: ChainFault) {
        if self.faults.len() < MOST {
            self.faults.push(fault);
        }
    }

    /// The last entry so far, and its link.
    pub fn head(&self) -> (u64, Link) {
        (self.last, self.link)
    }

    /// Entries so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What is wrong, given the last entry and link as they were noted apart from the entries.
    pub fn end(mut self, number: u64, link: &Link) -> Vec<ChainFault> {
        if self.last < number {
            self.fault(ChainFault::EndsEarly { found: self.last, expected: number });
        } else if self.link != *link {
            self.fault(ChainFault::OtherHead { number });
        }
        self.faults
    }

    /// What is wrong with the entries themselves.
    pub fn faults(self) -> Vec<ChainFault> {
        self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Row = (u64, Link, Vec<u8>);

    fn chain(entries: &[Vec<u8>]) -> (Vec<Row>, Link) {
        let mut head = START;
        let mut rows = Vec::new();
        for (entry, number) in entries.iter().zip(1..) {
            head = link(&head, number, entry);
            rows.push((number, head, entry.clone()));
        }
        (rows, head)
    }

    fn verify(rows: &[Row], number: u64, head: &Link) -> Vec<ChainFault> {
        let mut verifier = Verifier::after(0, START);
        for (number, link, entry) in rows {
            verifier.take(*number, link, entry);
        }
        verifier.end(number, head)
    }

    #[test]
    fn a_link_is_the_hash_of_what_is_said_to_be_in_it() {
        // (head -c 39 /dev/zero; printf '\001x') | sha256sum
        let link = link(&START, 1, b"x");
        assert_eq!(hex(&link), "01dd2c7811112320cd1c6f939902bcf16eb7ab90d8a4500f9516fc0abc42927a");
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[derive(Clone, Debug)]
    enum Tampering {
        /// A bit of an entry.
        Alter(usize, usize),
        /// A bit of a stored link.
        AlterLink(usize, usize),
        /// An entry and its link, made to fit one another.
        Rewrite(usize),
        Remove(usize),
        Swap(usize, usize),
        /// The contents of two entries, under their old numbers.
        Exchange(usize, usize),
        Renumber(usize),
        Repeat(usize),
    }

    fn any_tampering() -> impl Strategy<Value = Tampering> {
        let at = || 0..1000_usize;
        prop_oneof![
            (at(), at()).prop_map(|(a, b)| Tampering::Alter(a, b)),
            (at(), 0..256_usize).prop_map(|(a, b)| Tampering::AlterLink(a, b)),
            at().prop_map(Tampering::Rewrite),
            at().prop_map(Tampering::Remove),
            (at(), at()).prop_map(|(a, b)| Tampering::Swap(a, b)),
            (at(), at()).prop_map(|(a, b)| Tampering::Exchange(a, b)),
            at().prop_map(Tampering::Renumber),
            at().prop_map(Tampering::Repeat),
        ]
    }

    fn tamper(rows: &mut Vec<Row>, tampering: &Tampering) {
        let count = rows.len();
        match *tampering {
            Tampering::Alter(at, bit) => {
                let entry = &mut rows[at % count].2;
                let bit = bit % (entry.len() * 8);
                entry[bit / 8] ^= 1 << (bit % 8);
            }
            Tampering::AlterLink(at, bit) => rows[at % count].1[bit / 8] ^= 1 << (bit % 8),
            Tampering::Rewrite(at) => {
                let at = at % count;
                let before = if at == 0 { START } else { rows[at - 1].1 };
                rows[at].2.push(b'!');
                rows[at].1 = link(&before, rows[at].0, &rows[at].2);
            }
            Tampering::Remove(at) => {
                rows.remove(at % count);
            }
            Tampering::Swap(a, b) => rows.swap(a % count, b % count),
            Tampering::Exchange(a, b) => {
                let (one, other) = (rows[a % count].2.clone(), rows[b % count].2.clone());
                (rows[a % count].2, rows[b % count].2) = (other, one);
            }
            Tampering::Renumber(at) => rows[at % count].0 += 1,
            Tampering::Repeat(at) => {
                let row = rows[at % count].clone();
                rows.insert(at % count, row);
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_done_to_entries_is_found(
            entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 1..12),
            tampering in any_tampering(),
        ) {
            let (mut rows, head) = chain(&entries);
            let last = rows.len() as u64;
            prop_assert_eq!(verify(&rows, last, &head), Vec::new());
            let before = rows.clone();
            tamper(&mut rows, &tampering);
            if rows != before {
                prop_assert_ne!(verify(&rows, last, &head), Vec::new(), "{:?}", tampering);
            }
        }

        #[test]
        fn what_was_trimmed_at_the_start_is_no_fault(
            entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 1..12),
            trimmed in 0..12_usize,
        ) {
            let (rows, head) = chain(&entries);
            let gone = trimmed.min(rows.len());
            let anchor = if gone == 0 { START } else { rows[gone - 1].1 };
            let mut verifier = Verifier::after(gone as u64, anchor);
            for (number, link, entry) in &rows[gone..] {
                verifier.take(*number, link, entry);
            }
            prop_assert_eq!(verifier.end(rows.len() as u64, &head), Vec::new());
        }
    }
}
