//! What makes the certificate of a database trustworthy, and our own, by which it knows us.

use crate::tls::{CertificateRule, Shown, Verifier, server_name};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// Which certificate the database shows. There is no trust on first use: whoever sets ports decides who hears whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The one with this SHA-256. `ovs-pki` makes certificates without a host name, which no CA rule can take.
    Pinned([u8; 32]),
    /// One for the address's host name, issued by a CA in this PEM file.
    Ca(PathBuf),
}

/// Our own certificate and key, PEM files. Open vSwitch asks for one unless it runs with `--ca-cert=none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The TLS side of a driver.
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
}

impl Tls {
    /// An error is in words that follow the switch's name.
    pub(super) fn new(host: &str, trust: &Trust, own: Option<&ClientCertificate>) -> Result<Tls, String> {
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let rule = match trust {
            Trust::Pinned(pin) => Rule::Pinned(*pin),
            Trust::Ca(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|error| unusable(file, &error.to_string()))?;
                }
                let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
                Rule::Ca(verifier.build().map_err(|error| unusable(file, &error.to_string()))?)
            }
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { rule, algorithms }));
        let config = match own {
            None => config.with_no_client_auth(),
            Some(own) => {
                let key =
                    PrivateKeyDer::from_pem_file(&own.key).map_err(|error| unusable(&own.key, &error.to_string()))?;
                config
                    .with_client_auth_cert(certificates(&own.certificate)?, key)
                    .map_err(|error| unusable(&own.certificate, &error.to_string()))?
            }
        };
        let name = server_name(host).map_err(|error| error.to_string())?;
        Ok(Tls { connector: TlsConnector::from(Arc::new(config)), name })
    }
}

fn unusable(file: &Path, why: &str) -> String {
    format!("{} is not usable: {why}", file.display())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_file_iter(file).map_err(|error| unusable(file, &error.to_string()))?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|error| unusable(file, &error.to_string()))?;
    if all.is_empty() { Err(unusable(file, "there is no certificate in it")) } else { Ok(all) }
}

#[derive(Debug)]
enum Rule {
    Pinned([u8; 32]),
    Ca(Arc<WebPkiServerVerifier>),
}

impl CertificateRule for Rule {
    fn check(&self, shown: &Shown<'_>) -> Result<(), rustls::Error> {
        match self {
            Rule::Pinned(pin) if *pin == <[u8; 32]>::from(Sha256::digest(shown.end_entity.as_ref())) => Ok(()),
            Rule::Pinned(_) => Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
            Rule::Ca(webpki) => {
                let Shown { end_entity, intermediates, server_name, ocsp_response, now } = *shown;
                webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).map(|_| ())
            }
        }
    }
}

/// Why a handshake failed: whether it is the certificate, and words that follow the switch's name.
pub(super) fn explain(error: &std::io::Error) -> (bool, String) {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
            let why = "it shows another certificate than the pinned one: if it was replaced on purpose, change the pin; \
                       otherwise something else answers at this address";
            (true, why.to_owned())
        }
        Some(rustls::Error::InvalidCertificate(reason)) => {
            (true, format!("its certificate cannot be verified ({reason}): pin it, or name the CA that issued it"))
        }
        Some(rustls::Error::InvalidMessage(_)) => (false, "it does not speak TLS on this port".to_owned()),
        _ => (false, format!("the TLS handshake failed: {error}")),
    }
}
