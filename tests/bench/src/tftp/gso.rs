//! UDP segmentation offload for the bare loop.
#![allow(unsafe_code)] // one setsockopt (`UDP_SEGMENT`) that no crate of the workspace offers

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Has messages on `socket` cut into packets of `size` bytes.
pub(super) fn set_segment(socket: impl AsFd, size: u16) -> io::Result<()> {
    let value = c_int::from(size);
    // SAFETY: the descriptor is open for the length of the call; pointer and length describe `value`, which is only read.
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
