//! The rack as a whole: built in order, taken down in reverse, and looked after whether anything is left.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::bmc::{self, BmcPrograms};
use crate::command;
use crate::daemon::Daemon;
use crate::folder::{RUN_VARIABLE, RunFolder};
use crate::forward::Forward;
use crate::guest::{Accelerator, GuestFiles, OVMF_VARIABLES};
use crate::kvm;
use crate::machine::{Machine, QemuLauncher};
use crate::plan::{self, Firmware, NodePlan};
use crate::power_socket::PowerSocket;
use crate::say;
use crate::stop::{Stop, Stopped};
use crate::sweep;
use crate::switch::Switch;
use crate::wiring::Wiring;

/// Free space that a run may need at most, bytes: two disks with an image each, and logs.
const SPACE_NEEDED: u64 = 3 << 30;

/// What a rack is built from.
#[derive(Debug, Clone)]
pub struct RackOptions {
    /// Port on 127.0.0.1 of the host that leads to the appliance; 0: a free one.
    pub port: u16,
    /// Folder that stays when the run has ended.
    pub keep: Option<PathBuf>,
    pub programs: BmcPrograms,
}

/// A node with its BMC and power agent.
pub struct Node {
    pub plan: NodePlan,
    pub machine: Machine,
    pub bmc_password: String,
    pub disk: PathBuf,
    /// The firmware's variables, where it has any.
    pub variables: PathBuf,
    pub serial_log: PathBuf,
    bmc: Daemon,
    _power: PowerSocket,
}

/// A running rack. Dropping it takes it down.
pub struct Rack {
    nodes: Vec<Node>,
    forward: Option<Forward>,
    capture: Option<Daemon>,
    switch: Option<Switch>,
    wiring: Option<Arc<Wiring>>,
    namespaces: Vec<(&'static str, u64)>,
    folder: RunFolder,
    accelerator: Accelerator,
}

impl Rack {
    /// Builds the rack; every node is off, its disk empty.
    ///
    /// # Errors
    /// Why it cannot be built; what was built by then is taken down.
    pub fn start(options: &RackOptions, stop: &Stop) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("the rack needs root: it makes network namespaces");
        }
        sweep::sweep()?;
        let folder = RunFolder::create(options.keep.as_deref())?;
        require_space(folder.path())?;
        let wiring = Wiring::create()?;
        let mut rack = Self {
            nodes: Vec::new(),
            forward: None,
            capture: None,
            switch: None,
            namespaces: wiring.inodes(),
            wiring: Some(Arc::new(wiring)),
            folder,
            accelerator: Accelerator::Tcg,
        };
        // What `build` borrows of the rack has ended when the rack is dropped after a failure.
        rack.build(options, stop)?;
        Ok(rack)
    }

    fn build(&mut self, options: &RackOptions, stop: &Stop) -> Result<()> {
        let wiring = self.wiring.clone().context("the rack has been taken down")?;
        self.forward = Some(Forward::start(Arc::downgrade(&wiring), options.port, plan::public_listener())?);
        say::step("rack", &format!("run {} in {}", self.folder.run(), self.folder.path().display()));
        self.switch = Some(Switch::start(&self.folder, &wiring.switch, stop)?);
        say::step("rack", "switch up, the nodes' ports protected");
        self.capture = capture(&self.folder, &wiring)?;
        let (accelerator, why) = kvm::probe(&self.folder, &wiring.switch, stop)?;
        self.accelerator = accelerator;
        say::step("rack", &format!("QEMU by {accelerator:?}: {why}"));
        for node in plan::NODES {
            let node = self.plug_in(node, &wiring, options, stop)?;
            self.nodes.push(node);
        }
        stop.check()
    }

    fn plug_in(&self, node: NodePlan, wiring: &Arc<Wiring>, options: &RackOptions, stop: &Stop) -> Result<Node> {
        let home = self.folder.file(node.name);
        fs::create_dir_all(&home)?;
        let files = GuestFiles {
            disk: home.join("disk.raw"),
            variables: home.join("uefi-variables.fd"),
            serial_log: self.folder.log(&format!("{}-serial", node.name)),
            serial_socket: home.join("serial.sock"),
            qmp: home.join("qmp.sock"),
            qmp_user: home.join("qmp-user.sock"),
        };
        File::create(&files.disk)?.set_len(plan::NODE_DISK_BYTES)?;
        if node.firmware == Firmware::Uefi {
            fs::copy(OVMF_VARIABLES, &files.variables)
                .with_context(|| format!("{OVMF_VARIABLES} is missing: run packaging/prepare"))?;
        }
        let (disk, variables, serial_log) = (files.disk.clone(), files.variables.clone(), files.serial_log.clone());
        let launcher = QemuLauncher {
            node,
            accelerator: self.accelerator,
            files,
            log: self.folder.log(&format!("{}-qemu", node.name)),
            wiring: Arc::downgrade(wiring),
            environment: vec![
                (RUN_VARIABLE.to_owned(), self.folder.run().into()),
                ("TMPDIR".to_owned(), self.folder.file("tmp").into()),
            ],
        };
        let machine = Machine::new(node, Box::new(launcher), self.folder.log(&format!("{}-power", node.name)));
        let power = PowerSocket::listen(&home.join("power.sock"), machine.clone())?;
        let bmc_password = bmc::new_password();
        let bmc = bmc::start(&self.folder, &wiring.bmc, &node, power.path(), &bmc_password, &options.programs, stop)?;
        say::step(
            node.name,
            &format!("{:?} machine, {:?} BMC at {}:{}", node.firmware, node.bmc, node.bmc_address, node.bmc_port),
        );
        Ok(Node { plan: node, machine, bmc_password, disk, variables, serial_log, bmc, _power: power })
    }

    /// The nodes, in the plan's order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Runs `work` for every node at once, each in a thread, and gives the results in the nodes' order.
    ///
    /// # Errors
    /// The first node's error; every thread has come to its end by then.
    pub fn on_every_node<T: Send>(&self, work: impl Fn(&Node) -> Result<T> + Sync) -> Result<Vec<T>> {
        let work = &work;
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .nodes
                .iter()
                .map(|node| {
                    scope.spawn(move || {
                        work(node).with_context(|| node.plan.name).inspect_err(|error| {
                            if !error.is::<Stopped>() {
                                say::step(node.plan.name, &format!("FAILED: {error:#}"));
                            }
                        })
                    })
                })
                .collect();
            let results: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            results.into_iter().map(|result| result.unwrap_or_else(|_| Err(anyhow!("a thread panicked")))).collect()
        })
    }

    /// The run's folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// The namespaces.
    ///
    /// # Errors
    /// When the rack has been taken down.
    pub fn wiring(&self) -> Result<&Wiring> {
        self.wiring.as_deref().context("the rack has been taken down")
    }

    /// The switch.
    ///
    /// # Errors
    /// When the rack has been taken down.
    pub fn switch(&self) -> Result<&Switch> {
        self.switch.as_ref().context("the rack has been taken down")
    }

    /// The port on 127.0.0.1 that leads to the appliance.
    pub fn port(&self) -> u16 {
        self.forward.as_ref().map_or(0, Forward::port)
    }

    /// An error when a part of the rack has ended by itself.
    ///
    /// # Errors
    /// As said, with the end of its log.
    pub fn check(&mut self) -> Result<()> {
        if let Some(switch) = &mut self.switch {
            switch.check()?;
        }
        self.nodes.iter_mut().try_for_each(|node| node.bmc.check())
    }

    /// Takes the rack down and makes sure that nothing of it is left.
    ///
    /// # Errors
    /// What is left.
    pub fn stop(mut self) -> Result<()> {
        self.take_down()
    }

    fn take_down(&mut self) -> Result<()> {
        if self.wiring.is_none() {
            return Ok(());
        }
        self.forward = None;
        for node in &self.nodes {
            node.machine.close();
        }
        self.nodes.clear();
        self.capture = None;
        self.switch = None;
        let ended = sweep::end_processes(self.folder.run())?;
        self.wiring = None;
        if ended > 0 {
            say::step("rack", &format!("{ended} processes had outlived their parents and were ended"));
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Some((name, _)) = self.namespaces.iter().find(|(_, inode)| sweep::namespace_in_use(*inode)) {
            if Instant::now() > deadline {
                bail!("network namespace {name} of the rack is still in use");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.folder.close()
    }
}

impl Drop for Rack {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            say::warn(&format!("the rack is not completely taken down: {error:#}"));
        }
    }
}

/// The DHCP, TFTP and proxyDHCP packets of the provisioning network, in a file for tcpdump or wireshark.
fn capture(folder: &RunFolder, wiring: &Wiring) -> Result<Option<Daemon>> {
    let Some(program) = command::find("tcpdump") else { return Ok(None) };
    let mut tcpdump = Command::new(program);
    tcpdump.args(["-n", "-U", "-Z", "root", "-i", plan::PROVISIONING_INTERFACE, "-w"]).arg(folder.file("dhcp.pcap"));
    tcpdump.arg("udp port 67 or udp port 68 or udp port 69 or udp port 4011 or arp");
    Daemon::start(folder, &wiring.appliance, "tcpdump", tcpdump).map(Some)
}

fn require_space(folder: &Path) -> Result<()> {
    let room = rustix::fs::statvfs(folder)?;
    let free = room.f_bavail * room.f_frsize;
    if free < SPACE_NEEDED {
        bail!(
            "{} has {:.1} GB free, a run needs {:.1} GB: make room, or name a folder elsewhere with --keep",
            folder.display(),
            free as f64 / 1e9,
            SPACE_NEEDED as f64 / 1e9
        );
    }
    Ok(())
}
