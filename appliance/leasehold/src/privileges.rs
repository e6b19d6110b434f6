//! Capabilities instead of root: what the program keeps once it runs.
//!
//! Started as root, it gives up everything but what it needs, before any thread exists (capabilities belong to
//! threads; later ones inherit). Started by systemd as a user of its own with ambient capabilities, there is nothing to
//! give up. Files are reached as the user that started it, no longer through root's power over all files.

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// Raw sockets for DHCP, ports below 1024, and interface settings (promiscuous mode, bind to a device).
const KEPT: CapabilitySet =
    CapabilitySet::NET_RAW.union(CapabilitySet::NET_BIND_SERVICE).union(CapabilitySet::NET_ADMIN);

/// Keeps only what is needed, for good.
pub(crate) fn reduce() -> std::io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let now = capabilities(None)?;
    let kept = KEPT.intersection(now.permitted);
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })?;
    Ok(())
}

/// Raises the limit of open files to what is allowed: each TFTP transfer and each connection takes one.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: now.maximum, maximum: now.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "the limit of open files stays as it was");
    }
}
