//! The agent's life: network, clock, inspection, lookup, then heartbeats and commands until it is told to leave.

use crate::appliance::{ApiVersion, Appliance, Reply, post_inspection};
use crate::boot::Exit;
use crate::console::Console;
use crate::disk::{self, Hints};
use crate::failure::{Failure, Kind, OrFailure};
use crate::heartbeat::{Heart, Over};
use crate::http::{Client, Url};
use crate::image::Pace;
use crate::inventory::{self, Neighbours};
use crate::machine::Machine;
use crate::parameters::Parameters;
use crate::pulse::Pulse;
use crate::service::{Command, Phase, Registry, Server, Service, Work};
use crate::steps;
use crate::tls;
use leasehold_wire::agent::{Heartbeat, Inspection, LookupNode, TOKEN_MASK};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where commands are taken, as by the stock agent.
pub const PORT: u16 = 9999;
/// The key under which a service finds this agent's steps and their version.
const MANAGER: &str = "leasehold";
const INSPECTION_TRIES: u32 = 10;
/// Between the answer to `power_off` or `run_image` and the end.
const LAST_WORDS: Duration = Duration::from_secs(1);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What the agent runs with.
pub struct Setting {
    /// From the kernel command line.
    pub parameters: Parameters,
    /// Real, or of a test.
    pub machine: Arc<dyn Machine>,
    /// For the person in front of it.
    pub console: Console,
    /// `/`, or a test's.
    pub root: PathBuf,
    /// [`PORT`], or 0 for any.
    pub port: u16,
    /// For image transfers.
    pub pace: Pace,
    /// Wakes and ends the heartbeats.
    pub pulse: Pulse,
}

/// Runs until the machine leaves (then, in a test, returns).
///
/// # Errors
/// What cannot be repaired by waiting.
pub fn run(setting: Setting) -> Result<(), String> {
    let Setting { parameters, machine, console, root, port, pace, pulse } = setting;
    let trust = match (parameters.pin, parameters.insecure) {
        (Some(pin), _) => tls::Trust::Pin(pin),
        (None, true) => tls::Trust::Anyone,
        (None, false) => tls::Trust::Nobody,
    };
    let client = Client::new(tls::client(trust).map_err(|error| error.to_string())?);
    let listening = inventory::listening_names(&root);
    let neighbours = Neighbours::listen(&listening);

    let first_url = parameters.api_urls.first().or(parameters.inspection_urls.first()).cloned().unwrap_or_default();
    let address = wait_for_network(&console, &pulse, &first_url);
    console.say(&format!("this machine has the address {address}; the appliance is {first_url}"));

    let appliance = Arc::new(Appliance::new(client.clone(), parameters.api_urls.clone(), console.clone()));
    let version = if parameters.api_urls.is_empty() {
        None
    } else {
        Some(insist(&console, &pulse, "reach the appliance", || appliance.discover()))
    };
    let mut node_uuid = None;
    if !parameters.inspection_urls.is_empty() {
        node_uuid = inspect(&client, &parameters, &neighbours, &console, &root, &pulse);
    }
    let Some(version) = version.flatten() else {
        console.say("the inventory was handed over; this machine waits to be switched off");
        pulse.wait_for_end();
        return Ok(());
    };

    let addresses = addresses(&root, parameters.boot_mac.as_deref());
    let Some(found) = insist(&console, &pulse, "find this machine's node", || {
        appliance.lookup(version, &addresses, node_uuid.as_deref())
    }) else {
        return Ok(());
    };
    let mut token = parameters.token.clone();
    if let Some(given) = found.config.agent_token.filter(|given| given != TOKEN_MASK && !given.is_empty()) {
        token = Some(given);
    }
    if token.is_none() {
        return Err("the appliance hands out no token and the kernel command line carries none (ipa-agent-token): \
                    commands could not be told from a stranger's. Boot again through the appliance"
            .to_owned());
    }
    console.say(&format!("this machine is node {}", found.node.uuid));

    let opened = Arc::new(AtomicBool::new(false));
    let agent = Agent {
        machine: Arc::clone(&machine),
        client,
        console: console.clone(),
        node: Mutex::new(found.node.clone()),
        prepared: Mutex::new(None),
        pulse: pulse.clone(),
        pace,
        opened: Arc::clone(&opened),
    };
    let secure = parameters.agent_tls && version >= ApiVersion(1, 68);
    let identity = if secure { Some(tls::identity(address).map_err(|error| error.to_string())?) } else { None };
    let service = Service {
        registry: Registry::new(Box::new(agent), console.clone()),
        token: Arc::new(Mutex::new(token.clone())),
        started_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
    };
    let any = if address.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let server = Server::start(
        SocketAddr::new(any, port),
        identity.as_ref().map(|identity| Arc::clone(&identity.config)),
        service,
    )
    .map_err(|error| format!("commands cannot be taken on port {port}: {error}"))?;
    let callback = SocketAddr::new(address, server.address().port());
    let beat = Heartbeat {
        callback_url: format!("{}://{callback}", if secure { "https" } else { "http" }),
        agent_token: token,
        agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        agent_verify_ca: identity.map(|identity| identity.certificate_pem),
        agent_status: None,
        agent_status_message: None,
    };
    console.say("ready; waiting for the appliance's commands");
    let (uuid, opened) = (&found.node.uuid, &opened);
    let heart = Heart { appliance: &appliance, console: &console, pulse: &pulse, version, uuid, opened };
    if heart.beat(beat, found.config.heartbeat_timeout) == Over::HandedOver {
        server.close();
        console.say("this machine is its user's now: the agent takes no more commands");
        if let Err(why) = machine.hand_over() {
            console.say(&format!("its cards keep the addresses they have: {why}"));
        }
        pulse.wait_for_end();
    }
    Ok(())
}

/// Asks again and again, with pauses that grow, and says on the console why. `None`: the agent is to end.
fn insist<T>(console: &Console, pulse: &Pulse, what: &str, mut ask: impl FnMut() -> Reply<T>) -> Option<T> {
    let mut wait = FIRST_WAIT;
    loop {
        let why = match ask() {
            Reply::Good(value) => return Some(value),
            Reply::Refused(why) => format!(
                "cannot {what}: {why}. Is this machine enrolled with the right MAC addresses, and was it told to boot \
                 by the appliance?"
            ),
            Reply::Locked(why) => format!("cannot {what} yet: {why}"),
            Reply::Trouble(why) => format!("cannot {what}: {why}"),
        };
        console.say(&format!("{why}; trying again in {} s", wait.as_secs()));
        if pulse.rest(wait) {
            return None;
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// The address that the kernel would call the appliance from.
fn wait_for_network(console: &Console, pulse: &Pulse, url: &str) -> IpAddr {
    let mut tries = 0u32;
    loop {
        if let Some(address) = source_address(url) {
            return address;
        }
        match tries {
            0 => console.say("waiting for an address from the network"),
            tries if tries % 20 == 0 => console.say(
                "still no address: is the cable in the right port, is that port in the provisioning VLAN, and does the \
                 switch wait for spanning tree (portfast is off)?",
            ),
            _ => {}
        }
        tries += 1;
        pulse.rest(Duration::from_millis(500));
    }
}

fn source_address(url: &str) -> Option<IpAddr> {
    let url = Url::parse(url).ok()?;
    let target = (url.host.as_str(), url.port).to_socket_addrs().ok()?.next()?;
    let any: IpAddr = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Nothing is sent: connecting only chooses a route.
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(target).ok()?;
    let address = socket.local_addr().ok()?.ip();
    let usable = match address {
        IpAddr::V4(address) => !address.is_unspecified() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_unspecified() && address.segments()[0] & 0xffc0 != 0xfe80,
    };
    usable.then_some(address)
}

/// Every MAC address of the machine, the one it booted from first.
fn addresses(root: &std::path::Path, boot_mac: Option<&str>) -> Vec<String> {
    let interfaces = inventory::interfaces(root, &Neighbours::default());
    let mut addresses: Vec<String> = interfaces.into_iter().filter_map(|interface| interface.mac_address).collect();
    if let Some(boot_mac) = boot_mac {
        addresses.retain(|address| address != boot_mac);
        addresses.insert(0, boot_mac.to_owned());
    }
    addresses
}

fn inspect(
    client: &Client,
    parameters: &Parameters,
    neighbours: &Neighbours,
    console: &Console,
    root: &std::path::Path,
    pulse: &Pulse,
) -> Option<String> {
    console.say("taking the inventory of this machine");
    if parameters.collect_lldp {
        let connected = inventory::interfaces(root, neighbours).into_iter().filter(|one| one.has_carrier == Some(true));
        let names: Vec<String> = connected.map(|interface| interface.name).collect();
        neighbours.wait_for(&names, parameters.lldp_timeout);
    }
    let inventory = inventory::collect(root, neighbours, parameters.boot_mac.as_deref());
    let disks = disk::list(&root.join("sys"));
    // As ironic: the smallest disk of at least 4 GiB; a machine that has only smaller ones is not refused for it.
    let root_disk = [4u64 << 30, 1].into_iter().find_map(|least| disk::choose(&disks, &Hints::default(), least).ok());
    let error = root_disk.is_none().then(|| "no disk that an image could be written to".to_owned());
    let inspection = Inspection {
        boot_interface: inventory.boot.pxe_interface.clone(),
        inventory,
        root_disk: root_disk.map(|found| found.disk.clone()),
        error,
    };
    let mut wait = FIRST_WAIT;
    for _ in 0..INSPECTION_TRIES {
        match post_inspection(client, &parameters.inspection_urls, &inspection) {
            Reply::Good(uuid) => {
                console.say("the inventory is with the appliance");
                return uuid;
            }
            Reply::Refused(why) => {
                console.say(&format!("the appliance does not take the inventory: {why}"));
                return None;
            }
            Reply::Locked(why) | Reply::Trouble(why) => {
                console.say(&format!("cannot hand over the inventory: {why}; trying again in {} s", wait.as_secs()));
            }
        }
        if pulse.rest(wait) {
            return None;
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    None
}

/// Carries out commands.
struct Agent {
    machine: Arc<dyn Machine>,
    client: Client,
    console: Console,
    node: Mutex<LookupNode>,
    prepared: Mutex<Option<steps::Prepared>>,
    pulse: Pulse,
    pace: Pace,
    /// The machine's user was let in.
    opened: Arc<AtomicBool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Agent {
    fn step(&self, phase: Phase, step: &Value, name: &str, version: Option<Value>) -> Result<Value, Failure> {
        let ours = json!({MANAGER: steps::STEPS_VERSION});
        if let Some(planned) = version.filter(|planned| *planned != ours) {
            let why = format!("the steps were planned with {planned}, this agent has {ours}; start the work again");
            return Err(Failure::new(Kind::VersionMismatch, why));
        }
        let known = steps::steps(phase);
        let result = match name {
            _ if !known.iter().any(|step| step.step == name) => {
                let kind = match phase {
                    Phase::Clean => Kind::Cleaning,
                    Phase::Deploy => Kind::Deployment,
                    Phase::Service => Kind::Servicing,
                };
                let known: Vec<String> = known.into_iter().map(|step| step.step).collect();
                let what = phase.name();
                let why = format!("this agent has no {what} step {name}; it has {}", known.join(", "));
                return Err(Failure::new(kind, why));
            }
            "clean_uefi_nvram" => self.install_bootloader().map(Value::String)?,
            "erase_devices_metadata" => self.wiped(steps::erase_metadata)?,
            _ => self.wiped(steps::erase_devices)?,
        };
        let what = phase.name();
        Ok(Value::Object(
            [(format!("{what}_result"), result), (format!("{what}_step"), step.clone())].into_iter().collect(),
        ))
    }

    /// Erases disks, and what the firmware knows of the systems that were on them.
    fn wiped(&self, erase: fn(&dyn Machine, &Console) -> Result<Value, Failure>) -> Result<Value, Failure> {
        let (machine, console) = (self.machine.as_ref(), &self.console);
        let disks = erase(machine, console)?;
        let firmware = steps::forget_systems(machine, console)?;
        Ok(Value::String(format!("{}; {firmware}", disks.as_str().unwrap_or_default())))
    }

    fn offer(phase: Phase) -> Value {
        let steps = BTreeMap::from([(MANAGER, steps::steps(phase))]);
        json!({(format!("{}_steps", phase.name())): steps, "hardware_manager_version": {MANAGER: steps::STEPS_VERSION}})
    }

    /// The disk of this deployment; after a restart of the machine the one that the hints choose.
    fn deployed_disk(&self) -> Result<String, Failure> {
        if let Some(prepared) = lock(&self.prepared).as_ref() {
            return Ok(prepared.disk.clone());
        }
        let node = lock(&self.node).clone();
        let hints = Hints::of_node(&node.instance_info, &node.properties);
        let hints = hints.or_failure(Kind::DeviceNotFound, || "boot loader".to_owned())?;
        let disks = self.machine.disks();
        let found = disk::choose(&disks, &hints, 1).or_failure(Kind::DeviceNotFound, || "boot loader".to_owned())?;
        Ok(found.disk.name.clone())
    }

    fn install_bootloader(&self) -> Result<String, Failure> {
        steps::install_bootloader(self.machine.as_ref(), &self.console, &self.deployed_disk()?)
    }

    fn leave(&self, exit: Exit) -> Value {
        self.console.say(match exit {
            Exit::PowerOff => "switching this machine off",
            Exit::Restart => "starting this machine again",
        });
        let (machine, pulse, console) = (Arc::clone(&self.machine), self.pulse.clone(), self.console.clone());
        std::thread::spawn(move || {
            // The answer to the command goes out first.
            std::thread::sleep(LAST_WORDS);
            pulse.end();
            if let Err(why) = machine.leave(exit) {
                console.say(&format!("the kernel refuses: {why}. Switch the machine by its BMC or by hand"));
            }
        });
        Value::Null
    }
}

impl Work for Agent {
    fn run(&self, command: Command, node: Option<LookupNode>) -> Result<Value, Failure> {
        if let Some(node) = node {
            *lock(&self.node) = node;
        }
        match command {
            Command::GetSteps(phase) => Ok(Self::offer(phase)),
            Command::ExecuteStep { phase, step, name, version } => self.step(phase, &step, &name, version),
            Command::PrepareImage { info, config_drive } => {
                let node = lock(&self.node).clone();
                let tools = (self.machine.as_ref(), &self.client, &self.console, self.pace);
                let prepared = steps::prepare_image(tools, &node, &info, config_drive.as_deref())?;
                let text = prepared.text.clone();
                *lock(&self.prepared) = Some(prepared);
                Ok(Value::String(text))
            }
            Command::GetPartitionUuids => Ok(json!({})),
            Command::Sync => {
                rustix::fs::sync();
                Ok(Value::Null)
            }
            Command::SyncClock => Ok(Value::Null),
            Command::InstallBootloader { ignore_failure } => match self.install_bootloader() {
                Err(failure) if ignore_failure => Ok(Value::String(format!("ignored: {failure}"))),
                other => other.map(Value::String),
            },
            Command::FinalizeRescue(hash) => {
                let told = self.machine.open_rescue(&hash).map_err(|why| Failure::new(Kind::Rescue, why))?;
                self.console.say(&told);
                self.opened.store(true, Ordering::Release);
                Ok(Value::String(told))
            }
            Command::PowerOff => Ok(self.leave(Exit::PowerOff)),
            Command::Reboot => Ok(self.leave(Exit::Restart)),
        }
    }

    fn ended(&self) {
        self.pulse.wake();
    }
}
