//! QEMU's machine protocol (QMP): greeting, capabilities, commands and events, one JSON object a line.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// The writing half: commands. Answers and events come on the reading half.
#[derive(Debug)]
pub struct Commands(UnixStream);

/// The reading half.
#[derive(Debug)]
pub struct Events(BufReader<UnixStream>);

/// Connects and negotiates; QEMU must be listening.
///
/// # Errors
/// When nobody listens or it does not speak QMP.
pub fn connect(socket: &Path) -> Result<(Commands, Events)> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20)))?;
    let mut events = Events(BufReader::new(stream.try_clone()?));
    let mut commands = Commands(stream);
    let greeting = events.line()?.context("QEMU closed its control socket")?;
    if greeting.get("QMP").is_none() {
        bail!("{} does not speak QMP: {greeting}", socket.display());
    }
    commands.send("qmp_capabilities", &json!({}))?;
    while events.line()?.context("QEMU closed its control socket")?.get("return").is_none() {}
    events.0.get_ref().set_read_timeout(None)?;
    Ok((commands, events))
}

impl Commands {
    /// Sends a command; its answer is read by the other half.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn send(&mut self, command: &str, arguments: &Value) -> Result<()> {
        let mut line = json!({"execute": command, "arguments": arguments}).to_string();
        line.push('\n');
        self.0.write_all(line.as_bytes())?;
        Ok(())
    }
}

impl Events {
    /// The next object; `None` when QEMU has closed the connection.
    ///
    /// # Errors
    /// When it cannot be read or is no JSON.
    pub fn line(&mut self) -> Result<Option<Value>> {
        let mut text = String::new();
        if self.0.read_line(&mut text)? == 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&text)?))
    }

    /// Reads until QEMU ends; true when it ended because the guest restarted itself (SHUTDOWN, `guest-reset`).
    pub fn wait_for_end(mut self) -> bool {
        let mut restart = false;
        while let Ok(Some(line)) = self.line() {
            if line["event"] == "SHUTDOWN" {
                restart = line["data"]["reason"] == "guest-reset";
            }
        }
        restart
    }
}

/// One command and its answer, on a connection of its own.
///
/// # Errors
/// When QEMU is gone or refuses; with its words.
pub fn ask(socket: &Path, command: &str, arguments: &Value) -> Result<Value> {
    let (mut commands, mut events) = connect(socket)?;
    commands.send(command, arguments)?;
    loop {
        let mut line = events.line()?.context("QEMU closed its control socket")?;
        if let Some(error) = line.get("error") {
            bail!("QEMU refuses {command}: {}", error["desc"].as_str().unwrap_or("no reason given"));
        }
        if line.get("return").is_some() {
            return Ok(line["return"].take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn qemu(script: &'static str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(script.as_bytes()).unwrap();
            // Read to the end, so that closing does not reset the connection under the client.
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        });
        (folder, socket)
    }

    #[test]
    fn a_restart_is_told_from_a_shutdown() {
        for (reason, restart) in [("guest-reset", true), ("guest-shutdown", false)] {
            let script = format!(
                "{{\"QMP\":{{}}}}\n{{\"return\":{{}}}}\n{{\"event\":\"SHUTDOWN\",\"data\":{{\"reason\":\"{reason}\"}}}}\n"
            );
            let (_folder, socket) = qemu(script.leak());
            let (_commands, events) = connect(&socket).unwrap();
            assert_eq!(events.wait_for_end(), restart);
        }
    }

    #[test]
    fn strangers_are_refused() {
        let (_folder, socket) = qemu("{\"hello\":1}\n");
        assert!(connect(&socket).unwrap_err().to_string().contains("does not speak QMP"));
    }
}
