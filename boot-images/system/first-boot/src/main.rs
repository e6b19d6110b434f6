//! Applies the config drive on a machine that boots the system image.
//!
//! In: block devices, of which one carries the label `config-2` (OpenStack's config drive: meta_data.json, network_data.json).
//! Out: host name, root's keys, addresses, and the nonce in `/run/leasehold`; a line per step for the console.
//! Without a config drive every interface asks by DHCP and nobody can log in; both are said.
//! A part that cannot be read does not take the rest with it: a machine with a broken network description still gets its keys.
#![allow(clippy::print_stdout, reason = "its lines are what the console shows")]

mod apply;
mod drive;
mod metadata;
mod network;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::drive::Mounted;
use crate::metadata::MetaData;
use crate::network::Plan;

/// How long a config drive may take to appear after the root file system has.
const DRIVE_DEADLINE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let mut healthy = true;
    let mut check = |what: &str, result: Result<()>| {
        if let Err(error) = result {
            println!("{what}: {error:#}");
            healthy = false;
        }
    };
    let drive = match wait_for_drive() {
        Ok(drive) => drive,
        Err(error) => {
            println!("config drive: {error:#}");
            None
        }
    };
    let (meta, plan) = match &drive {
        Some(drive) => {
            println!("config drive on {}", drive.device());
            (read_meta_data(drive), read_plan(drive))
        }
        None => {
            println!("no config drive (a partition or file system named config-2): no keys, addresses by DHCP");
            (Ok(MetaData::default()), Ok(Plan::dhcp_everywhere()))
        }
    };
    let meta = meta.unwrap_or_else(|error| {
        check("meta_data.json", Err(error));
        MetaData::default()
    });
    let plan = plan.unwrap_or_else(|error| {
        check("network_data.json", Err(error.context("using DHCP on every interface instead")));
        Plan::dhcp_everywhere()
    });
    check("meta data", apply::meta_data(&meta));
    check("network", apply::network(&plan, &meta.hostname));
    if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Looks for the config drive until it is there or the deadline has passed.
fn wait_for_drive() -> Result<Option<Mounted>> {
    let root = fs::read_to_string("/run/leasehold/root-device").unwrap_or_default();
    let end = Instant::now() + DRIVE_DEADLINE;
    loop {
        let found = drive::find(Path::new("/sys/class/block"), Path::new("/dev"), root.trim());
        if let Some(candidate) = found.first() {
            if found.len() > 1 {
                println!("{} config drives found; taking {}", found.len(), candidate.device);
            }
            return drive::mount(candidate).map(Some);
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn read_meta_data(drive: &Mounted) -> Result<MetaData> {
    metadata::parse(&drive.read("openstack/latest/meta_data.json")?.context("missing on the config drive")?)
}

fn read_plan(drive: &Mounted) -> Result<Plan> {
    match drive.read("openstack/latest/network_data.json")? {
        Some(text) => network::parse(&text),
        None => Ok(Plan::dhcp_everywhere()),
    }
}
