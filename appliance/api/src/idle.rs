//! Nothing waits for ever: connections that carry no request and bodies that stop coming are ended.
//!
//! hyper limits the time of an HTTP/1 request's head only. A client that connects and says nothing, an idle HTTP/2
//! connection and a body that stops half-way would each hold one of the listener's places for good.

use crate::limits::Settings;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::io::{Error, ErrorKind, IoSlice, Result as IoResult};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Sleep;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For the TLS handshake, or the head of an HTTP/1 request.
    pub(crate) head: Duration,
    /// Without a request in progress, the first one included.
    pub(crate) idle: Duration,
    /// Between two parts of a request's body, and until some of an answer is taken. A handler that knows its body better
    /// gives up sooner, with better words.
    pub(crate) stall: Duration,
}

impl Patience {
    pub(crate) fn of(settings: &Settings) -> Patience {
        Patience { head: settings.head_time, idle: settings.idle_time, stall: settings.stall_time }
    }
}

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

/// An answer's body, with what its request holds until it is sent, or given up.
pub(crate) struct Held<T> {
    body: Body,
    _held: T,
}

impl<T> Held<T> {
    pub(crate) fn new(body: Body, held: T) -> Held<T> {
        Held { body, _held: held }
    }
}

impl<T: Unpin> HttpBody for Held<T> {
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

/// A connection whose writing fails when its other end takes nothing for a while.
pub(crate) struct Taken<S> {
    stream: S,
    limit: Duration,
    /// Runs while nothing is taken.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<S> Taken<S> {
    pub(crate) fn new(stream: S, limit: Duration) -> Taken<S> {
        Taken { stream, limit, patience: None }
    }

    fn within<T>(&mut self, context: &mut Context<'_>, done: Poll<IoResult<T>>) -> Poll<IoResult<T>> {
        if done.is_ready() {
            self.patience = None;
            return done;
        }
        let limit = self.limit;
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match patience.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the other end takes nothing"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<IoResult<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within(context, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<IoResult<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.within(context, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<IoResult<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(context);
        self.within(context, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<IoResult<()>> {
        let done = Pin::new(&mut self.stream).poll_shutdown(context);
        self.within(context, done)
    }
}
