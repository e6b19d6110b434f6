//! Fetches a file by `http://`, `https://` or `file://` into the data folder, hashing it on the way.

use super::ImageError;
use super::folder::ImportFolder;
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
    folder: ImportFolder,
    patience: Patience,
}

impl Fetcher {
    pub(super) fn new(folder: ImportFolder, guard: Guard, patience: Patience) -> Fetcher {
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
        Fetcher { client, guard, folder, patience }
    }

    /// Where files are imported from.
    pub(super) fn folder(&self) -> &ImportFolder {
        &self.folder
    }

    /// Refuses at once what can be seen to be wrong with a URL, without asking anybody.
    pub(super) fn check(&self, url: &str) -> Result<(), ImageError> {
        match url.strip_prefix("file://") {
            Some(path) => self.name_of(url, path).map(|_| ()),
            None => self.place(url).map(|_| ()),
        }
    }

    /// The name in the import folder of the file that a URL means.
    fn name_of(&self, url: &str, path: &str) -> Result<PathBuf, ImageError> {
        self.folder.name_of(Path::new(path)).map_err(|why| failed(url, &why))
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
            Some(path) => self.copy(url, self.name_of(url, path)?, sink, expect_room).await,
            None => self.download(url, sink, expect_room).await,
        }
    }

    /// Copies a file of the import folder into `sink`; `shown` is what errors call it.
    pub(super) async fn copy(
        &self,
        shown: &str,
        name: PathBuf,
        sink: &mut Sink,
        expect_room: impl FnOnce(u64) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let folder = self.folder.clone();
        let opened = tokio::task::spawn_blocking(move || folder.open(&name)).await;
        let (file, size) = opened.unwrap_or_else(|error| Err(error.to_string())).map_err(|why| failed(shown, &why))?;
        expect_room(size)?;
        let mut file = tokio::fs::File::from_std(file);
        file.set_max_buf_size(CHUNK);
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = file.read(&mut buffer).await.map_err(|error| failed(shown, &error.to_string()))?;
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
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
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
