//! The rules of RFC 2131 one by one, and the invariants of a pool under arbitrary clients.

use super::super::pool::tests::pool;
use super::*;
use crate::id::{NodeId, PortId};
use crate::port::{Port, PortSettings};
use crate::view::Change;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn mac(number: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, number])
}

fn enrol(view: &mut View, number: u8) {
    view.apply(&Change::PutPort(Arc::new(Port {
        id: PortId(Uuid::from_u128(u128::from(number) + 1)),
        revision: 0,
        settings: PortSettings::new(NodeId(Uuid::from_u128(u128::from(number) + 1)), mac(number)),
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: None,
    })));
}

/// A pool, what is on record, and the clock.
struct World {
    pool: Pool,
    view: View,
    offers: Offers,
    now: Timestamp,
}

impl World {
    fn new() -> World {
        World { pool: pool(), view: View::default(), offers: Offers::default(), now: Timestamp::UNIX_EPOCH }
    }

    fn ask_as(&mut self, client: &ClientKey, number: u8, ask: Ask) -> Verdict {
        let asked = Asked { ask, client, mac: mac(number) };
        decide_lease(&asked, &self.pool, &self.view, &mut self.offers, self.now)
    }

    fn ask(&mut self, number: u8, ask: Ask) -> Verdict {
        self.ask_as(&ClientKey::Mac(mac(number)), number, ask)
    }

    /// Writes what the verdict wants written.
    fn write(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Ack { write: Some(binding), .. } | Verdict::Declined(binding) => {
                self.view.apply(&Change::PutBinding(Arc::new(binding.clone())));
                self.offers.settled(binding.address);
            }
            Verdict::Released { unbind: Some(address) } => self.view.apply(&Change::DeleteBinding(*address)),
            _ => {}
        }
    }

    fn lease(&mut self, number: u8) -> Ipv4Addr {
        let Verdict::Offer { grant, .. } = self.ask(number, Ask::Discover { requested: None }) else {
            panic!("no offer")
        };
        let verdict = self.ask(number, Ask::Select { server: SERVER, address: grant.address });
        assert!(matches!(verdict, Verdict::Ack { .. }), "{verdict:?}");
        self.write(&verdict);
        grant.address
    }

    fn pass(&mut self, seconds: i64) {
        self.now = later(self.now, seconds);
    }
}

fn is_silent(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Silent { .. })
}

fn is_nak(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Nak { .. })
}

fn is_ack(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Ack { .. })
}

#[test]
fn a_client_gets_what_it_has_had_or_asks_for() {
    let mut world = World::new();
    let wished = Ipv4Addr::new(10, 0, 0, 150);
    let Verdict::Offer { grant, fresh } = world.ask(1, Ask::Discover { requested: Some(wished) }) else { panic!() };
    assert_eq!((grant, fresh), (Grant { address: wished, seconds: 3600 }, true));
    let again = world.ask(1, Ask::Discover { requested: None });
    assert!(matches!(again, Verdict::Offer { grant, .. } if grant.address == wished), "the offer stands");
    let verdict = world.ask(1, Ask::Select { server: SERVER, address: wished });
    world.write(&verdict);
    let taken = world.ask(2, Ask::Discover { requested: Some(wished) });
    assert!(matches!(taken, Verdict::Offer { grant, .. } if grant.address != wished));
    world.pass(4000);
    let back = world.ask(1, Ask::Discover { requested: Some(Ipv4Addr::new(10, 0, 0, 160)) });
    assert!(matches!(back, Verdict::Offer { grant, fresh: false } if grant.address == wished), "run out, still free");
}

#[test]
fn another_servers_offer_taken_frees_ours() {
    let mut world = World::new();
    let Verdict::Offer { grant, .. } = world.ask(1, Ask::Discover { requested: None }) else { panic!() };
    let verdict = world.ask(1, Ask::Select { server: OTHER, address: Ipv4Addr::new(10, 0, 0, 50) });
    assert_eq!(verdict, Verdict::OtherServer(OTHER));
    assert_eq!(world.offers.holder(grant.address, world.now), None);
}

#[test]
fn an_offer_forgotten_in_a_restart_is_still_honoured() {
    let mut world = World::new();
    let Verdict::Offer { grant, .. } = world.ask(1, Ask::Discover { requested: None }) else { panic!() };
    world.offers = Offers::default();
    assert!(is_ack(&world.ask(1, Ask::Select { server: SERVER, address: grant.address })));
    assert!(is_nak(&world.ask(2, Ask::Select { server: SERVER, address: grant.address })), "being written");
}

#[test]
fn a_client_cannot_collect_addresses() {
    let mut world = World::new();
    let first = world.lease(1);
    let another = if first == world.pool.first { world.pool.last } else { world.pool.first };
    assert!(is_nak(&world.ask(1, Ask::Select { server: SERVER, address: another })));
}

#[test]
fn nobody_gets_the_servers_or_an_outside_address() {
    let mut world = World::new();
    for address in [SERVER, OTHER, Ipv4Addr::new(10, 0, 0, 255), Ipv4Addr::new(10, 0, 0, 0), Ipv4Addr::new(8, 8, 8, 8)]
    {
        assert!(is_nak(&world.ask(1, Ask::Select { server: SERVER, address })), "{address}");
        let offer = world.ask(1, Ask::Discover { requested: Some(address) });
        assert!(matches!(offer, Verdict::Offer { grant, .. } if grant.address != address));
    }
}

#[test]
fn init_reboot() {
    let mut world = World::new();
    let address = world.lease(1);
    assert!(is_ack(&world.ask(1, Ask::Reboot { address })));
    assert!(is_nak(&world.ask(1, Ask::Reboot { address: Ipv4Addr::new(10, 0, 0, 7) })), "a record, another address");
    assert!(is_silent(&world.ask(2, Ask::Reboot { address })), "no record: silence, whatever the address");
    let elsewhere = Ipv4Addr::new(192, 168, 1, 5);
    assert!(is_silent(&world.ask(1, Ask::Reboot { address: elsewhere })), "not our network");
    world.pool.authoritative = true;
    assert!(is_nak(&world.ask(1, Ask::Reboot { address: elsewhere })));
}

#[test]
fn renew_and_rebind() {
    let mut world = World::new();
    let address = world.lease(1);
    world.pass(1800);
    let verdict = world.ask(1, Ask::Extend { address, unicast: true });
    let Verdict::Ack { grant, write: Some(binding) } = &verdict else { panic!("{verdict:?}") };
    assert_eq!((grant.seconds, binding.since), (3600, Timestamp::UNIX_EPOCH));
    assert_eq!(binding.expires, later(world.now, 4500), "on record for longer than it is told");
    world.write(&verdict);
    for (wait, written) in [(900, false), (1, true)] {
        world.pass(wait);
        let verdict = world.ask(1, Ask::Extend { address, unicast: true });
        let Verdict::Ack { grant, write } = &verdict else { panic!("{verdict:?}") };
        assert_eq!(
            (grant.seconds, write.is_some()),
            (3600, written),
            "written only when the record ends before the grant"
        );
        world.write(&verdict);
    }
    assert!(is_nak(&world.ask(2, Ask::Extend { address, unicast: false })), "somebody else's");
    let free = if address == world.pool.first { world.pool.last } else { world.pool.first };
    assert!(is_nak(&world.ask(2, Ask::Extend { address: free, unicast: true })), "asked of us, and we know nothing");
    assert!(is_silent(&world.ask(2, Ask::Extend { address: free, unicast: false })), "another server may know");
    assert!(is_silent(&world.ask(1, Ask::Extend { address: Ipv4Addr::new(10, 1, 0, 5), unicast: true })));
}

#[test]
fn a_known_machine_keeps_its_address_and_costs_no_write() {
    let mut world = World::new();
    enrol(&mut world.view, 1);
    let address = world.lease(1);
    for _ in 0..20 {
        world.pass(1800);
        let verdict = world.ask(1, Ask::Extend { address, unicast: true });
        assert_eq!(verdict, Verdict::Ack { grant: Grant { address, seconds: 3600 }, write: None });
    }
    assert_eq!(world.ask(1, Ask::Release { server: Some(SERVER), address }), Verdict::Released { unbind: None });
    world.pass(365 * 24 * 3600);
    world.pool.first = address;
    world.pool.last = address;
    assert!(is_silent(&world.ask(2, Ask::Discover { requested: Some(address) })), "reserved although long run out");
    world.pass(10);
    let Verdict::Offer { grant, .. } = world.ask(1, Ask::Discover { requested: None }) else { panic!() };
    assert_eq!(grant.address, address);
    let verdict = world.ask(1, Ask::Select { server: SERVER, address });
    assert!(matches!(verdict, Verdict::Ack { write: Some(_), .. }), "near its end it is written again");
}

#[test]
fn a_machine_that_is_enrolled_meanwhile_goes_on() {
    let mut world = World::new();
    let as_unknown = ClientKey::of(mac(1), Some(b"\xffduid"), false);
    let Verdict::Offer { grant, .. } = world.ask_as(&as_unknown, 1, Ask::Discover { requested: None }) else {
        panic!()
    };
    let verdict = world.ask_as(&as_unknown, 1, Ask::Select { server: SERVER, address: grant.address });
    world.write(&verdict);
    enrol(&mut world.view, 1);
    world.pass(1800);
    let as_known = ClientKey::of(mac(1), Some(b"\xffduid"), true);
    let verdict = world.ask_as(&as_known, 1, Ask::Extend { address: grant.address, unicast: true });
    assert!(matches!(verdict, Verdict::Ack { write: Some(_), .. }), "{verdict:?}");
}

#[test]
fn decline_and_release() {
    let mut world = World::new();
    let address = world.lease(1);
    assert!(is_silent(&world.ask(2, Ask::Decline { server: Some(SERVER), address })), "not its address");
    assert!(is_silent(&world.ask(2, Ask::Release { server: Some(SERVER), address })));
    let verdict = world.ask(1, Ask::Decline { server: Some(SERVER), address });
    assert!(matches!(verdict, Verdict::Declined(_)));
    world.write(&verdict);
    for number in [1, 2] {
        let offer = world.ask(number, Ask::Discover { requested: Some(address) });
        assert!(matches!(offer, Verdict::Offer { grant, .. } if grant.address != address));
    }
    world.pass(DECLINED_SECONDS);
    let offer = world.ask(2, Ask::Discover { requested: Some(address) });
    assert!(matches!(offer, Verdict::Offer { .. }), "out of use for a time only");

    let mut world = World::new();
    let address = world.lease(1);
    let verdict = world.ask(1, Ask::Release { server: Some(SERVER), address });
    assert_eq!(verdict, Verdict::Released { unbind: Some(address) });
    world.write(&verdict);
    let offer = world.ask(2, Ask::Discover { requested: Some(address) });
    assert!(matches!(offer, Verdict::Offer { grant, .. } if grant.address == address));
    assert_eq!(world.ask(3, Ask::Release { server: Some(OTHER), address }), Verdict::OtherServer(OTHER));
}

#[test]
fn an_empty_pool_says_so() {
    let mut world = World::new();
    world.pool.last = world.pool.first;
    world.lease(1);
    let Verdict::Silent { why } = world.ask(2, Ask::Discover { requested: None }) else { panic!() };
    assert!(why.contains("widen the range"), "{why}");
}

#[test]
fn inform_is_answered_on_its_own_network_only() {
    let mut world = World::new();
    assert_eq!(world.ask(1, Ask::Inform { address: Ipv4Addr::new(10, 0, 0, 9) }), Verdict::Inform);
    assert!(is_silent(&world.ask(1, Ask::Inform { address: Ipv4Addr::new(10, 1, 0, 9) })));
}

#[test]
fn the_four_kinds_of_request() {
    let (none, address) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 0, 0, 9));
    let table = [
        (none, Some(address), Some(SERVER), Ok(Ask::Select { server: SERVER, address })),
        (none, Some(address), None, Ok(Ask::Reboot { address })),
        (address, None, None, Ok(Ask::Extend { address, unicast: true })),
        (address, Some(OTHER), None, Ok(Ask::Extend { address, unicast: true })),
        (none, None, None, Err("it names no address")),
        (none, None, Some(SERVER), Err("it names no address")),
    ];
    for (ciaddr, requested, server, meaning) in table {
        assert_eq!(Ask::request(ciaddr, requested, server, true), meaning, "{ciaddr} {requested:?} {server:?}");
    }
}

/// One thing that happens in the property test below.
#[derive(Clone, Debug)]
enum Happening {
    Boot { client: u8, wish: Option<u8> },
    SelectAnything { client: u8, host: u8 },
    Extend { client: u8, unicast: bool },
    Reboot { client: u8 },
    Release { client: u8 },
    Decline { client: u8 },
    Pass(u16),
    Restart,
    WriteOldest,
}

fn happening() -> impl Strategy<Value = Happening> {
    let client = 0_u8..10;
    prop_oneof![
        6 => (client.clone(), proptest::option::of(0_u8..12)).prop_map(|(client, wish)| Happening::Boot { client, wish }),
        2 => (client.clone(), 0_u8..12).prop_map(|(client, host)| Happening::SelectAnything { client, host }),
        3 => (client.clone(), any::<bool>()).prop_map(|(client, unicast)| Happening::Extend { client, unicast }),
        2 => client.clone().prop_map(|client| Happening::Reboot { client }),
        2 => client.clone().prop_map(|client| Happening::Release { client }),
        1 => client.prop_map(|client| Happening::Decline { client }),
        2 => (0_u16..200).prop_map(Happening::Pass),
        1 => Just(Happening::Restart),
        4 => Just(Happening::WriteOldest),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Clients 0 to 2 are known. What is acknowledged counts from the moment its write is done, which may be later than
    /// other decisions; a restart forgets offers after all writes are done. A client that hears of a grant uses the
    /// address until the grant ends, it releases or declines it, or is refused.
    #[test]
    fn no_two_clients_ever_use_one_address(story in proptest::collection::vec(happening(), 1..120)) {
        let mut world = World::new();
        world.pool.lease_seconds = 300;
        world.pool.first = Ipv4Addr::new(10, 0, 0, 0);
        world.pool.last = Ipv4Addr::new(10, 0, 0, 8);
        for known in 0..3 {
            enrol(&mut world.view, known);
        }
        let mut users: BTreeMap<u8, (Ipv4Addr, Timestamp)> = BTreeMap::new();
        let mut pending: Vec<(u8, Verdict)> = Vec::new();
        let address = |host: u8| Ipv4Addr::new(10, 0, 0, host);

        for step in story {
            let mut asked = None;
            match step {
                Happening::Boot { client, wish } => {
                    let offer = world.ask(client, Ask::Discover { requested: wish.map(address) });
                    if let Verdict::Offer { grant, .. } = offer {
                        users.remove(&client);
                        asked = Some((client, Ask::Select { server: SERVER, address: grant.address }));
                    }
                }
                Happening::SelectAnything { client, host } => {
                    asked = Some((client, Ask::Select { server: SERVER, address: address(host) }));
                }
                Happening::Extend { client, unicast } => {
                    asked = users.get(&client).map(|(address, _)| (client, Ask::Extend { address: *address, unicast }));
                }
                Happening::Reboot { client } => {
                    asked = users.get(&client).map(|(address, _)| (client, Ask::Reboot { address: *address }));
                }
                Happening::Release { client } => {
                    asked = users.remove(&client)
                        .map(|(address, _)| (client, Ask::Release { server: Some(SERVER), address }));
                }
                Happening::Decline { client } => {
                    asked = users.remove(&client)
                        .map(|(address, _)| (client, Ask::Decline { server: Some(SERVER), address }));
                }
                // Writes take well under an offer's time.
                Happening::Pass(seconds) => {
                    for (client, verdict) in pending.drain(..) {
                        settle(&mut world, &mut users, client, &verdict);
                    }
                    world.pass(i64::from(seconds));
                }
                Happening::Restart => {
                    for (client, verdict) in pending.drain(..) {
                        settle(&mut world, &mut users, client, &verdict);
                    }
                    world.offers = Offers::default();
                }
                Happening::WriteOldest => {
                    if !pending.is_empty() {
                        let (client, verdict) = pending.remove(0);
                        settle(&mut world, &mut users, client, &verdict);
                    }
                }
            }
            // As the server does it: while something is being written for a client, it is not heard again.
            if let Some((client, ask)) = asked.filter(|(client, _)| pending.iter().all(|(busy, _)| busy != client)) {
                let verdict = world.ask(client, ask);
                if is_nak(&verdict) {
                    users.remove(&client);
                }
                pending.push((client, verdict));
            }
            let now = world.now;
            users.retain(|_, (_, until)| now < *until);
            let mut seen = BTreeMap::new();
            for (client, (address, _)) in &users {
                prop_assert!(world.pool.gives(*address), "{address}");
                if let Some(other) = seen.insert(*address, *client) {
                    prop_assert!(false, "{address} is used by {other} and {client}");
                }
            }
        }
    }
}

fn settle(world: &mut World, users: &mut BTreeMap<u8, (Ipv4Addr, Timestamp)>, client: u8, verdict: &Verdict) {
    world.write(verdict);
    if let Verdict::Ack { grant, .. } = verdict {
        users.insert(client, (grant.address, later(world.now, i64::from(grant.seconds))));
    }
}
