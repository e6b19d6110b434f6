//! Rules and audit by way of the routers: explained, reloaded, noted.

use super::Rig;
use super::tenants::Scene;
use crate::local;
use crate::policy::Source;
use crate::serve::Connection;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use leasehold_domain::command::Actor;
use leasehold_store::{AuditEntry, Options, Outcome, Store};
use serde_json::{Value, json};
use std::sync::Arc;

impl Rig {
    /// What the command line gets on the local socket.
    async fn on_the_box(&self, method: &str, path: &str) -> (StatusCode, Value) {
        let peer = Connection { peer: None, uid: Some(0), secure: true };
        let request = Request::builder().method(method).uri(format!("/appliance/v1{path}")).extension(peer);
        self.send(local(self.api.clone()), request.body(Body::empty()).expect("a request")).await
    }
}

const SHIPPED: &str = include_str!("../../../../config/policy.yaml");

#[tokio::test]
async fn a_reload_puts_a_good_file_in_force_and_a_bad_one_changes_nothing() {
    let mut scene = Scene::new("member", "member").await;
    let file = scene.rig._folder.path().join("policy.yaml");
    scene.rig.api.policy_source = Arc::new(Source::File(file.clone()));
    let deploys = async |scene: &Scene| {
        let path = format!("/nodes/{}/states/provision", scene.node);
        scene.ask(&scene.lessee, "PUT", &path, json!({"target": "active"})).await.0
    };
    assert_eq!(deploys(&scene).await, StatusCode::FORBIDDEN, "upstream's defaults");

    let (status, answer) = scene.rig.on_the_box("POST", "/policy/reload").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "there is no file: {answer}");
    std::fs::write(&file, SHIPPED).expect("written");
    let (status, answer) = scene.rig.on_the_box("POST", "/policy/reload").await;
    assert_eq!((status, &answer["warnings"]), (StatusCode::OK, &json!([])), "{answer}");
    let changed = answer["changed"].as_array().expect("names");
    assert!(changed.contains(&json!("baremetal:node:set_provision_state")), "{answer}");
    assert_ne!(deploys(&scene).await, StatusCode::FORBIDDEN, "allowed; the state may still refuse");

    std::fs::write(&file, format!("{SHIPPED}\n\"x\": \"role:y and\"\n")).expect("written");
    assert_eq!(scene.rig.on_the_box("POST", "/policy/reload").await.0, StatusCode::BAD_REQUEST);
    assert_ne!(deploys(&scene).await, StatusCode::FORBIDDEN);
    let (_, list) = scene.rig.on_the_box("GET", "/policy").await;
    let rules = list["rules"].as_array().expect("rules");
    let found = rules.iter().find(|rule| rule["name"] == "works_on_node").expect("the shipped file's");
    assert!(found["origin"].as_str().is_some_and(|origin| origin.starts_with("line ")), "{found}");
}

#[tokio::test]
async fn an_explanation_names_the_rule_and_what_was_compared() {
    let scene = Scene::new("member", "member").await;
    let ask = |query: String| {
        let rig = &scene.rig;
        async move { rig.on_the_box("GET", &format!("/policy/explain?{query}")).await }
    };
    let (status, said) = ask("user=lessee&action=node:set_provision_state&node=n1".into()).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    assert_eq!(said["node"]["lessee"], json!(scene.lessee.project));
    let answer = &said["answers"][0];
    assert_eq!((&answer["allowed"], &answer["in"]), (&json!(false), &json!("project lessee")), "{said}");
    assert_eq!(answer["rule"], "baremetal:node:set_provision_state");
    assert!(answer.to_string().contains("project_id is"), "{answer}");
    let (_, said) = ask(format!("user=owner&action=baremetal:node:set_provision_state&node={}", scene.node)).await;
    assert_eq!(said["answers"][0]["allowed"], json!(true), "{said}");
    // Of a lease of the node: the owner's, to its lessee.
    for (user, action, allowed) in [
        ("lessee", "esi_leap:lease:delete", true),
        ("lessee", "lease:update", false),
        ("owner", "offer:delete", true),
        ("lessee", "offer:delete", false),
        ("stranger", "lease:get", true),
    ] {
        let (_, said) = ask(format!("user={user}&action={action}&node=n1")).await;
        assert_eq!(said["answers"][0]["allowed"], json!(allowed), "{user} {action}: {said}");
    }
    let (_, said) = ask("user=admin&action=chassis:create".into()).await;
    let system = said["answers"].as_array().expect("answers").iter().find(|answer| answer["in"] == "the system");
    assert_eq!(system.expect("his scope")["allowed"], json!(true), "{said}");
    for (query, hint) in [("user=nobody&action=node:get", "no user"), ("user=owner&action=node:gett", "Did you mean")] {
        let (status, said) = ask(query.into()).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(super::fault(&said).contains(hint), "{said}");
    }
}

#[tokio::test]
async fn what_is_done_and_what_is_forbidden_is_in_the_audit_without_secrets() {
    let scene = Scene::new("member", "member").await;
    let path = format!("/nodes/{}", scene.node);
    let patch = json!([
        {"op": "add", "path": "/extra/rack", "value": 4},
        {"op": "add", "path": "/extra/api_token", "value": "sesame"},
    ]);
    assert_eq!(scene.ask(&scene.owner, "PATCH", &path, patch).await.0, StatusCode::OK);
    for _ in 0..3 {
        let (status, _) = scene.ask(&scene.lessee, "DELETE", &path, Value::Null).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
    let (status, page) = scene.rig.raw("GET", "/appliance/v1/audit?what=change-node", "", &[]).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    let entry = &page["entries"][0];
    assert_eq!((&entry["actor"], &entry["outcome"]), (&json!("owner"), &json!("done")), "{page}");
    assert_eq!(entry["scope"], json!(format!("project {}", scene.owner.project)));
    let change = &entry["change"][format!("node {}", scene.node)];
    assert_eq!(change["settings.extra.rack"], json!([null, 4]), "{entry}");
    assert_eq!(change["settings.extra.api_token"], json!([null, "***"]), "{entry}");
    assert!(!page.to_string().contains("sesame"));

    let token = [("x-auth-token", scene.owner.token.as_str())];
    let asked = scene.rig.ask("GET", "/appliance/v1/audit", Value::Null, &token).await;
    assert_eq!(asked.status, StatusCode::FORBIDDEN, "it is the system's");
    let (_, verified) = scene.rig.on_the_box("GET", "/audit/verify").await;
    assert_eq!(verified["faults"], json!([]));
    let noted =
        format!("/audit/verify?number={}&link={}", verified["last"], verified["head"].as_str().expect("a link"));
    assert_eq!(scene.rig.on_the_box("GET", &noted).await.1["faults"], json!([]));
    let other = format!("/audit/verify?number={}&link={}", verified["last"], "0".repeat(64));
    assert_eq!(scene.rig.on_the_box("GET", &other).await.1["faults"].as_array().map(Vec::len), Some(1));
    let (_, exported) = scene.rig.on_the_box("GET", "/audit/export?after=0").await;
    assert_eq!(exported["rows"].as_array().map(|rows| rows.len() as u64), verified["last"].as_u64());

    // Refusals are gathered; at the end they are written.
    scene.rig.api.engine.store.close().await;
    let store = Store::open(scene.rig._folder.path(), Options::default()).expect("the store again");
    let entries = store.audit(1000).await.expect("read");
    let forbidden = |entry: &&AuditEntry| entry.actor == "lessee" && matches!(entry.outcome, Outcome::Refused { .. });
    let [refused] = &entries.iter().filter(forbidden).collect::<Vec<_>>()[..] else { panic!("{entries:?}") };
    assert!(matches!(refused.outcome, Outcome::Refused { count: 3, .. }), "{refused:?}");
    assert_eq!(refused.what, "DELETE /baremetal/v1/nodes/{node}");
    assert!(refused.source.user.is_some() && refused.subject.as_deref().is_some_and(|path| path.contains(&scene.node)));
    assert!(store.audit_verify(None).await.expect("read").faults.is_empty());
    store.close().await;
}

#[tokio::test]
async fn a_reload_is_in_the_audit() {
    let mut rig = Rig::new().await;
    let file = rig._folder.path().join("policy.yaml");
    std::fs::write(&file, "\"mine\": \"role:x\"\n").expect("written");
    rig.api.policy_source = Arc::new(Source::File(file.clone()));
    crate::policy::reload(&rig.api, &Actor::Local(7)).await.expect("reloaded");
    let entries = rig.api.engine.store.audit(1).await.expect("read");
    assert_eq!((entries[0].actor.as_str(), entries[0].what.as_str()), ("local user 7", "reload-policy"));
    assert_eq!(entries[0].change, Some(json!({"rules": ["mine"]})));
}
