//! Power and boot settings as a BMC sees them; the vocabulary that nodes, drivers and the API share.

use serde::{Deserialize, Serialize};

/// Power of the machine as its BMC reports it. Ironic's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PowerState {
    #[serde(rename = "power on")]
    On,
    #[serde(rename = "power off")]
    Off,
}

impl PowerState {
    /// Ironic's spelling, as the API shows it.
    pub fn name(self) -> &'static str {
        match self {
            PowerState::On => "power on",
            PowerState::Off => "power off",
        }
    }
}

/// What can be asked of a machine's power, in Ironic's words (`PUT /v1/nodes/…/states/power`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PowerTarget {
    #[serde(rename = "power on")]
    On,
    /// Cuts the power at once.
    #[serde(rename = "power off")]
    Off,
    /// Off and on again.
    #[serde(rename = "rebooting")]
    Reboot,
    /// Asks the operating system to shut down, and cuts the power when it does not.
    #[serde(rename = "soft power off")]
    SoftOff,
    /// Like `SoftOff`, then on.
    #[serde(rename = "soft rebooting")]
    SoftReboot,
}

impl PowerTarget {
    pub const ALL: [PowerTarget; 5] =
        [PowerTarget::On, PowerTarget::Off, PowerTarget::Reboot, PowerTarget::SoftOff, PowerTarget::SoftReboot];

    /// Ironic's spelling, as the API takes and shows it.
    pub fn name(self) -> &'static str {
        match self {
            PowerTarget::On => "power on",
            PowerTarget::Off => "power off",
            PowerTarget::Reboot => "rebooting",
            PowerTarget::SoftOff => "soft power off",
            PowerTarget::SoftReboot => "soft rebooting",
        }
    }

    /// The target with this name, if there is one.
    pub fn from_name(name: &str) -> Option<PowerTarget> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// The power state in which the machine ends.
    pub fn ends_in(self) -> PowerState {
        match self {
            PowerTarget::Off | PowerTarget::SoftOff => PowerState::Off,
            PowerTarget::On | PowerTarget::Reboot | PowerTarget::SoftReboot => PowerState::On,
        }
    }
}

/// A boot source that every BMC can be asked for. Ironic's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BootDevice {
    Pxe,
    Disk,
    Cdrom,
    Bios,
    /// The operator's own order of the firmware: no override.
    None,
}

impl BootDevice {
    pub const ALL: [BootDevice; 5] =
        [BootDevice::Pxe, BootDevice::Disk, BootDevice::Cdrom, BootDevice::Bios, BootDevice::None];

    /// Ironic's spelling.
    pub fn name(self) -> &'static str {
        match self {
            BootDevice::Pxe => "pxe",
            BootDevice::Disk => "disk",
            BootDevice::Cdrom => "cdrom",
            BootDevice::Bios => "bios",
            BootDevice::None => "none",
        }
    }

    /// The device with this name, if there is one.
    pub fn from_name(name: &str) -> Option<BootDevice> {
        Self::ALL.into_iter().find(|device| device.name() == name)
    }
}

/// How firmware starts the machine. Ironic's names (`boot_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BootMode {
    Bios,
    Uefi,
}

/// A boot override of a BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BootSetting {
    pub device: BootDevice,
    /// For every boot from now on, or for the next one only.
    pub persistent: bool,
    /// The firmware mode in which the override applies; `None`: the BMC does not say, or keep what it has.
    pub mode: Option<BootMode>,
}
