//! The drivers and the hardware interfaces that each offers: what `driver` and `…_interface` of a node may say.
//!
//! Ironic's names and meaning. A driver's first value of an interface is its default; `no-…` and `noop` mean that the
//! node goes without. An agent on the machine does the work of `ipmi` and `redfish`; `fake-hardware` has no machine.

use serde_json::Value;

/// A kind of hardware interface. The member of a node is called `KIND_interface`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interface {
    Bios,
    Boot,
    Console,
    Deploy,
    Firmware,
    Inspect,
    Management,
    Network,
    Power,
    Raid,
    Rescue,
    Storage,
    Vendor,
}

impl Interface {
    pub const ALL: [Interface; 13] = [
        Interface::Bios,
        Interface::Boot,
        Interface::Console,
        Interface::Deploy,
        Interface::Firmware,
        Interface::Inspect,
        Interface::Management,
        Interface::Network,
        Interface::Power,
        Interface::Raid,
        Interface::Rescue,
        Interface::Storage,
        Interface::Vendor,
    ];

    /// Ironic's word, as steps and `validate` use it.
    pub fn name(self) -> &'static str {
        self.member().trim_end_matches("_interface")
    }

    /// The member of a node that says which one it has.
    pub fn member(self) -> &'static str {
        match self {
            Interface::Bios => "bios_interface",
            Interface::Boot => "boot_interface",
            Interface::Console => "console_interface",
            Interface::Deploy => "deploy_interface",
            Interface::Firmware => "firmware_interface",
            Interface::Inspect => "inspect_interface",
            Interface::Management => "management_interface",
            Interface::Network => "network_interface",
            Interface::Power => "power_interface",
            Interface::Raid => "raid_interface",
            Interface::Rescue => "rescue_interface",
            Interface::Storage => "storage_interface",
            Interface::Vendor => "vendor_interface",
        }
    }

    /// The interface of this member of a node.
    pub fn of_member(member: &str) -> Option<Interface> {
        Interface::ALL.into_iter().find(|interface| interface.member() == member)
    }
}

/// A driver.
#[derive(Debug, PartialEq, Eq)]
pub struct Driver {
    pub name: &'static str,
    /// No machine is behind it: nothing boots, no agent calls, no image is written.
    pub fake: bool,
}

const IPMI: Driver = Driver { name: "ipmi", fake: false };
const REDFISH: Driver = Driver { name: "redfish", fake: false };
const FAKE: Driver = Driver { name: "fake-hardware", fake: true };

/// The drivers that a node can have.
pub static DRIVERS: [Driver; 3] = [FAKE, IPMI, REDFISH];

/// The driver with this name.
pub fn find(name: &str) -> Option<&'static Driver> {
    DRIVERS.iter().find(|driver| driver.name == name)
}

/// Their names, for messages.
pub fn names() -> String {
    let names: Vec<_> = DRIVERS.iter().map(|driver| driver.name).collect();
    names.join(", ")
}

/// Whether nodes of this driver have no machine.
pub fn is_fake(name: &str) -> bool {
    find(name).is_some_and(|driver| driver.fake)
}

impl Driver {
    /// What the interface may be, the default first.
    pub fn choices(&self, interface: Interface) -> &'static [&'static str] {
        match (interface, self.name) {
            (Interface::Network, _) => &["flat", "noop"],
            (Interface::Storage, "fake-hardware") => &["noop", "fake"],
            (Interface::Storage, _) => &["noop"],

            (Interface::Bios, "fake-hardware") => &["fake", "no-bios"],
            (Interface::Console, "fake-hardware") => &["fake", "no-console"],
            (Interface::Firmware, "fake-hardware") => &["fake", "no-firmware"],
            (Interface::Inspect, "fake-hardware") => &["fake", "no-inspect"],
            (Interface::Raid, "fake-hardware") => &["fake", "no-raid"],
            (Interface::Rescue, "fake-hardware") => &["fake", "no-rescue"],
            (Interface::Vendor, "fake-hardware") => &["fake", "no-vendor"],
            (_, "fake-hardware") => &["fake"],

            (Interface::Bios, "redfish") => &["redfish", "no-bios"],
            (Interface::Bios, _) => &["no-bios"],
            (Interface::Boot, _) => &["ipxe"],
            (Interface::Console, _) => &["no-console"],
            (Interface::Deploy, _) => &["direct"],
            (Interface::Firmware, "redfish") => &["redfish", "no-firmware"],
            (Interface::Firmware, _) => &["no-firmware"],
            (Interface::Inspect, _) => &["agent", "no-inspect"],
            (Interface::Management | Interface::Power, "ipmi") => &["ipmitool"],
            (Interface::Management | Interface::Power, _) => &["redfish"],
            (Interface::Raid, _) => &["no-raid"],
            (Interface::Rescue, _) => &["agent", "no-rescue"],
            (Interface::Vendor, "ipmi") => &["ipmitool", "no-vendor"],
            (Interface::Vendor, _) => &["redfish", "no-vendor"],
        }
    }

    /// What a node has where nobody chose.
    pub fn default_of(&self, interface: Interface) -> &'static str {
        self.choices(interface).first().copied().unwrap_or_default()
    }
}

/// What a management interface may be asked for beside the boot device, which every one has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ability {
    /// Interrupting the operating system so that it cannot ignore it.
    Nmi,
    /// The lights by which a machine is found in its rack.
    Indicators,
    /// Changing between UEFI and BIOS.
    BootMode,
    /// Switching the firmware's check of signatures on and off.
    SecureBoot,
    /// Images that the BMC shows to the machine as a drive.
    VirtualMedia,
}

impl Ability {
    pub const ALL: [Ability; 5] =
        [Ability::Nmi, Ability::Indicators, Ability::BootMode, Ability::SecureBoot, Ability::VirtualMedia];

    /// For messages: "does not support …".
    pub fn words(self) -> &'static str {
        match self {
            Ability::Nmi => "an NMI",
            Ability::Indicators => "indicators",
            Ability::BootMode => "the change of the boot mode",
            Ability::SecureBoot => "the change of secure boot",
            Ability::VirtualMedia => "virtual media",
        }
    }
}

impl Driver {
    /// Whether its management can do this at all; a BMC that lacks it all the same says so when it is asked.
    pub fn can(&self, ability: Ability) -> bool {
        match (ability, self.name) {
            (Ability::VirtualMedia, _) => false,
            (Ability::Nmi, name) => name != "fake-hardware",
            // IPMI has no word for them: its boot flags carry a mode only beside a boot device, and its chassis lamp
            // cannot be read back.
            (Ability::Indicators | Ability::BootMode | Ability::SecureBoot, name) => name != "ipmi",
        }
    }

    /// What its management can not do, for `validate`; `None`: nothing.
    pub fn shortcomings(&self) -> Option<String> {
        let lacking: Vec<_> =
            Ability::ALL.into_iter().filter(|ability| !self.can(*ability)).map(Ability::words).collect();
        (!lacking.is_empty()).then(|| format!("The driver {} does not support {}.", self.name, lacking.join(", ")))
    }
}

/// A truth value in settings of a driver, as people write it.
pub fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(given) => Some(*given),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
            "false" | "0" | "no" | "off" | "f" | "n" | "" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_driver_has_a_default_of_each_interface() {
        for driver in &DRIVERS {
            for interface in Interface::ALL {
                assert!(!driver.default_of(interface).is_empty(), "{} {}", driver.name, interface.name());
            }
        }
    }

    #[test]
    fn validate_tells_what_a_management_can_not_do() {
        let of = |name| find(name).and_then(Driver::shortcomings).unwrap_or_default();
        assert_eq!(
            of("ipmi"),
            "The driver ipmi does not support indicators, the change of the boot mode, the change of secure boot, virtual \
             media."
        );
        assert_eq!(of("redfish"), "The driver redfish does not support virtual media.");
        assert_eq!(of("fake-hardware"), "The driver fake-hardware does not support an NMI, virtual media.");
    }

    #[test]
    fn members_name_their_interface() {
        for interface in Interface::ALL {
            assert_eq!(Interface::of_member(interface.member()), Some(interface));
            assert_eq!(format!("{}_interface", interface.name()), interface.member());
        }
        assert_eq!(Interface::of_member("driver"), None);
    }
}
