//! Runs programs: with nothing of our environment, so long at most, so much output kept, and nothing left behind.

use rustix::process::{Pid, Signal, kill_process_group};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Bytes of its output that are told when a program fails; more is read and thrown away.
const OUTPUT: usize = 4096;
/// After its end, what it has written is there, or was somebody's whom it left behind.
const AFTER: Duration = Duration::from_secs(1);

/// What a program may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) time: Duration,
    pub(super) parallel: usize,
}

/// How a run went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Failed { why: String, output: String },
}

/// The programs of a folder in the order of their names: executable files that nobody but their owner can change.
pub(super) fn programs(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Editors and package managers leave such beside what is meant.
        let aside =
            name.starts_with('.') || name.ends_with('~') || name.contains(".dpkg-") || name.ends_with(".rpmsave");
        let Ok(about) = std::fs::metadata(&path) else { continue };
        let mode = about.permissions().mode();
        if aside || !about.is_file() || mode & 0o111 == 0 {
            continue;
        }
        if mode & 0o022 != 0 {
            tracing::warn!(program = %path.display(), "is not run: others than its owner can write it");
            continue;
        }
        found.push(path);
    }
    found.sort();
    Ok(found)
}

/// Runs all of them for one event, some at a time; how each went, in their order.
pub(super) async fn all(
    programs: &[PathBuf],
    kind: &str,
    id: &str,
    data: &str,
    bounds: Bounds,
) -> Vec<(PathBuf, Outcome)> {
    let places = Arc::new(Semaphore::new(bounds.parallel));
    let mut running = JoinSet::new();
    for (number, program) in programs.iter().cloned().enumerate() {
        let (places, kind, id, data) = (places.clone(), kind.to_owned(), id.to_owned(), data.to_owned());
        running.spawn(async move {
            let _place = places.acquire().await;
            let outcome = one(&program, &kind, &id, &data, bounds.time).await;
            (number, program, outcome)
        });
    }
    let mut done = running.join_all().await;
    done.sort_by_key(|(number, ..)| *number);
    done.into_iter().map(|(_, program, outcome)| (program, outcome)).collect()
}

async fn one(program: &Path, kind: &str, id: &str, data: &str, time: Duration) -> Outcome {
    let failed = |why: String, output: String| Outcome::Failed { why, output };
    let started = Command::new(program)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
        .env("LEASEHOLD_EVENT_TYPE", kind)
        .env("LEASEHOLD_EVENT_ID", id)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // With all that it starts, so that all of it can be ended.
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return failed(format!("it cannot be started: {error}"), String::new()),
    };
    let group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let mut input = child.stdin.take();
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let readers = tokio::spawn(async move { tokio::join!(kept(output), kept(errors)) });
    let data = data.to_owned();
    let writer = tokio::spawn(async move {
        if let Some(input) = &mut input {
            // A program need not read what it is told.
            let _ = input.write_all(data.as_bytes()).await;
        }
    });
    let ended = tokio::time::timeout(time, child.wait()).await;
    // Whoever it left behind goes, too.
    drop(group);
    writer.abort();
    let status = match ended {
        Ok(status) => status,
        Err(_) => {
            let _ = child.wait().await;
            return failed(format!("it was killed after {} s", time.as_secs()), said(readers).await);
        }
    };
    // Also where it is not told: what has left the group may hold its ends of the pipes for ever, and ours must be closed.
    let said = said(readers).await;
    match status {
        Ok(status) if status.success() => Outcome::Done,
        Ok(status) => failed(status.to_string(), said),
        Err(error) => failed(error.to_string(), said),
    }
}

/// A process group that is killed in the end.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // There is none any more when all of it has ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The first bytes of a stream; the rest of it is read, so that nobody waits to write, and thrown away.
async fn kept(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let Some(mut stream) = stream else { return Vec::new() };
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return kept,
            Ok(count) => {
                let room = OUTPUT.saturating_sub(kept.len()).min(count);
                kept.extend_from_slice(&buffer[..room]);
            }
        }
    }
}

/// What it said, errors last.
async fn said(readers: tokio::task::JoinHandle<(Vec<u8>, Vec<u8>)>) -> String {
    let abort = readers.abort_handle();
    match tokio::time::timeout(AFTER, readers).await {
        Ok(Ok((output, errors))) => String::from_utf8_lossy(&[output, errors].concat()).trim_end().to_owned(),
        _ => {
            abort.abort();
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that is written while another test starts one would be busy: files that are open for writing are not run.
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    const EVENT: &str = "{\"type\":\"lease.active\"}";

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn program(folder: &Path, name: &str, mode: u32, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        path
    }

    async fn run(folder: &Path, seconds: u64) -> Vec<Outcome> {
        let bounds = Bounds { time: Duration::from_secs(seconds), parallel: 2 };
        let found = programs(folder).expect("a folder");
        all(&found, "lease.active", "7f", EVENT, bounds).await.into_iter().map(|(_, outcome)| outcome).collect()
    }

    #[test]
    fn only_programs_that_nobody_else_can_change_are_run_in_the_order_of_their_names() {
        let folder = folder();
        for (name, mode) in [
            ("20-b", 0o755),
            ("10-a", 0o700),
            ("no-program", 0o644),
            ("anybodys", 0o757),
            ("the-groups", 0o775),
            (".hidden", 0o755),
            ("old~", 0o755),
            ("x.dpkg-old", 0o755),
        ] {
            program(folder.path(), name, mode, "true");
        }
        std::fs::create_dir(folder.path().join("folder")).expect("made");
        let found = programs(folder.path()).expect("a folder");
        assert_eq!(found, [folder.path().join("10-a"), folder.path().join("20-b")]);
    }

    #[tokio::test]
    async fn a_program_gets_the_event_and_nothing_of_our_environment() {
        let _alone = ONE_AT_A_TIME.lock().await;
        let folder = folder();
        let out = folder.path().join("out");
        let text = format!("exec >{}; cat; echo; env | sort; pwd", out.display());
        program(folder.path(), "a", 0o755, &text);
        assert_eq!(run(folder.path(), 30).await, [Outcome::Done]);
        let said = std::fs::read_to_string(out).expect("written");
        assert!(said.starts_with(EVENT), "{said}");
        let names: Vec<&str> = said.lines().skip(1).filter_map(|line| Some(line.split_once('=')?.0)).collect();
        for name in &names {
            let ours = ["LANG", "LEASEHOLD_EVENT_ID", "LEASEHOLD_EVENT_TYPE", "PATH", "PWD", "OLDPWD", "SHLVL", "_"];
            assert!(ours.contains(name), "{name}");
        }
        assert!(said.contains("LEASEHOLD_EVENT_TYPE=lease.active") && said.ends_with("/\n"), "{said}");
    }

    #[tokio::test]
    async fn what_fails_floods_or_hangs_holds_up_nobody_else_and_leaves_nothing_behind() {
        let _alone = ONE_AT_A_TIME.lock().await;
        let folder = folder();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).expect("a pipe");
        program(folder.path(), "1-fails", 0o755, "echo so it goes >&2; exit 3");
        program(folder.path(), "2-floods", 0o755, "head -c 3000000 /dev/zero | tr '\\0' x; exit 1");
        // Both start another that holds the pipe open as long as it lives.
        let holds = format!("exec 9>{}; sleep 600 >/dev/null 2>&1 &", pipe.display());
        program(folder.path(), "3-hangs", 0o755, &format!("{holds} sleep 600"));
        program(folder.path(), "4-leaves", 0o755, &format!("{holds} exit 0"));
        program(folder.path(), "5-ok", 0o755, "true");
        let closed = tokio::task::spawn_blocking(move || std::fs::read(pipe));
        let outcomes = run(folder.path(), 1).await;
        let closed = tokio::time::timeout(Duration::from_secs(60), closed).await;
        closed.expect("what was started lives on").expect("read").expect("a pipe");
        let why = |number: usize| match &outcomes[number] {
            Outcome::Failed { why, output } => (why.as_str(), output.as_str()),
            Outcome::Done => ("", ""),
        };
        assert_eq!(why(0), ("exit status: 3", "so it goes"));
        assert_eq!((why(1).0, why(1).1.len()), ("exit status: 1", OUTPUT));
        assert_eq!(why(2).0, "it was killed after 1 s");
        assert_eq!(outcomes[3..], [Outcome::Done, Outcome::Done]);
    }

    #[tokio::test]
    async fn pipes_to_what_has_left_the_group_are_closed() {
        let _alone = ONE_AT_A_TIME.lock().await;
        let folder = folder();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).expect("a pipe");
        // It writes as long as somebody reads, and then lets go of the other pipe.
        let writes = "i=0; while [ $i -lt 3000 ] && echo x; do i=$((i+1)); sleep 0.05; done";
        let text = format!("exec 9>{}; setsid sh -c '{writes}' 2>/dev/null & exit 0", pipe.display());
        program(folder.path(), "a", 0o755, &text);
        let closed = tokio::task::spawn_blocking(move || std::fs::read(pipe));
        assert_eq!(run(folder.path(), 30).await, [Outcome::Done]);
        let closed = tokio::time::timeout(Duration::from_secs(30), closed).await;
        closed.expect("somebody reads on").expect("read").expect("a pipe");
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_said() {
        let _alone = ONE_AT_A_TIME.lock().await;
        let folder = folder();
        program(folder.path(), "a", 0o755, "true");
        std::fs::write(folder.path().join("a"), "#!/no/such/shell\n").expect("written");
        let outcomes = run(folder.path(), 5).await;
        assert!(matches!(&outcomes[..], [Outcome::Failed { why, .. }] if why.contains("cannot be started")));
    }
}
