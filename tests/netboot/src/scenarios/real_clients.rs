//! DHCP clients of operating systems, from Debian.

use crate::world::{CARD, Event, SERVER, Station, World};
use anyhow::{Context, Result, ensure};
use leasehold_rack::daemon::Daemon;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(15);

/// What udhcpc calls: tells, and sets the address.
const UDHCPC_SCRIPT: &str = r#"#!/bin/sh
case $1 in
    bound | renew) ip address replace "$ip/$mask" dev "$interface" ;;
    deconfig) ip address flush dev "$interface" ;;
esac
echo "$1 $ip" >>"$REPORT"
"#;

/// What dhclient calls; its own would change the host's name service.
const DHCLIENT_SCRIPT: &str = r#"#!/bin/sh
case $reason in
    BOUND | RENEW | REBIND | REBOOT) ip address replace "$new_ip_address/24" dev "$interface" ;;
    RELEASE | EXPIRE | PREINIT) ip address flush dev "$interface" ;;
esac
echo "$reason $new_ip_address" >>"$REPORT"
"#;

struct Client<'a> {
    world: &'a World,
    station: &'a Station,
    name: &'static str,
    script: PathBuf,
    report: PathBuf,
}

impl<'a> Client<'a> {
    fn new(world: &'a World, station: &'a Station, name: &'static str, script: &str) -> Result<Client<'a>> {
        let file = world.folder.file(&format!("{name}.script"));
        fs::write(&file, script)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        let report = world.folder.file(&format!("{name}.report"));
        fs::write(&report, "")?;
        Ok(Client { world, station, name, script: file, report })
    }

    fn start(&self, mut command: Command) -> Result<Daemon> {
        command.env("REPORT", &self.report);
        Daemon::start(&self.world.folder, &self.station.space, self.name, command)
    }

    /// Waits for the `count`th line with this word; its address.
    fn await_line(&self, word: &str, count: usize) -> Result<String> {
        self.world.until(&format!("{} says {word}", self.name), LIMIT, || {
            let text = fs::read_to_string(&self.report)?;
            let mut lines = text.lines().filter_map(|line| line.split_once(' ')).filter(|(first, _)| *first == word);
            Ok(lines.nth(count - 1).map(|(_, address)| address.to_owned()))
        })
    }

    fn event(&self, what: &'static str) -> impl Fn(&Event) -> bool + use<> {
        let mac = self.station.mac;
        move |event| event.is(mac, what)
    }
}

fn signal(daemon: &Daemon, signal: Signal) -> Result<()> {
    let pid = i32::try_from(daemon.pid()).ok().and_then(Pid::from_raw).context("a process id")?;
    Ok(kill_process(pid, signal)?)
}

pub(super) fn udhcpc(world: &mut World) -> Result<String> {
    let station = world.station("busybox", [2, 0x77, 0, 0, 2, 1])?;
    let client = Client::new(world, &station, "udhcpc", UDHCPC_SCRIPT)?;
    let mut command = Command::new("busybox");
    command.args(["udhcpc", "-f", "-i", CARD, "-t", "10", "-T", "1", "-a", "-s"]).arg(&client.script);
    let daemon = client.start(command)?;
    let address = client.await_line("bound", 1)?;

    let mark = world.mark()?;
    signal(&daemon, Signal::USR1)?;
    ensure!(client.await_line("renew", 1)? == address, "renewed with another address");
    world.await_event(mark, "the renewal in the trace", client.event("dhcp-ack"))?;

    let mark = world.mark()?;
    signal(&daemon, Signal::USR2)?;
    world.await_event(mark, "the release in the trace", client.event("dhcp-released"))?;
    signal(&daemon, Signal::USR1)?;
    let again = client.await_line("bound", 2)?;
    ensure!(again == address, "{address} at first, {again} after a release");
    Ok(address)
}

pub(super) fn dhclient(world: &mut World) -> Result<String> {
    let station = world.station("debian", [2, 0x77, 0, 0, 2, 2])?;
    let client = Client::new(world, &station, "dhclient", DHCLIENT_SCRIPT)?;
    let config = world.folder.file("dhclient.conf");
    fs::write(&config, "timeout 15;\nretry 1;\ninitial-interval 1;\n")?;
    let command = |more: &str| {
        let mut command = Command::new("dhclient");
        // It hands on no environment but what it is told to.
        command.args(["-4", "-d", more, "-e"]).arg(format!("REPORT={}", client.report.display()));
        command.arg("-cf").arg(&config).arg("-sf").arg(&client.script);
        command.arg("-lf").arg(world.folder.file("dhclient.leases"));
        command.arg("-pf").arg(world.folder.file("dhclient.pid")).arg(CARD);
        command
    };
    let mut daemon = client.start(command("-1"))?;
    let address = client.await_line("BOUND", 1)?;
    // Killed, as by a power cut: it asks for the address that it remembers (INIT-REBOOT).
    daemon.kill();
    let mut daemon = client.start(command("-1"))?;
    ensure!(client.await_line("REBOOT", 1)? == address, "rebooted with another address");
    daemon.kill();
    let mark = world.mark()?;
    let mut releasing = client.start(command("-r"))?;
    world.await_event(mark, "the release in the trace", client.event("dhcp-released"))?;
    releasing.wait(LIMIT)?.with_context(|| format!("dhclient -r does not end; the server is {SERVER}"))?;
    Ok(address)
}
