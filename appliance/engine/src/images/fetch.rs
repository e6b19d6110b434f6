//! Fetches a file by `http://`, `https://` or `file://` into the data folder, hashing it on the way.

use super::ImageError;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use leasehold_domain::image::HashAlgorithm;
use sha2::{Digest, Sha256, Sha512};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server that sends nothing for so long has stopped.
const SILENCE: Duration = Duration::from_secs(30);
/// Redirects that are followed.
const REDIRECTS: usize = 5;

type Https = hyper_rustls::HttpsConnector<HttpConnector>;

/// Fetches files.
pub(super) struct Fetcher {
    client: Client<Https, Empty<Bytes>>,
    import_folder: Option<PathBuf>,
}

/// The digest of what passes, in whichever algorithm was asked for.
enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    fn new(algorithm: HashAlgorithm) -> Hasher {
        match algorithm {
            HashAlgorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            HashAlgorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn hex(self) -> String {
        match self {
            Hasher::Sha256(hasher) => hex::encode(hasher.finalize()),
            Hasher::Sha512(hasher) => hex::encode(hasher.finalize()),
        }
    }
}

/// Where the bytes go: a file, a digest, and a limit.
struct Sink {
    file: tokio::fs::File,
    hasher: Hasher,
    taken: u64,
    limit: u64,
}

impl Sink {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.taken += bytes.len() as u64;
        if self.taken > self.limit {
            return Err(ImageError::NoSpace { needed: self.taken >> 20, free: self.limit >> 20 });
        }
        self.hasher.update(bytes);
        Ok(self.file.write_all(bytes).await?)
    }
}

impl Fetcher {
    pub(super) fn new(import_folder: Option<PathBuf>) -> Fetcher {
        let mut roots = rustls::RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for certificate in found.certs {
            if let Err(error) = roots.add(certificate) {
                tracing::debug!(%error, "one of the system's certificates is not usable");
            }
        }
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let connector = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        Fetcher { client: Client::builder(TokioExecutor::new()).build(connector.build()), import_folder }
    }

    /// Fetches `url` into `target`, at most `limit` bytes; gives the digest in hex.
    pub(super) async fn fetch(
        &self,
        url: &str,
        target: &Path,
        algorithm: HashAlgorithm,
        limit: u64,
    ) -> Result<String, ImageError> {
        let file = tokio::fs::File::create(target).await?;
        let mut sink = Sink { file, hasher: Hasher::new(algorithm), taken: 0, limit };
        match url.strip_prefix("file://") {
            Some(path) => self.copy(url, Path::new(path), &mut sink).await?,
            None => self.download(url, &mut sink).await?,
        }
        sink.file.flush().await?;
        Ok(sink.hasher.hex())
    }

    async fn copy(&self, url: &str, path: &Path, sink: &mut Sink) -> Result<(), ImageError> {
        let failed = |why: String| ImageError::Fetch { url: url.to_owned(), why };
        let folder = self.import_folder.as_ref().ok_or_else(|| {
            failed("no import folder is configured ([images] import_folder): give an http URL".into())
        })?;
        let real = tokio::fs::canonicalize(path).await.map_err(|error| failed(error.to_string()))?;
        let folder = tokio::fs::canonicalize(folder).await.map_err(|error| failed(error.to_string()))?;
        if !real.starts_with(&folder) {
            return Err(failed("only files below the import folder of the appliance can be imported".into()));
        }
        let mut file = tokio::fs::File::open(&real).await.map_err(|error| failed(error.to_string()))?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = file.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            sink.take(&buffer[..count]).await?;
        }
    }

    async fn download(&self, url: &str, sink: &mut Sink) -> Result<(), ImageError> {
        let failed = |why: String| ImageError::Fetch { url: url.to_owned(), why };
        let mut place: Uri = url.parse().map_err(|error| failed(format!("it is no URL: {error}")))?;
        for _ in 0..=REDIRECTS {
            if !matches!(place.scheme_str(), Some("http" | "https")) {
                return Err(failed("only http, https and file URLs can be fetched".into()));
            }
            let request = Request::get(place.clone())
                .header(header::USER_AGENT, concat!("leasehold/", env!("CARGO_PKG_VERSION")))
                .body(Empty::new())
                .map_err(|error| failed(error.to_string()))?;
            let asked = tokio::time::timeout(SILENCE, self.client.request(request)).await;
            let answer = asked.map_err(|_| failed(silence()))?.map_err(|error| failed(with_causes(&error)))?;
            if answer.status().is_redirection() {
                let to = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
                place =
                    resolve(&place, to.unwrap_or_default()).ok_or_else(|| failed("a redirect to nowhere".into()))?;
                continue;
            }
            if answer.status() != StatusCode::OK {
                return Err(failed(format!("the server answers {}", answer.status())));
            }
            let mut body = answer.into_body();
            loop {
                let next = tokio::time::timeout(SILENCE, body.frame()).await.map_err(|_| failed(silence()))?;
                let Some(frame) = next else { return Ok(()) };
                let frame = frame.map_err(|error| failed(format!("it stopped half-way: {}", with_causes(&error))))?;
                if let Ok(bytes) = frame.into_data() {
                    sink.take(&bytes).await?;
                }
            }
        }
        Err(failed(format!("more than {REDIRECTS} redirects")))
    }
}

fn silence() -> String {
    format!("the server sent nothing for {} s", SILENCE.as_secs())
}

/// hyper's own texts say little; the reason is among the causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// The target of a redirect: absolute, or a path on the same server.
fn resolve(from: &Uri, to: &str) -> Option<Uri> {
    if to.starts_with('/') {
        let mut parts = from.clone().into_parts();
        parts.path_and_query = Some(to.parse().ok()?);
        return Uri::from_parts(parts).ok();
    }
    to.parse().ok().filter(|uri: &Uri| uri.host().is_some())
}
