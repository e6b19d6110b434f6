//! The accept loop of the HTTP listeners: TLS where there is a certificate, HTTP/1.1 and h2, no delay on any socket.

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

/// How long a client may take for the TLS handshake or the head of a request.
const HEAD_LIMIT: Duration = Duration::from_secs(15);
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
                None => talk(socket, router, connection).await,
                Some(acceptor) => match tokio::time::timeout(HEAD_LIMIT, acceptor.accept(socket)).await {
                    Ok(Ok(stream)) => talk(stream, router, connection).await,
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
            tokio::spawn(talk(socket, router.clone(), connection));
        }
    }
}

async fn talk<S>(stream: S, router: Router, connection: Connection)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = Stamped { router, connection };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(128);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).await;
    if let Err(error) = served {
        tracing::debug!(error, "a connection ended early");
    }
}

/// The router with the connection's facts put into each request.
#[derive(Clone)]
struct Stamped {
    router: Router,
    connection: Connection,
}

impl Service<http::Request<hyper::body::Incoming>> for Stamped {
    type Response = axum::response::Response;
    type Error = std::convert::Infallible;
    type Future = <Router as Service<http::Request<axum::body::Body>>>::Future;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<hyper::body::Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.connection);
        self.router.call(request.map(axum::body::Body::new))
    }
}
