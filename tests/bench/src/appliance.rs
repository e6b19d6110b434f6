//! Ours: the real program, with the configuration of the lab.

use crate::client::Client;
use crate::lab::{Lab, RANGE, SERVER_INTERFACE};
use crate::process::Server;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What the administrator chooses instead of the one-time password.
const ADMINISTRATORS_PASSWORD: &str = "measured again and again";

/// The name of ours in every table.
pub(crate) const OURS: &str = "leasehold";
/// Where its API listens, on the loopback interface of the servers' namespace.
pub(crate) const API: &str = "127.0.0.1:6385";

/// A state folder and the configuration for it.
pub(crate) struct Appliance {
    pub(crate) state: PathBuf,
    config: PathBuf,
    ready: PathBuf,
}

/// It, running.
pub(crate) struct Running {
    pub(crate) server: Server,
    /// From the start of the process until it said that it is ready.
    pub(crate) start: Duration,
}

impl Appliance {
    /// `boot_files`: serves machines on the lab's wire, with these files. Without it only the API is served.
    pub(crate) fn new(lab: &Lab, name: &str, boot_files: Option<&Path>) -> Result<Appliance> {
        let home = lab.folder(name)?;
        let (state, config, ready) = (home.join("state"), home.join("leasehold.toml"), home.join("ready.json"));
        let mut text = format!("state_folder = {state:?}\n");
        if let Some(files) = boot_files {
            text += &format!("boot_files = {files:?}\n");
        }
        text += &format!("[public]\nlisten = \"{API}\"\nplain_http = true\n[log]\nfilter = \"warn\"\n");
        // One user asks as fast as he can: what he may ask for a second is not what is measured.
        text += "[limits]\nuser_rate = 1000000\nuser_burst = 1000000\n";
        if boot_files.is_some() {
            let [first, last] = RANGE;
            text += &format!(
                "[[interface]]\nname = \"{SERVER_INTERFACE}\"\nroles = [\"boot\"]\nrange = [\"{first}\", \"{last}\"]\n"
            );
        }
        fs::write(&config, text)?;
        Ok(Appliance { state, config, ready })
    }

    /// Adds to the configuration.
    pub(crate) fn configure(&self, text: &str) -> Result<()> {
        let known = fs::read_to_string(&self.config)?;
        Ok(fs::write(&self.config, format!("{known}{text}"))?)
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn start(&self, lab: &Lab) -> Result<Running> {
        let program = std::env::var_os("LEASEHOLD_BIN").context("set LEASEHOLD_BIN to the program to be measured")?;
        let _ = fs::remove_file(&self.ready);
        let mut command = Command::new(&program);
        command.arg("serve").arg("--config").arg(&self.config).arg("--ready-file").arg(&self.ready);
        let began = Instant::now();
        let mut server = Server::start(&lab.server, lab.path(), OURS, command)?;
        server.wait(|| self.ready.exists())?;
        Ok(Running { server, start: began.elapsed() })
    }

    /// A client of its API; to be used in the servers' namespace.
    pub(crate) fn client(&self, lab: &Lab) -> Result<Client> {
        let address: SocketAddr = API.parse()?;
        // The password of the first start is good for nothing but its change, and its file goes with it.
        if let Ok(old) = fs::read_to_string(self.state.join("admin-password")) {
            let old = old.trim();
            let change = serde_json::json!({"old": old, "new": ADMINISTRATORS_PASSWORD});
            let mut once = Client::new(address, "admin", old);
            lab.server.run(move || once.good("POST", "/appliance/v1/password", &change.to_string()))??;
        }
        Ok(Client::new(address, "admin", ADMINISTRATORS_PASSWORD))
    }
}

/// Writes boot files with their manifest.
pub(crate) fn write_boot_files(folder: &Path, files: &[(&str, Vec<u8>)]) -> Result<()> {
    let mut entries = Vec::new();
    for (name, content) in files {
        fs::write(folder.join(name), content)?;
        let sha256 = hex::encode(Sha256::digest(content));
        entries.push(serde_json::json!({"path": name, "sha256": sha256, "size": content.len()}));
    }
    let manifest = serde_json::json!({"version": 1, "files": entries});
    fs::write(folder.join("manifest.json"), manifest.to_string())?;
    Ok(())
}

/// Bytes without a pattern that anything could shorten.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
