//! Rows about nodes: their documents, each attribute that a rule guards, and what is done with the machine.

use super::row::Row;
use super::scene::Making;
use serde_json::{Value, json};

/// `{node}` is manageable, `{free}` available, `{active}` and `{rescued}` are what they say. All belong to the owner's
/// project and are lent to the lessee's.
pub(super) async fn make(scene: &mut Making) {
    for name in ["node", "free", "active", "rescued", "held"] {
        let body = json!({
            "driver": "fake-hardware", "name": name, "owner": "{owner}", "lessee": "{lessee}", "resource_class": name,
        });
        scene.make(name, "sys-adm", "/baremetal/v1/nodes", body, "/uuid").await;
        scene.verb(name, json!({"target": "manage"})).await;
    }
    scene.verb("node", json!({"target": "inspect"})).await;
    for name in ["free", "active", "rescued", "held"] {
        scene.verb(name, json!({"target": "provide"})).await;
    }
    for name in ["active", "rescued"] {
        scene.verb(name, json!({"target": "active"})).await;
    }
    scene.verb("rescued", json!({"target": "rescue", "rescue_password": "a word"})).await;
    scene.ask("sys-adm", "PUT", "/baremetal/v1/nodes/{node}/traits", json!({"traits": ["CUSTOM_T"]})).await;
    let history = scene.ask("sys-adm", "GET", "/baremetal/v1/nodes/{node}/history", Value::Null).await;
    let entry = history["history"][0]["uuid"].as_str().expect("an entry").to_owned();
    scene.things.insert("entry", entry);
}

fn row(method: &'static str, path: &str) -> Row {
    Row::new("baremetal", method, path)
}

pub(super) fn rows() -> Vec<Row> {
    [documents(), patches(), verbs(), states(), machine(), parts()].concat()
}

fn documents() -> Vec<Row> {
    let node = "/nodes/{node}";
    let fake = |more: Value| {
        let mut body = json!({"driver": "fake-hardware"});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    vec![
        row("GET", "/nodes").lists("{node}"),
        row("GET", "/nodes/detail").lists("{node}"),
        row("GET", "/nodes?owner={owner}").lists("{node}"),
        row("GET", "/nodes?lessee={lessee}").lists("{node}"),
        row("POST", "/nodes").with(fake(json!({}))).called("of one's own"),
        row("POST", "/nodes").with(fake(json!({"owner": "{other}"}))).called("owner {other}"),
        row("POST", "/nodes").with(fake(json!({"lessee": "{other}"}))).called("lessee {other}"),
        row("GET", node),
        row("GET", node).shows("/driver_info"),
        row("GET", node).shows("/driver_internal_info"),
        row("GET", node).shows("/instance_info"),
        row("GET", node).shows("/last_error"),
        row("GET", node).shows("/reservation"),
        row("DELETE", node),
        row("DELETE", "/nodes/{active}"),
        row("GET", "/nodes/{node}/children"),
        row("GET", "/shards"),
    ]
}

fn patches() -> Vec<Row> {
    let plain = [
        ("automated_clean", json!(false)),
        ("chassis_uuid", json!("{chassis}")),
        ("conductor_group", json!("")),
        ("deploy_interface", json!("fake")),
        ("description", json!("text")),
        ("disable_power_off", json!(true)),
        ("driver", json!("fake-hardware")),
        ("driver_info/fake_deploy_delay", json!(0)),
        ("extra/a", json!(1)),
        ("instance_info/a", json!(1)),
        ("instance_name", json!("web")),
        ("instance_uuid", json!("3d6ae8c5-0c0f-4f7b-9a6b-6a2a2bb0a001")),
        ("lessee", json!("{other}")),
        ("maintenance", json!(true)),
        ("name", json!("another")),
        ("network_data", json!({"links": []})),
        ("network_interface", json!("noop")),
        ("owner", json!("{other}")),
        ("parent_node", json!("{free}")),
        ("properties/a", json!(1)),
        ("resource_class", json!("another")),
        ("retired", json!(true)),
        ("shard", json!("s")),
        ("uuid", json!("3d6ae8c5-0c0f-4f7b-9a6b-6a2a2bb0a001")),
        ("provision_state", json!("available")),
    ];
    let patch = |node: &str, member: &str, value: Value| {
        let body = json!([{"op": "add", "path": format!("/{member}"), "value": value}]);
        row("PATCH", node).with(body).called(member)
    };
    let mut rows: Vec<Row> = plain.into_iter().map(|(member, value)| patch("/nodes/{node}", member, value)).collect();
    rows.extend(["extra/a", "instance_info/a"].map(|member| patch("/nodes/{free}", member, json!(1))));
    rows.push(patch("/nodes/{active}", "protected", json!(true)));
    rows
}

fn verbs() -> Vec<Row> {
    let steps = json!([{"interface": "deploy", "step": "erase_devices"}]);
    let verb = |node: &str, target: &str, more: Value| {
        let mut body = json!({"target": target});
        body.as_object_mut()
            .expect("an object")
            .extend(more.as_object().into_iter().flatten().map(|(a, b)| (a.clone(), b.clone())));
        row("PUT", &format!("/nodes/{{{node}}}/states/provision")).with(body).called(target)
    };
    vec![
        verb("free", "manage", Value::Null),
        verb("node", "provide", Value::Null),
        verb("node", "inspect", Value::Null),
        verb("node", "adopt", Value::Null),
        verb("node", "clean", json!({ "clean_steps": steps })),
        verb("node", "abort", Value::Null),
        verb("free", "active", Value::Null),
        verb("free", "active", json!({"configdrive": {"user_data": "x"}})).called("active with a config drive"),
        verb("active", "rebuild", Value::Null),
        verb("active", "deleted", Value::Null),
        verb("active", "rescue", json!({"rescue_password": "a word"})),
        verb("rescued", "unrescue", Value::Null),
        verb("active", "service", json!({ "service_steps": steps })),
        verb("active", "service", json!({"runbook": "CUSTOM_R"})).called("service by runbook"),
    ]
}

fn states() -> Vec<Row> {
    let raid = json!({"logical_disks": [{"size_gb": 100, "raid_level": "1"}]});
    let mut rows = vec![
        row("GET", "/nodes/{node}/states"),
        row("GET", "/nodes/{active}/states/console"),
        row("PUT", "/nodes/{active}/states/console").with(json!({"enabled": true})),
        row("PUT", "/nodes/{node}/states/raid").with(raid),
        row("PUT", "/nodes/{active}/states/boot_mode").with(json!({"target": "uefi"})),
        row("PUT", "/nodes/{active}/states/secure_boot").with(json!({"target": true})),
        row("PUT", "/nodes/{node}/maintenance").with(json!({"reason": "x"})),
        row("DELETE", "/nodes/{node}/maintenance"),
    ];
    for target in ["power on", "power off", "rebooting", "soft power off", "soft rebooting"] {
        rows.push(row("PUT", "/nodes/{active}/states/power").with(json!({"target": target})).called(target));
    }
    rows
}

fn machine() -> Vec<Row> {
    let at = |method, tail: &str| row(method, &format!("/nodes/{{active}}{tail}"));
    vec![
        at("GET", "/management/boot_device"),
        at("PUT", "/management/boot_device").with(json!({"boot_device": "disk"})),
        at("GET", "/management/boot_device/supported"),
        at("PUT", "/management/inject_nmi").with(json!({})),
        at("GET", "/management/indicators"),
        at("GET", "/management/indicators/led@system"),
        at("PUT", "/management/indicators/led@system").with(json!({"state": "ON"})),
        at("GET", "/vmedia"),
        at("POST", "/vmedia").with(json!({"device_type": "cdrom", "image_url": "http://box/i.iso"})),
        at("GET", "/vendor_passthru/methods"),
        at("POST", "/vendor_passthru/x").with(json!({})),
        at("GET", "/bios"),
        at("GET", "/firmware"),
    ]
}

fn parts() -> Vec<Row> {
    let at = |method, tail: &str| row(method, &format!("/nodes/{{node}}{tail}"));
    vec![
        at("GET", "/validate"),
        at("GET", "/history"),
        at("GET", "/history/{entry}"),
        at("GET", "/inventory"),
        at("GET", "/traits"),
        at("PUT", "/traits").with(json!({"traits": ["CUSTOM_U"]})),
        at("DELETE", "/traits"),
        at("PUT", "/traits/CUSTOM_U"),
        at("DELETE", "/traits/CUSTOM_T"),
        at("GET", "/vifs"),
        at("POST", "/vifs").with(json!({"id": "{vif}"})).called("{vif}"),
        at("POST", "/vifs").with(json!({"id": "{owner-vif}"})).called("{owner-vif}"),
        at("DELETE", "/vifs/{attached}"),
    ]
}
