//! A node with a job, from its firmware's first word to the boot script.

use crate::bmc::{self, Bmc};
use crate::world::{SERVER, Station, World, mac_text};
use anyhow::{Result, ensure};
use leasehold_protocols::dhcp::client::Firmware;
use serde_json::{Value, json};
use std::time::Duration;

const MAC: [u8; 6] = [2, 0x77, 0, 0, 3, 1];
const BIOS_LOADER: &str = "ipxe/undionly.kpxe";
const UEFI_LOADER: &str = "ipxe/x86_64/snponly.efi";
const KERNEL: &str = "agent/x86_64/vmlinuz";
const JOB_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn run(world: &mut World) -> Result<String> {
    let _bmc = Bmc::start(&world.of_box)?;
    let node = json!({"name": "node0", "driver": "ipmi", "driver_info": {
        "ipmi_address": "127.0.0.1", "ipmi_port": bmc::PORT, "ipmi_username": "admin", "ipmi_password": "password"}});
    let node = world.api("POST", "/baremetal/v1/nodes", Some(&node))?;
    let port = json!({"node_uuid": node["uuid"], "address": mac_text(MAC)});
    world.api("POST", "/baremetal/v1/ports", Some(&port))?;
    provision(world, "manage", "manageable")?;
    provision(world, "inspect", "inspect wait")?;

    dhcp(world)?;
    let station = world.station("node0", MAC)?;
    let address = world.configure(&station, Firmware::IpxeBios)?;
    tftp(world, &station)?;
    http(world, &station)?;
    script(world, &station)?;
    provision(world, "abort", "inspect failed")?;
    let (status, text) = fetch_script(world, &station)?;
    ensure!(status == "200" && !text.contains("kernel ") && text.contains("exit"), "no disk script: {status} {text}");
    let offer = world.raw.bind(SERVER, &world.raw.discover(Firmware::BiosPxe, MAC))?.0;
    ensure!(offer.boot_file().is_empty(), "after the job it is still sent to load {}", offer.boot_file());
    Ok(address.to_string())
}

/// Asks for a state and waits until the node is in it.
fn provision(world: &World, verb: &str, state: &str) -> Result<()> {
    world.api("PUT", "/baremetal/v1/nodes/node0/states/provision", Some(&json!({"target": verb})))?;
    let mut last = Value::Null;
    let reached = world.until(&format!("the state '{state}'"), JOB_LIMIT, || {
        last = world.api("GET", "/baremetal/v1/nodes/node0", None)?;
        Ok((last["provision_state"] == state).then_some(()))
    });
    reached.map_err(|error| error.context(format!("{}: {}", last["provision_state"], last["last_error"])))
}

fn dhcp(world: &World) -> Result<()> {
    let files = format!("http://{SERVER}/boot");
    let script = format!("{files}/script/{}", mac_text(MAC));
    let http = format!("{files}/{UEFI_LOADER}");
    for (firmware, wanted) in [
        (Firmware::BiosPxe, BIOS_LOADER),
        (Firmware::UefiPxe, UEFI_LOADER),
        (Firmware::UefiHttp, &http),
        (Firmware::IpxeBios, &script),
        (Firmware::IpxeUefi, &script),
        (Firmware::Arm64Pxe, ""),
        (Firmware::Linux, ""),
    ] {
        let (offer, ack) = world.raw.bind(SERVER, &world.raw.discover(firmware, MAC))?;
        for answer in [offer, ack] {
            ensure!(answer.boot_file() == wanted, "{firmware:?} is sent to '{}', not '{wanted}'", answer.boot_file());
        }
    }
    Ok(())
}

fn tftp(world: &World, station: &Station) -> Result<()> {
    let server = SERVER.to_string();
    let file = world.folder.file("fetched");
    let out = file.to_string_lossy().into_owned();
    for name in [BIOS_LOADER, UEFI_LOADER] {
        let mark = world.mark()?;
        world.on(station, 20, &["tftp", "-m", "binary", &server, "-c", "get", name, &out])?;
        world.same(&file, name)?;
        world.await_event(mark, "the transfer in the trace", |event| {
            event.is(MAC, "tftp-done") && event.says("file", name)
        })?;
        let wide = ["--option", "blksize 1428", "--option", "windowsize 16", "--get", "-r", name, "-l", &out, &server];
        world.on(station, 20, &[&["atftp"][..], &wide].concat())?;
        world.same(&file, name)?;
        let url = format!("tftp://{server}/{name}");
        for more in [&[][..], &["--tftp-blksize", "1428"], &["--tftp-no-options"]] {
            world.on(station, 20, &[&["curl", "-sS", "-o", &out, &url][..], more].concat())?;
            world.same(&file, name)?;
        }
    }
    Ok(())
}

fn http(world: &World, station: &Station) -> Result<()> {
    let file = world.folder.file("fetched");
    let out = file.to_string_lossy().into_owned();
    let url = format!("http://{SERVER}/boot/{KERNEL}");
    let whole = world.boot_file(KERNEL)?;
    world.on(station, 20, &["curl", "-sSf", "-o", &out, &url])?;
    world.same(&file, KERNEL)?;
    for (range, wanted) in [
        ("100-4099", &whole[100..4100]),
        ("-10", &whole[whole.len() - 10..]),
        ("8000000-", &whole[8_000_000.min(whole.len() - 1)..]),
    ] {
        let start = if range == "8000000-" && whole.len() <= 8_000_000 {
            format!("{}-", whole.len() - 1)
        } else {
            range.into()
        };
        let status = world.on(station, 20, &["curl", "-sS", "-o", &out, "-w", "%{http_code}", "-r", &start, &url])?;
        ensure!(status == "206" && std::fs::read(&file)? == wanted, "range {start}: status {status}");
    }
    let beyond =
        world.on(station, 20, &["curl", "-sS", "-o", &out, "-w", "%{http_code}", "-r", "99999999999-", &url])?;
    ensure!(beyond == "416", "a range beyond the end: {beyond}");
    let head = world.on(station, 20, &["curl", "-sSI", &url])?.to_lowercase();
    ensure!(head.contains(&format!("content-length: {}\r", whole.len())), "HEAD: {head}");
    Ok(())
}

/// Status and text of the node's script, as this station gets it.
fn fetch_script(world: &World, station: &Station) -> Result<(String, String)> {
    let url = format!("http://{SERVER}/boot/script/{}", mac_text(MAC));
    let answer = world.on(station, 20, &["curl", "-sS", "-w", "\n%{http_code}", &url])?;
    let (text, status) = answer.rsplit_once('\n').unwrap_or_default();
    Ok((status.to_owned(), text.to_owned()))
}

fn script(world: &World, station: &Station) -> Result<()> {
    let (status, text) = fetch_script(world, station)?;
    let kernel = text.lines().find(|line| line.starts_with("kernel ")).unwrap_or_default();
    ensure!(status == "200" && kernel.contains(&format!("http://{SERVER}/boot/{KERNEL}")), "no kernel line: {text}");
    let token =
        kernel.split(' ').find_map(|word| word.split_once("token=")).map(|(_, token)| token).unwrap_or_default();
    ensure!(token.len() >= 32, "no token in {kernel}");
    for address in ["the squatter's own", "none"] {
        let other = world.station("thief", [2, 0x77, 0, 0, 3, 9])?;
        if address == "none" {
            other.space.ip(&["address", "add", "10.77.0.60/24", "dev", crate::world::CARD])?;
        } else {
            world.configure(&other, Firmware::Linux)?;
        }
        let (status, text) = fetch_script(world, &other)?;
        ensure!(status == "404" && !text.contains(token), "from an address ({address}) of another: {status} {text}");
    }
    Ok(())
}
