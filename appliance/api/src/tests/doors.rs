//! Other ways in: the place that needs no credentials, and the import folder.

use super::tenants::Scene;
use super::*;
use crate::{local, open};

const NODES: &str = "/baremetal/v1/nodes";

/// A GET of `path` at the open place of this user, with these headers.
async fn at_open(rig: &Rig, user: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::builder().uri(path).header(VERSION, "1.115");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    rig.send(open(rig.api.clone(), user), request.body(Body::empty()).expect("a request")).await
}

#[tokio::test]
async fn who_shows_nothing_is_the_one_that_was_named_and_no_more() {
    let scene = Scene::new("admin", "member").await;
    let rig = &scene.rig;
    let host = ("host", "127.0.0.1:6385");
    for headers in [&[host][..], &[host, ("x-auth-token", "notused")]] {
        let (status, nodes) = at_open(rig, "lessee", NODES, headers).await;
        assert_eq!((status, nodes["nodes"].as_array().map(Vec::len)), (StatusCode::OK, Some(1)), "{nodes}");
        let (status, nodes) = at_open(rig, "stranger", NODES, headers).await;
        assert_eq!((status, nodes["nodes"].as_array().map(Vec::len)), (StatusCode::OK, Some(0)), "{nodes}");
        assert_eq!(at_open(rig, "nobody", NODES, headers).await.0, StatusCode::UNAUTHORIZED);
        assert_eq!(at_open(rig, "lessee", "/appliance/v1/images", headers).await.0, StatusCode::FORBIDDEN);
    }
    // Who shows something is who that says, or nobody.
    assert_eq!(at_open(rig, "lessee", NODES, &[host, ("x-auth-token", "abc")]).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(at_open(rig, "lessee", NODES, &[host, ("authorization", "Basic x")]).await.0, StatusCode::UNAUTHORIZED);
    let own = ("x-auth-token", scene.stranger.token.as_str());
    let (_, nodes) = at_open(rig, "lessee", NODES, &[host, own]).await;
    assert_eq!(nodes["nodes"].as_array().map(Vec::len), Some(0), "{nodes}");
    // Elsewhere nobody is anybody for nothing.
    for headers in [&[][..], &[("x-auth-token", "notused")]] {
        let mut request = Request::builder().uri(NODES);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        assert_eq!(rig.send(public(rig.api.clone()), request).await.0, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn no_page_reaches_the_open_place() {
    let scene = Scene::new("admin", "member").await;
    let host = ("host", "127.0.0.1:6385");
    for headers in [
        &[host, ("origin", "https://evil.example")][..],
        &[host, ("sec-fetch-site", "cross-site")],
        &[("host", "evil.example:6385")],
        &[("host", "localhost.evil.example")],
        &[],
    ] {
        let (status, _) = at_open(&scene.rig, "lessee", NODES, headers).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    for host in ["localhost:6385", "[::1]:6385", "127.0.0.1"] {
        assert_eq!(at_open(&scene.rig, "lessee", NODES, &[("host", host)]).await.0, StatusCode::OK, "{host}");
    }
}

#[tokio::test]
async fn a_foreign_project_and_none_are_refused_in_the_same_words() {
    let scene = Scene::new("admin", "member").await;
    let ask = async |id: &str| {
        let (status, said) =
            scene.rig.keystone("GET", &format!("/projects/{id}"), Value::Null, &scene.lessee.token).await;
        (status, said.to_string().replace(id, "ID"))
    };
    let none = ask("00000000000000000000000000000001").await;
    assert_eq!(none.0, StatusCode::FORBIDDEN, "{}", none.1);
    assert_eq!(ask(&scene.stranger.project).await, none);
    assert_eq!(ask(&scene.lessee.project).await.0, StatusCode::OK);
    let named = async |name: &str| {
        scene.rig.keystone("GET", &format!("/projects?name={name}"), Value::Null, &scene.lessee.token).await
    };
    assert_eq!(named("lessee").await.0, StatusCode::OK);
    assert_eq!((named("stranger").await.0, named("nobody").await.0), (StatusCode::FORBIDDEN, StatusCode::FORBIDDEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_import_folder_becomes_an_image_for_whom_the_operator_says() {
    let import = tempfile::tempdir().expect("a folder");
    let rig = Rig::with_images(|images| images.import_folder = Some(import.path().to_owned())).await;
    let mut disk = vec![0; 1 << 20];
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    std::fs::write(import.path().join("debian.raw"), &disk).expect("written");
    let ask = async |method: &str, uid: Option<u32>, body: Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri("/appliance/v1/import-folder")
            .header(header::CONTENT_TYPE, "application/json")
            .extension(Connection { peer: None, uid, secure: false })
            .body(Body::from(body));
        rig.send(local(rig.api.clone()), request.expect("a request")).await
    };
    let (status, listed) = ask("GET", Some(0), Value::Null).await;
    assert_eq!((status, &listed["files"][0]["name"]), (StatusCode::OK, &json!("debian.raw")), "{listed}");
    assert_eq!(ask("GET", None, Value::Null).await.0, StatusCode::FORBIDDEN);
    for bad in [
        json!({}),
        json!({"file": "debian.raw", "visibility": "private"}),
        json!({"file": "debian.raw", "visibility": "mine"}),
        json!({"file": "debian.raw", "checksum": "md5"}),
        json!({"file": "debian.raw", "owner": "x"}),
        json!({"file": "../key"}),
    ] {
        let (status, said) = ask("POST", Some(0), bad.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}: {said}");
    }
    let (status, _) = ask("POST", Some(0), json!({"file": "debian.raw", "project": "nobody"})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, image) = ask("POST", Some(0), json!({"file": "debian.raw"})).await;
    assert_eq!(status, StatusCode::CREATED, "{image}");
    let facts = (&image["name"], &image["status"], &image["visibility"], &image["owner"]);
    assert_eq!(facts, (&json!("debian"), &json!("active"), &json!("public"), &Value::Null));
}
