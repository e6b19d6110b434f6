//! Addresses, asked for by messages whose every bit is known.

use crate::dhcp::{ACK, Dhcp, NAK, OFFER};
use crate::wire::{self, EVERYBODY};
use crate::world::{SERVER, World, mac_text};
use anyhow::{Result, ensure};
use leasehold_protocols::dhcp::client::{ClientMessage, Firmware};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddrV4};

const STRANGER: [u8; 6] = [2, 0x77, 0, 0, 1, 1];
const KNOWN: [u8; 6] = [2, 0x77, 0, 0, 1, 2];
const MACHINE: [u8; 6] = [2, 0x77, 0, 0, 1, 3];
const SURVIVOR: [u8; 6] = [2, 0x77, 0, 0, 1, 5];

pub(super) fn no_job(world: &mut World) -> Result<String> {
    let node = json!({"name": "idle", "driver": "ipmi", "driver_info": {"ipmi_address": "127.0.0.9"}});
    let node = world.api("POST", "/baremetal/v1/nodes", Some(&node))?;
    let port = json!({"node_uuid": node["uuid"], "address": mac_text(KNOWN)});
    world.api("POST", "/baremetal/v1/ports", Some(&port))?;
    for (mac, why) in [(STRANGER, "no node has a port"), (KNOWN, "no job")] {
        for firmware in [Firmware::BiosPxe, Firmware::UefiPxe, Firmware::UefiHttp, Firmware::IpxeBios] {
            let mark = world.mark()?;
            let (offer, ack) = world.raw.bind(SERVER, &world.raw.discover(firmware, mac))?;
            for answer in [&offer, &ack] {
                // A UEFI machine of ours is sent to its disk by a loader: without a file it would ask for minutes.
                let loader = mac == KNOWN && matches!(firmware, Firmware::UefiPxe | Firmware::UefiHttp);
                let file = answer.boot_file();
                ensure!(file.is_empty() != loader, "{firmware:?} of {mac:x?} is sent to load {file:?}");
            }
            let event = world.await_event(mark, "the offer in the trace", |event| event.is(mac, "dhcp-offer"))?;
            ensure!(event.says("note", why), "{firmware:?}: the trace does not say '{why}': {}", event.detail);
        }
    }
    world.until("the note in the node's own trace", std::time::Duration::from_secs(5), || {
        Ok(world.trace("idle")?.contains("no job").then_some(()))
    })?;
    Ok(String::new())
}

/// A frame to the server's own hardware address, from the client's address.
fn unicast(world: &World, message: &ClientMessage, server_mac: [u8; 6]) -> Vec<u8> {
    let from = SocketAddrV4::new(message.ciaddr, 68);
    wire::datagram(world.raw.wire.mac, server_mac, from, SocketAddrV4::new(SERVER, 67), &message.encode())
}

fn server_mac(world: &World) -> Result<[u8; 6]> {
    Ok(world.of_box.run(|| crate::wire::Wire::open(crate::world::BOOT_CARD))??.mac)
}

pub(super) fn life_of_an_address(world: &mut World) -> Result<String> {
    let first = world.raw.discover(Firmware::Linux, MACHINE);
    let (_, ack) = world.raw.bind(SERVER, &first)?;
    let address = ack.message.yiaddr;
    let to_server = server_mac(world)?;

    // RENEWING: to the server alone. Its answer goes to the client's address, which is on the wire for us to hear.
    let fresh = || world.raw.discover(Firmware::Linux, MACHINE);
    let renew = fresh().renew(address);
    let mark = world.mark()?;
    world.raw.wire.send(&unicast(world, &renew, to_server))?;
    world.await_event(mark, "the answer to a renewal", |event| {
        event.is(MACHINE, "dhcp-ack") && event.says("address", &address.to_string())
    })?;

    // REBINDING: to all.
    let rebound = world.raw.ask_of(SERVER, &fresh().renew(address), &[ACK, NAK])?;
    ensure!(rebound.message.message_type == ACK && rebound.message.yiaddr == address, "rebind: {rebound:?}");

    // INFORM: parameters only.
    let informed = world.raw.ask_of(SERVER, &fresh().inform(address), &[ACK])?;
    ensure!(informed.message.yiaddr.is_unspecified(), "an INFORM is given an address: {informed:?}");

    // DECLINE: another one next time.
    let mark = world.mark()?;
    world.raw.say(&fresh().decline(SERVER, address))?;
    world.await_event(mark, "the decline", |event| {
        event.what == "address-taken" && event.says("address", &address.to_string())
    })?;
    let (_, ack) = world.raw.bind(SERVER, &fresh())?;
    let second = ack.message.yiaddr;
    ensure!(second != address, "{address} is given again although it was declined");

    // RELEASE: free, and the same machine gets it again. Heard when it is sent to the server as the standard says.
    let mark = world.mark()?;
    let release = fresh().release(SERVER, second);
    world.raw.wire.send(&unicast(world, &release, to_server))?;
    world.await_event(mark, "the release", |event| event.is(MACHINE, "dhcp-released"))?;
    let (_, ack) = world.raw.bind(SERVER, &fresh())?;
    ensure!(ack.message.yiaddr != address, "{address} is given again although it was declined");
    Ok(format!("{address} declined, {second} released"))
}

pub(super) fn broadcast_flag(world: &mut World) -> Result<String> {
    for (flags, wanted) in [(0x8000, EVERYBODY), (0, MACHINE)] {
        let mut discover = world.raw.discover(Firmware::Linux, MACHINE);
        discover.flags = flags;
        let (offer, ack) = world.raw.bind(SERVER, &discover)?;
        for answer in [offer, ack] {
            ensure!(answer.to_mac == wanted, "flags {flags:#x}: answered to {}", mac_text(answer.to_mac));
        }
    }
    // What a client asks for that has an address elsewhere is refused or left alone, never acknowledged.
    let foreign = world.raw.discover(Firmware::Linux, STRANGER).reboot(Ipv4Addr::new(192, 0, 2, 9));
    world.raw.say(&foreign)?;
    let (offer, _) = world.raw.bind(SERVER, &world.raw.discover(Firmware::Linux, STRANGER))?;
    ensure!(offer.message.message_type == OFFER, "no offer");
    Ok(String::new())
}

pub(super) fn after_a_kill(world: &mut World) -> Result<String> {
    let discover = |raw: &Dhcp| raw.discover(Firmware::UefiPxe, SURVIVOR);
    let (_, before) = world.raw.bind(SERVER, &discover(&world.raw))?;
    world.kill();
    world.start()?;
    let address = before.message.yiaddr;
    let again = world.raw.ask_of(SERVER, &discover(&world.raw).reboot(address), &[ACK, NAK])?;
    ensure!(again.message.message_type == ACK && again.message.yiaddr == address, "INIT-REBOOT: {again:?}");
    let (_, after) = world.raw.bind(SERVER, &discover(&world.raw))?;
    ensure!(after.message.yiaddr == address, "{address} before, {} after", after.message.yiaddr);
    Ok(address.to_string())
}
