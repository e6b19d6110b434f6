//! One thing taken for another: names like UUIDs, letters of another case or script.

use super::*;

#[tokio::test]
async fn a_node_is_named_like_the_uuid_of_another() {
    let scene = Scene::new("admin", "admin").await;
    let bare = scene.node.replace('-', "");
    for name in [
        scene.node.clone(),
        scene.node.to_uppercase(),
        bare.clone(),
        format!("{{{}}}", scene.node),
        format!("urn:uuid:{}", scene.node),
    ] {
        let node = json!({"driver": "fake-hardware", "name": name});
        let (status, answer) = scene.ask(&scene.stranger, "POST", "/nodes", node).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name}: {answer}");
        let own = scene.strangers().await;
        let patch = json!([{"op": "add", "path": "/name", "value": name}]);
        let (status, answer) = scene.ask(&scene.stranger, "PATCH", &format!("/nodes/{own}"), patch).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name}: {answer}");
    }
    let (_, node) = scene.ask(&scene.owner, "GET", &format!("/nodes/{}", scene.node), Value::Null).await;
    assert_eq!(node["name"], "n1");
}

#[tokio::test]
async fn a_name_that_looks_like_anothers_is_taken() {
    let scene = Scene::new("admin", "admin").await;
    // Names of nodes are host names: no other script, no invisible letter, no path, no line.
    for name in [
        "n\u{661}",
        "\u{ff4e}1",
        "n1\u{200b}",
        "\u{202e}1n",
        "n\u{ad}1",
        "n1 ",
        " n1",
        "n1\n",
        "n1\0",
        "../n1",
        "n1/states",
        "n1?x",
        "n1%00",
        "${n1}",
        "n1\r\nX-A: b",
    ] {
        let node = json!({"driver": "fake-hardware", "name": name});
        let (status, answer) = scene.ask(&scene.stranger, "POST", "/nodes", node).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name:?}: {answer}");
    }
    let taken = json!({"driver": "fake-hardware", "name": "n1"});
    assert_eq!(scene.ask(&scene.stranger, "POST", "/nodes", taken).await.0, StatusCode::CONFLICT);
}

#[tokio::test]
async fn an_account_that_looks_like_anothers_is_made() {
    let scene = Scene::new("admin", "admin").await;
    let root = scene.rig.token("admin", PASSWORD, system()).await;
    for name in [
        "\u{430}dmin",
        "admin\u{200b}",
        "\u{ff41}dmin",
        "adm\u{131}n",
        "admin ",
        " admin",
        "admin\n",
        "ad\u{ad}min",
        "\u{202e}nimda",
        "admin\0",
    ] {
        let user = json!({"user": {"name": name, "password": "a sentence of eve's own"}});
        let (status, answer) = scene.rig.keystone("POST", "/users", user, &root).await;
        assert!(matches!(status.as_u16(), 400 | 409), "{name:?}: {status} {answer}");
        let project = json!({"project": {"name": name.replace("admin", "owner").replace("dmin", "wner")}});
        let (status, answer) = scene.rig.keystone("POST", "/projects", project.clone(), &root).await;
        assert!(matches!(status.as_u16(), 400 | 409), "{project}: {status} {answer}");
    }
    for name in ["ADMIN", "Admin", "aDMIN"] {
        let user = json!({"user": {"name": name, "password": "a sentence of eve's own"}});
        assert_eq!(scene.rig.keystone("POST", "/users", user, &root).await.0, StatusCode::CONFLICT, "{name}");
    }
}

#[tokio::test]
async fn a_project_is_named_like_the_id_of_another() {
    let scene = Scene::new("admin", "admin").await;
    let root = scene.rig.token("admin", PASSWORD, system()).await;
    let id = &scene.owner.project;
    for name in [id.clone(), id.to_uppercase()] {
        let body = json!({"project": {"name": name}});
        let (status, made) = scene.rig.keystone("POST", "/projects", body, &root).await;
        if status != StatusCode::CREATED {
            continue;
        }
        // It may be there: its members do not come to what the id owns by it.
        let (_, user) = scene.rig.keystone("GET", "/users?name=stranger", Value::Null, &root).await;
        let (_, role) = scene.rig.keystone("GET", "/roles?name=admin", Value::Null, &root).await;
        let path = format!(
            "/projects/{}/users/{}/roles/{}",
            made["project"]["id"].as_str().expect("an id"),
            user["users"][0]["id"].as_str().expect("an id"),
            role["roles"][0]["id"].as_str().expect("an id"),
        );
        assert_eq!(scene.rig.keystone("PUT", &path, Value::Null, &root).await.0, StatusCode::NO_CONTENT);
        let named = json!({"project": {"name": name, "domain": {"id": "default"}}});
        let token = scene.rig.token("stranger", "a sentence of one's own", named).await;
        let stranger = Tenant { project: String::new(), token };
        let (_, nodes) = scene.ask(&stranger, "GET", "/nodes", Value::Null).await;
        assert_eq!(nodes["nodes"], json!([]), "{name}");
    }
    let by_id = json!({"auth": {"identity": by_password("stranger", "a sentence of one's own"),
        "scope": {"project": {"id": id}}}});
    let answer: Answer = scene.rig.ask("POST", "/identity/v3/auth/tokens", by_id, &[]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
}

#[tokio::test]
async fn an_owner_of_another_spelling_is_the_same_project() {
    let scene = Scene::new("admin", "admin").await;
    let shifted =
        [scene.owner.project.to_uppercase(), format!("{} ", scene.owner.project), format!("{}\0", scene.owner.project)];
    for project in &shifted {
        let path = format!("/nodes?owner={}", project.replace(' ', "%20").replace('\0', "%00"));
        let (_, list) = scene.ask(&scene.stranger, "GET", &path, Value::Null).await;
        assert!(list["nodes"].as_array().is_none_or(Vec::is_empty), "{list}");
    }
    for path in ["/nodes/N1", "/nodes/n1.json", "/nodes/n1%20", "/nodes/n1%2f", "/nodes/./n1", "/nodes/%6e1"] {
        let (status, answer) = scene.ask(&scene.stranger, "GET", path, Value::Null).await;
        assert!(status.is_client_error() && !answer.to_string().contains(&scene.node), "{path}: {answer}");
    }
}
