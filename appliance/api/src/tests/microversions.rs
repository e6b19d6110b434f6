//! Each member, filter and call from its version on, and what older callers are told.

use super::{Rig, VERSION};
use axum::http::StatusCode;
use serde_json::{Value, json};

impl Rig {
    async fn at(&self, version: u16, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let version = format!("1.{version}");
        self.raw(method, &format!("/baremetal/v1{path}"), body, &[(VERSION, &version)]).await
    }
}

#[tokio::test]
async fn a_new_node_is_what_it_was_in_its_version() {
    let rig = Rig::new().await;
    let born = async |version: u16| {
        let (status, node) = rig.at(version, "POST", "/nodes", json!({"driver": "fake-hardware"})).await;
        assert_eq!(status, StatusCode::CREATED, "{node}");
        node["provision_state"].clone()
    };
    assert_eq!(born(1).await, Value::Null);
    assert_eq!(born(2).await, "available");
    assert_eq!(born(10).await, "available");
    assert_eq!(born(11).await, "enroll");
}

#[tokio::test]
async fn members_appear_with_their_version() {
    let rig = Rig::new().await;
    rig.node("n1").await;
    let id = rig.call("GET", "/nodes/n1", Value::Null).await.1["uuid"].as_str().expect("a UUID").to_owned();
    for (member, since) in [
        ("name", 5),
        ("clean_step", 7),
        ("raid_config", 12),
        ("states", 14),
        ("network_interface", 20),
        ("resource_class", 21),
        ("deploy_interface", 31),
        ("volume", 32),
        ("traits", 37),
        ("fault", 42),
        ("conductor_group", 46),
        ("protected", 48),
        ("owner", 50),
        ("allocation_uuid", 52),
        ("retired", 61),
        ("lessee", 65),
        ("boot_mode", 75),
        ("shard", 82),
        ("parent_node", 83),
        ("disable_power_off", 95),
        ("instance_name", 104),
        ("health", 109),
    ] {
        let path = format!("/nodes/{id}");
        let node = |version: u16| rig.at(version, "GET", &path, Value::Null);
        assert!(node(since - 1).await.1.get(member).is_none(), "{member} before 1.{since}");
        assert!(node(since).await.1.get(member).is_some(), "{member} in 1.{since}");
    }
    assert_eq!(rig.at(4, "GET", "/nodes/n1", Value::Null).await.0, StatusCode::NOT_FOUND, "names came with 1.5");
}

#[tokio::test]
async fn what_is_newer_than_the_version_is_not_acceptable() {
    let rig = Rig::new().await;
    let node = rig.node("n1").await;
    let id = node["uuid"].as_str().expect("a UUID");
    let path = format!("/nodes/{id}");
    let states = format!("{path}/states");
    let set = |member: &str, value: Value| json!([{"op": "add", "path": format!("/{member}"), "value": value}]);
    let verb = |target: &str| json!({ "target": target });
    let list = |query: &str| ("GET", format!("/nodes?{query}"), Value::Null);
    let provision = |target: &str| ("PUT", format!("{states}/provision"), verb(target));
    for (since, (method, path, body)) in [
        (8, list("fields=uuid")),
        (9, list("provision_state=active")),
        (16, list("driver=ipmi")),
        (21, list("resource_class=x")),
        (42, list("fault=power%20failure")),
        (46, list("conductor_group=x")),
        (49, list("conductor=box")),
        (50, list("owner=x")),
        (65, list("lessee=x")),
        (82, list("shard=x")),
        (82, list("sharded=true")),
        (83, list("include_children=true")),
        (104, list("instance_name=x")),
        (21, list("sort_key=resource_class")),
        (50, list("fields=owner")),
        (5, ("PATCH", path.clone(), set("name", json!("n2")))),
        (48, ("PATCH", path.clone(), set("protected", json!(false)))),
        (50, ("PATCH", path.clone(), set("owner", json!("p")))),
        (45, ("PATCH", format!("{path}?reset_interfaces=true"), set("driver", json!("ipmi")))),
        (4, provision("provide")),
        (6, provision("inspect")),
        (17, provision("adopt")),
        (38, provision("unrescue")),
        (73, provision("deploy")),
        (85, provision("unhold")),
        (27, ("PUT", format!("{states}/power"), verb("soft power off"))),
        (12, ("PUT", format!("{states}/raid"), json!({}))),
        (19, ("POST", "/ports".into(), json!({"address": "52:54:00:00:00:01", "node_uuid": id, "pxe_enabled": false}))),
        (94, ("POST", "/ports".into(), json!({"address": "52:54:00:00:00:02", "node_ident": "n1"}))),
        (30, ("GET", "/drivers?type=dynamic".into(), Value::Null)),
        (77, ("GET", "/drivers?fields=name".into(), Value::Null)),
    ] {
        let old = rig.at(since - 1, method, &path, body.clone()).await;
        assert_eq!(old.0, StatusCode::NOT_ACCEPTABLE, "{method} {path} {body} before 1.{since}: {}", old.1);
        let new = rig.at(since, method, &path, body.clone()).await;
        assert_ne!(new.0, StatusCode::NOT_ACCEPTABLE, "{method} {path} {body} in 1.{since}: {}", new.1);
    }
}

#[tokio::test]
async fn paths_are_there_from_their_version_on() {
    let rig = Rig::new().await;
    let (_, node) = rig.call("POST", "/nodes", json!({"name": "n1", "driver": "fake-hardware"})).await;
    let id = node["uuid"].as_str().expect("a UUID");
    for (since, method, path) in [
        (29, "PUT", format!("/nodes/{id}/management/inject_nmi")),
        (40, "GET", format!("/nodes/{id}/bios")),
        (49, "GET", "/conductors".to_owned()),
        (54, "POST", "/events".to_owned()),
        (76, "PUT", format!("/nodes/{id}/states/boot_mode")),
        (78, "GET", format!("/nodes/{id}/history")),
        (82, "GET", "/shards".to_owned()),
        (83, "GET", format!("/nodes/{id}/children")),
        (86, "GET", format!("/nodes/{id}/firmware")),
        (89, "PUT", format!("/nodes/{id}/vmedia")),
        (22, "POST", format!("/heartbeat/{id}")),
    ] {
        let body = || json!({"target": "uefi"});
        assert_eq!(rig.at(since - 1, method, &path, body()).await.0, StatusCode::NOT_FOUND, "{path} before 1.{since}");
        assert_ne!(rig.at(since, method, &path, body()).await.0, StatusCode::NOT_FOUND, "{path} in 1.{since}");
    }
    for (method, tail, status) in [
        ("GET", "", StatusCode::NOT_ACCEPTABLE),
        ("PUT", "", StatusCode::METHOD_NOT_ALLOWED),
        ("DELETE", "", StatusCode::NOT_FOUND),
        ("PUT", "/CUSTOM_A", StatusCode::METHOD_NOT_ALLOWED),
        ("DELETE", "/CUSTOM_A", StatusCode::NOT_FOUND),
    ] {
        let body = if method == "PUT" && tail.is_empty() { json!({"traits": []}) } else { Value::Null };
        assert_eq!(rig.at(36, method, &format!("/nodes/{id}/traits{tail}"), body).await.0, status, "{method} {tail}");
    }
}

#[tokio::test]
async fn a_name_ends_in_json_only_for_old_callers() {
    let rig = Rig::new().await;
    let node = rig.node("n1").await;
    let path = format!("/nodes/{}.json", node["uuid"].as_str().expect("a UUID"));
    assert_eq!(rig.at(90, "GET", &path, Value::Null).await.0, StatusCode::OK);
    assert_eq!(rig.at(91, "GET", &path, Value::Null).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn parts_and_shards_are_listed_apart() {
    let rig = Rig::new().await;
    let create = async |name: &str, more: Value| {
        let mut body = json!({"driver": "fake-hardware", "name": name});
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        let (status, node) = rig.call("POST", "/nodes", body).await;
        assert_eq!(status, StatusCode::CREATED, "{node}");
        node
    };
    create("whole", json!({"shard": "a"})).await;
    let part = create("part", json!({"parent_node": "whole"})).await;
    create("other", json!({"shard": "b"})).await;
    let names = async |query: &str| {
        let (status, list) = rig.call("GET", &format!("/nodes{query}"), Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{list}");
        let nodes = list["nodes"].as_array().expect("a list").iter();
        nodes.map(|node| node["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["whole", "other"]);
    assert_eq!(names("?include_children=true").await, ["whole", "part", "other"]);
    assert_eq!(names("?parent_node=whole").await, ["part"]);
    assert_eq!(names("?shard=a,b").await, ["whole", "other"]);
    assert_eq!(names("?shard=b").await, ["other"]);
    assert_eq!(names("?sharded=false&include_children=true").await, ["part"]);
    assert_eq!(names("?sort_key=name&sort_dir=desc&include_children=true").await, ["whole", "part", "other"]);
    assert_eq!(names("?sort_dir=desc").await, ["other", "whole"]);
    assert_eq!(names("?conductor=box").await, ["whole", "other"]);
    assert!(names("?conductor=elsewhere").await.is_empty());
    let (_, children) = rig.call("GET", "/nodes/whole/children", Value::Null).await;
    assert_eq!(children["children"], json!([part["uuid"]]));
    let (_, shards) = rig.call("GET", "/shards", Value::Null).await;
    assert_eq!(shards["shards"][0], json!({"name": "a", "count": 1}));
}
