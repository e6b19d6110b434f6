//! Finding what a run left behind, and ending it: by its mark, by pid, never by name.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::folder::{self, Marker, RUN_VARIABLE};
use crate::say;

/// The start time of a process, clock ticks since the machine's boot (proc(5), field 22 of `stat`).
pub fn start_time(pid: u32) -> Option<u64> {
    parse_start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name of the program stands in parentheses and may hold anything, spaces and parentheses too: count from its end.
fn parse_start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// All processes that carry the mark of `run`, this one excepted.
pub fn processes(run: &str) -> Vec<u32> {
    let own = std::process::id();
    pids().filter(|pid| *pid != own && carries_mark(*pid, run)).collect()
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn carries_mark(pid: u32, run: &str) -> bool {
    let wanted = format!("{RUN_VARIABLE}={run}");
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
}

/// Ends every process of `run` that is still there.
///
/// # Errors
/// When one outlives SIGKILL by five seconds.
pub fn end_processes(run: &str) -> Result<usize> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut ended = 0;
    loop {
        let left = processes(run);
        if left.is_empty() {
            return Ok(ended);
        }
        if Instant::now() > deadline {
            bail!("processes {left:?} of the rack do not end");
        }
        for pid in left {
            ended += usize::from(kill(pid, run));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The descriptor pins the process before its mark is read again, so that no other process can take its number between.
fn kill(pid: u32, run: &str) -> bool {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(process) = rustix::process::pidfd_open(number, PidfdFlags::empty()) else { return false };
    carries_mark(pid, run) && rustix::process::pidfd_send_signal(process, Signal::KILL).is_ok()
}

/// Whether a thread or process is in the network namespace with this inode.
pub fn namespace_in_use(inode: u64) -> bool {
    pids().any(|pid| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        tasks
            .map(|task| task.path().join("ns/net"))
            .any(|path| fs::metadata(path).is_ok_and(|file| file.ino() == inode))
    })
}

/// Removes what ended runs left behind: processes, folders, markers. Runs that still go on are left alone.
///
/// # Errors
/// When something of an ended run cannot be removed.
pub fn sweep() -> Result<()> {
    for marker in markers() {
        if start_time(marker.pid) == Some(marker.started) {
            say::step("rack", &format!("run {} is still going on (pid {}): left alone", marker.run, marker.pid));
            continue;
        }
        let ended = end_processes(&marker.run)?;
        folder::remove(&marker)?;
        say::step(
            "rack",
            &format!("run {} had not ended cleanly: {ended} processes and its folder removed", marker.run),
        );
    }
    Ok(())
}

fn markers() -> Vec<Marker> {
    let entries = fs::read_dir(folder::MARKERS).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| fs::read(entry.path()).ok())
        .filter_map(|text| serde_json::from_slice(&text).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    #[test]
    fn start_time_survives_odd_program_names() {
        let fields = (3..=52).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(parse_start_time(&format!("7 (a) b (c) {fields}")), Some(22));
        assert_eq!(parse_start_time("7 (cut"), None);
        assert_eq!(parse_start_time(""), None);
        assert!(start_time(std::process::id()).is_some());
    }

    #[test]
    fn only_marked_processes_are_ended() {
        let run = uuid::Uuid::new_v4().simple().to_string();
        // The mark is readable only when the kernel has finished the start of the program; that it answers shows that.
        let started = |mark: &str| {
            let mut command = Command::new("cat");
            command.env(RUN_VARIABLE, mark).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            child.stdin.as_mut().unwrap().write_all(b"!").unwrap();
            child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            child
        };
        let (mut ours, mut other) = (started(&run), started("another-run"));
        assert_eq!(processes(&run), [ours.id()]);
        // Kept open: `cat` ends by itself when its input ends.
        let _input = ours.stdin.take();
        let reaper = std::thread::spawn(move || ours.wait());
        assert!(end_processes(&run).unwrap() >= 1);
        reaper.join().unwrap().unwrap();
        assert!(other.try_wait().unwrap().is_none(), "a process without the mark was ended");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
