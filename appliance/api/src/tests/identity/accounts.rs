//! What `openstack` does to administer accounts.

use super::{ADA, by_password, system};
use crate::tests::{PASSWORD, Rig};
use axum::http::StatusCode;
use serde_json::{Value, json};

#[tokio::test]
async fn accounts_are_made_listed_changed_and_deleted() {
    let rig = Rig::new().await;
    let lab = rig.lab().await;
    let get = async |path: &str| rig.keystone("GET", path, Value::Null, &lab.root).await;
    let (_, found) = get("/projects?name=LAB").await;
    assert_eq!(found["projects"][0]["parent_id"], "default", "{found}");
    let domain = get("/projects/default").await.1;
    assert_eq!((&domain["project"]["is_domain"], &domain["project"]["parent_id"]), (&json!(true), &Value::Null));
    let below = json!({"name": "below", "parent_id": lab.project});
    let below = rig.make("project", below, &lab.root).await;
    let (status, refusal) = rig.keystone("DELETE", &format!("/projects/{}", lab.project), Value::Null, &lab.root).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(refusal["error"]["message"].as_str().is_some_and(|text| text.contains("1 projects (below)")), "{refusal}");
    for id in [&below, &lab.project] {
        let gone = rig.keystone("DELETE", &format!("/projects/{id}"), Value::Null, &lab.root).await;
        assert_eq!(gone.0, StatusCode::NO_CONTENT, "{}", gone.1);
    }
    let ada = get(&format!("/users/{}", lab.ada)).await.1;
    assert!(ada["user"].get("default_project_id").is_none(), "{ada}");
    let (_, page) = get("/roles?limit=2").await;
    assert_eq!(page["roles"].as_array().map(Vec::len), Some(2));
    assert!(page["links"]["next"].as_str().is_some_and(|next| next.contains("marker=")), "{page}");
}

#[tokio::test]
async fn what_is_not_to_be_given_is_refused_and_changes_nothing() {
    let rig = Rig::new().await;
    let lab = rig.lab().await;
    let (user, project) = (format!("/users/{}", lab.ada), format!("/projects/{}", lab.project));
    let generation = rig.api.engine.view().identity.generation();
    for (method, path, body) in [
        ("POST", "/users", json!({"user": {"name": "eve", "id": "1"}})),
        ("POST", "/users", json!({"user": {"name": "eve", "is_admin": true}})),
        ("POST", "/users", json!({"user": {"name": "eve", "password": "short"}})),
        ("POST", "/users", json!({"user": {"name": "eve", "password": "eve-eve-eve-1"}})),
        ("POST", "/users", json!({"user": {"name": "default"}})),
        ("POST", "/users", json!({"user": {"name": "\u{430}dmin"}})),
        ("POST", "/users", json!({"user": {"name": 7}})),
        ("POST", "/users", json!({"name": "eve"})),
        ("PATCH", user.as_str(), json!({"user": {"password_hash": "x"}})),
        ("PATCH", user.as_str(), json!({"user": {"enabled": "no"}})),
        ("POST", "/projects", json!({"project": {"name": "x", "is_domain": true}})),
        ("POST", "/projects", json!({"project": {"name": "x", "parent_id": "nowhere"}})),
        ("PATCH", project.as_str(), json!({"project": {"id": "default"}})),
        ("POST", "/roles", json!({"role": {"name": "x", "domain_id": "default"}})),
        ("GET", "/users?limit=0", Value::Null),
    ] {
        let (status, answer) = rig.keystone(method, path, body.clone(), &lab.root).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{method} {path} {body}: {answer}");
        assert!(answer["error"]["message"].is_string());
    }
    for (path, body) in [
        ("/users", json!({"user": {"name": "ADA"}})),
        ("/projects", json!({"project": {"name": "Lab"}})),
        ("/roles", json!({"role": {"name": "Admin"}})),
    ] {
        assert_eq!(rig.keystone("POST", path, body, &lab.root).await.0, StatusCode::CONFLICT, "{path}");
    }
    let admin = rig.role("admin", &lab.root).await;
    let gone = rig.keystone("DELETE", &format!("/roles/{admin}"), Value::Null, &lab.root).await.0;
    assert_eq!(gone, StatusCode::FORBIDDEN);
    assert_eq!(rig.api.engine.view().identity.generation(), generation);
}

#[tokio::test]
async fn roles_are_given_to_groups_and_inherited_and_listed() {
    let rig = Rig::new().await;
    let lab = rig.lab().await;
    let put = async |path: String| rig.keystone("PUT", &path, Value::Null, &lab.root).await.0;
    let group = rig.make("group", json!({"name": "ops"}), &lab.root).await;
    let manager = rig.role("manager", &lab.root).await;
    let below = json!({"name": "below", "parent_id": lab.project});
    let below = rig.make("project", below, &lab.root).await;
    assert_eq!(put(format!("/groups/{group}/users/{}", lab.ada)).await, StatusCode::NO_CONTENT);
    let inherited =
        format!("/OS-INHERIT/projects/{}/groups/{group}/roles/{manager}/inherited_to_projects", lab.project);
    assert_eq!(put(inherited).await, StatusCode::NO_CONTENT);
    let login = rig.login(by_password("ada", ADA), json!({"project": {"id": below}})).await;
    let roles: Vec<_> =
        login.body["token"]["roles"].as_array().expect("roles").iter().map(|role| &role["name"]).collect();
    assert!(roles.contains(&&json!("manager")) && roles.contains(&&json!("reader")), "{roles:?}");
    let list = async |query: &str| {
        let path = format!("/role_assignments?{query}");
        rig.keystone("GET", &path, Value::Null, &lab.root).await.1["role_assignments"].as_array().cloned()
    };
    let assigned = list(&format!("group.id={group}&include_names=True")).await.expect("a list");
    assert_eq!(assigned.len(), 1);
    assert_eq!(assigned[0]["group"]["name"], "ops");
    assert_eq!(assigned[0]["scope"]["OS-INHERIT:inherited_to"], "projects");
    let effective = list(&format!("user.id={}&scope.project.id={below}&effective", lab.ada)).await.expect("a list");
    assert_eq!(effective.len(), 3, "manager, member, reader");
    let token = super::text_of(&login);
    let path = format!("/groups/{group}/users/{}", lab.ada);
    assert_eq!(rig.keystone("DELETE", &path, Value::Null, &lab.root).await.0, StatusCode::NO_CONTENT);
    assert!(!rig.is_good(&token).await);
}

#[tokio::test]
async fn an_application_credential_is_no_wider_than_its_user() {
    let rig = Rig::new().await;
    let lab = rig.lab().await;
    let ada = rig.token("ada", ADA, Value::Null).await;
    let path = format!("/users/{}/application_credentials", lab.ada);
    let make = async |body: Value, token: &str| {
        rig.keystone("POST", &path, json!({"application_credential": body}), token).await
    };
    let (status, made) = make(json!({"name": "ci", "roles": [{"name": "reader"}]}), &ada).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let made = &made["application_credential"];
    let (id, secret) = (made["id"].as_str().expect("an id"), made["secret"].as_str().expect("shown once"));
    let (_, shown) = rig.keystone("GET", &format!("{path}/{id}"), Value::Null, &ada).await;
    assert!(shown["application_credential"].get("secret").is_none());
    assert_eq!(make(json!({"name": "wide", "roles": [{"name": "admin"}]}), &ada).await.0, StatusCode::NOT_FOUND);
    assert_eq!(make(json!({"name": "for ada"}), &lab.root).await.0, StatusCode::FORBIDDEN, "nobody else makes them");
    assert_eq!(make(json!({"name": "weak", "secret": "123"}), &ada).await.0, StatusCode::BAD_REQUEST);

    let proof = |secret: &str| json!({"methods": ["application_credential"], "application_credential": {"id": id, "secret": secret}});
    let login = rig.login(proof(secret), Value::Null).await;
    assert_eq!(login.status, StatusCode::CREATED, "{}", login.body);
    assert_eq!(login.body["token"]["roles"].as_array().map(Vec::len), Some(1), "{}", login.body);
    assert_eq!(login.body["token"]["application_credential"]["restricted"], true);
    let token = super::text_of(&login);
    assert_eq!(make(json!({"name": "more"}), &token).await.0, StatusCode::FORBIDDEN, "restricted");
    let wider = rig.login(super::by_token(&token), json!("unscoped")).await;
    assert_eq!(wider.status, StatusCode::UNAUTHORIZED);
    assert_eq!(rig.login(proof("wrong"), Value::Null).await.status, StatusCode::UNAUTHORIZED);

    assert_eq!(rig.grant("DELETE", &lab, "member").await, StatusCode::NO_CONTENT);
    assert!(!rig.is_good(&token).await, "its user lost the role");
    assert_eq!(rig.login(proof(secret), Value::Null).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_domain_is_a_world_of_its_own() {
    let rig = Rig::new().await;
    let lab = rig.lab().await;
    let domain = rig.make("domain", json!({"name": "Partner"}), &lab.root).await;
    let user = json!({"name": "ada", "domain_id": domain, "password": "a partner's own sentence"});
    let other = rig.make("user", user, &lab.root).await;
    let admin = rig.role("admin", &lab.root).await;
    let path = format!("/domains/{domain}/users/{other}/roles/{admin}");
    assert_eq!(rig.keystone("PUT", &path, Value::Null, &lab.root).await.0, StatusCode::NO_CONTENT);
    let who = json!({"name": "ada", "domain": {"name": "partner"}, "password": "a partner's own sentence"});
    let identity = json!({"methods": ["password"], "password": {"user": who}});
    let login = rig.login(identity, json!({"domain": {"id": domain}})).await;
    assert_eq!(login.status, StatusCode::CREATED, "{}", login.body);
    let token = super::text_of(&login);
    let ask = async |method: &str, path: &str, body: Value| rig.keystone(method, path, body, &token).await;
    let own = ask("POST", "/projects", json!({"project": {"name": "own"}})).await;
    assert_eq!((own.0, &own.1["project"]["domain_id"]), (StatusCode::CREATED, &json!(domain)));
    let (_, users) = ask("GET", "/users", Value::Null).await;
    assert_eq!(users["users"].as_array().map(Vec::len), Some(1), "{users}");
    assert_eq!(ask("GET", &format!("/users/{}", lab.ada), Value::Null).await.0, StatusCode::NOT_FOUND);
    let foreign = ask("POST", "/users", json!({"user": {"name": "eve", "domain_id": "default"}})).await;
    assert_eq!(foreign.0, StatusCode::FORBIDDEN);
    let system = ask("PUT", &format!("/system/users/{other}/roles/{admin}"), Value::Null).await.0;
    assert_eq!(system, StatusCode::FORBIDDEN);
    let deleted = rig.keystone("DELETE", &format!("/domains/{domain}"), Value::Null, &lab.root).await.0;
    assert_eq!(deleted, StatusCode::FORBIDDEN, "it is enabled");
}

#[tokio::test]
async fn a_password_change_ends_every_token() {
    let rig = Rig::new().await;
    let lab = rig.lab().await;
    let ada = rig.token("ada", ADA, Value::Null).await;
    let path = format!("/users/{}/password", lab.ada);
    let change = async |old: &str, new: &str| {
        let body = json!({"user": {"original_password": old, "password": new}});
        rig.ask("POST", &format!("/identity/v3{path}"), body, &[]).await.status
    };
    assert_eq!(change("wrong", "quite another sentence").await, StatusCode::UNAUTHORIZED);
    assert_eq!(change(ADA, "short").await, StatusCode::BAD_REQUEST);
    assert!(rig.is_good(&ada).await);
    assert_eq!(change(ADA, "quite another sentence").await, StatusCode::NO_CONTENT);
    assert!(!rig.is_good(&ada).await);
    let reset = json!({"user": {"password": "given by the administrator"}});
    let (status, _) = rig.keystone("PATCH", &format!("/users/{}", lab.ada), reset, &lab.root).await;
    assert_eq!(status, StatusCode::OK);
    rig.token("ada", "given by the administrator", Value::Null).await;
    rig.token("admin", PASSWORD, system()).await;
}
