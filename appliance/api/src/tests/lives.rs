//! The life of a node without a machine, driven through the API with the engine at work.

use super::{Rig, fault};
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

/// Longer than any of these waits should ever be.
const PATIENCE: Duration = Duration::from_secs(60);

impl Rig {
    async fn fake(&self, body: Value) -> Value {
        let mut node = json!({"driver": "fake-hardware", "name": "n1"});
        if let (Value::Object(node), Value::Object(more)) = (&mut node, body) {
            node.extend(more);
        }
        let (status, node) = self.call("POST", "/nodes", node).await;
        assert_eq!(status, StatusCode::CREATED, "{node}");
        node
    }

    /// The node, when no job holds it any more.
    pub(super) async fn at_rest(&self) -> Value {
        let mut feed = self.api.engine.store.subscribe();
        let rest = async {
            while self.api.engine.view().node_by_name("n1").is_some_and(|node| node.job.is_some()) {
                feed.next().await;
            }
        };
        tokio::time::timeout(PATIENCE, rest).await.expect("the job ends");
        self.call("GET", "/nodes/n1", Value::Null).await.1
    }

    /// The node, when it is in this state.
    pub(super) async fn in_state(&self, state: &str) {
        let mut feed = self.api.engine.store.subscribe();
        let there = async {
            while self.api.engine.view().node_by_name("n1").is_none_or(|node| node.provision_state.name() != state) {
                feed.next().await;
            }
        };
        tokio::time::timeout(PATIENCE, there).await.unwrap_or_else(|_| panic!("it comes to {state}"));
    }

    pub(super) async fn verb(&self, body: Value) -> (StatusCode, Value) {
        self.call("PUT", "/nodes/n1/states/provision", body).await
    }

    pub(super) async fn through(&self, body: Value, state: &str) {
        let (status, answer) = self.verb(body.clone()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}: {answer}");
        let node = self.at_rest().await;
        assert_eq!(node["provision_state"], state, "{body}: {}", node["last_error"]);
    }
}

#[tokio::test]
async fn a_node_without_a_machine_goes_through_every_verb() {
    let rig = Rig::new().await;
    let _running = rig.api.engine.start();
    rig.fake(json!({})).await;
    let steps = json!([{"interface": "deploy", "step": "erase_devices"}]);
    for (body, state) in [
        (json!({"target": "manage"}), "manageable"),
        (json!({"target": "inspect"}), "manageable"),
        (json!({"target": "clean", "clean_steps": steps}), "manageable"),
        (json!({"target": "provide"}), "available"),
        (json!({"target": "active", "configdrive": {"user_data": "x"}}), "active"),
        (json!({"target": "rebuild"}), "active"),
        (json!({"target": "service", "service_steps": steps}), "active"),
        (json!({"target": "rescue", "rescue_password": "a word"}), "rescue"),
        (json!({"target": "unrescue"}), "active"),
        (json!({"target": "undeploy"}), "available"),
        (json!({"target": "manage"}), "manageable"),
        (json!({"target": "adopt"}), "active"),
        (json!({"target": "deleted"}), "available"),
    ] {
        rig.through(body, state).await;
    }
    let (_, history) = rig.call("GET", "/nodes/n1/history?detail=true", Value::Null).await;
    let kinds: Vec<_> = history["history"].as_array().expect("a list").iter().map(|row| &row["event_type"]).collect();
    assert_eq!((kinds.len(), kinds[0], kinds[6]), (12, &json!("verify"), &json!("service")), "{kinds:?}");
    let second = history["history"][1]["uuid"].as_str().expect("a UUID");
    let (_, page) = rig.call("GET", &format!("/nodes/n1/history?marker={second}&limit=1"), Value::Null).await;
    assert_eq!(page["history"][0]["uuid"], history["history"][2]["uuid"]);
    let one = rig.call("GET", &format!("/nodes/n1/history/{second}"), Value::Null).await.1;
    assert_eq!(one["event_type"], "inspect");
}

#[tokio::test]
async fn a_failure_that_was_asked_for_is_told() {
    let rig = Rig::new().await;
    let _running = rig.api.engine.start();
    rig.fake(json!({"driver_info": {"fake_verify_fail": "no cable", "fake_clean_fail": "no disk"}})).await;
    rig.verb(json!({"target": "manage"})).await;
    let node = rig.at_rest().await;
    assert_eq!(node["provision_state"], "enroll");
    assert!(node["last_error"].as_str().is_some_and(|error| error.contains("no cable")), "{node}");
    let repair = json!([{"op": "remove", "path": "/driver_info/fake_verify_fail"}]);
    assert_eq!(rig.call("PATCH", "/nodes/n1", repair).await.0, StatusCode::OK);
    rig.through(json!({"target": "manage"}), "manageable").await;
    rig.through(json!({"target": "provide"}), "clean failed").await;
    let (_, history) = rig.call("GET", "/nodes/n1/history", Value::Null).await;
    assert_eq!(history["history"][2]["severity"], "ERROR");
    assert_eq!(history["history"][2]["event"], "no disk");
}

#[tokio::test]
async fn what_waits_is_seen_and_aborted() {
    let rig = Rig::new().await;
    let _running = rig.api.engine.start();
    rig.fake(json!({"driver_info": {"fake_boot_delay": 3600}})).await;
    rig.through(json!({"target": "manage"}), "manageable").await;
    let provide = json!({"target": "provide"});
    assert_eq!(rig.verb(provide).await.0, StatusCode::ACCEPTED);
    rig.in_state("clean wait").await;
    let busy = rig.call("PUT", "/nodes/n1/states/power", json!({"target": "power on"})).await;
    assert_eq!(busy.0, StatusCode::BAD_REQUEST, "not while it is cleaned");
    let patch = json!([{"op": "add", "path": "/extra/a", "value": 1}]);
    assert_eq!(rig.call("PATCH", "/nodes/n1", patch).await.0, StatusCode::CONFLICT, "it is on its way");
    rig.through(json!({"target": "abort"}), "clean failed").await;
}

#[tokio::test]
async fn a_step_that_holds_goes_on_when_it_is_let() {
    let rig = Rig::new().await;
    let _running = rig.api.engine.start();
    rig.fake(json!({})).await;
    rig.through(json!({"target": "manage"}), "manageable").await;
    let steps = json!([{"interface": "power", "step": "hold"}]);
    assert_eq!(rig.verb(json!({"target": "clean", "clean_steps": steps})).await.0, StatusCode::ACCEPTED);
    rig.in_state("clean hold").await;
    rig.through(json!({"target": "unhold"}), "manageable").await;
}

#[tokio::test]
async fn power_and_boot_device_are_kept() {
    let rig = Rig::new().await;
    let _running = rig.api.engine.start();
    rig.fake(json!({})).await;
    for (target, state) in
        [("power on", "power on"), ("rebooting", "power on"), ("soft power off", "power off"), ("power on", "power on")]
    {
        let body = json!({"target": target});
        assert_eq!(rig.call("PUT", "/nodes/n1/states/power", body).await.0, StatusCode::ACCEPTED, "{target}");
        assert_eq!(rig.at_rest().await["power_state"], state, "{target}");
    }
    let (_, device) = rig.call("GET", "/nodes/n1/management/boot_device", Value::Null).await;
    assert_eq!((&device["boot_device"], &device["persistent"]), (&json!("pxe"), &json!(false)));
    let disk = json!({"boot_device": "disk", "persistent": true});
    assert_eq!(rig.call("PUT", "/nodes/n1/management/boot_device", disk).await.0, StatusCode::NO_CONTENT);
    assert_eq!(rig.call("GET", "/nodes/n1/management/boot_device", Value::Null).await.1["boot_device"], "disk");
    let never = json!([{"op": "replace", "path": "/disable_power_off", "value": true}]);
    assert_eq!(rig.call("PATCH", "/nodes/n1", never).await.0, StatusCode::OK);
    let off = rig.call("PUT", "/nodes/n1/states/power", json!({"target": "power off"})).await;
    assert_eq!(off.0, StatusCode::BAD_REQUEST, "{}", off.1);
}

#[tokio::test]
async fn what_a_machine_is_told_is_seen_and_what_it_can_not_is_refused() {
    let rig = Rig::new().await;
    rig.fake(json!({})).await;
    rig.node("real").await;
    let raid = json!({"logical_disks": [{"size_gb": 100, "raid_level": "1"}]});
    for (path, body, status) in [
        ("states/console", json!({"enabled": true}), StatusCode::ACCEPTED),
        ("states/raid", raid.clone(), StatusCode::NO_CONTENT),
        ("states/boot_mode", json!({"target": "uefi"}), StatusCode::ACCEPTED),
        ("states/secure_boot", json!({"target": true}), StatusCode::ACCEPTED),
        ("management/indicators/led@system", json!({"state": "BLINKING"}), StatusCode::NO_CONTENT),
    ] {
        let done = rig.call("PUT", &format!("/nodes/n1/{path}"), body.clone()).await;
        assert_eq!(done.0, status, "{path}: {}", done.1);
        let refused = rig.call("PUT", &format!("/nodes/real/{path}"), body).await;
        assert!(refused.0.is_client_error(), "{path}: {}", refused.1);
        assert!(fault(&refused.1).contains("does not support"), "{path}: {}", refused.1);
    }
    let states = rig.call("GET", "/nodes/n1/states", Value::Null).await.1;
    assert_eq!(
        (&states["console_enabled"], &states["target_raid_config"], &states["boot_mode"], &states["secure_boot"]),
        (&json!(true), &raid, &json!("uefi"), &json!(true))
    );
    let led = rig.call("GET", "/nodes/n1/management/indicators/led@system", Value::Null).await.1;
    assert_eq!(led, json!({"state": "BLINKING"}));
    for (method, path) in [("GET", "management/indicators"), ("POST", "vmedia"), ("POST", "vendor_passthru/x")] {
        let refused = rig.call(method, &format!("/nodes/real/{path}"), json!({})).await;
        assert_eq!(refused.0, StatusCode::BAD_REQUEST, "{path}");
    }
    let (_, verdicts) = rig.call("GET", "/nodes/real/validate", Value::Null).await;
    assert_eq!((&verdicts["raid"]["result"], &verdicts["power"]["result"]), (&Value::Null, &json!(true)));
    assert_eq!(verdicts["rescue"], json!({"result": true}));
    let (_, verdicts) = rig.call("GET", "/nodes/n1/validate", Value::Null).await;
    assert!(verdicts.as_object().expect("an object").values().all(|verdict| verdict["result"] == true), "{verdicts}");
}
