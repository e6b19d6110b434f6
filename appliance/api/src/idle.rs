//! Nothing waits for ever: connections that carry no request and bodies that stop coming are ended.
//!
//! hyper limits the time of an HTTP/1 request's head only. A client that connects and says nothing, an idle HTTP/2
//! connection and a body that stops half-way would each hold one of the listener's places for good.

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Sleep;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For the TLS handshake, or the head of an HTTP/1 request.
    pub(crate) head: Duration,
    /// Without a request in progress, the first one included.
    pub(crate) idle: Duration,
    /// Between two parts of a request's body.
    pub(crate) body: Duration,
}

/// What users and agents get. A handler that knows its body better gives up sooner, with better words.
pub(crate) const LIMITS: Limits =
    Limits { head: Duration::from_secs(15), idle: Duration::from_secs(75), body: Duration::from_secs(90) };

/// Counts the requests in progress on one connection.
#[derive(Clone)]
pub(crate) struct Activity(watch::Sender<usize>);

impl Activity {
    pub(crate) fn new() -> Activity {
        Activity(watch::Sender::new(0))
    }

    /// A request begins; it ends when the guard is dropped.
    pub(crate) fn begin(&self) -> InProgress {
        self.0.send_modify(|count| *count += 1);
        InProgress(self.0.clone())
    }

    /// Returns when no request has been in progress for this long.
    pub(crate) async fn idle_for(&self, limit: Duration) {
        let mut count = self.0.subscribe();
        loop {
            // The sender is ours: it outlives this wait.
            if count.wait_for(|count| *count == 0).await.is_err() {
                return;
            }
            if tokio::time::timeout(limit, count.changed()).await.is_err() {
                return;
            }
        }
    }
}

/// A request in progress.
pub(crate) struct InProgress(watch::Sender<usize>);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// An answer's body; its request is in progress until it is sent, or given up.
pub(crate) struct Held {
    pub(crate) body: Body,
    pub(crate) _request: InProgress,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The client stopped sending.
#[derive(Debug, thiserror::Error)]
#[error("the body stopped coming: nothing for {} s", .0.as_secs())]
struct Silent(Duration);

/// A request's body that fails when nothing comes for a while.
pub(crate) struct Coming<B> {
    body: B,
    limit: Duration,
    /// Runs while a part is waited for.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<B> Coming<B> {
    pub(crate) fn new(body: B, limit: Duration) -> Coming<B> {
        Coming { body, limit, patience: None }
    }
}

impl<B> HttpBody for Coming<B>
where
    B: HttpBody<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Unpin,
{
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let me = &mut *self;
        if let Poll::Ready(part) = Pin::new(&mut me.body).poll_frame(context) {
            me.patience = None;
            return Poll::Ready(part.map(|part| part.map_err(axum::Error::new)));
        }
        let limit = me.limit;
        let patience = me.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match patience.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(axum::Error::new(Silent(limit))))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
