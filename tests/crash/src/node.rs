//! The simulated node: a BMC (IPMI, the protocol crate's simulator) and the machine behind it.
//!
//! In: datagrams on UDP in the box's namespace. Out: a process in the node's namespace while the machine runs from the
//! network (`firmware`), which a power off kills at any point; or, when it starts from its disk, what it found there.

use crate::image::Image;
use anyhow::{Context, Result, ensure};
use leasehold_agent::boot::Exit;
use leasehold_protocols::ipmi::command::{BootFlags, BootSource, Control};
use leasehold_protocols::ipmi::sim::{Config, Machine, Sim};
use leasehold_rack::netns::Namespace;
use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(crate) const USER: &str = "admin";
pub(crate) const PASSWORD: &str = "crash-test-password";
/// Where its BMC answers; each box has loopback for itself.
pub(crate) const BMC: (&str, u16) = ("127.0.0.1", 623);
pub(crate) const MAC: &str = "52:54:00:c4:a5:01";
/// How often the machine behind the BMC is looked at.
const TICK: Duration = Duration::from_millis(20);

/// Exit codes of the process that stands for a machine running from the network.
pub(crate) mod code {
    /// Nothing to boot was found there: the firmware goes on to its disk.
    pub(crate) const NO_NETWORK_BOOT: u8 = 20;
    pub(crate) const POWER_OFF: u8 = 21;
    pub(crate) const RESTART: u8 = 22;
}

/// Where the machine with this disk keeps the hash of the password by which its user is let in.
pub(crate) fn rescue_file(disk: &Path) -> PathBuf {
    disk.with_extension("rescue")
}

/// The code with which the machine's process leaves.
pub(crate) fn code_of(exit: Exit) -> u8 {
    match exit {
        Exit::PowerOff => code::POWER_OFF,
        Exit::Restart => code::RESTART,
    }
}

/// What the machine does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Running {
    Nothing,
    /// Firmware, loader or agent.
    Network,
    /// What it started from its disk: the nonce of the deployment, or why nothing started.
    Disk(Result<String, String>),
}

/// The part of a node that outlives a restart of everything: for copies of its state.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    power_on: bool,
    boot: BootFlags,
    running: Running,
}

/// A simulated node.
pub(crate) struct Node {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    inner: Mutex<Inner>,
    place: Place,
    over: AtomicBool,
}

/// Where the machine lives.
pub(crate) struct Place {
    pub(crate) network: Arc<Namespace>,
    /// The box's address on the node's network.
    pub(crate) server: String,
    pub(crate) disk: PathBuf,
    /// What stands for the machine's `/sys`.
    pub(crate) root: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) image: Image,
}

struct Inner {
    sim: Sim<SocketAddr>,
    child: Option<Child>,
    running: Running,
    /// Controls of the simulated BMC that were followed.
    followed: usize,
    boots: u64,
    /// From power on to the network.
    post: Duration,
}

impl Node {
    /// Starts the BMC on loopback, in the box's namespace.
    ///
    /// # Errors
    /// When there is no socket.
    pub(crate) fn start(of_box: &Namespace, place: Place) -> Result<Node> {
        let card = place.root.join("sys/class/net/eth0");
        std::fs::create_dir_all(card.join("device"))?;
        std::fs::write(card.join("type"), "1")?;
        std::fs::write(card.join("address"), MAC)?;
        let socket = of_box.run(|| UdpSocket::bind(BMC))??;
        socket.set_read_timeout(Some(TICK))?;
        let mut config = Config::default();
        let user = config.users.first_mut().context("the simulator has no user")?;
        (user.name, user.password) = (USER.into(), PASSWORD.into());
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        let inner = Inner {
            sim: Sim::new(config, Machine::default(), seed),
            child: None,
            running: Running::Nothing,
            followed: 0,
            boots: 0,
            post: Duration::ZERO,
        };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), place, over: AtomicBool::new(false) });
        let serving = shared.clone();
        let thread = std::thread::Builder::new().name("bmc".into()).spawn(move || serving.serve(&socket))?;
        Ok(Node { shared, thread: Some(thread) })
    }

    /// What it does now.
    pub(crate) fn running(&self) -> Running {
        self.shared.lock().running.clone()
    }

    /// From now on its firmware takes so long from power on to the network.
    pub(crate) fn set_post(&self, post: Duration) {
        self.shared.lock().post = post;
    }

    /// How often it was started.
    pub(crate) fn boots(&self) -> u64 {
        self.shared.lock().boots
    }

    /// Lets the node's card ask for an address and its loader for the script, beside whatever the machine does.
    ///
    /// # Errors
    /// When one of them is not answered; with what the loader said.
    pub(crate) fn probe(&self) -> Result<()> {
        let place = &self.shared.place;
        let mut command = place.firmware()?;
        command.arg("--probe").stderr(Stdio::piped());
        let output = place.network.spawn(command)?.wait_with_output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    pub(crate) fn standing(&self) -> Standing {
        let inner = self.shared.lock();
        let machine = &inner.sim.machine;
        Standing { power_on: machine.power_on, boot: machine.boot, running: inner.running.clone() }
    }

    /// Ends whatever runs and puts everything but the disk as it was.
    pub(crate) fn restore(&self, standing: &Standing) {
        let mut inner = self.shared.lock();
        inner.end_child();
        inner.sim.restart();
        inner.sim.machine.controls.clear();
        inner.followed = 0;
        inner.boots = 0;
        inner.post = Duration::ZERO;
        inner.sim.machine.power_on = standing.power_on;
        inner.sim.machine.boot = standing.boot;
        inner.running = standing.running.clone();
    }
}

impl Place {
    /// The process that stands for the machine when it boots from the network.
    fn firmware(&self) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("firmware").args(["--server", &self.server, "--mac", MAC]);
        command.arg("--disk").arg(&self.disk).arg("--root").arg(&self.root);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(command)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.shared.lock().end_child();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, socket: &UdpSocket) {
        let start = Instant::now();
        let mut buffer = [0; 2048];
        while !self.over.load(Ordering::SeqCst) {
            // Nothing within a tick is no error.
            let received = socket.recv_from(&mut buffer);
            let mut inner = self.lock();
            if let Ok((length, peer)) = received {
                inner.sim.handle(start.elapsed(), peer, &buffer[..length]);
            }
            inner.sim.tick(start.elapsed());
            self.follow(&mut inner);
            while let Some((peer, datagram)) = inner.sim.transmit() {
                let _ = socket.send_to(&datagram, peer);
            }
        }
    }

    /// The machine does what its BMC was told, and what its own process decides.
    fn follow(&self, inner: &mut Inner) {
        while let Some(control) = inner.sim.machine.controls.get(inner.followed).copied() {
            inner.followed += 1;
            match control {
                Control::Off => inner.end_child(),
                Control::On if inner.running != Running::Nothing => {}
                Control::On | Control::Cycle | Control::Reset => {
                    inner.end_child();
                    self.boot(inner);
                }
                Control::SoftOff | Control::DiagnosticInterrupt => {}
            }
        }
        if !inner.sim.machine.power_on && inner.running != Running::Nothing {
            inner.end_child();
        }
        let Some(status) = inner.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) else { return };
        inner.child = None;
        match status.code().and_then(|status| u8::try_from(status).ok()) {
            Some(code::NO_NETWORK_BOOT) => self.boot_disk(inner),
            Some(code::POWER_OFF) => {
                inner.running = Running::Nothing;
                inner.sim.machine.power_on = false;
            }
            // Also when the agent gave up or fell over: its ramdisk starts the machine again.
            _ => self.boot(inner),
        }
    }

    /// The firmware chooses what to boot. An override for once is used up by this.
    fn boot(&self, inner: &mut Inner) {
        inner.boots += 1;
        let flags = inner.sim.machine.boot;
        if flags.valid && !flags.persistent {
            inner.sim.machine.boot.valid = false;
        }
        if !(flags.valid && flags.source == BootSource::Pxe) {
            return self.boot_disk(inner);
        }
        match self.spawn(inner.post) {
            Ok(child) => {
                inner.child = Some(child);
                inner.running = Running::Network;
            }
            Err(error) => inner.running = Running::Disk(Err(format!("{error:#}"))),
        }
    }

    fn boot_disk(&self, inner: &mut Inner) {
        let found = self.place.image.start(&self.place.disk);
        inner.running = Running::Disk(found.map_err(|error| format!("{error:#}")));
    }

    fn spawn(&self, post: Duration) -> Result<Child> {
        let log = File::options().create(true).append(true).open(&self.place.log)?;
        let mut command = self.place.firmware()?;
        command.arg("--post-ms").arg(post.as_millis().to_string()).stderr(log);
        self.place.network.spawn(command)
    }
}

impl Inner {
    fn end_child(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.running = Running::Nothing;
    }
}
