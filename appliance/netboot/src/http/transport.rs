//! A TCP stream under hyper that sends the bytes of mapped files by `sendfile`.
//!
//! hyper owns the socket and knows only slices of memory. The body of a file's answer is one slice of the file's
//! mapping, and hyper 1 hands it down unchanged: with `is_write_vectored` it queues buffers instead of copying them,
//! and calls `poll_write_vectored` with the head of the answer and the slice. Here the slice is recognised by its
//! address ([`MappedFile::offset_of`]) as bytes *offset..* of a file that this connection has lately been answered
//! with ([`RecentFiles`] keeps it, and so its mapping, alive: no other memory can have that address), and the kernel
//! is told to send those from the page cache. What is not recognised is written as usual, so a wrong guess costs a
//! copy and never a wrong byte.
//!
//! Found out with hyper 1.12 by the tests here and in `tests.rs`: bytes are the same for whole files, ranges and many
//! connections at once; the head goes out with the first bytes of the file (MSG_MORE), not in a packet of its own.
//!
//! [`MappedFile::offset_of`]: crate::files::MappedFile::offset_of

use crate::files::BootFile;
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::future::Future;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// From this size on a part of a file goes by `sendfile`; below, one `sendmsg` with the head is cheaper.
const WORTH_IT: usize = 16 << 10;
/// The most bytes per call: a socket whose client is quick would otherwise keep a thread for the whole file.
const PER_CALL: usize = 1 << 20;

/// The files that a connection was last answered with. Two, as hyper may already take the next request of a pipeline
/// while the last bytes of the answer before wait for the socket.
#[derive(Debug, Default)]
pub(super) struct RecentFiles(Mutex<[Option<Arc<BootFile>>; 2]>);

impl RecentFiles {
    /// Remembers that an answer is being made of `file`.
    pub(super) fn note(&self, file: &Arc<BootFile>) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !recent[0].as_ref().is_some_and(|known| Arc::ptr_eq(known, file)) {
            recent.swap(0, 1);
            recent[0] = Some(Arc::clone(file));
        }
    }

    /// The file that `slice` is a part of, and where.
    fn find(&self, slice: &[u8]) -> Option<(Arc<BootFile>, u64)> {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().flatten().find_map(|file| Some((Arc::clone(file), file.content().offset_of(slice)?)))
    }
}

/// The stream of one connection.
pub(super) struct Transport {
    stream: TcpStream,
    recent: Arc<RecentFiles>,
    /// Off once the file system has said that it cannot.
    by_sendfile: bool,
    stall_time: Duration,
    /// Runs while the socket takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

/// How much was sent, and how much of it by `sendfile`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    bytes: usize,
    by_sendfile: usize,
}

/// One attempt to send the front of `parts`; `WouldBlock` when the socket takes nothing.
fn write_now(
    stream: impl AsFd,
    recent: &RecentFiles,
    by_sendfile: &mut bool,
    parts: &[IoSlice<'_>],
) -> io::Result<Written> {
    let found = parts
        .iter()
        .enumerate()
        .filter(|(_, part)| *by_sendfile && part.len() >= WORTH_IT)
        .find_map(|(index, part)| recent.find(part).map(|found| (index, part.len(), found)));
    let Some((index, length, (file, mut offset))) = found else {
        return Ok(Written { bytes: send(&stream, parts, SendFlags::NOSIGNAL)?, by_sendfile: 0 });
    };
    let before = &parts[..index];
    let wanted: usize = before.iter().map(|part| part.len()).sum();
    let bytes = if wanted == 0 { 0 } else { send(&stream, before, SendFlags::NOSIGNAL | SendFlags::MORE)? };
    if bytes < wanted {
        return Ok(Written { bytes, by_sendfile: 0 });
    }
    match sendfile(&stream, file.content().descriptor(), Some(&mut offset), length.min(PER_CALL)) {
        Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a boot file was cut while it was being sent")),
        Ok(count) => Ok(Written { bytes: bytes + count, by_sendfile: count }),
        // What went before counts; the rest is for the next call.
        Err(_) if bytes > 0 => Ok(Written { bytes, by_sendfile: 0 }),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            *by_sendfile = false;
            Ok(Written { bytes: send(&stream, parts, SendFlags::NOSIGNAL)?, by_sendfile: 0 })
        }
        Err(error) => Err(error.into()),
    }
}

fn send(stream: impl AsFd, parts: &[IoSlice<'_>], flags: SendFlags) -> io::Result<usize> {
    Ok(sendmsg(stream, parts, &mut SendAncillaryBuffer::default(), flags)?)
}

impl Transport {
    pub(super) fn new(stream: TcpStream, recent: Arc<RecentFiles>, stall_time: Duration) -> Self {
        Transport { stream, recent, by_sendfile: true, stall_time, stalled: None }
    }

    /// Waits for room in the socket, but not for ever.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(result) = self.stream.poll_write_ready(cx) {
            return Poll::Ready(result);
        }
        let stall_time = self.stall_time;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall_time)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client stopped reading the answer")))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            ready!(this.poll_room(cx))?;
            // Within `try_io`, so that a readiness that comes after the attempt is not taken back with the old one.
            let Transport { stream, recent, by_sendfile, .. } = this;
            let attempt = stream.try_io(Interest::WRITABLE, || write_now(&*stream, recent, by_sendfile, parts));
            if matches!(&attempt, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                continue;
            }
            this.stalled = None;
            return Poll::Ready(attempt.map(|written| written.bytes));
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::BootFiles;
    use crate::files::tests::write_tree;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, served) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.unwrap(), served.unwrap().0)
    }

    fn patterned(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 7 % 253) as u8).collect()
    }

    #[tokio::test]
    async fn mapped_slices_go_by_sendfile_and_others_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let content = patterned(100_000);
        write_tree(folder.path(), &[("a", &content), ("b", &content)]);
        let files = BootFiles::open(folder.path()).unwrap();
        let (a, b) = (files.lookup(b"a").unwrap(), files.lookup(b"b").unwrap());
        let (mut client, served) = pair().await;
        let recent = RecentFiles::default();
        recent.note(&a);
        served.writable().await.unwrap();
        let mut expected = Vec::new();
        let mut send = |parts: &[&[u8]], by_sendfile: bool| {
            let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let written = write_now(&served, &recent, &mut true, &slices).unwrap();
            expected.extend_from_slice(&parts.concat()[..written.bytes]);
            assert_eq!(written.by_sendfile > 0, by_sendfile, "{written:?}");
        };
        let (in_a, in_b) = (a.content().bytes(), b.content().bytes());
        send(&[b"head\r\n", &in_a[1_000..51_000]], true);
        send(&[&in_a[77..20_000]], true);
        send(&[b"head", &in_a[..100]], false);
        send(&[b"head", &in_b[..20_000]], false);
        send(&[&content[..20_000]], false);
        let mut got = vec![0; expected.len()];
        client.read_exact(&mut got).await.unwrap();
        assert!(got == expected);
    }

    #[tokio::test]
    async fn a_full_socket_loses_no_byte() {
        let folder = tempfile::tempdir().unwrap();
        let content = patterned(20 << 20);
        write_tree(folder.path(), &[("a", &content)]);
        let files = BootFiles::open(folder.path()).unwrap();
        let a = files.lookup(b"a").unwrap();
        let (mut client, served) = pair().await;
        let recent = Arc::new(RecentFiles::default());
        recent.note(&a);
        let mut transport = Transport::new(served, recent, Duration::from_secs(60));
        let sender = tokio::spawn(async move {
            transport.write_all(a.content().bytes()).await.unwrap();
        });
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        sender.await.unwrap();
        assert!(got == content);
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        write_tree(folder.path(), &[("a", &patterned(30 << 20))]);
        let files = BootFiles::open(folder.path()).unwrap();
        let a = files.lookup(b"a").unwrap();
        let (client, served) = pair().await;
        let recent = Arc::new(RecentFiles::default());
        recent.note(&a);
        let mut transport = Transport::new(served, recent, Duration::from_millis(200));
        let error = transport.write_all(a.content().bytes()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(client);
    }
}
