//! The appliance in the rack's box: its configuration, its start, its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::bmc::write_private;
use crate::client::Client;
use crate::daemon::Daemon;
use crate::plan;
use crate::rack::Rack;
use crate::say;
use crate::stop::Stop;

/// Name of the administrator that the first start makes.
pub const ADMINISTRATOR: &str = "admin";

/// How long the appliance may take until it is ready; it says "ready" in a fraction of a second on a quiet machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// What has been built before the rack starts.
#[derive(Debug, Clone)]
pub struct Built {
    /// `leasehold`.
    pub program: PathBuf,
    /// Loaders and ramdisk, as `leasehold-boot-images` writes them.
    pub boot_images: PathBuf,
    /// The small system's image.
    pub system: PathBuf,
}

/// The appliance: running or stopped. Dropping it ends it.
#[derive(Debug)]
pub struct Appliance {
    program: PathBuf,
    config: PathBuf,
    state: PathBuf,
    socket: PathBuf,
    daemon: Option<Daemon>,
    /// The administrator's, chosen after the first start.
    password: Option<String>,
}

impl Appliance {
    /// Writes the configuration into the run's folder; starts nothing. `file://` images may come from `import`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(rack: &Rack, built: &Built, import: &Path) -> Result<Self> {
        let home = rack.folder().file("appliance");
        let state = home.join("state");
        fs::create_dir_all(&state)?;
        let config = home.join("leasehold.toml");
        let socket = home.join("local.sock");
        let content = LeaseholdConfig { state: &state, socket: &socket, boot_images: &built.boot_images, import };
        write_private(&config, &content.text())?;
        Ok(Self { program: built.program.clone(), config, state, socket, daemon: None, password: None })
    }

    /// Starts it in the box and waits until it is ready. The first time the administrator chooses his password: the one
    /// that the appliance made is for nothing else.
    ///
    /// # Errors
    /// When it ends or is not ready in time; with the end of its log.
    pub fn start(&mut self, rack: &Rack, stop: &Stop) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(&self.config);
        let mut daemon = Daemon::start(rack.folder(), &rack.wiring()?.appliance, "leasehold", command)?;
        let probe = Client::new(rack.port(), ADMINISTRATOR, "")?;
        stop.until("the appliance's start", START_LIMIT, Duration::from_millis(50), || {
            daemon.check()?;
            Ok(probe.get_text("/readyz").is_ok().then_some(()))
        })?;
        say::step("box", &format!("leasehold is ready (pid {})", daemon.pid()));
        self.daemon = Some(daemon);
        if self.password.is_none() {
            self.password = Some(self.choose_password(rack)?);
        }
        Ok(())
    }

    fn choose_password(&self, rack: &Rack) -> Result<String> {
        let file = self.state.join(PASSWORD_FILE);
        let text = fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        let (old, new) = (text.trim(), uuid::Uuid::new_v4().simple().to_string());
        let client = Client::new(rack.port(), ADMINISTRATOR, old)?;
        client.post("/appliance/v1/password", &json!({"old": old, "new": new}))?;
        if file.exists() {
            bail!("{} is still there after the administrator has chosen a password", file.display());
        }
        Ok(new)
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.stop(Duration::from_secs(20));
        }
    }

    /// Ends it as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    /// An error when it has ended by itself.
    ///
    /// # Errors
    /// As said, with the end of its log.
    pub fn check(&mut self) -> Result<()> {
        self.daemon.as_mut().map_or(Ok(()), Daemon::check)
    }

    /// The administrator's password.
    ///
    /// # Errors
    /// When the appliance was never started.
    pub fn password(&self) -> Result<&str> {
        self.password.as_deref().context("the appliance was never started")
    }

    /// A client of it.
    ///
    /// # Errors
    /// As [`Self::password`].
    pub fn client(&self, rack: &Rack) -> Result<Client> {
        Client::new(rack.port(), ADMINISTRATOR, self.password()?)
    }

    /// Its program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The socket of its local command line.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its TLS certificate, for clients that check it.
    pub fn certificate(&self) -> PathBuf {
        self.state.join("tls-certificate.pem")
    }
}

const PASSWORD_FILE: &str = "admin-password";

/// The configuration: the one place that knows the file's format.
struct LeaseholdConfig<'a> {
    state: &'a Path,
    socket: &'a Path,
    boot_images: &'a Path,
    import: &'a Path,
}

impl LeaseholdConfig<'_> {
    fn text(&self) -> String {
        // TOML's basic strings are JSON's for every path that this program makes.
        let quoted = |path: &Path| serde_json::Value::from(path.to_string_lossy().into_owned()).to_string();
        format!(
            "state_folder = {state}\nboot_files = {boot}\n\n\
             [[interface]]\nname = \"{prov}\"\nroles = [\"boot\"]\n\n\
             [[interface]]\nname = \"{bmc}\"\nroles = [\"bmc\"]\n\n\
             [[interface]]\nname = \"{public}\"\nroles = [\"public\"]\n\n\
             [public]\nlisten = \"{listener}\"\nnames = [\"127.0.0.1\", \"{address}\"]\n\n\
             [local]\nsocket = {socket}\n\n\
             [images]\nimport_folder = {import}\n",
            state = quoted(self.state),
            boot = quoted(self.boot_images),
            prov = plan::PROVISIONING_INTERFACE,
            bmc = plan::BMC_INTERFACE,
            public = plan::PUBLIC_INTERFACE,
            listener = plan::public_listener(),
            address = plan::PUBLIC_ADDRESS,
            socket = quoted(self.socket),
            import = quoted(self.import),
        )
    }
}
