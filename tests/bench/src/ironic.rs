//! The peer of the bare-metal API: Ironic itself, API and conductor in one process, sqlite, without authentication.

use crate::client::Client;
use crate::lab::Lab;
use crate::process::Server;
use anyhow::{Context, Result, bail};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Its name in every table.
pub(crate) const IRONIC: &str = "Ironic, sqlite, no auth";
const PORT: u16 = 6386;

/// Ironic's programs (a Python environment with the package `ironic`) and a folder for its files.
pub(crate) struct Ironic {
    programs: PathBuf,
    config: PathBuf,
}

impl Ironic {
    /// None where the environment is not there.
    pub(crate) fn new(lab: &Lab, peers: Option<&Path>) -> Result<Option<Ironic>> {
        let Some(programs) = peers.map(|peers| peers.join("ironic/bin")).filter(|bin| bin.join("ironic").exists())
        else {
            return Ok(None);
        };
        let home = lab.folder("ironic")?;
        let (database, state, config) = (home.join("ironic.sqlite"), home.join("state"), home.join("ironic.conf"));
        fs::create_dir_all(&state)?;
        let mut text = format!(
            "[DEFAULT]\nauth_strategy = noauth\nrpc_transport = none\nhost = bench\nmy_ip = 127.0.0.1\n\
             state_path = {state}\nenabled_hardware_types = fake-hardware\n",
            state = state.display()
        );
        for (interface, kinds) in [
            ("boot", "fake"),
            ("deploy", "fake"),
            ("management", "fake"),
            ("power", "fake"),
            ("network", "noop"),
            ("bios", "no-bios,fake"),
            ("console", "no-console,fake"),
            ("firmware", "no-firmware,fake"),
            ("inspect", "no-inspect,fake"),
            ("raid", "no-raid,fake"),
            ("rescue", "no-rescue,fake"),
            ("storage", "noop,fake"),
            ("vendor", "no-vendor,fake"),
        ] {
            text += &format!("enabled_{interface}_interfaces = {kinds}\n");
        }
        text += &format!(
            "[api]\nhost_ip = 127.0.0.1\nport = {PORT}\napi_workers = 1\n\
             [database]\nconnection = sqlite:///{database}\n\
             [conductor]\nautomated_clean = false\nsync_power_state_interval = -1\n",
            database = database.display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new(programs.join("ironic-dbsync"));
        command.arg("--config-file").arg(&config).arg("create_schema");
        let output = command.output().context("ironic-dbsync does not start")?;
        if !output.status.success() {
            bail!("ironic-dbsync: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(Some(Ironic { programs, config }))
    }

    /// Starts it and waits until it answers.
    pub(crate) fn start(&self, lab: &Lab) -> Result<Server> {
        let mut command = Command::new(self.programs.join("ironic"));
        command.arg("--config-file").arg(&self.config);
        let mut server = Server::start(&lab.server, lab.path(), "ironic", command)?;
        let address = SocketAddr::from(([127, 0, 0, 1], PORT));
        server.wait(|| lab.server.run(move || TcpStream::connect(address).is_ok()).unwrap_or(false))?;
        Ok(server)
    }

    /// A client of its API; to be used in the servers' namespace.
    pub(crate) fn client(&self) -> Client {
        Client::new(SocketAddr::from(([127, 0, 0, 1], PORT)), "anybody", "anything")
    }
}
