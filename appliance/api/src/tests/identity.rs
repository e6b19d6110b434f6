//! The identity API as clients and attackers use it.

use super::{PASSWORD, Rig};
use crate::auth::session::CSRF_HEADER;
use crate::public;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower_service::Service;

mod accounts;
mod attacks;
mod sessions;

const ADA: &str = "ada's own long sentence";

/// An answer with its headers.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Rig {
    /// A request of somebody with these headers, to any path.
    pub(super) async fn ask(&self, method: &str, path: &str, body: Value, headers: &[(&str, &str)]) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).expect("a request");
        let answer = public(self.api.clone()).call(request).await.expect("routers do not fail");
        let (status, headers) = (answer.status(), answer.headers().clone());
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
    }

    async fn login(&self, identity: Value, scope: Value) -> Answer {
        let mut auth = json!({"identity": identity});
        if !scope.is_null() {
            auth["scope"] = scope;
        }
        self.ask("POST", "/identity/v3/auth/tokens", json!({"auth": auth}), &[]).await
    }

    /// A token for a user of the default domain.
    pub(super) async fn token(&self, name: &str, password: &str, scope: Value) -> String {
        let answer = self.login(by_password(name, password), scope).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        text_of(&answer)
    }

    /// A call of the identity API with a token.
    pub(super) async fn keystone(&self, method: &str, path: &str, body: Value, token: &str) -> (StatusCode, Value) {
        let answer = self.ask(method, &format!("/identity/v3{path}"), body, &[("x-auth-token", token)]).await;
        (answer.status, answer.body)
    }

    async fn root(&self) -> String {
        self.token("admin", PASSWORD, system()).await
    }

    /// A user with a role in a project of his own; token of the system's administrator; ids of user and project.
    async fn lab(&self) -> Lab {
        let root = self.root().await;
        let project = self.make("project", json!({"name": "lab"}), &root).await;
        let user = json!({"name": "ada", "password": ADA, "default_project_id": project});
        let ada = self.make("user", user, &root).await;
        let lab = Lab { root, project, ada };
        assert_eq!(self.grant("PUT", &lab, "member").await, StatusCode::NO_CONTENT);
        lab
    }

    async fn make(&self, what: &str, body: Value, token: &str) -> String {
        let (status, made) = self.keystone("POST", &format!("/{what}s"), json!({ what: body }), token).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        made[what]["id"].as_str().expect("an id").to_owned()
    }

    async fn role(&self, name: &str, token: &str) -> String {
        let (_, found) = self.keystone("GET", &format!("/roles?name={name}"), Value::Null, token).await;
        found["roles"][0]["id"].as_str().unwrap_or_else(|| panic!("{name}: {found}")).to_owned()
    }

    async fn grant(&self, method: &str, lab: &Lab, role: &str) -> StatusCode {
        let role = self.role(role, &lab.root).await;
        let path = format!("/projects/{}/users/{}/roles/{role}", lab.project, lab.ada);
        self.keystone(method, &path, Value::Null, &lab.root).await.0
    }

    async fn is_good(&self, token: &str) -> bool {
        self.keystone("GET", "/auth/projects", Value::Null, token).await.0 == StatusCode::OK
    }
}

pub(super) struct Lab {
    root: String,
    project: String,
    ada: String,
}

pub(super) fn by_password(name: &str, password: &str) -> Value {
    let user = json!({"name": name, "domain": {"id": "default"}, "password": password});
    json!({"methods": ["password"], "password": {"user": user}})
}

fn by_token(token: &str) -> Value {
    json!({"methods": ["token"], "token": {"id": token}})
}

pub(super) fn system() -> Value {
    json!({"system": {"all": true}})
}

fn text_of(answer: &Answer) -> String {
    answer.headers["x-subject-token"].to_str().expect("ASCII").to_owned()
}

#[tokio::test]
async fn discovery_and_catalog_name_the_host_that_was_asked() {
    let rig = Rig::new().await;
    let host = [("host", "box.example:8443")];
    let versions = rig.ask("GET", "/identity", Value::Null, &host).await;
    assert_eq!(versions.status, StatusCode::MULTIPLE_CHOICES);
    let v3 = rig.ask("GET", "/identity/v3", Value::Null, &host).await;
    assert_eq!(v3.body["version"]["links"][0]["href"], "http://box.example:8443/identity/v3/");
    let auth = json!({"auth": {"identity": by_password("admin", PASSWORD), "scope": system()}});
    let answer = rig.ask("POST", "/identity/v3/auth/tokens", auth, &host).await;
    let token = &answer.body["token"];
    assert_eq!((&token["system"], &token["user"]["domain"]["name"]), (&json!({"all": true}), &json!("Default")));
    let urls: Vec<_> = token["catalog"]
        .as_array()
        .expect("a catalog")
        .iter()
        .map(|service| service["endpoints"][0]["url"].as_str().expect("a URL"))
        .collect();
    let at = |path: &str| format!("http://box.example:8443{path}");
    assert_eq!(urls, [at("/identity/v3"), at("/baremetal"), at("/lease"), at("/network"), at("/image")]);
    let names: Vec<_> = token["roles"].as_array().expect("roles").iter().map(|role| &role["name"]).collect();
    assert!(["admin", "manager", "member", "reader"].iter().all(|name| names.contains(&&json!(name))), "{names:?}");
}

#[tokio::test]
async fn a_token_opens_every_service_until_it_is_revoked() {
    let rig = Rig::new().await;
    let token = rig.root().await;
    let nodes = async || rig.ask("GET", "/baremetal/v1/nodes", Value::Null, &[("x-auth-token", &token)]).await.status;
    assert_eq!(nodes().await, StatusCode::OK);
    let about = [("x-auth-token", token.as_str()), ("x-subject-token", token.as_str())];
    let shown = rig.ask("GET", "/identity/v3/auth/tokens?nocatalog", Value::Null, &about).await;
    assert_eq!((shown.status, shown.body["token"].get("catalog")), (StatusCode::OK, None));
    assert_eq!(text_of(&shown), token);
    assert_eq!(rig.ask("HEAD", "/identity/v3/auth/tokens", Value::Null, &about).await.status, StatusCode::OK);
    let child = text_of(&rig.login(by_token(&token), Value::Null).await);
    assert!(rig.is_good(&child).await);
    let ended = rig.ask("DELETE", "/identity/v3/auth/tokens", Value::Null, &about).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert_eq!(nodes().await, StatusCode::UNAUTHORIZED);
    assert!(!rig.is_good(&child).await, "what was issued for it ends, too");
    let refused = rig.ask("GET", "/identity/v3/auth/projects", Value::Null, &about).await;
    assert_eq!(refused.body["error"]["code"], 401);
    assert!(refused.headers[header::WWW_AUTHENTICATE].to_str().expect("ASCII").starts_with("Keystone uri="));
}

#[tokio::test]
async fn scopes_are_projects_domains_the_system_or_nothing() {
    let rig = Rig::new().await;
    let lab = rig.lab().await;
    let of = async |scope: Value| {
        let answer = rig.login(by_password("ada", ADA), scope).await;
        (answer.status, answer.body["token"].clone())
    };
    let (status, token) = of(Value::Null).await;
    assert_eq!((status, &token["project"]["id"]), (StatusCode::CREATED, &json!(lab.project)), "the default project");
    let (_, token) = of(json!({"project": {"name": "LAB", "domain": {"name": "default"}}})).await;
    assert_eq!(token["project"]["name"], "lab");
    let (status, token) = of(json!("unscoped")).await;
    assert_eq!((status, token.get("project"), token.get("roles")), (StatusCode::CREATED, None, None));
    for refused in [system(), json!({"domain": {"id": "default"}}), json!({"project": {"id": "0".repeat(32)}})] {
        assert_eq!(of(refused.clone()).await.0, StatusCode::UNAUTHORIZED, "{refused}");
    }
    assert_eq!(of(json!({"project": {"name": "lab"}})).await.0, StatusCode::BAD_REQUEST, "whose lab?");
}

#[tokio::test]
async fn unknown_wrong_and_disabled_are_answered_alike() {
    let rig = Rig::new().await;
    let lab = rig.lab().await;
    let path = format!("/users/{}", lab.ada);
    let disabled = json!({"user": {"enabled": false}});
    assert_eq!(rig.keystone("PATCH", &path, disabled, &lab.root).await.0, StatusCode::OK);
    let mut answers = Vec::new();
    for (name, password) in [("nobody", ADA), ("admin", "wrong"), ("ada", ADA)] {
        let answer = rig.login(by_password(name, password), Value::Null).await;
        answers.push((answer.status, answer.body));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(answers[0].0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn guesses_are_slowed_down_but_not_for_others() {
    let rig = Rig::new().await;
    for _ in 0..5 {
        let answer = rig.login(by_password("admin", "wrong"), Value::Null).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    let waits = rig.login(by_password("admin", "wrong again"), Value::Null).await;
    assert_eq!(waits.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(waits.headers.contains_key(header::RETRY_AFTER));
    let unknown = rig.login(by_password("nobody", "wrong"), Value::Null).await;
    assert_eq!(unknown.status, StatusCode::UNAUTHORIZED, "another account");
}
