//! Commands of a script and how they are written.

use super::word::{ImageName, KernelArgument, Text, Url};
use std::fmt::{self, Write as _};

/// What iPXE knows of the machine it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The maker by SMBIOS; `QEMU` in a virtual machine.
    Manufacturer,
    /// The product by SMBIOS.
    Product,
    /// `pcbios` or `efi`.
    Platform,
}

impl Setting {
    fn name(self) -> &'static str {
        match self {
            Setting::Manufacturer => "manufacturer",
            Setting::Product => "product",
            Setting::Platform => "platform",
        }
    }
}

/// Which kind of firmware iPXE runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    Bios,
    Efi,
}

/// Something that holds or not on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The firmware is of this kind.
    Platform(Platform),
    /// The setting has this value.
    Is(Setting, ImageName),
    /// The setting has another value, or none.
    IsNot(Setting, ImageName),
}

impl Condition {
    /// The comparison, and whether it must succeed.
    fn test(&self) -> (String, bool) {
        let compare = |setting: Setting, value: &dyn fmt::Display| format!("iseq ${{{}}} {value}", setting.name());
        match self {
            Condition::Platform(Platform::Bios) => (compare(Setting::Platform, &"pcbios"), true),
            Condition::Platform(Platform::Efi) => (compare(Setting::Platform, &"efi"), true),
            Condition::Is(setting, value) => (compare(*setting, value), true),
            Condition::IsNot(setting, value) => (compare(*setting, value), false),
        }
    }
}

/// A variable of a script, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable(pub u8);

/// A word on the kernel's command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// As it stands.
    Fixed(KernelArgument),
    /// What the variable holds; nothing if it was never set.
    Variable(Variable),
}

/// One command, or a block under a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Shows a line.
    Echo(Text),
    /// Remembers a kernel argument.
    Set(Variable, KernelArgument),
    /// Fetches the kernel and makes it what `boot` starts.
    Kernel { name: ImageName, url: Url, arguments: Vec<Argument> },
    /// Fetches an initramfs.
    Initrd { name: ImageName, url: Url },
    /// Starts the kernel.
    Boot,
    /// Starts the system on the first disk, by BIOS.
    BootDisk,
    /// Back to the firmware, which goes on to its next boot device.
    Leave,
    /// Switches the machine off, where iPXE can; else it stays here for good.
    Stay,
    /// Waits, so that a person can read.
    Sleep { seconds: u16 },
    /// The block runs where the condition holds.
    When(Condition, Vec<Command>),
}

/// A script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    commands: Vec<Command>,
}

impl Script {
    /// A script of these commands. A command that fails ends it, and the firmware goes on to its next boot device.
    #[must_use]
    pub fn new(commands: Vec<Command>) -> Script {
        Script { commands }
    }

    /// The text, beginning with iPXE's mark.
    #[must_use]
    pub fn render(&self) -> String {
        let mut writer = Writer { text: String::from("#!ipxe\n"), labels: 0 };
        writer.block(&self.commands);
        writer.text
    }
}

struct Writer {
    text: String,
    labels: usize,
}

impl Writer {
    fn block(&mut self, commands: &[Command]) {
        for command in commands {
            self.command(command);
        }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing into a string cannot fail.
        let _ = self.text.write_fmt(line);
        self.text.push('\n');
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Echo(text) => self.line(format_args!("echo {text}")),
            Command::Set(Variable(number), argument) => self.line(format_args!("set arg{number} {argument}")),
            Command::Kernel { name, url, arguments } => {
                let mut line = format!("kernel --name {name} {url}");
                for argument in arguments {
                    let _ = match argument {
                        Argument::Fixed(argument) => write!(line, " {argument}"),
                        Argument::Variable(Variable(number)) => write!(line, " ${{arg{number}}}"),
                    };
                }
                self.line(format_args!("{line}"));
            }
            Command::Initrd { name, url } => self.line(format_args!("initrd --name {name} {url}")),
            Command::Boot => self.line(format_args!("boot")),
            Command::BootDisk => self.line(format_args!("sanboot --no-describe --drive 0x80")),
            // Not 0: some firmware takes a success for "the system was started and ended" and stops at its menu.
            Command::Leave => self.line(format_args!("exit 1")),
            Command::Stay => {
                let label = self.labels;
                self.labels += 1;
                self.line(format_args!("poweroff ||"));
                self.line(format_args!(":stay{label}"));
                self.line(format_args!("sleep 3600"));
                self.line(format_args!("goto stay{label}"));
            }
            Command::Sleep { seconds } => self.line(format_args!("sleep {seconds}")),
            Command::When(condition, block) => {
                let label = self.labels;
                self.labels += 1;
                // `goto` is the one command whose place in a line of operators is documented to work.
                match condition.test() {
                    (test, true) => self.line(format_args!("{test} || goto after{label}")),
                    (test, false) => self.line(format_args!("{test} && goto after{label} ||")),
                }
                self.block(block);
                self.line(format_args!(":after{label}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_with_every_command() {
        let name = |text| ImageName::new(text).unwrap();
        let url = |text| Url::new(text).unwrap();
        let script = Script::new(vec![
            Command::Echo(Text::new("Leasehold: node-1 starts")),
            Command::When(
                Condition::IsNot(Setting::Manufacturer, name("QEMU")),
                vec![Command::Set(Variable(0), KernelArgument::new("initrd", "drivers").unwrap())],
            ),
            Command::Kernel {
                name: name("kernel"),
                url: url("http://10.0.0.1/k"),
                arguments: vec![
                    Argument::Fixed(KernelArgument::new("initrd", "agent").unwrap()),
                    Argument::Variable(Variable(0)),
                ],
            },
            Command::Initrd { name: name("agent"), url: url("http://10.0.0.1/i") },
            Command::When(Condition::Platform(Platform::Bios), vec![Command::BootDisk]),
            Command::Sleep { seconds: 5 },
            Command::Boot,
            Command::Stay,
            Command::Leave,
        ]);
        assert_eq!(
            script.render(),
            "#!ipxe\n\
             echo Leasehold: node-1 starts\n\
             iseq ${manufacturer} QEMU && goto after0 ||\n\
             set arg0 initrd=drivers\n\
             :after0\n\
             kernel --name kernel http://10.0.0.1/k initrd=agent ${arg0}\n\
             initrd --name agent http://10.0.0.1/i\n\
             iseq ${platform} pcbios || goto after1\n\
             sanboot --no-describe --drive 0x80\n\
             :after1\n\
             sleep 5\n\
             boot\n\
             poweroff ||\n\
             :stay2\n\
             sleep 3600\n\
             goto stay2\n\
             exit 1\n"
        );
    }
}
