//! Who is at the other end of the cable: LLDP frames (IEEE 802.1AB) heard in the background, for a bounded time.

use crate::kernel;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

const ETHER_TYPE: u16 = 0x88cc;
/// Switches send every 30 seconds; twice that, and some for a link that is slow to come up.
const LISTEN_FOR: Duration = Duration::from_secs(75);
const MAX_TLVS: usize = 128;

/// (TLV type, value in hexadecimal), in the frame's order.
pub(super) type Tlvs = Vec<(u8, String)>;

/// What was heard so far, by interface.
#[derive(Clone, Default)]
pub struct Neighbours {
    heard: Arc<(Mutex<BTreeMap<String, Tlvs>>, Condvar)>,
}

impl Neighbours {
    /// Begins to listen on the interfaces (which must be switched on). Without the right to raw sockets nothing is heard.
    #[must_use]
    pub fn listen(interfaces: &[String]) -> Neighbours {
        let neighbours = Neighbours::default();
        for interface in interfaces {
            let Ok(socket) = kernel::frame_socket(interface, ETHER_TYPE) else { continue };
            let second = Some(Duration::from_secs(1));
            if rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, second).is_err() {
                continue;
            }
            let (neighbours, interface) = (neighbours.clone(), interface.clone());
            std::thread::spawn(move || neighbours.hear(&interface, File::from(socket)));
        }
        neighbours
    }

    fn hear(&self, interface: &str, mut socket: File) {
        let deadline = Instant::now() + LISTEN_FOR;
        let mut frame = [0u8; 2048];
        while Instant::now() < deadline {
            // Time-outs, and a link that goes down, are no reason to stop early.
            let Ok(length) = socket.read(&mut frame) else { continue };
            if let Some(tlvs) = parse(&frame[..length]) {
                self.put(interface, tlvs);
                return;
            }
        }
    }

    fn put(&self, interface: &str, tlvs: Tlvs) {
        let (heard, changed) = &*self.heard;
        heard.lock().unwrap_or_else(PoisonError::into_inner).insert(interface.to_owned(), tlvs);
        changed.notify_all();
    }

    /// Waits until every named interface has a neighbour, `within` at most.
    pub fn wait_for(&self, interfaces: &[String], within: Duration) {
        let (heard, changed) = &*self.heard;
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |heard: &mut BTreeMap<String, Tlvs>| interfaces.iter().any(|name| !heard.contains_key(name));
        drop(changed.wait_timeout_while(heard, within, missing));
    }

    /// What an interface's neighbour said.
    #[must_use]
    pub fn of(&self, interface: &str) -> Option<Tlvs> {
        self.heard.0.lock().unwrap_or_else(PoisonError::into_inner).get(interface).cloned()
    }
}

/// The TLVs of a frame, Ethernet head included. `None`: no proper LLDP.
fn parse(frame: &[u8]) -> Option<Tlvs> {
    if frame.get(12..14)? != ETHER_TYPE.to_be_bytes() {
        return None;
    }
    let mut rest = frame.get(14..)?;
    let mut tlvs = Vec::new();
    while let [high, low, after @ ..] = rest {
        let head = u16::from_be_bytes([*high, *low]);
        let (kind, length) = ((head >> 9) as u8, usize::from(head & 0x1ff));
        if kind == 0 || tlvs.len() == MAX_TLVS {
            break;
        }
        let value = after.get(..length)?;
        tlvs.push((kind, hex::encode(value)));
        rest = &after[length..];
    }
    // Chassis and port come first and must be there.
    (tlvs.len() >= 2 && tlvs[0].0 == 1 && tlvs[1].0 == 2).then_some(tlvs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(tlvs: &[(u8, &[u8])]) -> Vec<u8> {
        let mut frame = vec![1, 0x80, 0xc2, 0, 0, 0xe, 2, 0, 0, 0, 0, 1, 0x88, 0xcc];
        for (kind, value) in tlvs {
            frame.extend_from_slice(&(u16::from(*kind) << 9 | value.len() as u16).to_be_bytes());
            frame.extend_from_slice(value);
        }
        frame.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
        frame
    }

    #[test]
    fn a_switch_is_heard() {
        let frame = frame(&[(1, &[4, 2, 0, 0, 0, 0, 1]), (2, b"\x05port7"), (3, &[0, 120]), (5, b"switch-a")]);
        let tlvs = parse(&frame).unwrap();
        assert_eq!(tlvs[1], (2, hex::encode(b"\x05port7")));
        assert_eq!(tlvs.len(), 4);
        assert_eq!(parse(&frame[..30]), None);
    }

    #[test]
    fn waiting_ends_when_all_are_heard() {
        let neighbours = Neighbours::default();
        let names = vec!["a".to_owned(), "b".to_owned()];
        neighbours.put("a", vec![]);
        let other = neighbours.clone();
        let thread = std::thread::spawn(move || other.put("b", vec![(1, "00".into())]));
        neighbours.wait_for(&names, Duration::from_secs(20));
        thread.join().unwrap();
        assert_eq!(neighbours.of("b"), Some(vec![(1, "00".into())]));
        assert_eq!(neighbours.of("c"), None);
    }

    proptest! {
        #[test]
        fn any_frame_is_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), right in any::<bool>()) {
            if right && bytes.len() > 14 { bytes[12..14].copy_from_slice(&[0x88, 0xcc]); }
            let _ = parse(&bytes);
        }

        #[test]
        fn tlvs_come_through(values in proptest::collection::vec((1u8..127, proptest::collection::vec(any::<u8>(), 0..60)), 0..10)) {
            let mut all = vec![(1, vec![4, 1]), (2, vec![5, 2])];
            all.extend(values);
            let slices: Vec<(u8, &[u8])> = all.iter().map(|(kind, value)| (*kind, value.as_slice())).collect();
            let want: Vec<_> = all.iter().map(|(kind, value)| (*kind, hex::encode(value))).collect();
            prop_assert_eq!(parse(&frame(&slices)), Some(want));
        }
    }
}
