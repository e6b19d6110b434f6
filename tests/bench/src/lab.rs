//! Where the measuring happens: the servers' network namespace, the clients', a wire between them, a folder.

use crate::Plan;
use anyhow::Result;
use leasehold_rack::{command, netns::Namespace};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The servers' interface and its address.
pub(crate) const SERVER_INTERFACE: &str = "boot0";
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The clients' interface and its first address, which is also the relay's.
pub(crate) const CLIENT_INTERFACE: &str = "lab0";
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 2);
/// Length of the network's prefix: room for some hundred thousand leases.
pub(crate) const PREFIX: u8 = 12;
/// The addresses that servers give away: behind those that are in use here.
pub(crate) const RANGE: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 97, 0, 0), Ipv4Addr::new(10, 103, 255, 255)];
/// How many clients have an address of their own.
pub(crate) const CLIENTS: u32 = 100;

/// Both namespaces and the folder.
pub(crate) struct Lab {
    pub(crate) server: Namespace,
    pub(crate) client: Namespace,
    folder: tempfile::TempDir,
    peers: Option<PathBuf>,
}

impl Lab {
    pub(crate) fn new(plan: &Plan) -> Result<Lab> {
        let (server, client) = (Namespace::create("server")?, Namespace::create("client")?);
        let there = client.path();
        server.ip(&[
            "link",
            "add",
            SERVER_INTERFACE,
            "type",
            "veth",
            "peer",
            "name",
            CLIENT_INTERFACE,
            "netns",
            &there,
        ])?;
        let with_prefix = |address: Ipv4Addr| format!("{address}/{PREFIX}");
        server.ip(&["address", "add", &with_prefix(SERVER), "dev", SERVER_INTERFACE])?;
        server.ip(&["link", "set", SERVER_INTERFACE, "up"])?;
        client.ip(&["link", "set", CLIENT_INTERFACE, "up"])?;
        for number in 0..CLIENTS {
            client.ip(&["address", "add", &with_prefix(address_of(number)), "dev", CLIENT_INTERFACE])?;
        }
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&plan.folder)?;
        Ok(Lab { server, client, folder, peers: plan.peers.clone() })
    }

    /// A fresh folder of this name.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path)?;
        }
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Where everything is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A peer's program, among those unpacked or installed.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        let unpacked =
            self.peers.iter().flat_map(|folder| ["usr/sbin", "usr/bin"].map(|part| folder.join(part).join(name)));
        unpacked.into_iter().find(|path| path.is_file()).or_else(|| command::find(name))
    }
}

/// The address of a client, from 0 on.
pub(crate) fn address_of(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(CLIENT) + number)
}
