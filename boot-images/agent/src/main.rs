//! `leasehold-agent`: started by the ramdisk's `/init` once the network is up, and run until the machine leaves.

use leasehold_agent::agent::{self, Setting};
use leasehold_agent::console::Console;
use leasehold_agent::image::Pace;
use leasehold_agent::inventory::{self, Neighbours};
use leasehold_agent::machine::RealMachine;
use leasehold_agent::parameters;
use leasehold_agent::pulse::Pulse;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const HELP: &str = "\
leasehold-agent: inspects, cleans and images the machine it runs on, as a Leasehold appliance tells it.

Usage: leasehold-agent [--cmdline TEXT] [--stderr]
       leasehold-agent --inventory | --help | --version

  --cmdline TEXT  read TEXT instead of /proc/cmdline
  --stderr        speak to standard error only, not to the kernel's consoles
  --inventory     print what this machine is made of as JSON, change nothing, and end

Kernel parameters:
  ipa-api-url=URL[,URL]             the appliance (lookup and heartbeat)
  ipa-inspection-callback-url=URL   where the inventory goes; without it there is no inspection
  ipa-agent-token=SECRET            the one-time secret of this boot
  leasehold-pin=HEX                 SHA-256 of the appliance's certificate (DER); needed for https
  BOOTIF=01-aa-bb-cc-dd-ee-ff       the interface that the machine booted from (or leasehold-mac=)
  ipa-collect-lldp=1                let the inventory wait for the switches' LLDP frames
  ipa-lldp-timeout=SECONDS          how long at most (30)
  ipa-agent-tls=0                   take commands in the clear (a test's choice)
  ipa-insecure=1                    take any certificate where no pin is given (a test's choice)

It needs root, /proc, /sys, /dev, an address on the network and, for boot entries, efivarfs on
/sys/firmware/efi/efivars. It takes commands on TCP port 9999.
";

/// How long the kernel may take to bring the machine down.
const LEAVING: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let mut line = None;
    let mut on_stderr = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return print(HELP),
            "--version" | "-V" => return print(&format!("leasehold-agent {}\n", env!("CARGO_PKG_VERSION"))),
            "--inventory" => return print_inventory(),
            "--stderr" => on_stderr = true,
            "--cmdline" => match arguments.next() {
                Some(text) => line = Some(text),
                None => return misuse("--cmdline needs a text"),
            },
            // The kernel hands what it does not know itself to its first process.
            _ if std::process::id() == 1 => {}
            other => return misuse(&format!("unknown argument {other}")),
        }
    }
    let console = if on_stderr { Console::of_stderr() } else { Console::of_kernel() };
    let pulse = Pulse::default();
    catch_panics(&console, &pulse);
    console.say(&format!("deploy agent {}", env!("CARGO_PKG_VERSION")));
    let line = match line.map_or_else(|| std::fs::read_to_string("/proc/cmdline"), Ok) {
        Ok(line) => line,
        Err(error) => return give_up(&console, &format!("/proc/cmdline cannot be read: {error}; is /proc mounted?")),
    };
    let parameters = match parameters::parse(&line) {
        Ok(parameters) => parameters,
        Err(error) => return give_up(&console, &error.to_string()),
    };
    let setting = Setting {
        parameters,
        machine: Arc::new(RealMachine),
        console: console.clone(),
        root: PathBuf::from("/"),
        port: agent::PORT,
        pace: Pace::default(),
        pulse,
    };
    match agent::run(setting) {
        Ok(()) => {
            // The kernel is about to restart the machine or switch it off, and this process has to be there until then.
            std::thread::sleep(LEAVING);
            give_up(&console, "it was told to leave, but is still here")
        }
        Err(why) => give_up(&console, &why),
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn print_inventory() -> ExitCode {
    let inventory = inventory::collect(Path::new("/"), &Neighbours::default(), None);
    match serde_json::to_string_pretty(&inventory) {
        Ok(text) => print(&(text + "\n")),
        Err(_) => ExitCode::FAILURE,
    }
}

fn misuse(why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "leasehold-agent: {why}; see leasehold-agent --help");
    ExitCode::from(2)
}

fn give_up(console: &Console, why: &str) -> ExitCode {
    console.say(&format!("this machine cannot go on: {why}"));
    rest(console, ExitCode::from(2))
}

/// The first process must not end, or the kernel panics and takes the words off the screen.
fn rest(console: &Console, code: ExitCode) -> ExitCode {
    if std::process::id() != 1 {
        return code;
    }
    console.say("waiting; switch the machine off by its BMC or by hand if nothing happens");
    loop {
        std::thread::park();
    }
}

/// A defect in one thread is told on the console and in every heartbeat, and stops that thread only: the command it
/// was at stays unfinished, and the appliance hears why. Without the main thread there is no heartbeat: the process
/// ends, and the ramdisk starts the machine again.
fn catch_panics(console: &Console, pulse: &Pulse) {
    let (console, pulse) = (console.clone(), pulse.clone());
    std::panic::set_hook(Box::new(move |panic| {
        let why = format!("internal error of the deploy agent ({panic}); please report it");
        console.say(&why);
        pulse.raise(why);
        if std::thread::current().name() == Some("main") && std::process::id() != 1 {
            return;
        }
        loop {
            std::thread::park();
        }
    }));
}
