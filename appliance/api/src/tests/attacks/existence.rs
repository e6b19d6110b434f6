//! Existence by the time of an answer, held deterministically: the same work is done for what is hidden and for what is
//! not there, and the answers are the same bytes under the same headers. What the clock says to that, `tests/bench`
//! measures (`timing`: stated sample and threshold).

use super::*;
use crate::audit::Hidings;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use tower_service::Service;

/// An answer as an attacker may compare it, and the rules that were asked for it.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    status: StatusCode,
    headers: Vec<(String, String)>,
    body: String,
    rules: Vec<String>,
}

/// The answer, with `named` taken out of it, and without what is another one each time.
async fn told(scene: &Scene, method: &str, path: &str, body: &Value, headers: &[(&str, &str)], named: &str) -> Told {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = request.body(Body::from(body)).expect("a request");
    let answer = crate::public(scene.rig.api.clone()).call(request).await.expect("routers do not fail");
    let status = answer.status();
    let rules = answer.extensions().get::<Hidings>().map(Hidings::rules).unwrap_or_default();
    let mut headers: Vec<_> = answer
        .headers()
        .iter()
        .map(|(name, value)| {
            let value = if name.as_str().ends_with("request-id") { "…" } else { value.to_str().expect("ASCII") };
            (name.to_string(), value.to_owned())
        })
        .collect();
    headers.sort();
    let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
    let body = String::from_utf8(bytes.to_vec()).expect("text").replace(named, "…");
    Told { status, headers, body, rules }
}

/// Calls that name a node in their path.
fn calls() -> Vec<(&'static str, &'static str, Value)> {
    let patch = |path: &str| json!([{"op": "replace", "path": path, "value": "x"}]);
    vec![
        ("GET", "", Value::Null),
        ("GET", "?fields=uuid", Value::Null),
        ("DELETE", "", Value::Null),
        ("PATCH", "", patch("/name")),
        ("PATCH", "", patch("/owner")),
        ("PATCH", "", patch("/driver_info/ipmi_password")),
        ("GET", "/states", Value::Null),
        ("PUT", "/states/provision", json!({"target": "active"})),
        ("PUT", "/states/power", json!({"target": "power off"})),
        ("PUT", "/states/console", json!({"enabled": true})),
        ("GET", "/validate", Value::Null),
        ("GET", "/ports", Value::Null),
        ("GET", "/portgroups", Value::Null),
        ("GET", "/traits", Value::Null),
        ("PUT", "/traits", json!({"traits": []})),
        ("GET", "/vifs", Value::Null),
        ("POST", "/vifs", json!({"id": NOWHERE})),
        ("GET", "/history", Value::Null),
        ("GET", "/inventory", Value::Null),
        ("GET", "/bios", Value::Null),
        ("GET", "/firmware", Value::Null),
        ("GET", "/children", Value::Null),
        ("GET", "/management/boot_device", Value::Null),
        ("PUT", "/management/inject_nmi", json!({})),
        ("PUT", "/maintenance", json!({"reason": "x"})),
        ("GET", "/vendor_passthru/methods", Value::Null),
    ]
}

#[tokio::test]
async fn existence_of_anothers_node_by_the_work_for_the_answer() {
    let scene = Scene::new("admin", "member").await;
    for version in ["1.115", "1.60"] {
        let headers = [("x-auth-token", scene.stranger.token.as_str()), (VERSION, version)];
        for (method, tail, body) in calls() {
            for (hidden, missing) in [(scene.node.as_str(), NOWHERE), ("n1", "n9")] {
                let path = |ident: &str| format!("/baremetal/v1/nodes/{ident}{tail}");
                let one = told(&scene, method, &path(hidden), &body, &headers, hidden).await;
                let other = told(&scene, method, &path(missing), &body, &headers, missing).await;
                assert_eq!(one, other, "{version} {method} {tail}: {hidden} and {missing}");
                let newer = version == "1.60" && one.rules.is_empty();
                assert!(one.status == StatusCode::NOT_FOUND || newer, "{method} {tail}: {one:?}");
                assert!(!one.rules.is_empty() || newer, "{method} {tail}: the rules are asked");
            }
        }
    }
    // Its owner has it, by the same calls.
    let owner = [("x-auth-token", scene.owner.token.as_str()), (VERSION, "1.115")];
    let path = format!("/baremetal/v1/nodes/{}", scene.node);
    let seen = told(&scene, "GET", &path, &Value::Null, &owner, "-").await;
    assert_eq!(seen.status, StatusCode::OK);
}

#[tokio::test]
async fn existence_of_an_account_by_the_work_for_the_answer() {
    let scene = Scene::new("member", "member").await;
    let root = scene.rig.token("admin", PASSWORD, system()).await;
    let user = json!({"user": {"name": "gone", "password": "a sentence of one's own", "enabled": false}});
    let (status, made) = scene.rig.keystone("POST", "/users", user, &root).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let looks = || scene.rig.api.passwords.looks();
    let login = |name: &str, password: &str| json!({"auth": {"identity": by_password(name, password)}});
    let mut answers = Vec::new();
    // Unknown, known with a wrong password, disabled with the right one.
    for (name, password) in [("nobody", "wrong"), ("owner", "wrong"), ("gone", "a sentence of one's own")] {
        let before = looks();
        let answer = told(&scene, "POST", "/identity/v3/auth/tokens", &login(name, password), &[], name).await;
        assert_eq!(looks() - before, 1, "{name}: Argon2 runs once");
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
        answers.push(answer);
    }
    assert_eq!(answers[0], answers[1], "unknown and wrong");
    assert_eq!(answers[0], answers[2], "unknown and disabled");
    let by_id = |id: &str| json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {"id": id, "password": "wrong"}}}}});
    let id = made["user"]["id"].as_str().expect("an id");
    let nobody = NOWHERE.replace('-', "");
    let mut answers = Vec::new();
    for ident in [id, &nobody] {
        let before = looks();
        answers.push(told(&scene, "POST", "/identity/v3/auth/tokens", &by_id(ident), &[], ident).await);
        assert_eq!(looks() - before, 1, "{ident}");
    }
    assert_eq!(answers[0], answers[1]);
    // With Basic, of any service.
    let basic =
        |name: &str| format!("Basic {}", base64::Engine::encode(&super::super::STANDARD, format!("{name}:wrong")));
    let mut answers = Vec::new();
    for name in ["owner", "nobody"] {
        let before = looks();
        let proof = basic(name);
        let headers = [("authorization", proof.as_str()), (VERSION, "1.115")];
        answers.push(told(&scene, "GET", "/baremetal/v1/nodes", &Value::Null, &headers, name).await);
        assert_eq!(looks() - before, 1, "{name}");
    }
    assert_eq!(answers[0], answers[1]);
    // A right one is let in, and looked at in the same way.
    let before = looks();
    let good =
        told(&scene, "POST", "/identity/v3/auth/tokens", &login("stranger", "a sentence of one's own"), &[], "-").await;
    assert_eq!((good.status, looks() - before), (StatusCode::CREATED, 0), "remembered from the beginning of the scene");
}

#[tokio::test]
async fn existence_of_a_token_or_a_credential_by_the_work_for_the_answer() {
    let scene = Scene::new("member", "member").await;
    let (_, mine) = scene.rig.keystone("GET", "/auth/projects", Value::Null, &scene.owner.token).await;
    assert!(mine["projects"].is_array(), "{mine}");
    let root = scene.rig.token("admin", PASSWORD, system()).await;
    let ended =
        scene.rig.token("lessee", "a sentence of one's own", json!({"project": {"id": scene.lessee.project}})).await;
    let headers = [("x-auth-token", root.as_str()), ("x-subject-token", ended.as_str())];
    let revoked = scene.rig.ask("DELETE", "/identity/v3/auth/tokens", Value::Null, &headers).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    // Ended, never issued, no token at all: one digest, one look, one answer.
    let looks = scene.rig.api.passwords.looks();
    let invented = "A".repeat(ended.len());
    let mut answers = Vec::new();
    for token in [ended.as_str(), invented.as_str(), "x"] {
        let headers = [("x-auth-token", token), (VERSION, "1.115")];
        answers.push(told(&scene, "GET", "/baremetal/v1/nodes", &Value::Null, &headers, token).await);
        let proof = json!({"auth": {"identity": {"methods": ["token"], "token": {"id": token}}}});
        answers.push(told(&scene, "POST", "/identity/v3/auth/tokens", &proof, &[], token).await);
    }
    assert_eq!((&answers[..2], &answers[..2]), (&answers[2..4], &answers[4..6]));
    assert_eq!(answers[0].status, StatusCode::UNAUTHORIZED);
    assert_eq!(scene.rig.api.passwords.looks(), looks);
    // An application credential: unknown, or known with a wrong secret.
    let (_, users) = scene.rig.keystone("GET", "/users?name=owner", Value::Null, &root).await;
    let path = format!("/users/{}/application_credentials", users["users"][0]["id"].as_str().expect("an id"));
    let body = json!({"application_credential": {"name": "ci"}});
    let (status, made) = scene.rig.keystone("POST", &path, body, &scene.owner.token).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let known = made["application_credential"]["id"].as_str().expect("an id");
    let nobody = NOWHERE.replace('-', "");
    let mut answers = Vec::new();
    for id in [known, &nobody] {
        let before = scene.rig.api.passwords.looks();
        let proof = json!({"auth": {"identity": {"methods": ["application_credential"],
            "application_credential": {"id": id, "secret": "wrong"}}}});
        answers.push(told(&scene, "POST", "/identity/v3/auth/tokens", &proof, &[], id).await);
        assert_eq!(scene.rig.api.passwords.looks() - before, 1, "{id}: Argon2 runs once");
    }
    assert_eq!(answers[0], answers[1]);
}
