//! The two system calls of the rack that Rust cannot check: leaving the host's namespaces, and a child's death signal.
//!
//! `unsafe` is needed because both act on the calling thread or between fork and exec. The faces are safe.
#![allow(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::Signal;
use rustix::thread::UnshareFlags;

/// Gives the calling thread a network namespace of its own, with a `/sys` that shows it.
///
/// Both namespaces end with the last thread, process, socket and file descriptor in them: nothing needs deleting.
pub(crate) fn leave_host_network() -> std::io::Result<()> {
    // SAFETY: neither flag touches the file descriptor table, the condition of rustix. NEWNS also unshares this
    // thread's working directory and root, which no code of this program relies on being shared between threads.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS)? };
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    // /sys shows the namespace it was mounted from; programs in this one must see their own interfaces.
    rustix::mount::unmount("/sys", UnmountFlags::DETACH)?;
    rustix::mount::mount("sysfs", "/sys", "sysfs", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)?;
    Ok(())
}

/// Makes the child of `command` lead a process group of its own and die with the thread that spawns it.
pub(crate) fn tie_to_parent(command: &mut Command) {
    command.process_group(0);
    // SAFETY: the closure makes one system call, allocates nothing and takes no lock: allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            Ok(())
        });
    }
}
