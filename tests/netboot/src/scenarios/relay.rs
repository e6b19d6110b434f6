//! Relays. The configuration has one pool for each interface, for the network of its own address: a relay on that
//! network is answered; one of another network gets silence, and the trace says why.

use crate::dhcp::{ACK, Answer, OFFER};
use crate::world::{CARD, SERVER, World};
use anyhow::{Context, Result, ensure};
use leasehold_protocols::dhcp::client::{ClientMessage, Firmware};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

const RELAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 7);
const FOREIGN_RELAY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 7);
const CIRCUIT: [u8; 9] = [1, 7, b'p', b'o', b'r', b't', b'-', b'1', b'2'];
const TRIES: u32 = 5;

pub(super) fn run(world: &mut World) -> Result<String> {
    let station = world.station("relay", [2, 0x77, 0, 0, 6, 1])?;
    station.space.ip(&["address", "add", &format!("{RELAY}/24"), "dev", CARD])?;
    let socket = station.space.run(|| UdpSocket::bind((RELAY, 67)))??;
    socket.set_read_timeout(Some(Duration::from_millis(1500)))?;
    let mac = [2, 0x77, 0, 0, 6, 2];
    let mut discover = world.raw.discover(Firmware::UefiPxe, mac);
    discover.giaddr = RELAY;
    discover.set(82, &CIRCUIT);
    let offer = relayed(&socket, &discover, OFFER)?;
    let ack = relayed(&socket, &discover.select(SERVER, offer.message.yiaddr), ACK)?;
    for answer in [&offer, &ack] {
        ensure!(answer.relay_information.as_deref() == Some(&CIRCUIT), "option 82: {:?}", answer.relay_information);
    }
    ensure!(ack.message.yiaddr == offer.message.yiaddr, "{offer:?}, {ack:?}");

    let mark = world.mark()?;
    let mut foreign = world.raw.discover(Firmware::UefiPxe, [2, 0x77, 0, 0, 6, 3]);
    foreign.giaddr = FOREIGN_RELAY;
    foreign.set(82, &CIRCUIT);
    socket.send_to(&foreign.encode(), (SERVER, 67))?;
    let event = world.await_event(mark, "why a foreign relay is not answered", |event| {
        event.is(foreign.mac, "dhcp-ignored") && event.says("why", "no pool")
    })?;
    ensure!(event.says("why", &FOREIGN_RELAY.to_string()), "which relay: {}", event.detail);
    world.honest_client()?;
    ensure!(!world.raw.was_answered(foreign.xid), "a foreign relay's client is answered");
    Ok("one pool for each interface: a relay on its network is answered with option 82, another one is not".into())
}

fn relayed(socket: &UdpSocket, message: &ClientMessage, kind: u8) -> Result<Answer> {
    let mut buffer = [0; 2048];
    for _ in 0..TRIES {
        socket.send_to(&message.encode(), (SERVER, 67))?;
        while let Ok((length, _)) = socket.recv_from(&mut buffer) {
            let answer = Answer::read(&buffer[..length], message.mac).context("a malformed relayed answer")?;
            if answer.message.xid == message.xid && answer.message.message_type == kind {
                return Ok(answer);
            }
        }
    }
    anyhow::bail!("the relay got no answer to {message:?}")
}
