//! Headers that say who somebody is, beside the ones that prove it.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

const NODES: &str = "/baremetal/v1/nodes";

async fn seen(scene: &Scene, headers: &[(&str, &str)]) -> (StatusCode, usize) {
    let answer = scene.rig.ask("GET", NODES, Value::Null, headers).await;
    (answer.status, answer.body["nodes"].as_array().map_or(0, Vec::len))
}

#[tokio::test]
async fn header_smuggling_with_two_tokens() {
    let scene = Scene::new("member", "member").await;
    let (mine, his) = (scene.stranger.token.as_str(), scene.owner.token.as_str());
    assert_eq!(seen(&scene, &[("x-auth-token", his)]).await, (StatusCode::OK, 1));
    let joined = [format!("{mine},{his}"), format!("{mine}, {his}"), format!("{mine} {his}"), format!("{his};{mine}")];
    for pair in [(mine, his), (his, mine), (his, "x"), ("", his), (his, "")] {
        let headers = [("x-auth-token", pair.0), ("X-Auth-Token", pair.1)];
        assert_eq!(seen(&scene, &headers).await, (StatusCode::UNAUTHORIZED, 0));
    }
    for text in &joined {
        assert_eq!(seen(&scene, &[("x-auth-token", text)]).await, (StatusCode::UNAUTHORIZED, 0));
    }
}

#[tokio::test]
async fn header_smuggling_with_the_proof_of_another_kind() {
    let scene = Scene::new("member", "member").await;
    let root = basic("admin", PASSWORD);
    let (mine, wrong) = (scene.stranger.token.as_str(), basic("admin", "wrong"));
    assert_eq!(seen(&scene, &[("authorization", &root)]).await, (StatusCode::OK, 1));
    // A token is the proof where there is one: what else is sent adds nothing and is not fallen back to.
    assert_eq!(seen(&scene, &[("x-auth-token", mine), ("authorization", &root)]).await, (StatusCode::OK, 0));
    assert_eq!(seen(&scene, &[("authorization", &root), ("x-auth-token", mine)]).await, (StatusCode::OK, 0));
    for token in ["", "x", "null"] {
        let headers = [("x-auth-token", token), ("authorization", root.as_str())];
        assert_eq!(seen(&scene, &headers).await, (StatusCode::UNAUTHORIZED, 0), "{token:?}");
    }
    for pair in [(root.as_str(), wrong.as_str()), (wrong.as_str(), root.as_str()), (root.as_str(), root.as_str())] {
        let headers = [("authorization", pair.0), ("authorization", pair.1)];
        assert_eq!(seen(&scene, &headers).await, (StatusCode::UNAUTHORIZED, 0));
    }
    for scheme in
        [format!("Bearer {}", scene.owner.token), format!("Token {}", scene.owner.token), root.replacen(' ', "\t", 1)]
    {
        assert_eq!(seen(&scene, &[("authorization", &scheme)]).await, (StatusCode::UNAUTHORIZED, 0), "{scheme}");
    }
}

#[tokio::test]
async fn header_smuggling_of_what_a_proxy_would_say() {
    let scene = Scene::new("member", "member").await;
    let admin = [
        ("x-roles", "admin"),
        ("x-role", "admin"),
        ("x-is-admin-project", "True"),
        ("x-identity-status", "Confirmed"),
        ("x-service-identity-status", "Confirmed"),
        ("x-user-id", "admin"),
        ("x-user-name", "admin"),
        ("x-user-domain-id", "default"),
        ("x-project-id", scene.owner.project.as_str()),
        ("x-tenant-id", scene.owner.project.as_str()),
        ("x-domain-id", "default"),
        ("openstack-system-scope", "all"),
        ("x-service-token", scene.owner.token.as_str()),
        ("x-forwarded-user", "admin"),
        ("remote-user", "admin"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("x-original-url", "/appliance/v1/health"),
        ("x-rewrite-url", "/appliance/v1/health"),
        ("x-http-method-override", "DELETE"),
    ];
    let nobody = seen(&scene, &admin).await;
    assert_eq!(nobody, (StatusCode::UNAUTHORIZED, 0), "without a proof");
    let mut stranger = admin.to_vec();
    stranger.push((VERSION, "1.115"));
    stranger.push(("x-auth-token", scene.stranger.token.as_str()));
    assert_eq!(seen(&scene, &stranger).await, (StatusCode::OK, 0), "he is who he is");
    let path = format!("{NODES}/{}", scene.node);
    assert_eq!(scene.rig.ask("GET", &path, Value::Null, &stranger).await.status, StatusCode::NOT_FOUND);
    let mut lessee = admin.to_vec();
    lessee.push((VERSION, "1.115"));
    lessee.push(("x-auth-token", scene.lessee.token.as_str()));
    let patch = json!([{"op": "replace", "path": "/owner", "value": scene.lessee.project}]);
    assert_eq!(scene.rig.ask("PATCH", &path, patch, &lessee).await.status, StatusCode::FORBIDDEN);
    let looked = scene.rig.ask("GET", &path, Value::Null, &lessee).await;
    assert_eq!(looked.status, StatusCode::OK, "a look stays a look");
    assert_eq!(scene.kept(&scene.node).owner, Some(scene.owner.project.clone()));
}

#[tokio::test]
async fn the_version_header_is_sent_twice() {
    let scene = Scene::new("member", "member").await;
    let path = format!("{NODES}/{}", scene.node);
    for pair in [("1.1", "1.115"), ("1.115", "1.1"), ("latest", "1.1")] {
        let headers = [("x-auth-token", scene.lessee.token.as_str()), (VERSION, pair.0), (VERSION, pair.1)];
        let answer = scene.rig.ask("GET", &path, Value::Null, &headers).await;
        assert!(!answer.body.to_string().contains("fake_deploy_delay"), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_host_header_is_written_into_answers_as_markup() {
    let scene = Scene::new("member", "member").await;
    for host in ["box\" onload=\"x", "box/../../evil", "<script>", "evil@box", "a b"] {
        let headers = [("x-auth-token", scene.owner.token.as_str()), ("host", host)];
        let answer = scene.rig.ask("GET", NODES, Value::Null, &headers).await;
        assert!(answer.status.is_client_error() || !answer.body.to_string().contains(host), "{}", answer.body);
    }
}
