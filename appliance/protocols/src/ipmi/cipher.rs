//! Cipher suites of RMCP+: which algorithms they name, the keys they derive, and the pure functions of both.
//!
//! Suite 17 (HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128) is what BMCs should speak, suite 3 (the same with SHA-1) what
//! old ones do. Suites without integrity or confidentiality are not offered: a power command must not be forgeable.
//! Sections 13.28 to 13.32 of the specification.

use aes::Aes128;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::NoPadding};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

use super::reader::Malformed;

/// Bytes of an AES block, and of the initialization vector before each encrypted payload.
pub const BLOCK: usize = 16;

/// A cipher suite this implementation speaks (section 22.15.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CipherSuite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128.
    Suite3,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Suite17,
}

impl CipherSuite {
    /// Every suite, the best first.
    pub const ALL: [CipherSuite; 2] = [CipherSuite::Suite17, CipherSuite::Suite3];

    /// The number by which the specification and `ipmitool -C` know the suite.
    pub fn id(self) -> u8 {
        match self {
            CipherSuite::Suite3 => 3,
            CipherSuite::Suite17 => 17,
        }
    }

    /// The suite with this number, if it is one of ours.
    pub fn from_id(id: u8) -> Option<CipherSuite> {
        Self::ALL.into_iter().find(|suite| suite.id() == id)
    }

    /// Authentication algorithm number (table 13-17).
    pub fn authentication(self) -> u8 {
        match self {
            CipherSuite::Suite3 => 1,
            CipherSuite::Suite17 => 3,
        }
    }

    /// Integrity algorithm number (table 13-18).
    pub fn integrity(self) -> u8 {
        match self {
            CipherSuite::Suite3 => 1,
            CipherSuite::Suite17 => 4,
        }
    }

    /// Confidentiality algorithm number (table 13-19): AES-CBC-128 in both.
    pub fn confidentiality(self) -> u8 {
        1
    }

    /// The suite with exactly these algorithms.
    pub fn from_algorithms(authentication: u8, integrity: u8, confidentiality: u8) -> Option<CipherSuite> {
        Self::ALL.into_iter().find(|suite| {
            (suite.authentication(), suite.integrity(), suite.confidentiality())
                == (authentication, integrity, confidentiality)
        })
    }

    /// Bytes of the whole HMAC: RAKP 2 and 3 carry it untruncated.
    pub fn digest_len(self) -> usize {
        match self {
            CipherSuite::Suite3 => 20,
            CipherSuite::Suite17 => 32,
        }
    }

    /// Bytes of the truncated HMAC: RAKP 4's check value and the trailer of every packet of a session.
    pub fn truncated_len(self) -> usize {
        match self {
            CipherSuite::Suite3 => 12,
            CipherSuite::Suite17 => 16,
        }
    }

    /// HMAC over the concatenation of `parts`.
    pub fn mac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            CipherSuite::Suite3 => hmac::<Hmac<Sha1>>(key, parts).finalize().into_bytes().to_vec(),
            CipherSuite::Suite17 => hmac::<Hmac<Sha256>>(key, parts).finalize().into_bytes().to_vec(),
        }
    }

    /// Whether `code` is the HMAC over `parts`, cut to `len` bytes. Takes the same time wherever they differ.
    pub fn verify(self, key: &[u8], parts: &[&[u8]], code: &[u8], len: usize) -> bool {
        code.len() == len
            && match self {
                CipherSuite::Suite3 => hmac::<Hmac<Sha1>>(key, parts).verify_truncated_left(code).is_ok(),
                CipherSuite::Suite17 => hmac::<Hmac<Sha256>>(key, parts).verify_truncated_left(code).is_ok(),
            }
    }
}

impl std::fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.id())
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn hmac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> M {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of every length");
    for part in parts {
        mac.update(part);
    }
    mac
}

/// The keys of one session (section 13.31 and 13.32), derived from its session integrity key.
#[derive(Clone)]
pub struct Keys {
    suite: CipherSuite,
    sik: Vec<u8>,
    k1: Vec<u8>,
    k2: [u8; BLOCK],
}

impl Keys {
    pub fn derive(suite: CipherSuite, sik: Vec<u8>) -> Keys {
        let k1 = suite.mac(&sik, &[&[1; 20]]);
        let long = suite.mac(&sik, &[&[2; 20]]);
        let mut k2 = [0; BLOCK];
        for (to, from) in k2.iter_mut().zip(long) {
            *to = from;
        }
        Keys { suite, sik, k1, k2 }
    }

    pub fn suite(&self) -> CipherSuite {
        self.suite
    }

    /// The session integrity key, which RAKP 4 proves knowledge of.
    pub fn sik(&self) -> &[u8] {
        &self.sik
    }

    /// The truncated HMAC that ends a packet.
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let mut code = self.suite.mac(&self.k1, &[bytes]);
        code.truncate(self.suite.truncated_len());
        code
    }

    /// Whether `code` ends a packet of these `bytes`.
    pub fn check(&self, bytes: &[u8], code: &[u8]) -> bool {
        self.suite.verify(&self.k1, &[bytes], code, self.suite.truncated_len())
    }

    /// The confidentiality header, the payload and the pad 1, 2, 3, …, encrypted (section 13.29).
    pub fn encrypt(&self, payload: &[u8], iv: [u8; BLOCK]) -> Vec<u8> {
        let pad = (BLOCK - (payload.len() + 1) % BLOCK) % BLOCK;
        let mut plain = Vec::with_capacity(payload.len() + pad + 1);
        plain.extend_from_slice(payload);
        plain.extend(1..=pad as u8);
        plain.push(pad as u8);
        let len = plain.len();
        let sealed =
            cbc::Encryptor::<Aes128>::new(&self.k2.into(), &iv.into()).encrypt_padded::<NoPadding>(&mut plain, len);
        let mut out = iv.to_vec();
        // The length was made a multiple of the block just above, so this is never an error.
        out.extend_from_slice(sealed.unwrap_or_default());
        out
    }

    /// The payload of what [`Keys::encrypt`] made. Only for bytes whose authentication code was right.
    pub fn decrypt(&self, sealed: &[u8]) -> Result<Vec<u8>, Malformed> {
        let (iv, body) = sealed.split_first_chunk::<BLOCK>().ok_or(Malformed("the encrypted payload is cut short"))?;
        if body.is_empty() {
            return Err(Malformed("the encrypted payload is empty"));
        }
        let mut plain = body.to_vec();
        cbc::Decryptor::<Aes128>::new(&self.k2.into(), iv.into())
            .decrypt_padded::<NoPadding>(&mut plain)
            .map_err(|_| Malformed("the encrypted payload is not a whole number of blocks"))?;
        let pad = usize::from(plain.pop().unwrap_or(0));
        let end = plain.len().checked_sub(pad).filter(|_| pad < BLOCK).ok_or(Malformed("the padding is wrong"))?;
        // Some BMCs fill the pad with other bytes than 1, 2, 3, …; the code over the packet has been checked already.
        plain.truncate(end);
        Ok(plain)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys(suite {})", self.suite)
    }
}

/// Unpredictable bytes drawn from one seed: the caller reads 32 bytes from the operating system, everything else
/// (session ids, nonces, initialization vectors) follows from them, so that this crate needs no source of randomness.
pub struct Entropy {
    seed: [u8; 32],
    drawn: u64,
}

impl Entropy {
    pub fn new(seed: [u8; 32]) -> Entropy {
        Entropy { seed, drawn: 0 }
    }

    /// The next block, at most 32 bytes.
    pub fn draw<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= 32, "one block of HMAC-SHA256") };
        let block = CipherSuite::Suite17.mac(&self.seed, &[&self.drawn.to_le_bytes()]);
        self.drawn = self.drawn.wrapping_add(1);
        let mut out = [0; N];
        for (to, from) in out.iter_mut().zip(block) {
            *to = from;
        }
        out
    }
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entropy({} drawn)", self.drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hmacs_are_those_of_the_rfcs() {
        // RFC 2202 case 2 and RFC 4231 case 2.
        let parts: &[&[u8]] = &[b"what do ya want ", b"for nothing?"];
        let sha1 = CipherSuite::Suite3.mac(b"Jefe", parts);
        assert_eq!(sha1[..4], [0xef, 0xfc, 0xdf, 0x6a]);
        assert_eq!(sha1.len(), 20);
        let sha256 = CipherSuite::Suite17.mac(b"Jefe", parts);
        assert_eq!(sha256[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert_eq!(sha256.len(), 32);
        assert!(CipherSuite::Suite17.verify(b"Jefe", parts, &sha256[..16], 16));
        assert!(!CipherSuite::Suite17.verify(b"Jefe", parts, &sha256[..15], 16), "a shorter code must not pass");
        assert!(!CipherSuite::Suite17.verify(b"Jefe", parts, b"", 16));
    }

    #[test]
    fn suites_are_known_by_number_and_by_algorithms() {
        for suite in CipherSuite::ALL {
            assert_eq!(CipherSuite::from_id(suite.id()), Some(suite));
            let found =
                CipherSuite::from_algorithms(suite.authentication(), suite.integrity(), suite.confidentiality());
            assert_eq!(found, Some(suite));
        }
        assert_eq!(CipherSuite::from_id(0), None);
        assert_eq!(CipherSuite::from_algorithms(1, 0, 0), None);
    }

    #[test]
    fn entropy_repeats_only_with_its_seed() {
        let mut a = Entropy::new([7; 32]);
        let mut b = Entropy::new([7; 32]);
        let first: [u8; 16] = a.draw();
        assert_eq!(first, b.draw());
        assert_ne!(first, a.draw());
        assert_ne!(first, Entropy::new([8; 32]).draw());
    }

    proptest! {
        #[test]
        fn what_is_encrypted_comes_back(payload: Vec<u8>, iv: [u8; 16], sik: [u8; 32]) {
            for suite in CipherSuite::ALL {
                let keys = Keys::derive(suite, sik.to_vec());
                let sealed = keys.encrypt(&payload, iv);
                prop_assert_eq!(sealed.len() % BLOCK, 0);
                prop_assert_eq!(keys.decrypt(&sealed).unwrap(), payload.clone());
                let code = keys.sign(&sealed);
                prop_assert!(keys.check(&sealed, &code));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, sik: [u8; 20]) {
            let _ = Keys::derive(CipherSuite::Suite3, sik.to_vec()).decrypt(&bytes);
        }
    }
}
