//! Ports of machines on which no job works: what is changed for them comes to the switch.

use super::job_tests::{NODE, engine, give, node, tor1, verb};
use super::*;
use crate::Engine;
use leasehold_domain::command::Command;
use leasehold_domain::id::{NetworkId, TenantPortId};
use leasehold_domain::job::JobState;
use leasehold_domain::mac::Mac;
use leasehold_domain::network::{About, Allocation, NetworkCommand, NetworkSettings, TenantPortSettings};
use leasehold_domain::node::Node;
use leasehold_domain::provision::{ProvisionState, Verb};
use leasehold_drivers::switch::fake::FakeSwitch;
use leasehold_drivers::switch::{Actual, Membership, SwitchError};
use serde_json::Map;
use std::time::Duration;
use uuid::Uuid;

const NETWORK: NetworkId = NetworkId(Uuid::from_u128(10));
const PORT: TenantPortId = TenantPortId(Uuid::from_u128(11));

/// A machine that is somebody's, and runs on VLAN 300 at n1 of `tor1`.
struct Scene {
    engine: Engine,
    driver: Arc<FakeSwitch>,
    running: crate::Running,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Scene {
        let folder = tempfile::tempdir().expect("a folder");
        let (driver, switches) = tor1();
        let engine = engine(folder.path(), switches);
        let running = engine.start();
        node(&engine, "n1").await;
        let scene = Scene { engine, driver, running, _folder: folder };
        for step in [Verb::Manage, Verb::Provide] {
            assert_eq!(verb(&scene.engine, step).await.1, JobState::Done);
        }
        let settings = Box::new(vlan(300));
        scene.network(NetworkCommand::CreateNetwork { id: NETWORK, settings, limit: -1 }).await;
        let settings = TenantPortSettings {
            about: About::default(),
            network: NETWORK,
            mac: Mac([2, 0, 0, 1, 0, 1]),
            admin_state_up: true,
            addresses: vec![],
            device_id: String::new(),
            device_owner: String::new(),
            host: String::new(),
            vnic_type: "baremetal".into(),
            profile: Map::new(),
            attached: None,
        };
        let (settings, addresses) = (Box::new(settings), Allocation::Usual);
        scene.network(NetworkCommand::CreatePort { id: PORT, settings, addresses, limit: -1 }).await;
        scene.attach().await;
        let (steps, state) = verb(&scene.engine, Verb::Deploy).await;
        assert_eq!(state, JobState::Done);
        let expected =
            ["ports-provisioning done: n1 of tor1: VLAN 100, protected", "ports-tenant done: n1 of tor1: VLAN 300"];
        assert_eq!(steps, expected);
        scene.stands("VLAN 300").await;
        scene
    }

    async fn network(&self, command: NetworkCommand) {
        give(&self.engine, Command::Network(command)).await;
    }

    async fn attach(&self) {
        self.network(NetworkCommand::Attach { node: NODE, port: PORT, place: None }).await;
    }

    async fn detach(&self) {
        self.network(NetworkCommand::Detach { node: NODE, port: PORT }).await;
    }

    async fn change_network(&self, settings: NetworkSettings) {
        let revision = self.engine.view().network.network(NETWORK).expect("a network").revision;
        self.network(NetworkCommand::ChangeNetwork { id: NETWORK, revision, settings: Box::new(settings) }).await;
    }

    async fn stands(&self, standing: &str) {
        let stands = tokio::time::timeout(Duration::from_secs(30), self.driver.until("n1", standing)).await;
        assert!(stands.is_ok(), "not {standing}, but {:?}", self.driver.port("n1").await);
    }

    /// Waits until the node is like that.
    async fn node(&self, what: &str, is_so: impl Fn(&Node) -> bool) {
        let mut feed = self.engine.store.subscribe();
        let waits = async {
            while !is_so(self.engine.view().node(NODE).expect("a node")) {
                feed.next().await.expect("the store is open");
            }
        };
        let so = tokio::time::timeout(Duration::from_secs(30), waits).await;
        assert!(so.is_ok(), "{what}: {:?}", self.engine.view().node(NODE).map(|node| node.last_error.clone()));
    }
}

fn vlan(number: u16) -> NetworkSettings {
    NetworkSettings { network_type: "vlan".into(), segmentation_id: Some(number), ..NetworkSettings::default() }
}

#[tokio::test]
async fn what_becomes_of_a_running_machines_networks_comes_to_its_switch_port() {
    let scene = Scene::new().await;
    scene.detach().await;
    scene.stands("idle").await;
    scene.attach().await;
    scene.stands("VLAN 300").await;
    scene.change_network(vlan(301)).await;
    scene.stands("VLAN 301").await;
    scene.change_network(NetworkSettings { admin_state_up: false, ..vlan(301) }).await;
    scene.stands("idle").await;
    scene.change_network(vlan(301)).await;
    scene.stands("VLAN 301").await;
    // A network that cannot be brought to it any more: it is not left on the one it had.
    scene.change_network(vlan(100)).await;
    scene.stands("idle").await;
    let told =
        |node: &Node| node.last_error.as_ref().is_some_and(|error| error.contains("the appliance keeps machines"));
    scene.node("it is told", told).await;
    scene.change_network(vlan(302)).await;
    scene.stands("VLAN 302").await;
    scene.node("it is well again", |node| node.last_error.is_none()).await;
    scene.network(NetworkCommand::DeletePort { id: PORT }).await;
    scene.stands("idle").await;
}

#[tokio::test]
async fn what_cannot_be_carried_to_the_switch_is_told_and_tried_again() {
    let scene = Scene::new().await;
    for _ in 0..2 {
        scene.driver.fail(SwitchError::Unreachable { switch: "tor1".into(), detail: "x".into() });
    }
    scene.detach().await;
    let told = |node: &Node| {
        node.last_error.as_ref().is_some_and(|error| {
            error.starts_with("Switch ports: port 02:00:00:00:00:01: the switch 'tor1' does not answer")
        })
    };
    scene.node("it is told", told).await;
    scene.stands("idle").await;
    scene.node("it is well again", |node| node.last_error.is_none()).await;
}

#[tokio::test]
async fn what_somebody_changes_by_hand_is_put_right() {
    let scene = Scene::new().await;
    scene.engine.switches.look_at(0).await;
    assert_eq!(scene.driver.port("n1").await.expect("a port").standing(), "VLAN 300");
    scene.driver.meddle("n1", Actual::Member(Membership::Access(Vlan::new(7).expect("a VLAN"))));
    scene.engine.switches.look_at(0).await;
    // Anything that happens to a node has all ports looked at.
    let maintenance = |on| Command::SetMaintenance { node: NODE, on, reason: None };
    give(&scene.engine, maintenance(true)).await;
    scene.stands("VLAN 300").await;
    // Idle, too, where nothing is attached any more.
    scene.detach().await;
    scene.stands("idle").await;
    scene.driver.meddle("n1", Actual::Member(Membership::Idle));
    scene.engine.switches.look_at(0).await;
    give(&scene.engine, maintenance(false)).await;
    scene.stands("idle").await;
}

#[tokio::test]
async fn after_a_restart_ports_are_put_where_they_are_to_be() {
    let Scene { engine, driver, running, _folder } = Scene::new().await;
    drop(running);
    give(&engine, Command::Network(NetworkCommand::Detach { node: NODE, port: PORT })).await;
    assert_eq!(driver.port("n1").await.expect("a port").standing(), "VLAN 300", "nobody is at work");
    let running = engine.start();
    let scene = Scene { engine, driver, running, _folder };
    scene.stands("idle").await;
}

#[tokio::test]
async fn whose_job_has_failed_is_cut_off() {
    let scene = Scene::new().await;
    // Its provisioning VLAN cannot be set, and neither can idle, at first.
    for _ in 0..2 {
        scene.driver.fail(SwitchError::Refused { switch: "tor1".into(), detail: "no".into() });
    }
    let (_, state) = verb(&scene.engine, Verb::Rebuild).await;
    assert!(matches!(state, JobState::Failed(why) if why.contains("not known to be cut off, which is tried again")));
    assert_eq!(scene.engine.view().node(NODE).expect("a node").provision_state, ProvisionState::DeployFailed);
    scene.stands("idle").await;
    scene
        .node("nothing of its ports is left to tell", |node| {
            let said = node.last_error.as_deref().unwrap_or_default();
            said.contains("refuses: no") && !said.contains("Switch ports: ")
        })
        .await;
}
