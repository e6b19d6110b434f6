//! One end of an established session: seals what goes out, opens what comes in, refuses what is forged, foreign,
//! replayed or older than the window (sections 6.12.13 and 13.28). The BMC's end is the same with the ids swapped.

use super::cipher::Keys;
use super::packet::{self, Plus};
use super::reader::Malformed;

/// How many sequence numbers behind the newest are still taken, each once.
const WINDOW: u32 = 32;

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("it belongs to another session")]
    Foreign,
    #[error("it carries no authentication code")]
    Unprotected,
    #[error("its authentication code is wrong")]
    Forged,
    #[error("its sequence number was seen before or is too old")]
    Replayed,
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// The keys, ids and sequence numbers of one end.
#[derive(Debug, Clone)]
pub struct SecureEnd {
    keys: Keys,
    local: u32,
    remote: u32,
    sent: u32,
    window: Window,
}

impl SecureEnd {
    /// `local` is the id that packets to us carry, `remote` the one that packets to the peer carry.
    pub fn new(keys: Keys, local: u32, remote: u32) -> SecureEnd {
        SecureEnd { keys, local, remote, sent: 0, window: Window::default() }
    }

    pub fn remote(&self) -> u32 {
        self.remote
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// A datagram for the peer; `None` when the sequence numbers are used up and the session must end.
    pub fn seal(&mut self, kind: u8, payload: &[u8], iv: [u8; 16]) -> Option<Vec<u8>> {
        self.sent = self.sent.checked_add(1)?;
        let sealed = self.keys.encrypt(payload, iv);
        Some(packet::protected(kind, self.remote, self.sent, &sealed, |covered| self.keys.sign(covered)))
    }

    /// The payload of a packet that the peer has made in this session, once.
    ///
    /// # Errors
    /// [`Rejected`]; nothing of the packet has had any effect then.
    pub fn open(&mut self, plus: &Plus<'_>, datagram: &[u8]) -> Result<Vec<u8>, Rejected> {
        if plus.session != self.local {
            return Err(Rejected::Foreign);
        }
        if !plus.authenticated {
            return Err(Rejected::Unprotected);
        }
        let session_part = datagram.get(4..).unwrap_or_default();
        let len = self.keys.suite().truncated_len();
        let (covered, code) = plus.split_trailer(session_part, len)?;
        if !self.keys.check(covered, code) {
            return Err(Rejected::Forged);
        }
        if !self.window.admit(plus.sequence) {
            return Err(Rejected::Replayed);
        }
        if plus.encrypted { Ok(self.keys.decrypt(plus.payload)?) } else { Ok(plus.payload.to_vec()) }
    }
}

/// Which of the last sequence numbers have come. A jump forward is taken, however far: its code proves that the peer
/// sent it, and refusing it would end the session for a burst of lost packets.
#[derive(Debug, Clone, Default)]
struct Window {
    newest: u32,
    /// Bit n: `newest - n` has come.
    seen: u32,
}

impl Window {
    fn admit(&mut self, sequence: u32) -> bool {
        if sequence == 0 {
            return false;
        }
        if sequence > self.newest {
            let step = sequence - self.newest;
            self.seen = if step < WINDOW { self.seen << step } else { 0 } | 1;
            self.newest = sequence;
            return true;
        }
        let age = self.newest - sequence;
        if age >= WINDOW || self.seen >> age & 1 == 1 {
            return false;
        }
        self.seen |= 1 << age;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::cipher::CipherSuite;
    use super::super::packet::Packet;
    use super::*;
    use proptest::prelude::*;

    fn ends(suite: CipherSuite) -> (SecureEnd, SecureEnd) {
        let keys = Keys::derive(suite, vec![9; suite.digest_len()]);
        (SecureEnd::new(keys.clone(), 0x11, 0x22), SecureEnd::new(keys, 0x22, 0x11))
    }

    fn open(end: &mut SecureEnd, datagram: &[u8]) -> Result<Vec<u8>, Rejected> {
        match Packet::parse(datagram)? {
            Packet::Plus(plus) => end.open(&plus, datagram),
            _ => Err(Rejected::Foreign),
        }
    }

    #[test]
    fn a_packet_is_taken_once_by_the_other_end_only() {
        for suite in CipherSuite::ALL {
            let (mut console, mut bmc) = ends(suite);
            let sealed = console.seal(0, b"power", [3; 16]).unwrap();
            assert_eq!(open(&mut console, &sealed), Err(Rejected::Foreign));
            assert_eq!(open(&mut bmc, &sealed).unwrap(), b"power");
            assert_eq!(open(&mut bmc, &sealed), Err(Rejected::Replayed));
        }
    }

    #[test]
    fn sequence_numbers_run_out_instead_of_starting_again() {
        let (mut console, _) = ends(CipherSuite::Suite17);
        console.sent = u32::MAX - 1;
        assert!(console.seal(0, b"", [0; 16]).is_some());
        assert!(console.seal(0, b"", [0; 16]).is_none());
    }

    #[test]
    fn the_window_takes_late_packets_once() {
        let mut window = Window::default();
        assert!(!window.admit(0));
        assert!(window.admit(5) && !window.admit(5));
        assert!(window.admit(3) && !window.admit(3));
        assert!(window.admit(100) && window.admit(69) && !window.admit(68));
        assert!(!window.admit(5), "long past");
        assert!(window.admit(u32::MAX) && window.admit(u32::MAX - 31) && !window.admit(100));
    }

    proptest! {
        /// Whatever is changed, cut or added anywhere: the other end takes nothing of it.
        #[test]
        fn changed_packets_are_never_taken(
            seventeen: bool,
            payload in proptest::collection::vec(any::<u8>(), 0..60),
            at: prop::sample::Index,
            flip in 1u8..=255,
            cut: prop::sample::Index,
            extra in proptest::collection::vec(any::<u8>(), 1..20),
        ) {
            let suite = if seventeen { CipherSuite::Suite17 } else { CipherSuite::Suite3 };
            let (mut console, mut bmc) = ends(suite);
            let sealed = console.seal(0, &payload, [3; 16]).unwrap();

            let mut changed = sealed.clone();
            let position = at.index(changed.len());
            changed[position] ^= flip;
            // The second byte of RMCP is reserved and means nothing, and no code covers it.
            prop_assert_eq!(open(&mut bmc, &changed).is_ok(), position == 1);
            let (_, mut bmc) = ends(suite);

            prop_assert!(open(&mut bmc, &sealed[..cut.index(sealed.len())]).is_err());
            let mut longer = sealed.clone();
            longer.extend(extra);
            prop_assert!(open(&mut bmc, &longer).is_err());
            prop_assert_eq!(open(&mut bmc, &sealed).unwrap(), payload, "and after all that the true one is");
        }

        #[test]
        fn each_number_is_admitted_at_most_once(numbers in proptest::collection::vec(0u32..80, 0..200)) {
            let mut window = Window::default();
            let mut seen = std::collections::HashSet::new();
            for number in numbers {
                if window.admit(number) {
                    prop_assert!(seen.insert(number));
                }
            }
        }
    }
}
