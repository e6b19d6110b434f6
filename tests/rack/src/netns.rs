//! A network namespace of the rack: a thread that lives in it, and what is started there.
//!
//! The namespace has no name and no mount outside the rack's process: it ends with its thread and the processes in
//! it, however the rack ends. Children are spawned by that thread, which lives as long as the rack, because a
//! parent's death signal comes when the *thread* that spawned ends.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};

use crate::{command, sys};

type Job = Box<dyn FnOnce() + Send>;

/// One namespace; it ends when this is dropped and its processes have ended.
#[derive(Debug)]
pub struct Namespace {
    name: &'static str,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    file: Option<File>,
    inode: u64,
}

impl Namespace {
    /// A new namespace with its loopback interface up. `name` is for messages only.
    ///
    /// # Errors
    /// When the kernel refuses (not root, no namespaces).
    pub fn create(name: &'static str) -> Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let (entered, result) = channel();
        let thread = std::thread::Builder::new().name(format!("netns-{name}")).spawn(move || {
            let entry = sys::leave_host_network().and_then(|()| File::open("/proc/thread-self/ns/net"));
            let serving = entry.is_ok();
            let _ = entered.send(entry);
            if serving {
                serve(&queue);
            }
        })?;
        let file = result.recv()?.with_context(|| {
            format!("network namespace {name} cannot be made (is this root, outside a locked container?)")
        })?;
        let inode = file.metadata()?.ino();
        let space = Self { name, jobs: Some(jobs), thread: Some(thread), file: Some(file), inode };
        space.ip(&["link", "set", "lo", "up"])?;
        Ok(space)
    }

    /// Its name in messages.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The number by which /proc shows it.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// A path that names it for `ip link … netns PATH` and `nsenter --net=PATH`, valid while the rack runs.
    ///
    /// # Panics
    /// Never: the file is there until the namespace is dropped.
    pub fn path(&self) -> String {
        let descriptor = self.file.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        format!("/proc/{}/fd/{descriptor}", std::process::id())
    }

    /// Runs `work` in the namespace and waits for its result. Keep it short: the namespace does one thing at a time.
    ///
    /// # Errors
    /// When the namespace's thread has ended.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (done, result) = channel();
        let job: Job = Box::new(move || {
            let _ = done.send(work());
        });
        let gone = || anyhow!("the thread of network namespace {} has ended", self.name);
        self.jobs.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())?;
        result.recv().map_err(|_| gone())
    }

    /// Starts `command` in the namespace: in a process group of its own, dying with the rack.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self, mut command: Command) -> Result<Child> {
        sys::tie_to_parent(&mut command);
        let program = command.get_program().to_string_lossy().into_owned();
        self.run(move || command.spawn())?.with_context(|| format!("{program} cannot be started"))
    }

    /// Runs a short command in the namespace to its end and returns its standard output.
    ///
    /// # Errors
    /// When it cannot be started or fails; with what it said.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        command::output_by(program, arguments, |command| self.spawn(command))
    }

    /// `ip ARGUMENTS` in the namespace.
    ///
    /// # Errors
    /// As [`Self::output`].
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        self.output("ip", arguments).map(drop)
    }

    /// The addresses and state of its interfaces, as `ip -brief address` prints them.
    ///
    /// # Errors
    /// As [`Self::output`].
    pub fn interfaces(&self) -> Result<String> {
        self.output("ip", &["-brief", "address"])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs = None;
        self.file = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(queue: &Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        // A panicking job drops its result channel, which its caller sees as an error; the namespace goes on.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    }
}
