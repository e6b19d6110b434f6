//! What the first start makes, and later ones find: folders, TLS certificate, administrator with a one-time password.

use anyhow::Context;
use jiff::Timestamp;
use leasehold_api::auth;
use leasehold_domain::id::UserId;
use leasehold_domain::identity::User;
use leasehold_store::Store;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// The name of the first user.
pub(crate) const ADMINISTRATOR: &str = "admin";

/// The file in which the one-time password stands until its first change.
pub(crate) fn password_file(state: &Path) -> PathBuf {
    state.join("admin-password")
}

/// Makes the state folder, for us alone.
pub(crate) fn make_folder(state: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(state);
    made.with_context(|| format!("the state folder {} cannot be made", state.display()))?;
    // One that was there before may be open to others.
    let closed = fs::set_permissions(state, fs::Permissions::from_mode(0o700));
    closed.with_context(|| format!("the state folder {} cannot be closed to others", state.display()))
}

/// Writes a file that only we can read: complete and durable, or not at all.
pub(crate) fn write_private(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    let written = || -> std::io::Result<()> {
        match fs::remove_file(&part) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        // A bare file name has an empty parent: the folder we are in.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(folder)?.sync_all()
    };
    written().with_context(|| format!("{} cannot be written", path.display()))
}

/// The box's certificate as TLS needs it.
pub(crate) struct Identity {
    pub(crate) tls: Arc<rustls::ServerConfig>,
    /// SHA-256 of the certificate (hex): what agents pin.
    pub(crate) pin: String,
}

/// Reads the certificate, or makes one for these names and addresses.
pub(crate) fn identity(
    state: &Path,
    given: Option<(&Path, &Path)>,
    names: impl Fn() -> Vec<String>,
) -> anyhow::Result<Identity> {
    let (certificate, key) = match given {
        Some((certificate, key)) => (certificate.to_owned(), key.to_owned()),
        None => (state.join("tls-certificate.pem"), state.join("tls-key.pem")),
    };
    if given.is_none() && !(certificate.exists() && key.exists()) {
        let made = make_certificate(names())?;
        // The key first: a certificate without its key would be taken for complete.
        write_private(&key, made.1.as_bytes())?;
        write_private(&certificate, made.0.as_bytes())?;
    }
    let unreadable = || format!("the certificate {} or its key cannot be used", certificate.display());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&certificate)
        .and_then(|certificates| certificates.collect())
        .with_context(unreadable)?;
    let first = chain.first().with_context(unreadable)?;
    let pin = hex::encode(Sha256::digest(first.as_ref()));
    let key = PrivateKeyDer::from_pem_file(&key).with_context(unreadable)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(unreadable)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Identity { tls: Arc::new(tls), pin })
}

/// Certificate and key in PEM.
fn make_certificate(names: Vec<String>) -> anyhow::Result<(String, String)> {
    let key = rcgen::KeyPair::generate()?;
    let mut parameters = rcgen::CertificateParams::new(names)?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "Leasehold appliance");
    let certificate = parameters.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Makes the default domain, the built-in roles, and the administrator when there is no user yet. The password stands in
/// its file before the user exists, so that a crash between the two leaves a box that can be entered.
pub(crate) async fn administrator(store: &Store, state: &Path) -> anyhow::Result<()> {
    let view = store.view();
    let first = if view.identity.users().next().is_some() {
        // A crash between the change of the password and the removal of its file leaves one that opens nothing.
        if view.identity.users().all(|user| !user.one_time) {
            fs::remove_file(password_file(state)).ok();
        }
        None
    } else {
        let password = random_password()?;
        write_private(&password_file(state), format!("{password}\n").as_bytes())?;
        let password_hash = tokio::task::spawn_blocking(move || auth::hash(&password)).await??;
        let user = User::new(UserId(Uuid::new_v4()), ADMINISTRATOR, password_hash, Timestamp::now());
        Some(User { one_time: true, ..user })
    };
    let is_new = first.is_some();
    leasehold_api::identity::bootstrap(store, first).await?;
    if is_new {
        tracing::info!(file = %password_file(state).display(), "the administrator's one-time password was made");
    }
    Ok(())
}

/// 24 characters of 32 that are hard to confuse: 120 bits.
fn random_password() -> anyhow::Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 24];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow::anyhow!("the kernel gives no random bytes"))?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_finds_the_same_certificate_and_only_we_can_read_the_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = || vec!["box.example".to_owned(), "10.0.0.1".to_owned()];
        let first = identity(folder.path(), None, names).expect("made");
        let second = identity(folder.path(), None, || panic!("made again")).expect("found");
        assert_eq!(first.pin, second.pin);
        let mode = fs::metadata(folder.path().join("tls-key.pem")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn passwords_differ_and_are_long() {
        let (one, two) = (random_password().expect("made"), random_password().expect("made"));
        assert!(one != two && one.len() == 24);
    }
}
