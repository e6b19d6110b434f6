//! UDP segmentation offload: one `sendmsg` of many packets' bytes, which the kernel (or the network card) cuts.
//!
//! The size of a segment is set once per socket and holds for every message on it; messages up to that size go out as
//! they are, longer ones are cut. Neither rustix nor socket2 has this option (`UDP_SEGMENT`, linux/udp.h, since 4.18).
#![allow(unsafe_code)] // one setsockopt that no safe crate of ours offers

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Has messages on `socket` cut into packets of `size` bytes; 0 switches that off.
///
/// # Errors
/// ENOPROTOOPT where the kernel does not know the option.
pub(super) fn set_segment(socket: impl AsFd, size: u16) -> io::Result<()> {
    let value = c_int::from(size);
    // SAFETY: the descriptor is open for the length of the call, and pointer and length describe `value`, which the
    // kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const value).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
