//! Which of the options of a read request are granted, and the OACK that says so.
//!
//! RFC 2347: an option that the server does not grant is left out of the OACK, and a request of which nothing is
//! granted is served as if it had none. Values that are no decimal number are treated as not asked for; values above
//! what the RFC or our limits allow are answered with the greatest we grant, which RFC 2348 and 7440 permit.

use super::packet::{Mode, Options, Packet, Request};

/// The smallest and greatest block of RFC 2348, and the one of RFC 1350.
const SMALLEST_BLOCK: u64 = 8;
const GREATEST_BLOCK: u16 = 65464;
const DEFAULT_BLOCK: u16 = 512;

/// Above this a window could not be told from one of the round before, as block numbers have 16 bits.
const GREATEST_WINDOW: u16 = 16384;

/// What the server is willing to grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Greatest block in bytes: what fits one frame on the client's link, so that no block is fragmented.
    pub blksize: u16,
    /// Greatest window in blocks.
    pub windowsize: u16,
}

/// The terms of one transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// How the content is translated.
    pub mode: Mode,
    /// Bytes in every block but the last.
    pub blksize: u16,
    /// Blocks that are sent before an ACK is awaited.
    pub windowsize: u16,
    /// The client's wish for the retransmission time in seconds, 1 to 255.
    pub timeout: Option<u8>,
    /// The OACK packet, or empty where no option was granted and the first block answers the request.
    pub oack: Vec<u8>,
}

/// Decides the terms for `request` on a file of `size` bytes.
#[must_use]
pub fn negotiate(request: &Request<'_>, size: u64, limits: &Limits) -> Agreed {
    let mut agreed =
        Agreed { mode: request.mode, blksize: DEFAULT_BLOCK, windowsize: 1, timeout: None, oack: Vec::new() };
    let mut granted = Vec::new();
    let mut seen = [false; 4];
    for (name, value) in request.options.iter() {
        let Some(which) = ["blksize", "windowsize", "timeout", "tsize"]
            .iter()
            .position(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        else {
            continue;
        };
        // An option may be given once (RFC 2347); the first one counts.
        if std::mem::replace(&mut seen[which], true) {
            continue;
        }
        let Some(asked) = decimal(value) else { continue };
        match which {
            0 if asked >= SMALLEST_BLOCK => {
                agreed.blksize = clamp(asked, limits.blksize.clamp(DEFAULT_BLOCK, GREATEST_BLOCK));
                Options::push(&mut granted, "blksize", u64::from(agreed.blksize));
            }
            1 if asked >= 1 => {
                agreed.windowsize = clamp(asked, limits.windowsize.clamp(1, GREATEST_WINDOW));
                Options::push(&mut granted, "windowsize", u64::from(agreed.windowsize));
            }
            2 if (1..=255).contains(&asked) => {
                // The answer must be the value asked for or nothing (RFC 2349): no clamping here.
                agreed.timeout = u8::try_from(asked).ok();
                Options::push(&mut granted, "timeout", asked);
            }
            // The size on the wire of a netascii transfer is not the file's, so it is not promised.
            3 if request.mode == Mode::Octet => Options::push(&mut granted, "tsize", size),
            _ => {}
        }
    }
    if !granted.is_empty() {
        Packet::OptionAck(Options::from_bytes(&granted)).encode(&mut agreed.oack);
    }
    agreed
}

/// A number of decimal digits only; one that is too large for 64 bits counts as the greatest of them.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

fn clamp(asked: u64, greatest: u16) -> u16 {
    u16::try_from(asked).unwrap_or(u16::MAX).min(greatest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { blksize: 1468, windowsize: 64 };

    fn agree(options: &[(&str, &str)], mode: Mode) -> (Agreed, Vec<(String, String)>) {
        let mut raw = Vec::new();
        for (name, value) in options {
            raw.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
        let request = Request { file: b"f", mode, options: Options::from_bytes(&raw) };
        let agreed = negotiate(&request, 70_000, &LIMITS);
        let oack = match Packet::parse(&agreed.oack) {
            Ok(Packet::OptionAck(list)) => list
                .iter()
                .map(|(n, v)| (String::from_utf8_lossy(n).into_owned(), String::from_utf8_lossy(v).into_owned()))
                .collect(),
            _ => Vec::new(),
        };
        (agreed, oack)
    }

    #[test]
    fn no_option_means_no_oack() {
        let (agreed, _) = agree(&[], Mode::Octet);
        assert_eq!((agreed.blksize, agreed.windowsize, agreed.timeout), (512, 1, None));
        assert!(agreed.oack.is_empty());
    }

    #[test]
    fn grants_what_ovmf_and_ipxe_ask_for_in_their_order() {
        let (agreed, oack) = agree(&[("tsize", "0"), ("blksize", "1468"), ("WindowSize", "4")], Mode::Octet);
        assert_eq!((agreed.blksize, agreed.windowsize), (1468, 4));
        let expected = [("tsize", "70000"), ("blksize", "1468"), ("windowsize", "4")];
        assert_eq!(oack, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn hostile_values_are_ignored_or_clamped() {
        for (name, value) in [
            ("blksize", "-1"),
            ("blksize", "7"),
            ("blksize", "0"),
            ("blksize", ""),
            ("blksize", "1e3"),
            ("blksize", "512 "),
            ("windowsize", "0"),
            ("windowsize", "-4"),
            ("windowsize", "four"),
            ("timeout", "0"),
            ("timeout", "256"),
            ("timeout", "-3"),
            ("timeout", "99999999999999999999999999"),
            ("tsize", "-1"),
            ("multicast", ""),
            ("\u{1}\u{2}", "x"),
        ] {
            let (agreed, oack) = agree(&[(name, value)], Mode::Octet);
            assert_eq!((agreed.blksize, agreed.windowsize, agreed.timeout), (512, 1, None), "{name}={value}");
            assert!(agreed.oack.is_empty() && oack.is_empty(), "{name}={value}");
        }
        let huge = "99999999999999999999999999999";
        let (agreed, oack) = agree(&[("blksize", huge), ("windowsize", huge), ("tsize", huge)], Mode::Octet);
        assert_eq!((agreed.blksize, agreed.windowsize), (1468, 64));
        assert_eq!(oack.len(), 3);
        let (agreed, _) = agree(&[("blksize", "1000"), ("blksize", "9000")], Mode::Octet);
        assert_eq!(agreed.blksize, 1000);
    }

    #[test]
    fn the_size_of_a_netascii_transfer_is_not_promised() {
        let (agreed, oack) = agree(&[("tsize", "0"), ("timeout", "3")], Mode::Netascii);
        assert_eq!(agreed.timeout, Some(3));
        assert_eq!(oack, [("timeout".to_owned(), "3".to_owned())]);
    }

    proptest! {
        #[test]
        fn terms_stay_within_the_limits(raw in prop::collection::vec(any::<u8>(), 0..400), blksize: u16, windowsize: u16) {
            let request = Request { file: b"f", mode: Mode::Octet, options: Options::from_bytes(&raw) };
            let agreed = negotiate(&request, 1, &Limits { blksize, windowsize });
            prop_assert!((8..=65464).contains(&agreed.blksize));
            prop_assert!(agreed.blksize <= blksize.max(512));
            prop_assert!((1..=16384).contains(&agreed.windowsize));
            prop_assert!(agreed.windowsize <= windowsize.max(1));
        }

        #[test]
        fn any_number_is_answered_within_range(asked: u64) {
            let (agreed, _) = agree(&[("blksize", &asked.to_string()), ("windowsize", &asked.to_string())], Mode::Octet);
            prop_assert!(agreed.blksize <= 1468 && agreed.windowsize <= 64);
        }
    }
}
