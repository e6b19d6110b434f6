//! `leasehold hooks`: runs the programs of a folder for each event. A process of its own, as a user of its own, that reads
//! events from a socket and nothing else of the appliance.
//!
//! In: events over the socket, from a durable place on. Out: runs of programs ([`run`]), each with the event as JSON on its
//! standard input. One event after the other, each at least once: the place is written down when all programs were run for
//! an event, and after a crash its programs are run for it again. What a program makes of it is its own business: a failure
//! is told in the log, and the next event is its turn.

mod run;

use crate::follow::{Follow, Gone, Message};
use anyhow::Context;
use clap::Args;
use leasehold_api::url::escaped;
use run::{Bounds, Outcome};
use serde_json::Value;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// Before the socket is tried again.
const PAUSE: Duration = Duration::from_secs(2);
/// How often the place is written down where nothing happens that the programs are told of.
const NOTE_EVERY: Duration = Duration::from_secs(300);
/// Bytes of the file with the place.
const LONGEST: usize = 200;

#[derive(Args)]
pub(crate) struct HooksArguments {
    /// The folder of programs: its executable files, in the order of their names.
    #[arg(long, default_value = "/etc/leasehold/hooks")]
    dir: PathBuf,
    /// The appliance's socket for events ([events] socket).
    #[arg(long, env = "LEASEHOLD_EVENTS_SOCKET", default_value = "/run/leasehold-events/events.sock")]
    socket: PathBuf,
    /// Where it is kept how far the programs were told.
    #[arg(long, env = "STATE_DIRECTORY", default_value = "/var/lib/leasehold-hooks")]
    state: PathBuf,
    /// Only events of these types: lease, lease.active, node.quarantine, …; with commas between them.
    #[arg(long = "type", value_name = "TYPE")]
    kinds: Option<String>,
    /// So long a program may run, in seconds; then it and what it started is killed.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// So many programs run at a time for one event.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    parallel: u32,
}

/// Runs until it is told to stop.
pub(crate) fn main(arguments: &HooksArguments) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    rustix::thread::set_no_new_privs(true)?;
    if rustix::process::geteuid().is_root() {
        anyhow::bail!("programs of a folder are not run as root: see leasehold-hooks.service");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            outcome = follow(arguments) => outcome,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    })
}

/// Follows the events, over every loss of the appliance.
async fn follow(arguments: &HooksArguments) -> anyhow::Result<()> {
    let place = Place { file: arguments.state.join("cursor") };
    let bounds = Bounds {
        time: Duration::from_secs(arguments.timeout),
        parallel: usize::try_from(arguments.parallel).unwrap_or(1),
    };
    let kinds = arguments.kinds.as_ref().map(|kinds| format!("?type={}", escaped(kinds))).unwrap_or_default();
    let path = format!("/appliance/v1/events{kinds}");
    loop {
        let last = place.read()?;
        match stream(arguments, &path, last.as_deref(), &place, bounds).await {
            Ok(()) => tracing::info!("the appliance has ended the stream; asking again"),
            Err(error) if error.is::<Gone>() => {
                tracing::error!("events were missed: {error:#}");
                place.forget()?;
                continue;
            }
            Err(error) if error.is::<std::io::Error>() && last.is_none() && !arguments.dir.is_dir() => {
                return Err(error);
            }
            Err(error) => tracing::warn!("{error:#}; trying again"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn stream(
    arguments: &HooksArguments,
    path: &str,
    last: Option<&str>,
    place: &Place,
    bounds: Bounds,
) -> anyhow::Result<()> {
    let mut stream = Follow::open(&arguments.socket, path, last).await?;
    tracing::info!(dir = %arguments.dir.display(), "following events");
    let mut noted: Option<Instant> = None;
    while let Some(Message { id, kind, data }) = stream.next().await? {
        if kind == "lost" {
            return Err(anyhow::anyhow!("{data}"));
        }
        if !data.is_empty() {
            let event: Value = serde_json::from_str(&data).context("the appliance sends no JSON")?;
            tell(arguments, &event, &data, bounds).await;
            noted = None;
        }
        if noted.is_none_or(|noted| noted.elapsed() >= NOTE_EVERY) {
            place.write(&id)?;
            noted = Some(Instant::now());
        }
    }
    Ok(())
}

/// Runs all programs for one event.
async fn tell(arguments: &HooksArguments, event: &Value, data: &str, bounds: Bounds) {
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    let (kind, id) = (text("type"), text("id"));
    let programs = match run::programs(&arguments.dir) {
        Ok(programs) => programs,
        Err(error) => {
            tracing::error!(%error, dir = %arguments.dir.display(), "the folder of programs cannot be read");
            return;
        }
    };
    for (program, outcome) in run::all(&programs, kind, id, data, bounds).await {
        let name = program.display();
        match outcome {
            Outcome::Done => tracing::debug!(program = %name, kind, id, "done"),
            Outcome::Failed { why, output } => {
                tracing::warn!(program = %name, kind, id, why, output, "a program failed");
            }
        }
    }
}

/// The file that says how far the programs were told.
struct Place {
    file: PathBuf,
}

impl Place {
    fn read(&self) -> anyhow::Result<Option<String>> {
        match std::fs::read_to_string(&self.file) {
            Ok(text) => {
                let text = text.trim();
                let good = text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                Ok(Some(text.to_owned()).filter(|text| good && !text.is_empty()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", self.file.display())),
        }
    }

    /// Written beside it first: a crash leaves the one or the other.
    fn write(&self, id: &str) -> anyhow::Result<()> {
        let beside = self.file.with_extension("new");
        let write = |beside: &Path| {
            let mut file = File::create(beside)?;
            file.write_all(id.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(beside, &self.file)
        };
        write(&beside).with_context(|| format!("{} cannot be written", self.file.display()))
    }

    fn forget(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(&self.file) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_and_what_is_none_begins_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place { file: folder.path().join("cursor") };
        assert_eq!(place.read().expect("nothing yet"), None);
        place.write("0123abcd").expect("written");
        assert_eq!(place.read().expect("read").as_deref(), Some("0123abcd"));
        std::fs::write(&place.file, "not\na cursor").expect("written");
        assert_eq!(place.read().expect("read"), None);
        place.forget().expect("removed");
        place.forget().expect("it was gone already");
    }
}
