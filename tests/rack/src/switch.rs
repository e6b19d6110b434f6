//! The rack's switch: Open vSwitch in userspace, started by hand with a run folder of its own.
//!
//! The nodes' ports are protected: nodes do not hear each other, only the box.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command;
use crate::daemon::Daemon;
use crate::folder::RunFolder;
use crate::netns::Namespace;
use crate::plan;
use crate::stop::Stop;
use crate::wiring::UPLINK;

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const BRIDGE: &str = "rack";

/// The running switch.
#[derive(Debug)]
pub struct Switch {
    vswitchd: Daemon,
    ovsdb: Daemon,
    database: PathBuf,
}

impl Switch {
    /// Starts the database and the switch in `space`, with a port for the box and one per node.
    ///
    /// # Errors
    /// When a program is missing or does not start.
    pub fn start(folder: &RunFolder, space: &Namespace, stop: &Stop) -> Result<Self> {
        let home = folder.file("ovs");
        fs::create_dir_all(&home)?;
        let file = home.join("conf.db");
        command::output("ovsdb-tool", &["create", path(&file)?, SCHEMA])?;
        let database = home.join("db.sock");
        let own = |command: &mut Command| {
            command.env("OVS_RUNDIR", &home).env("OVS_LOGDIR", &home).env("OVS_DBDIR", &home).current_dir(&home);
        };

        let mut server = Command::new(program("ovsdb-server")?);
        server.arg("--no-chdir").arg(&file).arg(format!("--remote=punix:{}", database.display()));
        server.arg(format!("--unixctl={}", home.join("ovsdb.ctl").display()));
        own(&mut server);
        let mut ovsdb = Daemon::start(folder, space, "ovsdb-server", server)?;
        stop.until("the switch's database", Duration::from_secs(20), Duration::from_millis(20), || {
            ovsdb.check()?;
            Ok(database.exists().then_some(()))
        })?;
        let remote = format!("unix:{}", database.display());
        command::output("ovs-vsctl", &["--db", &remote, "--timeout=20", "--no-wait", "init"])?;

        let mut daemon = Command::new(program("ovs-vswitchd")?);
        daemon.arg("--no-chdir").arg(&remote).arg(format!("--unixctl={}", home.join("vswitchd.ctl").display()));
        own(&mut daemon);
        let vswitchd = Daemon::start(folder, space, "ovs-vswitchd", daemon)?;
        let switch = Self { vswitchd, ovsdb, database };
        switch.connect_ports()?;
        Ok(switch)
    }

    /// `ovs-vsctl` waits until the switch carries out what it wrote, at most 20 s.
    fn connect_ports(&self) -> Result<()> {
        let mut arguments = vec!["add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev"];
        arguments.extend(["--", "add-port", BRIDGE, UPLINK]);
        for node in plan::NODES {
            arguments.push("--");
            arguments.extend(node_port(node.name));
        }
        self.control(&arguments).map(drop)
    }

    /// Takes a node's cable out of the switch.
    ///
    /// # Errors
    /// As [`Self::control`].
    pub fn unplug(&self, node: &str) -> Result<()> {
        self.control(&["del-port", BRIDGE, node]).map(drop)
    }

    /// Puts it in again.
    ///
    /// # Errors
    /// As [`Self::control`].
    pub fn plug_in(&self, node: &str) -> Result<()> {
        self.control(&node_port(node)).map(drop)
    }

    /// `ovs-vsctl ARGUMENTS` on this switch.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub fn control(&self, arguments: &[&str]) -> Result<String> {
        let remote = format!("unix:{}", self.database.display());
        let all: Vec<_> = ["--db", &remote, "--timeout=20"].into_iter().chain(arguments.iter().copied()).collect();
        command::output("ovs-vsctl", &all)
    }

    /// An error when one of its programs has ended.
    ///
    /// # Errors
    /// As said.
    pub fn check(&mut self) -> Result<()> {
        self.vswitchd.check()?;
        self.ovsdb.check()
    }
}

/// The words for `ovs-vsctl` that give a node its port.
fn node_port(node: &str) -> [&str; 8] {
    ["add-port", BRIDGE, node, "--", "set", "port", node, "protected=true"]
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("the run folder's path is not UTF-8")
}

fn program(name: &str) -> Result<PathBuf> {
    command::find(name).with_context(|| format!("{name} is missing: run packaging/prepare"))
}
