//! One connection to a BMC and one exchange on it, bounded in time and size.

use super::Limits;
use super::address::Endpoint;
use super::tls::Trust;
use crate::bmc::BmcError;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A connection that was not used for this long is not used again: the BMC may be about to close it, and a request
/// that changes something must not get lost in that.
const IDLE: Duration = Duration::from_secs(2);

/// An answer, read to its end.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What a request is, without where it goes.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<Bytes>,
    pub(super) headers: HeaderMap,
}

impl Ask {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Ask { method, path: path.into(), body: None, headers: HeaderMap::new() }
    }

    pub(super) fn json(mut self, body: &serde_json::Value) -> Self {
        self.body = Some(body.to_string().into());
        self
    }

    /// For messages: `GET /redfish/v1/`.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// Opens connections to one BMC.
#[derive(Clone)]
pub(super) struct Connector {
    endpoint: Arc<Endpoint>,
    trust: Arc<Trust>,
    limits: Limits,
}

impl Connector {
    pub(super) fn new(endpoint: Arc<Endpoint>, trust: Arc<Trust>, limits: Limits) -> Self {
        Connector { endpoint, trust, limits }
    }

    /// TCP, TLS and HTTP/1.1, within [`Limits::connect`].
    pub(super) async fn connect(&self) -> Result<Connection, BmcError> {
        match timeout(self.limits.connect, self.open()).await {
            Ok(connection) => connection,
            Err(_) => {
                Err(self.endpoint.unreachable(format!("no connection within {} s", self.limits.connect.as_secs_f32())))
            }
        }
    }

    async fn open(&self) -> Result<Connection, BmcError> {
        let tcp = TcpStream::connect((self.endpoint.host.as_str(), self.endpoint.port))
            .await
            .map_err(|error| self.endpoint.unreachable(error.to_string()))?;
        // A refusal here costs 40 ms a request and nothing else.
        let _ = tcp.set_nodelay(true);
        if self.endpoint.https {
            self.start(TokioIo::new(self.trust.handshake(&self.endpoint, tcp).await?)).await
        } else {
            self.start(TokioIo::new(tcp)).await
        }
    }

    async fn start<T>(&self, io: T) -> Result<Connection, BmcError>
    where
        T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, driver) =
            http1::handshake(io).await.map_err(|error| self.endpoint.unreachable(error.to_string()))?;
        // Errors of the connection come out of the exchange that they disturb.
        let task = tokio::spawn(async move { drop(driver.await) });
        Ok(Connection { sender, task, used: Instant::now() })
    }
}

/// An open connection. Ends when dropped.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    used: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sends requests, over one connection as long as that is kept open.
pub(super) struct Client {
    pub(super) connector: Connector,
    kept: Option<Connection>,
}

enum Failure {
    /// The request never left: it may be sent again on a new connection.
    NotSent,
    Failed(BmcError),
}

impl Client {
    pub(super) fn new(connector: Connector) -> Self {
        Client { connector, kept: None }
    }

    /// Ends the connection that is kept.
    pub(super) fn disconnect(&mut self) {
        self.kept = None;
    }

    /// One exchange. A kept connection that turns out to be closed is replaced once.
    pub(super) async fn exchange(&mut self, ask: &Ask) -> Result<Reply, BmcError> {
        let kept = self.kept.take().filter(|kept| kept.used.elapsed() < IDLE && !kept.sender.is_closed());
        if let Some(kept) = kept {
            match self.exchange_on(kept, ask).await {
                Err(Failure::NotSent) => {}
                Err(Failure::Failed(error)) => return Err(error),
                Ok(reply) => return Ok(reply),
            }
        }
        let fresh = self.connector.connect().await?;
        self.exchange_on(fresh, ask).await.map_err(|failure| match failure {
            Failure::NotSent => self.connector.endpoint.unreachable("it closed the connection at once"),
            Failure::Failed(error) => error,
        })
    }

    async fn exchange_on(&mut self, mut connection: Connection, ask: &Ask) -> Result<Reply, Failure> {
        let limit = self.connector.limits.request;
        // The connection is given back only after a whole answer: whatever goes wrong, and a caller that stops
        // waiting, ends it.
        match timeout(limit, self.converse(&mut connection, ask)).await {
            Ok(Ok(reply)) => {
                connection.used = Instant::now();
                self.kept = Some(connection);
                Ok(reply)
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => {
                let detail = format!("{} was not answered within {} s", ask.name(), limit.as_secs_f32());
                Err(Failure::Failed(self.connector.endpoint.unreachable(detail)))
            }
        }
    }

    async fn converse(&self, connection: &mut Connection, ask: &Ask) -> Result<Reply, Failure> {
        let endpoint = &self.connector.endpoint;
        let request = self.request(ask).map_err(Failure::Failed)?;
        connection.sender.ready().await.map_err(|_| Failure::NotSent)?;
        let response = connection.sender.send_request(request).await.map_err(|error| {
            if error.is_canceled() {
                return Failure::NotSent;
            }
            let name = ask.name();
            Failure::Failed(if error.is_parse() {
                endpoint.protocol(format!("its answer to {name} is not HTTP ({error})"))
            } else {
                endpoint.unreachable(format!("it ended the connection instead of answering {name} ({error})"))
            })
        })?;
        let (parts, mut body) = response.into_parts();
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Failure::Failed(endpoint.protocol(format!("its answer to {} ends in the middle ({error})", ask.name())))
            })?;
            if let Some(data) = frame.data_ref() {
                if whole.len() + data.len() > self.connector.limits.body {
                    let limit = self.connector.limits.body;
                    let detail = format!("its answer to {} is longer than {limit} bytes", ask.name());
                    return Err(Failure::Failed(endpoint.protocol(detail)));
                }
                whole.extend_from_slice(data);
            }
        }
        Ok(Reply { status: parts.status, headers: parts.headers, body: whole.freeze() })
    }

    fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, BmcError> {
        let endpoint = &self.connector.endpoint;
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(ask.path.as_str())
            .header(header::HOST, endpoint.authority())
            .header(header::ACCEPT, "application/json")
            .header("OData-Version", "4.0")
            .header(header::USER_AGENT, concat!("leasehold/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(ask.body.clone().unwrap_or_default()))
            .map_err(|_| endpoint.protocol(format!("it points to {}", super::address::quoted(&ask.path))))?;
        let headers = request.headers_mut();
        headers.extend(ask.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        if ask.body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(request)
    }
}
