//! The other DHCP servers, each set up as it is meant to be fast while keeping its leases in its own way.

use super::load::Machines;
use super::{RESERVED, Turn};
use crate::lab::{Lab, PREFIX, RANGE, SERVER, SERVER_INTERFACE};
use crate::process::Server;
use anyhow::Result;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

pub(super) struct Peer {
    pub(super) program: &'static str,
    pub(super) is_kea: bool,
    name: &'static str,
    slow: bool,
    command: fn(&Path, &Path) -> Result<Command>,
}

pub(super) const ALL: &[Peer] = &[
    Peer { program: "kea-dhcp4", name: "Kea MT, memfile", is_kea: true, slow: false, command: kea },
    Peer { program: "dhcpd", name: "ISC dhcpd", is_kea: false, slow: true, command: isc },
    Peer { program: "dnsmasq", name: "dnsmasq", is_kea: false, slow: true, command: dnsmasq },
];

/// Starts it; `None`: it is not installed.
pub(super) fn start(lab: &Lab, peer: &Peer) -> Result<Option<Turn>> {
    let Some(program) = lab.program(peer.program) else { return Ok(None) };
    let home = lab.folder(peer.program)?;
    let command = (peer.command)(&program, &home)?;
    let mut server = Server::start(&lab.server, lab.path(), peer.program, command)?;
    server.wait(|| port_is_taken(lab))?;
    Ok(Some(Turn { server, name: peer.name, slow: peer.slow }))
}

/// Somebody listens on port 67 (0x43) of the servers' namespace.
fn port_is_taken(lab: &Lab) -> bool {
    let sockets = lab.server.run(|| fs::read_to_string("/proc/thread-self/net/udp")).ok().and_then(Result::ok);
    sockets.is_some_and(|text| {
        text.lines().any(|line| line.split_whitespace().nth(1).is_some_and(|at| at.ends_with(":0043")))
    })
}

fn kea(program: &Path, home: &Path) -> Result<Command> {
    let [first, last] = RANGE;
    let hosts: Vec<_> = (0..RESERVED)
        .map(|number| {
            let [a, b] = [number / 250, number % 250 + 1];
            json!({"hw-address": Machines::Reserved.mac_text(number), "ip-address": format!("10.104.{a}.{b}")})
        })
        .collect();
    let config = json!({"Dhcp4": {
        "interfaces-config": {"interfaces": [format!("{SERVER_INTERFACE}/{SERVER}")], "dhcp-socket-type": "udp"},
        "lease-database": {"type": "memfile", "persist": true, "name": home.join("leases.csv"), "lfc-interval": 0},
        "multi-threading": {"enable-multi-threading": true, "thread-pool-size": 2, "packet-queue-size": 64},
        "valid-lifetime": 3600,
        "next-server": SERVER,
        "boot-file-name": "ipxe/x86_64/snponly.efi",
        "subnet4": [{
            "id": 1,
            "subnet": format!("10.96.0.0/{PREFIX}"),
            "pools": [{"pool": format!("{first} - {last}")}],
            "option-data": [{"name": "routers", "data": SERVER}, {"name": "domain-name-servers", "data": SERVER}],
            "reservations": hosts,
        }],
        "loggers": [{"name": "kea-dhcp4", "severity": "ERROR", "output_options": [{"output": "stderr"}]}],
    }});
    let path = home.join("kea.json");
    fs::write(&path, config.to_string())?;
    let mut command = Command::new(program);
    command.arg("-c").arg(path).env("KEA_PIDFILE_DIR", home).env("KEA_LOCKFILE_DIR", home);
    Ok(command)
}

fn isc(program: &Path, home: &Path) -> Result<Command> {
    let [first, last] = RANGE;
    // It keeps a record of each address in memory: the range is cut to what it can start with quickly.
    let last = last.min(std::net::Ipv4Addr::new(10, 97, 255, 255));
    let config = format!(
        "authoritative; ping-check false; dhcp-cache-threshold 0; default-lease-time 3600; max-lease-time 3600;\n\
         subnet 10.96.0.0 netmask 255.240.0.0 {{ range {first} {last}; option routers {SERVER};\n\
         next-server {SERVER}; filename \"ipxe/x86_64/snponly.efi\"; }}\n"
    );
    let (path, leases) = (home.join("dhcpd.conf"), home.join("dhcpd.leases"));
    fs::write(&path, config)?;
    fs::write(&leases, "")?;
    let mut command = Command::new(program);
    command.args(["-4", "-f", "-q", "--no-pid", "-cf"]).arg(path).arg("-lf").arg(leases).arg(SERVER_INTERFACE);
    Ok(command)
}

fn dnsmasq(program: &Path, home: &Path) -> Result<Command> {
    let [first, last] = RANGE;
    let mut command = Command::new(program);
    command
        .args(["-k", "-C", "/dev/null", "--port=0", "--user=root", "--no-ping", "--quiet-dhcp", "--bind-interfaces"])
        .arg(format!("--interface={SERVER_INTERFACE}"))
        .arg(format!("--dhcp-range={first},{last},255.240.0.0,3600"))
        .arg("--dhcp-lease-max=1000000")
        .arg(format!("--dhcp-boot=ipxe/x86_64/snponly.efi,,{SERVER}"))
        .arg(format!("--dhcp-leasefile={}", home.join("leases").display()))
        .arg(format!("--pid-file={}", home.join("pid").display()));
    Ok(command)
}
