//! A small client of the appliance's HTTP API: Basic authentication, JSON, Ironic's error bodies.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The newest API version we speak; the same the `baremetal` client sends.
const API_VERSION: &str = "1.115";

/// How long one request may take, its body included.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// A client of one appliance. Clones share nothing but the pinned certificate.
pub struct Client {
    runtime: tokio::runtime::Runtime,
    address: SocketAddr,
    authorization: String,
    tls: Arc<ClientConfig>,
}

/// The appliance answered, but not with success.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path}: {status}: {words}")]
pub struct Refusal {
    method: Method,
    path: String,
    /// The status.
    pub status: StatusCode,
    /// What the appliance says.
    pub words: String,
}

impl Client {
    /// A client for the appliance behind 127.0.0.1:`port`.
    ///
    /// # Errors
    /// When the runtime cannot be made.
    pub fn new(port: u16, user: &str, password: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(FirstSeen { provider, seen: Mutex::default() }))
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            runtime,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            authorization: format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))),
            tls: Arc::new(tls),
        })
    }

    /// Another client with the same address, name and pinned certificate.
    ///
    /// # Errors
    /// When the runtime cannot be made.
    pub fn sibling(&self) -> Result<Self> {
        Ok(Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            address: self.address,
            authorization: self.authorization.clone(),
            tls: self.tls.clone(),
        })
    }

    /// GET.
    ///
    /// # Errors
    /// No answer, or a [`Refusal`].
    pub fn get(&self, path: &str) -> Result<Value> {
        self.json(Method::GET, path, None)
    }

    /// POST.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.json(Method::POST, path, Some(body))
    }

    /// PUT.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.json(Method::PUT, path, Some(body))
    }

    /// PATCH with a JSON patch.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        self.json(Method::PATCH, path, Some(body))
    }

    /// DELETE.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn delete(&self, path: &str) -> Result<Value> {
        self.json(Method::DELETE, path, None)
    }

    /// GET of a text.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_text(&self, path: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.send(Method::GET, path, None)?).into_owned())
    }

    fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let text = self.send(method, path, body)?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&text).with_context(|| format!("the answer to {path} is no JSON"))
    }

    fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes> {
        let what = format!("{method} {path}");
        self.runtime
            .block_on(async { tokio::time::timeout(REQUEST_LIMIT, self.exchange(method, path, body)).await })
            .map_err(|_| anyhow!("{what}: no answer within {} s", REQUEST_LIMIT.as_secs()))?
            .with_context(|| format!("the appliance at {}", self.address))
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1")?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, &self.authorization)
            .header("X-OpenStack-Ironic-API-Version", API_VERSION);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let answer = sender.send_request(request.body(Full::new(bytes))?).await?;
        let status = answer.status();
        let text = answer.into_body().collect().await?.to_bytes();
        connection.abort();
        if !status.is_success() {
            return Err(Refusal { method, path: path.to_owned(), status, words: words(&text) }.into());
        }
        Ok(text)
    }
}

/// The sentence in an error body: Ironic's (JSON inside a string), or whatever text it is.
fn words(body: &[u8]) -> String {
    let fault = |value: &Value| value["faultstring"].as_str().map(str::to_owned);
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = &parsed["error_message"];
    let inner = message.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| message.clone());
    fault(&inner)
        .or_else(|| fault(&parsed))
        .or_else(|| inner.as_str().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned())
}

/// Trusts the certificate it sees first, and only that one from then on. The way there is this machine's loopback
/// and a namespace that this program made.
#[derive(Debug)]
struct FirstSeen {
    provider: Arc<CryptoProvider>,
    seen: Mutex<Option<CertificateDer<'static>>>,
}

impl ServerCertVerifier for FirstSeen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &*seen {
            Some(first) if first != end_entity => {
                Err(rustls::Error::General("the appliance shows another certificate than before".to_owned()))
            }
            Some(_) => Ok(ServerCertVerified::assertion()),
            None => {
                *seen = Some(end_entity.clone().into_owned());
                Ok(ServerCertVerified::assertion())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The error when `value` lacks a text field.
///
/// # Errors
/// As said.
pub fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    match &value[field] {
        Value::String(text) => Ok(text),
        other => bail!("the appliance's answer has {other} for {field}, not a text"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_is_found_in_every_error_body() {
        let ironic = r#"{"error_message": "{\"faultcode\": \"Client\", \"faultstring\": \"no such node\"}"}"#;
        assert_eq!(words(ironic.as_bytes()), "no such node");
        assert_eq!(words(br#"{"error_message": {"faultstring": "locked"}}"#), "locked");
        assert_eq!(words(br#"{"faultcode":"Server","faultstring":"broken"}"#), "broken");
        assert_eq!(words(br#"{"error_message": "plain"}"#), "plain");
        assert_eq!(words(b"  not JSON\n"), "not JSON");
    }
}
