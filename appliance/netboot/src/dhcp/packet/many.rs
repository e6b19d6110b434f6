//! Many datagrams of a UDP socket with one system call each way.
//!
//! A relay hands on what a whole rack asks; a system call for each message would cost more than the decision about it.
//! Unsafe, because `recvmmsg` and `sendmmsg` exist in no safe interface. The sockets do not block.
#![allow(unsafe_code)]

use super::socklen;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::null_mut;

/// What came in together.
pub(in crate::dhcp) struct Inbox {
    buffers: Vec<u8>,
    /// The room for one message.
    longest: usize,
    lengths: Vec<usize>,
}

impl Inbox {
    /// Room for so many messages of at most this length; what is longer is cut off.
    pub(in crate::dhcp) fn new(most: usize, longest: usize) -> Inbox {
        Inbox { buffers: vec![0; most * longest], longest, lengths: Vec::with_capacity(most) }
    }

    /// Takes what there is. `Ok(true)`: all there was; more comes with a new wake-up.
    pub(in crate::dhcp) fn receive(&mut self, socket: &impl AsFd) -> io::Result<bool> {
        self.lengths.clear();
        let mut parts: Vec<libc::iovec> = self.buffers.chunks_exact_mut(self.longest).map(part_to_fill).collect();
        let mut heads: Vec<libc::mmsghdr> = parts.iter_mut().map(head).collect();
        let descriptor = socket.as_fd().as_raw_fd();
        // SAFETY: each header names one part and nothing else, each part a live buffer of its own with its length; none
        // is used after this call.
        let count =
            unsafe { libc::recvmmsg(descriptor, heads.as_mut_ptr(), count_of(&heads), libc::MSG_DONTWAIT, null_mut()) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        let lengths = heads.iter().take(count).map(|head| usize::try_from(head.msg_len).unwrap_or(usize::MAX));
        self.lengths.extend(lengths.map(|length| length.min(self.longest)));
        Ok(count < heads.len())
    }

    /// The messages of the last call.
    pub(in crate::dhcp) fn messages(&self) -> impl Iterator<Item = &[u8]> {
        self.buffers.chunks_exact(self.longest).zip(&self.lengths).map(|(buffer, length)| &buffer[..*length])
    }
}

/// Sends the messages, each to its address, until one fails: how many were sent, and the error of the one after them.
pub(in crate::dhcp) fn send(socket: &impl AsFd, messages: &[(SocketAddrV4, &[u8])]) -> (usize, io::Result<()>) {
    let mut addresses: Vec<libc::sockaddr_in> = messages.iter().map(|(address, _)| in_address(*address)).collect();
    let mut parts: Vec<libc::iovec> = messages.iter().map(|(_, bytes)| part_to_read(bytes)).collect();
    let mut heads: Vec<libc::mmsghdr> = parts.iter_mut().map(head).collect();
    for (head, address) in heads.iter_mut().zip(&mut addresses) {
        head.msg_hdr.msg_name = (&raw mut *address).cast();
        head.msg_hdr.msg_namelen = socklen::<libc::sockaddr_in>();
    }
    let mut sent = 0;
    while sent < heads.len() {
        let rest = &mut heads[sent..];
        let descriptor = socket.as_fd().as_raw_fd();
        // SAFETY: each header names one address and one part, both live and with their lengths, which are only read.
        let count = unsafe { libc::sendmmsg(descriptor, rest.as_mut_ptr(), count_of(rest), libc::MSG_DONTWAIT) };
        match usize::try_from(count) {
            Ok(count) => sent += count,
            Err(_) => return (sent, Err(io::Error::last_os_error())),
        }
    }
    (sent, Ok(()))
}

fn in_address(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default(),
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

fn part_to_fill(buffer: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() }
}

fn part_to_read(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// A header for one part, without address or control data.
fn head(part: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: an all-zero header is a valid, empty one.
    let mut head: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    head.msg_hdr.msg_iov = part;
    head.msg_hdr.msg_iovlen = 1;
    head
}

/// The kernel takes 1024 at most and says how many it took.
fn count_of(heads: &[libc::mmsghdr]) -> libc::c_uint {
    libc::c_uint::try_from(heads.len()).unwrap_or(libc::c_uint::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, UdpSocket};

    fn socket() -> (UdpSocket, SocketAddrV4) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else { panic!("it was bound to IPv4") };
        (socket, address)
    }

    #[test]
    fn what_is_sent_together_comes_in_order_as_far_as_there_is_room() {
        let ((from, _), (to, address)) = (socket(), socket());
        let texts: Vec<Vec<u8>> = (1..=5_u8).map(|number| vec![number; usize::from(number)]).collect();
        let messages: Vec<_> = texts.iter().map(|text| (address, text.as_slice())).collect();
        assert_eq!(send(&from, &messages).0, 5);
        let mut inbox = Inbox::new(3, 4);
        assert!(!inbox.receive(&to).unwrap(), "there is more");
        assert_eq!(inbox.messages().collect::<Vec<_>>(), [&[1][..], &[2, 2], &[3, 3, 3]]);
        assert!(inbox.receive(&to).unwrap());
        assert_eq!(inbox.messages().collect::<Vec<_>>(), [&[4, 4, 4, 4][..], &[5, 5, 5, 5]], "the last one is cut");
        assert_eq!(inbox.receive(&to).map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
        assert_eq!(inbox.messages().count(), 0);
    }

    #[test]
    fn one_that_cannot_be_sent_is_named() {
        let ((from, _), (_to, address)) = (socket(), socket());
        let too_long = vec![0; 70_000];
        let messages = [(address, &b"a"[..]), (address, too_long.as_slice()), (address, &b"b"[..])];
        let (sent, result) = send(&from, &messages);
        assert_eq!((sent, result.map_err(|error| error.raw_os_error())), (1, Err(Some(libc::EMSGSIZE))));
    }
}
