//! The power agent's door: a Unix socket that takes one JSON object a line and answers each with one.
//!
//! `{"op":"get"}` → `{"power":"on|off","boot":{"device":"none|pxe|disk","persistent":bool,"mode":"bios|uefi"}}`;
//! `{"op":"power","target":"on|off|reset|cycle|soft|nmi"}` → `{"ok":true}`;
//! `{"op":"boot","device":…,"persistent":…,"mode":…}` → `{"ok":true}`; a refusal is `{"error":"a sentence"}`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::guest::BootDevice;
use crate::machine::{Machine, Override, PowerTarget};

/// Longest request line, bytes.
const LONGEST_LINE: u64 = 4096;

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
enum Request {
    Get,
    Power { target: String },
    Boot { device: String, persistent: bool, mode: String },
}

/// The listening socket; dropping it ends it.
#[derive(Debug)]
pub struct PowerSocket {
    path: PathBuf,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PowerSocket {
    /// Listens at `path` for `machine`.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(path: &Path, machine: Machine) -> Result<Self> {
        let listener = UnixListener::bind(path).with_context(|| format!("{} cannot be made", path.display()))?;
        let ended = Arc::new(AtomicBool::new(false));
        let flag = ended.clone();
        let thread = std::thread::Builder::new().name(format!("{}-power", machine.node().name)).spawn(move || {
            for stream in listener.incoming() {
                if flag.load(Ordering::SeqCst) {
                    return;
                }
                let machine = machine.clone();
                if let Ok(stream) = stream {
                    std::thread::spawn(move || converse(&stream, &machine));
                }
            }
        })?;
        Ok(Self { path: path.to_owned(), ended, thread: Some(thread) })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PowerSocket {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread. Where somebody has removed the socket it cannot be woken, and ends with the program.
        if UnixStream::connect(&self.path).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

fn converse(stream: &UnixStream, machine: &Machine) {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(length) if length > 0 => {}
            _ => return,
        }
        let mut answer = answer(&line, machine).to_string();
        answer.push('\n');
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(line: &[u8], machine: &Machine) -> Value {
    let request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => return json!({"error": format!("the request is not understood: {error}")}),
    };
    carry_out(request, machine).unwrap_or_else(|error| json!({"error": format!("{error:#}")}))
}

fn carry_out(request: Request, machine: &Machine) -> Result<Value> {
    let own_mode = machine.node().firmware.mode();
    match request {
        Request::Get => {
            let boot = machine.boot();
            let device = boot.map_or("none", |boot| match boot.device {
                BootDevice::Pxe => "pxe",
                BootDevice::Disk => "disk",
            });
            let persistent = boot.is_some_and(|boot| boot.persistent);
            let power = if machine.is_on() { "on" } else { "off" };
            Ok(json!({"power": power, "boot": {"device": device, "persistent": persistent, "mode": own_mode}}))
        }
        Request::Power { target } => {
            machine.power(match target.as_str() {
                "on" => PowerTarget::On,
                "off" => PowerTarget::Off,
                "reset" => PowerTarget::Reset,
                "cycle" => PowerTarget::Cycle,
                "soft" => PowerTarget::Soft,
                "nmi" => PowerTarget::Nmi,
                other => bail!("{other} is no power target: on, off, reset, cycle, soft and nmi are"),
            })?;
            Ok(json!({"ok": true}))
        }
        Request::Boot { device, persistent, mode } => {
            // A machine whose firmware knows one mode never starts in the other; saying so beats a silent black screen.
            if mode != own_mode {
                bail!("this machine boots in {own_mode} mode, not in {mode} mode");
            }
            let device = match device.as_str() {
                "none" => None,
                "pxe" => Some(BootDevice::Pxe),
                "disk" => Some(BootDevice::Disk),
                other => bail!("this machine has no {other} to boot from: none, pxe and disk are possible"),
            };
            machine.set_boot(device.map(|device| Override { device, persistent }));
            Ok(json!({"ok": true}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Start;
    use crate::machine::{Guest, Launcher, OnEnd};
    use crate::plan;
    use proptest::prelude::*;

    struct Bench;
    impl Guest for Bench {
        fn press_power_button(&mut self) -> Result<()> {
            Ok(())
        }
        fn interrupt(&mut self) -> Result<()> {
            Ok(())
        }
        fn cut_power(&mut self) {}
    }
    impl Launcher for Bench {
        fn launch(&self, _: Start, _: OnEnd) -> Result<Box<dyn Guest>> {
            Ok(Box::new(Bench))
        }
    }

    fn machine(index: usize) -> Machine {
        Machine::new(plan::NODES[index], Box::new(Bench), "/dev/null".into())
    }

    #[test]
    fn a_conversation_over_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = PowerSocket::listen(&folder.path().join("power.sock"), machine(1)).unwrap();
        let mut stream = UnixStream::connect(socket.path()).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut ask = |request: &str| {
            writeln!(stream, "{request}").unwrap();
            serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()
        };
        let get = r#"{"op":"get"}"#;
        assert_eq!(ask(get), json!({"power":"off","boot":{"device":"none","persistent":false,"mode":"uefi"}}));
        let boot = r#"{"op":"boot","device":"disk","persistent":true,"mode":"uefi"}"#;
        assert_eq!(ask(boot), json!({"ok": true}));
        let nmi = r#"{"op":"power","target":"nmi"}"#;
        assert!(ask(nmi)["error"].as_str().is_some_and(|why| why.contains("off")));
        assert_eq!(ask(r#"{"op":"power","target":"on"}"#), json!({"ok": true}));
        assert_eq!(ask(nmi), json!({"ok": true}));
        assert_eq!(ask(get), json!({"power":"on","boot":{"device":"disk","persistent":true,"mode":"uefi"}}));
        drop(socket);
        assert!(!folder.path().join("power.sock").exists());
    }

    #[test]
    fn its_end_does_not_wait_for_a_socket_that_somebody_removed() {
        let folder = tempfile::tempdir().unwrap();
        let socket = PowerSocket::listen(&folder.path().join("power.sock"), machine(0)).unwrap();
        std::fs::remove_file(socket.path()).unwrap();
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            drop(socket);
            done.send(()).unwrap();
        });
        ended.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
    }

    #[test]
    fn refusals_say_why_and_change_nothing() {
        let machine = machine(0);
        for (request, words) in [
            (r#"{"op":"power","target":"sideways"}"#, "no power target"),
            (r#"{"op":"power","target":"reset"}"#, "is off"),
            (r#"{"op":"boot","device":"pxe","persistent":false,"mode":"uefi"}"#, "bios mode"),
            (r#"{"op":"boot","device":"cdrom","persistent":false,"mode":"bios"}"#, "no cdrom"),
            (r#"{"op":"boot","device":"pxe","persistent":"yes","mode":"bios"}"#, "not understood"),
            (r#"{"op":"explode"}"#, "not understood"),
            ("{", "not understood"),
        ] {
            let answer = answer(request.as_bytes(), &machine);
            assert!(answer["error"].as_str().unwrap().contains(words), "{request}: {answer}");
            assert!(!machine.is_on() && machine.boot().is_none());
        }
    }

    proptest! {
        #[test]
        fn any_line_gets_an_answer(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(answer(&line, &machine(0)).is_object());
        }
    }
}
