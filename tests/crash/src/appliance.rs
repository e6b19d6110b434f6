//! The program under test: started, waited for, killed.

use crate::hold::{self, Plan, Seen, Watch};
use anyhow::{Result, bail, ensure};
use leasehold_rack::netns::Namespace;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// From start to ready.
const START_LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(4);
/// Lines of the log that a failure shows.
const LOG_TAIL: usize = 25;

/// Where one appliance lives.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) program: PathBuf,
    pub(crate) network: Arc<Namespace>,
    pub(crate) folder: PathBuf,
}

/// How a start ended.
pub(crate) enum Started {
    Ready(Appliance),
    /// It was killed by its plan before it was ready.
    Killed(Seen),
}

/// A running program.
pub(crate) struct Appliance {
    child: Child,
    watch: Option<Watch>,
}

impl Site {
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("leasehold.toml")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("leasehold.log")
    }

    fn ready_file(&self) -> PathBuf {
        self.folder.join("ready.json")
    }

    /// `leasehold serve` with its log in our file.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub(crate) fn command(&self, config: &Path) -> Result<Command> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(config).arg("--ready-file").arg(self.ready_file());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(command)
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time; with the end of its log.
    pub(crate) fn start(&self) -> Result<Appliance> {
        match self.start_under(None, &[])? {
            Started::Ready(appliance) => Ok(appliance),
            Started::Killed(_) => bail!("the program was killed without a plan"),
        }
    }

    /// As [`Self::start`], with further environment, and under a plan by which it may be killed.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) fn start_under(&self, plan: Option<Plan>, environment: &[(&str, String)]) -> Result<Started> {
        match fs::remove_file(self.ready_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mut command = self.command(&self.config())?;
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let prepared = plan.map(|plan| hold::prepare(&mut command, plan)).transpose()?;
        let child = self.network.spawn(command)?;
        let watch = prepared.map(|prepared| prepared.watch(&child)).transpose();
        let mut appliance = Appliance { child, watch: None };
        appliance.watch = watch?;
        let begin = Instant::now();
        while !self.ready_file().exists() {
            if let Some(status) = appliance.ended()? {
                return match appliance.seen() {
                    seen if seen.killed_at.is_some() => Ok(Started::Killed(seen)),
                    _ => bail!("the program ended at its start ({status}):\n{}", self.log_tail()),
                };
            }
            ensure!(begin.elapsed() < START_LIMIT, "the program is not ready in time:\n{}", self.log_tail());
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(Started::Ready(appliance))
    }

    /// The end of the log.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }
}

impl Appliance {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its status, if it has ended.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// What its plan has counted.
    pub(crate) fn seen(&self) -> Seen {
        self.watch.as_ref().map(Watch::seen).unwrap_or_default()
    }

    /// SIGKILL, as a crash.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.end();
    }
}
