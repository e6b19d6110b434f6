//! Whatever is asked for in whatever order, what must not be is not.

use crate::address::{Ask, Asked, ClientKey, Offers, Pool, Subnet as Cidr, Verdict, decide_lease};
use crate::command::{Actor, Answer, Command, Context, NodeStart};
use crate::decide::decide;
use crate::id::{JobId, NetworkId, NodeId, PortId, SubnetId, TenantPortId, TrunkId};
use crate::job::JobInput;
use crate::mac::Mac;
use crate::network::{
    About, Allocation, FixedAddress, NetworkCommand, NetworkRow, NetworkSettings, Quota, SubnetSettings, Subport,
    TenantPortSettings, TrunkSettings, WantedAddress, default_pools, tenant_address, vifs_of,
};
use crate::node::{Node, NodeSettings};
use crate::port::PortSettings;
use crate::provision::{ProvisionState, Verb};
use crate::refusal::Refusal;
use crate::view::{Change, View};
use jiff::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use uuid::Uuid;

const NET: NetworkId = NetworkId(Uuid::from_u128(1));
const SUBNET: SubnetId = SubnetId(Uuid::from_u128(2));

fn give(view: &mut View, command: Command) -> Result<Answer, Refusal> {
    let context = Context { actor: Actor::System("test"), now: Timestamp::UNIX_EPOCH };
    let decision = decide(view, &command, &context)?;
    for change in &decision.changes {
        view.apply(change);
    }
    Ok(decision.answer)
}

fn net(view: &mut View, command: NetworkCommand) -> Result<Answer, Refusal> {
    give(view, Command::Network(command))
}

fn of(project: &str) -> About {
    About { project: project.into(), ..About::default() }
}

fn network(id: NetworkId) -> NetworkCommand {
    let settings = NetworkSettings { about: of("p"), ..NetworkSettings::default() };
    NetworkCommand::CreateNetwork { id, settings: Box::new(settings), limit: -1 }
}

fn subnet_settings(cidr: &str) -> SubnetSettings {
    let cidr: Cidr = cidr.parse().expect("a network");
    let gateway = Some(Ipv4Addr::from(u32::from(cidr.address()) + 1));
    let pools = default_pools(cidr, gateway);
    SubnetSettings { about: of("p"), network: NET, cidr, gateway, pools, dhcp: true, dns: vec![], routes: vec![] }
}

fn subnet(number: u128, cidr: &str) -> NetworkCommand {
    let id = SubnetId(Uuid::from_u128(number));
    NetworkCommand::CreateSubnet { id, settings: Box::new(subnet_settings(cidr)), limit: -1 }
}

fn port_settings(number: u128) -> TenantPortSettings {
    let [.., a, b] = number.to_be_bytes();
    TenantPortSettings {
        about: of("p"),
        network: NET,
        mac: Mac([2, 0, 0, 1, a, b]),
        admin_state_up: true,
        addresses: vec![],
        device_id: String::new(),
        device_owner: String::new(),
        host: String::new(),
        vnic_type: "normal".into(),
        profile: serde_json::Map::new(),
        attached: None,
    }
}

fn port(number: u128, addresses: Allocation, limit: i64) -> NetworkCommand {
    let id = TenantPortId(Uuid::from_u128(number));
    NetworkCommand::CreatePort { id, settings: Box::new(port_settings(number)), addresses, limit }
}

fn row(answer: Answer) -> NetworkRow {
    match answer {
        Answer::Network(row) => row,
        other => unreachable!("{other:?}"),
    }
}

fn rack() -> View {
    let mut view = View::default();
    net(&mut view, network(NET)).expect("a network");
    net(&mut view, subnet(2, "10.0.0.0/28")).expect("a subnet");
    view
}

/// A deployed node with so many network cards.
fn node(view: &mut View, number: u128, cards: u8) -> NodeId {
    let id = NodeId(Uuid::from_u128(number));
    let settings = NodeSettings { driver: "ipmi".into(), ..NodeSettings::default() };
    let create = Command::CreateNode { id, settings: Box::new(settings), start: NodeStart::default() };
    give(view, create).expect("a node");
    for card in 0..cards {
        let settings = PortSettings {
            address: Mac([0x52, 0x54, 0, 0, u8::try_from(number & 0xff).expect("small"), card]),
            ..PortSettings::new(id, Mac([0; 6]))
        };
        let port = PortId(Uuid::from_u128(number << 32 | u128::from(card)));
        give(view, Command::CreatePort { id: port, settings: Box::new(settings) }).expect("a card");
    }
    let at = view.node(id).expect("there");
    let active = Node { provision_state: ProvisionState::Active, ..(**at).clone() };
    view.apply(&Change::PutNode(Arc::new(active)));
    id
}

fn attach(node: NodeId, number: u128) -> NetworkCommand {
    NetworkCommand::Attach { node, port: TenantPortId(Uuid::from_u128(number)), place: None }
}

#[test]
fn subnets_of_one_network_do_not_overlap() {
    let mut view = rack();
    for bad in ["10.0.0.0/28", "10.0.0.8/29", "10.0.0.0/24", "10.0.0.0/8"] {
        let refused = net(&mut view, subnet(3, bad));
        assert!(matches!(refused, Err(Refusal::Invalid(why)) if why.contains("overlaps")), "{bad}");
    }
    net(&mut view, subnet(3, "10.0.0.16/28")).expect("beside it");
    let other = NetworkId(Uuid::from_u128(9));
    net(&mut view, network(other)).expect("another network");
    let settings = SubnetSettings { network: other, ..subnet_settings("10.0.0.0/28") };
    let same =
        NetworkCommand::CreateSubnet { id: SubnetId(Uuid::from_u128(4)), settings: Box::new(settings), limit: -1 };
    net(&mut view, same).expect("of another network");
}

#[test]
fn what_is_in_use_stays() {
    let mut view = rack();
    net(&mut view, port(5, Allocation::Usual, -1)).expect("a port");
    assert!(matches!(net(&mut view, NetworkCommand::DeleteNetwork { id: NET }), Err(Refusal::InUse(_))));
    assert!(matches!(net(&mut view, NetworkCommand::DeleteSubnet { id: SUBNET }), Err(Refusal::InUse(_))));
    let taken =
        SubnetSettings { gateway: Some(Ipv4Addr::new(10, 0, 0, 2)), pools: vec![], ..subnet_settings("10.0.0.0/28") };
    let change = NetworkCommand::ChangeSubnet { id: SUBNET, revision: 0, settings: Box::new(taken) };
    assert!(matches!(net(&mut view, change), Err(Refusal::InUse(_))));
    net(&mut view, NetworkCommand::DeletePort { id: TenantPortId(Uuid::from_u128(5)) }).expect("gone");
    net(&mut view, NetworkCommand::DeleteNetwork { id: NET }).expect("gone");
    assert!(view.network.subnet(SUBNET).is_none(), "its subnets go with it");
}

#[test]
fn quotas_are_kept_whoever_asks_first() {
    let mut view = rack();
    net(&mut view, port(5, Allocation::Usual, 1)).expect("the first");
    assert!(matches!(net(&mut view, port(6, Allocation::Usual, 1)), Err(Refusal::InUse(why)) if why.contains("Quota")));
    let more = Quota { project: "p".into(), ports: Some(2), ..Quota::default() };
    net(&mut view, NetworkCommand::SetQuota(more)).expect("set");
    net(&mut view, port(6, Allocation::Usual, 1)).expect("the second");
    net(&mut view, NetworkCommand::ResetQuota { project: "p".into() }).expect("reset");
    assert!(net(&mut view, port(7, Allocation::Usual, 1)).is_err());
}

#[test]
fn a_change_based_on_an_old_revision_is_refused() {
    let mut view = rack();
    let settings = Box::new(NetworkSettings { about: of("p"), mtu: 9000, ..NetworkSettings::default() });
    let change = NetworkCommand::ChangeNetwork { id: NET, revision: 0, settings };
    net(&mut view, change.clone()).expect("changed");
    assert!(matches!(net(&mut view, change), Err(Refusal::Conflict { .. })));
    let settings = Box::new(NetworkSettings { about: of("thief"), ..NetworkSettings::default() });
    let change = NetworkCommand::ChangeNetwork { id: NET, revision: 1, settings };
    assert!(matches!(net(&mut view, change), Err(Refusal::Invalid(_))), "a project cannot be taken over");
}

#[test]
fn a_port_is_on_one_card_and_a_card_has_one_port() {
    let mut view = rack();
    let (one, two) = (node(&mut view, 0x11, 1), node(&mut view, 0x12, 2));
    for number in 5..8 {
        net(&mut view, port(number, Allocation::Usual, -1)).expect("a port");
    }
    net(&mut view, attach(one, 5)).expect("attached");
    assert!(matches!(net(&mut view, attach(one, 5)), Err(Refusal::InUse(_))), "twice");
    assert!(matches!(net(&mut view, attach(two, 5)), Err(Refusal::InUse(_))), "to another node");
    assert!(matches!(net(&mut view, attach(one, 6)), Err(Refusal::Invalid(why)) if why.contains("free physical")));
    assert!(matches!(net(&mut view, attach(two, 99)), Err(Refusal::Invalid(why)) if why.contains("not found")));
    let card = Command::DeletePort { id: PortId(Uuid::from_u128(0x11 << 32)) };
    assert!(matches!(give(&mut view, card), Err(Refusal::InUse(why)) if why.contains("bound to VIF")));
    net(&mut view, attach(two, 6)).expect("attached");
    net(&mut view, attach(two, 7)).expect("attached");
    assert_eq!(vifs_of(&view, two).count(), 2);
    let detach = |node, number| NetworkCommand::Detach { node, port: TenantPortId(Uuid::from_u128(number)) };
    assert!(matches!(net(&mut view, detach(two, 5)), Err(Refusal::Invalid(_))), "another's");
    net(&mut view, detach(one, 5)).expect("detached");
    assert!(net(&mut view, detach(one, 5)).is_err());
    net(&mut view, attach(one, 5)).expect("again");
}

#[test]
fn a_machine_has_the_address_of_its_network_while_it_is_its_users() {
    let mut view = rack();
    let one = node(&mut view, 0x11, 1);
    let mac = Mac([0x52, 0x54, 0, 0, 0x11, 0]);
    let wire: Cidr = "10.0.0.0/24".parse().expect("a network");
    let wanted = Ipv4Addr::new(10, 0, 0, 7);
    let exactly = Allocation::Wanted(vec![WantedAddress::Exactly(None, wanted)]);
    let made = row(net(&mut view, port(5, exactly, -1)).expect("a port"));
    let NetworkRow::Port(made) = made else { unreachable!() };
    assert_eq!(made.settings.addresses, [FixedAddress { subnet: SUBNET, address: wanted }]);
    assert_eq!(tenant_address(&view, mac, wire), None, "not attached");
    net(&mut view, attach(one, 5)).expect("attached");
    assert_eq!(tenant_address(&view, mac, wire), Some(wanted));
    assert_eq!(tenant_address(&view, mac, "10.9.0.0/24".parse().expect("a network")), None, "another wire");
    assert!(
        crate::network::is_anothers(&view, wanted, Mac([2; 6]), wire)
            && !crate::network::is_anothers(&view, wanted, mac, wire)
    );
    let active = view.node(one).expect("there").clone();
    for (state, its_own) in [
        (ProvisionState::Rescue, true),
        (ProvisionState::RescueFailed, false),
        (ProvisionState::ServiceFailed, false),
        (ProvisionState::Active, true),
    ] {
        view.apply(&Change::PutNode(Arc::new(Node { provision_state: state, ..(*active).clone() })));
        assert_eq!(tenant_address(&view, mac, wire).is_some(), its_own, "{state:?}");
    }
    let job = JobId(Uuid::from_u128(77));
    let input = Box::new(JobInput::default());
    give(&mut view, Command::Provision { node: one, verb: Verb::Undeploy, job, input }).expect("begun");
    assert_eq!(tenant_address(&view, mac, wire), None, "given back");
    assert_eq!(vifs_of(&view, one).count(), 0);
    let left = view.network.port(TenantPortId(Uuid::from_u128(5))).expect("the port itself stays");
    assert_eq!((left.settings.attached, left.settings.host.as_str()), (None, ""));
}

#[test]
fn a_port_is_of_one_trunk_and_a_tag_is_one_network() {
    let mut view = rack();
    for number in 5..9 {
        net(&mut view, port(number, Allocation::Usual, -1)).expect("a port");
    }
    let trunk = |own: u128, tagged: &[(u128, u16)]| {
        let subports =
            tagged.iter().map(|(port, tag)| Subport { port: TenantPortId(Uuid::from_u128(*port)), tag: *tag });
        let port = TenantPortId(Uuid::from_u128(own));
        Box::new(TrunkSettings { about: of("p"), port, admin_state_up: true, subports: subports.collect() })
    };
    let create = |id: u128, settings| NetworkCommand::CreateTrunk { id: TrunkId(Uuid::from_u128(id)), settings };
    for bad in
        [trunk(5, &[(5, 1)]), trunk(5, &[(6, 0)]), trunk(5, &[(6, 1), (7, 1)]), trunk(99, &[]), trunk(5, &[(99, 1)])]
    {
        assert!(net(&mut view, create(1, bad)).is_err());
    }
    net(&mut view, create(1, trunk(5, &[(6, 101)]))).expect("a trunk");
    for bad in [trunk(5, &[]), trunk(6, &[]), trunk(7, &[(6, 3)])] {
        assert!(matches!(net(&mut view, create(2, bad)), Err(Refusal::InUse(_))));
    }
    let gone = |number| NetworkCommand::DeletePort { id: TenantPortId(Uuid::from_u128(number)) };
    assert!(matches!(net(&mut view, gone(6)), Err(Refusal::InUse(_))));
    let id = TrunkId(Uuid::from_u128(1));
    let change = NetworkCommand::ChangeTrunk { id, revision: 0, settings: trunk(5, &[(7, 102)]) };
    net(&mut view, change).expect("another network");
    net(&mut view, gone(6)).expect("no longer of it");
    let one = node(&mut view, 0x11, 1);
    net(&mut view, attach(one, 5)).expect("attached");
    assert!(matches!(net(&mut view, NetworkCommand::DeleteTrunk { id }), Err(Refusal::InUse(_))));
    net(&mut view, NetworkCommand::Detach { node: one, port: TenantPortId(Uuid::from_u128(5)) }).expect("detached");
    net(&mut view, NetworkCommand::DeleteTrunk { id }).expect("gone");
    net(&mut view, gone(7)).expect("free again");
}

/// Asks for an address as DHCP does, and takes it.
fn lease(view: &mut View, mac: Mac, second: i64) -> Option<Ipv4Addr> {
    let pool = Pool {
        network: "10.0.0.0/24".parse().expect("a network"),
        server: Ipv4Addr::new(10, 0, 0, 1),
        first: Ipv4Addr::new(10, 0, 0, 128),
        last: Ipv4Addr::new(10, 0, 0, 254),
        router: None,
        dns: vec![],
        domain: None,
        lease_seconds: 3600,
        vlan: None,
        authoritative: false,
    };
    let now = Timestamp::from_second(second).expect("a time");
    let (mut offers, client) = (Offers::default(), ClientKey::Mac(mac));
    let mut ask = |view: &View, ask| decide_lease(&Asked { ask, client: &client, mac }, &pool, view, &mut offers, now);
    let Verdict::Offer { grant, .. } = ask(view, Ask::Discover { requested: None }) else { return None };
    let Verdict::Ack { grant, write } = ask(view, Ask::Select { server: pool.server, address: grant.address }) else {
        return None;
    };
    if let Some(binding) = write {
        give(view, Command::Bind(binding)).expect("bound");
    }
    Some(grant.address)
}

#[test]
fn dhcp_gives_the_networks_address_to_its_machine_and_to_no_other() {
    let mut view = rack();
    let one = node(&mut view, 0x11, 1);
    node(&mut view, 0x12, 1);
    let (mac, other) = (Mac([0x52, 0x54, 0, 0, 0x11, 0]), Mac([0x52, 0x54, 0, 0, 0x12, 0]));
    let pooled = lease(&mut view, mac, 1).expect("an address of the pool");
    assert!(pooled >= Ipv4Addr::new(10, 0, 0, 128));
    let wanted = Ipv4Addr::new(10, 0, 0, 7);
    net(&mut view, port(5, Allocation::Wanted(vec![WantedAddress::Exactly(None, wanted)]), -1)).expect("a port");
    net(&mut view, attach(one, 5)).expect("attached");
    assert_eq!(lease(&mut view, mac, 2), Some(wanted), "outside of the range that others get");
    assert_ne!(lease(&mut view, other, 3), Some(wanted));
    net(&mut view, NetworkCommand::Detach { node: one, port: TenantPortId(Uuid::from_u128(5)) }).expect("detached");
    let two = NodeId(Uuid::from_u128(0x12));
    net(&mut view, attach(two, 5)).expect("attached elsewhere");
    assert_ne!(lease(&mut view, other, 4), Some(wanted), "the first one still uses it");
    let idle = Node { provision_state: ProvisionState::Available, ..(**view.node(one).expect("there")).clone() };
    view.apply(&Change::PutNode(Arc::new(idle)));
    assert_eq!(lease(&mut view, other, 5), Some(wanted), "what the first one had is the second one's now");
    assert_ne!(lease(&mut view, mac, 6), Some(wanted));
}

#[test]
fn a_tenant_cannot_take_the_address_that_another_machine_uses() {
    let mut view = View::default();
    net(&mut view, network(NET)).expect("a network");
    net(&mut view, subnet(2, "10.0.0.0/24")).expect("a subnet, as large as the wire");
    node(&mut view, 0x11, 1);
    let thief = node(&mut view, 0x12, 1);
    let (mac, thiefs) = (Mac([0x52, 0x54, 0, 0, 0x11, 0]), Mac([0x52, 0x54, 0, 0, 0x12, 0]));
    let used = lease(&mut view, mac, 7).expect("an address");
    let wanted = Allocation::Wanted(vec![WantedAddress::Exactly(None, used)]);
    net(&mut view, port(5, wanted, -1)).expect("a port of his own network");
    net(&mut view, attach(thief, 5)).expect("attached");
    assert_ne!(lease(&mut view, thiefs, 8), Some(used));
    assert_eq!(lease(&mut view, mac, 9), Some(used), "its user keeps it");
}

#[derive(Clone, Debug)]
enum Step {
    Port(u8, Option<u8>),
    Move(u8, u8),
    Delete(u8),
    Attach(u8, u8),
    Detach(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<u8>(), proptest::option::of(0_u8..18)).prop_map(|(a, b)| Step::Port(a % 20, b)),
        2 => (0_u8..20, 0_u8..18).prop_map(|(a, b)| Step::Move(a, b)),
        2 => (0_u8..20).prop_map(Step::Delete),
        3 => (0_u8..2, 0_u8..20).prop_map(|(a, b)| Step::Attach(a, b)),
        2 => (0_u8..2, 0_u8..20).prop_map(|(a, b)| Step::Detach(a, b)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_address_and_no_card_has_two_ports(steps in proptest::collection::vec(step(), 0..80)) {
        let mut view = rack();
        let nodes = [node(&mut view, 0x11, 2), node(&mut view, 0x12, 1)];
        for step in steps {
            let id = |number: u8| TenantPortId(Uuid::from_u128(100 + u128::from(number)));
            let at = |last: u8| {
                Allocation::Wanted(vec![WantedAddress::Exactly(Some(SUBNET), Ipv4Addr::new(10, 0, 0, last))])
            };
            // Refused or not: what holds afterwards is what counts.
            let _ = match step {
                Step::Port(number, wanted) => {
                    let wanted = wanted.map_or(Allocation::Usual, at);
                    net(&mut view, port(100 + u128::from(number), wanted, -1))
                }
                Step::Move(number, last) => match view.network.port(id(number)).cloned() {
                    Some(port) => net(&mut view, NetworkCommand::ChangePort {
                        id: port.id,
                        revision: port.revision,
                        settings: Box::new(port.settings.clone()),
                        addresses: Some(at(last)),
                    }),
                    None => continue,
                },
                Step::Delete(number) => net(&mut view, NetworkCommand::DeletePort { id: id(number) }),
                Step::Attach(node, number) => net(&mut view, attach(nodes[usize::from(node)], 100 + u128::from(number))),
                Step::Detach(node, number) => {
                    net(&mut view, NetworkCommand::Detach { node: nodes[usize::from(node)], port: id(number) })
                }
            };
            let held: Vec<_> = view.network.ports().flat_map(|port| port.settings.addresses.clone()).collect();
            let distinct: BTreeSet<_> = held.iter().map(|fixed| fixed.address).collect();
            prop_assert_eq!(distinct.len(), held.len());
            prop_assert!(distinct.iter().all(|address| subnet_settings("10.0.0.0/28").is_usable(*address)));
            let places: Vec<_> = view.network.ports().filter_map(|port| port.settings.attached).collect();
            prop_assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), places.len());
            prop_assert!(nodes.iter().all(|node| vifs_of(&view, *node).count() <= 2));
            prop_assert_eq!(view.network.count("p", crate::network::Kind::Port), view.network.ports().count() as u64);
        }
    }
}
