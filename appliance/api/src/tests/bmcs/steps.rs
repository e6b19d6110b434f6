//! Clean and service steps that a BMC carries out, through the API, the engine and a Redfish BMC on loopback.

use super::super::{Rig, fault};
use super::{node, peers};
use axum::http::StatusCode;
use leasehold_domain::command::{Actor, Command};
use leasehold_engine::Running;
use serde_json::{Value, json};

fn step(interface: &str, name: &str, settings: Value) -> Value {
    json!({"interface": interface, "step": name, "args": {"settings": settings}})
}

/// A manageable node, called `n1`, behind the peer's BMC.
async fn managed(rig: &Rig, peer: &peers::Peer) -> Running {
    let running = rig.api.engine.start();
    let body = json!({"name": "n1", "driver": "redfish", "driver_info": peer.info});
    let (status, node) = rig.call("POST", "/nodes", body).await;
    assert_eq!(status, StatusCode::CREATED, "{node}");
    assert_eq!(rig.port(&node, "52:54:00:00:00:01").await.0, StatusCode::CREATED);
    rig.through(json!({"target": "manage"}), "manageable").await;
    running
}

/// The machine has started, and its agent calls.
async fn agent_calls(rig: &Rig) {
    rig.in_state("clean wait").await;
    let view = rig.api.engine.view();
    let node = view.node_by_name("n1").expect("the node");
    let job = view.running_job(node).expect("running");
    let (callback_url, version) = ("https://127.0.0.1:1".to_owned(), "1".to_owned());
    let call = Command::AgentHeartbeat { job: job.id, boot: job.boots, callback_url, certificate: None, version };
    rig.api.engine.store.submit(call, Actor::System("test")).await.expect("taken");
}

async fn clean(rig: &Rig, steps: Value) {
    let (status, answer) = rig.verb(json!({"target": "clean", "clean_steps": steps})).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
}

#[tokio::test]
async fn bios_settings_are_changed_and_seen_before_the_node_is_manageable_again() {
    let rig = Rig::new().await;
    let peer = peers::redfish().await;
    let _running = managed(&rig, &peer).await;
    let wanted = json!([{"name": "NumLock", "value": "Off"}, {"name": "Cores", "value": "4"}]);
    clean(&rig, json!([step("bios", "apply_configuration", wanted)])).await;
    agent_calls(&rig).await;
    let node = rig.at_rest().await;
    assert_eq!((&node["provision_state"], &node["last_error"]), (&json!("manageable"), &Value::Null));
    let told = peer.told();
    let place = |what: &str| told.find(what).unwrap_or_else(|| panic!("{what} has not arrived: {told}"));
    let change = place(r#"PATCH /bios {"Attributes":{"Cores":4,"NumLock":"Off"}}"#);
    let boot = place(r#""BootSourceOverrideTarget":"Pxe""#);
    assert!(change < boot && boot < place(r#"POST /reset {"ResetType":"On"}"#), "the machine starts with it: {told}");
    let (_, one) = rig.call("GET", "/nodes/n1/bios/NumLock", Value::Null).await;
    assert_eq!(one["NumLock"]["value"], "Off");
    clean(&rig, json!([{"interface": "bios", "step": "factory_reset"}])).await;
    agent_calls(&rig).await;
    assert_eq!(rig.at_rest().await["provision_state"], "manageable");
    assert!(peer.told().contains("POST /bios/reset"));
}

#[tokio::test]
async fn a_setting_that_the_bmc_does_not_have_ends_in_clean_failed_by_name() {
    let rig = Rig::new().await;
    let peer = peers::redfish().await;
    let _running = managed(&rig, &peer).await;
    clean(&rig, json!([step("bios", "apply_configuration", json!([{"name": "Turbo", "value": "On"}]))])).await;
    let node = rig.at_rest().await;
    assert_eq!(node["provision_state"], "clean failed");
    let error = node["last_error"].as_str().unwrap_or_default();
    assert!(error.contains("Turbo=On were not taken") && error.contains("there is no BIOS setting"), "{error}");
    assert!(!peer.told().contains("PATCH"), "the machine was left alone: {}", peer.told());
}

#[tokio::test]
async fn firmware_goes_to_the_bmc_as_a_url_and_its_version_is_read_back() {
    let rig = Rig::new().await;
    let peer = peers::redfish().await;
    let _running = managed(&rig, &peer).await;
    let settings = json!([{"component": "bmc", "url": "http://10.0.0.9/bmc-7.8.bin"}]);
    clean(&rig, json!([step("firmware", "update", settings)])).await;
    rig.in_state("clean wait").await;
    assert!(
        peer.told().contains(r#"POST /update/simple {"ImageURI":"http://10.0.0.9/bmc-7.8.bin"}"#),
        "{}",
        peer.told()
    );
    peer.edit("/bmc", json!({"FirmwareVersion": "7.8"}));
    agent_calls(&rig).await;
    let node = rig.at_rest().await;
    assert_eq!((&node["provision_state"], &node["last_error"]), (&json!("manageable"), &Value::Null));
    let (_, history) = rig.call("GET", "/nodes/n1/history", Value::Null).await;
    assert_eq!(history["history"][0]["severity"], "INFO", "{history}");
    let view = rig.api.engine.view();
    let said = view.jobs().flat_map(|job| job.steps.clone()).filter_map(|step| step.detail);
    assert!(said.collect::<Vec<_>>().contains(&"bmc: 7.7 → 7.8".to_owned()));

    let settings = json!([{"component": "nic:9", "url": "http://10.0.0.9/nic.bin"}]);
    clean(&rig, json!([step("firmware", "update", settings)])).await;
    let node = rig.at_rest().await;
    let error = node["last_error"].as_str().unwrap_or_default();
    assert!(
        node["provision_state"] == "clean failed" && error.contains("nic:9") && error.contains("bios, bmc"),
        "{error}"
    );
}

#[tokio::test]
async fn ipmi_refuses_before_a_job_begins_as_validate_says() {
    let rig = Rig::new().await;
    let peer = peers::ipmi().await;
    node(&rig, "ipmi", &peer.info).await;
    let view = rig.api.engine.view();
    assert!(view.node_by_name("ipmi").is_some_and(|node| node.job.is_none()));
    let _running = rig.api.engine.start();
    assert_eq!(
        rig.call("PUT", "/nodes/ipmi/states/provision", json!({"target": "manage"})).await.0,
        StatusCode::ACCEPTED
    );
    let mut feed = rig.api.engine.store.subscribe();
    while rig.api.engine.view().node_by_name("ipmi").is_none_or(|node| node.provision_state.name() != "manageable") {
        feed.next().await;
    }
    let settings = json!([{"name": "NumLock", "value": "Off"}]);
    let new = json!([{"component": "bmc", "url": "http://10.0.0.9/f.bin"}]);
    let (_, verdict) = rig.call("GET", "/nodes/ipmi/validate", Value::Null).await;
    for (interface, steps) in [
        ("bios", step("bios", "apply_configuration", settings)),
        ("bios", json!({"interface": "bios", "step": "factory_reset"})),
        ("firmware", step("firmware", "update", new)),
    ] {
        let body = json!({"target": "clean", "clean_steps": [steps]});
        let (status, answer) = rig.call("PUT", "/nodes/ipmi/states/provision", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        let words = fault(&answer);
        assert!(words.contains("does not support the clean step") && words.contains("only redfish"), "{words}");
        assert_eq!(verdict[interface]["result"], Value::Null);
        assert!(verdict[interface]["reason"].as_str().is_some_and(|reason| reason.contains("does not support")));
    }
    assert!(rig.api.engine.view().node_by_name("ipmi").is_some_and(|node| node.provision_state.name() == "manageable"));
}
