//! Browsers' sessions and one-time links.

use super::{ADA, CSRF_HEADER};
use crate::local;
use crate::tests::{PASSWORD, Rig};
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};

#[tokio::test]
async fn a_session_looks_with_its_cookie_and_changes_with_its_second_token() {
    let rig = Rig::new().await;
    let wrong = json!({"username": "admin", "password": "wrong"});
    assert_eq!(rig.ask("POST", "/appliance/v1/session", wrong, &[]).await.status, StatusCode::UNAUTHORIZED);
    let login = json!({"username": "admin", "password": PASSWORD});
    let opened = rig.ask("POST", "/appliance/v1/session", login, &[]).await;
    assert_eq!(opened.status, StatusCode::CREATED, "{}", opened.body);
    let cookie = opened.headers[header::SET_COOKIE].to_str().expect("ASCII");
    for part in ["__Host-leasehold=", "HttpOnly", "Secure", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = cookie.split(';').next().expect("a value").to_owned();
    let csrf = opened.body["csrf_token"].as_str().expect("a token").to_owned();
    let secret = cookie.split_once('=').expect("a pair").1.to_owned();
    let node = || json!({"driver": "ipmi"});
    let nodes = "/baremetal/v1/nodes";
    let with_cookie = ("cookie", cookie.as_str());
    assert_eq!(rig.ask("GET", nodes, Value::Null, &[with_cookie]).await.status, StatusCode::OK);
    assert_eq!(rig.ask("POST", nodes, node(), &[with_cookie]).await.status, StatusCode::FORBIDDEN);
    let forged = [with_cookie, (CSRF_HEADER, "forged")];
    assert_eq!(rig.ask("POST", nodes, node(), &forged).await.status, StatusCode::UNAUTHORIZED);
    let right = [with_cookie, (CSRF_HEADER, csrf.as_str())];
    assert_eq!(rig.ask("POST", nodes, node(), &right).await.status, StatusCode::CREATED);
    let as_token = rig.ask("GET", nodes, Value::Null, &[("x-auth-token", &secret)]).await;
    assert_eq!(as_token.status, StatusCode::UNAUTHORIZED, "a session is no token");
    let shown = rig.ask("GET", "/appliance/v1/session", Value::Null, &[with_cookie]).await;
    assert_eq!((&shown.body["csrf_token"], &shown.body["user"]["name"]), (&json!(csrf), &json!("admin")));
    let closed = rig.ask("DELETE", "/appliance/v1/session", Value::Null, &right).await;
    assert_eq!(closed.status, StatusCode::NO_CONTENT);
    assert_eq!(rig.ask("GET", nodes, Value::Null, &[with_cookie]).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_link_sets_a_password_once() {
    let rig = Rig::new().await;
    let lab = rig.lab().await;
    let invite = async |body: Value, token: &str| {
        rig.ask("POST", "/appliance/v1/invitations", body, &[("x-auth-token", token)]).await
    };
    let body = json!({"user": {"name": "grace"}, "project_id": lab.project, "roles": ["member"]});
    let made = invite(body, &lab.root).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    assert!(made.body["url"].as_str().is_some_and(|url| url.contains("/accept-invitation#lh-")));
    let accept = async |token: &Value, password: &str| {
        let body = json!({"token": token, "password": password});
        rig.ask("POST", "/appliance/v1/invitations/accept", body, &[]).await.status
    };
    let token = &made.body["token"];
    assert_eq!(accept(token, "short").await, StatusCode::BAD_REQUEST);
    assert_eq!(accept(&json!("lh-forged"), "grace's own sentence").await, StatusCode::NOT_FOUND);
    assert_eq!(accept(token, "grace has her own sentence").await, StatusCode::OK);
    assert_eq!(accept(token, "and now another one").await, StatusCode::NOT_FOUND, "it is used");
    rig.token("grace", "grace has her own sentence", Value::Null).await;

    let ada = rig.token("ada", ADA, Value::Null).await;
    let forgotten = invite(json!({"user_id": lab.ada}), &lab.root).await;
    let newer = invite(json!({"user_id": lab.ada}), &lab.root).await;
    assert_eq!(accept(&forgotten.body["token"], "ada's other sentence").await, StatusCode::NOT_FOUND, "replaced");
    assert_eq!(accept(&newer.body["token"], "ada's other sentence").await, StatusCode::OK);
    assert!(!rig.is_good(&ada).await, "a new password ends tokens");
    let ada = rig.token("ada", "ada's other sentence", Value::Null).await;
    let own = invite(json!({"user": {"name": "eve"}}), &ada).await;
    assert_eq!(own.status, StatusCode::FORBIDDEN, "who is no administrator invites nobody");
    let both = invite(json!({"user": {"name": "eve"}, "user_id": lab.ada}), &lab.root).await;
    assert_eq!(both.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_box_itself_makes_accounts() {
    let rig = Rig::new().await;
    let call = async |method: &str, path: &str, body: Value| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(if body.is_null() { String::new() } else { body.to_string() }))
            .expect("a request");
        rig.send(local(rig.api.clone()), request).await
    };
    let wanted =
        json!({"name": "ci", "password": "a robot's long sentence", "project": "lab", "roles": ["member", "lessee"]});
    let (status, made) = call("POST", "/appliance/v1/accounts", wanted.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let token = rig.token("ci", "a robot's long sentence", Value::Null).await;
    let (_, projects) = rig.keystone("GET", "/auth/projects", Value::Null, &token).await;
    assert_eq!(projects["projects"][0]["id"], made["project_id"]);
    assert_eq!(call("POST", "/appliance/v1/accounts", wanted).await.0, StatusCode::CONFLICT);
    let unknown = json!({"name": "x", "project": "lab", "roles": ["emperor"]});
    assert_eq!(call("POST", "/appliance/v1/accounts", unknown).await.0, StatusCode::NOT_FOUND);
    let (status, linked) = call("POST", "/appliance/v1/accounts/admin/link", Value::Null).await;
    assert_eq!(status, StatusCode::CREATED);
    let accept = json!({"token": linked["link"]["token"], "password": "found the way back in"});
    let accepted = rig.ask("POST", "/appliance/v1/invitations/accept", accept, &[]).await;
    assert_eq!(accepted.status, StatusCode::OK, "{}", accepted.body);
    rig.token("admin", "found the way back in", super::system()).await;
    let (_, list) = call("GET", "/appliance/v1/accounts", Value::Null).await;
    assert_eq!(list["accounts"].as_array().map(Vec::len), Some(2));
}
