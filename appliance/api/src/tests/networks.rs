//! Networks over HTTP: each project has its own, attributes have rules of their own, what is refused changes nothing.

use super::tenants::{Scene, Tenant};
use super::*;

impl Scene {
    /// A call of the network API.
    async fn net(&self, who: &Tenant, method: &str, path: &str, body: Value) -> Reply {
        let headers = [("x-auth-token", who.token.as_str())];
        let answer = self.rig.ask(method, &format!("/network/v2.0{path}"), body, &headers).await;
        (answer.status, answer.body)
    }

    async fn made(&self, who: &Tenant, kind: &str, body: Value) -> Value {
        let (status, made) = self.net(who, "POST", &format!("/{kind}s"), json!({ kind: body })).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        made[kind].clone()
    }

    /// A network of the lessee with a subnet and a port.
    async fn lessees_port(&self) -> (Value, Value, Value) {
        let network = self.made(&self.lessee, "network", json!({"name": "private"})).await;
        let subnet = json!({"network_id": network["id"], "cidr": "10.5.0.0/24", "ip_version": 4});
        let subnet = self.made(&self.lessee, "subnet", subnet).await;
        let port = self.made(&self.lessee, "port", json!({"network_id": network["id"], "name": "p"})).await;
        (network, subnet, port)
    }
}

/// The words of Neutron's error body.
fn words(answer: &Value) -> &str {
    answer["NeutronError"]["message"].as_str().expect("Neutron's error body")
}

#[tokio::test]
async fn what_is_one_projects_is_not_there_for_another() {
    let scene = Scene::new("member", "admin").await;
    let (network, subnet, port) = scene.lessees_port().await;
    assert_eq!(port["fixed_ips"][0]["ip_address"], "10.5.0.2");
    for (kind, thing) in [("networks", &network), ("subnets", &subnet), ("ports", &port)] {
        let id = thing["id"].as_str().expect("an id");
        for (method, body) in
            [("GET", Value::Null), ("PUT", json!({kind.trim_end_matches('s'): {"name": "x"}})), ("DELETE", Value::Null)]
        {
            let (status, answer) = scene.net(&scene.owner, method, &format!("/{kind}/{id}"), body).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{method} {kind}: {answer}");
            assert!(words(&answer).contains("could not be found"), "{answer}");
        }
        let (_, list) = scene.net(&scene.owner, "GET", &format!("/{kind}"), Value::Null).await;
        assert_eq!(list[kind], json!([]));
    }
    let stolen = json!({"port": {"network_id": network["id"]}});
    assert_eq!(scene.net(&scene.owner, "POST", "/ports", stolen).await.0, StatusCode::NOT_FOUND);
    let foreign = json!({"network": {"name": "x", "project_id": scene.lessee.project}});
    assert_eq!(scene.net(&scene.owner, "POST", "/networks", foreign).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn attributes_have_rules_of_their_own() {
    let scene = Scene::new("member", "admin").await;
    let member = &scene.owner;
    for attribute in [
        json!({"shared": true}),
        json!({"router:external": true}),
        json!({"provider:network_type": "vlan", "provider:segmentation_id": 7}),
    ] {
        let (status, answer) = scene.net(member, "POST", "/networks", json!({"network": attribute})).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
        assert!(words(&answer).contains("is disallowed by policy"), "{answer}");
    }
    let plain = scene.made(member, "network", json!({"name": "n", "shared": false, "admin_state_up": true})).await;
    assert!(plain.get("provider:segmentation_id").is_none(), "masked");
    let shared = json!({"name": "s", "shared": true, "provider:network_type": "vlan", "provider:segmentation_id": 7});
    let shared = scene.made(&scene.lessee, "network", shared).await;
    assert_eq!(shared["provider:segmentation_id"], 7);
    let path = format!("/networks/{}", shared["id"].as_str().expect("an id"));
    assert_eq!(scene.net(member, "GET", &path, Value::Null).await.0, StatusCode::OK, "everybody sees it");
    let rename = json!({"network": {"name": "mine"}});
    assert_eq!(scene.net(member, "PUT", &path, rename).await.0, StatusCode::FORBIDDEN, "seen, and not to be changed");
    let subnet = json!({"subnet": {"network_id": shared["id"], "cidr": "10.7.0.0/24", "ip_version": 4}});
    assert_eq!(scene.net(member, "POST", "/subnets", subnet).await.0, StatusCode::FORBIDDEN);
    scene.made(member, "port", json!({"network_id": shared["id"]})).await;
    let bound = json!({"port": {"network_id": plain["id"], "binding:host_id": "n1"}});
    let answer = scene.net(member, "POST", "/ports", bound).await;
    assert_eq!(answer.0, StatusCode::FORBIDDEN, "upstream's defaults: {}", answer.1);
}

#[tokio::test]
async fn bad_bodies_are_refused_and_change_nothing() {
    let scene = Scene::new("member", "member").await;
    let (network, subnet, port) = scene.lessees_port().await;
    let net = network["id"].clone();
    let at = |kind: &str, thing: &Value| format!("/{kind}/{}", thing["id"].as_str().expect("an id"));
    let all = async || {
        let mut all = Vec::new();
        for kind in ["networks", "subnets", "ports"] {
            all.push(scene.net(&scene.lessee, "GET", &format!("/{kind}"), Value::Null).await);
        }
        all
    };
    let before = all().await;
    for (method, path, body) in [
        ("POST", "/networks".to_owned(), json!([])),
        ("POST", "/networks".into(), json!({"port": {}})),
        ("POST", "/networks".into(), json!({"network": {"colour": "red"}})),
        ("POST", "/networks".into(), json!({"network": {"mtu": 7}})),
        ("POST", "/networks".into(), json!({"network": {"port_security_enabled": true}})),
        ("POST", "/networks".into(), json!({"network": {"name": 7}})),
        ("POST", "/subnets".into(), json!({"subnet": {"network_id": net, "cidr": "10.5.0.128/25", "ip_version": 4}})),
        ("POST", "/subnets".into(), json!({"subnet": {"network_id": net, "cidr": "fd00::/64", "ip_version": 6}})),
        ("POST", "/subnets".into(), json!({"subnet": {"network_id": net, "cidr": "10.6.0.1/24", "ip_version": 4}})),
        ("POST", "/subnets".into(), json!({"subnet": {"network_id": net, "cidr": "10.6.0.0/31", "ip_version": 4}})),
        (
            "POST",
            "/subnets".into(),
            json!({"subnet": {"network_id": net, "cidr": "10.6.0.0/24", "ip_version": 4, "gateway_ip": "10.6.1.1"}}),
        ),
        (
            "POST",
            "/subnets".into(),
            json!({"subnet": {"network_id": net, "cidr": "10.6.0.0/24", "ip_version": 4, "allocation_pools": [{"start": "10.6.0.1", "end": "10.6.0.9"}]}}),
        ),
        ("POST", "/subnets".into(), json!({"subnet": {"network_id": net, "cidr": "10.6.0.0/24"}})),
        ("POST", "/subnets".into(), json!({"subnet": {"network_id": net, "ip_version": 4}})),
        ("POST", "/ports".into(), json!({"port": {"network_id": net, "mac_address": "01:00:00:00:00:01"}})),
        ("POST", "/ports".into(), json!({"port": {"network_id": net, "fixed_ips": [{"ip_address": "10.5.0.1"}]}})),
        ("POST", "/ports".into(), json!({"port": {"network_id": net, "fixed_ips": [{"ip_address": "10.5.0.255"}]}})),
        (
            "POST",
            "/ports".into(),
            json!({"port": {"network_id": net, "extra_dhcp_opts": [{"opt_name": "bootfile-name", "opt_value": "x"}]}}),
        ),
        ("POST", "/ports".into(), json!({"port": {"network_id": net, "security_groups": ["x"]}})),
        ("POST", "/ports".into(), json!({"port": {"network_id": net, "binding:vnic_type": "direct"}})),
        ("POST", "/ports".into(), json!({"port": {"name": "no network"}})),
        ("PUT", at("ports", &port), json!({"port": {"network_id": subnet["id"]}})),
        ("PUT", at("ports", &port), json!({"port": {"project_id": scene.owner.project}})),
        ("PUT", at("subnets", &subnet), json!({"subnet": {"cidr": "10.9.0.0/24"}})),
        ("PUT", at("networks", &network), json!({"network": {"tenant_id": scene.owner.project}})),
        ("GET", "/ports?colour=red".into(), Value::Null),
        ("GET", "/ports?limit=-1".into(), Value::Null),
    ] {
        let (status, answer) = scene.net(&scene.lessee, method, &path, body.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{method} {path} {body}: {answer}");
        assert!(!words(&answer).is_empty());
    }
    for (path, body) in [
        ("/ports", json!({"port": {"network_id": net, "fixed_ips": [{"ip_address": "10.5.0.2"}]}})),
        ("/ports", json!({"port": {"network_id": net, "mac_address": port["mac_address"]}})),
    ] {
        let (status, answer) = scene.net(&scene.lessee, "POST", path, body).await;
        assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    }
    for path in [at("networks", &network), at("subnets", &subnet)] {
        let (status, answer) = scene.net(&scene.lessee, "DELETE", &path, Value::Null).await;
        assert_eq!(status, StatusCode::CONFLICT, "in use: {answer}");
    }
    assert_eq!(all().await, before);
}

#[tokio::test]
async fn lost_updates_do_not_happen() {
    let scene = Scene::new("member", "member").await;
    let (network, ..) = scene.lessees_port().await;
    let path = format!("/network/v2.0/networks/{}", network["id"].as_str().expect("an id"));
    let put = async |revision: &str| {
        let headers = [("x-auth-token", scene.lessee.token.as_str()), ("if-match", revision)];
        scene.rig.ask("PUT", &path, json!({"network": {"name": "n"}}), &headers).await.status
    };
    assert_eq!(put("revision_number=0").await, StatusCode::OK);
    assert_eq!(put("revision_number=0").await, StatusCode::PRECONDITION_FAILED);
    assert_eq!(put("revision_number=1").await, StatusCode::OK);
    assert_eq!(put("whatever").await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_vif_shows_on_both_sides_and_ends_with_the_nodes_use() {
    let scene = Scene::new("member", "admin").await;
    let (_, _, port) = scene.lessees_port().await;
    let id = port["id"].as_str().expect("an id");
    let vifs = format!("/nodes/{}/vifs", scene.node);
    let attach = async |who: &Tenant, vif: &str| scene.ask(who, "POST", &vifs, json!({ "id": vif })).await.0.as_u16();
    assert_eq!(attach(&scene.stranger, id).await, 404, "the node is not there for him");
    assert_eq!(attach(&scene.lessee, &Uuid::new_v4().to_string()).await, 400);
    assert_eq!(attach(&scene.owner, id).await, 400, "the owner may attach, and sees no such port");
    assert_eq!(attach(&scene.lessee, id).await, 204);
    assert_eq!(attach(&scene.lessee, id).await, 409, "twice");
    let (_, listed) = scene.ask(&scene.lessee, "GET", &vifs, Value::Null).await;
    assert_eq!(listed, json!({"vifs": [{"id": id}]}));
    let (_, cards) = scene.ask(&scene.lessee, "GET", &format!("/ports/detail?node={}", scene.node), Value::Null).await;
    assert_eq!(cards["ports"][0]["internal_info"]["tenant_vif_port_id"], id);
    let path = format!("/ports/{id}");
    let (_, shown) = scene.net(&scene.lessee, "GET", &path, Value::Null).await;
    let shown = &shown["port"];
    assert_eq!((&shown["mac_address"], &shown["status"]), (&json!("52:54:00:00:00:01"), &json!("DOWN")));
    assert_eq!(shown["binding:host_id"], scene.node);
    let moved = json!({"port": {"mac_address": null}});
    assert_eq!(scene.net(&scene.lessee, "PUT", &path, moved.clone()).await.0, StatusCode::CONFLICT, "attached");
    let gone = scene.ask(&scene.lessee, "DELETE", &format!("{vifs}/{id}"), Value::Null).await;
    assert_eq!(gone.0, StatusCode::NO_CONTENT);
    let again = scene.ask(&scene.lessee, "DELETE", &format!("{vifs}/{id}"), Value::Null).await;
    assert_eq!(again.0, StatusCode::BAD_REQUEST);
    let (status, free) = scene.net(&scene.lessee, "PUT", &path, moved).await;
    assert_eq!((status, &free["port"]["binding:host_id"]), (StatusCode::OK, &json!("")));
    assert_ne!(free["port"]["mac_address"], port["mac_address"], "null asks for a new one");
}
