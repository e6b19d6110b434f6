//! What runs on the simulated machine when it boots from the network: its loader, then the real deploy agent.
//!
//! In: an address by DHCP, the boot script, kernel and ramdisk that the appliance serves. Out: the agent's work on a disk that is a file; or
//! an exit code (`node::code`) when there is nothing to boot, or the machine leaves. Power off is SIGKILL.

use crate::dhcp;
use crate::image::SECTOR;
use crate::node::{code, code_of, rescue_file};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use leasehold_agent::agent::{self, Setting};
use leasehold_agent::boot::{Exit, Firmware};
use leasehold_agent::console::Console;
use leasehold_agent::disk::{Disk, Found};
use leasehold_agent::http::Client;
use leasehold_agent::image::Pace;
use leasehold_agent::machine::Machine;
use leasehold_agent::pulse::Pulse;
use leasehold_agent::rescue::PasswordHash;
use leasehold_agent::{parameters, tls};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For how long firmware asks for an address, and its loader for each file, before it goes on to the next boot device.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(200);
const LARGEST_FILE: u64 = 64 << 20;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    server: String,
    #[arg(long)]
    mac: String,
    #[arg(long)]
    disk: PathBuf,
    #[arg(long)]
    root: PathBuf,
    /// How long the machine takes to reach the network, in milliseconds.
    #[arg(long, default_value_t = 0)]
    post_ms: u64,
    /// Only ask for address and script, and say whether they came.
    #[arg(long)]
    probe: bool,
}

/// Boots; returns when there is nothing to boot or the agent has given up.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    std::thread::sleep(Duration::from_millis(arguments.post_ms));
    let mac = parse_mac(&arguments.mac)?;
    let address = dhcp::configure(mac, PATIENCE);
    // The agent sets the clock of its machine, and this one's is not its own.
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    let loader = Loader { client: Client::new(tls::client(tls::Trust::Nobody)?), server: &arguments.server };
    if arguments.probe {
        let answered = address.and_then(|_| loader.load(&arguments.mac));
        return answered.map(|_| ExitCode::SUCCESS);
    }
    let console = Console::of_stderr();
    let line = match address.and_then(|_| loader.load(&arguments.mac)) {
        Ok(Some(line)) => line,
        Ok(None) => {
            console.say("the boot script leads to the disk");
            return Ok(ExitCode::from(code::NO_NETWORK_BOOT));
        }
        Err(error) => {
            console.say(&format!("nothing to boot from the network: {error:#}"));
            return Ok(ExitCode::from(code::NO_NETWORK_BOOT));
        }
    };
    // Of an earlier rescue.
    match std::fs::remove_file(rescue_file(&arguments.disk)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let setting = Setting {
        parameters: parameters::parse(&line)?,
        machine: Arc::new(FileMachine { disk: arguments.disk.clone() }),
        console,
        root: arguments.root.clone(),
        port: agent::PORT,
        pace: Pace::default(),
        pulse: Pulse::default(),
    };
    agent::run(setting).map_err(|why| anyhow::anyhow!(why))?;
    // The agent has handed over and waits for its machine's end.
    loop {
        std::thread::park();
    }
}

fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let bytes = text.split(':').map(|part| u8::from_str_radix(part, 16)).collect::<Result<Vec<u8>, _>>()?;
    bytes.try_into().map_err(|_| anyhow::anyhow!("'{text}' is no MAC address"))
}

/// A network boot loader, as far as it is needed: fetches script, kernel and ramdisks.
struct Loader<'a> {
    client: Client,
    server: &'a str,
}

impl Loader<'_> {
    /// The kernel's command line; `None` when the script does not start one.
    fn load(&self, mac: &str) -> Result<Option<String>> {
        let script = String::from_utf8(self.fetch(&format!("http://{}/boot/script/{mac}", self.server))?)?;
        let Some(plan) = read_script(&script)? else { return Ok(None) };
        for url in std::iter::once(&plan.kernel).chain(&plan.ramdisks) {
            ensure!(!self.fetch(url)?.is_empty(), "{url} is empty");
        }
        Ok(Some(plan.line))
    }

    fn fetch(&self, url: &str) -> Result<Vec<u8>> {
        let begin = Instant::now();
        loop {
            let error = match self.client.call("GET", url, &[], &[], LARGEST_FILE) {
                Ok(answer) if answer.head.status == 200 => return Ok(answer.body),
                Ok(answer) => {
                    let words = String::from_utf8_lossy(&answer.body);
                    anyhow::anyhow!("{url}: {}: {}", answer.head.status, words.trim())
                }
                Err(error) => error.into(),
            };
            if begin.elapsed() > PATIENCE {
                return Err(error);
            }
            std::thread::sleep(PAUSE);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Plan {
    kernel: String,
    line: String,
    ramdisks: Vec<String>,
}

/// Reads the few commands that the appliance writes.
fn read_script(script: &str) -> Result<Option<Plan>> {
    ensure!(script.starts_with("#!ipxe\n"), "the script has no mark of a script");
    let mut kernel = None;
    let mut ramdisks = Vec::new();
    for line in script.lines().skip(1) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["kernel", "--name", _, url, ..] => kernel = Some((url.to_owned(), words[4..].join(" "))),
            ["initrd", "--name", _, url] => ramdisks.push(url.to_owned()),
            ["boot", ..] => {
                let (kernel, line) = kernel.context("the script boots without a kernel")?;
                return Ok(Some(Plan { kernel, line, ramdisks }));
            }
            ["exit" | "sanboot", ..] => return Ok(None),
            ["echo" | "sleep" | "set" | "isset" | "iseq" | "goto", ..] | [""] => {}
            _ if line.starts_with(':') || line.starts_with('#') => {}
            _ => bail!("the script has a line that no loader knows: {line}"),
        }
    }
    Ok(None)
}

/// A machine whose disk is a file.
struct FileMachine {
    disk: PathBuf,
}

impl Machine for FileMachine {
    fn disks(&self) -> Vec<Found> {
        let size = std::fs::metadata(&self.disk).map_or(0, |file| file.len());
        let name = self.disk.display().to_string();
        let disk = leasehold_wire::agent::Disk { name, size, ..Default::default() };
        vec![Found { disk, removable: false, read_only: false }]
    }

    fn open(&self, name: &str) -> std::io::Result<Disk> {
        Disk::open_file(Path::new(name), SECTOR)
    }

    fn partitions(&self, _name: &str) -> Vec<(u64, u64)> {
        Vec::new()
    }

    fn uefi(&self) -> Option<Option<Firmware>> {
        None
    }

    fn open_rescue(&self, hash: &PasswordHash) -> Result<String, String> {
        std::fs::write(rescue_file(&self.disk), hash.expose()).map_err(|error| error.to_string())?;
        Ok("the simulated machine lets its user in".into())
    }

    fn hand_over(&self) -> Result<(), String> {
        Ok(())
    }

    fn leave(&self, exit: Exit) -> Result<(), String> {
        std::process::exit(i32::from(code_of(exit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_or_leads_to_the_disk() {
        let script = "#!ipxe\necho node n starts\nkernel --name kernel http://a/k initrd=initrd0 ${arg1} x=y\n\
                      initrd --name initrd0 http://a/i\nboot\n";
        let plan = read_script(script).unwrap().unwrap();
        assert_eq!(plan.kernel, "http://a/k");
        assert_eq!(plan.line, "initrd=initrd0 ${arg1} x=y");
        assert_eq!(plan.ramdisks, ["http://a/i"]);
        for to_disk in ["exit 1", "sanboot --no-describe --drive 0x80"] {
            assert_eq!(read_script(&format!("#!ipxe\necho x\n{to_disk}\n")).unwrap(), None);
        }
        assert!(read_script("#!ipxe\nboot\n").is_err());
        assert!(read_script("<html>").is_err());
        assert!(read_script("#!ipxe\nshell\n").is_err());
    }
}
