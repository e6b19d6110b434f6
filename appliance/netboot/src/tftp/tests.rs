//! The server on loopback, against a small client of the tests' own.

use super::*;
use crate::files::tests::write_tree;
use crate::trace::{BootEvent, BootWhat};
use leasehold_protocols::tftp::{Mode, Options, Packet, Request};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

struct Rig {
    server: TftpServer,
    events: Receiver<BootEvent>,
    _folder: tempfile::TempDir,
}

fn rig(files: &[(&str, &[u8])], change: impl FnOnce(&mut TftpConfig)) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    write_tree(folder.path(), files);
    let (sender, events) = channel();
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let mut config = TftpConfig::new(vec![Listen { address, interface: None }]);
    change(&mut config);
    let files = Arc::new(BootFiles::open(folder.path()).unwrap());
    let trace: TraceSink = Arc::new(move |event| drop(sender.send(event)));
    Rig { server: TftpServer::start(&config, files, trace).unwrap(), events, _folder: folder }
}

impl Rig {
    fn client(&self) -> Client {
        Client::new(self.server.addresses()[0])
    }

    fn event(&self) -> BootWhat {
        let event = self.events.recv_timeout(DEADLINE).expect("an event");
        assert_eq!((event.client_ip, event.mac), (Some(Ipv4Addr::LOCALHOST), None));
        event.what
    }
}

/// A client with one port.
struct Client {
    socket: UdpSocket,
    server: SocketAddrV4,
}

/// A datagram as the client got it.
struct Got {
    from: SocketAddr,
    bytes: Vec<u8>,
}

impl Got {
    fn packet(&self) -> Packet<'_> {
        Packet::parse(&self.bytes).unwrap()
    }

    fn error(&self) -> (u16, String) {
        match self.packet() {
            Packet::Error { code, message } => (code, String::from_utf8_lossy(message).into_owned()),
            other => panic!("not an error: {other:?}"),
        }
    }
}

impl Client {
    fn new(server: SocketAddrV4) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Client { socket, server }
    }

    fn ask(&self, file: &[u8], mode: Mode, options: &[(&str, u64)]) {
        let mut list = Vec::new();
        for (name, value) in options {
            Options::push(&mut list, name, *value);
        }
        self.send(&Packet::Read(Request { file, mode, options: Options::from_bytes(&list) }), self.server.into());
    }

    fn send(&self, packet: &Packet<'_>, to: SocketAddr) {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        self.socket.send_to(&bytes, to).unwrap();
    }

    fn ack(&self, block: u16, to: SocketAddr) {
        self.send(&Packet::Ack { block }, to);
    }

    fn receive(&self) -> Got {
        let mut bytes = vec![0; 65_536];
        let (length, from) = self.socket.recv_from(&mut bytes).expect("a packet within the deadline");
        bytes.truncate(length);
        Got { from, bytes }
    }

    fn nothing_comes(&self) -> bool {
        self.socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let nothing = self.socket.recv_from(&mut [0; 2000]).is_err();
        self.socket.set_read_timeout(Some(DEADLINE)).unwrap();
        nothing
    }

    /// Reads a file to its end as a well-behaved client of RFC 7440 does.
    fn fetch(&self, file: &str, mode: Mode, options: &[(&str, u64)]) -> Vec<u8> {
        self.ask(file.as_bytes(), mode, options);
        let (mut blksize, mut window) = (512, 1);
        let (mut content, mut last, mut in_window) = (Vec::new(), 0u16, 0u64);
        loop {
            let got = self.receive();
            match got.packet() {
                Packet::OptionAck(options) => {
                    let number = |name| options.get(name).map(|value| String::from_utf8_lossy(value).parse().unwrap());
                    blksize = number("blksize").unwrap_or(512);
                    window = number("windowsize").unwrap_or(1) as u64;
                    self.ack(0, got.from);
                }
                Packet::Data { block, payload } if block == last.wrapping_add(1) => {
                    content.extend_from_slice(payload);
                    last = block;
                    in_window += 1;
                    let end = payload.len() < blksize;
                    if end || in_window == window {
                        self.ack(last, got.from);
                        in_window = 0;
                    }
                    if end {
                        return content;
                    }
                }
                // Lost or doubled under load: say where we are.
                Packet::Data { .. } => {
                    self.ack(last, got.from);
                    in_window = 0;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn patterned(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

#[test]
fn files_arrive_whatever_the_options() {
    let big = patterned(3_000_000);
    let rig = rig(
        &[("big", &big), ("even", &big[..1024]), ("empty", b""), ("text", b"one\ntwo\r\n"), ("a/b.efi", b"MZ")],
        |_| {},
    );
    let client = rig.client();
    for options in [
        &[("blksize", 1468), ("windowsize", 64), ("tsize", 0)][..],
        &[("blksize", 1432), ("tsize", 0)],
        &[("blksize", 65_464), ("windowsize", 4)],
        &[("blksize", 8192), ("windowsize", 16), ("timeout", 1)],
        &[],
    ] {
        assert!(client.fetch("big", Mode::Octet, options) == big, "{options:?}");
        assert_eq!(rig.event(), BootWhat::TftpStart { file: "big".to_owned(), size: 3_000_000 });
        let BootWhat::TftpDone { bytes: 3_000_000, .. } = rig.event() else { panic!("{options:?}") };
    }
    assert_eq!(client.fetch("even", Mode::Octet, &[]), big[..1024]);
    assert_eq!(client.fetch("/even", Mode::Octet, &[("blksize", 1024), ("windowsize", 8)]), big[..1024]);
    assert_eq!(client.fetch("empty", Mode::Octet, &[]), b"");
    assert_eq!(client.fetch("//a/./b.efi", Mode::Octet, &[("tsize", 0)]), b"MZ");
    assert_eq!(client.fetch("text", Mode::Netascii, &[("blksize", 8), ("windowsize", 3)]), b"one\r\ntwo\r\0\r\n");
}

#[test]
fn refusals_are_clear() {
    let rig = rig(&[("a", b"a")], |_| {});
    let client = rig.client();
    for (file, code, why) in [
        (&b"../../etc/passwd"[..], 2, "\"..\""),
        (b"/etc/passwd", 1, "no such file"),
        (b"..\\..\\boot.ini", 2, "backslash"),
        (b"a/../../x", 2, "\"..\""),
        (b"manifest.json", 1, "no such file"),
        (b"a\nb", 2, "control character"),
        (b"\xff", 2, "UTF-8"),
    ] {
        client.ask(file, Mode::Octet, &[]);
        let (told, message) = client.receive().error();
        assert_eq!(told, code, "{message}");
        assert!(message.contains(why), "{message}");
        let BootWhat::TftpFailed { why: told, .. } = rig.event() else { panic!() };
        assert_eq!(told, message);
    }
    let request = Request { file: b"a", mode: Mode::Octet, options: Options::default() };
    client.send(&Packet::Write(request), client.server.into());
    let (code, message) = client.receive().error();
    assert!(code == 2 && message.contains("takes no files"), "{message}");
    for (bytes, code) in [(&b"\0\x01a\0mail\0"[..], 4), (b"\0\x09hello", 4), (b"\0\x01no end", 4), (b"\0\x04\0\0", 5)] {
        client.socket.send_to(bytes, client.server).unwrap();
        assert_eq!(client.receive().error().0, code, "{bytes:?}");
    }
    // Errors and fragments are not answered.
    client.socket.send_to(b"\0\x05\0\x01no\0", client.server).unwrap();
    client.socket.send_to(b"\0", client.server).unwrap();
    assert!(client.nothing_comes());
    assert_eq!(client.fetch("a", Mode::Octet, &[]), b"a");
}

#[test]
fn a_stranger_is_turned_away_and_the_transfer_goes_on() {
    let content = patterned(2000);
    let rig = rig(&[("a", &content)], |_| {});
    let (client, stranger) = (rig.client(), rig.client());
    client.ask(b"a", Mode::Octet, &[]);
    let first = client.receive();
    assert_ne!(first.from, rig.server.addresses()[0].into());
    for packet in [Packet::Ack { block: 1 }, Packet::Data { block: 1, payload: b"x" }] {
        stranger.send(&packet, first.from);
        assert_eq!(stranger.receive().error().0, 5);
    }
    stranger.send(&Packet::Error { code: 0, message: b"stop" }, first.from);
    assert!(stranger.nothing_comes());
    let mut got = Vec::new();
    let mut packet = first;
    loop {
        let Packet::Data { block, payload } = packet.packet() else { panic!() };
        got.extend_from_slice(payload);
        client.ack(block, packet.from);
        if payload.len() < 512 {
            break;
        }
        packet = client.receive();
    }
    assert_eq!(got, content);
}

#[test]
fn a_repeated_request_starts_no_second_transfer() {
    let rig = rig(&[("a", &patterned(2000)), ("b", b"bb")], |_| {});
    let client = rig.client();
    client.ask(b"a", Mode::Octet, &[("tsize", 0)]);
    let first = client.receive();
    // As if the OACK had been lost: it comes again, from the same port.
    client.ask(b"a", Mode::Octet, &[("tsize", 0)]);
    let again = client.receive();
    assert_eq!((again.from, &again.bytes), (first.from, &first.bytes));
    client.ack(0, first.from);
    let data = client.receive();
    assert_eq!(data.from, first.from);
    // A delayed copy of the request changes nothing.
    client.ask(b"a", Mode::Octet, &[("tsize", 0)]);
    client.ack(1, first.from);
    let next = client.receive();
    assert!(next.from == first.from && matches!(next.packet(), Packet::Data { block: 2, .. }));
    assert_eq!(rig.event(), BootWhat::TftpStart { file: "a".to_owned(), size: 2000 });
    // Another wish from the same port ends the first transfer.
    assert_eq!(client.fetch("b", Mode::Octet, &[]), b"bb");
    let BootWhat::TftpFailed { file, why } = rig.event() else { panic!() };
    assert!(file == "a" && why.contains("asked again"), "{why}");
}

#[test]
fn the_size_probe_of_firmware_is_no_failure() {
    let rig = rig(&[("a", &patterned(2000))], |_| {});
    let client = rig.client();
    client.ask(b"a", Mode::Octet, &[("tsize", 0), ("blksize", 1408)]);
    let oack = client.receive();
    let Packet::OptionAck(options) = oack.packet() else { panic!() };
    assert_eq!(options.get("tsize"), Some(&b"2000"[..]));
    client.send(&Packet::Error { code: 8, message: b"User aborted the transfer" }, oack.from);
    assert_eq!(rig.event(), BootWhat::TftpStart { file: "a".to_owned(), size: 2000 });
    assert_eq!(rig.event(), BootWhat::TftpSizeAsked { file: "a".to_owned(), size: 2000 });
}

#[test]
fn a_lost_window_is_sent_again() {
    let rig = rig(&[("a", &patterned(600))], |_| {});
    let client = rig.client();
    client.ask(b"a", Mode::Octet, &[("windowsize", 4), ("timeout", 1)]);
    let oack = client.receive();
    client.ack(0, oack.from);
    let window = [client.receive(), client.receive()];
    let again = [client.receive(), client.receive()];
    for (one, two) in window.iter().zip(&again) {
        assert_eq!((one.from, &one.bytes), (two.from, &two.bytes));
    }
    client.ack(2, oack.from);
    rig.event();
    let BootWhat::TftpDone { bytes: 600, .. } = rig.event() else { panic!() };
}

#[test]
fn transfers_are_bounded_per_client_and_in_total() {
    let one_client = rig(&[("a", b"a")], |config| config.most_per_client = 2);
    let clients = [one_client.client(), one_client.client(), one_client.client()];
    let first = clients.each_ref().map(|client| {
        client.ask(b"a", Mode::Octet, &[]);
        client.receive()
    });
    let (code, message) = first[2].error();
    assert!(code == 0 && message.contains("this address has 2 transfers"), "{message}");
    clients[0].ack(1, first[0].from);
    while !matches!(one_client.event(), BootWhat::TftpDone { .. }) {}
    assert_eq!(clients[2].fetch("a", Mode::Octet, &[]), b"a");

    let in_total = rig(&[("a", b"a")], |config| config.most_transfers = 1);
    let clients = [in_total.client(), in_total.client()];
    clients[0].ask(b"a", Mode::Octet, &[]);
    clients[0].receive();
    clients[1].ask(b"a", Mode::Octet, &[]);
    assert!(clients[1].receive().error().1.contains("busy"));
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    let (one, two) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2));
    let rig = rig(&[("a", b"a")], |config| {
        config.listen = [one, two].map(|ip| Listen { address: SocketAddrV4::new(ip, 0), interface: None }).to_vec();
    });
    for (address, ip) in rig.server.addresses().iter().zip([one, two]) {
        let client = Client::new(*address);
        client.ask(b"a", Mode::Octet, &[]);
        assert_eq!(client.receive().from.ip(), ip);
    }
}

#[test]
fn two_hundred_clients_at_once() {
    let content = patterned(100_000);
    let rig = rig(&[("a", &content)], |config| config.most_per_client = 500);
    let address = rig.server.addresses()[0];
    std::thread::scope(|scope| {
        for number in 0..200u64 {
            let content = &content;
            scope.spawn(move || {
                let options = [("blksize", 600 + number), ("windowsize", 1 + number % 20)];
                assert!(Client::new(address).fetch("a", Mode::Octet, &options) == *content);
            });
        }
    });
    let mut done = 0;
    while done < 200 {
        match rig.event() {
            BootWhat::TftpDone { bytes, .. } => {
                assert_eq!(bytes, 100_000);
                done += 1;
            }
            BootWhat::TftpStart { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(rig.server.is_running());
}

#[test]
fn stopping_tells_the_clients() {
    let rig = rig(&[("a", &patterned(5000))], |_| {});
    let client = rig.client();
    client.ask(b"a", Mode::Octet, &[]);
    client.receive();
    drop(rig.server);
    assert!(client.receive().error().1.contains("being stopped"));
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let rig = rig(&[("a", b"a")], |_| {});
    let files = Arc::new(BootFiles::empty(std::path::Path::new("absent")));
    let start = |address| {
        let config = TftpConfig::new(vec![Listen { address, interface: None }]);
        TftpServer::start(&config, Arc::clone(&files), Arc::new(drop)).unwrap_err().to_string()
    };
    assert!(start(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)).contains("name the address of each boot interface"));
    assert!(start(rig.server.addresses()[0]).contains("Another TFTP server has it"));
    assert!(start(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 0)).contains("No interface"));
}
