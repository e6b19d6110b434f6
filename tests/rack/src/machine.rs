//! The power agent of a node: one truth about power and boot override, for both BMC faces and for the rack.
//!
//! In: power and boot requests. Out: QEMU started and killed with the boot order that a real machine's firmware
//! would follow. There is one override at a time, as in IPMI and Redfish; one that is meant for one boot is spent by
//! the next start, be it by power or by the machine restarting itself.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;

use crate::daemon::{append_to, last_lines};
use crate::guest::{self, Accelerator, BootDevice, GuestFiles, NetworkBoot, Start};
use crate::plan::NodePlan;
use crate::qmp;
use crate::wiring::Wiring;

/// A started guest.
pub trait Guest: Send {
    /// Presses the power button (ACPI); the system inside decides what it does.
    ///
    /// # Errors
    /// When the guest is gone.
    fn press_power_button(&mut self) -> Result<()>;
    /// Sends the system inside a non-maskable interrupt.
    ///
    /// # Errors
    /// When the guest is gone.
    fn interrupt(&mut self) -> Result<()>;
    /// Ends it as a power cut would, and returns when it has ended.
    fn cut_power(&mut self);
}

/// Told once when a guest ends; true when the machine restarted itself.
pub type OnEnd = Box<dyn FnOnce(bool) + Send>;

/// Starts guests.
pub trait Launcher: Send + Sync {
    /// Starts the machine.
    ///
    /// # Errors
    /// When it does not start.
    fn launch(&self, start: Start, on_end: OnEnd) -> Result<Box<dyn Guest>>;
}

/// A boot override.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Override {
    pub device: BootDevice,
    /// For every boot, not for the next one only.
    pub persistent: bool,
}

/// What power control may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerTarget {
    On,
    Off,
    /// Off and on at once; refused when the machine is off.
    Reset,
    /// As reset: QEMU has no power supply to let drain.
    Cycle,
    /// The power button.
    Soft,
    /// No change of power: a non-maskable interrupt; refused when the machine is off.
    Nmi,
}

/// A node's power agent. Clones are the same machine.
#[derive(Clone)]
pub struct Machine(Arc<Shared>);

struct Shared {
    node: NodePlan,
    launcher: Box<dyn Launcher>,
    journal: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    guest: Option<Box<dyn Guest>>,
    boot: Option<Override>,
    network: NetworkBoot,
    /// Non-maskable interrupts so far.
    interrupts: u64,
    /// Counts starts and stops: the end of an older guest is no news.
    generation: u64,
    closed: bool,
}

impl Machine {
    /// A machine that is off. `journal` gets a line per power event.
    pub fn new(node: NodePlan, launcher: Box<dyn Launcher>, journal: PathBuf) -> Self {
        Self(Arc::new(Shared { node, launcher, journal, state: Mutex::default() }))
    }

    /// Its plan.
    pub fn node(&self) -> &NodePlan {
        &self.0.node
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.state().guest.is_some()
    }

    /// The boot override.
    pub fn boot(&self) -> Option<Override> {
        self.state().boot
    }

    /// Sets or clears the boot override.
    pub fn set_boot(&self, boot: Option<Override>) {
        self.state().boot = boot;
        self.note(&format!("boot override: {boot:?}"));
    }

    /// Sets how its firmware boots from the network, from the next start on.
    pub fn set_network_boot(&self, network: NetworkBoot) {
        self.state().network = network;
        self.note(&format!("network boot: {network:?}"));
    }

    /// How often it was started or stopped from outside or restarted itself: the same number twice means that nobody
    /// touched it between.
    pub fn power_changes(&self) -> u64 {
        self.state().generation
    }

    /// How often its system was interrupted (NMI) so far.
    pub fn interrupts(&self) -> u64 {
        self.state().interrupts
    }

    /// Carries out a power request.
    ///
    /// # Errors
    /// A reset of a machine that is off, or a start that fails.
    pub fn power(&self, target: PowerTarget) -> Result<()> {
        let mut state = self.state();
        if state.closed {
            bail!("the rack is being taken down");
        }
        match target {
            PowerTarget::On if state.guest.is_some() => Ok(()),
            PowerTarget::On => self.start(&mut state),
            PowerTarget::Off => {
                self.cut(&mut state);
                Ok(())
            }
            PowerTarget::Reset | PowerTarget::Cycle => {
                if state.guest.is_none() {
                    bail!("the machine is off: only power on is possible");
                }
                self.cut(&mut state);
                self.start(&mut state)
            }
            PowerTarget::Soft => {
                self.note("power button");
                state.guest.as_mut().map_or(Ok(()), |guest| guest.press_power_button())
            }
            PowerTarget::Nmi => {
                let guest = state.guest.as_mut().context("the machine is off: there is nothing to interrupt")?;
                guest.interrupt()?;
                state.interrupts += 1;
                self.note("non-maskable interrupt");
                Ok(())
            }
        }
    }

    /// Ends the machine for good.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        self.cut(&mut state);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self, state: &mut State) {
        state.generation += 1;
        if let Some(mut guest) = state.guest.take() {
            guest.cut_power();
            self.note("power cut");
        }
    }

    fn start(&self, state: &mut State) -> Result<()> {
        let start = Start { device: state.boot.map(|boot| boot.device), network: state.network };
        state.boot = state.boot.filter(|boot| boot.persistent);
        state.generation += 1;
        let generation = state.generation;
        self.note(&format!("power on, tries {:?}, network boot by {:?}", start.device, start.network));
        // Weak: a guest's watcher must not keep the machine, and with it the rack, alive.
        let machine = Arc::downgrade(&self.0);
        let on_end: OnEnd = Box::new(move |restart| Self::ended(&machine, generation, restart));
        state.guest =
            Some(self.0.launcher.launch(start, on_end).inspect_err(|error| self.note(&format!("{error:#}")))?);
        Ok(())
    }

    fn ended(machine: &Weak<Shared>, generation: u64, restart: bool) {
        let Some(machine) = machine.upgrade().map(Machine) else { return };
        let mut state = machine.state();
        if state.generation != generation {
            return;
        }
        state.guest = None;
        machine.note(if restart { "the machine restarts itself" } else { "the machine switched itself off" });
        if restart && !state.closed {
            // A failed start is in the journal; the machine is off then, as one that does not come up again.
            let _ = machine.start(&mut state);
        }
    }

    fn note(&self, what: &str) {
        if let Ok(mut journal) = append_to(&self.0.journal) {
            let _ = writeln!(journal, "{} {what}", crate::say::seconds());
        }
    }
}

/// Starts QEMU at the switch.
pub struct QemuLauncher {
    pub node: NodePlan,
    pub accelerator: Accelerator,
    pub files: GuestFiles,
    /// QEMU's own messages.
    pub log: PathBuf,
    /// Weak, so that the namespaces end with the rack.
    pub wiring: Weak<Wiring>,
    /// Environment of the run (its mark and temporary folder).
    pub environment: Vec<(String, std::ffi::OsString)>,
}

struct Qemu {
    child: Arc<Mutex<Child>>,
    commands: qmp::Commands,
}

impl Guest for Qemu {
    fn press_power_button(&mut self) -> Result<()> {
        self.commands.send("system_powerdown", &json!({}))
    }

    fn interrupt(&mut self) -> Result<()> {
        self.commands.send("inject-nmi", &json!({}))
    }

    fn cut_power(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Launcher for QemuLauncher {
    fn launch(&self, start: Start, on_end: OnEnd) -> Result<Box<dyn Guest>> {
        let wiring = self.wiring.upgrade().context("the rack is being taken down")?;
        for socket in [&self.files.serial_socket, &self.files.qmp, &self.files.qmp_user] {
            let _ = fs::remove_file(socket);
        }
        let log = append_to(&self.log)?;
        let mut command = Command::new("qemu-system-x86_64");
        command.args(guest::arguments(&self.node, self.accelerator, start, &self.files));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).envs(self.environment.iter().cloned());
        let mut child = wiring.switch.spawn(command)?;
        let connected = self.connect(&mut child);
        let (commands, events) = connected.inspect_err(|_| {
            let _ = child.kill();
            let _ = child.wait();
        })?;
        let child = Arc::new(Mutex::new(child));
        let watched = child.clone();
        std::thread::Builder::new().name(format!("{}-watch", self.node.name)).spawn(move || {
            let restart = events.wait_for_end();
            // QEMU closes its control socket while it ends; the lock is never held for longer than that.
            let _ = watched.lock().unwrap_or_else(PoisonError::into_inner).wait();
            on_end(restart);
        })?;
        Ok(Box::new(Qemu { child, commands }))
    }
}

impl QemuLauncher {
    fn connect(&self, child: &mut Child) -> Result<(qmp::Commands, qmp::Events)> {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("QEMU of {} has ended ({status}):\n{}", self.node.name, last_lines(&self.log, 5));
            }
            match qmp::connect(&self.files.qmp) {
                Ok(connection) => return Ok(connection),
                Err(error) if Instant::now() > deadline => {
                    return Err(anyhow!("QEMU of {} does not answer: {error:#}", self.node.name));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan;

    #[derive(Default, Clone)]
    struct Bench(Arc<Mutex<Vec<Option<BootDevice>>>>, Arc<Mutex<Vec<OnEnd>>>);

    struct Dummy;
    impl Guest for Dummy {
        fn press_power_button(&mut self) -> Result<()> {
            Ok(())
        }
        fn interrupt(&mut self) -> Result<()> {
            Ok(())
        }
        fn cut_power(&mut self) {}
    }

    impl Launcher for Bench {
        fn launch(&self, start: Start, on_end: OnEnd) -> Result<Box<dyn Guest>> {
            self.0.lock().unwrap().push(start.device);
            self.1.lock().unwrap().push(on_end);
            Ok(Box::new(Dummy))
        }
    }

    impl Bench {
        fn machine(&self) -> (Machine, tempfile::TempDir) {
            let folder = tempfile::tempdir().unwrap();
            let journal = folder.path().join("journal");
            (Machine::new(plan::NODES[0], Box::new(self.clone()), journal), folder)
        }
        fn starts(&self) -> Vec<Option<BootDevice>> {
            self.0.lock().unwrap().clone()
        }
        fn end(&self, index: usize, restart: bool) {
            let on_end = std::mem::replace(&mut self.1.lock().unwrap()[index], Box::new(|_| {}));
            on_end(restart);
        }
    }

    const ONCE: Option<Override> = Some(Override { device: BootDevice::Pxe, persistent: false });
    const ALWAYS: Option<Override> = Some(Override { device: BootDevice::Disk, persistent: true });

    #[test]
    fn a_once_override_is_spent_by_one_start() {
        let bench = Bench::default();
        let (machine, _folder) = bench.machine();
        machine.set_boot(ONCE);
        machine.power(PowerTarget::On).unwrap();
        assert_eq!(machine.boot(), None);
        machine.power(PowerTarget::Reset).unwrap();
        assert_eq!(bench.starts(), [Some(BootDevice::Pxe), None]);
    }

    #[test]
    fn a_restart_from_inside_spends_no_override_twice() {
        let bench = Bench::default();
        let (machine, _folder) = bench.machine();
        machine.set_boot(ONCE);
        machine.power(PowerTarget::On).unwrap();
        bench.end(0, true);
        assert!(machine.is_on());
        assert_eq!(bench.starts(), [Some(BootDevice::Pxe), None]);
    }

    #[test]
    fn a_persistent_override_stays() {
        let bench = Bench::default();
        let (machine, _folder) = bench.machine();
        machine.set_boot(ALWAYS);
        machine.power(PowerTarget::On).unwrap();
        machine.power(PowerTarget::Cycle).unwrap();
        assert_eq!(bench.starts(), [Some(BootDevice::Disk); 2]);
        assert_eq!(machine.boot(), ALWAYS);
    }

    #[test]
    fn a_shutdown_from_inside_is_off() {
        let bench = Bench::default();
        let (machine, _folder) = bench.machine();
        machine.power(PowerTarget::On).unwrap();
        machine.power(PowerTarget::On).unwrap();
        bench.end(0, false);
        assert!(!machine.is_on());
        assert!(machine.power(PowerTarget::Reset).unwrap_err().to_string().contains("is off"));
        machine.power(PowerTarget::Off).unwrap();
        assert_eq!(bench.starts().len(), 1);
    }

    #[test]
    fn the_end_of_an_older_guest_is_no_news() {
        let bench = Bench::default();
        let (machine, _folder) = bench.machine();
        machine.power(PowerTarget::On).unwrap();
        machine.power(PowerTarget::Off).unwrap();
        machine.power(PowerTarget::On).unwrap();
        bench.end(0, true);
        assert!(machine.is_on());
        assert_eq!(bench.starts().len(), 2);
    }

    #[test]
    fn a_closed_machine_stays_off() {
        let bench = Bench::default();
        let (machine, _folder) = bench.machine();
        machine.power(PowerTarget::On).unwrap();
        machine.close();
        assert!(machine.power(PowerTarget::On).is_err());
        bench.end(0, true);
        assert!(!machine.is_on());
    }
}
