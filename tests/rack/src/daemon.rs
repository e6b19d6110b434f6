//! A program that runs for as long as the rack does, with its output in a log.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

use crate::folder::RunFolder;
use crate::netns::Namespace;
use crate::sys;

/// A running program; dropping it ends it and its process group.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    ended: bool,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command` in `space` with its output appended to the log of `name`.
    ///
    /// # Errors
    /// When the log cannot be written or the program not started.
    pub fn start(folder: &RunFolder, space: &Namespace, name: &str, command: Command) -> Result<Self> {
        Self::start_by(folder, name, command, |command| space.spawn(command))
    }

    /// As [`Self::start`], in the host's own network; it also ends when the calling thread does.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_on_host(folder: &RunFolder, name: &str, command: Command) -> Result<Self> {
        Self::start_by(folder, name, command, |mut command| {
            sys::tie_to_parent(&mut command);
            Ok(command.spawn()?)
        })
    }

    fn start_by(
        folder: &RunFolder,
        name: &str,
        mut command: Command,
        spawn: impl FnOnce(Command) -> Result<Child>,
    ) -> Result<Self> {
        let log = folder.log(name);
        let output = append_to(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        folder.mark(&mut command);
        let child = spawn(command)?;
        Ok(Self { name: name.to_owned(), child, ended: false, log })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// An error with the end of its log when it has ended by itself.
    ///
    /// # Errors
    /// As said.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            self.ended = true;
            bail!("{} has ended ({status}):\n{}", self.name, last_lines(&self.log, 15));
        }
        Ok(())
    }

    /// Waits up to `limit` for its own end; `None` when it still runs then.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.ended = true;
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it: SIGTERM, after `grace` SIGKILL, both to its process group.
    pub fn stop(&mut self, grace: Duration) {
        if self.ended {
            return;
        }
        self.signal(Signal::TERM);
        if !matches!(self.wait(grace), Ok(Some(_))) {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
            self.ended = true;
        }
    }

    /// Ends it without notice (SIGKILL), as a crash would.
    pub fn kill(&mut self) {
        self.stop(Duration::ZERO);
    }

    /// The group's id stays ours until the leader is waited for, so no stranger can be hit.
    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(2));
    }
}

/// Opens a log for appending.
///
/// # Errors
/// When it cannot be written.
pub fn append_to(log: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("{} cannot be written", log.display()))
}

/// The last `count` lines of a file, made readable: a console's control sequences are left out.
pub fn last_lines(file: &Path, count: usize) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(file) {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(64 << 10)));
        let _ = file.read_to_end(&mut bytes);
    }
    let text = readable(&String::from_utf8_lossy(&bytes));
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// `text` without ANSI control sequences (ECMA-48 CSI) and control characters.
pub fn readable(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => {
                if characters.peek() == Some(&'[') {
                    characters.next();
                    while characters.next_if(|next| !('@'..='~').contains(next)).is_some() {}
                }
                characters.next();
            }
            '\n' | '\t' => result.push(character),
            '\r' if characters.peek() != Some(&'\n') => result.push('\n'),
            other if other.is_control() => {}
            other => result.push(other),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn consoles_become_readable() {
        assert_eq!(readable("\x1b[2J\x1b[01;01HBdsDxe: \x1b[0mstarting\r\nnext"), "BdsDxe: starting\nnext");
        assert_eq!(readable("cut \x1b["), "cut ");
    }

    #[test]
    fn the_last_lines_come_in_order() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\n\ntwo\nthree\n").unwrap();
        assert_eq!(last_lines(file.path(), 2), "two\nthree");
        assert_eq!(last_lines(file.path(), 9), "one\ntwo\nthree");
        assert_eq!(last_lines(Path::new("/nowhere"), 2), "");
    }

    proptest! {
        #[test]
        fn no_console_output_leaves_a_control_character(text in "\\PC*|[\\x00-\\x7f]*") {
            prop_assert!(readable(&text).chars().all(|one| !one.is_control() || one == '\n' || one == '\t'));
        }
    }
}
