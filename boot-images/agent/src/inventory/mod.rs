//! What the machine is made of, in ironic-python-agent's shape.
//! In: `/sys`, `/proc`, the BMC through IPMI, the neighbours' LLDP frames. Out: the inventory that is posted to the
//! appliance when it inspects. Nothing here changes the machine, except that interfaces are switched on to hear.
//! What cannot be found out is left empty; a missing fact is no failure.
mod bmc;
mod lldp;
mod network;
mod system;

pub use lldp::Neighbours;
pub use network::{interfaces, listening_names};

use leasehold_wire::agent::Inventory;
use std::path::Path;

/// Reads everything. `root` is `/` but in tests.
#[must_use]
pub fn collect(root: &Path, neighbours: &Neighbours, boot_mac: Option<&str>) -> Inventory {
    let bmc = bmc::ask();
    Inventory {
        interfaces: network::interfaces(root, neighbours),
        cpu: system::cpu(root),
        disks: crate::disk::list(&root.join("sys")).into_iter().map(|found| found.disk).collect(),
        memory: system::memory(root),
        bmc_address: bmc.as_ref().map(|bmc| bmc.address.to_string()),
        bmc_v6address: None,
        bmc_mac: bmc.and_then(|bmc| bmc.mac),
        system_vendor: system::vendor(root),
        boot: system::boot(root, boot_mac),
        hostname: hostname(),
        tpm: Some(system::tpm(root)),
    }
}

/// `None` where the ramdisk gave the machine no name, which the kernel shows as `(none)`.
fn hostname() -> Option<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Some(name).filter(|name| !name.is_empty() && name != "(none)")
}

/// A file's text without surrounding white space; `None` when it is not there or empty.
pub(crate) fn text(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned();
    (!text.is_empty()).then_some(text)
}
