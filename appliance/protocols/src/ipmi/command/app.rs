//! Application commands: who the BMC is, what it speaks, the session's privilege and end, and SOL.

use std::time::Duration;

use super::super::message::{Privilege, netfn};
use super::super::packet::payload;
use super::super::reader::{Malformed, Reader};
use super::Command;

/// The channel the question comes in by.
const THIS_CHANNEL: u8 = 0x0e;

/// Get Channel Authentication Capabilities (22.13), asked before there is a session.
#[derive(Debug, Clone, Copy)]
pub struct AuthCapabilities {
    pub privilege: Privilege,
}

/// What the BMC can do on this channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// It understands the IPMI 2.0 form of the question.
    pub extended: bool,
    /// It speaks RMCP+.
    pub ipmi_2: bool,
    /// A BMC key (K_G) is set, without which no session can be opened.
    pub bmc_key: bool,
}

impl Command for AuthCapabilities {
    const NAME: &'static str = "Get Channel Authentication Capabilities";
    const NETFN: u8 = netfn::APP;
    const COMMAND: u8 = 0x38;
    type Reply = Capabilities;

    fn encode(&self) -> Vec<u8> {
        // Bit 7 asks for the IPMI 2.0 data.
        vec![0x80 | THIS_CHANNEL, self.privilege.code()]
    }

    fn parse(&self, data: &[u8]) -> Result<Capabilities, Malformed> {
        let mut reader = Reader::new(data);
        let [_channel, types, status, extended] = reader.array::<4>()?;
        Ok(Capabilities {
            extended: types & 0x80 != 0,
            ipmi_2: types & 0x80 != 0 && extended & 0x02 != 0,
            bmc_key: status & 0x20 != 0,
        })
    }
}

/// Get Channel Cipher Suites (22.15): one part of the list, 16 bytes a part.
#[derive(Debug, Clone, Copy)]
pub struct CipherSuites {
    pub index: u8,
}

impl Command for CipherSuites {
    const NAME: &'static str = "Get Channel Cipher Suites";
    const NETFN: u8 = netfn::APP;
    const COMMAND: u8 = 0x54;
    type Reply = Vec<u8>;

    fn encode(&self) -> Vec<u8> {
        vec![THIS_CHANNEL, payload::IPMI, 0x80 | self.index & 0x3f]
    }

    fn parse(&self, data: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut reader = Reader::new(data);
        reader.u8()?;
        Ok(reader.rest().iter().copied().take(16).collect())
    }
}

/// The numbers of the standard suites in the records of Get Channel Cipher Suites (table 22-18).
pub fn suite_ids(records: &[u8]) -> Vec<u8> {
    let mut ids = Vec::new();
    let mut bytes = records.iter().copied();
    // 0xc0 starts a standard suite and its number follows; algorithms are below 0xc0; 0xc1 starts an OEM suite.
    while let Some(byte) = bytes.next() {
        match byte {
            0xc0 => ids.extend(bytes.next()),
            0xc1 => drop(bytes.by_ref().take(4).count()),
            _ => {}
        }
    }
    ids
}

/// Set Session Privilege Level (22.18): a session begins as user, whatever it may become.
#[derive(Debug, Clone, Copy)]
pub struct SetPrivilege {
    pub privilege: Privilege,
}

impl Command for SetPrivilege {
    const NAME: &'static str = "Set Session Privilege Level";
    const NETFN: u8 = netfn::APP;
    const COMMAND: u8 = 0x3b;
    type Reply = ();

    fn encode(&self) -> Vec<u8> {
        vec![self.privilege.code()]
    }

    fn parse(&self, _data: &[u8]) -> Result<(), Malformed> {
        Ok(())
    }
}

/// Close Session (22.19).
#[derive(Debug, Clone, Copy)]
pub struct CloseSession {
    /// The BMC's id of the session.
    pub session: u32,
}

impl Command for CloseSession {
    const NAME: &'static str = "Close Session";
    const NETFN: u8 = netfn::APP;
    const COMMAND: u8 = 0x3c;
    type Reply = ();

    fn encode(&self) -> Vec<u8> {
        self.session.to_le_bytes().to_vec()
    }

    fn parse(&self, _data: &[u8]) -> Result<(), Malformed> {
        Ok(())
    }
}

/// Get Device ID (20.1).
#[derive(Debug, Clone, Copy)]
pub struct GetDeviceId;

/// What the BMC itself is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceId {
    pub device: u8,
    /// Major and minor, as `1.07`.
    pub firmware: (u8, u8),
    /// IANA enterprise number of the maker.
    pub manufacturer: u32,
    pub product: u16,
    pub has_sensors: bool,
    pub has_sdr_repository: bool,
    pub has_sel: bool,
    pub has_fru: bool,
}

impl DeviceId {
    /// The firmware revision in its usual writing.
    pub fn firmware_text(&self) -> String {
        format!("{}.{:02}", self.firmware.0, self.firmware.1)
    }
}

impl Command for GetDeviceId {
    const NAME: &'static str = "Get Device ID";
    const NETFN: u8 = netfn::APP;
    const COMMAND: u8 = 0x01;
    type Reply = DeviceId;

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn parse(&self, data: &[u8]) -> Result<DeviceId, Malformed> {
        let mut reader = Reader::new(data);
        let [device, _revision, major, minor, _version, support] = reader.array::<6>()?;
        let (manufacturer, product) = (reader.u24()?, reader.u16()?);
        Ok(DeviceId {
            device,
            firmware: (major & 0x7f, from_bcd(minor)),
            manufacturer: manufacturer & 0x0f_ffff,
            product,
            has_sensors: support & 0x01 != 0,
            has_sdr_repository: support & 0x02 != 0,
            has_sel: support & 0x04 != 0,
            has_fru: support & 0x08 != 0,
        })
    }
}

/// Two BCD digits; makers who write plain binary there are shown what they wrote.
fn from_bcd(byte: u8) -> u8 {
    let (tens, ones) = (byte >> 4, byte & 0x0f);
    if tens < 10 && ones < 10 { tens * 10 + ones } else { byte }
}

/// Get System GUID (22.14).
#[derive(Debug, Clone, Copy)]
pub struct GetSystemGuid;

impl Command for GetSystemGuid {
    const NAME: &'static str = "Get System GUID";
    const NETFN: u8 = netfn::APP;
    const COMMAND: u8 = 0x37;
    type Reply = [u8; 16];

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn parse(&self, data: &[u8]) -> Result<[u8; 16], Malformed> {
        Reader::new(data).array()
    }
}

/// A GUID as SMBIOS shows it, lower case with dashes. BMCs send one of three byte orders (SMBIOS, IPMI, RFC 4122)
/// without saying which: taken is the first that reads as a valid version and variant; SMBIOS's when none does.
/// All zeros or all ones mean that there is none.
pub fn guid_text(raw: &[u8; 16]) -> Option<String> {
    if raw.iter().all(|byte| *byte == 0) || raw.iter().all(|byte| *byte == 0xff) {
        return None;
    }
    let plain = *raw;
    let mut reversed = *raw;
    reversed.reverse();
    let mut smbios = *raw;
    smbios[0..4].reverse();
    smbios[4..6].reverse();
    smbios[6..8].reverse();
    let plausible = |guid: &&[u8; 16]| (1..=8).contains(&(guid[6] >> 4)) && guid[8] >> 6 == 0b10;
    let guid = [&smbios, &reversed, &plain].into_iter().find(plausible).unwrap_or(&smbios);
    let mut text = String::with_capacity(36);
    for (at, byte) in guid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    Some(text)
}

/// Activate Payload (24.1) for SOL, instance 1, encrypted and authenticated.
#[derive(Debug, Clone, Copy)]
pub struct ActivateSol;

/// The SOL link that the BMC has opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SolActivation {
    /// Largest payload to the BMC, in bytes.
    pub inbound: u16,
    /// Largest payload from the BMC, in bytes.
    pub outbound: u16,
    /// The UDP port for SOL. Nearly always that of the session, and wrong behind an address translation.
    pub port: u16,
}

impl ActivateSol {
    /// Another console has the serial line (command-specific completion code).
    pub const ALREADY_ACTIVE: u8 = 0x80;
    /// SOL is switched off on this channel.
    pub const DISABLED: u8 = 0x81;
}

impl Command for ActivateSol {
    const NAME: &'static str = "Activate Payload (serial over LAN)";
    const NETFN: u8 = netfn::APP;
    const COMMAND: u8 = 0x48;
    const PATIENCE: Duration = Duration::from_secs(3);
    type Reply = SolActivation;

    fn encode(&self) -> Vec<u8> {
        // Encrypt, authenticate; serial alerts are deferred so that they do not end the link.
        vec![payload::SOL, 1, 0xc0 | 0x08, 0, 0, 0]
    }

    fn parse(&self, data: &[u8]) -> Result<SolActivation, Malformed> {
        let mut reader = Reader::new(data);
        reader.take(4)?;
        Ok(SolActivation { inbound: reader.u16()?, outbound: reader.u16()?, port: reader.u16()? })
    }
}

/// Deactivate Payload (24.2) for SOL, instance 1; also takes it from another console.
#[derive(Debug, Clone, Copy)]
pub struct DeactivateSol;

impl Command for DeactivateSol {
    const NAME: &'static str = "Deactivate Payload (serial over LAN)";
    const NETFN: u8 = netfn::APP;
    const COMMAND: u8 = 0x49;
    type Reply = ();

    fn encode(&self) -> Vec<u8> {
        vec![payload::SOL, 1, 0, 0, 0, 0]
    }

    fn parse(&self, _data: &[u8]) -> Result<(), Malformed> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn suites_are_found_between_oem_records() {
        // An OEM record's number and enterprise may look like the start of a record.
        assert_eq!(suite_ids(&[0xc0, 3, 1, 0x41, 0x81, 0xc1, 0x85, 0xc0, 2, 3, 4, 0xc0, 17, 3, 0x44, 0x81]), [3, 17]);
        assert_eq!(suite_ids(&[0xc0, 17, 3, 0x44, 0x81, 0xc0, 3, 1, 0x41, 0x81]), [17, 3]);
        assert_eq!(suite_ids(&[0xc0]), [0u8; 0]);
    }

    #[test]
    fn a_device_id_reads() {
        let id = GetDeviceId.parse(&[0x20, 0x81, 0x02, 0x48, 0x02, 0xbf, 0xa2, 0x02, 0x00, 0x00, 0x01]).unwrap();
        assert_eq!(id.firmware_text(), "2.48");
        assert_eq!((id.manufacturer, id.product), (674, 256));
        assert!(id.has_sel && id.has_sdr_repository && id.has_fru);
        assert!(GetDeviceId.parse(&[0x20, 0x81]).is_err());
    }

    #[test]
    fn guids_are_read_in_whatever_order_they_come() {
        let text = "61a39523-78f2-11e5-9862-e6402cfc3223";
        let canonical: [u8; 16] =
            [0x61, 0xa3, 0x95, 0x23, 0x78, 0xf2, 0x11, 0xe5, 0x98, 0x62, 0xe6, 0x40, 0x2c, 0xfc, 0x32, 0x23];
        let mut reversed = canonical;
        reversed.reverse();
        assert_eq!(guid_text(&canonical).as_deref(), Some(text));
        assert_eq!(guid_text(&reversed).as_deref(), Some(text));
        let smbios = [0x23, 0x95, 0xa3, 0x61, 0xf2, 0x78, 0xe5, 0x11, 0x98, 0x62, 0xe6, 0x40, 0x2c, 0xfc, 0x32, 0x23];
        assert_eq!(guid_text(&smbios).as_deref(), Some(text));
        assert_eq!(guid_text(&[0; 16]), None);
        assert_eq!(guid_text(&[0xff; 16]), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(data: Vec<u8>) {
            let _ = AuthCapabilities { privilege: Privilege::Administrator }.parse(&data);
            let _ = CipherSuites { index: 0 }.parse(&data);
            let _ = suite_ids(&data);
            let _ = GetDeviceId.parse(&data);
            let _ = GetSystemGuid.parse(&data).map(|guid| guid_text(&guid));
            let _ = ActivateSol.parse(&data);
        }
    }
}
