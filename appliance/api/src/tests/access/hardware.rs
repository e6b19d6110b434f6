//! Rows about what belongs to nodes, what is kept beside them, and what calls come from machines.

use super::row::Row;
use super::scene::Making;
use serde_json::{Value, json};

fn steps(rank: &str) -> Value {
    json!([{"interface": "deploy", "step": "erase_devices", "args": {}, rank: 1}])
}

pub(super) async fn make(scene: &mut Making) {
    let v1 = "/baremetal/v1";
    let body = json!({"node_uuid": "{node}", "name": "bond0", "address": "52:54:00:00:00:aa"});
    scene.make("portgroup", "sys-adm", &format!("{v1}/portgroups"), body, "/uuid").await;
    for (name, address) in [("port", "52:54:00:00:00:01"), ("second", "52:54:00:00:00:02")] {
        let body = json!({"node_uuid": "{node}", "address": address});
        scene.make(name, "sys-adm", &format!("{v1}/ports"), body, "/uuid").await;
    }
    let body = json!({"node_uuid": "{node}", "type": "iqn", "connector_id": "iqn.x"});
    scene.make("connector", "sys-adm", &format!("{v1}/volume/connectors"), body, "/uuid").await;
    let body = json!({
        "node_uuid": "{node}", "volume_type": "iscsi", "volume_id": "v1", "boot_index": 0,
        "properties": {"target_portal": "10.0.0.1"},
    });
    scene.make("target", "sys-adm", &format!("{v1}/volume/targets"), body, "/uuid").await;
    scene.make("chassis", "sys-adm", &format!("{v1}/chassis"), json!({}), "/uuid").await;
    let body = json!({"name": "CUSTOM_D", "steps": steps("priority")});
    scene.make("template", "sys-adm", &format!("{v1}/deploy_templates"), body, "/uuid").await;
    let body = json!({"name": "CUSTOM_P", "steps": steps("order"), "public": true});
    scene.make("public-runbook", "sys-adm", &format!("{v1}/runbooks"), body, "/uuid").await;
    let body = json!({"name": "CUSTOM_R", "steps": steps("order")});
    scene.make("runbook", "own-adm", &format!("{v1}/runbooks"), body, "/uuid").await;
    let body = json!({"actions": [{"op": "log", "args": {"msg": "x"}}], "phase": "main"});
    scene.make("rule", "sys-adm", &format!("{v1}/inspection_rules"), body, "/uuid").await;
    let body = json!({"resource_class": "held", "name": "a1"});
    scene.make("allocation", "les-adm", &format!("{v1}/allocations"), body, "/uuid").await;
    let shown = scene.ask("les-adm", "GET", "/baremetal/v1/allocations/{allocation}", Value::Null).await;
    assert_eq!(shown["state"], "active", "{shown}");
}

fn row(method: &'static str, path: &str) -> Row {
    Row::new("baremetal", method, path)
}

fn add(path: &str, value: Value) -> Value {
    json!([{"op": "add", "path": path, "value": value}])
}

pub(super) fn rows() -> Vec<Row> {
    [cards(), volumes(), allocations(), kept(), the_box()].concat()
}

fn cards() -> Vec<Row> {
    let mut rows = vec![
        row("GET", "/nodes/{node}/ports").lists("{port}"),
        row("GET", "/nodes/{node}/portgroups").lists("{portgroup}"),
        row("GET", "/portgroups/{portgroup}/ports"),
    ];
    for (list, thing, address) in
        [("/ports", "{port}", "52:54:00:00:00:03"), ("/portgroups", "{portgroup}", "52:54:00:00:00:bb")]
    {
        let one = format!("{list}/{thing}");
        rows.extend([
            row("GET", list).lists(thing),
            row("GET", &format!("{list}/detail")).lists(thing),
            row("POST", list).with(json!({"node_uuid": "{node}", "address": address})).called("of {node}"),
            row("GET", &one),
            row("PATCH", &one).with(add("/extra/a", json!(1))).called("extra/a"),
            row("PATCH", &one).with(add("/node_uuid", json!("{free}"))).called("node_uuid {free}"),
            row("DELETE", &one),
        ]);
    }
    rows
}

fn volumes() -> Vec<Row> {
    let connector = json!({"node_uuid": "{node}", "type": "iqn", "connector_id": "iqn.y"});
    let target = json!({"node_uuid": "{node}", "volume_type": "iscsi", "volume_id": "v2", "boot_index": 1});
    let mut rows = vec![
        row("GET", "/volume"),
        row("GET", "/nodes/{node}/volume"),
        row("GET", "/volume/targets/{target}").shows("/properties"),
    ];
    for (list, thing, body) in
        [("/volume/connectors", "{connector}", connector), ("/volume/targets", "{target}", target)]
    {
        let one = format!("{list}/{thing}");
        rows.extend([
            row("GET", list).lists(thing),
            row("GET", &format!("/nodes/{{node}}{list}")).lists(thing),
            row("POST", list).with(body).called("of {node}"),
            row("GET", &one),
            row("PATCH", &one).with(add("/extra/a", json!(1))).called("extra/a"),
            row("DELETE", &one),
        ]);
    }
    rows
}

fn allocations() -> Vec<Row> {
    let want = |more: Value| {
        let mut body = json!({"resource_class": "free"});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        row("POST", "/allocations").with(body)
    };
    vec![
        row("GET", "/allocations").lists("{allocation}"),
        want(json!({})).called("of one's own"),
        want(json!({"owner": "{lessee}"})).called("owner {lessee}"),
        want(json!({"candidate_nodes": ["{free}"]})).called("candidate {free}"),
        want(json!({"node": "{active}"})).called("backfill {active}"),
        row("GET", "/allocations/{allocation}"),
        row("PATCH", "/allocations/{allocation}").with(add("/extra/a", json!(1))).called("extra/a"),
        row("PATCH", "/allocations/{allocation}").with(add("/owner", json!("{other}"))).called("owner {other}"),
        row("DELETE", "/allocations/{allocation}"),
        row("GET", "/nodes/{held}/allocation"),
        row("DELETE", "/nodes/{held}/allocation"),
    ]
}

/// What is kept beside nodes.
fn kept() -> Vec<Row> {
    let rule = json!({"actions": [{"op": "log", "args": {"msg": "x"}}], "phase": "main"});
    let mut rows = vec![
        row("GET", "/chassis/{chassis}/nodes"),
        row("GET", "/runbooks").lists("{public-runbook}"),
        row("GET", "/runbooks/{public-runbook}"),
        row("DELETE", "/runbooks/{public-runbook}"),
        row("POST", "/runbooks")
            .with(json!({"name": "CUSTOM_N", "steps": steps("order"), "public": true}))
            .called("public"),
        row("PATCH", "/runbooks/{runbook}").with(add("/public", json!(true))).called("public"),
        row("PATCH", "/runbooks/{runbook}").with(add("/owner", json!("{other}"))).called("owner {other}"),
        row("GET", "/runbooks/{runbook}/traits"),
        row("PUT", "/runbooks/{runbook}/traits").with(json!({"traits": ["CUSTOM_U"]})),
        row("PUT", "/runbooks/{runbook}/traits/CUSTOM_U"),
        row("DELETE", "/runbooks/{runbook}/traits"),
    ];
    for (list, thing, body, member) in [
        ("/chassis", "{chassis}", json!({}), "extra/a"),
        ("/deploy_templates", "{template}", json!({"name": "CUSTOM_N", "steps": steps("priority")}), "extra/a"),
        ("/runbooks", "{runbook}", json!({"name": "CUSTOM_N", "steps": steps("order")}), "extra/a"),
        ("/inspection_rules", "{rule}", rule, "description"),
    ] {
        let one = format!("{list}/{thing}");
        rows.extend([
            row("GET", list).lists(thing),
            row("POST", list).with(body),
            row("GET", &one),
            row("PATCH", &one).with(add(&format!("/{member}"), json!("x"))).called(member),
            row("DELETE", &one),
        ]);
    }
    rows
}

fn the_box() -> Vec<Row> {
    let event = json!({"events": [{"event": "network.bind_port", "port_id": "3d6ae8c5-0c0f-4f7b-9a6b-6a2a2bb0a001",
        "mac_address": "52:54:00:00:00:01", "status": "ACTIVE"}]});
    vec![
        row("GET", "/"),
        row("GET", "/drivers"),
        row("GET", "/drivers/fake-hardware"),
        row("GET", "/drivers/fake-hardware/properties"),
        row("GET", "/drivers/fake-hardware/raid/logical_disk_properties"),
        row("GET", "/drivers/fake-hardware/vendor_passthru/methods"),
        row("GET", "/conductors"),
        row("GET", "/conductors/box"),
        row("POST", "/events").with(event),
        row("GET", "/lookup?addresses=52:54:00:00:00:01"),
        row("POST", "/heartbeat/{node}").with(json!({"callback_url": "https://10.0.0.7:9999", "agent_token": "x"})),
    ]
}
