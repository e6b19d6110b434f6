//! Chassis commands: power, and what the machine boots from next.

use std::time::Duration;

use super::super::message::netfn;
use super::super::reader::{Malformed, Reader};
use super::Command;

/// Get Chassis Status (28.2).
#[derive(Debug, Clone, Copy)]
pub struct GetChassisStatus;

/// The machine as its chassis sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChassisStatus {
    pub power_on: bool,
    /// The power was cut because of an overload, an interlock or a fault.
    pub power_fault: bool,
}

impl Command for GetChassisStatus {
    const NAME: &'static str = "Get Chassis Status";
    const NETFN: u8 = netfn::CHASSIS;
    const COMMAND: u8 = 0x01;
    type Reply = ChassisStatus;

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn parse(&self, data: &[u8]) -> Result<ChassisStatus, Malformed> {
        let [power, _last, _misc] = Reader::new(data).array::<3>()?;
        Ok(ChassisStatus { power_on: power & 0x01 != 0, power_fault: power & 0x1e != 0 })
    }
}

/// What Chassis Control can do (28.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Control {
    Off = 0,
    On = 1,
    Cycle = 2,
    Reset = 3,
    /// Pulses the diagnostic interrupt: a non-maskable interrupt (NMI) for the operating system.
    DiagnosticInterrupt = 4,
    /// Asks the operating system to shut down, by ACPI.
    SoftOff = 5,
}

impl Control {
    /// The control with this number.
    pub fn from_code(code: u8) -> Option<Control> {
        const ALL: [Control; 6] =
            [Control::Off, Control::On, Control::Cycle, Control::Reset, Control::DiagnosticInterrupt, Control::SoftOff];
        ALL.into_iter().find(|control| *control as u8 == code)
    }
}

/// Chassis Control (28.3).
#[derive(Debug, Clone, Copy)]
pub struct ChassisControl(pub Control);

impl Command for ChassisControl {
    const NAME: &'static str = "Chassis Control";
    const NETFN: u8 = netfn::CHASSIS;
    const COMMAND: u8 = 0x02;
    // A BMC may answer only when the supplies have switched; asking again would cycle a machine twice.
    const PATIENCE: Duration = Duration::from_secs(5);
    type Reply = ();

    fn encode(&self) -> Vec<u8> {
        vec![self.0 as u8]
    }

    fn parse(&self, _data: &[u8]) -> Result<(), Malformed> {
        Ok(())
    }
}

/// Numbers of the boot option parameters (table 28-14).
pub mod boot_parameter {
    pub const SET_IN_PROGRESS: u8 = 0;
    /// Which events clear the boot flags before they were used.
    pub const FLAG_VALID_CLEARING: u8 = 3;
    pub const INFO_ACKNOWLEDGE: u8 = 4;
    pub const FLAGS: u8 = 5;
}

/// For [`boot_parameter::FLAG_VALID_CLEARING`]: do not let the flags expire 60 seconds after they were set.
pub const DISABLE_BOOT_FLAG_EXPIRY: u8 = 0x08;

/// Set System Boot Options (28.12).
#[derive(Debug, Clone)]
pub struct SetBootOption {
    pub parameter: u8,
    pub data: Vec<u8>,
}

impl Command for SetBootOption {
    const NAME: &'static str = "Set System Boot Options";
    const NETFN: u8 = netfn::CHASSIS;
    const COMMAND: u8 = 0x08;
    const PATIENCE: Duration = Duration::from_secs(2);
    type Reply = ();

    fn encode(&self) -> Vec<u8> {
        let mut data = vec![self.parameter & 0x7f];
        data.extend_from_slice(&self.data);
        data
    }

    fn parse(&self, _data: &[u8]) -> Result<(), Malformed> {
        Ok(())
    }
}

/// Get System Boot Options (28.13); the answer is the parameter's data.
#[derive(Debug, Clone, Copy)]
pub struct GetBootOption {
    pub parameter: u8,
}

impl Command for GetBootOption {
    const NAME: &'static str = "Get System Boot Options";
    const NETFN: u8 = netfn::CHASSIS;
    const COMMAND: u8 = 0x09;
    type Reply = Vec<u8>;

    fn encode(&self) -> Vec<u8> {
        vec![self.parameter & 0x7f, 0, 0]
    }

    fn parse(&self, data: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut reader = Reader::new(data);
        let [_version, parameter] = reader.array::<2>()?;
        if parameter & 0x7f != self.parameter & 0x7f {
            return Err(Malformed("it is about another boot parameter"));
        }
        Ok(reader.rest().to_vec())
    }
}

/// Where the boot flags point (bits 5:2 of their second byte).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BootSource {
    /// No override.
    None,
    Pxe,
    Disk,
    Cdrom,
    Setup,
    /// Another one of the 16 there are.
    Other(u8),
}

impl BootSource {
    pub fn code(self) -> u8 {
        match self {
            BootSource::None => 0,
            BootSource::Pxe => 1,
            BootSource::Disk => 2,
            BootSource::Cdrom => 5,
            BootSource::Setup => 6,
            BootSource::Other(code) => code & 0x0f,
        }
    }

    pub fn from_code(code: u8) -> BootSource {
        match code & 0x0f {
            0 => BootSource::None,
            1 => BootSource::Pxe,
            2 => BootSource::Disk,
            5 => BootSource::Cdrom,
            6 => BootSource::Setup,
            other => BootSource::Other(other),
        }
    }
}

/// The boot flags, parameter 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootFlags {
    /// Set until the firmware has used (or ignored) them.
    pub valid: bool,
    /// For all boots instead of the next one.
    pub persistent: bool,
    /// In UEFI mode instead of BIOS mode.
    pub efi: bool,
    pub source: BootSource,
}

impl BootFlags {
    pub fn encode(self) -> [u8; 5] {
        let bit = |set: bool, at: u8| u8::from(set) << at;
        [bit(self.valid, 7) | bit(self.persistent, 6) | bit(self.efi, 5), self.source.code() << 2, 0, 0, 0]
    }

    /// # Errors
    /// [`Malformed`] when there are less than two bytes.
    pub fn parse(data: &[u8]) -> Result<BootFlags, Malformed> {
        let [flags, source] = Reader::new(data).array::<2>()?;
        Ok(BootFlags {
            valid: flags & 0x80 != 0,
            persistent: flags & 0x40 != 0,
            efi: flags & 0x20 != 0,
            source: BootSource::from_code(source >> 2),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn flags_have_the_bytes_that_ipmitool_sends() {
        // `ipmitool chassis bootdev pxe options=persistent,efiboot`
        let flags = BootFlags { valid: true, persistent: true, efi: true, source: BootSource::Pxe };
        assert_eq!(flags.encode(), [0xe0, 0x04, 0, 0, 0]);
        assert_eq!(BootFlags::parse(&[0x80, 0x18]).unwrap().source, BootSource::Setup);
    }

    #[test]
    fn an_answer_about_another_parameter_is_refused() {
        let command = GetBootOption { parameter: 5 };
        assert_eq!(command.parse(&[1, 0x85, 1, 2]).unwrap(), [1, 2]);
        assert!(command.parse(&[1, 4, 1, 2]).is_err());
        assert!(command.parse(&[1]).is_err());
    }

    proptest! {
        #[test]
        fn flags_come_back(valid: bool, persistent: bool, efi: bool, code in 0u8..16) {
            let flags = BootFlags { valid, persistent, efi, source: BootSource::from_code(code) };
            prop_assert_eq!(BootFlags::parse(&flags.encode()).unwrap(), flags);
        }

        #[test]
        fn a_control_has_its_own_number(code: u8) {
            prop_assert_eq!(Control::from_code(code).is_some(), code <= 5);
            prop_assert!(Control::from_code(code).is_none_or(|control| control as u8 == code));
        }

        #[test]
        fn arbitrary_bytes_never_panic(data: Vec<u8>) {
            let _ = GetChassisStatus.parse(&data);
            let _ = GetBootOption { parameter: 5 }.parse(&data);
            let _ = BootFlags::parse(&data);
        }
    }
}
