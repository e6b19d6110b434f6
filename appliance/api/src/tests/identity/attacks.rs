//! What must fail.

use super::{ADA, system};
use crate::tests::{PASSWORD, Rig};
use axum::http::StatusCode;
use leasehold_domain::policy::Credentials;
use serde_json::{Value, json};

#[tokio::test]
async fn a_token_is_not_replayed_after_its_role_is_lost_and_given_back() {
    let rig = Rig::new().await;
    let lab = rig.lab().await;
    let ada = rig.token("ada", ADA, Value::Null).await;
    assert!(rig.is_good(&ada).await);
    assert_eq!(rig.grant("DELETE", &lab, "member").await, StatusCode::NO_CONTENT);
    assert!(!rig.is_good(&ada).await);
    assert_eq!(rig.grant("PUT", &lab, "member").await, StatusCode::NO_CONTENT);
    assert!(!rig.is_good(&ada).await);
}

#[tokio::test]
async fn a_disabled_project_domain_or_user_ends_tokens() {
    let rig = Rig::new().await;
    let lab = rig.lab().await;
    for (what, id) in [("project", &lab.project), ("user", &lab.ada)] {
        let ada = rig.token("ada", ADA, Value::Null).await;
        let path = format!("/{what}s/{id}");
        let set = async |on: bool| rig.keystone("PATCH", &path, json!({ what: {"enabled": on} }), &lab.root).await.0;
        assert_eq!(set(false).await, StatusCode::OK);
        assert!(!rig.is_good(&ada).await, "{what}");
        assert_eq!(set(true).await, StatusCode::OK);
        assert!(!rig.is_good(&ada).await, "{what}");
    }
}

/// Keystone's own rules let the role `admin` do anything wherever it is held.
#[tokio::test]
async fn the_administrator_of_a_project_is_no_more_than_that() {
    let rig = Rig::new().await;
    let lab = rig.lab().await;
    assert_eq!(rig.grant("PUT", &lab, "admin").await, StatusCode::NO_CONTENT);
    let ada = rig.token("ada", ADA, Value::Null).await;
    let admin = rig.role("admin", &lab.root).await;
    let root_user = rig.api.engine.view().identity.user_of_default_domain("admin").expect("there").id;
    let root_user = leasehold_domain::identity::id_text(root_user.0);
    for (method, path, body) in [
        ("PUT", format!("/system/users/{}/roles/{admin}", lab.ada), Value::Null),
        ("PUT", format!("/domains/default/users/{}/roles/{admin}", lab.ada), Value::Null),
        ("POST", "/users".into(), json!({"user": {"name": "eve"}})),
        ("POST", "/projects".into(), json!({"project": {"name": "eve", "parent_id": lab.project}})),
        ("POST", "/domains".into(), json!({"domain": {"name": "eve"}})),
        ("POST", "/roles".into(), json!({"role": {"name": "eve"}})),
        ("PATCH", format!("/users/{}", lab.ada), json!({"user": {"enabled": true}})),
    ] {
        let (status, answer) = rig.keystone(method, &path, body, &ada).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}: {answer}");
    }
    for (method, path, body) in [
        ("GET", format!("/users/{root_user}"), Value::Null),
        ("PATCH", format!("/users/{root_user}"), json!({"user": {"password": "taken over by eve"}})),
        ("DELETE", format!("/users/{root_user}"), Value::Null),
    ] {
        assert_eq!(rig.keystone(method, &path, body, &ada).await.0, StatusCode::NOT_FOUND, "{method} {path}");
    }
    let (_, users) = rig.keystone("GET", "/users", Value::Null, &ada).await;
    assert_eq!(users["users"].as_array().map(Vec::len), Some(1), "only himself: {users}");
    assert_eq!(rig.keystone("GET", "/role_assignments", Value::Null, &ada).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn headers_twice_and_the_wrong_kind_of_secret_open_nothing() {
    let rig = Rig::new().await;
    let root = rig.root().await;
    let status =
        async |headers: &[(&str, &str)]| rig.ask("GET", "/baremetal/v1/nodes", Value::Null, headers).await.status;
    assert_eq!(status(&[("x-auth-token", &root)]).await, StatusCode::OK);
    assert_eq!(status(&[("x-auth-token", &root), ("x-auth-token", &root)]).await, StatusCode::UNAUTHORIZED);
    let cookie = format!("__Host-leasehold={root}");
    assert_eq!(status(&[("cookie", &cookie)]).await, StatusCode::UNAUTHORIZED, "a token is no session");
    for text in ["", "x", &root[..root.len() - 1], &root.to_uppercase(), &format!("{root}x")] {
        assert_eq!(status(&[("x-auth-token", text)]).await, StatusCode::UNAUTHORIZED, "{text:?}");
    }
}

#[tokio::test]
async fn the_database_holds_no_token_as_it_is_given() {
    let rig = Rig::new().await;
    let root = rig.root().await;
    let file = std::fs::read(rig._folder.path().join("leasehold.redb")).expect("the database");
    let has = |text: &str| file.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("admin"), "the file is read");
    assert!(!has(&root) && !has(&root[3..]) && !has(PASSWORD));
}

#[tokio::test]
async fn basic_is_within_the_usual_scope() {
    let rig = Rig::new().await;
    let lab = rig.lab().await;
    let of = |name: &str| -> Credentials {
        let view = rig.api.engine.view();
        let user = view.identity.user_of_default_domain(name).expect("there");
        view.identity.credentials(user, view.identity.usual_scope(user)).expect("a ground")
    };
    assert!(of("admin").system && of("admin").roles.contains("admin"));
    let ada = of("ada");
    assert_eq!((ada.system, ada.project_id.as_deref()), (false, Some(lab.project.as_str())));
    assert!(ada.roles.contains("member") && !ada.roles.contains("admin"));
    let refused = rig.login(super::by_password("ada", ADA), system()).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}
