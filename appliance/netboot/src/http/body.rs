//! The body of an answer, and the boot-trace event that tells how much of it the client took.
//!
//! hyper takes the whole body as one buffer and counts it down as the socket accepts bytes. So the buffer knows what
//! was sent, and the moment it is dropped is the end of the answer, good or bad: that is when the event is emitted.

use crate::files::BootFile;
use crate::trace::{BootEvent, BootWhat, TraceSink};
use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// What is known of a request when it comes in; becomes an event when its answer ends.
pub(super) struct Record {
    pub(super) trace: TraceSink,
    pub(super) client_ip: Option<Ipv4Addr>,
    pub(super) mac: Option<[u8; 6]>,
    pub(super) path: String,
    pub(super) user_agent: Option<String>,
    pub(super) started: Instant,
}

enum Source {
    Text(Bytes),
    File(Arc<BootFile>, Range<usize>),
}

/// The bytes still to be sent. Those of a file are the mapping itself, which `transport.rs` recognises.
pub(super) struct Content {
    source: Source,
    record: Option<Record>,
    status: u16,
    expected: u64,
}

impl Content {
    fn new(source: Source, record: Record, status: u16) -> Self {
        let mut content = Content { source, record: Some(record), status, expected: 0 };
        content.expected = content.remaining() as u64;
        content
    }
}

impl Buf for Content {
    fn remaining(&self) -> usize {
        match &self.source {
            Source::Text(text) => text.len(),
            Source::File(_, range) => range.len(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match &self.source {
            Source::Text(text) => text,
            Source::File(file, range) => file.content().bytes().get(range.clone()).unwrap_or_default(),
        }
    }

    fn advance(&mut self, count: usize) {
        match &mut self.source {
            Source::Text(text) => text.advance(count),
            Source::File(_, range) => range.start += count,
        }
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        let Some(Record { trace, client_ip, mac, path, user_agent, started }) = self.record.take() else { return };
        let (status, expected) = (self.status, self.expected);
        let bytes = expected - self.remaining() as u64;
        let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let what = if bytes == expected {
            BootWhat::HttpServed { path, status, bytes, millis, user_agent }
        } else {
            BootWhat::HttpBroken { path, status, bytes, expected, millis, user_agent }
        };
        trace(BootEvent { client_ip, mac, what });
    }
}

/// A body of one piece.
pub(super) struct AnswerBody(Option<Content>);

impl AnswerBody {
    /// Text made for this answer.
    pub(super) fn text(text: impl Into<Bytes>, record: Record, status: u16) -> Self {
        AnswerBody(Some(Content::new(Source::Text(text.into()), record, status)))
    }

    /// No bytes, as for HEAD.
    pub(super) fn none(record: Record, status: u16) -> Self {
        Self::text(Bytes::new(), record, status)
    }

    /// A part of a file, which must lie within it.
    pub(super) fn file(file: Arc<BootFile>, part: Range<usize>, record: Record, status: u16) -> Self {
        AnswerBody(Some(Content::new(Source::File(file, part), record, status)))
    }
}

impl Body for AnswerBody {
    type Data = Content;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Content>, Infallible>>> {
        Poll::Ready(self.0.take().map(|content| Ok(Frame::data(content))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|content| !content.has_remaining())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |content| content.remaining() as u64))
    }
}
