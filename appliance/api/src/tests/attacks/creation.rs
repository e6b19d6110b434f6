//! Mass assignment: members in a body that are not the sender's to set.

use super::*;

/// Sends each body; the refusals; then nothing of this kind is there that was not before.
async fn refused(scene: &Scene, who: &Tenant, path: &str, list: &str, bodies: &[Value]) {
    let all = async || scene.with(&root(scene).await, "GET", list, Value::Null).await;
    let before = all().await;
    assert_eq!(before.0, StatusCode::OK, "{list}: {}", before.1);
    for body in bodies {
        let (status, answer) = scene.with(who, "POST", path, body.clone()).await;
        assert!(matches!(status.as_u16(), 400 | 403 | 404), "{path} {body}: {status} {answer}");
    }
    assert_eq!(all().await, before, "{path}");
}

async fn root(scene: &Scene) -> Tenant {
    Tenant { project: String::new(), token: scene.rig.token("admin", PASSWORD, system()).await }
}

/// `base` with one member more.
fn each(base: &Value, members: &[(&str, Value)]) -> Vec<Value> {
    let with = |(name, value): &(&str, Value)| {
        let mut body = base.clone();
        body[*name] = value.clone();
        body
    };
    members.iter().map(with).collect()
}

fn wrapped(kind: &str, bodies: Vec<Value>) -> Vec<Value> {
    bodies.into_iter().map(|body| json!({ kind: body })).collect()
}

#[tokio::test]
async fn mass_assignment_at_the_creation_of_a_node() {
    let scene = Scene::new("admin", "member").await;
    let members = [
        ("provision_state", json!("active")),
        ("power_state", json!("power on")),
        ("reservation", json!("me")),
        ("driver_internal_info", json!({"agent_url": "https://10.0.0.66:9999"})),
        ("last_error", json!("x")),
        ("created_at", json!("1970-01-01T00:00:00")),
        ("allocation_uuid", json!(NOWHERE)),
        ("traits", json!(["CUSTOM_A"])),
        ("console_enabled", json!(true)),
        ("id", json!(1)),
        ("owner_id", json!("x")),
        ("bmc_certificate", json!("x")),
        ("driver_secrets", json!({"ipmi_password": "x"})),
        ("revision", json!(1)),
        ("is_admin", json!(true)),
        ("owner", json!(scene.owner.project)),
        ("lessee", json!({"$ne": null})),
    ];
    let bodies = each(&json!({"driver": "fake-hardware"}), &members);
    refused(&scene, &scene.stranger, "/baremetal/v1/nodes", "/baremetal/v1/nodes/detail", &bodies).await;
    let taken = json!({"driver": "fake-hardware", "uuid": scene.node});
    let (status, answer) = scene.ask(&scene.stranger, "POST", "/nodes", taken).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    scene.strangers().await;
}

#[tokio::test]
async fn mass_assignment_at_the_creation_of_a_port() {
    let scene = Scene::new("admin", "member").await;
    let own = scene.strangers().await;
    let members = [
        ("internal_info", json!({"tenant_vif_port_id": NOWHERE})),
        ("created_at", json!("x")),
        ("id", json!(1)),
        ("node_id", json!(1)),
        ("node_ident", json!(scene.node)),
        ("owner", json!("x")),
        ("portgroup_id", json!(1)),
        ("links", json!([])),
        ("revision", json!(1)),
    ];
    let bodies = each(&json!({"node_uuid": own, "address": "52:54:00:00:02:01"}), &members);
    refused(&scene, &scene.stranger, "/baremetal/v1/ports", "/baremetal/v1/ports/detail", &bodies).await;
    let good = json!({"node_uuid": own, "address": "52:54:00:00:02:01"});
    assert_eq!(scene.ask(&scene.stranger, "POST", "/ports", good).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn mass_assignment_at_the_creation_of_accounts() {
    let scene = Scene::new("admin", "member").await;
    let root = root(&scene).await;
    let (_, admins) = scene.with(&root, "GET", "/identity/v3/roles?name=admin", Value::Null).await;
    let admin = admins["roles"][0]["id"].clone();
    let users = [
        ("id", json!("00000000000000000000000000000001")),
        ("is_admin", json!(true)),
        ("roles", json!([{"id": admin}])),
        ("role_id", admin.clone()),
        ("password_hash", json!("$argon2id$v=19$m=8,t=1,p=1$AAAA$AAAA")),
        ("one_time", json!(false)),
        ("system", json!({"all": true})),
        ("groups", json!(["admin"])),
        ("password_changed_at", json!("2999-01-01T00:00:00Z")),
    ];
    let bodies = wrapped("user", each(&json!({"name": "eve", "password": "a sentence of eve's own"}), &users));
    refused(&scene, &root, "/identity/v3/users", "/identity/v3/users", &bodies).await;
    let projects = [
        ("id", json!("default")),
        ("is_domain", json!(true)),
        ("domain_id", json!(NOWHERE)),
        ("parent_id", json!(NOWHERE)),
        ("owner", json!("x")),
        ("roles", json!([{"id": admin}])),
    ];
    let bodies = wrapped("project", each(&json!({"name": "eve"}), &projects));
    refused(&scene, &root, "/identity/v3/projects", "/identity/v3/projects", &bodies).await;
    // A user has a few members of his own, and those are not among them.
    let (_, found) = scene.with(&root, "GET", "/identity/v3/users?name=lessee", Value::Null).await;
    let user = format!("/identity/v3/users/{}", found["users"][0]["id"].as_str().expect("an id"));
    for (name, value) in [
        ("enabled", json!(true)),
        ("name", json!("admin2")),
        ("domain_id", json!(NOWHERE)),
        ("default_project_id", json!(scene.owner.project)),
        ("password", json!("taken by nobody else")),
        ("is_admin", json!(true)),
    ] {
        let (status, answer) = scene.with(&scene.lessee, "PATCH", &user, json!({"user": {name: value}})).await;
        assert!(matches!(status.as_u16(), 400 | 403), "{name}: {answer}");
    }
    assert_eq!(scene.with(&root, "GET", "/identity/v3/users?name=lessee", Value::Null).await.1, found);
}

#[tokio::test]
async fn mass_assignment_at_the_creation_of_an_image() {
    let scene = Scene::new("member", "member").await;
    let members = [
        ("owner", json!(scene.lessee.project)),
        ("owner", Value::Null),
        ("visibility", json!("public")),
        ("status", json!("active")),
        ("size", json!(1)),
        ("checksum", json!("x")),
        ("os_hash_value", json!("x")),
        ("os_hash_algo", json!("md5")),
        ("locations", json!([{"url": "file:///etc/shadow", "metadata": {}}])),
        ("direct_url", json!("file:///dev/zero")),
        ("file", json!("/etc/shadow")),
        ("os_glance_failed_import", json!("x")),
        ("created_at", json!("x")),
        ("members", json!([scene.lessee.project])),
    ];
    let bodies = each(&json!({"name": "eve", "disk_format": "raw", "container_format": "bare"}), &members);
    let known = async || {
        let view = scene.rig.api.engine.view();
        view.images().count()
    };
    let before = known().await;
    for body in &bodies {
        let (status, answer) = scene.with(&scene.owner, "POST", "/image/v2/images", body.clone()).await;
        assert!(matches!(status.as_u16(), 400 | 403), "{body}: {status} {answer}");
    }
    assert_eq!(known().await, before);
    let (status, image) = scene.with(&scene.owner, "POST", "/image/v2/images", json!({"name": "good"})).await;
    assert_eq!((status, &image["owner"]), (StatusCode::CREATED, &json!(scene.owner.project)), "{image}");
    let again = json!({"name": "mine", "id": image["id"]});
    assert_eq!(scene.with(&scene.lessee, "POST", "/image/v2/images", again).await.0, StatusCode::CONFLICT);
}

#[tokio::test]
async fn mass_assignment_at_the_creation_of_a_network() {
    let scene = Scene::new("member", "member").await;
    let network = [
        ("project_id", json!(scene.lessee.project)),
        ("tenant_id", json!(scene.lessee.project)),
        ("shared", json!(true)),
        ("router:external", json!(true)),
        ("is_default", json!(true)),
        ("provider:network_type", json!("vlan")),
        ("provider:segmentation_id", json!(1)),
        ("provider:physical_network", json!("x")),
        ("id", json!(NOWHERE)),
        ("status", json!("ACTIVE")),
        ("subnets", json!([NOWHERE])),
        ("revision_number", json!(7)),
        ("created_at", json!("x")),
    ];
    let bodies = wrapped("network", each(&json!({"name": "eve"}), &network));
    refused(&scene, &scene.owner, "/network/v2.0/networks", "/network/v2.0/networks", &bodies).await;
    let (status, made) =
        scene.with(&scene.owner, "POST", "/network/v2.0/networks", json!({"network": {"name": "good"}})).await;
    assert_eq!((status, &made["network"]["project_id"]), (StatusCode::CREATED, &json!(scene.owner.project)), "{made}");
    let id = &made["network"]["id"];
    let port = [
        ("project_id", json!(scene.lessee.project)),
        ("status", json!("ACTIVE")),
        ("id", json!(NOWHERE)),
        ("binding:host_id", json!(scene.node)),
        ("mac_learning_enabled", json!(true)),
        ("revision_number", json!(7)),
    ];
    let bodies = wrapped("port", each(&json!({ "network_id": id }), &port));
    refused(&scene, &scene.owner, "/network/v2.0/ports", "/network/v2.0/ports", &bodies).await;
    // In a network of somebody else nobody passes for its router.
    let shared = json!({"network": {"name": "shared", "shared": true}});
    let (status, shared) = scene.with(&root(&scene).await, "POST", "/network/v2.0/networks", shared).await;
    assert_eq!(status, StatusCode::CREATED, "{shared}");
    let port = [
        ("device_owner", json!("network:dhcp")),
        ("device_owner", json!("network:router_interface")),
        ("mac_address", json!("52:54:00:00:00:01")),
    ];
    let bodies = wrapped("port", each(&json!({"network_id": shared["network"]["id"]}), &port));
    refused(&scene, &scene.owner, "/network/v2.0/ports", "/network/v2.0/ports", &bodies).await;
}
