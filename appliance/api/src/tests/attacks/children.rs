//! Ports, port groups, volumes and allocations taken across owners.

use super::*;

/// A thing of the stranger's own node, which he then sends elsewhere.
const KINDS: [&str; 4] = ["ports", "portgroups", "volume/connectors", "volume/targets"];

fn body_of(kind: &str, node: &str, number: u8) -> Value {
    let mac = format!("52:54:00:00:01:{number:02x}");
    match kind {
        "ports" | "portgroups" => json!({"node_uuid": node, "address": mac}),
        "volume/connectors" => json!({"node_uuid": node, "type": "iqn", "connector_id": format!("iqn.{number}")}),
        _ => json!({
            "node_uuid": node, "volume_type": "iscsi", "boot_index": number, "volume_id": format!("v{number}"),
            "properties": {"auth_password": SECRET},
        }),
    }
}

/// What the box keeps of children, by who sees all.
async fn all(scene: &Scene) -> Vec<Value> {
    let mut all = Vec::new();
    for kind in KINDS {
        all.push(scene.rig.call("GET", &format!("/{kind}?detail=true"), Value::Null).await.1);
    }
    all
}

#[tokio::test]
async fn a_child_is_moved_to_anothers_node() {
    let scene = Scene::new("admin", "admin").await;
    let own = scene.strangers().await;
    for (kind, number) in KINDS.into_iter().zip(1..) {
        let (status, child) =
            scene.ask(&scene.stranger, "POST", &format!("/{kind}"), body_of(kind, &own, number)).await;
        assert_eq!(status, StatusCode::CREATED, "{kind}: {child}");
        let path = format!("/{kind}/{}", child["uuid"].as_str().expect("a UUID"));
        let before = all(&scene).await;
        let mut answers = Vec::new();
        for to in [scene.node.as_str(), NOWHERE] {
            for member in ["/node_uuid", "/node_uuid/x", "/node_id", "/uuid"] {
                let patch = json!([{"op": "replace", "path": member, "value": to}]);
                let (status, answer) = scene.ask(&scene.stranger, "PATCH", &path, patch).await;
                assert_eq!(status, StatusCode::BAD_REQUEST, "{kind} {member} {to}: {answer}");
                answers.push(answer.to_string().replace(to, ""));
            }
        }
        assert_eq!(answers[..4], answers[4..], "{kind}: the words tell which node is there");
        assert_eq!(all(&scene).await, before, "{kind}");
    }
}

#[tokio::test]
async fn a_lessee_takes_a_child_to_his_own_node() {
    let scene = Scene::new("admin", "admin").await;
    let (status, own) = scene.ask(&scene.lessee, "POST", "/nodes", json!({"driver": "fake-hardware"})).await;
    assert_eq!(status, StatusCode::CREATED, "{own}");
    for (kind, number) in KINDS.into_iter().zip(1..) {
        let (status, child) =
            scene.ask(&scene.owner, "POST", &format!("/{kind}"), body_of(kind, &scene.node, number)).await;
        assert_eq!(status, StatusCode::CREATED, "{kind}: {child}");
        let path = format!("/{kind}/{}", child["uuid"].as_str().expect("a UUID"));
        let patch = json!([{"op": "replace", "path": "/node_uuid", "value": own["uuid"]}]);
        let (status, answer) = scene.ask(&scene.lessee, "PATCH", &path, patch).await;
        if !kind.starts_with("volume") {
            // Ironic lets a lessee's manager have volumes of his lease.
            assert_eq!(status, StatusCode::FORBIDDEN, "{kind}: {answer}");
            assert_eq!(scene.ask(&scene.lessee, "DELETE", &path, Value::Null).await.0, StatusCode::FORBIDDEN, "{kind}");
        }
        assert!(!answer.to_string().contains(SECRET), "{answer}");
        let (_, kept) = scene.rig.call("GET", &path, Value::Null).await;
        assert_eq!(kept["node_uuid"], json!(scene.node), "{kind}: it stays where it is");
        assert_eq!(scene.ask(&scene.stranger, "DELETE", &path, Value::Null).await.0, StatusCode::NOT_FOUND, "{kind}");
    }
}

#[tokio::test]
async fn a_child_is_made_at_anothers_node() {
    let scene = Scene::new("admin", "reader").await;
    let before = all(&scene).await;
    for (kind, number) in KINDS.into_iter().zip(1..) {
        let mut refusals = Vec::new();
        for node in [scene.node.as_str(), "n1", NOWHERE] {
            let (status, answer) =
                scene.ask(&scene.stranger, "POST", &format!("/{kind}"), body_of(kind, node, number)).await;
            assert!(status.is_client_error(), "{kind} {node}: {answer}");
            refusals.push((status, answer.to_string().replace(node, "")));
        }
        assert_eq!(refusals[0], refusals[2], "{kind}: the answer tells that the node is there");
        let (status, answer) =
            scene.ask(&scene.lessee, "POST", &format!("/{kind}"), body_of(kind, &scene.node, number)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "a reader, {kind}: {answer}");
    }
    assert_eq!(all(&scene).await, before);
}

#[tokio::test]
async fn a_port_joins_a_port_group_of_another() {
    let scene = Scene::new("admin", "admin").await;
    let own = scene.strangers().await;
    let (status, group) = scene.ask(&scene.owner, "POST", "/portgroups", body_of("portgroups", &scene.node, 1)).await;
    assert_eq!(status, StatusCode::CREATED, "{group}");
    let mut born = body_of("ports", &own, 2);
    let (_, port) = scene.ask(&scene.stranger, "POST", "/ports", born.clone()).await;
    let path = format!("/ports/{}", port["uuid"].as_str().expect("a UUID"));
    let mut answers = Vec::new();
    for to in [&group["uuid"], &json!(NOWHERE)] {
        let patch = json!([{"op": "add", "path": "/portgroup_uuid", "value": to}]);
        let (status, answer) = scene.ask(&scene.stranger, "PATCH", &path, patch).await;
        assert!(status.is_client_error(), "{answer}");
        answers.push((status, answer.to_string().replace(to.as_str().expect("text"), "")));
    }
    assert_eq!(answers[0], answers[1], "the words tell which group is there");
    born["portgroup_uuid"] = group["uuid"].clone();
    born["address"] = json!("52:54:00:00:01:77");
    assert!(scene.ask(&scene.stranger, "POST", "/ports", born).await.0.is_client_error());
    let inside = format!("/portgroups/{}/ports", group["uuid"].as_str().expect("a UUID"));
    assert_eq!(scene.rig.call("GET", &inside, Value::Null).await.1["ports"], json!([]));
    assert_eq!(scene.ask(&scene.stranger, "GET", &inside, Value::Null).await.0, StatusCode::NOT_FOUND);
    let by_filter = format!("/ports?portgroup={}", group["uuid"].as_str().expect("a UUID"));
    assert_eq!(scene.ask(&scene.stranger, "GET", &by_filter, Value::Null).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_mac_of_another_is_taken_or_asked_for() {
    let scene = Scene::new("admin", "admin").await;
    let own = scene.strangers().await;
    for spelling in ["52:54:00:00:00:01", "52:54:00:00:00:01".to_uppercase().as_str(), "52-54-00-00-00-01"] {
        let body = json!({"node_uuid": own, "address": spelling});
        let (status, answer) = scene.ask(&scene.stranger, "POST", "/ports", body).await;
        assert!(status.is_client_error(), "{spelling}: {answer}");
        assert!(!answer.to_string().contains(&scene.node), "{answer}");
    }
    for path in ["/ports?address=52:54:00:00:00:01", "/ports/detail?address=52:54:00:00:00:01"] {
        let (_, found) = scene.ask(&scene.stranger, "GET", path, Value::Null).await;
        assert_eq!(found["ports"], json!([]), "{path}");
    }
}

#[tokio::test]
async fn an_allocation_takes_a_node_of_another() {
    let scene = Scene::new("admin", "admin").await;
    // Born free, as nodes were in old versions.
    let body = json!({"driver": "fake-hardware", "name": "free"}).to_string();
    let (status, free) = scene.rig.raw("POST", "/baremetal/v1/nodes", body, &[(VERSION, "1.10")]).await;
    assert_eq!((status, &free["provision_state"]), (StatusCode::CREATED, &json!("available")), "{free}");
    let free = free["uuid"].as_str().expect("a UUID").to_owned();
    let patch = json!([
        {"op": "add", "path": "/resource_class", "value": "big"},
        {"op": "add", "path": "/owner", "value": scene.owner.project},
    ]);
    assert_eq!(scene.rig.call("PATCH", "/nodes/free", patch).await.0, StatusCode::OK);
    let observed = leasehold_domain::Command::ObservePower {
        node: NodeId(Uuid::parse_str(&free).expect("a UUID")),
        power: Some(leasehold_domain::power::PowerState::Off),
        error: None,
    };
    let store = &scene.rig.api.engine.store;
    store.submit(observed, leasehold_domain::Actor::System("test")).await.expect("taken");
    let wanted = |extra: Value| {
        let mut body = json!({"resource_class": "big"});
        body.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        body
    };
    let mut answers = Vec::new();
    for ident in [free.as_str(), NOWHERE] {
        for body in [json!({"candidate_nodes": [ident]}), json!({"node": ident})] {
            let (status, answer) = scene.ask(&scene.stranger, "POST", "/allocations", wanted(body)).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
            answers.push(answer.to_string().replace(ident, ""));
        }
    }
    assert_eq!(answers[..2], answers[2..], "the words tell which node is there");
    let foreign = wanted(json!({"owner": scene.owner.project}));
    assert_eq!(scene.ask(&scene.stranger, "POST", "/allocations", foreign).await.0, StatusCode::FORBIDDEN);
    // A request that names nobody is not given what is another's, and is not told that it is there.
    let (status, made) = scene.ask(&scene.stranger, "POST", "/allocations", wanted(json!({"name": "a"}))).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let (_, ended) = scene.ask(&scene.stranger, "GET", "/allocations/a", Value::Null).await;
    assert_eq!((&ended["state"], &ended["node_uuid"]), (&json!("error"), &Value::Null), "{ended}");
    assert!(!ended.to_string().contains(&free));
    assert_eq!(scene.kept(&free).instance_uuid, None);
    for member in ["owner", "node_uuid", "candidate_nodes", "resource_class", "state"] {
        let patch = json!([{"op": "replace", "path": format!("/{member}"), "value": scene.owner.project}]);
        let (status, answer) = scene.ask(&scene.stranger, "PATCH", "/allocations/a", patch).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{member}: {answer}");
    }
    assert_eq!(scene.ask(&scene.owner, "GET", "/allocations/a", Value::Null).await.0, StatusCode::NOT_FOUND);
    assert_eq!(scene.ask(&scene.owner, "DELETE", "/allocations/a", Value::Null).await.0, StatusCode::NOT_FOUND);
    // Nor does the UUID of another's instance tell which node that is.
    let patch = json!([{"op": "add", "path": "/instance_uuid", "value": NOWHERE}]);
    assert_eq!(scene.rig.call("PATCH", "/nodes/n1", patch).await.0, StatusCode::OK);
    let known = wanted(json!({"uuid": NOWHERE}));
    let (status, answer) = scene.ask(&scene.stranger, "POST", "/allocations", known).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    assert!(!answer.to_string().contains("n1") && !answer.to_string().contains(&scene.node), "{answer}");
    // The owner's own request is given it.
    let (status, made) = scene.ask(&scene.owner, "POST", "/allocations", wanted(json!({"name": "b"}))).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let (_, ended) = scene.ask(&scene.owner, "GET", "/allocations/b", Value::Null).await;
    assert_eq!((&ended["state"], &ended["node_uuid"]), (&json!("active"), &json!(free)), "{ended}");
}
