//! The accept loop of the HTTP listeners: TLS where there is a certificate, HTTP/1.1 and h2, no delay on any socket.

use crate::idle::{Activity, Coming, Held, LIMITS, Limits};
use axum::Router;
use axum::body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

/// How long an idle connection may take to end in good order.
const FAREWELL: Duration = Duration::from_secs(5);
/// Connections of one listener at a time.
const CONNECTIONS: usize = 4096;

/// How a request came in; handlers find it among the extensions.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// The other end; `None` on a Unix socket.
    pub peer: Option<IpAddr>,
    /// The user id at the other end of a Unix socket.
    pub uid: Option<u32>,
    pub secure: bool,
}

/// Serves `router` on a TCP listener for ever.
pub async fn tcp(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, router: Router) {
    let acceptor = tls.map(TlsAcceptor::from);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (socket, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, say: a pause lets others end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        let connection = Connection { peer: Some(address.ip()), uid: None, secure: acceptor.is_some() };
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            let _place = place;
            match acceptor {
                None => talk(socket, router, connection, LIMITS).await,
                Some(acceptor) => match tokio::time::timeout(LIMITS.head, acceptor.accept(socket)).await {
                    Ok(Ok(stream)) => talk(stream, router, connection, LIMITS).await,
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
            tokio::spawn(talk(socket, router.clone(), connection, LIMITS));
        }
    }
}

async fn talk<S>(stream: S, router: Router, connection: Connection, limits: Limits)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::new();
    let service = Stamped { router, connection, activity: activity.clone(), limits };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(128);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = activity.idle_for(limits.idle) => {
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
    limits: Limits,
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
        let limit = self.limits.body;
        let answer = self.router.call(request.map(|body| Body::new(Coming::new(body, limit))));
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| Body::new(Held { body, _request: in_progress })))
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

    fn serve(router: Router, limits: Limits) -> (DuplexStream, tokio::task::JoinHandle<()>) {
        let (client, server) = tokio::io::duplex(1 << 16);
        (client, tokio::spawn(talk(server, router, ANYBODY, limits)))
    }

    #[tokio::test]
    async fn who_connects_and_says_nothing_is_hung_up_on() {
        for hello in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
            let (mut client, served) = serve(Router::new(), Limits { head: LONG, idle: SHORT, body: LONG });
            client.write_all(hello).await.expect("sent");
            tokio::time::timeout(LONG, served).await.expect("hung up").expect("no panic");
        }
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_ends_its_request() {
        let router = Router::new().route("/", post(|_: String| async {}));
        let (mut client, served) = serve(router, Limits { head: LONG, idle: LONG, body: SHORT });
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
        let (mut client, mut served) = serve(router, Limits { head: LONG, idle: SHORT, body: SHORT });
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        assert!(tokio::time::timeout(SHORT * 6, &mut served).await.is_err(), "still at work");
        release.notify_one();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.expect("answered");
        assert_eq!(&answer, b"HTTP/1.1 200");
        tokio::time::timeout(LONG, served).await.expect("idle again").expect("no panic");
    }
}
