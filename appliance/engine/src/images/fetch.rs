//! Fetches a file by `http://`, `https://` or `file://` into the data folder, hashing it on the way.

use super::ImageError;
use super::guard::Guard;
use super::sink::{CHUNK, Sink};
use super::url::{credentials, resolve, shown};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

/// Redirects that are followed.
const REDIRECTS: usize = 5;

type Https = hyper_rustls::HttpsConnector<HttpConnector<Guard>>;

/// How patient the appliance is with a server of images.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A server that does not answer, or sends nothing, for so long has stopped.
    pub silence: Duration,
    /// In each stretch of this length …
    pub stretch: Duration,
    /// … at least so many bytes must come: a server that drips would hold a deployment for hours.
    pub least: u64,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { silence: Duration::from_secs(30), stretch: Duration::from_secs(60), least: 1 << 20 }
    }
}

/// Fetches files.
pub(super) struct Fetcher {
    client: Client<Https, Empty<Bytes>>,
    guard: Guard,
    import_folder: Option<PathBuf>,
    patience: Patience,
}

impl Fetcher {
    pub(super) fn new(import_folder: Option<PathBuf>, guard: Guard, patience: Patience) -> Fetcher {
        let mut roots = rustls::RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for certificate in found.certs {
            if let Err(error) = roots.add(certificate) {
                tracing::debug!(%error, "one of the system's certificates is not usable");
            }
        }
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let mut http = HttpConnector::new_with_resolver(guard.clone());
        http.enforce_http(false);
        http.set_connect_timeout(Some(patience.silence));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        // No connection is kept: the next request is checked anew.
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Fetcher { client, guard, import_folder, patience }
    }

    /// Refuses at once what can be seen to be wrong with a URL, without asking anybody.
    pub(super) fn check(&self, url: &str) -> Result<(), ImageError> {
        if url.starts_with("file://") {
            return self.folder(url).map(|_| ());
        }
        self.place(url).map(|_| ())
    }

    fn folder(&self, url: &str) -> Result<&Path, ImageError> {
        self.import_folder.as_deref().ok_or_else(|| {
            failed(url, "no import folder is configured ([images] import_folder): give an http URL, or upload the file")
        })
    }

    fn place(&self, url: &str) -> Result<Uri, ImageError> {
        let place: Uri = url.parse().map_err(|error| failed(url, &format!("it is no URL: {error}")))?;
        self.check_place(&place).map_err(|why| failed(url, &why))?;
        Ok(place)
    }

    fn check_place(&self, place: &Uri) -> Result<(), String> {
        if !matches!(place.scheme_str(), Some("http" | "https")) {
            return Err("only http, https and file URLs can be fetched".into());
        }
        match place.host() {
            None | Some("") => Err("it names no host".into()),
            Some(host) => self.guard.check_host(host),
        }
    }

    /// Fetches `url` into `sink`. `expect_room` is asked as soon as the length is known.
    pub(super) async fn fetch(
        &self,
        url: &str,
        sink: &mut Sink,
        expect_room: impl FnOnce(u64) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        match url.strip_prefix("file://") {
            Some(path) => self.copy(url, Path::new(path), sink, expect_room).await,
            None => self.download(url, sink, expect_room).await,
        }
    }

    async fn copy(
        &self,
        url: &str,
        path: &Path,
        sink: &mut Sink,
        expect_room: impl FnOnce(u64) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let unreadable = |error: std::io::Error| failed(url, &error.to_string());
        let folder = tokio::fs::canonicalize(self.folder(url)?).await.map_err(unreadable)?;
        let real = tokio::fs::canonicalize(path).await.map_err(unreadable)?;
        if !real.starts_with(&folder) {
            return Err(failed(url, "only files below the import folder of the appliance can be imported"));
        }
        let facts = tokio::fs::metadata(&real).await.map_err(unreadable)?;
        if !facts.is_file() {
            return Err(failed(url, "it is no file"));
        }
        expect_room(facts.len())?;
        let mut file = tokio::fs::File::open(&real).await.map_err(unreadable)?;
        file.set_max_buf_size(CHUNK);
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = file.read(&mut buffer).await.map_err(unreadable)?;
            if count == 0 {
                return Ok(());
            }
            sink.take(&buffer[..count]).await?;
        }
    }

    async fn download(
        &self,
        url: &str,
        sink: &mut Sink,
        expect_room: impl FnOnce(u64) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let answer = self.follow(url).await?;
        let length = answer.headers().get(header::CONTENT_LENGTH);
        if let Some(length) = length.and_then(|value| value.to_str().ok()?.parse().ok()) {
            expect_room(length)?;
        }
        let mut body = answer.into_body();
        let mut stretch = (Instant::now(), 0);
        loop {
            let next = tokio::time::timeout(self.patience.silence, body.frame()).await;
            let Some(frame) = next.map_err(|_| failed(url, &self.silence()))? else { return Ok(()) };
            let frame = frame.map_err(|error| failed(url, &format!("it stopped half-way: {}", with_causes(&error))))?;
            let Ok(bytes) = frame.into_data() else { continue };
            stretch.1 += bytes.len() as u64;
            if stretch.0.elapsed() >= self.patience.stretch {
                if stretch.1 < self.patience.least {
                    let (came, seconds) = (stretch.1, self.patience.stretch.as_secs_f32());
                    return Err(failed(url, &format!("the server is too slow: {came} bytes in {seconds} s")));
                }
                stretch = (Instant::now(), 0);
            }
            let began = Instant::now();
            sink.take(&bytes).await?;
            // The time that our own disk takes is not the server's.
            stretch.0 += began.elapsed();
        }
    }

    /// Asks, and follows redirects; each place is checked before it is asked.
    async fn follow(&self, url: &str) -> Result<Response<Incoming>, ImageError> {
        let mut place = self.place(url)?;
        for _ in 0..=REDIRECTS {
            self.check_place(&place).map_err(|why| failed(url, &format!("it leads elsewhere: {why}")))?;
            let (bare, password) = credentials(place).ok_or_else(|| failed(url, "it is no URL"))?;
            let mut request = Request::get(bare.clone())
                .header(header::USER_AGENT, concat!("leasehold/", env!("CARGO_PKG_VERSION")))
                .header(header::ACCEPT_ENCODING, "identity");
            if let Some(password) = password {
                request = request.header(header::AUTHORIZATION, password);
            }
            let request = request.body(Empty::new()).map_err(|error| failed(url, &error.to_string()))?;
            let asked = tokio::time::timeout(self.patience.silence, self.client.request(request)).await;
            let answer = asked.map_err(|_| failed(url, &self.silence()))?;
            let answer = answer.map_err(|error| failed(url, &with_causes(&error)))?;
            match answer.status() {
                StatusCode::OK => return Ok(answer),
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    let to = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
                    place = to.and_then(|to| resolve(&bare, to)).ok_or_else(|| failed(url, "a redirect to nowhere"))?;
                }
                status => return Err(failed(url, &format!("the server answers {status}"))),
            }
        }
        Err(failed(url, &format!("more than {REDIRECTS} redirects")))
    }

    fn silence(&self) -> String {
        format!("the server sent nothing for {} s", self.patience.silence.as_secs_f32())
    }
}

fn failed(url: &str, why: &str) -> ImageError {
    ImageError::Fetch { url: shown(url), why: why.to_owned() }
}

/// hyper's own texts say little; the reason is among the causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        // Some errors repeat their cause in their own text.
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}
