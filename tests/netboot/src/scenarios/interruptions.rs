//! Cables that are pulled, cards that go away, and a program that is started twice.

use crate::world::{BOOT_CARD, SERVER, World, within};
use anyhow::{Context, Result, ensure};
use leasehold_protocols::dhcp::client::Firmware;
use std::time::Duration;

const RESUMED: Duration = Duration::from_secs(10);
const LOADER: &str = "ipxe/undionly.kpxe";

/// All three servers serve again.
fn resumes(world: &mut World, mac: [u8; 6]) -> Result<String> {
    let station = world.station("after", mac)?;
    let seconds = within(RESUMED, || {
        world.configure(&station, Firmware::BiosPxe).context("DHCP")?;
        for scheme in ["tftp:/", "http:/"] {
            let file = world.folder.file("fetched");
            let path = if scheme == "tftp:/" { "" } else { "boot/" };
            let url = format!("{scheme}/{SERVER}/{path}{LOADER}");
            world.on(&station, 4, &["curl", "-sSf", "-o", &file.to_string_lossy(), &url]).context(scheme)?;
            world.same(&file, LOADER)?;
        }
        Ok(())
    })?;
    Ok(format!("again after {seconds:.1} s"))
}

pub(super) fn link(world: &mut World) -> Result<String> {
    world.of_box.ip(&["link", "set", BOOT_CARD, "down"])?;
    world.of_box.ip(&["link", "set", BOOT_CARD, "up"])?;
    resumes(world, [2, 0x77, 0, 0, 7, 1])
}

pub(super) fn deleted(world: &mut World) -> Result<String> {
    world.of_box.ip(&["link", "del", BOOT_CARD])?;
    world.plug_box_in()?;
    resumes(world, [2, 0x77, 0, 0, 7, 2])
}

pub(super) fn second_start(world: &mut World) -> Result<String> {
    let same_folder = world.refused_start(&world.config_text("state", "127.0.0.1:0"))?;
    let same_ports = world.refused_start(&world.config_text("other-state", "127.0.0.1:0"))?;
    let same_listener = world.refused_start(&world.config_text("third-state", "127.0.0.1:8080"))?;
    ensure!(same_folder.contains(world.folder.file("state").to_string_lossy().as_ref()), "which folder: {same_folder}");
    for line in [&same_ports, &same_listener] {
        ensure!(line.contains("port"), "no word of a port: {line}");
    }
    world.honest_client()?;
    Ok(format!("\n    {same_folder}\n    {same_ports}\n    {same_listener}"))
}
