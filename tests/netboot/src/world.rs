//! A box, the wire that machines boot from, and stations on it.

use crate::dhcp::Dhcp;
use crate::wire::Wire;
use anyhow::{Context, Result, bail, ensure};
use leasehold_protocols::dhcp::client::Firmware;
use leasehold_rack::daemon::{self, Daemon};
use leasehold_rack::folder::RunFolder;
use leasehold_rack::netns::Namespace;
use leasehold_rack::stop::Stop;
use serde_json::Value;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What the administrator chooses instead of the one-time password.
const ADMINISTRATORS_PASSWORD: &str = "booted again and again";

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(crate) const BOOT_CARD: &str = "prov0";
pub(crate) const CARD: &str = "eth0";
const API: &str = "127.0.0.1:8080";
const LOOK_EVERY: Duration = Duration::from_millis(20);
const START_LIMIT: Duration = Duration::from_secs(20);
/// An event is told within milliseconds; a loaded machine may need longer.
const EVENT_LIMIT: Duration = Duration::from_secs(8);
/// The client that must be served whatever happened before.
const HONEST: [u8; 6] = [2, 0x77, 0, 0, 0, 0xee];
const LOG_LINES: usize = 12;

/// A machine on the wire.
pub(crate) struct Station {
    pub(crate) space: Namespace,
    pub(crate) mac: [u8; 6],
}

/// Something that the program told of a booting machine.
#[derive(Debug)]
pub(crate) struct Event {
    /// `Some(MAC)` as the program writes it.
    pub(crate) mac: String,
    pub(crate) what: String,
    pub(crate) detail: Value,
}

impl Event {
    pub(crate) fn is(&self, mac: [u8; 6], what: &str) -> bool {
        self.what == what && self.mac.contains(&mac_text(mac))
    }

    pub(crate) fn says(&self, field: &str, words: &str) -> bool {
        self.detail[field].as_str().is_some_and(|text| text.contains(words))
    }
}

/// Everything. Dropping it ends it; the order of the fields is the order of their end.
pub(crate) struct World {
    appliance: Option<Daemon>,
    pub(crate) raw: Dhcp,
    /// Holds the namespace in which `raw` is.
    _station: Station,
    pub(crate) of_box: Namespace,
    wire: Namespace,
    pub(crate) folder: RunFolder,
    program: PathBuf,
    pub(crate) boot_files: PathBuf,
    pub(crate) stop: Stop,
}

impl World {
    /// Makes box, wire and one station, and starts the program.
    pub(crate) fn make(program: PathBuf, boot_files: PathBuf, keep: Option<&Path>, stop: &Stop) -> Result<World> {
        let folder = RunFolder::create(keep)?;
        let (of_box, wire) = (Namespace::create("box")?, Namespace::create("wire")?);
        wire.ip(&["link", "add", "wire", "type", "bridge"])?;
        wire.ip(&["link", "set", "wire", "up"])?;
        plug_in(&wire, &of_box, BOOT_CARD, "box", None)?;
        of_box.ip(&["address", "add", "10.77.0.1/24", "dev", BOOT_CARD])?;
        let station = station_on(&wire, "station", [2, 0x77, 0, 0, 0, 1])?;
        let raw = Dhcp::new(station.space.run(|| Wire::open(CARD))??);
        let mut world = World {
            appliance: None,
            raw,
            _station: station,
            of_box,
            wire,
            folder,
            program,
            boot_files,
            stop: stop.clone(),
        };
        fs::write(world.config(), world.config_text("state", API))?;
        world.start()?;
        Ok(world)
    }

    /// One more machine on the wire.
    pub(crate) fn station(&self, name: &'static str, mac: [u8; 6]) -> Result<Station> {
        station_on(&self.wire, name, mac)
    }

    /// Makes the box's card anew after it was deleted.
    pub(crate) fn plug_box_in(&self) -> Result<()> {
        plug_in(&self.wire, &self.of_box, BOOT_CARD, "box2", None)?;
        self.of_box.ip(&["address", "add", "10.77.0.1/24", "dev", BOOT_CARD])
    }

    fn config(&self) -> PathBuf {
        self.folder.file("leasehold.toml")
    }

    /// A configuration with its state in `state` and users on `listen`.
    pub(crate) fn config_text(&self, state: &str, listen: &str) -> String {
        // TOML's basic strings are JSON's for every path that this program makes.
        let quoted = |path: &Path| Value::from(path.to_string_lossy().into_owned()).to_string();
        format!(
            "state_folder = {}\nboot_files = {}\n\n[[interface]]\nname = \"{BOOT_CARD}\"\nroles = [\"boot\"]\n\n\
             [public]\nlisten = \"{listen}\"\nplain_http = true\n\n\
             [log]\nformat = \"json\"\nfilter = \"info,leasehold::netboot::trace=debug\"\n",
            quoted(&self.folder.file(state)),
            quoted(&self.boot_files),
        )
    }

    /// Starts the program and waits until it is ready.
    pub(crate) fn start(&mut self) -> Result<()> {
        let ready = self.folder.file("ready.json");
        match fs::remove_file(&ready) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(self.config()).arg("--ready-file").arg(&ready);
        let mut daemon = Daemon::start(&self.folder, &self.of_box, "leasehold", command)?;
        self.stop.until("the program's start", START_LIMIT, LOOK_EVERY, || {
            daemon.check()?;
            Ok(ready.exists().then_some(()))
        })?;
        self.appliance = Some(daemon);
        Ok(())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut daemon) = self.appliance.take() {
            daemon.kill();
        }
    }

    /// A start that must fail: its words.
    pub(crate) fn refused_start(&self, config: &str) -> Result<String> {
        let file = self.folder.file("second.toml");
        fs::write(&file, config)?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(&file);
        let log = self.folder.log("second");
        match fs::remove_file(&log) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mut second = Daemon::start(&self.folder, &self.of_box, "second", command)?;
        let status = second.wait(START_LIMIT)?.context("a second start goes on running")?;
        let said = fs::read_to_string(log)?;
        ensure!(!status.success(), "a second start ends with success: {said}");
        let words: Vec<&str> = said.lines().filter(|line| line.starts_with("leasehold: ")).collect();
        ensure!(words.len() == 1 && said.lines().last() == Some(words[0]), "not one clear line: {said}");
        Ok(words[0].to_owned())
    }

    /// An error when the program has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.appliance.as_mut().map_or(Ok(()), Daemon::check)
    }

    /// The program's resident memory in KiB.
    pub(crate) fn memory(&self) -> Result<u64> {
        let pid = self.appliance.as_ref().context("the program is down")?.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// The last lines of the program's log.
    pub(crate) fn log_tail(&self) -> String {
        daemon::last_lines(&self.folder.log("leasehold"), LOG_LINES)
    }

    /// The log from a place that [`Self::mark`] gave.
    pub(crate) fn log_since(&self, mark: usize) -> Result<String> {
        let bytes = fs::read(self.folder.log("leasehold"))?;
        Ok(String::from_utf8_lossy(bytes.get(mark..).unwrap_or_default()).into_owned())
    }

    /// This place in the log.
    pub(crate) fn mark(&self) -> Result<usize> {
        Ok(fs::read(self.folder.log("leasehold"))?.len())
    }

    /// Everything that was told of booting machines since then.
    pub(crate) fn events(&self, mark: usize) -> Result<Vec<Event>> {
        let text = self.log_since(mark)?;
        let read = |line: &str| {
            let row: Value = serde_json::from_str(line).ok()?;
            let fields = &row["fields"];
            (fields["message"] == "boot event").then(|| Event {
                mac: fields["mac"].as_str().unwrap_or_default().to_owned(),
                what: fields["what"].as_str().unwrap_or_default().to_owned(),
                detail: fields["detail"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default(),
            })
        };
        Ok(text.lines().filter_map(read).collect())
    }

    /// Waits for an event.
    pub(crate) fn await_event(&self, mark: usize, what: &str, wanted: impl Fn(&Event) -> bool) -> Result<Event> {
        let found = self.stop.until(what, EVENT_LIMIT, LOOK_EVERY, || Ok(self.events(mark)?.into_iter().find(&wanted)));
        found.with_context(|| format!("the log ends:\n{}", self.log_tail()))
    }

    /// Waits until `ready` gives a value.
    pub(crate) fn until<T>(&self, what: &str, limit: Duration, ready: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        self.stop.until(what, limit, LOOK_EVERY, ready)
    }

    /// A request to the API.
    pub(crate) fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        self.choose_password()?;
        self.request(&format!("admin:{ADMINISTRATORS_PASSWORD}"), method, path, body)
    }

    /// Exchanges the one-time password of the first start for one of the administrator's own; does nothing the second time.
    fn choose_password(&self) -> Result<()> {
        let Ok(old) = fs::read_to_string(self.folder.file("state/admin-password")) else { return Ok(()) };
        let old = old.trim();
        let change = serde_json::json!({"old": old, "new": ADMINISTRATORS_PASSWORD});
        self.request(&format!("admin:{old}"), "POST", "/appliance/v1/password", Some(&change)).map(drop)
    }

    fn request(&self, user: &str, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("http://{API}{path}");
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut arguments = vec!["-sS", "--fail-with-body", "--max-time", "20", "-u", user, "-X", method, &url];
        arguments.extend(["-H", "X-OpenStack-Ironic-API-Version: 1.80", "-H", "Content-Type: application/json"]);
        if !body.is_empty() {
            arguments.extend(["--data", &body]);
        }
        let answer = self.of_box.output("curl", &arguments)?;
        if answer.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&answer).with_context(|| format!("{path} answers no JSON: {answer}"))
    }

    /// The trace of a node, as the local command line prints it.
    pub(crate) fn trace(&self, node: &str) -> Result<String> {
        let socket = self.folder.file("state/leasehold.sock");
        let program = self.program.to_string_lossy().into_owned();
        self.of_box.output(&program, &["node", "trace", node, "--json", "--socket", &socket.to_string_lossy()])
    }

    /// An honest client gets an address.
    pub(crate) fn honest_client(&mut self) -> Result<()> {
        self.check()?;
        let discover = self.raw.discover(Firmware::UefiPxe, HONEST);
        self.raw.bind(SERVER, &discover).context("an honest client").map(drop)
    }

    /// Gives a station the address that the server binds to its MAC address.
    pub(crate) fn configure(&self, station: &Station, firmware: Firmware) -> Result<Ipv4Addr> {
        let client = Dhcp::new(station.space.run(|| Wire::open(CARD))??);
        let (_, ack) = client.bind(SERVER, &client.discover(firmware, station.mac))?;
        let address = ack.message.yiaddr;
        station.space.ip(&["address", "replace", &format!("{address}/24"), "dev", CARD])?;
        Ok(address)
    }

    /// Runs a short command on a station with a deadline of its own; its standard output.
    pub(crate) fn on(&self, station: &Station, limit: u32, command: &[&str]) -> Result<String> {
        let limit = limit.to_string();
        let arguments: Vec<&str> = ["-k", "1", &limit].into_iter().chain(command.iter().copied()).collect();
        station.space.output("timeout", &arguments)
    }

    /// What a boot file holds.
    pub(crate) fn boot_file(&self, name: &str) -> Result<Vec<u8>> {
        fs::read(self.boot_files.join(name)).with_context(|| name.to_owned())
    }

    /// Fails when a fetched file is another than the boot file.
    pub(crate) fn same(&self, fetched: &Path, name: &str) -> Result<()> {
        let (got, wanted) = (fs::read(fetched)?, self.boot_file(name)?);
        if got != wanted {
            bail!("{}: {} bytes that differ from {name} ({} bytes)", fetched.display(), got.len(), wanted.len());
        }
        Ok(fs::remove_file(fetched)?)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Before the namespaces.
        if let Some(mut daemon) = self.appliance.take() {
            daemon.stop(Duration::from_secs(5));
        }
    }
}

fn station_on(wire: &Namespace, name: &'static str, mac: [u8; 6]) -> Result<Station> {
    let space = Namespace::create(name)?;
    plug_in(wire, &space, CARD, name, Some(mac))?;
    Ok(Station { space, mac })
}

/// A cable from the bridge (`port`) to `card` in `space`.
fn plug_in(wire: &Namespace, space: &Namespace, card: &str, port: &str, mac: Option<[u8; 6]>) -> Result<()> {
    wire.ip(&["link", "add", "name", port, "type", "veth", "peer", "name", card, "netns", &space.path()])?;
    if let Some(mac) = mac {
        space.ip(&["link", "set", card, "address", &mac_text(mac)])?;
    }
    wire.ip(&["link", "set", port, "master", "wire", "up"])?;
    space.ip(&["link", "set", card, "up"])
}

/// A MAC address as the program writes it.
pub(crate) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Seconds until `work` succeeds, at most `limit`; its last error otherwise.
pub(crate) fn within(limit: Duration, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    loop {
        match work() {
            Ok(()) if begin.elapsed() <= limit => return Ok(begin.elapsed().as_secs_f64()),
            Ok(()) => bail!("it took {:.1} s", begin.elapsed().as_secs_f64()),
            Err(error) if begin.elapsed() > limit => return Err(error),
            Err(_) => {}
        }
    }
}
