//! Jobs of a node whose cable is noted, with a switch that keeps what it is told in memory.

use super::*;
use crate::bmcs::Bmcs;
use crate::images::{ImageSettings, ImageStore, Patience, never_fetched_from};
use crate::leases::LeaseSettings;
use crate::tickets::Tickets;
use crate::{Engine, Settings, Wipe};
use leasehold_domain::command::{Actor, Command, NodeStart};
use leasehold_domain::id::{JobId, NodeId, PortId};
use leasehold_domain::job::{JobInput, JobState, StepState};
use leasehold_domain::mac::Mac;
use leasehold_domain::node::NodeSettings;
use leasehold_domain::port::PortSettings;
use leasehold_domain::provision::{ProvisionState, Verb};
use leasehold_drivers::switch::SwitchError;
use leasehold_drivers::switch::fake::FakeSwitch;
use leasehold_store::{KeySource, Options, Sealer, Store, Trace, TraceOptions};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

pub(super) const NODE: NodeId = NodeId(Uuid::from_u128(1));

pub(super) fn engine(folder: &Path, switches: Switches) -> Engine {
    let store = Store::open(folder, Options::default()).expect("a store");
    let sealer = Arc::new(Sealer::open(&KeySource::File(folder.join("key"))).expect("a key"));
    let images = ImageSettings {
        folder: folder.join("images"),
        import_folder: None,
        max_size: 1 << 30,
        reserve: 0,
        quota: None,
        forbidden: never_fetched_from(),
        allowed: Vec::new(),
        patience: Patience::default(),
    };
    let images = ImageStore::open(images, &store.view()).expect("a folder of images");
    let settings = Settings {
        agent_url: "https://10.0.0.1:8444".into(),
        wipe: Wipe::Full,
        power_sync_every: Duration::from_secs(3600),
        soft_off_patience: Duration::from_secs(1),
        silence_patience: Duration::from_secs(600),
        lease: LeaseSettings::default(),
    };
    Engine {
        trace: Trace::open(folder, TraceOptions::default()).expect("a trace"),
        bmcs: Arc::new(Bmcs::new(sealer.clone())),
        images: Arc::new(images),
        tickets: Arc::new(Tickets::new(sealer.clone())),
        sealer,
        switches: Arc::new(switches),
        settings: Arc::new(settings),
        store,
    }
}

/// A node without a machine whose card is plugged into this port of `tor1`.
pub(super) async fn node(engine: &Engine, port: &str) {
    let settings = NodeSettings { driver: "fake-hardware".into(), ..NodeSettings::default() };
    give(engine, Command::CreateNode { id: NODE, settings: Box::new(settings), start: NodeStart::default() }).await;
    let mut card = PortSettings::new(NODE, Mac([2, 0, 0, 0, 0, 1]));
    card.local_link_connection = json!({"switch_info": "tor1", "port_id": port}).as_object().cloned().expect("a map");
    give(engine, Command::CreatePort { id: PortId(Uuid::from_u128(1)), settings: Box::new(card) }).await;
}

pub(super) async fn give(engine: &Engine, command: Command) {
    engine.store.submit(command, Actor::System("test")).await.expect("legal");
}

/// Does this, and waits for the end of its job. Out: the steps that are about ports, and how the job ended.
pub(super) async fn verb(engine: &Engine, verb: Verb) -> (Vec<String>, JobState) {
    let job = JobId(Uuid::new_v4());
    give(engine, Command::Provision { node: NODE, verb, job, input: Box::new(JobInput::default()) }).await;
    let mut feed = engine.store.subscribe();
    let ended = async {
        loop {
            match engine.view().job(job) {
                Some(job) if !job.is_running() => return job.clone(),
                _ => drop(feed.next().await.expect("the store is open")),
            }
        }
    };
    let job = tokio::time::timeout(Duration::from_secs(30), ended).await.expect("it ends");
    let about = job.steps.iter().filter(|step| step.name.name().starts_with("ports-"));
    let told = about.map(|step| {
        let done = if step.state == StepState::Done { "" } else { "not " };
        format!("{} {done}done: {}", step.name.name(), step.detail.clone().unwrap_or_default())
    });
    (told.collect(), job.state.clone())
}

pub(super) fn tor1() -> (Arc<FakeSwitch>, Switches) {
    let driver = Arc::new(FakeSwitch::new(["n1"]));
    let vlan = |number| Vlan::new(number).expect("a VLAN");
    let known = KnownSwitch {
        name: "tor1".into(),
        id: None,
        ports: ["n1", "n2"].map(str::to_owned).into(),
        physical_network: None,
        idle: vlan(4000),
        provisioning: vlan(100),
        cleaning: vlan(101),
        driver: driver.clone(),
    };
    (driver, Switches::new(vec![known]))
}

#[tokio::test]
async fn a_machine_is_cleaned_on_provisioning_and_ends_on_idle() {
    let folder = tempfile::tempdir().expect("a folder");
    let (driver, switches) = tor1();
    let engine = engine(folder.path(), switches);
    let _running = engine.start();
    node(&engine, "n1").await;
    assert_eq!(verb(&engine, Verb::Manage).await, (vec![], JobState::Done), "nothing of it is on the wire");
    // Trouble that passes costs a moment.
    driver.fail(SwitchError::Unreachable { switch: "tor1".into(), detail: "busy".into() });
    let expected = ["ports-provisioning done: n1 of tor1: VLAN 100, protected", "ports-idle done: n1 of tor1: idle"];
    assert_eq!(verb(&engine, Verb::Provide).await, (expected.map(str::to_owned).to_vec(), JobState::Done));
    assert_eq!(driver.port("n1").await.expect("a port").actual.to_string(), "idle");
}

#[tokio::test]
async fn a_port_that_cannot_be_set_stops_the_job() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine(folder.path(), tor1().1);
    let _running = engine.start();
    node(&engine, "n2").await;
    verb(&engine, Verb::Manage).await;
    let (steps, state) = verb(&engine, Verb::Provide).await;
    assert!(
        steps[0].starts_with("ports-provisioning not done: port 02:00:00:00:00:01: the switch 'fake' has no port 'n2'")
    );
    assert!(matches!(&state, JobState::Failed(why) if why.contains("has no port 'n2'")));
    let uncut =
        "Its switch ports are not known to be cut off, which is tried again: port 02:00:00:00:00:01: the switch";
    assert!(matches!(state, JobState::Failed(why) if why.contains(uncut)));
    let node = engine.view().node(NODE).expect("a node").clone();
    assert_eq!(node.provision_state, ProvisionState::CleanFailed);
    assert!(!node.wiped);
}

#[tokio::test]
async fn without_a_switch_jobs_go_on_as_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine(folder.path(), Switches::default());
    let _running = engine.start();
    node(&engine, "n1").await;
    verb(&engine, Verb::Manage).await;
    let (steps, state) = verb(&engine, Verb::Provide).await;
    let nothing = |name: &str| format!("{name} done: no switch is configured for the node's ports");
    assert_eq!((steps, state), (vec![nothing("ports-provisioning"), nothing("ports-idle")], JobState::Done));
}
