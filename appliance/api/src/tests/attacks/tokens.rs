//! Proofs that outlive what they rest on, and rights that reach further than they were given.

use super::*;

const WORD: &str = "a sentence of one's own";

/// What the attacks need beside the scene: the administrator, and the ids of the owner's user and role.
struct Accounts {
    root: String,
    user: String,
    role: String,
}

impl Scene {
    async fn accounts(&self, role: &str) -> Accounts {
        let root = self.rig.token("admin", PASSWORD, system()).await;
        let (_, users) = self.rig.keystone("GET", "/users?name=owner", Value::Null, &root).await;
        let (_, roles) = self.rig.keystone("GET", &format!("/roles?name={role}"), Value::Null, &root).await;
        let id = |list: &Value| list[0]["id"].as_str().expect("an id").to_owned();
        Accounts { user: id(&users["users"]), role: id(&roles["roles"]), root }
    }

    /// What each service says to this token.
    async fn opens(&self, token: &str) -> Vec<u16> {
        let mut statuses = Vec::new();
        for path in [
            "/baremetal/v1/nodes",
            "/image/v2/images",
            "/network/v2.0/networks",
            "/identity/v3/auth/projects",
            "/appliance/v1/session",
        ] {
            let headers = [("x-auth-token", token), (VERSION, "1.115")];
            statuses.push(self.rig.ask("GET", path, Value::Null, &headers).await.status.as_u16());
        }
        statuses
    }

    async fn logs_in(&self, identity: Value) -> Answer {
        self.rig.ask("POST", "/identity/v3/auth/tokens", json!({"auth": {"identity": identity}}), &[]).await
    }
}

fn token_of(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    answer.headers["x-subject-token"].to_str().expect("ASCII").to_owned()
}

const SHUT: [u16; 5] = [401; 5];

#[tokio::test]
async fn token_replay_after_the_role_is_lost() {
    let scene = Scene::new("member", "member").await;
    let accounts = scene.accounts("member").await;
    let token = &scene.owner.token;
    assert_eq!(scene.opens(token).await[..4], [200; 4]);
    let child = scene.logs_in(json!({"methods": ["token"], "token": {"id": token}})).await;
    let child = token_of(&child);
    let path = format!("/projects/{}/users/{}/roles/{}", scene.owner.project, accounts.user, accounts.role);
    assert_eq!(scene.rig.keystone("DELETE", &path, Value::Null, &accounts.root).await.0, StatusCode::NO_CONTENT);
    for token in [token, &child] {
        assert_eq!(scene.opens(token).await, SHUT);
        let again = scene.logs_in(json!({"methods": ["token"], "token": {"id": token}})).await;
        assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(scene.rig.keystone("PUT", &path, Value::Null, &accounts.root).await.0, StatusCode::NO_CONTENT);
    assert_eq!(scene.opens(&child).await, SHUT, "the role that comes back brings no token back");
    assert_eq!(scene.opens(&scene.lessee.token).await[..4], [200; 4], "nobody else's ends");
}

#[tokio::test]
async fn token_replay_after_the_password_is_changed() {
    let scene = Scene::new("member", "member").await;
    let accounts = scene.accounts("member").await;
    let body = json!({"user": {"original_password": WORD, "password": "quite another sentence"}});
    let path = format!("/identity/v3/users/{}/password", accounts.user);
    assert_eq!(scene.rig.ask("POST", &path, body, &[]).await.status, StatusCode::NO_CONTENT);
    assert_eq!(scene.opens(&scene.owner.token).await, SHUT);
    let old = scene.logs_in(by_password("owner", WORD)).await;
    assert_eq!(old.status, StatusCode::UNAUTHORIZED);
    assert_eq!(scene.opens(&scene.lessee.token).await[..4], [200; 4]);
    token_of(&scene.logs_in(by_password("owner", "quite another sentence")).await);
}

#[tokio::test]
async fn token_replay_after_the_account_or_its_project_is_disabled() {
    let scene = Scene::new("member", "member").await;
    let accounts = scene.accounts("member").await;
    let scope = json!({"project": {"id": scene.owner.project}});
    for (kind, id) in [("user", &accounts.user), ("project", &scene.owner.project)] {
        let token = scene.rig.token("owner", WORD, scope.clone()).await;
        assert_eq!(scene.opens(&token).await[..4], [200; 4]);
        for enabled in [false, true] {
            let body = json!({ kind: {"enabled": enabled} });
            let (status, answer) = scene.rig.keystone("PATCH", &format!("/{kind}s/{id}"), body, &accounts.root).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            assert_eq!(scene.opens(&token).await, SHUT, "{kind} {enabled}");
        }
    }
    let token = scene.rig.token("owner", WORD, scope).await;
    let path = format!("/users/{}", accounts.user);
    assert_eq!(scene.rig.keystone("DELETE", &path, Value::Null, &accounts.root).await.0, StatusCode::NO_CONTENT);
    assert_eq!(scene.opens(&token).await, SHUT, "deleted");
    assert_eq!(scene.logs_in(by_password("owner", WORD)).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn app_credential_is_wider_than_its_user() {
    let scene = Scene::new("member", "member").await;
    let accounts = scene.accounts("member").await;
    let path = format!("/users/{}/application_credentials", accounts.user);
    let make = async |body: Value| {
        scene.rig.keystone("POST", &path, json!({"application_credential": body}), &scene.owner.token).await
    };
    let admin = scene.accounts("admin").await.role;
    for wide in [
        json!({"name": "a", "roles": [{"name": "admin"}]}),
        json!({"name": "a", "roles": [{"id": admin}]}),
        json!({"name": "a", "roles": [{"name": "member"}, {"name": "manager"}]}),
        json!({"name": "a", "project_id": scene.lessee.project}),
        json!({"name": "a", "system": "all"}),
        json!({"name": "a", "user_id": NOWHERE}),
    ] {
        let (status, answer) = make(wide.clone()).await;
        assert!(matches!(status.as_u16(), 400 | 403 | 404), "{wide}: {status} {answer}");
    }
    let (status, made) = make(json!({"name": "ci"})).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let made = &made["application_credential"];
    let proof = json!({"methods": ["application_credential"],
        "application_credential": {"id": made["id"], "secret": made["secret"]}});
    for scope in [
        json!({"project": {"id": scene.lessee.project}}),
        system(),
        json!({"domain": {"id": "default"}}),
        json!("unscoped"),
    ] {
        let body = json!({"auth": {"identity": proof, "scope": scope}});
        let answer = scene.rig.ask("POST", "/identity/v3/auth/tokens", body, &[]).await;
        assert!(matches!(answer.status.as_u16(), 401 | 403), "{scope}: {} {}", answer.status, answer.body);
    }
    let token = token_of(&scene.logs_in(proof.clone()).await);
    assert_eq!(scene.opens(&token).await[..3], [200; 3]);
    // Nor does the credential turn into its user: no password, no second credential, no wider scope.
    for scope in [system(), json!("unscoped"), json!({"project": {"id": scene.lessee.project}})] {
        let body = json!({"auth": {"identity": {"methods": ["token"], "token": {"id": token}}, "scope": scope}});
        let answer = scene.rig.ask("POST", "/identity/v3/auth/tokens", body, &[]).await;
        assert!(matches!(answer.status.as_u16(), 401 | 403), "{scope}: {}", answer.body);
    }
    let (status, _) = scene.rig.keystone("POST", &path, json!({"application_credential": {"name": "b"}}), &token).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    // It ends with the role that it rests on, and comes back with nothing.
    let grant = format!("/projects/{}/users/{}/roles/{}", scene.owner.project, accounts.user, accounts.role);
    assert_eq!(scene.rig.keystone("DELETE", &grant, Value::Null, &accounts.root).await.0, StatusCode::NO_CONTENT);
    assert_eq!(scene.opens(&token).await, SHUT);
    assert_eq!(scene.logs_in(proof).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn project_deletion_leaves_resources_to_nobody() {
    let scene = Scene::new("admin", "admin").await;
    let root = scene.accounts("admin").await.root;
    let network = json!({"network": {"name": "private"}});
    assert_eq!(scene.with(&scene.stranger, "POST", "/network/v2.0/networks", network).await.0, StatusCode::CREATED);
    let image = json!({"name": "private"});
    assert_eq!(scene.with(&scene.stranger, "POST", "/image/v2/images", image).await.0, StatusCode::CREATED);
    for (who, word) in [(&scene.owner, "n1"), (&scene.lessee, "n1"), (&scene.stranger, "private")] {
        let path = format!("/projects/{}", who.project);
        let (status, answer) = scene.rig.keystone("DELETE", &path, Value::Null, &root).await;
        assert_eq!(status, StatusCode::CONFLICT, "{answer}");
        assert!(answer.to_string().contains(word), "the refusal lists what is in the way: {answer}");
        assert_eq!(scene.rig.keystone("GET", &path, Value::Null, &root).await.0, StatusCode::OK);
        for other in [&scene.owner.token, &scene.lessee.token, &scene.stranger.token] {
            let (status, _) = scene.rig.keystone("DELETE", &path, Value::Null, other).await;
            assert!(matches!(status.as_u16(), 403 | 404), "a project's admin: {status}");
        }
    }
    assert_eq!(scene.opens(&scene.owner.token).await[..4], [200; 4]);
}

#[tokio::test]
async fn privilege_by_project_tree() {
    let scene = Scene::new("admin", "admin").await;
    let accounts = scene.accounts("admin").await;
    let root = &accounts.root;
    // The owner's project is put below the stranger's: neither a role above nor one below reaches the other.
    let below = json!({"project": {"name": "below", "parent_id": scene.stranger.project}});
    let (status, below) = scene.rig.keystone("POST", "/projects", below, root).await;
    assert_eq!(status, StatusCode::CREATED, "{below}");
    let below = below["project"]["id"].as_str().expect("an id");
    let patch = json!([{"op": "replace", "path": "/owner", "value": below}]);
    assert_eq!(scene.rig.call("PATCH", "/nodes/n1", patch).await.0, StatusCode::OK);
    let (_, nodes) = scene.ask(&scene.stranger, "GET", "/nodes", Value::Null).await;
    assert_eq!(nodes["nodes"], json!([]), "admin above");
    let node = format!("/nodes/{}", scene.node);
    assert_eq!(scene.ask(&scene.stranger, "DELETE", &node, Value::Null).await.0, StatusCode::NOT_FOUND);
    for (method, path, body) in [
        (
            "PATCH",
            format!("/projects/{}", scene.stranger.project),
            json!({"project": {"parent_id": scene.owner.project}}),
        ),
        ("POST", "/projects".to_owned(), json!({"project": {"name": "x", "parent_id": scene.owner.project}})),
        ("POST", "/projects".to_owned(), json!({"project": {"name": "x", "parent_id": scene.stranger.project}})),
        ("PUT", format!("/projects/{below}/users/{}/roles/{}", accounts.user, accounts.role), Value::Null),
        (
            "PUT",
            format!(
                "/OS-INHERIT/domains/default/users/{}/roles/{}/inherited_to_projects",
                accounts.user, accounts.role
            ),
            Value::Null,
        ),
        ("PUT", format!("/system/users/{}/roles/{}", accounts.user, accounts.role), Value::Null),
    ] {
        for who in [&scene.stranger, &scene.owner] {
            let (status, answer) = scene.rig.keystone(method, &path, body.clone(), &who.token).await;
            assert!(matches!(status.as_u16(), 403 | 404), "{method} {path}: {status} {answer}");
        }
    }
    let moved = json!({"project": {"parent_id": below}});
    let path = format!("/projects/{}", scene.stranger.project);
    let (status, answer) = scene.rig.keystone("PATCH", &path, moved, root).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "a circle: {answer}");
}
