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
    if !arguments.dir.is_dir() {
        anyhow::bail!("there is no folder {}", arguments.dir.display());
    }
    let place = Place { file: arguments.state.join("cursor") };
    let bounds = Bounds {
        time: Duration::from_secs(arguments.timeout),
        parallel: usize::try_from(arguments.parallel).unwrap_or(1),
    };
    let (mut from_oldest, mut told) = (false, String::new());
    loop {
        // The place stays written until there is another: ended in between, it comes here again.
        let last = place.read()?.filter(|_| !from_oldest);
        match stream(arguments, last.as_deref(), &mut from_oldest, &place, bounds).await {
            Ok(()) => tracing::info!("the appliance has ended the stream; asking again"),
            Err(error) if error.is::<Gone>() && !from_oldest => {
                tracing::error!("events may have been missed, going on with the oldest that are kept: {error:#}");
                from_oldest = true;
                continue;
            }
            Err(error) if format!("{error:#}") == told => tracing::debug!("{told}; trying again"),
            Err(error) => {
                told = format!("{error:#}");
                tracing::warn!("{told}; trying again, and saying so once");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What is asked for.
fn path(kinds: Option<&str>, from_oldest: bool) -> String {
    let kinds = kinds.map(|kinds| format!("&type={}", escaped(kinds))).unwrap_or_default();
    // Where it is said from when on, and no place is named, it begins with the oldest.
    let since = if from_oldest { "&since=1970-01-01T00:00:00Z" } else { "" };
    format!("/appliance/v1/events?follow=true{kinds}{since}")
}

async fn stream(
    arguments: &HooksArguments,
    last: Option<&str>,
    from_oldest: &mut bool,
    place: &Place,
    bounds: Bounds,
) -> anyhow::Result<()> {
    let path = path(arguments.kinds.as_deref(), *from_oldest);
    let mut stream = Follow::open(&arguments.socket, &path, last).await?;
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
            *from_oldest = false;
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
    }

    /// An appliance that answers each request with one of these, in their order, and then tells what was asked for.
    async fn appliance(socket: &Path, answers: Vec<String>) -> Vec<String> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::UnixListener::bind(socket).expect("a socket");
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("somebody");
            let (mut text, mut buffer) = (String::new(), [0; 1024]);
            while !text.contains("\r\n\r\n") {
                let count = stream.read(&mut buffer).await.expect("read");
                text.push_str(std::str::from_utf8(&buffer[..count]).expect("text"));
            }
            asked.push(text);
            stream.write_all(answer.as_bytes()).await.expect("written");
        }
        asked
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_place_that_is_none_any_more_leads_to_the_oldest_that_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let fault = serde_json::json!({"faultstring": "The cursor was not made by this appliance: begin without one."});
        let refused = serde_json::json!({"error_message": fault.to_string()}).to_string();
        for status in ["400 Bad Request", "410 Gone"] {
            let socket = folder.path().join(&status[..3]);
            let place = Place { file: folder.path().join("cursor") };
            place.write("0123").expect("written");
            let arguments = HooksArguments {
                dir: folder.path().into(),
                socket: socket.clone(),
                state: folder.path().into(),
                kinds: Some("lease".into()),
                timeout: 1,
                parallel: 1,
            };
            let answers = vec![answer(status, &refused), answer("200 OK", "id: abcd\n: \n\n"), answer("200 OK", "")];
            let asked = tokio::select! {
                asked = appliance(&socket, answers) => asked,
                ended = follow(&arguments) => panic!("it ended: {ended:?}"),
                () = tokio::time::sleep(Duration::from_secs(60)) => panic!("nobody asks"),
            };
            let line = |at: usize| asked[at].lines().next().unwrap_or_default().to_owned();
            assert!(asked[0].contains("last-event-id: 0123") && !line(0).contains("since"), "{asked:?}");
            assert!(!asked[1].contains("last-event-id") && line(1).contains("type=lease&since=1970"), "{asked:?}");
            assert!(asked[2].contains("last-event-id: abcd") && !line(2).contains("since"), "{asked:?}");
        }
    }
}
