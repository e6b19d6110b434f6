//! Who says which switch port a node's cable goes to, where this box sets switch ports.

use super::tenants::{Tenant, tenant};
use super::*;
use leasehold_drivers::switch::Vlan;
use leasehold_drivers::switch::fake::FakeSwitch;
use leasehold_engine::switches::{KnownSwitch, Switches};

fn switches() -> Switches {
    let vlan = |number| Vlan::new(number).expect("a VLAN");
    let driver = Arc::new(FakeSwitch::new(["n1"]));
    let (provisioning, cleaning) = (vlan(100), vlan(100));
    Switches::new(vec![KnownSwitch { name: "tor1".into(), id: None, provisioning, cleaning, driver }])
}

fn cable(port: &str) -> Value {
    json!({"switch_info": "tor1", "switch_id": "00:00:5e:00:53:01", "port_id": port})
}

async fn ask(rig: &Rig, who: &Tenant, method: &str, path: &str, body: Value) -> Reply {
    let headers = [("x-auth-token", who.token.as_str()), (VERSION, "1.115")];
    let answer = rig.ask(method, &format!("/baremetal/v1{path}"), body, &headers).await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn an_owner_does_not_say_which_switch_port_is_his() {
    let mut rig = Rig::new().await;
    let owner = tenant(&rig, "owner", "admin").await;
    let node = json!({"driver": "fake-hardware", "name": "n1", "owner": owner.project});
    let (status, node) = rig.call("POST", "/nodes", node).await;
    assert_eq!(status, StatusCode::CREATED, "{node}");
    let port = |mac: &str| json!({"node_uuid": node["uuid"], "address": mac, "local_link_connection": cable("n1")});
    let (status, free) = ask(&rig, &owner, "POST", "/ports", port("52:54:00:00:00:01")).await;
    assert_eq!(status, StatusCode::CREATED, "no switch is set by this box: {free}");

    rig.api.engine.switches = Arc::new(switches());
    let (status, answer) = ask(&rig, &owner, "POST", "/ports", port("52:54:00:00:00:02")).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    let plain = json!({"node_uuid": node["uuid"], "address": "52:54:00:00:00:02"});
    let (status, plain) = ask(&rig, &owner, "POST", "/ports", plain).await;
    assert_eq!(status, StatusCode::CREATED, "a port without a cable is the owner's to make: {plain}");
    let path = |port: &Value| format!("/ports/{}", port["uuid"].as_str().expect("a UUID"));
    for patch in [
        json!([{"op": "add", "path": "/local_link_connection", "value": cable("n2")}]),
        json!([{"op": "replace", "path": "/local_link_connection/port_id", "value": "n2"}]),
        json!([{"op": "remove", "path": "/local_link_connection"}]),
        json!([{"op": "replace", "path": "/node_uuid", "value": node["uuid"]}]),
    ] {
        let (status, answer) = ask(&rig, &owner, "PATCH", &path(&free), patch.clone()).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{patch}: {answer}");
    }
    let other = json!([{"op": "add", "path": "/extra/a", "value": 1}]);
    assert_eq!(ask(&rig, &owner, "PATCH", &path(&free), other).await.0, StatusCode::OK, "the rest of it is his");
    assert_eq!(ask(&rig, &owner, "DELETE", &path(&free), Value::Null).await.0, StatusCode::FORBIDDEN);
    assert_eq!(ask(&rig, &owner, "DELETE", &path(&plain), Value::Null).await.0, StatusCode::NO_CONTENT);

    let moved = json!([{"op": "replace", "path": "/local_link_connection/port_id", "value": "n2"}]);
    assert_eq!(rig.call("PATCH", &path(&free), moved).await.0, StatusCode::OK, "the administrator may");
    assert_eq!(rig.call("DELETE", &path(&free), Value::Null).await.0, StatusCode::NO_CONTENT);
}
