//! What a booting machine is, and what it gets.
//!
//! In: what it says of itself in DHCP, and who it is in the view. Out: which file it is sent to ([`BootFile`]) or why
//! none ([`NoBoot`]), and the parts of its boot script ([`BootScript`]). A machine boots from the network only when a
//! job of its node wants it to: everybody else goes on to the disk.

use crate::job::{Job, JobKind};
use crate::mac::Mac;
use crate::node::Node;
use crate::view::View;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The processor and firmware interface by IANA's registry of architecture types (RFC 4578 §2.1 and later entries).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arch {
    /// x86 with BIOS.
    X86Bios,
    /// x86 with 32-bit UEFI.
    X86Uefi,
    /// x86-64 with UEFI.
    X64Uefi,
    Arm32Uefi,
    Arm64Uefi,
    Riscv64Uefi,
    /// Any other, by its number.
    Other(u16),
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Arch::X86Bios => f.write_str("x86 BIOS"),
            Arch::X86Uefi => f.write_str("32-bit x86 UEFI"),
            Arch::X64Uefi => f.write_str("x86-64 UEFI"),
            Arch::Arm32Uefi => f.write_str("32-bit ARM UEFI"),
            Arch::Arm64Uefi => f.write_str("64-bit ARM UEFI"),
            Arch::Riscv64Uefi => f.write_str("64-bit RISC-V UEFI"),
            Arch::Other(number) => write!(f, "architecture type {number}"),
        }
    }
}

/// Architecture and whether the type means HTTP Boot.
fn arch_of(number: u16) -> (Arch, bool) {
    match number {
        0 => (Arch::X86Bios, false),
        6 => (Arch::X86Uefi, false),
        // 9 is EFI byte code by the registry; firmware of x86-64 machines sends it for itself.
        7 | 9 => (Arch::X64Uefi, false),
        10 => (Arch::Arm32Uefi, false),
        11 => (Arch::Arm64Uefi, false),
        15 => (Arch::X86Uefi, true),
        16 | 17 => (Arch::X64Uefi, true),
        18 => (Arch::Arm32Uefi, true),
        19 => (Arch::Arm64Uefi, true),
        27 => (Arch::Riscv64Uefi, false),
        28 => (Arch::Riscv64Uefi, true),
        // The same processor booted by BIOS HTTP (32) has no user here.
        other => (Arch::Other(other), false),
    }
}

/// What a client's message says that decides what it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootFacts<'a> {
    /// Option 93, all of it.
    pub architectures: &'a [u16],
    /// Option 60.
    pub vendor_class: &'a [u8],
    /// Option 77.
    pub user_classes: &'a [Vec<u8>],
    /// Option 175: what iPXE can do; `None`: the option is missing.
    pub ipxe: Option<IpxeCan>,
}

/// What an iPXE can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpxeCan {
    pub http: bool,
    pub linux: bool,
}

/// Who is booting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootClient {
    /// Not a boot client: an operating system, or firmware that asks for an address only.
    None,
    /// PXE of a BIOS or a network card.
    PxeBios,
    /// PXE of UEFI.
    PxeUefi(Arch),
    /// HTTP Boot of UEFI.
    HttpUefi(Arch),
    /// iPXE. `can`: what it says it can do; `None` where it says nothing.
    Ipxe { arch: Arch, can: Option<IpxeCan> },
}

impl BootClient {
    /// For a person: `PXE, x86 BIOS`.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            BootClient::None => "no boot client".into(),
            BootClient::PxeBios => format!("PXE, {}", Arch::X86Bios),
            BootClient::PxeUefi(arch) => format!("PXE, {arch}"),
            BootClient::HttpUefi(arch) => format!("HTTP Boot, {arch}"),
            BootClient::Ipxe { arch, .. } => format!("iPXE, {arch}"),
        }
    }

    /// Whether it holds up its machine when it is offered no file, as UEFI does; a BIOS goes on at once.
    fn insists(self) -> bool {
        matches!(self, BootClient::PxeUefi(_) | BootClient::HttpUefi(_) | BootClient::Ipxe { arch: Arch::X64Uefi, .. })
    }
}

/// Tells who is booting.
#[must_use]
pub fn classify(facts: &BootFacts<'_>) -> BootClient {
    let http_class = facts.vendor_class.starts_with(b"HTTPClient");
    let pxe_class = facts.vendor_class.starts_with(b"PXEClient");
    let number = facts.architectures.first().copied().or_else(|| arch_in_class(facts.vendor_class));
    let is_ipxe = facts.ipxe.is_some() || facts.user_classes.iter().any(|class| class == b"iPXE");
    let (arch, http_arch) = number.map_or((Arch::X86Bios, false), arch_of);
    if is_ipxe {
        return BootClient::Ipxe { arch, can: facts.ipxe };
    }
    if http_class {
        return BootClient::HttpUefi(arch);
    }
    if !pxe_class {
        return BootClient::None;
    }
    match arch {
        Arch::X86Bios => BootClient::PxeBios,
        arch if http_arch => BootClient::HttpUefi(arch),
        arch => BootClient::PxeUefi(arch),
    }
}

/// The architecture in `PXEClient:Arch:00007:UNDI:003016`, for firmware that leaves option 93 out.
fn arch_in_class(class: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(class).ok()?;
    let (_, rest) = text.split_once(":Arch:")?;
    let digits = rest.get(..5)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Where boot files come from, as the clients of one network reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootSource {
    /// The TFTP server.
    pub tftp: Ipv4Addr,
    /// The URL of the folder of boot files over HTTP, without a slash at its end: loaders are below it by the same
    /// names as over TFTP.
    pub files_url: String,
    /// The URL to which `/` and a MAC address are appended for a machine's boot script, such as
    /// `http://10.0.0.1/boot/script`.
    pub script_url: String,
    /// What a machine that is not enrolled gets.
    pub unknown: UnknownMachines,
}

/// What a machine gets that no node's port names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownMachines {
    /// An address and no boot file: it goes on to its disk.
    #[default]
    NoBoot,
    /// A script that tells at its screen that it is not enrolled, and how to enrol it; then it goes on to its disk.
    Notice,
}

/// What a client is sent to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootFile {
    Tftp { server: Ipv4Addr, file: &'static str },
    Http { url: String },
    Script { url: String },
}

/// Why a boot client is sent to load nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBoot {
    #[error("it does not ask to boot")]
    NotBooting,
    #[error("node {node} has no job that wants it to boot from the network; it goes on to its disk")]
    NoJob { node: String },
    #[error("node {node} is in quarantine: it was not proven that it was wiped after its last lease, and it stays off")]
    Quarantine { node: String },
    #[error(
        "port {mac} of node {node} is not meant for booting (pxe_enabled is false): set it, or boot from another port"
    )]
    PortDisabled { node: String, mac: Mac },
    #[error("no node has a port {mac}: create the port to enrol it")]
    Unknown { mac: Mac },
    #[error("there is no boot loader for {arch}: only x86 BIOS and x86-64 UEFI are served")]
    NoLoader { arch: Arch },
    #[error("its iPXE cannot load a Linux kernel by HTTP: boot it by plain PXE, so that it gets our loader")]
    IpxeCannot,
}

/// What a machine is to boot, whatever its firmware.
#[derive(Clone, Debug)]
pub enum BootNeed {
    /// The deploy agent, for this job.
    Agent { node: Arc<Node>, job: Arc<Job> },
    /// The notice for machines that are not enrolled.
    Notice,
    /// Nothing.
    Nothing(NoBoot),
}

/// What the machine with this MAC address is to boot now.
#[must_use]
pub fn boot_need(view: &View, mac: Mac, unknown: UnknownMachines) -> BootNeed {
    let Some((port, node)) = view.port_by_mac(mac).zip(view.node_by_mac(mac)) else {
        return match unknown {
            UnknownMachines::NoBoot => BootNeed::Nothing(NoBoot::Unknown { mac }),
            UnknownMachines::Notice => BootNeed::Notice,
        };
    };
    match view.running_job(node).filter(|job| job.wants_agent()) {
        None if node.is_in_quarantine() => BootNeed::Nothing(NoBoot::Quarantine { node: node.title() }),
        None => BootNeed::Nothing(NoBoot::NoJob { node: node.title() }),
        Some(_) if !port.settings.pxe_enabled => BootNeed::Nothing(NoBoot::PortDisabled { node: node.title(), mac }),
        Some(job) => BootNeed::Agent { node: node.clone(), job: job.clone() },
    }
}

/// The file that this client is sent to. It takes a loader, too, where the machine is one of ours and is to go on to its
/// disk: firmware of UEFI takes an offer without a file for none at all and asks again for minutes, over each protocol,
/// before it tries its disk. The loader's script sends it there at once.
pub fn boot_file(need: &BootNeed, client: &BootClient, mac: Mac, source: &BootSource) -> Result<BootFile, NoBoot> {
    match need {
        _ if *client == BootClient::None => Err(NoBoot::NotBooting),
        // The loader's script keeps one in quarantine from its disk.
        BootNeed::Agent { .. } | BootNeed::Notice | BootNeed::Nothing(NoBoot::Quarantine { .. }) => {
            loader_file(client, mac, source)
        }
        BootNeed::Nothing(why @ (NoBoot::NoJob { .. } | NoBoot::PortDisabled { .. })) if client.insists() => {
            loader_file(client, mac, source).map_err(|_| why.clone())
        }
        BootNeed::Nothing(why) => Err(why.clone()),
    }
}

fn loader_file(client: &BootClient, mac: Mac, source: &BootSource) -> Result<BootFile, NoBoot> {
    let loader = |arch: Arch| match arch {
        Arch::X86Bios => Ok("ipxe/undionly.kpxe"),
        Arch::X64Uefi => Ok("ipxe/x86_64/snponly.efi"),
        arch => Err(NoBoot::NoLoader { arch }),
    };
    match client {
        BootClient::None => Err(NoBoot::NotBooting),
        BootClient::PxeBios => Ok(BootFile::Tftp { server: source.tftp, file: loader(Arch::X86Bios)? }),
        BootClient::PxeUefi(arch) => Ok(BootFile::Tftp { server: source.tftp, file: loader(*arch)? }),
        BootClient::HttpUefi(Arch::X86Bios) => Err(NoBoot::NoLoader { arch: Arch::X86Bios }),
        BootClient::HttpUefi(arch) => Ok(BootFile::Http { url: format!("{}/{}", source.files_url, loader(*arch)?) }),
        BootClient::Ipxe { arch, can } => {
            loader(*arch)?;
            match can {
                Some(can) if !(can.http && can.linux) => Err(NoBoot::IpxeCannot),
                _ => Ok(BootFile::Script { url: format!("{}/{mac}", source.script_url) }),
            }
        }
    }
}

/// One parameter on the kernel's command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelArgument {
    pub key: String,
    /// `None`: the key alone.
    pub value: Option<String>,
}

impl KernelArgument {
    #[must_use]
    pub fn new(key: &str, value: impl Into<String>) -> KernelArgument {
        KernelArgument { key: key.into(), value: Some(value.into()) }
    }
}

/// When a part of the ramdisk is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitrdCondition {
    Always,
    /// On real hardware only: the drivers there are large, and QEMU needs none of them.
    PhysicalMachine,
}

/// One archive of the ramdisk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initrd {
    pub url: String,
    pub condition: InitrdCondition,
}

/// What the appliance knows about starting its agent; the same for all machines of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSource {
    pub kernel_url: String,
    pub initrds: Vec<Initrd>,
    /// What comes on top where the machine's user is to be let in.
    pub rescue: Option<Initrd>,
    /// Where the agent finds our API, such as `https://10.0.0.1:6385`.
    pub api_url: String,
    /// Where it reports what the machine consists of.
    pub inspection_url: String,
    /// The hash of our certificate, by which the agent knows us; `None` over plain HTTP.
    pub pin: Option<String>,
    /// Consoles, the one that matters last.
    pub consoles: Vec<String>,
    /// What a keeper wants besides.
    pub extra: Vec<KernelArgument>,
}

/// A boot script in typed parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootScript {
    /// Starts the agent.
    Agent { title: String, kernel: String, initrds: Vec<Initrd>, arguments: Vec<KernelArgument> },
    /// Goes on to the next boot device.
    Disk { title: String },
    /// Tells at the screen why it does not boot, then goes on to the next boot device.
    Refuse { text: String },
    /// Tells, and starts nothing: the machine is to be off.
    Stay { text: String },
}

/// The script for the machine with this MAC address. `token` makes the boot secret of a job: it is asked only when the
/// agent is to be started, and `None` is a refusal (the secret of this start was used already).
pub fn boot_script(
    view: &View,
    mac: Mac,
    unknown: UnknownMachines,
    source: &AgentSource,
    token: impl FnOnce(&Node, &Job) -> Option<String>,
) -> BootScript {
    match boot_need(view, mac, unknown) {
        BootNeed::Agent { node, job } => match token(&node, &job) {
            Some(token) => BootScript::Agent {
                title: format!("node {} starts its agent", node.title()),
                kernel: source.kernel_url.clone(),
                initrds: {
                    let rescue = source.rescue.as_ref().filter(|_| job.kind == JobKind::Rescue);
                    source.initrds.iter().chain(rescue).cloned().collect()
                },
                arguments: agent_arguments(mac, &job, source, token),
            },
            None => BootScript::Refuse {
                text: format!(
                    "Node {} has called back for this start already: its boot secret works once. Start its job again.",
                    node.title()
                ),
            },
        },
        BootNeed::Notice => BootScript::Refuse { text: capital(&NoBoot::Unknown { mac }.to_string()) },
        BootNeed::Nothing(NoBoot::NoJob { node }) => {
            BootScript::Disk { title: format!("node {node} boots from its disk") }
        }
        BootNeed::Nothing(why @ NoBoot::Quarantine { .. }) => BootScript::Stay { text: capital(&why.to_string()) },
        BootNeed::Nothing(why) => BootScript::Refuse { text: capital(&why.to_string()) },
    }
}

fn agent_arguments(mac: Mac, job: &Job, source: &AgentSource, token: String) -> Vec<KernelArgument> {
    let mut arguments =
        vec![KernelArgument::new("ipa-api-url", &source.api_url), KernelArgument::new("ipa-agent-token", token)];
    if job.kind == JobKind::Inspect {
        arguments.push(KernelArgument::new("ipa-inspection-callback-url", &source.inspection_url));
    }
    if let Some(pin) = &source.pin {
        arguments.push(KernelArgument::new("leasehold-pin", pin));
    }
    // pxelinux's form: hardware type, then the address with dashes.
    arguments.push(KernelArgument::new("BOOTIF", format!("01-{}", mac.to_string().replace(':', "-"))));
    arguments.extend(source.consoles.iter().map(|console| KernelArgument::new("console", console)));
    arguments.extend(source.extra.iter().cloned());
    arguments
}

/// A reason as a sentence.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

#[cfg(test)]
#[path = "boot_tests.rs"]
mod tests;
