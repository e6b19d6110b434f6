//! What makes a BMC's certificate trustworthy: a pin, a CA, or that it was there first.

use super::Fingerprint;
use super::address::Endpoint;
use crate::bmc::BmcError;
use crate::tls::{CertificateRule, Shown, Verifier};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The TLS side of a driver. Shared by all its connections.
pub(super) struct Trust {
    connector: TlsConnector,
    name: ServerName<'static>,
    verifier: Arc<Verifier<Judge>>,
}

impl Trust {
    /// A pin goes before a CA; with neither, the first certificate seen is held to.
    pub(super) fn new(endpoint: &Endpoint, pin: Option<Fingerprint>, ca: Option<&Path>) -> Result<Self, BmcError> {
        let provider = Arc::new(ring::default_provider());
        let rule = match (pin, ca) {
            (Some(pin), _) => Rule::Pinned(Mutex::new(Some(pin))),
            (None, Some(file)) => {
                let unusable = |why: String| {
                    endpoint.unsupported(format!("its certificate is to be verified with {}: {why}", file.display()))
                };
                let listed = read_certificates(file).map_err(unusable)?;
                let mut roots = RootCertStore::empty();
                for certificate in &listed {
                    let added = roots.add(certificate.clone());
                    added.map_err(|error| unusable(format!("one of its certificates is unusable ({error})")))?;
                }
                let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build()
                    .map_err(|error| unusable(error.to_string()))?;
                Rule::Ca { webpki, listed }
            }
            (None, None) => Rule::Pinned(Mutex::new(None)),
        };
        let algorithms = provider.signature_verification_algorithms;
        let verifier = Arc::new(Verifier { rule: Judge { rule, seen: Mutex::new(None) }, algorithms });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| endpoint.unsupported(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_no_client_auth();
        // Every connection shows its certificate, so that a change is seen at once.
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from(endpoint.host.clone())
            .map_err(|_| endpoint.unsupported("its host name cannot be one"))?;
        Ok(Trust { connector: TlsConnector::from(Arc::new(config)), name, verifier })
    }

    /// The fingerprint of the last certificate seen.
    pub(super) fn seen(&self) -> Option<Fingerprint> {
        *lock(&self.verifier.rule.seen)
    }

    /// The handshake. The caller gives it its time.
    pub(super) async fn handshake(
        &self,
        endpoint: &Endpoint,
        tcp: TcpStream,
    ) -> Result<TlsStream<TcpStream>, BmcError> {
        match self.connector.connect(self.name.clone(), tcp).await {
            Ok(stream) => {
                if let (Rule::Pinned(pin), Some(seen)) = (&self.verifier.rule.rule, self.seen()) {
                    lock(pin).get_or_insert(seen);
                }
                Ok(stream)
            }
            Err(error) => Err(self.explain(endpoint, &error)),
        }
    }

    fn explain(&self, endpoint: &Endpoint, error: &std::io::Error) -> BmcError {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match (tls, &self.verifier.rule.rule) {
            (
                Some(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
                Rule::Pinned(pin),
            ) => {
                let spelled = |print: Option<Fingerprint>| print.map(hex::encode).unwrap_or_default();
                let pinned = spelled(*lock(pin));
                BmcError::Certificate { address: endpoint.to_string(), pinned, got: spelled(self.seen()) }
            }
            (Some(rustls::Error::InvalidCertificate(reason)), _) => endpoint.protocol(format!(
                "its certificate cannot be verified ({reason}): pin it, or name the CA that issued it"
            )),
            (Some(rustls::Error::PeerIncompatible(reason)), _) => endpoint.protocol(format!(
                "it has no TLS in common with us ({reason:?}): TLS 1.2 is the least, update its firmware"
            )),
            (Some(rustls::Error::InvalidMessage(_)), _) => {
                endpoint.protocol("it does not speak TLS on this port: check the port, or use http://")
            }
            (Some(other), _) => endpoint.protocol(format!("the TLS handshake failed: {other}")),
            (None, _) => endpoint.unreachable(format!("the connection ended during the TLS handshake: {error}")),
        }
    }
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| format!("it cannot be read ({error})"))?;
    let certificates: Vec<_> = certificates
        .collect::<Result<_, _>>()
        .map_err(|error| format!("it is no PEM file of certificates ({error})"))?;
    if certificates.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(certificates) }
}

#[derive(Debug)]
enum Rule {
    /// This certificate and no other; none yet before the first handshake of a driver without a pin.
    Pinned(Mutex<Option<Fingerprint>>),
    /// One that these CAs issued for the BMC's name, or one that is listed itself, as self-signed ones are.
    Ca { webpki: Arc<WebPkiServerVerifier>, listed: Vec<CertificateDer<'static>> },
}

/// The rule of a driver, and the last certificate that it was asked about.
#[derive(Debug)]
struct Judge {
    rule: Rule,
    seen: Mutex<Option<Fingerprint>>,
}

impl CertificateRule for Judge {
    fn check(&self, shown: &Shown<'_>) -> Result<(), rustls::Error> {
        let print: Fingerprint = Sha256::digest(shown.end_entity.as_ref()).into();
        *lock(&self.seen) = Some(print);
        match &self.rule {
            Rule::Pinned(pin) => match *lock(pin) {
                Some(pinned) if pinned != print => {
                    Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
                }
                _ => Ok(()),
            },
            Rule::Ca { listed, .. } if listed.iter().any(|listed| listed == shown.end_entity) => Ok(()),
            Rule::Ca { webpki, .. } => {
                let Shown { end_entity, intermediates, server_name, ocsp_response, now } = *shown;
                webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).map(|_| ())
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
