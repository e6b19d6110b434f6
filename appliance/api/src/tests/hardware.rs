//! Chassis, port groups, allocations, templates, runbooks, volumes and rules over HTTP: what Ironic's clients do with them.

use super::tenants::{Scene, Tenant};
use super::{Rig, VERSION, fault};
use axum::http::StatusCode;
use serde_json::{Value, json};

/// A number of a status, for tables.
type Status = u16;

impl Rig {
    async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
        answer
    }

    async fn status(&self, method: &str, path: &str, body: Value) -> Status {
        self.call(method, path, body).await.0.as_u16()
    }

    async fn in_version(&self, version: &str, method: &str, path: &str, body: Value) -> (Status, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = self.raw(method, &format!("/baremetal/v1{path}"), body, &[(VERSION, version)]).await;
        (status.as_u16(), answer)
    }

    /// A node without a machine that can be allocated.
    async fn free_node(&self, name: &str, more: Value) -> String {
        let mut body = json!({"driver": "fake-hardware", "name": name, "resource_class": "c"});
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        let (status, node) = self.in_version("1.10", "POST", "/nodes", json!({"driver": "fake-hardware"})).await;
        assert_eq!(status, 201, "{node}");
        let id = node["uuid"].as_str().expect("a UUID").to_owned();
        let patch: Vec<Value> = body
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| *name != "driver" && *name != "traits")
            .map(|(name, value)| json!({"op": "add", "path": format!("/{name}"), "value": value}))
            .collect();
        self.ok("PATCH", &format!("/nodes/{id}"), patch.into()).await;
        let traits = body.get("traits").cloned().unwrap_or_else(|| json!([]));
        self.ok("PUT", &format!("/nodes/{id}/traits"), json!({ "traits": traits })).await;
        let command = leasehold_domain::Command::ObservePower {
            node: leasehold_domain::id::NodeId(id.parse().expect("a UUID")),
            power: Some(leasehold_domain::power::PowerState::Off),
            error: None,
        };
        let actor = leasehold_domain::Actor::System("test");
        self.api.engine.store.submit(command, actor).await.expect("taken");
        id
    }
}

fn uuid(of: &Value) -> String {
    of["uuid"].as_str().expect("a UUID").to_owned()
}

fn replace(path: &str, value: Value) -> Value {
    json!([{"op": "replace", "path": path, "value": value}])
}

#[tokio::test]
async fn an_allocation_is_asked_for_waited_for_and_given_back() {
    let rig = Rig::new().await;
    let node = rig.free_node("n1", json!({"traits": ["CUSTOM_X"]})).await;
    let body = json!({"name": "a1", "resource_class": "c", "traits": ["CUSTOM_X"], "candidate_nodes": ["n1"]});
    let asked = rig.ok("POST", "/allocations", body).await;
    assert_eq!(
        (&asked["state"], &asked["node_uuid"], &asked["last_error"]),
        (&json!("allocating"), &Value::Null, &Value::Null)
    );
    assert_eq!(asked["candidate_nodes"], json!([node]));
    let id = uuid(&asked);
    let shown = rig.ok("GET", "/allocations/a1", Value::Null).await;
    assert_eq!((&shown["state"], &shown["node_uuid"]), (&json!("active"), &json!(node)));
    assert_eq!(rig.ok("GET", &format!("/nodes/{node}/allocation"), Value::Null).await, shown);
    let held = rig.ok("GET", "/nodes/n1", Value::Null).await;
    assert_eq!((&held["allocation_uuid"], &held["instance_uuid"]), (&json!(id), &json!(id)));
    assert_eq!(held["instance_info"]["traits"], json!(["CUSTOM_X"]));

    let none = rig.ok("POST", "/allocations", json!({"resource_class": "c"})).await;
    let none = rig.ok("GET", &format!("/allocations/{}", uuid(&none)), Value::Null).await;
    assert_eq!(none["state"], "error");
    assert!(none["last_error"].as_str().is_some_and(|why| why.contains("resource class c")));
    let count = async |filter: &str| {
        let list = rig.ok("GET", &format!("/allocations?{filter}"), Value::Null).await;
        list["allocations"].as_array().map(Vec::len)
    };
    assert_eq!(count("state=active").await, Some(1));
    assert_eq!(count("state=allocating").await, Some(0));
    assert_eq!(count("resource_class=c").await, Some(2));
    assert_eq!(count(&format!("node={node}")).await, Some(1));
    let page = rig.ok("GET", "/allocations?limit=1", Value::Null).await;
    assert!(page["next"].as_str().is_some_and(|next| next.contains(&id)));

    let patched = rig.ok("PATCH", "/allocations/a1", replace("/name", json!("a2"))).await;
    assert_eq!(patched["name"], "a2");
    for (path, value) in
        [("/state", json!("active")), ("/owner", json!("p")), ("/name", json!("a b")), ("/uuid", json!(id))]
    {
        assert_eq!(rig.status("PATCH", "/allocations/a2", replace(path, value)).await, 400, "{path}");
    }
    assert_eq!(rig.status("DELETE", &format!("/nodes/{node}/allocation"), Value::Null).await, 204);
    assert_eq!(rig.status("GET", "/allocations/a2", Value::Null).await, 404);
    let free = rig.ok("GET", "/nodes/n1", Value::Null).await;
    assert_eq!((&free["allocation_uuid"], &free["instance_uuid"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn bad_requests_for_nodes_are_refused_and_make_nothing() {
    let rig = Rig::new().await;
    rig.free_node("n1", json!({})).await;
    for (body, status) in [
        (json!({}), 400),
        (json!({"resource_class": "c", "name": "a/b"}), 400),
        (json!({"resource_class": "c", "colour": "red"}), 400),
        (json!({"resource_class": "c", "traits": ["lower"]}), 400),
        (json!({"resource_class": "c", "candidate_nodes": ["nobody"]}), 400),
        (json!({"resource_class": "c", "node": "nobody"}), 400),
        (json!({"resource_class": "c", "node": "n1"}), 409),
        (json!({"resource_class": 7}), 400),
        (json!({"resource_class": "c", "uuid": "7"}), 400),
    ] {
        assert_eq!(rig.status("POST", "/allocations", body.clone()).await, status, "{body}");
    }
    let list = rig.ok("GET", "/allocations", Value::Null).await;
    assert_eq!(list, json!({"allocations": []}));
    let body = json!({"resource_class": "c"});
    assert_eq!(rig.in_version("1.51", "POST", "/allocations", body.clone()).await.0, 405);
    assert_eq!(rig.in_version("1.51", "GET", "/allocations", Value::Null).await.0, 404);
    let (_, old) = rig.in_version("1.52", "POST", "/allocations", body).await;
    assert!(old.get("owner").is_none());
    let path = format!("/allocations/{}", uuid(&old));
    assert_eq!(rig.in_version("1.56", "PATCH", &path, replace("/name", json!("x"))).await.0, 405);
    assert_eq!(rig.in_version("1.90", "GET", &format!("{path}.json"), Value::Null).await.0, 200);
    assert_eq!(rig.in_version("1.91", "GET", &format!("{path}.json"), Value::Null).await.0, 404);
}

impl Scene {
    async fn allocate(&self, who: &Tenant, body: Value) -> (Status, Value) {
        let (status, made) = self.ask(who, "POST", "/allocations", body).await;
        if !status.is_success() {
            return (status.as_u16(), made);
        }
        let (_, shown) = self.ask(who, "GET", &format!("/allocations/{}", uuid(&made)), Value::Null).await;
        (status.as_u16(), shown)
    }
}

#[tokio::test]
async fn a_project_is_given_what_it_owns_or_leases() {
    let scene = Scene::new("member", "member").await;
    let mine = json!({"owner": scene.owner.project, "lessee": scene.lessee.project});
    scene.rig.free_node("lent", mine).await;
    let want = json!({"resource_class": "c"});
    let (_, none) = scene.allocate(&scene.stranger, want.clone()).await;
    assert_eq!((&none["state"], &none["owner"]), (&json!("error"), &json!(scene.stranger.project)));
    let named = json!({"resource_class": "c", "candidate_nodes": ["lent"]});
    let (status, refused) = scene.allocate(&scene.stranger, named).await;
    assert_eq!(status, 400, "{refused}");
    let anothers = json!({"resource_class": "c", "owner": scene.lessee.project});
    assert_eq!(scene.allocate(&scene.stranger, anothers).await.0, 403, "nobody takes for another");

    let (_, given) = scene.allocate(&scene.lessee, want).await;
    assert_eq!((&given["state"], &given["owner"]), (&json!("active"), &json!(scene.lessee.project)));
    let path = format!("/allocations/{}", uuid(&given));
    for method in ["GET", "DELETE"] {
        let answer = scene.ask(&scene.stranger, method, &path, Value::Null).await;
        assert_eq!(answer.0, StatusCode::NOT_FOUND);
    }
    let (_, list) = scene.ask(&scene.stranger, "GET", "/allocations", Value::Null).await;
    assert_eq!(list["allocations"].as_array().map(Vec::len), Some(1), "his own, which failed");
    let others = format!("/allocations?owner={}", scene.lessee.project);
    assert_eq!(scene.ask(&scene.stranger, "GET", &others, Value::Null).await.0, StatusCode::FORBIDDEN);
    assert_eq!(scene.ask(&scene.lessee, "DELETE", &path, Value::Null).await.0, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn chassis_hold_nodes() {
    let rig = Rig::new().await;
    let chassis = rig.ok("POST", "/chassis", json!({"description": "В Україні ♡", "extra": {"a": 1}})).await;
    let path = format!("/chassis/{}", uuid(&chassis));
    assert_eq!(chassis["nodes"][0]["href"], format!("http://localhost/baremetal/v1{path}/nodes"));
    rig.free_node("n1", json!({"chassis_uuid": uuid(&chassis)})).await;
    rig.free_node("n2", json!({})).await;
    let nodes = rig.ok("GET", &format!("{path}/nodes"), Value::Null).await;
    assert_eq!((nodes["nodes"].as_array().map(Vec::len), &nodes["nodes"][0]["name"]), (Some(1), &json!("n1")));
    assert_eq!(rig.status("DELETE", &path, Value::Null).await, 400);
    let patch = json!([{"op": "remove", "path": "/extra/a"}, {"op": "add", "path": "/extra/b", "value": [1]}]);
    assert_eq!(rig.ok("PATCH", &path, patch).await["extra"], json!({"b": [1]}));
    assert_eq!(rig.status("PATCH", &path, replace("/uuid", json!("x"))).await, 400);
    assert_eq!(rig.status("POST", "/chassis", json!({"uuid": uuid(&chassis)})).await, 409);
    assert_eq!(rig.status("POST", "/chassis", json!({"description": "x".repeat(256)})).await, 400);
    let list = rig.ok("GET", "/chassis", Value::Null).await;
    assert!(list["chassis"][0].get("extra").is_none() && list["chassis"][0].get("links").is_some());
    let detail = rig.ok("GET", "/chassis/detail", Value::Null).await;
    assert_eq!(detail["chassis"][0]["extra"], json!({"b": [1]}));
    for (query, status) in [("fields=extra", 200), ("fields=colour", 400), ("sort_key=extra", 400), ("colour=red", 400)]
    {
        assert_eq!(rig.status("GET", &format!("/chassis?{query}"), Value::Null).await, status, "{query}");
    }
}

#[tokio::test]
async fn port_groups_join_ports_of_one_node() {
    let rig = Rig::new().await;
    let node = rig.node("n1").await;
    let body =
        json!({"node_uuid": node["uuid"], "name": "bond0", "address": "52:54:00:00:00:AA", "properties": {"m": 1}});
    let group = rig.ok("POST", "/portgroups", body.clone()).await;
    assert_eq!((&group["mode"], &group["standalone_ports_supported"]), (&json!("active-backup"), &json!(true)));
    assert_eq!(group["address"], "52:54:00:00:00:aa");
    assert_eq!(rig.status("POST", "/portgroups", body).await, 409);
    let port = json!({"node_uuid": node["uuid"], "address": "52:54:00:00:00:01", "portgroup_uuid": group["uuid"]});
    rig.ok("POST", "/ports", port).await;
    rig.port(&node, "52:54:00:00:00:02").await;
    for path in ["/portgroups/bond0/ports", "/portgroups/bond0/ports/detail"] {
        let ports = rig.ok("GET", path, Value::Null).await;
        assert_eq!(ports["ports"].as_array().map(Vec::len), Some(1), "{path}");
    }
    let of_node = rig.ok("GET", "/nodes/n1/portgroups", Value::Null).await;
    assert_eq!(of_node["portgroups"][0]["uuid"], group["uuid"]);
    assert_eq!(rig.status("DELETE", "/portgroups/bond0", Value::Null).await, 400);
    let alone = replace("/standalone_ports_supported", json!(false));
    assert_eq!(rig.status("PATCH", "/portgroups/bond0", alone).await, 409);
    assert_eq!(rig.status("PATCH", "/portgroups/bond0", json!([{"op": "remove", "path": "/mode"}])).await, 400);
    assert_eq!(rig.status("GET", "/portgroups?node=n1&address=52:54:00:00:00:aa", Value::Null).await, 400);
    let found = rig.ok("GET", "/portgroups?address=52:54:00:00:00:AA", Value::Null).await;
    assert_eq!(found["portgroups"][0]["name"], "bond0");
    assert_eq!(rig.in_version("1.22", "GET", "/portgroups", Value::Null).await.0, 404);
    assert_eq!(rig.in_version("1.23", "GET", "/nodes/n1/portgroups", Value::Null).await.0, 404);
    let (_, old) = rig.in_version("1.25", "GET", "/portgroups/bond0", Value::Null).await;
    assert!(old.get("mode").is_none() && old.get("physical_network").is_none());
    let mode = json!({"node_uuid": node["uuid"], "mode": "802.3ad"});
    assert_eq!(rig.in_version("1.25", "POST", "/portgroups", mode).await.0, 406);
}

#[tokio::test]
async fn templates_and_runbooks_are_written_changed_and_named() {
    let rig = Rig::new().await;
    let steps =
        |rank: &str| json!([{"interface": "bios", "step": "apply_configuration", "args": {"password": "x"}, rank: 1}]);
    for (path, rank, since) in [("/deploy_templates", "priority", 55), ("/runbooks", "order", 92)] {
        let body = json!({"name": "CUSTOM_T", "steps": steps(rank)});
        let made = rig.ok("POST", path, body.clone()).await;
        let one = format!("{path}/CUSTOM_T");
        assert_eq!(made["steps"][0]["args"]["password"], "******", "what is secret by its name");
        assert_eq!((rig.status("POST", path, body).await, made["extra"].clone()), (409, json!({})));
        let more = json!([
            {"op": "add", "path": "/steps/1", "value": {"interface": "raid", "step": "s", "args": {}, rank: 2}},
            {"op": "replace", "path": "/name", "value": "CUSTOM_U"},
        ]);
        let changed = rig.ok("PATCH", &one, more).await;
        assert_eq!((&changed["name"], &changed["steps"][1][rank]), (&json!("CUSTOM_U"), &json!(2)));
        let one = format!("{path}/CUSTOM_U");
        for bad in [
            json!([{"op": "remove", "path": "/steps"}]),
            json!([{"op": "remove", "path": "/name"}]),
            json!([{"op": "replace", "path": "/name", "value": ""}]),
            json!([{"op": "replace", "path": "/steps/0", "value": {"interface": "disk", "step": "s", "args": {}, rank: 2}}]),
            json!([{"op": "add", "path": "/colour", "value": 1}]),
        ] {
            assert_eq!(rig.status("PATCH", &one, bad.clone()).await, 400, "{path} {bad}");
        }
        for bad in [
            json!({"name": "CUSTOM_V"}),
            json!({"steps": steps(rank)}),
            json!({"name": "CUSTOM_V", "steps": {}}),
            json!({"name": "CUSTOM_V", "steps": [{"nothing": 1}]}),
            json!({"name": "CUSTOM_V", "steps": steps(rank), "uuid": "malformed:uuid"}),
        ] {
            assert_eq!(rig.status("POST", path, bad.clone()).await, 400, "{path} {bad}");
        }
        let before = format!("1.{}", since - 1);
        assert_eq!(rig.in_version(&before, "GET", path, Value::Null).await.0, 404);
        for method in ["POST", "PATCH", "DELETE"] {
            let target = if method == "POST" { path } else { &one };
            assert_eq!(rig.in_version(&before, method, target, json!({})).await.0, 405, "{method} {path}");
        }
        let brief = rig.ok("GET", path, Value::Null).await;
        let item = &brief[path.trim_start_matches('/')][0];
        assert!(item.get("steps").is_none() && item["name"] == "CUSTOM_U", "{brief}");
        assert_eq!(rig.status("DELETE", &one, Value::Null).await, 204);
        assert_eq!(rig.status("GET", &one, Value::Null).await, 404);
    }
    let any = json!({"name": "my-runbook", "steps": steps("order")});
    assert_eq!(rig.in_version("1.111", "POST", "/runbooks", any.clone()).await.0, 400, "no trait");
    rig.ok("POST", "/runbooks", any).await;
    rig.ok("PUT", "/runbooks/my-runbook/traits", json!({"traits": ["CUSTOM_A"]})).await;
    rig.ok("PUT", "/runbooks/my-runbook/traits/CUSTOM_B", Value::Null).await;
    assert_eq!(rig.status("PUT", "/runbooks/my-runbook/traits/lower", Value::Null).await, 400);
    assert_eq!(rig.status("DELETE", "/runbooks/my-runbook/traits/CUSTOM_A", Value::Null).await, 204);
    let traits = rig.ok("GET", "/runbooks/my-runbook/traits", Value::Null).await;
    assert_eq!(traits, json!({"traits": ["CUSTOM_B"]}));
}

#[tokio::test]
async fn a_runbook_is_for_its_projects_nodes_or_for_all() {
    let scene = Scene::new("admin", "admin").await;
    let steps = json!([{"interface": "deploy", "step": "erase_devices", "args": {}, "order": 1}]);
    let body = json!({"name": "CUSTOM_R", "steps": steps});
    let (status, made) = scene.ask(&scene.owner, "POST", "/runbooks", body.clone()).await;
    assert_eq!((status, &made["owner"]), (StatusCode::CREATED, &json!(scene.owner.project)));
    let path = format!("/runbooks/{}", uuid(&made));
    for bad in [json!({"public": true}), json!({"owner": scene.stranger.project})] {
        let mut all = json!({"name": "CUSTOM_S", "steps": steps});
        all.as_object_mut().expect("an object").extend(bad.as_object().expect("an object").clone());
        assert_eq!(scene.ask(&scene.owner, "POST", "/runbooks", all).await.0, StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(scene.ask(&scene.stranger, "GET", &path, Value::Null).await.0, StatusCode::NOT_FOUND);
    let public = replace("/public", json!(true));
    assert_eq!(scene.ask(&scene.owner, "PATCH", &path, public.clone()).await.0, StatusCode::FORBIDDEN);

    let clean = json!({"target": "clean", "runbook": "CUSTOM_R"});
    let node = format!("/nodes/{}", scene.node);
    scene.rig.ok("PUT", &format!("{node}/states/provision"), json!({"target": "manage"})).await;
    let job = scene.rig.api.engine.start();
    let mut feed = scene.rig.api.engine.store.subscribe();
    while scene.rig.ok("GET", &node, Value::Null).await["provision_state"] != "manageable" {
        feed.next().await;
    }
    drop(job);
    let verb = format!("{node}/states/provision");
    let (status, refused) = scene.ask(&scene.owner, "PUT", &verb, clean.clone()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(fault(&refused).contains("not been approved"), "{refused}");
    scene.rig.ok("PUT", &format!("{node}/traits"), json!({"traits": ["CUSTOM_R"]})).await;
    scene.rig.ok("PUT", &format!("{path}/traits"), json!({"traits": ["CUSTOM_R"]})).await;
    let (status, answer) = scene.ask(&scene.owner, "PUT", &verb, clean).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");

    assert_eq!(scene.rig.ok("PATCH", &path, public).await["owner"], Value::Null, "everybody's is nobody's");
    assert_eq!(scene.ask(&scene.stranger, "GET", &path, Value::Null).await.0, StatusCode::OK);
    let owner = replace("/owner", json!("p"));
    assert_eq!(scene.rig.status("PATCH", &path, owner).await, 400);
}

#[tokio::test]
async fn volumes_are_records_of_their_node() {
    let rig = Rig::new().await;
    let node = rig.free_node("n1", json!({})).await;
    let body = json!({
        "node_uuid": node, "volume_type": "iscsi", "volume_id": "v1", "boot_index": 0,
        "properties": {"target_portal": "10.0.0.1"}, "extra": {"a": 1, "b": 2},
    });
    let target = rig.ok("POST", "/volume/targets", body.clone()).await;
    assert_eq!(target["properties"]["target_portal"], "10.0.0.1");
    let (status, refused) = rig.call("POST", "/volume/targets", body).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(fault(&refused).starts_with("A volume target") && fault(&refused).contains("already exists"));
    let connector = json!({"node_uuid": node, "type": "iqn", "connector_id": "iqn.x"});
    rig.ok("POST", "/volume/connectors", connector.clone()).await;
    assert_eq!(rig.status("POST", "/volume/connectors", connector).await, 409);
    let path = format!("/volume/targets/{}", uuid(&target));
    let changed = rig.ok("PATCH", &path, json!([{"op": "remove", "path": "/extra/b"}])).await;
    assert_eq!(changed["extra"], json!({"a": 1}));
    for bad in [
        json!({"node_uuid": node, "volume_type": "iscsi", "volume_id": "v", "boot_index": "x"}),
        json!({"node_uuid": node, "volume_type": "iscsi", "volume_id": "v"}),
        json!({"node_uuid": "00000000-0000-0000-0000-000000000009", "volume_type": "i", "volume_id": "v", "boot_index": 3}),
        json!({"volume_type": "i", "volume_id": "v", "boot_index": 3}),
    ] {
        assert_eq!(rig.status("POST", "/volume/targets", bad.clone()).await, 400, "{bad}");
    }
    assert_eq!(rig.status("GET", "/volume/targets/nonsense", Value::Null).await, 400);
    let lists = ["/volume/targets?detail=True", "/nodes/n1/volume/targets", "/volume/targets?node=n1"];
    for list in lists {
        assert_eq!(rig.ok("GET", list, Value::Null).await["targets"].as_array().map(Vec::len), Some(1), "{list}");
    }
    let root = rig.ok("GET", "/nodes/n1/volume", Value::Null).await;
    assert!(root["targets"][0]["href"].as_str().is_some_and(|href| href.ends_with("/volume/targets")));
    assert_eq!(rig.in_version("1.31", "GET", "/volume/targets", Value::Null).await.0, 404);
    assert_eq!(rig.in_version("1.31", "DELETE", &path, Value::Null).await.0, 404);
    rig.ok("DELETE", &path, Value::Null).await;
}

#[tokio::test]
async fn what_a_template_or_a_volume_asks_in_vain_is_said_by_validate() {
    let rig = Rig::new().await;
    let node = rig.node("n1").await;
    rig.port(&node, "52:54:00:00:00:01").await;
    rig.ok("PUT", "/nodes/n1/traits", json!({"traits": ["CUSTOM_T"]})).await;
    let info = json!({"traits": ["CUSTOM_T"], "image_source": "http://box/i", "image_checksum": "a".repeat(64)});
    rig.ok("PATCH", "/nodes/n1", replace("/instance_info", info)).await;
    let verdict = async |interface: &str| {
        let all = rig.ok("GET", "/nodes/n1/validate", Value::Null).await;
        (all[interface]["result"].clone(), all[interface]["reason"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(verdict("deploy").await.0, json!(true));
    let steps = json!([{"interface": "bios", "step": "apply_configuration", "args": {}, "priority": 150}]);
    rig.ok("POST", "/deploy_templates", json!({"name": "CUSTOM_T", "steps": steps})).await;
    let (result, reason) = verdict("deploy").await;
    assert!(result == json!(false) && reason.contains("bios.apply_configuration"), "{reason}");
    let target = json!({"node_uuid": node["uuid"], "volume_type": "iscsi", "volume_id": "v1", "boot_index": 0});
    rig.ok("POST", "/volume/targets", target).await;
    let (result, reason) = verdict("storage").await;
    assert!(result == json!(false) && reason.contains("volume"), "{reason}");
}

#[tokio::test]
async fn inspection_rules_are_kept_and_hidden() {
    let rig = Rig::new().await;
    let actions = json!([{"op": "log", "args": {"msg": "Node {node.uuid}"}}]);
    let rule = |more: Value| {
        let mut body = json!({"actions": actions, "phase": "main"});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    let open = rig.ok("POST", "/inspection_rules", rule(json!({"conditions": [], "priority": 3}))).await;
    let path = format!("/inspection_rules/{}", uuid(&open));
    assert_eq!((&open["actions"], &open["priority"]), (&actions, &json!(3)));
    let text = rig.ok("PATCH", &path, replace("/priority", json!("7"))).await;
    assert_eq!(text["priority"], 7, "as the command line sends it");
    for priority in [json!(-1), json!(10000), json!(5000.5), json!("high")] {
        assert_eq!(rig.status("POST", "/inspection_rules", rule(json!({ "priority": priority }))).await, 400);
    }
    for bad in [json!({"phase": "late"}), json!({"conditions": [{"op": "equals", "args": []}]}), json!({"actions": []})]
    {
        assert_eq!(rig.status("POST", "/inspection_rules", rule(bad.clone())).await, 400, "{bad}");
    }
    let hidden = rig.ok("PATCH", &path, replace("/sensitive", json!(true))).await;
    assert_eq!((&hidden["actions"], &hidden["conditions"]), (&Value::Null, &Value::Null));
    assert_eq!(rig.status("PATCH", &path, replace("/sensitive", json!(false))).await, 400);
    assert_eq!(rig.in_version("1.95", "GET", "/inspection_rules", Value::Null).await.0, 404);
    assert_eq!(rig.in_version("1.95", "POST", "/inspection_rules", rule(json!({}))).await.0, 405);
    assert_eq!(rig.status("DELETE", "/inspection_rules/00000000-0000-0000-0000-000000000009", Value::Null).await, 404);
}

#[tokio::test]
async fn a_rule_is_applied_to_what_an_inspection_finds() {
    let rig = Rig::new().await;
    let rule = json!({
        "description": "big ones",
        "conditions": [{"op": "gt", "args": {"values": ["{inventory[cpu][count]}", 4]}}],
        "actions": [
            {"op": "set-attribute", "args": {"path": "resource_class", "value": "big"}},
            {"op": "add-trait", "args": {"name": "CUSTOM_BIG"}},
            {"op": "set-plugin-data", "args": {"path": "mark", "value": "seen"}},
        ],
    });
    rig.ok("POST", "/inspection_rules", rule).await;
    let fail = json!({
        "conditions": [{"op": "eq", "args": ["{inventory[cpu][count]}", 1]}],
        "actions": [{"op": "fail", "args": {"msg": "one core is not enough"}}],
    });
    rig.ok("POST", "/inspection_rules", fail).await;
    for (name, mac, cores) in [("n1", "52:54:00:00:00:01", 8), ("n2", "52:54:00:00:00:02", 1)] {
        let (_, job) = rig.inspected_node(name, mac).await;
        let inventory = json!({"inventory": {"cpu": {"count": cores}}});
        let command = leasehold_domain::Command::SaveInventory { job: job.id, boot: job.boots, inventory };
        let actor = leasehold_domain::Actor::System("test");
        rig.api.engine.store.submit(command, actor).await.expect("taken");
    }
    let big = rig.ok("GET", "/nodes/n1", Value::Null).await;
    assert_eq!((&big["resource_class"], &big["traits"]), (&json!("big"), &json!(["CUSTOM_BIG"])));
    let kept = rig.ok("GET", "/nodes/n1/inventory", Value::Null).await;
    assert_eq!(kept["plugin_data"]["mark"], "seen");
    let view = rig.api.engine.view();
    let small = view.node_by_name("n2").expect("there");
    let why = small.agent.as_ref().and_then(|agent| agent.failure.clone());
    assert!(why.is_some_and(|why| why.contains("one core is not enough")));
    assert_eq!(small.settings.resource_class, None);
}

#[tokio::test]
async fn what_hangs_on_a_node_follows_it() {
    let scene = Scene::new("admin", "reader").await;
    let node = &scene.node;
    scene.rig.free_node("other", json!({"owner": scene.stranger.project})).await;
    let group = json!({"node_uuid": node, "name": "bond0"});
    let target = json!({"node_uuid": node, "volume_type": "iscsi", "volume_id": "v1", "boot_index": 1,
        "properties": {"auth_password": "sesame"}});
    for (path, list, body) in [("/portgroups", "portgroups", group), ("/volume/targets", "targets", target)] {
        let (status, refused) = scene.ask(&scene.stranger, "POST", path, body.clone()).await;
        assert!(status.is_client_error(), "{path}: {refused}");
        let mut nowhere = body.clone();
        nowhere["node_uuid"] = json!("00000000-0000-0000-0000-000000000009");
        let (absent, words) = scene.ask(&scene.stranger, "POST", path, nowhere).await;
        let told = refused.to_string().replace(node.as_str(), "00000000-0000-0000-0000-000000000009");
        assert_eq!((status, told), (absent, words.to_string()), "{path}: the words tell that the node is there");

        let (status, made) = scene.ask(&scene.owner, "POST", path, body).await;
        assert_eq!(status, StatusCode::CREATED, "{path}: {made}");
        let one = format!("{path}/{}", uuid(&made));
        let count = async |who: &Tenant| {
            let (_, rows) = scene.ask(who, "GET", path, Value::Null).await;
            rows[list].as_array().map(Vec::len)
        };
        assert_eq!(
            (count(&scene.owner).await, count(&scene.lessee).await, count(&scene.stranger).await),
            (Some(1), Some(1), Some(0)),
            "{path}"
        );
        for (method, body) in [("GET", Value::Null), ("DELETE", Value::Null), ("PATCH", replace("/extra", json!({})))] {
            let answer = scene.ask(&scene.stranger, method, &one, body).await;
            assert_eq!(answer.0, StatusCode::NOT_FOUND, "{method} {path}: {}", answer.1);
        }
        let view = scene.rig.api.engine.view();
        let other = view.node_by_name("other").expect("there").id.to_string();
        let moved = scene.rig.status("PATCH", &one, replace("/node_uuid", json!(other))).await;
        assert_eq!(moved, 400, "{path}: to another owner's node");
    }
    let (_, seen) = scene.ask(&scene.lessee, "GET", "/volume/targets?detail=true", Value::Null).await;
    let properties = &seen["targets"][0]["properties"];
    assert!(properties["redacted_contents"].is_string() && properties.get("auth_password").is_none(), "{seen}");
    let (_, seen) = scene.ask(&scene.owner, "GET", "/volume/targets?detail=true", Value::Null).await;
    assert_eq!(seen["targets"][0]["properties"]["auth_password"], "sesame");
}
