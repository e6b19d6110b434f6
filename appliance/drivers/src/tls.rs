//! TLS to a peer that is known by one certificate: deploy agents, which make their own and hand it over.
//!
//! In: the certificate (PEM). Out: a connector that accepts this certificate and no other. That its owner is at the
//! other end is proved by the handshake's signature; names, dates and issuers do not count.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// The certificate or name that a peer gave cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("its certificate is not usable: {0}")]
    Certificate(String),
    #[error("'{0}' is no host name")]
    Name(String),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// A connector for the peer with this certificate.
pub fn connector_for_certificate(pem: &str) -> Result<TlsConnector, TlsError> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes());
    let certificate = certificate.map_err(|error| TlsError::Certificate(error.to_string()))?;
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { rule: OnlyThis(certificate), algorithms }))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A host as TLS names it.
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))
}

/// Decides whether a certificate is a peer's. A rule need not prove that its owner is at the other end: [`Verifier`]
/// verifies the handshake's signature under every rule.
pub(crate) trait CertificateRule: std::fmt::Debug + Send + Sync {
    /// `Ok` for the peer's certificate, else why it is none.
    fn check(&self, shown: &Shown<'_>) -> Result<(), rustls::Error>;
}

/// What a handshake shows a rule.
pub(crate) struct Shown<'a> {
    pub(crate) end_entity: &'a CertificateDer<'a>,
    pub(crate) intermediates: &'a [CertificateDer<'a>],
    pub(crate) server_name: &'a ServerName<'a>,
    pub(crate) ocsp_response: &'a [u8],
    pub(crate) now: UnixTime,
}

/// A rule as rustls takes it.
#[derive(Debug)]
pub(crate) struct Verifier<R> {
    pub(crate) rule: R,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl<R: CertificateRule> ServerCertVerifier for Verifier<R> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = Shown { end_entity, intermediates, server_name, ocsp_response, now };
        self.rule.check(&shown).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// This certificate and no other.
#[derive(Debug)]
struct OnlyThis(CertificateDer<'static>);

impl CertificateRule for OnlyThis {
    fn check(&self, shown: &Shown<'_>) -> Result<(), rustls::Error> {
        if *shown.end_entity == self.0 {
            return Ok(());
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }
}
