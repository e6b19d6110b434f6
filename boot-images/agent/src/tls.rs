//! Whom the agent trusts and how it shows itself: the appliance is known by the hash of its certificate alone, the
//! agent makes itself a certificate per boot and hands it over in its heartbeats.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{CipherSuite, ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme};
use std::net::IpAddr;
use std::sync::Arc;

/// How the certificate of a server is judged. The clock plays no part: a machine fresh out of its box has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The certificate's SHA-256 must be this.
    Pin([u8; 32]),
    /// Any certificate: only where the operator said so.
    Anyone,
    /// No certificate at all: TLS is refused.
    Nobody,
}

/// Without AES in the processor, ChaCha20 is several times as fast, and servers follow the client's order.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    #[cfg(target_arch = "x86_64")]
    let has_aes = std::arch::is_x86_feature_detected!("aes");
    #[cfg(not(target_arch = "x86_64"))]
    let has_aes = true;
    if !has_aes {
        let is_chacha = |name: CipherSuite| format!("{name:?}").contains("CHACHA20");
        provider.cipher_suites.sort_by_key(|suite| !is_chacha(suite.suite()));
    }
    Arc::new(provider)
}

/// TLS settings for calls to the appliance.
///
/// # Errors
/// When the cryptography cannot be set up, which no machine should see.
pub fn client(trust: Trust) -> Result<Arc<ClientConfig>, Error> {
    let provider = provider();
    let verifier = Arc::new(Verifier { trust, provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.trust {
            Trust::Anyone => Ok(ServerCertVerified::assertion()),
            Trust::Pin(pin) => {
                let found = ring::digest::digest(&ring::digest::SHA256, end_entity);
                if found.as_ref() == pin {
                    return Ok(ServerCertVerified::assertion());
                }
                Err(Error::General(format!(
                    "its certificate has the SHA-256 {}, expected was {}; if the appliance got a new certificate, boot again",
                    hex::encode(found),
                    hex::encode(pin)
                )))
            }
            Trust::Nobody => Err(Error::General("the boot script carries no leasehold-pin to know it by".to_owned())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The certificate of the command service and the settings to serve with it.
pub struct Identity {
    /// Goes into heartbeats as `agent_verify_ca`.
    pub certificate_pem: String,
    /// For the service's connections.
    pub config: Arc<ServerConfig>,
}

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Making it.
    #[error("the certificate for the command service cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// Using it.
    #[error("the certificate for the command service cannot be used: {0}")]
    Use(#[from] Error),
}

/// A fresh key and a self-made certificate for `address`, valid at any time: neither side's clock is sure yet.
///
/// # Errors
/// See [`IdentityError`].
pub fn identity(address: IpAddr) -> Result<Identity, IdentityError> {
    let key = rcgen::KeyPair::generate()?;
    let mut parameters = rcgen::CertificateParams::new(vec![address.to_string()])?;
    parameters.not_before = rcgen::date_time_ymd(2000, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2099, 12, 31);
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, address.to_string());
    let certificate = parameters.self_signed(&key)?;
    let provider = provider();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    Ok(Identity { certificate_pem: certificate.pem(), config: Arc::new(config) })
}
