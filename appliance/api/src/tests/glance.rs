//! Images of projects over HTTP: filled once, seen by whom their owner says, deployed by nobody else.

use super::tenants::{Scene, Tenant};
use super::*;
use axum::extract::FromRequestParts;
use http_body_util::BodyExt;

pub(super) const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");
const PATCH: (&str, &str) = ("content-type", "application/openstack-images-v2.1-json-patch");

fn disk() -> Vec<u8> {
    let mut bytes = vec![0; 5 << 20];
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes[(4 << 20) + 5..][..100_000].fill(0x77);
    bytes
}

impl Scene {
    /// A call of the image API: status, headers and the bytes of the answer.
    pub(super) async fn sent(
        &self,
        who: &Tenant,
        method: &str,
        path: &str,
        body: impl Into<Body>,
        headers: &[(&str, &str)],
    ) -> (StatusCode, http::HeaderMap, Vec<u8>) {
        let mut request = Request::builder().method(method).uri(format!("/image/v2{path}"));
        for (name, value) in [("x-auth-token", who.token.as_str())].iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).expect("a request");
        let answer = public(self.rig.api.clone()).call(request).await.expect("routers do not fail");
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        (parts.status, parts.headers, bytes.to_vec())
    }

    pub(super) async fn image(&self, who: &Tenant, method: &str, path: &str, body: Value) -> Reply {
        let kind = if method == "PATCH" { PATCH } else { ("content-type", "application/json") };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, _, bytes) = self.sent(who, method, path, body, &[kind]).await;
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// An image of a project, said to be this, without data.
    pub(super) async fn empty(&self, who: &Tenant, visibility: &str, format: &str) -> String {
        let body =
            json!({"name": "debian", "visibility": visibility, "disk_format": format, "container_format": "bare"});
        let (status, image) = self.image(who, "POST", "/images", body).await;
        assert_eq!((status, &image["status"]), (StatusCode::CREATED, &json!("queued")), "{image}");
        image["id"].as_str().expect("an id").to_owned()
    }

    async fn filled(&self, who: &Tenant, visibility: &str) -> String {
        let id = self.empty(who, visibility, "raw").await;
        let (status, _, words) = self.sent(who, "PUT", &format!("/images/{id}/file"), disk(), &[OCTETS]).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{}", String::from_utf8_lossy(&words));
        id
    }

    async fn listed(&self, who: &Tenant) -> usize {
        let (_, list) = self.image(who, "GET", "/images", Value::Null).await;
        list["images"].as_array().expect("a list").len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_filled_once_and_comes_back_as_it_was() {
    let scene = Scene::new("member", "member").await;
    let id = scene.filled(&scene.owner, "private").await;
    let file = format!("/images/{id}/file");
    let (_, image) = scene.image(&scene.owner, "GET", &format!("/images/{id}"), Value::Null).await;
    assert_eq!(
        (&image["status"], &image["size"], &image["os_hash_algo"]),
        (&json!("active"), &json!(5 << 20), &json!("sha256"))
    );
    assert_eq!(image["os_hash_value"], hex::encode(ring::digest::digest(&ring::digest::SHA256, &disk())));
    let (status, headers, bytes) = scene.sent(&scene.owner, "GET", &file, "", &[]).await;
    assert!(status == StatusCode::OK && bytes == disk());
    assert_eq!(headers["content-md5"].to_str().ok(), image["checksum"].as_str());
    let (status, headers, bytes) =
        scene.sent(&scene.owner, "GET", &file, "", &[("range", "bytes=4194300-4194319")]).await;
    assert_eq!(
        (status, &headers["content-range"]),
        (StatusCode::PARTIAL_CONTENT, &header::HeaderValue::from_static("bytes 4194300-4194319/5242880"))
    );
    assert_eq!(bytes, disk()[4_194_300..=4_194_319]);
    let (status, ..) = scene.sent(&scene.owner, "GET", &file, "", &[("range", "bytes=5242880-")]).await;
    assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);
    let (status, ..) = scene.sent(&scene.owner, "PUT", &file, disk(), &[OCTETS]).await;
    assert_eq!(status, StatusCode::CONFLICT, "filled images stay as they are");
    assert_eq!(
        scene.image(&scene.owner, "DELETE", &format!("/images/{id}"), Value::Null).await.0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(scene.image(&scene.owner, "GET", &format!("/images/{id}"), Value::Null).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_what_it_is_said_to_be_waits_with_the_reason() {
    let scene = Scene::new("member", "member").await;
    let id = scene.empty(&scene.owner, "private", "qcow2").await;
    let file = format!("/images/{id}/file");
    let (status, _, words) = scene.sent(&scene.owner, "PUT", &file, disk(), &[OCTETS]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{}", String::from_utf8_lossy(&words));
    let (_, image) = scene.image(&scene.owner, "GET", &format!("/images/{id}"), Value::Null).await;
    assert_eq!(image["status"], "queued");
    assert!(image["leasehold_reason"].as_str().is_some_and(|why| why.contains("its content is raw")), "{image}");
    let fix = json!([{"op": "replace", "path": "/disk_format", "value": "raw"}]);
    assert_eq!(scene.image(&scene.owner, "PATCH", &format!("/images/{id}"), fix).await.0, StatusCode::OK);
    assert_eq!(scene.sent(&scene.owner, "PUT", &file, disk(), &[OCTETS]).await.0, StatusCode::NO_CONTENT);
    for bad in ["vmdk", "iso"] {
        let body = json!({"disk_format": bad});
        assert_eq!(scene.image(&scene.owner, "POST", "/images", body).await.0, StatusCode::BAD_REQUEST, "{bad}");
    }
    let nothing_said = scene.image(&scene.owner, "POST", "/images", json!({"name": "x"})).await.1;
    let file = format!("/images/{}/file", nothing_said["id"].as_str().expect("an id"));
    assert_eq!(scene.sent(&scene.owner, "PUT", &file, disk(), &[OCTETS]).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_an_image_its_owner_says() {
    let scene = Scene::new("member", "member").await;
    let id = scene.filled(&scene.owner, "private").await;
    let (path, file) = (format!("/images/{id}"), format!("/images/{id}/file"));
    let other = &scene.lessee;
    for (method, path) in [("GET", &path), ("DELETE", &path), ("GET", &file)] {
        assert_eq!(scene.image(other, method, path, Value::Null).await.0, StatusCode::NOT_FOUND, "{method} {path}");
    }
    let rename = json!([{"op": "replace", "path": "/name", "value": "mine"}]);
    assert_eq!(scene.image(other, "PATCH", &path, rename.clone()).await.0, StatusCode::NOT_FOUND);
    for theft in ["owner", "visibility"] {
        let value = if theft == "owner" { scene.lessee.project.as_str() } else { "public" };
        let patch = json!([{"op": "replace", "path": format!("/{theft}"), "value": value}]);
        assert_eq!(scene.image(&scene.owner, "PATCH", &path, patch).await.0, StatusCode::FORBIDDEN, "{theft}");
    }
    let share = json!([{"op": "replace", "path": "/visibility", "value": "shared"}]);
    assert_eq!(scene.image(&scene.owner, "PATCH", &path, share).await.0, StatusCode::OK);
    assert_eq!(scene.image(other, "GET", &path, Value::Null).await.0, StatusCode::NOT_FOUND, "with nobody yet");
    let members = format!("{path}/members");
    let add = json!({"member": other.project});
    assert_eq!(scene.image(&scene.owner, "POST", &members, add.clone()).await.0, StatusCode::OK);
    assert_eq!(scene.image(&scene.owner, "POST", &members, add).await.0, StatusCode::CONFLICT);
    assert_eq!(scene.image(other, "GET", &path, Value::Null).await.0, StatusCode::OK);
    assert_eq!(scene.listed(other).await, 0, "not before he has accepted it");
    let mine = format!("{members}/{}", other.project);
    let answer = json!({"status": "accepted"});
    assert_eq!(scene.image(&scene.owner, "PUT", &mine, answer.clone()).await.0, StatusCode::FORBIDDEN);
    assert_eq!(scene.image(other, "PUT", &mine, answer).await.0, StatusCode::OK);
    assert_eq!(scene.listed(other).await, 1);
    assert_eq!(scene.image(other, "PATCH", &path, rename).await.0, StatusCode::FORBIDDEN, "seen, and not his");
    assert_eq!(scene.image(other, "DELETE", &mine, Value::Null).await.0, StatusCode::FORBIDDEN);
    assert_eq!(scene.image(&scene.owner, "DELETE", &mine, Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(scene.image(other, "GET", &path, Value::Null).await.0, StatusCode::NOT_FOUND);
    let off = scene.image(&scene.owner, "POST", &format!("{path}/actions/deactivate"), Value::Null).await;
    assert_eq!(off.0, StatusCode::NO_CONTENT);
    assert_eq!(scene.image(&scene.owner, "GET", &file, Value::Null).await.0, StatusCode::FORBIDDEN);
    // The box's own images are the administrator's business.
    let answer = scene.rig.ask("GET", "/appliance/v1/images", Value::Null, &[("x-auth-token", &other.token)]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

/// Whether a deployment is given with an image that its giver may have, and whether `validate` sees it for him.
async fn deploys(scene: &Scene, who: &Tenant, source: &str) -> (bool, bool) {
    let patch = json!([{"op": "add", "path": "/instance_info/image_source", "value": source}]);
    assert_eq!(scene.rig.call("PATCH", "/nodes/real", patch).await.0, StatusCode::OK);
    let request = Request::get("/").header("x-auth-token", &who.token).body(()).expect("a request");
    let (mut parts, ()) = request.into_parts();
    let caller = crate::auth::Caller::from_request_parts(&mut parts, &scene.rig.api).await.expect("known");
    let view = scene.rig.api.engine.view();
    let node = view.node_by_name("real").expect("there");
    let actor = crate::image::may_deploy(&view, &caller, node, Verb::Deploy, caller.actor()).expect("an actor");
    let Actor::User(who) = actor else { unreachable!() };
    (who.image.is_some(), crate::image::check_source(&view, &caller, node).is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_private_image_is_not_there_for_a_deployment() {
    let scene = Scene::new("member", "member").await;
    scene.rig.node("real").await;
    let private = scene.filled(&scene.owner, "private").await;
    for source in [private.as_str(), "debian"] {
        assert_eq!(deploys(&scene, &scene.owner, source).await, (true, true), "{source}");
        assert_eq!(deploys(&scene, &scene.lessee, source).await, (false, false), "{source}");
    }
    let community = scene.filled(&scene.owner, "community").await;
    assert_eq!(deploys(&scene, &scene.lessee, &community).await, (true, true));
    assert_eq!(deploys(&scene, &scene.lessee, "debian").await, (true, true), "the only one that he sees");
    // Nor does the digest of a project's image lead to it.
    let digest = hex::encode(ring::digest::digest(&ring::digest::SHA256, &disk()));
    let wanted = leasehold_domain::image::Checksum::parse(None, &digest).expect("a digest");
    let view = scene.rig.api.engine.view();
    assert!(view.images_by_checksum(&wanted).next().is_some() && view.image_by_checksum(&wanted).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_add_up_and_go_on_where_they_ended() {
    let scene = Scene::new("member", "member").await;
    let id = scene.empty(&scene.owner, "private", "raw").await;
    let stage = format!("/images/{id}/stage");
    let bytes = disk();
    let part = async |range: &str, from: usize, to: usize| {
        let headers = [OCTETS, ("content-range", range)];
        let (status, headers, _) = scene.sent(&scene.owner, "PUT", &stage, bytes[from..to].to_vec(), &headers).await;
        (status.as_u16(), headers.get("upload-offset").and_then(|value| value.to_str().ok()).map(str::to_owned))
    };
    assert_eq!(part("bytes 0-1999999/5242880", 0, 2_000_000).await, (204, Some("2000000".into())));
    assert_eq!(part("bytes 0-1999999/5242880", 0, 2_000_000).await, (409, Some("2000000".into())));
    assert_eq!(part("bytes 3000000-5242879/5242880", 3_000_000, 5_242_880).await, (409, Some("2000000".into())));
    assert_eq!(part("bytes 2000000-2000009/5242880", 2_000_000, 2_000_020).await.0, 400, "longer than it says");
    let (_, headers, _) = scene.sent(&scene.owner, "HEAD", &stage, "", &[]).await;
    let here: usize = headers["upload-offset"].to_str().expect("text").parse().expect("a number");
    let rest = format!("bytes {here}-5242879/5242880");
    assert_eq!(part(&rest, here, 5_242_880).await, (204, Some("5242880".into())));
    assert_eq!(scene.sent(&scene.lessee, "HEAD", &stage, "", &[]).await.0, StatusCode::NOT_FOUND);
    let mut feed = scene.rig.api.engine.store.subscribe();
    let import = json!({"method": {"name": "glance-direct"}});
    let (status, answer) = scene.image(&scene.owner, "POST", &format!("/images/{id}/import"), import).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let active = async {
        while scene.image(&scene.owner, "GET", &format!("/images/{id}"), Value::Null).await.1["status"] != "active" {
            feed.next().await.expect("open");
        }
    };
    tokio::time::timeout(Duration::from_secs(30), active).await.expect("in time");
    let (_, _, back) = scene.sent(&scene.owner, "GET", &format!("/images/{id}/file"), "", &[]).await;
    assert!(back == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_fetched_from_inside_or_from_the_boxs_folders() {
    let scene = Scene::new("member", "member").await;
    let id = scene.empty(&scene.owner, "private", "raw").await;
    for url in ["http://127.0.0.1/x", "http://169.254.169.254/x", "file:///etc/passwd", "ftp://box/x", "x"] {
        let body = json!({"method": {"name": "web-download", "uri": url}});
        let (status, answer) = scene.image(&scene.owner, "POST", &format!("/images/{id}/import"), body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{url}: {answer}");
    }
    let (_, image) = scene.image(&scene.owner, "GET", &format!("/images/{id}"), Value::Null).await;
    assert_eq!(image["status"], "queued");
}
