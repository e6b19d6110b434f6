//! Short commands, run to their end.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::sys;

/// Runs a program of the host to its end and returns its standard output.
///
/// # Errors
/// When it is missing or fails; with what it said.
pub fn output(program: &str, arguments: &[&str]) -> Result<String> {
    output_by(program, arguments, |mut command| {
        sys::tie_to_parent(&mut command);
        command.spawn().with_context(|| format!("{program} cannot be started"))
    })
}

/// As [`output`], with the caller's own way to spawn.
pub(crate) fn output_by(
    program: &str,
    arguments: &[&str],
    spawn: impl FnOnce(Command) -> Result<Child>,
) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command)?;
    let mut errors = child.stderr.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(stream) = errors.as_mut() {
            let _ = stream.read_to_string(&mut text);
        }
        text
    });
    let output = child.wait_with_output()?;
    let said = reader.join().unwrap_or_default();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let words = if said.trim().is_empty() { stdout.trim() } else { said.trim() };
        bail!("`{program} {}` failed ({}): {words}", arguments.join(" "), output.status);
    }
    Ok(stdout)
}

/// Where `program` is found on PATH.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_tells_what_it_said() {
        let error = output("sh", &["-c", "echo no such luck >&2; exit 3"]).unwrap_err().to_string();
        assert!(error.contains("no such luck") && error.contains('3'), "{error}");
    }

    #[test]
    fn programs_are_found_or_not() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }
}
