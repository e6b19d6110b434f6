//! Sends one delivery: a POST to an address that may be talked to, within a time, without following anything.

use crate::images::{Guard, Network, NotAllowed};
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::time::Duration;

/// Bytes of a URL.
const LONGEST_URL: usize = 2048;
/// All that is told of a receiver that gave no answer. Whether nobody listens there, or something that speaks no TLS or
/// shows the certificate of another, is a look into networks that is not for whoever may name a URL: that is in the log.
const NOT_REACHED: &str = "the receiver could not be reached, or did not answer in time";
const NOT_ALLOWED: &str = "the receiver's address is none that events may be sent to";

type Https = hyper_rustls::HttpsConnector<HttpConnector<Guard>>;

/// What is sent.
pub(super) struct Message {
    pub(super) id: String,
    pub(super) timestamp: i64,
    pub(super) signature: String,
    pub(super) body: String,
}

/// Sends deliveries.
pub(super) struct Sender {
    client: Client<Https, Full<Bytes>>,
    guard: Guard,
    plain_http: bool,
    patience: Duration,
}

impl Sender {
    pub(super) fn new(forbidden: &[Network], allowed: &[Network], plain_http: bool, patience: Duration) -> Sender {
        let guard = Guard::new(forbidden, allowed);
        let mut roots = rustls::RootCertStore::empty();
        for certificate in rustls_native_certs::load_native_certs().certs {
            if let Err(error) = roots.add(certificate) {
                tracing::debug!(%error, "one of the system's certificates is not usable");
            }
        }
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let mut http = HttpConnector::new_with_resolver(guard.clone());
        http.enforce_http(false);
        http.set_connect_timeout(Some(patience));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        // No connection is kept: the next delivery's address is checked anew.
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Sender { client, guard, plain_http, patience }
    }

    /// Refuses at once what can be seen to be wrong with a URL, without asking anybody.
    pub(super) fn check(&self, url: &str) -> Result<Uri, String> {
        if url.len() > LONGEST_URL {
            return Err(format!("it has more than {LONGEST_URL} bytes"));
        }
        let place: Uri = url.parse().map_err(|error| format!("it is no URL: {error}"))?;
        match place.scheme_str() {
            Some("https") => {}
            Some("http") if self.plain_http => {}
            _ => return Err("only https URLs get events".into()),
        }
        let authority = place.authority().map(|authority| authority.as_str()).unwrap_or_default();
        if authority.contains('@') {
            return Err("it has a user name in it: who sends is told by the signature".into());
        }
        match place.host() {
            None | Some("") => Err("it names no host".into()),
            Some(host) => self.guard.check_host(host).map(|()| place).map_err(|_| NOT_ALLOWED.into()),
        }
    }

    /// Delivers. The failure is in words for whose webhook it is: one of a few phrases. Nothing of what the receiver says is
    /// in them but the number of its answer, as he might be none who was meant to be heard.
    pub(super) async fn send(&self, url: &str, message: &Message) -> Result<(), String> {
        let place = self.check(url)?;
        let host = place.authority().map(ToString::to_string).unwrap_or_default();
        let request = Request::post(place)
            .header(header::USER_AGENT, concat!("leasehold/", env!("CARGO_PKG_VERSION")))
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", message.timestamp)
            .header("webhook-signature", &message.signature)
            .body(Full::new(Bytes::from(message.body.clone())))
            .map_err(|error| {
                tracing::warn!(host, %error, "a delivery makes no request");
                NOT_REACHED
            })?;
        let asked = tokio::time::timeout(self.patience, self.client.request(request)).await;
        let answer = asked.map_err(|_| {
            tracing::info!(host, patience = ?self.patience, "a webhook's receiver did not answer in time");
            NOT_REACHED
        })?;
        let answer = answer.map_err(|error| {
            tracing::info!(host, error = crate::images::with_causes(&error), "a webhook's receiver was not reached");
            if NotAllowed::is_cause_of(&error) { NOT_ALLOWED } else { NOT_REACHED }
        })?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status if status.is_redirection() => {
                let number = status.as_u16();
                Err(format!("the receiver answers {number}: redirects are not followed, name the place itself"))
            }
            status => Err(format!("the receiver answers {}", status.as_u16())),
        }
    }
}
