//! A machine's boot script: what the domain decides, written as iPXE, with the secrets of its present job.

use super::BootInterface;
use leasehold_domain::View;
use leasehold_domain::address::Hold;
use leasehold_domain::boot::{
    AgentSource, BootScript, Initrd, InitrdCondition, KernelArgument, UnknownMachines, boot_script,
};
use leasehold_domain::mac::Mac;
use leasehold_engine::Engine;
use leasehold_netboot::files::BootFiles;
use leasehold_netboot::http::{ScriptAnswer, ScriptRequest, ScriptSource};
use leasehold_protocols::ipxe::{
    self, Argument, BadWord, Command, Condition, ImageName, Platform, Setting, Text, Url, Variable,
};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The ramdisk among the boot files.
const KERNEL: &str = "agent/x86_64/vmlinuz";
const RAMDISK: &str = "agent/x86_64/initramfs";
/// Drivers of real hardware; fetched only there.
const DRIVERS: &str = "agent/x86_64/drivers";
/// What a machine's user works with in a rescue; fetched only then.
const RESCUE: &str = "agent/x86_64/rescue";

/// Everything that the scripts of all interfaces share.
#[derive(Clone)]
pub(crate) struct Scripts {
    pub(crate) engine: Engine,
    pub(crate) files: Arc<BootFiles>,
    /// SHA-256 of the box's certificate.
    pub(crate) pin: String,
    pub(crate) extra: Vec<KernelArgument>,
}

impl Scripts {
    /// The scripts of one interface.
    pub(super) fn of(&self, interface: &BootInterface) -> InterfaceScripts {
        InterfaceScripts { shared: self.clone(), interface: interface.clone() }
    }
}

/// Writes scripts for the machines of one interface.
pub(super) struct InterfaceScripts {
    shared: Scripts,
    interface: BootInterface,
}

impl InterfaceScripts {
    /// Where this interface's machines find kernel, ramdisk and API. `secret`: node and boot secret for the inspection's
    /// report, which stock agents send without a token of their own.
    fn source(&self, secret: Option<(&str, &str)>) -> AgentSource {
        let files = format!("http://{}/boot", self.interface.address);
        let api = self.interface.agent_url();
        let mut initrds = vec![Initrd { url: format!("{files}/{RAMDISK}"), condition: InitrdCondition::Always }];
        if self.shared.files.lookup(DRIVERS.as_bytes()).is_ok() {
            let condition = InitrdCondition::PhysicalMachine;
            initrds.push(Initrd { url: format!("{files}/{DRIVERS}"), condition });
        }
        let query = secret.map(|(node, token)| format!("?node_uuid={node}&agent_token={token}")).unwrap_or_default();
        AgentSource {
            kernel_url: format!("{files}/{KERNEL}"),
            initrds,
            rescue: self
                .shared
                .files
                .lookup(RESCUE.as_bytes())
                .is_ok()
                .then(|| Initrd { url: format!("{files}/{RESCUE}"), condition: InitrdCondition::Always }),
            inspection_url: format!("{api}/v1/continue_inspection{query}"),
            api_url: api,
            pin: Some(self.shared.pin.clone()),
            consoles: vec!["tty0".into(), "ttyS0,115200".into()],
            extra: self.shared.extra.clone(),
        }
    }
}

impl ScriptSource for InterfaceScripts {
    fn script(&self, request: &ScriptRequest) -> ScriptAnswer {
        let Some(mac) = request.mac.map(Mac) else {
            return ScriptAnswer::NotFound("Name the machine: /boot/script/MAC.".into());
        };
        let engine = &self.shared.engine;
        let view = engine.view();
        let node = view.node_by_mac(mac);
        let job = node.and_then(|node| view.running_job(node)).filter(|job| job.wants_agent());
        // The script carries the boot secret: it is for the machine itself, which asks from the address that we gave it.
        if job.is_some() && !asks_for_itself(&view, mac, request.client_ip) {
            return ScriptAnswer::NotFound("This script is for another machine than the one that asks.".into());
        }
        // Once the agent has called, the secret has done its work for this start.
        let unused = node.is_some_and(|node| node.agent.is_none());
        let token = job.filter(|_| unused).map(|job| engine.tickets.boot_token(job));
        let secret = node.map(|node| node.id.to_string()).zip(token.clone());
        let source = self.source(secret.as_ref().map(|(node, token)| (node.as_str(), token.as_str())));
        let script = boot_script(&view, mac, UnknownMachines::NoBoot, &source, |_, _| token);
        match written(&script) {
            Ok(script) => ScriptAnswer::Script(script.render()),
            Err(error) => ScriptAnswer::NotFound(format!("The boot script cannot be written: {error}.")),
        }
    }
}

/// The address from which a script is asked for is bound to the machine that it is for.
fn asks_for_itself(view: &View, mac: Mac, from: Option<Ipv4Addr>) -> bool {
    let binding = from.and_then(|address| view.binding(address));
    binding.is_some_and(|binding| matches!(&binding.hold, Hold::Bound { mac: bound, .. } if *bound == mac))
}

/// The script in iPXE's language.
fn written(script: &BootScript) -> Result<ipxe::Script, BadWord> {
    let commands = match script {
        BootScript::Agent { title, kernel, initrds, arguments } => agent(title, kernel, initrds, arguments)?,
        BootScript::Disk { title } => vec![
            Command::Echo(Text::new(title)),
            // Many BIOSes do not go on to the disk by themselves; UEFI does.
            Command::When(Condition::Platform(Platform::Bios), vec![Command::BootDisk]),
            Command::Leave,
        ],
        BootScript::Stay { text } => vec![Command::Echo(Text::new(text)), Command::Stay],
        BootScript::Refuse { text } => {
            vec![Command::Echo(Text::new(text)), Command::Sleep { seconds: 10 }, Command::Leave]
        }
    };
    Ok(ipxe::Script::new(commands))
}

fn agent(title: &str, kernel: &str, initrds: &[Initrd], arguments: &[KernelArgument]) -> Result<Vec<Command>, BadWord> {
    let mut commands = vec![Command::Echo(Text::new(title))];
    let mut words = Vec::new();
    let mut fetches = Vec::new();
    for (number, initrd) in (0_u8..).zip(initrds) {
        let name = ImageName::new(&format!("initrd{number}"))?;
        let argument = ipxe::KernelArgument::new("initrd", &name.to_string())?;
        let fetch = Command::Initrd { name, url: Url::new(&initrd.url)? };
        match initrd.condition {
            InitrdCondition::Always => {
                words.push(Argument::Fixed(argument));
                fetches.push(fetch);
            }
            InitrdCondition::PhysicalMachine => {
                let physical = Condition::IsNot(Setting::Manufacturer, ImageName::new("QEMU")?);
                commands.push(Command::When(physical.clone(), vec![Command::Set(Variable(number), argument)]));
                words.push(Argument::Variable(Variable(number)));
                fetches.push(Command::When(physical, vec![fetch]));
            }
        }
    }
    for argument in arguments {
        let word = match &argument.value {
            Some(value) => ipxe::KernelArgument::new(&argument.key, value)?,
            None => ipxe::KernelArgument::flag(&argument.key)?,
        };
        words.push(Argument::Fixed(word));
    }
    commands.push(Command::Kernel { name: ImageName::new("kernel")?, url: Url::new(kernel)?, arguments: words });
    commands.extend(fetches);
    commands.push(Command::Boot);
    Ok(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_script_names_its_ramdisk_and_carries_its_parameters() {
        let initrd = |name: &str, condition| Initrd { url: format!("http://10.0.0.1/boot/{name}"), condition };
        let script = BootScript::Agent {
            title: "node node0 starts its agent".into(),
            kernel: "http://10.0.0.1/boot/vmlinuz".into(),
            initrds: vec![initrd("a", InitrdCondition::Always), initrd("b", InitrdCondition::PhysicalMachine)],
            arguments: vec![
                KernelArgument::new("ipa-agent-token", "00ff"),
                KernelArgument { key: "quiet".into(), value: None },
            ],
        };
        let text = written(&script).expect("written").render();
        assert!(
            text.contains(
                "kernel --name kernel http://10.0.0.1/boot/vmlinuz initrd=initrd0 ${arg1} ipa-agent-token=00ff quiet\n"
            ),
            "{text}"
        );
        assert!(text.contains("initrd --name initrd0 http://10.0.0.1/boot/a\n"));
    }

    #[test]
    fn only_the_machine_itself_gets_its_script() {
        use leasehold_domain::address::{Binding, ClientKey};
        let (mine, other) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let address = Ipv4Addr::new(10, 77, 0, 129);
        let mut view = View::default();
        view.apply(&leasehold_domain::Change::PutBinding(Arc::new(Binding {
            address,
            hold: Hold::Bound { client: ClientKey::Mac(mine), mac: mine },
            since: jiff::Timestamp::UNIX_EPOCH,
            expires: jiff::Timestamp::UNIX_EPOCH,
        })));
        assert!(asks_for_itself(&view, mine, Some(address)));
        assert!(!asks_for_itself(&view, other, Some(address)));
        assert!(!asks_for_itself(&view, mine, Some(Ipv4Addr::new(10, 77, 0, 130))));
        assert!(!asks_for_itself(&view, mine, None));
    }

    #[test]
    fn a_parameter_cannot_break_out_of_its_line() {
        let script = BootScript::Agent {
            title: "x".into(),
            kernel: "http://10.0.0.1/k".into(),
            initrds: Vec::new(),
            arguments: vec![KernelArgument::new("a", "b\nshell")],
        };
        assert!(written(&script).is_err());
    }
}
