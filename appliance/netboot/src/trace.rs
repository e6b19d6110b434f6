//! What the boot servers tell about a booting machine while they serve it.
//! In: nothing. Out: one [`BootEvent`] per step, handed to a callback that whoever starts a server supplies.
//! The receiver stamps the time, finds the node by MAC or address, and keeps a bounded ring: losing an event is
//! allowed, delaying a packet for it is not. The callback therefore must return at once and must not block.
//! Text that came from the wire is cut and escaped ([`printable`]) before it gets in here.

use std::net::Ipv4Addr;
use std::sync::Arc;

/// Takes events from the servers; called from their threads, so it must be quick and must not block.
pub type TraceSink = Arc<dyn Fn(BootEvent) + Send + Sync>;

/// One step of a booting machine, as one of the servers saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootEvent {
    /// The address the machine used, where it had one.
    pub client_ip: Option<Ipv4Addr>,
    /// The machine's MAC address, where the server knows it (TFTP and file requests by HTTP do not carry it).
    pub mac: Option<[u8; 6]>,
    /// What happened.
    pub what: BootWhat,
}

/// What happened in a [`BootEvent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootWhat {
    /// A read request was accepted; `size` is the file's size in bytes.
    TftpStart { file: String, size: u64 },
    /// The client asked for the size of a file and then ended the transfer, as PXE firmware does before the real one.
    TftpSizeAsked { file: String, size: u64 },
    /// The client acknowledged the last block; `bytes` counts payload as it went over the wire.
    TftpDone { file: String, bytes: u64, millis: u64 },
    /// The request was refused or the transfer ended early; `why` is a sentence for a person.
    TftpFailed { file: String, why: String },
    /// An HTTP request was answered in full; `bytes` counts the body.
    HttpServed { path: String, status: u16, bytes: u64, millis: u64, user_agent: Option<String> },
    /// An HTTP answer was begun, but the client left or stopped reading after `bytes` of `expected`.
    HttpBroken { path: String, status: u16, bytes: u64, expected: u64, millis: u64, user_agent: Option<String> },
    /// The machine asks for an address. `arch` says what asks (`PXE, x86-64 UEFI`), `class` is its vendor class.
    DhcpDiscover { arch: String, class: String },
    /// It was offered an address, and a file to boot; `note` says why a machine that asks to boot gets no file.
    DhcpOffer { address: Ipv4Addr, boot_file: Option<String>, note: Option<String> },
    /// It has the address now.
    DhcpAck { address: Ipv4Addr },
    /// It was refused the address it wanted.
    DhcpNak { why: String },
    /// Its message was not answered.
    DhcpIgnored { why: String },
    /// It gave its address back.
    DhcpReleased { address: Ipv4Addr },
    /// Somebody else is at the address: found by a probe (`by` is his MAC address) or told by the machine that got it.
    AddressTaken { address: Ipv4Addr, by: Option<[u8; 6]> },
    /// Another DHCP server speaks on an interface that we serve; `seen` counts its messages so far.
    RivalServer { address: Ipv4Addr, hardware: Option<[u8; 6]>, interface: String, seen: u64 },
}

/// The longest text, in characters, that [`printable`] lets through.
const LONGEST: usize = 160;

/// Bytes from the wire as text that is safe to show on a terminal and bounded in length.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len().min(LONGEST));
    for (count, character) in text.chars().enumerate() {
        if count == LONGEST {
            out.push('…');
            break;
        }
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_control_characters_and_cuts() {
        assert_eq!(printable(b"a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(printable(b"caf\xc3\xa9"), "café");
        let long = printable(&[b'x'; 500]);
        assert_eq!(long.chars().count(), LONGEST + 1);
        assert!(long.ends_with('…'));
    }
}
