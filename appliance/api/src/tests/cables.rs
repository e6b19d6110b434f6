//! Who says which switch port a node's cable goes to, where this box sets switch ports.

use super::tenants::{Tenant, tenant};
use super::*;
use leasehold_drivers::switch::fake::FakeSwitch;
use leasehold_drivers::switch::{Switch, SwitchError, Vlan};
use leasehold_engine::switches::{KnownSwitch, Stand, Switches};

fn switches() -> (Arc<FakeSwitch>, Switches) {
    let vlan = |number| Vlan::new(number).expect("a VLAN");
    let driver = Arc::new(FakeSwitch::new(["n1", "n2"]));
    let known = KnownSwitch {
        name: "tor1".into(),
        id: None,
        ports: ["n1", "n2"].map(str::to_owned).into(),
        physical_network: None,
        idle: vlan(4000),
        provisioning: vlan(100),
        cleaning: vlan(100),
        driver: driver.clone(),
    };
    (driver, Switches::new(vec![known]))
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

    rig.api.engine.switches = Arc::new(switches().1);
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

#[tokio::test]
async fn a_cable_is_cut_before_it_is_forgotten() {
    let mut rig = Rig::new().await;
    let (driver, known) = switches();
    rig.api.engine.switches = Arc::new(known);
    let (status, node) = rig.call("POST", "/nodes", json!({"driver": "fake-hardware", "name": "n1"})).await;
    assert_eq!(status, StatusCode::CREATED, "{node}");
    let port =
        |mac: &str, link: Value| json!({"node_uuid": node["uuid"], "address": mac, "local_link_connection": link});
    // Ironic's own form, and the one with the switch's name alone.
    let by_name = json!({"switch_info": "tor1", "port_id": "n1"});
    let (status, first) = rig.call("POST", "/ports", port("52:54:00:00:00:01", by_name)).await;
    assert_eq!(status, StatusCode::CREATED, "{first}");
    for (link, why) in [
        (cable("n1"), "is noted for port 52:54:00:00:00:01, too"),
        (cable("n3"), "not among the ports of switch 'tor1'"),
        (json!({"switch_info": "tor2", "port_id": "n2"}), "no switch of the configuration (tor1)"),
    ] {
        let (status, answer) = rig.call("POST", "/ports", port("52:54:00:00:00:02", link)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        assert!(answer.to_string().contains(why), "{answer}");
    }

    let id = |value: &Value| value["uuid"].as_str().expect("a UUID").parse().expect("a UUID");
    let (node, engine) = (leasehold_domain::id::NodeId(id(&node)), &rig.api.engine);
    let provisioning = async || engine.switches.set(&engine.store, node, Stand::Provisioning).await.expect("set");
    let standing = async || driver.port("n1").await.expect("a port").standing();
    let dead = || driver.fail(SwitchError::Unreachable { switch: "tor1".into(), detail: "x".into() });
    let held = || engine.view().hardware.switch_ports.after(None).count();
    let path = format!("/ports/{}", first["uuid"].as_str().expect("a UUID"));
    assert_eq!(rig.call("PUT", &format!("/nodes/{node}/maintenance"), json!({})).await.0, StatusCode::ACCEPTED);
    let moved = json!([{"op": "replace", "path": "/local_link_connection/port_id", "value": "n2"}]);
    let unnoted = json!([{"op": "remove", "path": "/local_link_connection"}]);
    let (port, machine) = (path.as_str(), format!("/nodes/{node}"));
    for (method, path, body) in [
        ("PATCH", port, moved),
        ("PATCH", port, unnoted),
        ("DELETE", port, Value::Null),
        ("DELETE", &machine, Value::Null),
    ] {
        provisioning().await;
        dead();
        let (status, answer) = rig.call(method, path, body.clone()).await;
        assert_eq!(status, StatusCode::CONFLICT, "{method} {body}: {answer}");
        assert!(
            answer.to_string().contains("the cable is not forgotten: the switch 'tor1' does not answer"),
            "{answer}"
        );
        assert_eq!((standing().await.as_str(), held()), ("VLAN 100, protected", 1));
    }
    let moved = json!([{"op": "replace", "path": "/local_link_connection/port_id", "value": "n2"}]);
    assert_eq!(rig.call("PATCH", &path, moved).await.0, StatusCode::OK);
    assert_eq!((standing().await.as_str(), held()), ("idle", 0));
    provisioning().await;
    assert_eq!(rig.call("DELETE", &machine, Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!((driver.port("n2").await.expect("a port").standing().as_str(), held()), ("idle", 0));
}

#[tokio::test]
async fn the_boxs_own_vlans_are_no_networks() {
    let mut rig = Rig::new().await;
    rig.api.engine.switches = Arc::new(switches().1);
    let network = |vlan: u16| json!({"network": {"name": "n", "provider:network_type": "vlan", "provider:segmentation_id": vlan}});
    let ask = async |method: &str, path: &str, body: Value| rig.raw(method, path, body.to_string(), &[]).await;
    for vlan in [100, 4000] {
        let (status, answer) = ask("POST", "/network/v2.0/networks", network(vlan)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        assert!(answer.to_string().contains(&format!("the appliance keeps machines on VLAN {vlan}")), "{answer}");
    }
    let (status, made) = ask("POST", "/network/v2.0/networks", network(300)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let path = format!("/network/v2.0/networks/{}", made["network"]["id"].as_str().expect("an id"));
    let change = |vlan: u16| json!({"network": {"provider:segmentation_id": vlan, "name": "other"}});
    assert_eq!(ask("PUT", &path, change(100)).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask("PUT", &path, change(301)).await.0, StatusCode::OK);
}
