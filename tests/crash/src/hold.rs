//! Stops a program exactly at the n-th of its system calls of one kind, and kills it there.
//!
//! The kernel (seccomp user notification) hands each such call of any thread of the program to us before it is carried
//! out, so that the count is exact and the product needs no hook for tests. `unsafe` is needed to install the filter
//! between fork and exec and for the two ioctls of its listener; the face is safe.
#![allow(unsafe_code)]

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open, pidfd_send_signal};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The calls that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    /// `fsync` and `fdatasync`: each commit is one.
    Syncs,
    /// `pwrite64`: each page that a commit is made of.
    Writes,
}

impl Calls {
    fn numbers(self) -> &'static [libc::c_long] {
        match self {
            Calls::Syncs => &[libc::SYS_fsync, libc::SYS_fdatasync],
            Calls::Writes => &[libc::SYS_pwrite64],
        }
    }
}

/// When to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The call is not carried out.
    Before,
    /// The sync is carried out, and the program never learns of it.
    After,
}

/// What to do with the calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) calls: Calls,
    /// Which one the program does not survive, from 1; `None`: they are only counted.
    pub(crate) nth: Option<u64>,
    pub(crate) moment: Moment,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) calls: u64,
    /// The file of the call at which the program was killed.
    pub(crate) killed_at: Option<String>,
}

/// A program that is to be started under a filter.
pub(crate) struct Prepared {
    ours: OwnedFd,
    plan: Plan,
}

/// The watch over a running program; it ends with the program.
pub(crate) struct Watch {
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

/// Makes `command` start under the filter of `plan`. [`Prepared::watch`] must follow at once: the first call waits.
///
/// # Errors
/// When no socket pair can be made.
pub(crate) fn prepare(command: &mut Command, plan: Plan) -> Result<Prepared> {
    let kind = SocketType::STREAM;
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    let program = filter(plan.calls);
    // SAFETY: the closure only makes system calls; what it needs was allocated before the fork.
    unsafe {
        command.pre_exec(move || {
            let listener = install(&program)?;
            send(theirs.as_fd(), listener.as_fd())
        });
    }
    Ok(Prepared { ours, plan })
}

/// Notify for the calls, allow all others. No look at the architecture: the program makes native calls only.
fn filter(calls: Calls) -> Vec<libc::sock_filter> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let numbers = calls.numbers();
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    for (index, number) in numbers.iter().enumerate() {
        let to_notify = (numbers.len() - index) as u8;
        let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        program.push(libc::sock_filter { code, jt: to_notify, jf: 0, k: *number as u32 });
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF));
    program
}

fn install(program: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: the program outlives the call, which copies it; the result is checked.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    if listener < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(listener as i32) })
}

fn send(socket: BorrowedFd<'_>, listener: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [listener];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    rustix::net::sendmsg(socket, &[IoSlice::new(b"x")], &mut control, SendFlags::empty())?;
    Ok(())
}

fn receive(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    descriptors.next().and_then(|mut rights| rights.next()).context("the program gave no listener of its filter")
}

impl Prepared {
    /// Watches the program that was started.
    ///
    /// # Errors
    /// When its filter cannot be listened to.
    pub(crate) fn watch(self, child: &Child) -> Result<Watch> {
        let listener = receive(self.ours.as_fd())?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("its process number")?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (counts, plan) = (seen.clone(), self.plan);
        let thread = std::thread::Builder::new().name("watch".into()).spawn(move || {
            let target = Target { process, pid };
            while let Some(call) = next_call(listener.as_fd()) {
                let mut seen = counts.lock().unwrap_or_else(PoisonError::into_inner);
                seen.calls += 1;
                if plan.nth == Some(seen.calls) {
                    seen.killed_at = Some(target.kill(&call, plan));
                } else {
                    go_on(listener.as_fd(), &call);
                }
            }
        })?;
        Ok(Watch { seen, thread: Some(thread) })
    }
}

impl Watch {
    /// What was seen so far.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The program has ended, or is about to: its death ends the thread.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Target {
    process: OwnedFd,
    pid: Pid,
}

impl Target {
    fn kill(&self, call: &libc::seccomp_notif, plan: Plan) -> String {
        let number = call.data.args[0];
        let link = format!("/proc/{}/fd/{number}", self.pid.as_raw_nonzero());
        let file = std::fs::read_link(link).map(|path| path.display().to_string()).unwrap_or_default();
        if plan.moment == Moment::After
            && plan.calls == Calls::Syncs
            && let Ok(file) = pidfd_getfd(&self.process, number as i32, PidfdGetfdFlags::empty())
        {
            let _ = rustix::fs::fdatasync(file);
        }
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
        file.rsplit('/').next().unwrap_or_default().to_owned()
    }
}

/// The next call; `None` when the program has ended.
fn next_call(listener: BorrowedFd<'_>) -> Option<libc::seccomp_notif> {
    loop {
        let mut wait = [PollFd::new(&listener, PollFlags::IN)];
        match poll(&mut wait, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return None,
            Ok(_) if !wait[0].revents().contains(PollFlags::IN) => return None,
            Ok(_) => {}
        }
        // SAFETY: all fields are integers, for which zeros are valid; the kernel asks for a zeroed structure.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the ioctl fills a structure of exactly this type.
        let got = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) };
        if got == 0 {
            return Some(call);
        }
        // ENOENT: the thread that called was killed meanwhile.
    }
}

fn go_on(listener: BorrowedFd<'_>, call: &libc::seccomp_notif) {
    let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
    let answer = libc::seccomp_notif_resp { id: call.id, val: 0, error: 0, flags };
    // SAFETY: the ioctl reads a structure of exactly this type. It fails when the thread was killed, which is fine.
    let _ = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer) };
}
