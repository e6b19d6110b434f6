//! Others on the wire: squatters, rivals, and wires that are not ours.

use crate::dhcp::Dhcp;
use crate::wire::Wire;
use crate::world::{CARD, SERVER, World, mac_text};
use anyhow::{Context, Result, ensure};
use leasehold_protocols::dhcp::client::Firmware;
use leasehold_rack::daemon::Daemon;
use leasehold_rack::netns::Namespace;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

const RIVAL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
const RIVAL_LIMIT: Duration = Duration::from_secs(15);

pub(super) fn squatter(world: &mut World) -> Result<String> {
    // One that was nobody's yet: what a machine has had is its own again.
    let log = world.log_since(0)?;
    let unused = (129..=254).map(|last| Ipv4Addr::new(10, 77, 0, last)).find(|one| !log.contains(&one.to_string()));
    let taken = unused.context("every address of the pool was given away")?;
    let station = world.station("squatter", [2, 0x77, 0, 0, 4, 1])?;
    station.space.ip(&["address", "add", &format!("{taken}/24"), "dev", CARD])?;
    let mark = world.mark()?;
    let mut discover = world.raw.discover(Firmware::UefiPxe, [2, 0x77, 0, 0, 4, 2]);
    discover.set(50, &taken.octets());
    let (offer, _) = world.raw.bind(SERVER, &discover)?;
    ensure!(offer.message.yiaddr != taken, "{taken} is offered although somebody is there");
    let event = world.await_event(mark, "the squatter in the trace", |event| event.what == "address-taken")?;
    ensure!(event.says("address", &taken.to_string()), "another address: {}", event.detail);
    ensure!(event.says("by", &mac_text(station.mac)), "not by whom: {}", event.detail);
    Ok(format!("{taken} is taken, {} was offered", offer.message.yiaddr))
}

pub(super) fn rival(world: &mut World) -> Result<String> {
    let station = world.station("rival", [2, 0x77, 0, 0, 4, 3])?;
    station.space.ip(&["address", "add", &format!("{RIVAL}/24"), "dev", CARD])?;
    let mark = world.mark()?;
    let mut command = Command::new("dnsmasq");
    command.args(["--no-daemon", "--conf-file=/dev/null", "--port=0", "--user=root", "--pid-file=", "--no-ping"]);
    command.args(["--no-hosts", "--no-resolv", "--dhcp-authoritative", "--dhcp-broadcast", "--interface", CARD]);
    command.args(["--bind-interfaces", "--dhcp-range=10.77.0.20,10.77.0.40,120"]);
    command.arg(format!("--dhcp-leasefile={}", world.folder.file("rival.leases").display()));
    let mut dnsmasq = Daemon::start(&world.folder, &station.space, "dnsmasq", command)?;
    // A machine that speaks to the rival alone, from its first word to its address, and twice.
    let mac = [2, 0x77, 0, 0, 4, 4];
    world.until("the rival's first answer", RIVAL_LIMIT, || {
        dnsmasq.check()?;
        Ok(world.raw.bind(RIVAL, &world.raw.discover(Firmware::Linux, mac)).is_ok().then_some(()))
    })?;
    world.raw.bind(RIVAL, &world.raw.discover(Firmware::BiosPxe, mac))?;
    world.await_event(mark, "the rival in the trace", |event| event.what == "rival-dhcp-server")?;
    world.honest_client()?;
    dnsmasq.stop(Duration::from_secs(2));
    let told = world.events(mark)?;
    let told: Vec<_> = told.iter().filter(|event| event.what == "rival-dhcp-server").collect();
    ensure!(told.len() == 1 && told[0].says("address", &RIVAL.to_string()), "told {} times: {told:?}", told.len());
    let log = world.log_since(mark)?;
    let lines = log.lines().filter(|line| line.contains("\"WARN\"") && line.contains("another DHCP server")).count();
    ensure!(lines == 1, "{lines} warnings in the log");
    Ok(String::new())
}

pub(super) fn unnamed_interface(world: &mut World) -> Result<String> {
    let outside = Namespace::create("outside")?;
    world.of_box.ip(&[
        "link",
        "add",
        "name",
        "other0",
        "type",
        "veth",
        "peer",
        "name",
        CARD,
        "netns",
        &outside.path(),
    ])?;
    world.of_box.ip(&["address", "add", "10.88.0.1/24", "dev", "other0"])?;
    world.of_box.ip(&["link", "set", "other0", "up"])?;
    outside.ip(&["link", "set", CARD, "up"])?;
    let client = Dhcp::new(outside.run(|| Wire::open(CARD))??);
    let mac = [2, 0x77, 0, 0, 4, 5];
    let mark = world.mark()?;
    for firmware in [Firmware::BiosPxe, Firmware::UefiHttp, Firmware::Linux] {
        client.say(&client.discover(firmware, mac))?;
    }
    // A whole exchange on the other wire takes longer than an answer here would have.
    for _ in 0..3 {
        world.honest_client()?;
    }
    let heard = client.wire.receive(std::time::Instant::now() + Duration::from_millis(50))?;
    ensure!(heard.is_none(), "an answer on an interface that is not named: {heard:?}");
    let event = world.events(mark)?.into_iter().find(|event| event.mac.contains(&mac_text(mac)));
    ensure!(event.is_none(), "it was heard: {event:?}");
    outside.ip(&["address", "add", "10.88.0.2/24", "dev", CARD])?;
    let refused = outside.output("timeout", &["3", "curl", "-sS", "http://10.88.0.1/boot/ipxe/undionly.kpxe"]);
    ensure!(refused.is_err(), "boot files by HTTP on an interface that is not named");
    world.of_box.ip(&["link", "del", "other0"]).context("other0")?;
    Ok(String::new())
}
