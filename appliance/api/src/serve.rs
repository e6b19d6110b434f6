//! The accept loop of the HTTP listeners: TLS where there is a certificate, HTTP/1.1 and h2, no delay on any socket.

use crate::idle::{Activity, Coming, Held, Patience, Taken};
use crate::limits::counts::{Counts, Full};
use crate::limits::{Limits, Settings, Why, network_of};
use axum::body::Body;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use leasehold_domain::Actor;
use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

/// How long an idle connection may take to end in good order.
const FAREWELL: Duration = Duration::from_secs(5);
/// Least bytes that hyper takes for its buffer of a connection.
const LEAST_BUFFER: usize = 64 << 10;

/// How many connections a listener takes, and how long it bears with them.
pub struct Door {
    limits: Arc<Limits>,
    connections: Arc<Counts<IpAddr>>,
}

impl Door {
    /// The listener for users.
    pub fn for_users(limits: &Arc<Limits>) -> Door {
        let settings = &limits.settings;
        let connections = Counts::new(settings.connections, settings.address_connections);
        Door { limits: limits.clone(), connections }
    }

    /// A listener for agents: a rack may stand behind one address.
    pub fn for_agents(limits: &Arc<Limits>) -> Door {
        Door { limits: limits.clone(), connections: Counts::new(limits.settings.connections, usize::MAX) }
    }
}

/// How a request came in; handlers find it among the extensions.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// The other end; `None` on a Unix socket.
    pub peer: Option<IpAddr>,
    /// The user id at the other end of a Unix socket.
    pub uid: Option<u32>,
    pub secure: bool,
}

/// Who gives a command over a Unix socket.
pub(crate) fn local_actor(connection: Option<Extension<Connection>>) -> Actor {
    connection.and_then(|connection| connection.uid).map_or(Actor::System("local"), Actor::Local)
}

/// Serves `router` on a TCP listener for ever.
pub async fn tcp(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, router: Router, door: Door) {
    let acceptor = tls.map(TlsAcceptor::from);
    let Door { limits, connections } = door;
    loop {
        let (socket, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, say: a pause lets others end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Before TLS there is no way to say why: the connection is closed at once.
        let place = match connections.take(Some(network_of(Some(address.ip())))) {
            Ok(place) => place,
            Err(full) => {
                limits.count(if full == Full::All { Why::Connections } else { Why::AddressConnections });
                tracing::debug!(peer = %address, ?full, "too many connections");
                continue;
            }
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        let connection = Connection { peer: Some(address.ip()), uid: None, secure: acceptor.is_some() };
        let (acceptor, router, limits) = (acceptor.clone(), router.clone(), limits.clone());
        tokio::spawn(async move {
            let _place = place;
            let settings = &limits.settings;
            match acceptor {
                None => talk(socket, router, connection, settings).await,
                Some(acceptor) => match tokio::time::timeout(settings.head_time, acceptor.accept(socket)).await {
                    Ok(Ok(stream)) => talk(stream, router, connection, settings).await,
                    Ok(Err(error)) => tracing::debug!(%error, peer = %address, "no TLS came about"),
                    Err(_) => tracing::debug!(peer = %address, "a TLS handshake took too long"),
                },
            }
        });
    }
}

/// Serves `router` on a Unix socket for ever, to the user ids that `allowed` names.
pub async fn unix(listener: UnixListener, router: Router, allowed: impl Fn(u32) -> bool) {
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "a local connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // A peer that is not allowed is hung up on; its user sees the socket's permissions first.
        if let Some(uid) = socket.peer_cred().ok().map(|peer| peer.uid()).filter(|uid| allowed(*uid)) {
            let connection = Connection { peer: None, uid: Some(uid), secure: false };
            let router = router.clone();
            tokio::spawn(async move { talk(socket, router, connection, &Settings::default()).await });
        }
    }
}

async fn talk<S>(stream: S, router: Router, connection: Connection, settings: &Settings)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (activity, patience) = (Activity::new(), Patience::of(settings));
    let service = Stamped { router, connection, activity: activity.clone(), stall: patience.stall };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // What is a little too long is answered with words by whoever admits requests; what is much too long, by hyper.
    let head = settings.header_bytes.saturating_add(settings.target_bytes);
    let buffer = head.saturating_mul(2).max(LEAST_BUFFER);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(patience.head).max_buf_size(buffer);
    let list = u32::try_from(buffer).unwrap_or(u32::MAX);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(128).max_header_list_size(list);
    let stream = TokioIo::new(Taken::new(stream, patience.stall));
    let mut served = pin!(builder.serve_connection(stream, TowerToHyperService::new(service)));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = activity.idle_for(patience.idle) => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(FAREWELL, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended early");
    }
}

/// The router with the connection's facts put into each request.
#[derive(Clone)]
struct Stamped {
    router: Router,
    connection: Connection,
    activity: Activity,
    stall: Duration,
}

impl Service<http::Request<hyper::body::Incoming>> for Stamped {
    type Response = axum::response::Response;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<hyper::body::Incoming>) -> Self::Future {
        let in_progress = self.activity.begin();
        request.extensions_mut().insert(self.connection);
        let limit = self.stall;
        let answer = self.router.call(request.map(|body| Body::new(Coming::new(body, limit))));
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| Body::new(Held::new(body, in_progress))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::sync::Notify;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(30);
    const ANYBODY: Connection = Connection { peer: None, uid: None, secure: false };

    fn serve(router: Router, idle: Duration, stall: Duration) -> (DuplexStream, tokio::task::JoinHandle<()>) {
        let (client, server) = tokio::io::duplex(1 << 16);
        let settings = Settings { head_time: LONG, idle_time: idle, stall_time: stall, ..Settings::default() };
        (client, tokio::spawn(async move { talk(server, router, ANYBODY, &settings).await }))
    }

    #[tokio::test]
    async fn who_connects_and_says_nothing_is_hung_up_on() {
        for hello in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
            let (mut client, served) = serve(Router::new(), SHORT, LONG);
            client.write_all(hello).await.expect("sent");
            tokio::time::timeout(LONG, served).await.expect("hung up").expect("no panic");
        }
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_ends_its_request() {
        let router = Router::new().route("/", post(|_: String| async {}));
        let (mut client, served) = serve(router, LONG, SHORT);
        client.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf").await.expect("sent");
        let mut answer = [0; 12];
        let read = tokio::time::timeout(LONG, client.read_exact(&mut answer)).await;
        read.expect("answered").expect("read");
        assert_eq!(&answer, b"HTTP/1.1 400");
        drop(client);
        served.await.expect("no panic");
    }

    #[tokio::test]
    async fn work_that_takes_its_time_is_not_cut() {
        let release = Arc::new(Notify::new());
        let waiting = release.clone();
        let router = Router::new().route("/", get(async move || waiting.notified().await));
        let (mut client, mut served) = serve(router, SHORT, SHORT);
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        assert!(tokio::time::timeout(SHORT * 6, &mut served).await.is_err(), "still at work");
        release.notify_one();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.expect("answered");
        assert_eq!(&answer, b"HTTP/1.1 200");
        tokio::time::timeout(LONG, served).await.expect("idle again").expect("no panic");
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_is_given_up() {
        let router = Router::new().route("/", get(async || vec![b'x'; 1 << 20]));
        let (mut client, served) = serve(router, LONG, SHORT);
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        tokio::time::timeout(LONG, served).await.expect("hung up").expect("no panic");
        drop(client);
    }
}
