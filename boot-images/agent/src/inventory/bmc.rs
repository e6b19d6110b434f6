//! The machine's own BMC: address and MAC of its LAN channel (IPMI 2.0, section 23.2).

use crate::kernel::IpmiDevice;
use std::net::Ipv4Addr;
use std::time::Duration;

const TRANSPORT: u8 = 0x0c;
const GET_LAN_PARAMETERS: u8 = 0x02;
const ADDRESS: u8 = 3;
const MAC: u8 = 5;
const WITHIN: Duration = Duration::from_secs(5);

/// What the BMC says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bmc {
    /// `0.0.0.0` when no channel has one.
    pub(super) address: Ipv4Addr,
    /// Of the same channel.
    pub(super) mac: Option<String>,
}

/// Asks the BMC. `None`: there is none that can be asked from inside.
pub(super) fn ask() -> Option<Bmc> {
    let mut device = IpmiDevice::open().ok()?;
    // Channel 1 is the LAN on nearly every board; others use up to 11.
    for channel in 1..=11u8 {
        let mut parameter = |number| {
            let answer = device.call(TRANSPORT, GET_LAN_PARAMETERS, &[channel, number, 0, 0], WITHIN);
            answer.ok().and_then(|answer| value_of(&answer).map(<[u8]>::to_vec))
        };
        let Some(address) = parameter(ADDRESS).and_then(|value| <[u8; 4]>::try_from(value).ok()) else { continue };
        let address = Ipv4Addr::from(address);
        if !address.is_unspecified() {
            return Some(Bmc { address, mac: parameter(MAC).and_then(|value| mac_of(&value)) });
        }
    }
    Some(Bmc { address: Ipv4Addr::UNSPECIFIED, mac: None })
}

/// Completion code 0, the parameter's revision, its value.
fn value_of(answer: &[u8]) -> Option<&[u8]> {
    match answer {
        [0, _revision, value @ ..] => Some(value),
        _ => None,
    }
}

fn mac_of(value: &[u8]) -> Option<String> {
    let bytes = <[u8; 6]>::try_from(value).ok().filter(|bytes| *bytes != [0; 6])?;
    Some(bytes.map(|byte| format!("{byte:02x}")).join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        assert_eq!(value_of(&[0, 0x11, 192, 0, 2, 9]), Some(&[192, 0, 2, 9][..]));
        assert_eq!(value_of(&[0xcb, 0x11, 1]), None);
        assert_eq!(value_of(&[0]), None);
        assert_eq!(mac_of(&[2, 0, 0, 0xab, 0, 1]).as_deref(), Some("02:00:00:ab:00:01"));
        assert_eq!(mac_of(&[0; 6]), None);
        assert_eq!(mac_of(&[1; 5]), None);
    }
}
