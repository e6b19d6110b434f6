//! Secrets at rest: sealed with a key that lies beside the database, or comes from systemd.
//!
//! A sealed value is bound to its place (a node and the name of a field): moved elsewhere it does not open. The same
//! key gives the one-time boot secrets and tickets, which are derived and therefore need not be stored. AEAD:
//! ChaCha20-Poly1305 (RFC 8439) with random nonces; derivation: HMAC-SHA256 (RFC 2104) under keys of their own.

use leasehold_domain::node::Sealed;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// Where the key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file that only we can read; it is made when it is not there.
    File(PathBuf),
    /// A systemd credential (`LoadCredentialEncrypted=`), which must be there: a file in `$CREDENTIALS_DIRECTORY`.
    Credential(PathBuf),
}

/// The key could not be read or made, or a value does not open.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("{what} the sealing key {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("the sealing key {} can be read by others (mode {mode:03o}): run chmod 600 on it", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{} is no sealing key: it must have 32 bytes, or 64 hex digits", path.display())]
    BadKey { path: PathBuf },
    #[error("a stored secret was sealed with another key: put the former sealing key back, or enter the secret again")]
    OtherKey,
    #[error("a stored secret is damaged, or was moved from where it belongs: enter it again")]
    Damaged,
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// An opened secret; wiped when it is dropped, never shown by `Debug`.
pub struct Plain(Zeroizing<Vec<u8>>);

impl Plain {
    /// The secret as text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl Deref for Plain {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plain(…)")
    }
}

/// Seals and opens secrets, and derives those that are not stored.
pub struct Sealer {
    seal: LessSafeKey,
    derive: hmac::Key,
    /// Tells a wrong key from a damaged value.
    key_id: [u8; KEY_ID],
    random: SystemRandom,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

const KEY: usize = 32;
const KEY_ID: usize = 4;
/// First byte of a sealed value: version, key id, nonce, ciphertext and tag follow each other.
const VERSION: u8 = 1;

impl Sealer {
    /// Reads the key, or makes it where the source allows that.
    pub fn open(source: &KeySource) -> Result<Sealer, SealError> {
        let key = match source {
            KeySource::File(path) => match read_key(path, true) {
                Err(SealError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    make_key(path)?;
                    read_key(path, true)?
                }
                other => other?,
            },
            // systemd sees to its access rights.
            KeySource::Credential(path) => read_key(path, false)?,
        };
        Sealer::from_key(&key)
    }

    fn from_key(key: &[u8; KEY]) -> Result<Sealer, SealError> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, key);
        let mut seal = [0; KEY];
        seal.copy_from_slice(hmac::sign(&root, b"leasehold: seal").as_ref());
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, &seal).map_err(|_| SealError::Damaged)?;
        seal.zeroize();
        let derive = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, b"leasehold: derive").as_ref());
        let mut key_id = [0; KEY_ID];
        key_id.copy_from_slice(&hmac::sign(&root, b"leasehold: key id").as_ref()[..KEY_ID]);
        Ok(Sealer { seal: LessSafeKey::new(unbound), derive, key_id, random: SystemRandom::new() })
    }

    /// Seals a secret for one place, such as `[node id, field name]`.
    pub fn seal(&self, plain: &[u8], context: &[&[u8]]) -> Result<Sealed, SealError> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| SealError::NoRandom)?;
        let mut text = plain.to_vec();
        let aad = Aad::from(joined(context));
        self.seal
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text)
            .map_err(|_| SealError::Damaged)?;
        Ok(Sealed([&[VERSION], self.key_id.as_slice(), &nonce, &text].concat()))
    }

    /// Opens what was sealed for the same place.
    pub fn open_sealed(&self, sealed: &Sealed, context: &[&[u8]]) -> Result<Plain, SealError> {
        let rest = sealed.0.strip_prefix(&[VERSION]).ok_or(SealError::Damaged)?;
        let (key_id, rest) = rest.split_at_checked(KEY_ID).ok_or(SealError::Damaged)?;
        if key_id != self.key_id {
            return Err(SealError::OtherKey);
        }
        let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Damaged)?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = self
            .seal
            .open_in_place(nonce, Aad::from(joined(context)), &mut text)
            .map_err(|_| SealError::Damaged)?
            .len();
        text.truncate(length);
        Ok(Plain(text))
    }

    /// A secret that follows from the key and a label, such as `[b"boot", job id, number of the boot]`: the same each
    /// time, unrelated to that of any other label.
    pub fn derive(&self, label: &[&[u8]]) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(hmac::sign(&self.derive, &joined(label)).as_ref());
        out
    }
}

/// The parts with their lengths, so that no two lists of parts give the same bytes.
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

fn read_key(path: &Path, must_be_private: bool) -> Result<Zeroizing<[u8; KEY]>, SealError> {
    let failed = |source| SealError::Io { what: "cannot read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if must_be_private && mode & 0o077 != 0 {
        return Err(SealError::Exposed { path: path.to_owned(), mode });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(128));
    file.take(128).read_to_end(&mut bytes).map_err(failed)?;
    let mut key = Zeroizing::new([0; KEY]);
    let hex_digits = bytes.trim_ascii_end();
    if bytes.len() == KEY {
        key.copy_from_slice(&bytes);
    } else if hex_digits.len() != 2 * KEY || hex::decode_to_slice(hex_digits, key.as_mut_slice()).is_err() {
        return Err(SealError::BadKey { path: path.to_owned() });
    }
    Ok(key)
}

/// Makes a key file that is whole or not there: written and synced under another name, then linked, which fails when
/// somebody else was faster.
fn make_key(path: &Path) -> Result<(), SealError> {
    let failed = |source| SealError::Io { what: "cannot make", path: path.to_owned(), source };
    let mut key = Zeroizing::new([0_u8; KEY]);
    SystemRandom::new().fill(key.as_mut_slice()).map_err(|_| SealError::NoRandom)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let draft = path.with_file_name(name);
    // Left by a start that was killed right here.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
    let made = file.write_all(key.as_slice()).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other.map_err(failed)?,
    }
    removed.map_err(failed)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    fn sealer(number: u8) -> Sealer {
        Sealer::from_key(&[number; KEY]).expect("a key")
    }

    #[test]
    fn the_key_is_made_once_and_private() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("sealing.key");
        let source = KeySource::File(path.clone());
        let sealed = Sealer::open(&source).expect("made").seal(b"secret", &[b"n"]).expect("sealed");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1, "no draft is left");
        let again = Sealer::open(&source).expect("read");
        assert_eq!(again.open_sealed(&sealed, &[b"n"]).expect("opened").as_str(), Some("secret"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changed");
        assert!(matches!(Sealer::open(&source), Err(SealError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn a_credential_must_be_there_and_may_be_hex() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("sealing-key");
        let source = KeySource::Credential(path.clone());
        assert!(matches!(Sealer::open(&source), Err(SealError::Io { .. })));
        fs::write(&path, format!("{}\n", "07".repeat(KEY))).expect("written");
        assert_eq!(Sealer::open(&source).expect("read").derive(&[b"x"]), sealer(7).derive(&[b"x"]));
        for bad in ["", "07", &"0g".repeat(KEY), &"07".repeat(KEY + 1)] {
            fs::write(&path, bad).expect("written");
            assert!(matches!(Sealer::open(&source), Err(SealError::BadKey { .. })), "{bad}");
        }
    }

    #[test]
    fn a_sealed_value_opens_only_where_it_belongs() {
        let sealer = sealer(1);
        let sealed = sealer.seal(b"secret", &[b"node", b"password"]).expect("sealed");
        for context in [&[b"node2".as_slice(), b"password"][..], &[b"nod", b"epassword"], &[b"node"], &[]] {
            assert!(matches!(sealer.open_sealed(&sealed, context), Err(SealError::Damaged)));
        }
        let other = super::tests::sealer(2);
        assert!(matches!(other.open_sealed(&sealed, &[b"node", b"password"]), Err(SealError::OtherKey)));
        assert_ne!(sealer.seal(b"secret", &[]).expect("sealed"), sealer.seal(b"secret", &[]).expect("sealed"));
    }

    #[test]
    fn derived_secrets_depend_on_key_and_label() {
        assert_eq!(sealer(1).derive(&[b"a", b"b"]), sealer(1).derive(&[b"a", b"b"]));
        assert_ne!(sealer(1).derive(&[b"a", b"b"]), sealer(1).derive(&[b"ab"]));
        assert_ne!(sealer(1).derive(&[b"a"]), sealer(2).derive(&[b"a"]));
    }

    proptest! {
        #[test]
        fn no_flipped_bit_goes_unnoticed(plain in proptest::collection::vec(any::<u8>(), 0..64), flip in any::<usize>()) {
            let sealer = sealer(1);
            let mut sealed = sealer.seal(&plain, &[b"c"]).expect("sealed");
            let opened = sealer.open_sealed(&sealed, &[b"c"]).expect("opened");
            prop_assert_eq!(&opened[..], &plain[..]);
            let bit = flip % (sealed.0.len() * 8);
            sealed.0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(sealer.open_sealed(&sealed, &[b"c"]).is_err());
        }

        #[test]
        fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(sealer(1).open_sealed(&Sealed(bytes), &[]).is_err());
        }
    }
}
