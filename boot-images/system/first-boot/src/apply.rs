//! Puts what was read into effect.
//!
//! In: the meta data and the plan of the network. Out: files below /run and /root/.ssh, the host name, addresses.
//! The root file system is read-only; everything here lives in memory and is made anew at each start.
//! Programs are called with their arguments as words, never by a shell.
//! An interface that does not come up in time is named, and the others go on.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::metadata::MetaData;
use crate::network::{Interface, Plan};

/// How long a card may take to appear.
const CARD_DEADLINE: Duration = Duration::from_secs(15);

/// Host name, keys, and what the proof of a deployment reads: id and nonce.
pub(crate) fn meta_data(meta: &MetaData) -> Result<()> {
    write(Path::new("/run/leasehold/nonce"), 0o644, &line(&meta.nonce))?;
    write(Path::new("/run/leasehold/uuid"), 0o644, &line(&meta.uuid))?;
    let hostname = if meta.hostname.is_empty() { "leasehold" } else { &meta.hostname };
    rustix::system::sethostname(hostname.as_bytes()).context("cannot set the host name")?;
    println!("host name {hostname}, id {}", if meta.uuid.is_empty() { "none" } else { &meta.uuid });
    fs::DirBuilder::new().recursive(true).mode(0o700).create("/root/.ssh")?;
    let keys: String = meta.keys.iter().map(|key| line(key)).collect();
    write(Path::new("/root/.ssh/authorized_keys"), 0o600, &keys)?;
    println!("{} keys may log in as root", meta.keys.len());
    Ok(())
}

fn line(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

/// Brings the interfaces up as planned.
pub(crate) fn network(plan: &Plan, hostname: &str) -> Result<()> {
    for skipped in &plan.skipped {
        println!("not done by this image: {skipped}");
    }
    if !plan.name_servers.is_empty() {
        let text: String = plan.name_servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        write(Path::new("/run/resolv.conf"), 0o644, &text)?;
    }
    if plan.everywhere {
        for (name, _) in cards(Path::new("/sys/class/net"))? {
            run("ip", &["link", "set", &name, "up"])?;
            ask_by_dhcp(&name, hostname)?;
        }
        return Ok(());
    }
    let mut failures = Vec::new();
    for interface in &plan.interfaces {
        if let Err(error) = bring_up(interface, hostname) {
            failures.push(format!("{error:#}"));
        }
    }
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("; ")) }
}

fn bring_up(interface: &Interface, hostname: &str) -> Result<()> {
    let card = wait_for_card(&interface.mac)?;
    for command in interface.commands(&card) {
        run("ip", &command.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    let name = interface.name(&card);
    for address in &interface.addresses {
        println!("{name} {} address {}/{}", interface.mac, address.address, address.prefix);
    }
    if interface.dhcp { ask_by_dhcp(&name, hostname) } else { Ok(()) }
}

/// Asks for an address and goes on after the first answer, or without one: udhcpc stays and asks on.
fn ask_by_dhcp(name: &str, hostname: &str) -> Result<()> {
    println!("{name} asks for an address by DHCP");
    let mut arguments = vec!["-i", name, "-s", "/etc/leasehold/udhcpc", "-b", "-t", "5", "-T", "2"];
    let option = format!("hostname:{hostname}");
    if !hostname.is_empty() {
        arguments.extend(["-x", &option]);
    }
    run("udhcpc", &arguments)?;
    match fs::read_to_string("/run/leasehold/address") {
        Ok(address) => println!("{name} address {}", address.trim()),
        Err(_) => println!("{name} has no answer yet; udhcpc asks on"),
    }
    Ok(())
}

fn wait_for_card(mac: &str) -> Result<String> {
    let end = Instant::now() + CARD_DEADLINE;
    loop {
        let cards = cards(Path::new("/sys/class/net"))?;
        if let Some((name, _)) = cards.iter().find(|(_, address)| address == mac) {
            return Ok(name.clone());
        }
        if Instant::now() >= end {
            let found: Vec<String> = cards.iter().map(|(name, address)| format!("{name} {address}")).collect();
            bail!("no interface with the address {mac} (found: {})", found.join(", "));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Interfaces that are hardware, by name, with their addresses.
fn cards(class: &Path) -> Result<Vec<(String, String)>> {
    let mut cards = Vec::new();
    for entry in fs::read_dir(class).context("cannot list network interfaces")? {
        let path = entry?.path();
        if path.join("device").exists() {
            let address = fs::read_to_string(path.join("address")).unwrap_or_default();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            cards.push((name, address.trim().to_ascii_lowercase()));
        }
    }
    cards.sort();
    Ok(cards)
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    // udhcpc goes on in the background with the outputs it was given: a pipe of ours would never end.
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    if status.success() { Ok(()) } else { bail!("{program} {} failed: {status}", arguments.join(" ")) }
}

fn write(path: &Path, mode: u32, text: &str) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hardware_counts_as_a_card() {
        let folder = tempfile::tempdir().unwrap();
        for (name, hardware) in [("lo", false), ("eth1", true), ("eth0", true)] {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("address"), "52:54:00:AA:00:01\n").unwrap();
            if hardware {
                fs::create_dir(path.join("device")).unwrap();
            }
        }
        let names: Vec<String> = cards(folder.path()).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["eth0", "eth1"]);
    }

    #[test]
    fn a_failing_program_is_named_with_its_arguments() {
        let error = run("false", &["a", "b"]).unwrap_err().to_string();
        assert!(error.starts_with("false a b failed"), "{error}");
        assert!(run("leasehold-no-such-program", &[]).unwrap_err().to_string().contains("cannot start"));
    }

    #[test]
    fn a_written_file_has_its_mode_and_replaces_the_old_text() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        write(&path, 0o600, "long text\n").unwrap();
        write(&path, 0o600, &line("x")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "x\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(line(""), "");
    }
}
