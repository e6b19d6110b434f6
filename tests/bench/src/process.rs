//! A server under measurement: started in a namespace, its processor time and memory read, ended by its id.

use anyhow::{Context, Result, bail};
use leasehold_rack::netns::Namespace;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// How long a server may take to be ready: one in Python takes its time on a busy machine.
const READY: Duration = Duration::from_secs(120);

/// Nothing is put off for longer: our store looks every five seconds whether there was no commit for three, and then
/// folds its journal.
const QUIET: Duration = Duration::from_secs(9);

/// Ticks a second in /proc, on every machine of ours.
const USER_HZ: f64 = 100.0;

/// A running server; dropping it ends it.
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it with its output in `folder`.
    pub(crate) fn start(space: &Namespace, folder: &Path, name: &'static str, mut command: Command) -> Result<Server> {
        let log = folder.join(format!("{name}.log"));
        let output = fs::OpenOptions::new().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        Ok(Server { name, child: space.spawn(command)?, log })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` says so.
    pub(crate) fn wait(&mut self, ready: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + READY;
        while !ready() {
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                let tail: Vec<_> = said.lines().rev().take(8).collect();
                let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
                bail!(
                    "{} {}:\n{tail}",
                    self.name,
                    if ended.is_some() { "has ended" } else { "is not ready in two minutes" }
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Processor time (user and system) so far, of it, its children and those it has waited for, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        let mut parents = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid: Option<u32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some((pid, stat)) = pid.and_then(|pid| Some((pid, stat(pid)?))) {
                parents.insert(pid, stat);
            }
        }
        let belongs = |mut pid: u32| loop {
            if pid == self.pid() {
                return true;
            }
            match parents.get(&pid) {
                Some((parent, _)) if *parent > 1 => pid = *parent,
                _ => return false,
            }
        };
        parents.iter().filter(|(pid, _)| belongs(**pid)).map(|(_, (_, seconds))| seconds).sum()
    }

    /// Waits until it has done what it puts off to quieter times; gives its processor time then.
    pub(crate) fn settled(&self) -> f64 {
        let (mut known, mut since) = (self.cpu(), Instant::now());
        while since.elapsed() < QUIET {
            std::thread::sleep(Duration::from_millis(100));
            let now = self.cpu();
            if now - known > 0.05 {
                (known, since) = (now, Instant::now());
            }
        }
        self.cpu()
    }

    /// Memory in use (RSS), in MB.
    pub(crate) fn memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.map_or(f64::NAN, |kib| kib * 1024.0 / 1e6)
    }

    /// Ends it and waits for its end.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end().with_context(|| format!("{} cannot be ended", self.name))
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let deadline = Instant::now() + GRACE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.child.kill()?;
                self.child.wait()?;
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Parent and processor seconds of a process: its own and its ended children's.
fn stat(pid: u32) -> Option<(u32, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let ticks: f64 = fields.get(11..15)?.iter().filter_map(|field| field.parse::<f64>().ok()).sum();
    Some((fields.get(1)?.parse().ok()?, ticks / USER_HZ))
}
