//! The ways in which a machine's firmware comes to its system: what it asks for, by the appliance's boot trace.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Scene;
use super::steps::{SHORT, each, prove_system};
use crate::guest::{BootDevice, NetworkBoot};
use crate::machine::{Override, PowerTarget};
use crate::plan::Firmware;
use crate::rack::Node;
use crate::say;

/// A node's boot trace from a moment on.
pub(super) struct Trace<'a> {
    scene: &'a Scene<'a>,
    name: &'static str,
    cursor: String,
}

impl<'a> Trace<'a> {
    /// From now on.
    pub(super) fn begin(scene: &'a Scene, node: &Node) -> Result<Self> {
        let mut trace = Self { scene, name: node.plan.name, cursor: String::new() };
        let seen = trace.get()?;
        // A node without a past has no cursor.
        seen["cursor"].as_str().unwrap_or_default().clone_into(&mut trace.cursor);
        Ok(trace)
    }

    fn get(&self) -> Result<Value> {
        let cursor = match self.cursor.as_str() {
            "" => String::new(),
            cursor => format!("?cursor={}", cursor.replace('+', "%2B")),
        };
        self.scene.api.get(&format!("/appliance/v1/nodes/{}/trace{cursor}", self.name))
    }

    /// What has come since, of the machine's boot.
    pub(super) fn boots(&self) -> Result<Boots> {
        let rows = self.get()?["trace"].as_array().cloned().unwrap_or_default();
        Ok(Boots { name: self.name, rows: rows.into_iter().filter(|row| row["source"] == "boot").collect() })
    }
}

/// Rows of a boot trace.
pub(super) struct Boots {
    name: &'static str,
    rows: Vec<Value>,
}

impl Boots {
    fn any(&self, what: &str, fits: impl Fn(&Value) -> bool) -> bool {
        self.rows.iter().any(|row| row["what"] == what && fits(&row["detail"]))
    }

    fn needs(&self, holds: bool, words: &str) -> Result<()> {
        ensure!(holds, "the boot trace of {} shows no {words}: {}", self.name, Value::from(self.rows.clone()));
        Ok(())
    }

    fn asked_as(&self, title: &str, class: &str) -> Result<()> {
        let fits = |detail: &Value| {
            detail["arch"] == title && detail["class"].as_str().is_some_and(|found| found.starts_with(class))
        };
        self.needs(self.any("dhcp-discover", fits), &format!("DISCOVER of {title}, class {class}"))
    }

    fn fetched(&self, what: &str, field: &str, end: &str) -> Result<()> {
        let fits = |detail: &Value| detail[field].as_str().is_some_and(|path| path.contains(end));
        self.needs(self.any(what, fits), &format!("{what} of {end}"))
    }

    /// It asked, and was told to go on to its disk: a BIOS by an offer without a file, UEFI by a loader and its script.
    fn was_sent_to_disk(&self, firmware: Firmware) -> Result<()> {
        let told = |detail: &Value| {
            let without_file = detail["boot_file"].is_null();
            without_file == (firmware == Firmware::Bios)
                && detail["note"].as_str().is_some_and(|note| note.contains("to its disk"))
        };
        self.needs(self.any("dhcp-offer", told), "offer that sends it to its disk")?;
        match firmware {
            Firmware::Bios => self.needs(!self.any("http-served", |_| true), "way past the network"),
            Firmware::Uefi => self.fetched("http-served", "path", "/boot/script/"),
        }
    }

    /// It came to the agent by its firmware's own client, the loader that fits it, and the boot script.
    pub(super) fn came_to_agent(&self, firmware: Firmware, network: NetworkBoot) -> Result<()> {
        match (firmware, network) {
            // The card's ROM is iPXE and needs no loader.
            (Firmware::Bios, _) => self.asked_as("iPXE, x86 BIOS", "PXEClient")?,
            (Firmware::Uefi, NetworkBoot::Http) => {
                self.asked_as("HTTP Boot, x86-64 UEFI", "HTTPClient")?;
                self.fetched("http-served", "path", "ipxe/x86_64/snponly.efi")?;
                self.asked_as("iPXE, x86-64 UEFI", "PXEClient")?;
                self.needs(!self.any("tftp-start", |_| true), "way without TFTP")?;
            }
            (Firmware::Uefi, _) => {
                self.asked_as("PXE, x86-64 UEFI", "PXEClient")?;
                self.fetched("tftp-done", "file", "ipxe/x86_64/snponly.efi")?;
                self.asked_as("iPXE, x86-64 UEFI", "PXEClient")?;
            }
        }
        self.fetched("http-served", "path", "/boot/script/")?;
        self.fetched("http-served", "path", "agent/x86_64/vmlinuz")?;
        self.fetched("http-served", "path", "agent/x86_64/initramfs")
    }
}

/// Off and on reach the machine itself; and a machine that boots from the network first, although it should boot from
/// its disk, comes to its disk all the same, and at once. So does a BIOS machine whose own iPXE fetches the boot script
/// whatever it was offered: the script starts the disk.
pub(super) fn network_first(scene: &mut Scene) -> Result<()> {
    each(scene, |scene, node| {
        let (cli, name) = (&scene.cli, node.plan.name);
        cli.run(&["node", "power", "off", name, "--power-timeout", SHORT])?;
        ensure!(!node.machine.is_on(), "{name} is still on after power off");
        let usual = node.machine.boot();
        node.machine.set_boot(Some(Override { device: BootDevice::Pxe, persistent: true }));
        let trace = Trace::begin(scene, node)?;
        cli.run(&["node", "power", "on", name, "--power-timeout", SHORT])?;
        ensure!(node.machine.is_on(), "{name} is off after power on");
        prove_system(scene, node)?;
        trace.boots()?.was_sent_to_disk(node.plan.firmware)?;
        say::step(name, "asked the network first and came to its disk");
        node.machine.set_boot(usual);
        if node.plan.firmware == Firmware::Bios {
            own_ipxe(scene, node)?;
        }
        Ok(())
    })
}

fn own_ipxe(scene: &Scene, node: &Node) -> Result<()> {
    let trace = Trace::begin(scene, node)?;
    node.machine.set_network_boot(NetworkBoot::OwnIpxe);
    node.machine.power(PowerTarget::Reset)?;
    prove_system(scene, node)?;
    node.machine.set_network_boot(NetworkBoot::Pxe);
    trace.boots()?.fetched("http-served", "path", "/boot/script/")?;
    say::step(node.plan.name, "its own iPXE fetched the boot script and came to its disk");
    Ok(())
}
