//! The end of the ramdisk: everything written, then restart or power off by the kernel.

use rustix::system::{RebootCommand, reboot};

/// How to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Start again, from what the firmware boots first.
    Restart,
    /// Off.
    PowerOff,
}

/// Writes out what is held and leaves. Returns only when the kernel refuses.
///
/// # Errors
/// For example `EPERM` when not run as root.
pub fn leave(exit: Exit) -> rustix::io::Result<()> {
    rustix::fs::sync();
    reboot(match exit {
        Exit::Restart => RebootCommand::Restart,
        Exit::PowerOff => RebootCommand::PowerOff,
    })
}
