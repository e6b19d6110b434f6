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
    let dashed = Uuid::parse_str(id).expect("a UUID").to_string();
    for name in [id.clone(), id.to_uppercase(), dashed] {
        // By a scope that says this name, somebody might come to what the id owns.
        let body = json!({"project": {"name": name}});
        let (status, answer) = scene.rig.keystone("POST", "/projects", body.clone(), &root).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name}: {answer}");
        let own = format!("/projects/{}", scene.stranger.project);
        let (status, answer) = scene.rig.keystone("PATCH", &own, body, &root).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name}: {answer}");
    }
    let good = json!({"project": {"name": "quite-another"}});
    assert_eq!(scene.rig.keystone("POST", "/projects", good, &root).await.0, StatusCode::CREATED);
    let by_id = json!({"auth": {"identity": by_password("stranger", "a sentence of one's own"),
        "scope": {"project": {"id": id}}}});
    let answer: Answer = scene.rig.ask("POST", "/identity/v3/auth/tokens", by_id, &[]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
}

#[tokio::test]
async fn an_owner_of_another_spelling_is_the_same_project() {
    let scene = Scene::new("admin", "admin").await;
    let exact = &scene.owner.project;
    let listed = async |who: &Tenant, project: &str, parameter: &str| {
        let path = format!("/nodes?{parameter}={}", project.replace(' ', "%20").replace('\0', "%00"));
        let (_, list) = scene.ask(who, "GET", &path, Value::Null).await;
        list["nodes"].as_array().map_or(0, Vec::len)
    };
    for project in [exact.clone(), exact.to_uppercase(), format!("{exact} "), format!("{exact}\0")] {
        for parameter in ["owner", "project"] {
            assert_eq!(listed(&scene.stranger, &project, parameter).await, 0, "{parameter} {project:?}");
            let own = usize::from(project == *exact);
            assert_eq!(listed(&scene.owner, &project, parameter).await, own, "{parameter} {project:?}");
        }
    }
    for path in ["/nodes/N1", "/nodes/n1.json", "/nodes/n1%20", "/nodes/n1%2f", "/nodes/./n1", "/nodes/%6e1"] {
        let (status, answer) = scene.ask(&scene.stranger, "GET", path, Value::Null).await;
        assert!(status.is_client_error() && !answer.to_string().contains(&scene.node), "{path}: {answer}");
    }
}
