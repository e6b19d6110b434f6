//! Options with a structure of their own: user class, relay information, iPXE's encapsulated options.

use std::net::Ipv4Addr;

/// Option codes, by the names of RFC 2132 and the RFCs named in the room's description.
pub(super) mod code {
    pub(in super::super) const DNS: u8 = 6;
    pub(in super::super) const HOST_NAME: u8 = 12;
    pub(in super::super) const DOMAIN: u8 = 15;
    pub(in super::super) const BROADCAST: u8 = 28;
    pub(in super::super) const REQUESTED_ADDRESS: u8 = 50;
    pub(in super::super) const MESSAGE_TYPE: u8 = 53;
    pub(in super::super) const SERVER: u8 = 54;
    pub(in super::super) const PARAMETERS: u8 = 55;
    pub(in super::super) const MESSAGE: u8 = 56;
    pub(in super::super) const MAX_SIZE: u8 = 57;
    pub(in super::super) const VENDOR_CLASS: u8 = 60;
    pub(in super::super) const CLIENT_ID: u8 = 61;
    pub(in super::super) const BOOT_FILE: u8 = 67;
    pub(in super::super) const USER_CLASS: u8 = 77;
    pub(in super::super) const RELAY_INFORMATION: u8 = 82;
    pub(in super::super) const ARCHITECTURE: u8 = 93;
    pub(in super::super) const NETWORK_INTERFACE: u8 = 94;
    pub(in super::super) const MACHINE_ID: u8 = 97;
    pub(in super::super) const IPXE: u8 = 175;
}

/// What iPXE says of itself in option 175.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpxeFeatures {
    /// The encapsulated codes that are present; a feature is a code with the value 1.
    codes: Vec<u8>,
    /// Version as (major, minor, patch), where it is told.
    pub version: Option<[u8; 3]>,
}

impl IpxeFeatures {
    const HTTP: u8 = 0x13;
    const HTTPS: u8 = 0x14;
    const BZIMAGE: u8 = 0x18;
    const EFI: u8 = 0x24;
    const VERSION: u8 = 0xeb;

    /// Reads option 175. Damaged encapsulation ends the list; what stood before counts.
    #[must_use]
    pub fn parse(value: &[u8]) -> IpxeFeatures {
        let mut features = IpxeFeatures::default();
        for (code, data) in encapsulated(value) {
            match (code, data) {
                (IpxeFeatures::VERSION, [major, minor, patch, ..]) => features.version = Some([*major, *minor, *patch]),
                (code, [1]) => features.codes.push(code),
                _ => {}
            }
        }
        features
    }

    /// It can fetch by HTTP.
    #[must_use]
    pub fn http(&self) -> bool {
        self.codes.contains(&IpxeFeatures::HTTP)
    }

    /// It can fetch by HTTPS.
    #[must_use]
    pub fn https(&self) -> bool {
        self.codes.contains(&IpxeFeatures::HTTPS)
    }

    /// It can start a Linux kernel: as a bzImage in BIOS, as an EFI program in UEFI.
    #[must_use]
    pub fn linux(&self) -> bool {
        self.codes.contains(&IpxeFeatures::BZIMAGE) || self.codes.contains(&IpxeFeatures::EFI)
    }
}

/// The pairs of an encapsulated option; ends at an end mark or at the first piece that does not fit.
pub(super) fn encapsulated(value: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            match rest {
                [0, after @ ..] => rest = after,
                [255, ..] | [] | [_] => return None,
                [code, length, after @ ..] => {
                    let (data, after) = after.split_at_checked(usize::from(*length))?;
                    rest = after;
                    return Some((*code, data));
                }
            }
        }
    })
}

/// The classes in option 77. RFC 3004 wants each with its length in front; iPXE and others send the bare text, which
/// is taken as one class.
#[must_use]
pub fn user_classes(value: &[u8]) -> Vec<&[u8]> {
    let mut classes = Vec::new();
    let mut rest = value;
    while let [length, after @ ..] = rest {
        match after.split_at_checked(usize::from(*length)) {
            Some((class, after)) if *length > 0 => {
                classes.push(class);
                rest = after;
            }
            _ => return vec![value],
        }
    }
    classes
}

/// The subnet that a relay asks for (RFC 3527, sub-option 5 of option 82).
pub(super) fn link_selection(relay_information: &[u8]) -> Option<Ipv4Addr> {
    let (_, value) = encapsulated_relay(relay_information).find(|(code, _)| *code == 5)?;
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from).filter(|address| !address.is_unspecified())
}

/// Sub-options of option 82 have neither pads nor an end mark (RFC 3046 §2.0).
fn encapsulated_relay(value: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let [code, length, after @ ..] = rest else { return None };
        let (data, after) = after.split_at_checked(usize::from(*length))?;
        rest = after;
        Some((*code, data))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn user_class_in_both_spellings() {
        assert_eq!(user_classes(b"iPXE"), [b"iPXE"]);
        assert_eq!(user_classes(b"\x04iPXE"), [b"iPXE"]);
        assert_eq!(user_classes(b"\x04iPXE\x03abc"), [&b"iPXE"[..], b"abc"]);
        assert_eq!(user_classes(b"\x00"), [b"\x00"]);
        assert!(user_classes(b"").is_empty());
    }

    #[test]
    fn features_of_a_real_ipxe() {
        let value =
            [0xb1, 5, 1, 0x80, 0x86, 0x10, 0x0e, 0xeb, 3, 1, 21, 1, 0x17, 1, 1, 0x22, 1, 1, 0x13, 1, 1, 0x18, 1, 1];
        let features = IpxeFeatures::parse(&value);
        assert!(features.http() && features.linux() && !features.https());
        assert_eq!(features.version, Some([1, 21, 1]));
    }

    #[test]
    fn a_relay_may_name_the_subnet() {
        assert_eq!(link_selection(&[1, 2, 0, 7, 5, 4, 10, 1, 0, 0]), Some(Ipv4Addr::new(10, 1, 0, 0)));
        assert_eq!(link_selection(&[1, 2, 0, 7, 5, 4, 10, 1]), None);
    }

    proptest! {
        #[test]
        fn structured_options_take_any_bytes(value in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = IpxeFeatures::parse(&value);
            let _ = link_selection(&value);
            let classes = user_classes(&value);
            prop_assert!(classes.iter().map(|class| class.len()).sum::<usize>() <= value.len());
        }
    }
}
