//! Many datagrams with one system call each way, so that the client costs little beside the server under measurement.
#![allow(unsafe_code)] // `recvmmsg` and `sendmmsg`, which no crate of the workspace offers

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;

/// The longest answer that is read whole.
const LONGEST: usize = 1500;

/// What came in together.
pub(super) struct Incoming {
    buffers: Vec<[u8; LONGEST]>,
    lengths: Vec<usize>,
}

impl Incoming {
    /// Room for so many.
    pub(super) fn new(most: usize) -> Incoming {
        Incoming { buffers: vec![[0; LONGEST]; most.max(1)], lengths: Vec::with_capacity(most.max(1)) }
    }

    /// Waits for the first datagram, as long as the socket's timeout lets it, and takes what has come with it.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.lengths.clear();
        let mut parts: Vec<libc::iovec> = self
            .buffers
            .iter_mut()
            .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() })
            .collect();
        let mut heads = heads(&mut parts);
        // SAFETY: each header names one part, each part one live buffer with its length; nothing else is written, and
        // no pointer is used after the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                heads.as_mut_ptr(),
                heads.len() as libc::c_uint,
                libc::MSG_WAITFORONE,
                null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        self.lengths.extend(heads.iter().take(count).map(|head| (head.msg_len as usize).min(LONGEST)));
        Ok(())
    }

    /// The datagrams of the last call.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.buffers.iter().zip(&self.lengths).filter_map(|(buffer, length)| buffer.get(..*length))
    }
}

/// Sends all of them to the peer that the socket is connected to.
pub(super) fn send(socket: &UdpSocket, datagrams: &[Vec<u8>]) -> io::Result<()> {
    let mut parts: Vec<libc::iovec> = datagrams
        .iter()
        .map(|bytes| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() })
        .collect();
    let mut heads = heads(&mut parts);
    let mut rest = heads.as_mut_slice();
    while !rest.is_empty() {
        // SAFETY: each header names one part, each part one live datagram with its length, which is only read.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, 0) };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        rest = rest.split_at_mut(sent).1;
    }
    Ok(())
}

/// A header for each part, without address or control data.
fn heads(parts: &mut [libc::iovec]) -> Vec<libc::mmsghdr> {
    let head = |part: &mut libc::iovec| {
        // SAFETY: an all-zero header is a valid, empty one.
        let mut head: libc::mmsghdr = unsafe { std::mem::zeroed() };
        head.msg_hdr.msg_iov = part;
        head.msg_hdr.msg_iovlen = 1;
        head
    };
    parts.iter_mut().map(head).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_sent_together_comes_whole_and_in_order() {
        let (one, other) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        one.connect(other.local_addr().unwrap()).unwrap();
        other.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let sent: Vec<Vec<u8>> = (1..=5_u8).map(|number| vec![number; usize::from(number) * 100]).collect();
        send(&one, &sent).unwrap();
        let (mut incoming, mut received) = (Incoming::new(3), Vec::new());
        while received.len() < sent.len() {
            incoming.receive(&other).unwrap();
            received.extend(incoming.datagrams().map(<[u8]>::to_vec));
        }
        assert_eq!(received, sent);
    }
}
