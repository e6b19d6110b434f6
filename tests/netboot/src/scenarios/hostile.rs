//! What no honest client sends. After each kind an honest client is served as before, and at the end the program has
//! not grown.

use crate::wire::{self, EVERYBODY};
use crate::world::{SERVER, Station, World};
use anyhow::{Context, Result, bail, ensure};
use leasehold_protocols::dhcp::client::{ClientMessage, Firmware};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::Duration;

/// What the program may grow by for all of this, in KiB.
const GROWTH: u64 = 24 << 10;
const ATTACKER: [u8; 6] = [2, 0x77, 0, 0, 5, 1];
const OPTIONS: usize = 240;
const LOADER: &str = "ipxe/undionly.kpxe";
const SOON: Duration = Duration::from_secs(4);

fn bounded(world: &World, before: u64) -> Result<String> {
    let after = world.memory()?;
    ensure!(after <= before + GROWTH, "the program grew from {before} to {after} KiB");
    Ok(format!("{before} → {after} KiB"))
}

/// A sequence that looks random and is the same in each run (xorshift, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound.max(1)).unwrap_or(1)).unwrap_or(0)
    }
}

fn with_options(discover: &ClientMessage, options: &[u8]) -> Vec<u8> {
    [&discover.encode()[..OPTIONS], options].concat()
}

/// Payloads by what is wrong with them.
fn payloads(discover: &ClientMessage) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let good = discover.encode();
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let mut numbers = Numbers(0x1ea5_e401_d000_0001);
    let mutations = (0..3000)
        .map(|_| {
            let mut bytes = good.clone();
            for _ in 0..=numbers.below(8) {
                let at = numbers.below(bytes.len());
                bytes[at] = u8::try_from(numbers.below(256)).unwrap_or(0);
            }
            bytes.truncate(bytes.len() - numbers.below(80));
            bytes
        })
        .collect();
    let mut spoofed = discover.select(Ipv4Addr::new(10, 77, 0, 66), Ipv4Addr::new(10, 77, 0, 200));
    let other_server = spoofed.encode();
    spoofed.set(54, &Ipv4Addr::BROADCAST.octets());
    let mut relayed_by_us = discover.clone();
    relayed_by_us.giaddr = SERVER;
    vec![
        ("hardware address of 255 bytes", vec![changed(2, 255), changed(2, 0), changed(2, 17), changed(1, 255)]),
        ("cut short", (0..OPTIONS + 20).step_by(3).map(|length| good[..length].to_vec()).collect()),
        (
            "truncated options",
            vec![
                with_options(discover, &[53]),
                with_options(discover, &[53, 1]),
                with_options(discover, &[53, 1, 1, 61, 255, 1]),
                with_options(discover, &[53, 0, 255]),
                with_options(discover, &[53, 2, 1, 1, 255]),
            ],
        ),
        (
            "option bombs",
            vec![
                with_options(discover, &[[53, 1, 1].as_slice(), &[12, 0].repeat(500)].concat()),
                with_options(discover, &[[53, 1, 1].as_slice(), &[0; 1000], &[255]].concat()),
                with_options(discover, &[[53, 1, 1, 77, 250].as_slice(), &[1, 65].repeat(125), &[255]].concat()),
                with_options(discover, &[[53, 1, 1, 52, 1, 3].as_slice(), &[255]].concat()),
                with_options(discover, &[53, 1, 1].repeat(300)),
                with_options(discover, &[[53, 1, 1, 82, 255].as_slice(), &[1, 255].repeat(127), &[0, 255]].concat()),
            ],
        ),
        ("bad cookie", vec![changed(236, 0), changed(239, 0x62)]),
        ("foreign server", vec![other_server, spoofed.encode()]),
        ("an answer instead of a question", vec![changed(0, 2), changed(0, 0), changed(0, 255)]),
        ("through a relay that is the server itself", vec![relayed_by_us.encode()]),
        ("oversized", vec![with_options(discover, &[[53, 1, 1].as_slice(), &[43, 200], &[7; 1100]].concat())]),
        ("random changes", mutations),
    ]
}

pub(super) fn dhcp(world: &mut World) -> Result<String> {
    world.honest_client()?;
    let before = world.memory()?;
    let discover = world.raw.discover(Firmware::UefiPxe, ATTACKER);
    for (what, payloads) in payloads(&discover) {
        for payload in payloads {
            world.raw.wire.send(&wire::from_client(ATTACKER, &payload))?;
        }
        world.honest_client().with_context(|| format!("after '{what}'"))?;
    }
    // Below UDP: lengths that lie, and frames that end in the middle of a header.
    let frame = wire::from_client(ATTACKER, &discover.encode());
    for length in (14..60).chain([frame.len() - 1]) {
        world.raw.wire.send(&frame[..length])?;
    }
    for (at, byte) in
        [(14, 0x4f), (14, 0x41), (14, 0x65), (16, 0xff), (20, 0x20), (21, 0xff), (38, 0xff), (39, 0), (39, 7)]
    {
        let mut lying = frame.clone();
        lying[at] = byte;
        world.raw.wire.send(&lying)?;
    }
    // From the server's own address, and from an address to which no answer can go.
    for from in [SERVER, Ipv4Addr::BROADCAST, Ipv4Addr::LOCALHOST] {
        let (from, to) = (SocketAddrV4::new(from, 68), SocketAddrV4::new(Ipv4Addr::BROADCAST, 67));
        world.raw.wire.send(&wire::datagram(EVERYBODY, EVERYBODY, from, to, &discover.encode()))?;
    }
    world.honest_client().context("after frames that lie")?;
    bounded(world, before)
}

/// A TFTP client that says what it likes.
struct Tftp(UdpSocket);

impl Tftp {
    fn open(station: &Station) -> Result<Tftp> {
        let socket = station.space.run(|| UdpSocket::bind("0.0.0.0:0"))??;
        socket.set_read_timeout(Some(SOON))?;
        Ok(Tftp(socket))
    }

    fn ask(&self, request: &[u8]) -> Result<()> {
        Ok(self.0.send_to(request, (SERVER, 69)).map(drop)?)
    }

    /// The next packet and from which port it came.
    fn hear(&self) -> Result<(Vec<u8>, u16)> {
        let mut buffer = vec![0; 2048];
        let (length, from) = self.0.recv_from(&mut buffer).context("no answer by TFTP")?;
        buffer.truncate(length);
        Ok((buffer, from.port()))
    }

    fn answer(&self, to: u16, packet: &[u8]) -> Result<()> {
        Ok(self.0.send_to(packet, (SERVER, to)).map(drop)?)
    }
}

fn request(kind: u8, words: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0, kind];
    for word in words {
        bytes.extend(word.as_bytes());
        bytes.push(0);
    }
    bytes
}

fn is_error(packet: &[u8]) -> bool {
    packet.starts_with(&[0, 5])
}

pub(super) fn tftp(world: &mut World) -> Result<String> {
    let station = world.station("badtftp", [2, 0x77, 0, 0, 5, 2])?;
    world.configure(&station, Firmware::Linux)?;
    honest_transfer(world, &station)?;
    let before = world.memory()?;
    for path in [
        "../../../etc/passwd",
        "/etc/passwd",
        "ipxe/../../manifest.json",
        "..\\..\\etc\\passwd",
        "ipxe/\u{1}",
        "manifest.json",
        "",
        &"a/".repeat(240),
    ] {
        let client = Tftp::open(&station)?;
        client.ask(&request(1, &[path, "octet"]))?;
        ensure!(is_error(&client.hear().with_context(|| format!("{path:?}"))?.0), "{path:?} is served");
    }
    for options in [
        ["blksize", "-5"],
        ["blksize", "0"],
        ["blksize", "99999999999999999999"],
        ["windowsize", "0"],
        ["windowsize", "-1"],
        ["timeout", "0"],
        ["tsize", "-1"],
    ] {
        let client = Tftp::open(&station)?;
        client.ask(&request(1, &[LOADER, "octet", options[0], options[1]]))?;
        let (packet, port) = client.hear().with_context(|| format!("{options:?}"))?;
        let echoed =
            packet.starts_with(&[0, 6]) && packet.windows(options[1].len()).any(|part| part == options[1].as_bytes());
        ensure!(!echoed, "{options:?} is accepted");
        client.answer(port, &[0, 5, 0, 0, 0])?;
    }
    for bad in [request(2, &["ipxe/new", "octet"]), request(1, &[LOADER, "mail"])] {
        let client = Tftp::open(&station)?;
        client.ask(&bad)?;
        ensure!(is_error(&client.hear()?.0), "accepted: {bad:?}");
    }
    for bad in [&[][..], &[0], &[0, 1], &[0, 9, 9], &[0, 1, b'a'], &[255; 600], &[0, 4, 0, 1], &[0, 3, 0, 1, 9]] {
        Tftp::open(&station)?.ask(bad)?;
    }
    duplicate_request(&station)?;
    foreign_port(&station)?;
    honest_transfer(world, &station)?;
    bounded(world, before)
}

/// The same request twice, as after a lost packet: one transfer, and it goes on.
fn duplicate_request(station: &Station) -> Result<()> {
    let client = Tftp::open(station)?;
    let read = request(1, &[LOADER, "octet"]);
    client.ask(&read)?;
    client.ask(&read)?;
    let (first, port) = client.hear()?;
    ensure!(first.starts_with(&[0, 3, 0, 1]), "no first block");
    client.answer(port, &[0, 4, 0, 1])?;
    loop {
        let (packet, from) = client.hear()?;
        ensure!(from == port, "a second transfer from port {from} beside {port}");
        if packet.starts_with(&[0, 3, 0, 2]) {
            break;
        }
    }
    client.answer(port, &[0, 5, 0, 0, b'x', 0])
}

/// An acknowledgement from somebody else must not move the transfer (RFC 1350 §4).
fn foreign_port(station: &Station) -> Result<()> {
    let (client, stranger) = (Tftp::open(station)?, Tftp::open(station)?);
    client.ask(&request(1, &[LOADER, "octet"]))?;
    let (_, port) = client.hear()?;
    stranger.answer(port, &[0, 4, 0, 1])?;
    let (said, _) = stranger.hear().context("an acknowledgement from a foreign port")?;
    ensure!(said.starts_with(&[0, 5, 0, 5]), "not 'unknown transfer ID': {said:?}");
    client.answer(port, &[0, 4, 0, 1])?;
    loop {
        match client.hear()?.0 {
            packet if packet.starts_with(&[0, 3, 0, 2]) => break,
            packet if packet.starts_with(&[0, 3, 0, 1]) => {}
            packet => bail!("the transfer does not go on: {packet:?}"),
        }
    }
    client.answer(port, &[0, 5, 0, 0, b'x', 0])
}

fn honest_transfer(world: &World, station: &Station) -> Result<()> {
    let file = world.folder.file("honest");
    world.on(station, 20, &["curl", "-sS", "-o", &file.to_string_lossy(), &format!("tftp://{SERVER}/{LOADER}")])?;
    world.same(&file, LOADER)
}

pub(super) fn http(world: &mut World) -> Result<String> {
    let station = world.station("badhttp", [2, 0x77, 0, 0, 5, 3])?;
    world.configure(&station, Firmware::Linux)?;
    let file = world.folder.file("honest");
    let out = file.to_string_lossy().into_owned();
    let honest = |world: &World| {
        world.on(&station, 20, &["curl", "-sSf", "-o", &out, &format!("http://{SERVER}/boot/{LOADER}")])?;
        world.same(&file, LOADER)
    };
    honest(world)?;
    let before = world.memory()?;
    for path in [
        "/boot/../../../etc/passwd",
        "/boot/%2e%2e/%2e%2e/etc/passwd",
        "/boot/..%2f..%2fetc%2fpasswd",
        "/boot//etc/passwd",
        "/boot/%00",
        "/boot/manifest.json",
        "/boot/script/zz",
        "/../etc/passwd",
        "/",
    ] {
        let url = format!("http://{SERVER}{path}");
        let status =
            world.on(&station, 20, &["curl", "-sS", "--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", &url])?;
        ensure!(status == "404" || status == "400", "{path}: {status}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let url = format!("http://{SERVER}/boot/{LOADER}");
        let status =
            world.on(&station, 20, &["curl", "-sS", "-X", method, "-o", "/dev/null", "-w", "%{http_code}", &url])?;
        ensure!(matches!(status.as_str(), "404" | "405"), "{method}: {status}");
    }
    // Heads that never end, as many as one machine may hold and more; others are served meanwhile.
    let slow = world.station("slow", [2, 0x77, 0, 0, 5, 4])?;
    world.configure(&slow, Firmware::Linux)?;
    let connections = slow.space.run(|| {
        let connect = |_| {
            let mut stream = TcpStream::connect((SERVER, 80))?;
            stream.set_read_timeout(Some(SOON))?;
            let _ = stream.write_all(b"GET /boot/ipxe/undionly.kpxe HTTP/1.1\r\nX-Slow: ");
            std::io::Result::Ok(stream)
        };
        (0..80).map(connect).collect::<std::io::Result<Vec<_>>>()
    })??;
    honest(world).context("while another machine sends slow heads")?;
    // A head without end in bytes: it is ended.
    let mut endless = slow_head(&station)?;
    let mut answer = Vec::new();
    let _ = endless.read_to_end(&mut answer);
    ensure!(!answer.starts_with(b"HTTP/1.1 200"), "a head of 64 KiB is accepted");
    drop(connections);
    honest(world)?;
    bounded(world, before)
}

fn slow_head(station: &Station) -> Result<TcpStream> {
    station.space.run(|| {
        let mut stream = TcpStream::connect((SERVER, 80))?;
        stream.set_read_timeout(Some(SOON))?;
        let _ = stream.write_all(&[b"GET /boot/ HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 64 << 10], b"\r\n\r\n"].concat());
        anyhow::Ok(stream)
    })?
}
