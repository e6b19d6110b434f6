//! Owner, lessee and stranger at one box: each is shown his own, and nobody takes what is another's.

use super::{PASSWORD, Rig, VERSION};
use crate::tests::identity::system;
use axum::http::StatusCode;
use serde_json::{Value, json};

const WORD: &str = "a sentence of one's own";

/// A user in a project, by his token.
pub(super) struct Tenant {
    pub(super) project: String,
    pub(super) token: String,
}

/// One node that is owned and lent, and who has to do with it.
pub(super) struct Scene {
    pub(super) rig: Rig,
    pub(super) owner: Tenant,
    pub(super) lessee: Tenant,
    pub(super) stranger: Tenant,
    pub(super) node: String,
}

impl Scene {
    /// The owner's user has the first role in his project, the lessee's the second, the stranger is an admin of his.
    pub(super) async fn new(owner: &str, lessee: &str) -> Scene {
        Scene::at(Rig::new().await, owner, lessee).await
    }

    pub(super) async fn at(rig: Rig, owner: &str, lessee: &str) -> Scene {
        let owner = tenant(&rig, "owner", owner).await;
        let lessee = tenant(&rig, "lessee", lessee).await;
        let stranger = tenant(&rig, "stranger", "admin").await;
        let (status, node) = rig
            .call(
                "POST",
                "/nodes",
                json!({
                    "driver": "fake-hardware", "name": "n1", "owner": owner.project, "lessee": lessee.project,
                    "driver_info": {"fake_deploy_delay": 0},
                }),
            )
            .await;
        assert_eq!(status, StatusCode::CREATED, "{node}");
        let port = json!({"node_uuid": node["uuid"], "address": "52:54:00:00:00:01"});
        assert_eq!(rig.call("POST", "/ports", port).await.0, StatusCode::CREATED);
        let node = node["uuid"].as_str().expect("a UUID").to_owned();
        Scene { rig, owner, lessee, stranger, node }
    }

    pub(super) async fn ask(&self, who: &Tenant, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let headers = [("x-auth-token", who.token.as_str()), (VERSION, "1.115")];
        let answer = self.rig.ask(method, &format!("/baremetal/v1{path}"), body, &headers).await;
        (answer.status, answer.body)
    }

    async fn patch(&self, who: &Tenant, path: &str, value: Value) -> u16 {
        let patch = json!([{"op": "add", "path": path, "value": value}]);
        self.ask(who, "PATCH", &format!("/nodes/{}", self.node), patch).await.0.as_u16()
    }
}

pub(super) async fn tenant(rig: &Rig, name: &str, role: &str) -> Tenant {
    let root = rig.token("admin", PASSWORD, system()).await;
    let make = async |kind: &str, body: Value| {
        let (status, made) = rig.keystone("POST", &format!("/{kind}s"), json!({ kind: body }), &root).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        made[kind]["id"].as_str().expect("an id").to_owned()
    };
    let project = make("project", json!({ "name": name })).await;
    let user = make("user", json!({"name": name, "password": WORD, "default_project_id": project})).await;
    let (_, roles) = rig.keystone("GET", &format!("/roles?name={role}"), Value::Null, &root).await;
    let role = roles["roles"][0]["id"].as_str().expect("a role").to_owned();
    let path = format!("/projects/{project}/users/{user}/roles/{role}");
    assert_eq!(rig.keystone("PUT", &path, Value::Null, &root).await.0, StatusCode::NO_CONTENT);
    let token = rig.token(name, WORD, json!({"project": {"id": project}})).await;
    Tenant { project, token }
}

#[tokio::test]
async fn each_is_shown_his_own() {
    let scene = Scene::new("reader", "reader").await;
    let count = async |who: &Tenant, path: &str, what: &str| {
        let (status, list) = scene.ask(who, "GET", path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{list}");
        list[what].as_array().map(Vec::len)
    };
    for (who, seen) in [(&scene.owner, 1), (&scene.lessee, 1), (&scene.stranger, 0)] {
        for path in ["/nodes", "/nodes/detail", "/nodes?sort_key=name", "/nodes?fields=uuid"] {
            assert_eq!(count(who, path, "nodes").await, Some(seen), "{path}");
        }
        assert_eq!(count(who, "/ports", "ports").await, Some(seen));
        assert_eq!(count(who, "/ports?address=52:54:00:00:00:01", "ports").await, Some(seen));
    }
    let others = format!("/nodes?project={}", scene.owner.project);
    assert_eq!(scene.ask(&scene.lessee, "GET", &others, Value::Null).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_is_anothers_is_not_there() {
    let scene = Scene::new("admin", "member").await;
    let id = &scene.node;
    let nobody = "00000000-0000-0000-0000-000000000001";
    for (method, tail, body) in [
        ("GET", "", Value::Null),
        ("PATCH", "", json!([{"op": "add", "path": "/owner", "value": scene.stranger.project}])),
        ("PATCH", "", json!("nonsense")),
        ("DELETE", "", Value::Null),
        ("GET", "/validate", Value::Null),
        ("GET", "/ports", Value::Null),
        ("GET", "/traits", Value::Null),
        ("GET", "/history", Value::Null),
        ("GET", "/inventory", Value::Null),
        ("GET", "/states", Value::Null),
        ("GET", "/children", Value::Null),
        ("PUT", "/states/provision", json!({"target": "manage"})),
        ("PUT", "/states/provision", json!({"target": "fly"})),
        ("PUT", "/states/power", json!({"target": "power on"})),
        ("PUT", "/states/raid", json!({})),
        ("PUT", "/states/console", json!({"enabled": true})),
        ("PUT", "/states/boot_mode", json!({"target": "uefi"})),
        ("PUT", "/maintenance", json!({})),
        ("GET", "/management/boot_device", Value::Null),
        ("PUT", "/management/inject_nmi", json!({})),
        ("GET", "/vendor_passthru/methods", Value::Null),
        ("GET", "/vmedia", Value::Null),
        ("GET", "/bios", Value::Null),
    ] {
        let (status, answer) = scene.ask(&scene.stranger, method, &format!("/nodes/{id}{tail}"), body.clone()).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {tail}: {answer}");
        let (_, absent) = scene.ask(&scene.stranger, method, &format!("/nodes/{nobody}{tail}"), body).await;
        let words = answer.to_string().replace(id.as_str(), nobody);
        assert_eq!(words, absent.to_string(), "{method} {tail}: the words tell that it is there");
    }
    let (_, ports) = scene.ask(&scene.owner, "GET", "/ports", Value::Null).await;
    let port = format!("/ports/{}", ports["ports"][0]["uuid"].as_str().expect("a UUID"));
    for method in ["GET", "DELETE"] {
        assert_eq!(scene.ask(&scene.stranger, method, &port, Value::Null).await.0, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn nobody_takes_a_node_over() {
    let scene = Scene::new("member", "admin").await;
    let mine = &scene.lessee.project;
    for (path, value) in [
        ("/owner", json!(mine)),
        ("/lessee", json!("another")),
        ("/driver_info/fake_power_fail", json!("x")),
        ("/name", json!("mine")),
        ("/driver", json!("ipmi")),
        ("/deploy_interface", json!("fake")),
        ("/properties/a", json!(1)),
        ("/network_data", json!({"links": []})),
        ("/conductor_group", json!("x")),
        ("/chassis_uuid", json!("x")),
        ("/shard", json!("x")),
        ("/parent_node", json!("n1")),
        ("/retired", json!(true)),
        ("/automated_clean", json!(false)),
    ] {
        assert_eq!(scene.patch(&scene.lessee, path, value).await, 403, "{path}");
    }
    // What is nobody's to set.
    for path in ["/uuid", "/provision_state", "/reservation", "/created_at", "/traits", "/owner_id"] {
        assert_eq!(scene.patch(&scene.owner, path, json!("x")).await, 400, "{path}");
    }
    assert_eq!(scene.patch(&scene.lessee, "/instance_info/a", json!(1)).await, 200, "he uses it");
    assert_eq!(scene.patch(&scene.lessee, "/extra/a", json!(1)).await, 200);
    assert_eq!(scene.patch(&scene.lessee, "/description", json!("lent")).await, 200, "what has no rule of its own");
    // One forbidden operation forbids the patch.
    let patch = json!([
        {"op": "add", "path": "/extra/b", "value": 1},
        {"op": "replace", "path": "/owner", "value": mine},
    ]);
    let node = format!("/nodes/{}", scene.node);
    assert_eq!(scene.ask(&scene.lessee, "PATCH", &node, patch).await.0, StatusCode::FORBIDDEN);
    let (_, node) = scene.ask(&scene.owner, "GET", &node, Value::Null).await;
    assert_eq!((&node["owner"], node["extra"].get("b")), (&json!(scene.owner.project), None));
}

#[tokio::test]
async fn who_makes_a_node_of_his_own_owns_it() {
    let scene = Scene::new("admin", "member").await;
    let create = async |who: &Tenant, owner: Option<&str>| {
        let mut body = json!({"driver": "fake-hardware"});
        if let Some(owner) = owner {
            body["owner"] = owner.into();
        }
        scene.ask(who, "POST", "/nodes", body).await
    };
    let (status, node) = create(&scene.stranger, None).await;
    assert_eq!((status, &node["owner"]), (StatusCode::CREATED, &json!(scene.stranger.project)));
    assert_eq!(create(&scene.stranger, Some(&scene.owner.project)).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(create(&scene.lessee, None).await.0, StatusCode::FORBIDDEN, "a member");
    let path = format!("/nodes/{}", node["uuid"].as_str().expect("a UUID"));
    assert_eq!(scene.ask(&scene.owner, "DELETE", &path, Value::Null).await.0, StatusCode::NOT_FOUND);
    // A port of his own node does not go to another's, nor into one.
    let port = json!({"node_uuid": node["uuid"], "address": "52:54:00:00:00:09"});
    let (status, port) = scene.ask(&scene.stranger, "POST", "/ports", port).await;
    assert_eq!(status, StatusCode::CREATED, "{port}");
    let patch = json!([{"op": "replace", "path": "/node_uuid", "value": scene.node}]);
    let port = format!("/ports/{}", port["uuid"].as_str().expect("a UUID"));
    assert_eq!(scene.ask(&scene.stranger, "PATCH", &port, patch).await.0, StatusCode::BAD_REQUEST);
    let foreign = json!({"node_uuid": scene.node, "address": "52:54:00:00:00:0a"});
    assert_eq!(scene.ask(&scene.stranger, "POST", "/ports", foreign).await.0, StatusCode::FORBIDDEN);
    assert_eq!(scene.ask(&scene.stranger, "DELETE", &path, Value::Null).await.0, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn the_inside_of_the_box_is_masked_in_every_version() {
    let scene = Scene::new("member", "member").await;
    let path = format!("/baremetal/v1/nodes/{}", scene.node);
    for version in ["1.1", "1.30", "1.115"] {
        let headers = [("x-auth-token", scene.lessee.token.as_str()), (VERSION, version)];
        let node = scene.rig.ask("GET", &path, Value::Null, &headers).await.body;
        for member in ["driver_info", "driver_internal_info", "last_error", "reservation"] {
            let Some(shown) = node.get(member) else { continue };
            assert!(shown.to_string().contains("Redacted"), "{version} {member}: {shown}");
        }
        let list = scene.rig.ask("GET", "/baremetal/v1/nodes/detail", Value::Null, &headers).await.body;
        assert!(list["nodes"][0]["driver_info"].to_string().contains("Redacted"), "{version}: {list}");
        assert!(!node.to_string().contains("fake_deploy_delay"));
    }
    let (_, seen) = scene.rig.call("GET", "/nodes/n1", Value::Null).await;
    assert_eq!(seen["driver_info"]["fake_deploy_delay"], 0);
}

#[tokio::test]
async fn a_change_of_owner_between_judgement_and_commit_is_noticed() {
    let scene = Scene::new("admin", "admin").await;
    let view = scene.rig.api.engine.view();
    let node = view.node_by_name("n1").expect("there");
    let judged = leasehold_domain::command::Judged {
        node: node.id,
        owner: Some("a former owner".into()),
        lessee: node.settings.lessee.clone(),
    };
    let who = leasehold_domain::command::Who { judged: vec![judged], ..Default::default() };
    let actor = leasehold_domain::Actor::User(who.into());
    let delete = leasehold_domain::Command::DeleteNode { id: node.id };
    assert!(scene.rig.api.engine.store.submit(delete, actor).await.is_err());
    assert!(scene.rig.api.engine.view().node(node.id).is_some());
}
