//! Where a node's ports are put, and what is refused.

use super::*;
use jiff::Timestamp;
use leasehold_domain::command::{Actor, Command, Context};
use leasehold_domain::hardware::{HardwareCommand, SwitchPort};
use leasehold_domain::id::{NetworkId, NodeId, PortId, TenantPortId, TrunkId};
use leasehold_domain::mac::Mac;
use leasehold_domain::network::{
    About, Network, NetworkRow, NetworkSettings, Object, Place as Attachment, Subport, TenantPortSettings,
    TrunkSettings,
};
use leasehold_domain::node::{Node, NodeSettings};
use leasehold_domain::port::{Port, PortSettings};
use leasehold_domain::rows::Rows;
use leasehold_domain::view::Change;
use leasehold_domain::{View, decide};
use leasehold_drivers::switch::SwitchError;
use leasehold_drivers::switch::fake::FakeSwitch;
use serde_json::{Map, Value, json};
use uuid::Uuid;

const NODE: NodeId = NodeId(Uuid::from_u128(1));
const OTHER: NodeId = NodeId(Uuid::from_u128(2));

fn vlan(number: u16) -> Vlan {
    Vlan::new(number).expect("a VLAN")
}

/// The state in memory.
#[derive(Default)]
struct Memory(Mutex<View>);

impl Memory {
    fn apply(&self, change: &Change) {
        self.0.lock().expect("a lock").apply(change);
    }

    fn held(&self, card: u8) -> Option<SwitchPort> {
        let card = PortId(Uuid::from_u128(u128::from(card)));
        self.view().hardware.switch_ports.get(card).map(|held| held.body.clone())
    }
}

impl Notes for Memory {
    fn view(&self) -> Arc<View> {
        Arc::new(self.0.lock().expect("a lock").clone())
    }

    async fn note(&self, command: HardwareCommand) -> Result<(), NotNoted> {
        let context = Context { actor: Actor::System("switches"), now: Timestamp::UNIX_EPOCH };
        let decision = decide(&self.view(), &Command::Hardware(command), &context)?;
        decision.changes.iter().for_each(|change| self.apply(change));
        Ok(())
    }
}

/// `tor1` with ports n1 and n2, and `tor2` with n1, on other cabling; provisioning is 100, cleaning 101. `tor1` has more
/// ports than the configuration names.
struct Scene {
    view: Memory,
    switches: Switches,
    tor1: Arc<FakeSwitch>,
    tor2: Arc<FakeSwitch>,
}

impl Scene {
    fn new() -> Scene {
        let (tor1, tor2) = (Arc::new(FakeSwitch::new(["n1", "n2", "uplink"])), Arc::new(FakeSwitch::new(["n1"])));
        let known = |name: &str, id: Option<&str>, driver: Arc<FakeSwitch>| KnownSwitch {
            name: name.into(),
            id: id.map(str::to_owned),
            ports: ["n1", "n2"].map(str::to_owned).into(),
            physical_network: (name == "tor2").then(|| "other".to_owned()),
            idle: vlan(4000),
            provisioning: vlan(100),
            cleaning: vlan(101),
            driver,
        };
        let all = vec![
            known("tor1", Some("00:1b:21:00:00:01"), tor1.clone()),
            known("tor2", Some("00:1b:21:00:00:02"), tor2.clone()),
        ];
        Scene { view: Memory::default(), switches: Switches::new(all), tor1, tor2 }
    }

    fn node(&mut self, change: impl Fn(&mut Node)) {
        let mut node = Node::enrolled(
            NODE,
            NodeSettings { driver: "ipmi".into(), ..NodeSettings::default() },
            Timestamp::UNIX_EPOCH,
        );
        change(&mut node);
        self.view.apply(&Change::PutNode(Arc::new(node)));
    }

    fn card(&mut self, number: u8, node: NodeId, link: &Value, pxe_enabled: bool) {
        let mut settings = PortSettings::new(node, Mac([2, 0, 0, 0, 0, number]));
        settings.local_link_connection = link.as_object().cloned().unwrap_or_default();
        settings.pxe_enabled = pxe_enabled;
        let id = PortId(Uuid::from_u128(u128::from(number)));
        let port = Port { id, revision: 1, settings, created_at: Timestamp::UNIX_EPOCH, updated_at: None };
        self.view.apply(&Change::PutPort(Arc::new(port)));
    }

    /// A network of this VLAN, and a port of it, of the same number.
    fn network(&mut self, number: u16, vlan: Option<u16>, card: Option<u8>) {
        let network_type = if vlan.is_some() { "vlan" } else { "flat" };
        let settings =
            NetworkSettings { segmentation_id: vlan, network_type: network_type.into(), ..NetworkSettings::default() };
        let id = NetworkId(Uuid::from_u128(u128::from(number)));
        let network: Network = object(id, settings);
        self.view.apply(&Change::Network(Rows::Put(NetworkRow::Network(Arc::new(network)))));
        let attached = card.map(|card| (NODE, Attachment::Port(PortId(Uuid::from_u128(u128::from(card))))));
        let settings = TenantPortSettings {
            about: About::default(),
            network: id,
            mac: Mac([2, 0, 0, 1, 0, 1]),
            admin_state_up: true,
            addresses: vec![],
            device_id: String::new(),
            device_owner: String::new(),
            host: String::new(),
            vnic_type: "baremetal".into(),
            profile: Map::new(),
            attached,
        };
        let port = object(TenantPortId(Uuid::from_u128(u128::from(number))), settings);
        self.view.apply(&Change::Network(Rows::Put(NetworkRow::Port(Arc::new(port)))));
    }

    fn trunk(&mut self, port: u16, subports: &[(u16, u16)]) {
        let id = |number: u16| TenantPortId(Uuid::from_u128(u128::from(number)));
        let subports = subports.iter().map(|(port, tag)| Subport { port: id(*port), tag: *tag }).collect();
        let settings = TrunkSettings { about: About::default(), port: id(port), admin_state_up: true, subports };
        let trunk = object(TrunkId(Uuid::from_u128(1)), settings);
        self.view.apply(&Change::Network(Rows::Put(NetworkRow::Trunk(Arc::new(trunk)))));
    }

    async fn set(&self, stand: Stand) -> Result<String, String> {
        self.switches.set(&self.view, NODE, stand).await.map_err(|error| error.to_string())
    }

    fn validate(&self) -> Result<bool, String> {
        self.switches.validate(&self.view.view(), NODE)
    }
}

fn object<I, S>(id: I, settings: S) -> Object<I, S> {
    Object { id, revision: 1, settings, created_at: Timestamp::UNIX_EPOCH, updated_at: None }
}

async fn on(switch: &FakeSwitch, port: &str) -> String {
    switch.port(port).await.expect("a port").standing()
}

#[tokio::test]
async fn ports_follow_the_machine() {
    let mut scene = Scene::new();
    scene.card(1, NODE, &json!({"switch_info": "tor1", "port_id": "n1"}), true);
    scene.card(2, NODE, &json!({"switch_id": "00:1b:21:00:00:02", "port_id": "n1"}), false);
    scene.card(3, NODE, &json!({"network_type": "unmanaged", "switch_info": "somebody else's", "port_id": "7"}), true);
    scene.card(4, NODE, &json!({}), true);
    scene.card(5, OTHER, &json!({"switch_info": "tor1", "port_id": "n2"}), true);
    scene.network(10, Some(300), Some(1));

    let told = scene.set(Stand::Provisioning).await;
    assert_eq!(told, Ok("n1 of tor1: VLAN 100, protected; n1 of tor2: idle".into()));
    scene.set(Stand::Cleaning).await.expect("set");
    assert_eq!(
        (on(&scene.tor1, "n1").await, on(&scene.tor2, "n1").await),
        ("VLAN 101, protected".into(), "idle".into())
    );
    let told = scene.set(Stand::Tenant).await;
    assert_eq!(told, Ok("n1 of tor1: VLAN 300; n1 of tor2: idle".into()));
    scene.set(Stand::Idle).await.expect("set");
    assert_eq!(on(&scene.tor1, "n1").await, "idle");
    assert_eq!(on(&scene.tor1, "n2").await, "all VLANs", "another's port is left alone");
}

#[tokio::test]
async fn without_a_switch_nothing_is_done() {
    let mut scene = Scene::new();
    let expected = Ok("no switch is configured for the node's ports".into());
    scene.card(1, NODE, &json!({}), true);
    assert_eq!(scene.set(Stand::Idle).await, expected);
    scene.card(1, NODE, &json!({"switch_info": "unknown", "port_id": "n1"}), true);
    scene.switches = Switches::default();
    assert_eq!(scene.set(Stand::Provisioning).await, expected);
}

#[tokio::test]
async fn a_cable_to_nowhere_is_an_error_where_a_switch_is_meant() {
    let mut scene = Scene::new();
    for (link, why) in [
        (json!({"switch_info": "tor3", "port_id": "n1"}), "names switch_info 'tor3', which is no switch of the"),
        (json!({"switch_info": "TOR1", "port_id": "n1"}), "names switch_info 'TOR1', which is no switch"),
        (json!({"switch_info": "tor1 ", "port_id": "n1"}), "names switch_info 'tor1 ', which is no switch"),
        (json!({"switch_id": "00:1b:21:00:00:09", "port_id": "n1"}), "names switch_id '00:1b:21:00:00:09', which"),
        (json!({"switch_id": "00:1B:21:00:00:01", "port_id": "n1"}), "names switch_id '00:1B:21:00:00:01', which"),
        (json!({"hostname": "smart", "port_id": "n1"}), "names no switch"),
        (json!({"switch_info": "tor1"}), "names switch 'tor1' and no port_id"),
        (
            json!({"switch_info": "tor1", "port_id": "uplink"}),
            "'uplink', which is not among the ports of switch 'tor1'",
        ),
        (json!({"switch_info": "tor1", "port_id": "N1"}), "'N1', which is not among the ports"),
        (json!({"switch_info": "tor1", "port_id": " n1"}), "' n1', which is not among the ports"),
        (json!({"switch_info": "tor1", "switch_id": "00:1b:21:00:00:02", "port_id": "n1"}), "names two switches"),
        (json!({"switch_info": "tor1", "switch_id": "00:1b:21:00:00:09", "port_id": "n1"}), "names two switches"),
    ] {
        scene.card(1, NODE, &link, true);
        for told in [scene.validate().map(drop), scene.set(Stand::Idle).await.map(drop)] {
            assert!(told.as_ref().is_err_and(|error| error.contains(why)), "{link}: {told:?}");
        }
        assert!(!scene.switches.set(&scene.view, NODE, Stand::Tenant).await.expect_err("unsafe").may_pass);
    }
    assert_eq!(on(&scene.tor1, "n1").await, "all VLANs");
    scene.node(|node| drop(node.settings.interfaces.insert("network_interface".into(), "noop".into())));
    assert_eq!((scene.validate(), scene.set(Stand::Idle).await.is_ok()), (Ok(false), true), "no switch is meant");
}

#[tokio::test]
async fn what_is_not_known_to_be_idle_is_on_record_and_nobody_elses() {
    let mut scene = Scene::new();
    let link = json!({"switch_info": "tor1", "port_id": "n1"});
    scene.card(1, NODE, &link, true);
    let place = SwitchPort { node: NODE, switch: "tor1".into(), port: "n1".into() };
    scene.tor1.fail(SwitchError::Unreachable { switch: "tor1".into(), detail: "x".into() });
    scene.set(Stand::Provisioning).await.expect_err("it does not answer");
    assert_eq!(scene.view.held(1), Some(place.clone()), "it may be anywhere");
    scene.set(Stand::Idle).await.expect("set");
    assert_eq!(scene.view.held(1), None);
    scene.set(Stand::Provisioning).await.expect("set");
    scene.tor1.fail(SwitchError::Unreachable { switch: "tor1".into(), detail: "x".into() });
    scene.set(Stand::Idle).await.expect_err("it does not answer");
    assert_eq!(scene.view.held(1), Some(place));

    // Another card of another node claims the same port: who has it by the record keeps it, and the other gets nothing.
    scene.card(2, OTHER, &link, true);
    let error = scene.switches.set(&scene.view, OTHER, Stand::Idle).await.expect_err("another's");
    assert!(error.to_string().contains("is noted for port 02:00:00:00:00:01, too"), "{error}");
    assert_eq!(on(&scene.tor1, "n1").await, "VLAN 100, protected");
    scene.set(Stand::Idle).await.expect("his own");
    scene.set(Stand::Idle).await.expect_err("now nobody knows whose it is");
}

#[tokio::test]
async fn a_cable_is_forgotten_when_it_is_cut() {
    let mut scene = Scene::new();
    let card = PortId(Uuid::from_u128(1));
    scene.card(1, NODE, &json!({"switch_info": "tor1", "port_id": "n1"}), true);
    scene.set(Stand::Provisioning).await.expect("set");
    scene.tor1.fail(SwitchError::Unreachable { switch: "tor1".into(), detail: "x".into() });
    assert!(scene.switches.cut(&scene.view, &[card]).await.is_err());
    assert!(scene.view.held(1).is_some());
    let cut = scene.switches.cut(&scene.view, &[card]).await.expect("cut");
    assert_eq!((on(&scene.tor1, "n1").await, scene.view.held(1)), ("idle".into(), None));
    // Nobody sets it again before it is forgotten.
    let mut set = Box::pin(scene.switches.set(&scene.view, NODE, Stand::Provisioning));
    let waits = std::future::poll_fn(|context| std::task::Poll::Ready(set.as_mut().poll(context).is_pending())).await;
    assert!(waits);
    drop(cut);
    set.await.expect("then");

    // A port that is taken out of the configuration is nobody's business any more.
    scene.switches = Switches::default();
    scene.set(Stand::Idle).await.expect_err("it was set, and cannot be now");
    drop(scene.switches.cut(&scene.view, &[card]).await.expect("forgotten"));
    assert_eq!(scene.view.held(1), None);
}

#[tokio::test]
async fn all_ports_are_set_at_the_same_time() {
    let mut scene = Scene::new();
    scene.card(1, NODE, &json!({"switch_info": "tor1", "port_id": "n1"}), true);
    scene.card(2, NODE, &json!({"switch_info": "tor2", "port_id": "n1"}), true);
    // A switch that does not answer, because another has its turn on it, holds up no other switch.
    let turn = scene.switches.turns[0].clone().lock_owned().await;
    let mut set = Box::pin(scene.set(Stand::Idle));
    let waits = std::future::poll_fn(|context| std::task::Poll::Ready(set.as_mut().poll(context).is_pending())).await;
    assert_eq!((waits, on(&scene.tor2, "n1").await), (true, "idle".into()));
    drop(turn);
    assert_eq!(set.await, Ok("n1 of tor1: idle; n1 of tor2: idle".into()));
}

#[tokio::test]
async fn what_fails_is_told_and_the_rest_is_cut_all_the_same() {
    let mut scene = Scene::new();
    scene.card(1, NODE, &json!({"switch_info": "tor1", "port_id": "n2"}), true);
    scene.tor1.fail(SwitchError::UnknownPort { switch: "fake".into(), port: "n2".into() });
    scene.card(2, NODE, &json!({"switch_info": "tor2", "port_id": "n1"}), true);
    let error = scene.switches.set(&scene.view, NODE, Stand::Idle).await.expect_err("no such port");
    assert!(error.to_string().starts_with("port 02:00:00:00:00:01: the switch 'fake' has no port 'n2'"), "{error}");
    assert!(!error.may_pass);
    assert_eq!(on(&scene.tor2, "n1").await, "idle");
    scene.card(1, NODE, &json!({"switch_info": "tor1", "port_id": "n1"}), true);
    scene.tor1.fail(SwitchError::Unreachable { switch: "tor1".into(), detail: "x".into() });
    let error = scene.switches.set(&scene.view, NODE, Stand::Idle).await.expect_err("it does not answer");
    assert!(error.may_pass);
    scene.set(Stand::Idle).await.expect("the next try");
}

#[tokio::test]
async fn a_port_that_is_not_known_for_sure_is_not_touched() {
    for (link, why) in [
        (json!({"switch_id": "00:1b:21:00:00:01", "port_id": "n2"}), "is noted for port 02:00:00:00:00:02, too"),
        (json!({"switch_info": "tor1", "port_id": "n2"}), "is noted for port 02:00:00:00:00:02, too"),
    ] {
        let mut scene = Scene::new();
        scene.card(1, NODE, &link, true);
        scene.card(2, OTHER, &json!({"switch_info": "tor1", "port_id": "n2"}), true);
        let error = scene.set(Stand::Idle).await.expect_err("unsafe");
        assert!(error.contains(why), "{error}");
        assert_eq!(
            (on(&scene.tor1, "n1").await, on(&scene.tor1, "n2").await),
            ("all VLANs".into(), "all VLANs".into())
        );
    }
}

#[tokio::test]
async fn networks_that_a_switch_cannot_bring_are_refused() {
    let [tor1, tor2] = ["tor1", "tor2"].map(|switch| json!({"switch_info": switch, "port_id": "n1"}));
    for (link, vlan, why) in [
        (&tor1, None, "has no VLAN"),
        (&tor1, Some(100), "the appliance keeps machines"),
        (&tor1, Some(101), "the appliance keeps machines"),
        (&tor1, Some(4000), "the appliance keeps machines"),
        (&tor2, Some(300), "is on no named physical network, and switch 'tor2' is on physical network 'other'"),
    ] {
        let mut scene = Scene::new();
        scene.card(1, NODE, link, true);
        scene.network(10, vlan, Some(1));
        for error in [scene.validate().map(drop), scene.set(Stand::Tenant).await.map(drop)] {
            assert!(error.as_ref().is_err_and(|error| error.contains(why)), "{error:?}");
        }
        assert_eq!(on(&scene.tor1, "n1").await, "all VLANs");
    }
    let switches = Scene::new().switches;
    let shared: Vec<_> =
        switches.shared().into_iter().map(|(vlan, switches)| (vlan.number(), switches.len())).collect();
    assert_eq!(shared, [(100, 2), (101, 2), (4000, 2)]);
    assert!(switches.reserves(100) && switches.reserves(4000) && !switches.reserves(300));
}

#[test]
fn what_could_not_be_set_is_told_before_a_job_begins() {
    let link = json!({"switch_info": "tor1", "port_id": "n1"});
    let mut scene = Scene::new();
    let validate = Scene::validate;
    assert_eq!(validate(&scene), Ok(false), "it has no port");
    scene.card(1, NODE, &link, true);
    assert_eq!(validate(&scene), Ok(true));
    scene.network(10, None, Some(1));
    assert!(validate(&scene).expect_err("a flat network").contains("has no VLAN"));
    scene.network(10, Some(300), Some(1));
    assert_eq!(validate(&scene), Ok(true));
    scene.card(2, NODE, &json!({}), true);
    assert_eq!(validate(&scene), Ok(false), "one of its ports is on an unknown switch");
    scene.card(2, OTHER, &link, true);
    assert!(validate(&scene).expect_err("the same cable").contains("is noted for port"));
}

#[tokio::test]
async fn a_trunk_brings_its_subports_by_their_own_numbers() {
    let mut scene = Scene::new();
    scene.card(1, NODE, &json!({"switch_info": "tor1", "port_id": "n1"}), true);
    scene.network(10, Some(300), Some(1));
    scene.network(11, Some(301), None);
    scene.trunk(10, &[(11, 301)]);
    assert_eq!(scene.set(Stand::Tenant).await, Ok("n1 of tor1: VLAN 300 and, with tags, 301".into()));
    scene.trunk(10, &[(11, 5)]);
    assert!(scene.set(Stand::Tenant).await.expect_err("another number").contains("switches do not change numbers"));
    scene.trunk(10, &[]);
    assert_eq!(scene.set(Stand::Tenant).await, Ok("n1 of tor1: VLAN 300".into()));
}
