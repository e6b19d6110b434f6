//! Messages as firmware sends them, and what follows from each.

use super::super::config::tests::config;
use super::*;
use leasehold_domain::id::{JobId, NodeId, PortId};
use leasehold_domain::job::{JOB_VERSION, Job, JobInput, JobKind, JobState, StepName, StepRecord, StepState, plan};
use leasehold_domain::node::{Node, NodeSettings};
use leasehold_domain::port::{Port, PortSettings};
use leasehold_domain::view::Change;
use leasehold_protocols::dhcp::ServerMessage;
use leasehold_protocols::dhcp::client::{ClientMessage, Firmware};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);

/// A machine with a port; `deploying`: a job waits for its agent.
fn known(deploying: bool) -> View {
    let mut view = View::default();
    let id = NodeId(uuid(1));
    let settings = NodeSettings { name: Some("n1".into()), ..NodeSettings::default() };
    let mut node = Node::enrolled(id, settings, Timestamp::UNIX_EPOCH);
    if deploying {
        let step = |name| StepRecord {
            name,
            state: if name == StepName::PowerCycle { StepState::Running } else { StepState::Pending },
            attempts: 0,
            started_at: None,
            ended_at: None,
            deadline: None,
            detail: None,
        };
        node.job = Some(JobId(uuid(2)));
        view.apply(&Change::PutJob(Arc::new(Job {
            id: JobId(uuid(2)),
            node: id,
            kind: JobKind::Deploy,
            version: JOB_VERSION,
            generation: 1,
            boots: 1,
            state: JobState::Running,
            steps: plan(JobKind::Deploy, true).into_iter().map(step).collect(),
            input: JobInput::default(),
            actor: "test".into(),
            created_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
        })));
    }
    view.apply(&Change::PutNode(Arc::new(node)));
    view.apply(&Change::PutPort(Arc::new(Port {
        id: PortId(uuid(3)),
        revision: 0,
        settings: PortSettings::new(id, Mac(MAC)),
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: None,
    })));
    view
}

fn uuid(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(number)
}

struct World {
    config: BootConfig,
    view: View,
    offers: Offers,
    now: Timestamp,
}

impl World {
    fn new(view: View) -> World {
        World { config: config("eth0", &[1, 2]), view, offers: Offers::default(), now: Timestamp::UNIX_EPOCH }
    }

    fn hear(&mut self, message: &ClientMessage, arrival: Arrival) -> Outcome {
        let request = Request::decode(&message.encode()).expect("a sound message");
        handle(&request, arrival, &self.config, &self.view, &mut self.offers, self.now)
    }

    fn broadcast(&mut self, message: &ClientMessage) -> Outcome {
        self.hear(message, Arrival::default())
    }

    /// Writes what is to be written first.
    fn carry_out(&mut self, outcome: &Outcome) {
        match written(outcome) {
            Some(Command::Bind(binding)) => {
                self.view.apply(&Change::PutBinding(Arc::new(binding.clone())));
                self.offers.settled(binding.address);
            }
            Some(Command::Unbind { address }) => self.view.apply(&Change::DeleteBinding(*address)),
            _ => {}
        }
    }

    /// DISCOVER and REQUEST; the address.
    fn lease(&mut self, message: &ClientMessage) -> Ipv4Addr {
        let offer = read(answer(&self.broadcast(message)));
        let outcome = self.broadcast(&message.select(SERVER, offer.yiaddr));
        self.carry_out(&outcome);
        assert_eq!(read(answer(&outcome)).message_type, 5);
        offer.yiaddr
    }
}

fn written(outcome: &Outcome) -> Option<&Command> {
    match &outcome.action {
        Action::Commit(write) => Some(&write.command),
        _ => None,
    }
}

fn some_answer(outcome: &Outcome) -> Option<&Answer> {
    match &outcome.action {
        Action::Send(answer) | Action::Probe { answer, .. } => Some(answer),
        Action::Commit(write) => write.answer.as_ref(),
        Action::Nothing => None,
    }
}

fn answer(outcome: &Outcome) -> &Answer {
    some_answer(outcome).unwrap_or_else(|| panic!("no answer: {:?}, {:?}", outcome.action, outcome.events))
}

fn read(answer: &Answer) -> ServerMessage {
    ServerMessage::decode(&answer.bytes).expect("a sound answer")
}

fn ignored(outcome: &Outcome) -> &str {
    assert!(matches!(outcome.action, Action::Nothing), "{:?}", outcome.action);
    match outcome.events.last().map(|event| &event.what) {
        Some(BootWhat::DhcpIgnored { why }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_firmware_of_a_deploying_node_gets_its_boot_file() {
    let script = "http://10.0.1.1/boot/script/52:54:00:12:34:56";
    let table = [
        (Firmware::BiosPxe, Some("ipxe/undionly.kpxe")),
        (Firmware::IpxeBios, Some(script)),
        (Firmware::UefiPxe, Some("ipxe/x86_64/snponly.efi")),
        (Firmware::UefiHttp, Some("http://10.0.1.1/boot/files/ipxe/x86_64/snponly.efi")),
        (Firmware::IpxeUefi, Some(script)),
        (Firmware::Arm64Pxe, None),
        (Firmware::Linux, None),
    ];
    for (firmware, file) in table {
        let mut world = World::new(known(true));
        let message = ClientMessage::discover(firmware, MAC, 5);
        let outcome = world.broadcast(&message);
        let offer = read(answer(&outcome));
        assert_eq!(String::from_utf8_lossy(&offer.boot_file), file.unwrap_or(""), "{firmware:?}");
        assert_eq!((offer.message_type, offer.xid, offer.mac, offer.server), (2, 5, MAC, SERVER));
        let acknowledged = world.broadcast(&message.select(SERVER, offer.yiaddr));
        let ack = read(answer(&acknowledged));
        assert_eq!((ack.message_type, ack.yiaddr, &ack.boot_file), (5, offer.yiaddr, &offer.boot_file));
        assert!(matches!(acknowledged.action, Action::Commit(_)), "durable before it is said");
    }
}

#[test]
fn the_trace_tells_what_boots_and_why_not() {
    let told = |view, firmware| {
        let outcome = World::new(view).broadcast(&ClientMessage::discover(firmware, MAC, 5));
        let BootWhat::DhcpDiscover { arch, class } = outcome.events[0].what.clone() else { panic!() };
        let BootWhat::DhcpOffer { note, .. } = answer(&outcome).event.what.clone() else { panic!() };
        (arch, class, note.unwrap_or_default())
    };
    let (arch, class, note) = told(known(true), Firmware::Arm64Pxe);
    assert_eq!((arch.as_str(), class.as_str()), ("PXE, 64-bit ARM UEFI", "PXEClient:Arch:00011:UNDI:003001"));
    assert!(note.starts_with("there is no boot loader for 64-bit ARM UEFI"), "{note}");
    for firmware in [Firmware::BiosPxe, Firmware::UefiPxe] {
        let (_, _, note) = told(known(false), firmware);
        assert_eq!(note, "node n1 has no job that wants it to boot from the network; it goes on to its disk");
    }
    let (_, _, note) = told(View::default(), Firmware::UefiPxe);
    assert_eq!(note, "no node has a port 52:54:00:12:34:56: create the port to enrol it");
    let (arch, _, note) = told(View::default(), Firmware::Linux);
    assert_eq!((arch.as_str(), note.as_str()), ("no boot client", ""));
}

#[test]
fn a_node_keeps_one_address_through_all_its_loaders_without_a_write() {
    let mut world = World::new(known(true));
    let address = world.lease(&ClientMessage::discover(Firmware::UefiPxe, MAC, 1));
    for (xid, firmware) in [(2, Firmware::IpxeUefi), (3, Firmware::Linux), (4, Firmware::UefiHttp)] {
        let message = ClientMessage::discover(firmware, MAC, xid);
        assert_eq!(read(answer(&world.broadcast(&message))).yiaddr, address, "{firmware:?}");
        let outcome = world.broadcast(&message.select(SERVER, address));
        assert!(matches!(outcome.action, Action::Send(_)), "{:?}", outcome.action);
    }
}

#[test]
fn machines_that_are_nobodys_node_can_be_left_alone() {
    let discover = ClientMessage::discover(Firmware::Linux, MAC, 1);
    let mut strangers = World::new(View::default());
    strangers.config.unknown_machines = false;
    assert!(ignored(&strangers.broadcast(&discover)).contains("nobody's node"));
    let mut nodes = World::new(known(false));
    nodes.config.unknown_machines = false;
    assert!(some_answer(&nodes.broadcast(&discover)).is_some());
}

#[test]
fn answers_go_the_way_of_the_rfc() {
    let mut world = World::new(View::default());
    let unicast = ClientMessage::discover(Firmware::IpxeBios, MAC, 1);
    let address = read(answer(&world.broadcast(&unicast))).yiaddr;
    assert_eq!(answer(&world.broadcast(&unicast)).destination, Destination::Hardware { mac: MAC, address });
    let flagged = ClientMessage::discover(Firmware::UefiPxe, MAC, 1);
    assert_eq!(answer(&world.broadcast(&flagged)).destination, Destination::Broadcast);

    let mut relayed = ClientMessage::discover(Firmware::IpxeBios, MAC, 1);
    relayed.giaddr = Ipv4Addr::new(10, 0, 2, 254);
    let outcome = world.hear(&relayed, Arrival { vlan: None, unicast: true });
    let reply = answer(&outcome);
    assert_eq!((reply.destination, reply.on_wire), (Destination::Relay(relayed.giaddr), false));
    assert_eq!(read(reply).yiaddr.octets()[..3], [10, 0, 2]);
    relayed.giaddr = Ipv4Addr::new(10, 0, 9, 254);
    let outcome = world.hear(&relayed, Arrival { vlan: None, unicast: true });
    assert!(ignored(&outcome).contains("no pool"));
}

#[test]
fn a_routed_client_renews_in_its_own_pool() {
    let mut world = World::new(View::default());
    let mut relayed = ClientMessage::discover(Firmware::Linux, MAC, 1);
    relayed.giaddr = Ipv4Addr::new(10, 0, 2, 254);
    let address = read(answer(&world.broadcast(&relayed))).yiaddr;
    let outcome = world.broadcast(&relayed.select(SERVER, address));
    world.carry_out(&outcome);
    let renew = ClientMessage::discover(Firmware::Linux, MAC, 2).renew(address);
    let outcome = world.hear(&renew, Arrival { vlan: None, unicast: true });
    let reply = answer(&outcome);
    assert_eq!((reply.destination, reply.on_wire), (Destination::Address(address), false));
    assert_eq!(read(reply).message_type, 5);
}

#[test]
fn a_tagged_network_is_one_of_its_own() {
    let mut world = World::new(View::default());
    let message = ClientMessage::discover(Firmware::Linux, MAC, 1);
    let tagged = Arrival { vlan: Some(7), unicast: false };
    assert!(ignored(&world.hear(&message, tagged)).contains("VLAN 7"));
    world.config.pools[1].vlan = Some(7);
    world.config.pools[1].server = Ipv4Addr::new(10, 0, 2, 1);
    let outcome = world.hear(&message, tagged);
    let reply = answer(&outcome);
    assert_eq!((reply.vlan, reply.server, read(reply).yiaddr.octets()[2]), (Some(7), Ipv4Addr::new(10, 0, 2, 1), 2));
}

#[test]
fn only_a_fresh_address_on_our_own_wire_is_probed() {
    let mut world = World::new(View::default());
    world.config.probe = Duration::from_millis(1);
    let message = ClientMessage::discover(Firmware::Linux, MAC, 1);
    let outcome = world.broadcast(&message);
    let Action::Probe { address, .. } = outcome.action else { panic!("{:?}", outcome.action) };
    world.offers.found_free(address, world.now);
    assert!(matches!(world.broadcast(&message).action, Action::Send(_)), "known to be free");
    world.lease(&message);
    world.now += jiff::SignedDuration::from_hours(1);
    assert!(matches!(world.broadcast(&message).action, Action::Send(_)), "its own address");
    let mut relayed = ClientMessage::discover(Firmware::Linux, [2, 0, 0, 0, 0, 1], 1);
    for relay in [Ipv4Addr::new(10, 0, 2, 254), Ipv4Addr::new(10, 0, 1, 254)] {
        relayed.giaddr = relay;
        assert!(matches!(world.broadcast(&relayed).action, Action::Send(_)), "ARP does not reach behind a relay");
    }
}

#[test]
fn refusals_are_heard_and_told() {
    let mut world = World::new(View::default());
    let message = ClientMessage::discover(Firmware::Linux, MAC, 1);
    let outcome = world.broadcast(&message.select(SERVER, Ipv4Addr::new(10, 0, 1, 1)));
    let reply = answer(&outcome);
    assert_eq!((read(reply).message_type, reply.destination), (6, Destination::Broadcast));
    assert!(matches!(&reply.event.what, BootWhat::DhcpNak { why } if why.contains("10.0.1.1")));

    let spoofed = Ipv4Addr::new(10, 0, 1, 66);
    let outcome = world.broadcast(&message.select(spoofed, Ipv4Addr::new(10, 0, 1, 150)));
    assert_eq!(outcome.other_server, Some(spoofed));
    assert!(ignored(&outcome).contains("10.0.1.66"));

    let mut empty = message.clone();
    empty.set(53, &[3]);
    assert!(ignored(&world.broadcast(&empty)).contains("names no address"));
    empty.set(53, &[4]);
    assert!(ignored(&world.broadcast(&empty)).contains("decline names no address"));
}

#[test]
fn decline_release_and_inform() {
    let mut world = World::new(View::default());
    let message = ClientMessage::discover(Firmware::Linux, MAC, 1);
    let address = world.lease(&message);
    let outcome = world.broadcast(&message.decline(SERVER, address));
    let Action::Commit(write) = &outcome.action else { panic!("{:?}", outcome.action) };
    assert!(matches!(write.command, Command::Bind(_)) && write.answer.is_none() && write.event.is_some());
    world.carry_out(&outcome);
    let second = world.lease(&message);
    assert_ne!(second, address);
    let outcome = world.hear(&message.release(SERVER, second), Arrival { vlan: None, unicast: true });
    assert!(matches!(written(&outcome), Some(Command::Unbind { address }) if *address == second));
    world.carry_out(&outcome);
    assert!(ignored(&world.broadcast(&message.release(SERVER, second))).contains("does not have"));

    let outcome = world.broadcast(&message.inform(Ipv4Addr::new(10, 0, 1, 9)));
    let reply = answer(&outcome);
    assert_eq!(reply.destination, Destination::Address(Ipv4Addr::new(10, 0, 1, 9)));
    let ack = read(reply);
    assert_eq!((ack.message_type, ack.yiaddr), (5, Ipv4Addr::UNSPECIFIED));
}

proptest! {
    /// Whatever arrives, the answer is sound and gives nothing outside the pools.
    #[test]
    fn mutated_messages_are_answered_soundly(
        firmware in prop_oneof![
            Just(Firmware::BiosPxe), Just(Firmware::IpxeBios), Just(Firmware::UefiPxe), Just(Firmware::UefiHttp),
            Just(Firmware::Linux),
        ],
        kind in 1_u8..=8,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        unicast: bool,
    ) {
        let mut message = ClientMessage::discover(firmware, MAC, 1);
        message.set(53, &[kind]);
        message.set(50, &[10, 0, 1, 120]);
        let mut bytes = message.encode();
        for (place, value) in edits {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let Ok(request) = Request::decode(&bytes) else { return Ok(()) };
        let mut world = World::new(known(true));
        let arrival = Arrival { vlan: None, unicast };
        let outcome = handle(&request, arrival, &world.config, &world.view, &mut world.offers, world.now);
        if let Some(answer) = some_answer(&outcome) {
            let read = read(answer);
            let given = read.yiaddr;
            prop_assert!(given.is_unspecified() || world.config.pools.iter().any(|pool| pool.gives(given)), "{given}");
            prop_assert_eq!((read.xid, read.mac), (request.xid, request.mac));
        }
    }
}
