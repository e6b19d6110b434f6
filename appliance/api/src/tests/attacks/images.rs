//! Images that lead elsewhere than to an image.

use super::*;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use tower_service::Service;

impl Scene {
    /// An image of the owner without data, said to be of this format.
    pub(super) async fn queued(&self, format: &str) -> String {
        let body = json!({"name": "x", "disk_format": format, "container_format": "bare"});
        let (status, image) = self.with(&self.owner, "POST", "/image/v2/images", body).await;
        assert_eq!(status, StatusCode::CREATED, "{image}");
        image["id"].as_str().expect("an id").to_owned()
    }

    async fn put(&self, id: &str, bytes: Vec<u8>) -> (StatusCode, String) {
        let request = Request::put(format!("/image/v2/images/{id}/file"))
            .header("x-auth-token", &self.owner.token)
            .header("content-type", "application/octet-stream")
            .body(Body::from(bytes))
            .expect("a request");
        let answer = crate::public(self.rig.api.clone()).call(request).await.expect("routers do not fail");
        let status = answer.status();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn status_of(&self, id: &str) -> Value {
        self.with(&self.owner, "GET", &format!("/image/v2/images/{id}"), Value::Null).await.1["status"].clone()
    }
}

/// Places that no image is fetched from, spelt in many ways.
const INNER: [&str; 18] = [
    "file:///dev/zero",
    "file:///etc/shadow",
    "FILE:///dev/zero",
    "file://localhost/dev/zero",
    "/dev/zero",
    "data:,x",
    "ftp://images.example/x",
    "gopher://127.0.0.1/x",
    "http://127.0.0.1/x",
    "http://0.0.0.0/x",
    "http://[::1]/x",
    "http://[::]/x",
    "http://[::ffff:127.0.0.1]/x",
    "http://[::ffff:7f00:1]/x",
    "http://169.254.169.254/latest/meta-data",
    "http://[fe80::1]/x",
    "http://224.0.0.1/x",
    "http://images.example@127.0.0.1/x",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_image_url_leads_to_an_inner_address() {
    let scene = Scene::new("member", "member").await;
    let id = scene.queued("raw").await;
    let root = scene.rig.token("admin", PASSWORD, system()).await;
    let root = Tenant { project: String::new(), token: root };
    let checksum = format!("sha256:{}", "0".repeat(64));
    for url in INNER {
        let body = json!({"method": {"name": "web-download", "uri": url}});
        let (status, answer) = scene.with(&scene.owner, "POST", &format!("/image/v2/images/{id}/import"), body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{url}: {answer}");
        // Nor by the box's own administrator, who is fooled as easily.
        let body = json!({"url": url, "name": "x", "checksum": checksum});
        let (status, answer) = scene.with(&root, "POST", "/appliance/v1/images", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{url}: {answer}");
    }
    assert_eq!(scene.status_of(&id).await, "queued");
    assert_eq!(scene.rig.api.engine.view().images().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_imported_by_a_path_or_from_another_store() {
    let scene = Scene::new("member", "member").await;
    let id = scene.queued("raw").await;
    let import = format!("/image/v2/images/{id}/import");
    for method in [
        json!({"name": "copy-image"}),
        json!({"name": "glance-download", "glance_region": "x", "glance_image_id": NOWHERE}),
        json!({"name": "web-download"}),
        json!({"name": "web-download", "uri": ["http://images.example/x"]}),
        json!({"name": "web-download", "uri": ""}),
        json!({"name": "../../etc"}),
    ] {
        let (status, answer) = scene.with(&scene.owner, "POST", &import, json!({ "method": method })).await;
        assert!(matches!(status.as_u16(), 400 | 409), "{method}: {status} {answer}");
    }
    for location in ["locations", "direct_url", "file"] {
        let patch = json!([{"op": "add", "path": format!("/{location}"), "value": "file:///dev/zero"}]);
        let kind = ("content-type", "application/openstack-images-v2.1-json-patch");
        let request = Request::patch(format!("/image/v2/images/{id}"))
            .header("x-auth-token", &scene.owner.token)
            .header(kind.0, kind.1)
            .body(Body::from(patch.to_string()))
            .expect("a request");
        let answer = crate::public(scene.rig.api.clone()).call(request).await.expect("routers do not fail");
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{location}");
    }
    for path in ["..%2f..%2fkey", "%2e%2e/key", "x/../../key", "%00", "debian/file/../../../key"] {
        let (status, _) = scene.with(&scene.owner, "GET", &format!("/image/v2/images/{path}/file"), Value::Null).await;
        assert!(status.is_client_error(), "{path}");
    }
    assert_eq!(scene.status_of(&id).await, "queued");
}

/// A disk of 1 MiB as qcow2, version 3, with one cluster that begins like a disk. With a backing file, named at byte 112,
/// it says that its data are in that one.
fn qcow2(backing: &str) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    bytes[..4].copy_from_slice(b"QFI\xfb");
    bytes[4..8].copy_from_slice(&3_u32.to_be_bytes());
    if !backing.is_empty() {
        bytes[8..16].copy_from_slice(&112_u64.to_be_bytes());
        bytes[16..20].copy_from_slice(&u32::try_from(backing.len()).expect("short").to_be_bytes());
        bytes[112..112 + backing.len()].copy_from_slice(backing.as_bytes());
    }
    bytes[20..24].copy_from_slice(&16_u32.to_be_bytes());
    bytes[24..32].copy_from_slice(&(1_u64 << 20).to_be_bytes());
    bytes[36..40].copy_from_slice(&1_u32.to_be_bytes());
    bytes[40..48].copy_from_slice(&(1_u64 << 16).to_be_bytes());
    bytes[48..56].copy_from_slice(&(2_u64 << 16).to_be_bytes());
    bytes[56..60].copy_from_slice(&1_u32.to_be_bytes());
    bytes[96..100].copy_from_slice(&4_u32.to_be_bytes());
    bytes[100..104].copy_from_slice(&104_u32.to_be_bytes());
    // The first table names the second, and that the data.
    for (at, place) in [(1, 3), (3, 4)] {
        let entry = 1_u64 << 63 | place << 16;
        bytes[at << 16..(at << 16) + 8].copy_from_slice(&entry.to_be_bytes());
    }
    bytes[(4 << 16) + 510..(4 << 16) + 512].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

fn disk() -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn format_mismatch() {
    let scene = Scene::new("member", "member").await;
    let start = |magic: &[u8], at: usize| {
        let mut bytes = disk();
        bytes[at..at + magic.len()].copy_from_slice(magic);
        bytes
    };
    // What is said to be a raw disk is taken for another format by whoever looks at it later.
    for (said, what, bytes) in [
        ("raw", "a qcow2", qcow2("")),
        ("raw", "a qcow2 of another file", qcow2("/etc/shadow")),
        ("qcow2", "a qcow2 of another file", qcow2("/etc/shadow")),
        ("qcow2", "a qcow2 of a JSON description", qcow2("json:{\"driver\":\"file\"}")),
        ("qcow2", "a raw disk", disk()),
        ("raw", "a VMDK", start(b"KDMV", 0)),
    ] {
        let id = scene.queued(said).await;
        let (status, answer) = scene.put(&id, bytes).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{what} said to be {said}: {answer}");
        assert!(!answer.contains("root:"), "{answer}");
        assert_ne!(scene.status_of(&id).await, "active", "{what}");
    }
    // The same bytes pass for what they are.
    for (said, bytes) in [("qcow2", qcow2("")), ("raw", disk())] {
        let id = scene.queued(said).await;
        let (status, answer) = scene.put(&id, bytes).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{said}: {answer}");
        assert_eq!(scene.put(&id, disk()).await.0, StatusCode::CONFLICT, "the bytes are exchanged afterwards");
        assert_eq!(scene.status_of(&id).await, "active");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skipped_checksum() {
    let scene = Scene::new("member", "member").await;
    let root = Tenant { project: String::new(), token: scene.rig.token("admin", PASSWORD, system()).await };
    for checksum in [
        Value::Null,
        json!(""),
        json!("none"),
        json!("md5:d41d8cd98f00b204e9800998ecf8427e"),
        json!("sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        json!("sha256:"),
        json!("sha256:00"),
        json!(0),
        json!(["sha256:00"]),
        json!("http://images.example/SHA256SUMS"),
    ] {
        let body = json!({"url": "http://images.example/x", "name": "x", "checksum": checksum});
        let (status, answer) = scene.with(&root, "POST", "/appliance/v1/images", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{checksum}: {answer}");
    }
    assert_eq!(scene.rig.api.engine.view().images().count(), 0);
    // A node whose image comes by a URL says what is in it, or it does not deploy.
    let node = scene.guarded("guarded").await;
    let set = async |info: Value| {
        let patch = json!([{"op": "replace", "path": "/instance_info", "value": info}]);
        assert_eq!(scene.ask(&scene.owner, "PATCH", &format!("/nodes/{node}"), patch).await.0, StatusCode::OK);
        let (_, verdict) = scene.ask(&scene.owner, "GET", &format!("/nodes/{node}/validate"), Value::Null).await;
        verdict["deploy"]["result"].clone()
    };
    let url = "https://images.example/x.qcow2";
    assert_eq!(set(json!({ "image_source": url })).await, false);
    for (algorithm, sum) in [("md5", "0".repeat(32)), ("sha1", "0".repeat(40)), ("none", String::new())] {
        let info = json!({"image_source": url, "image_os_hash_algo": algorithm, "image_os_hash_value": sum});
        assert_eq!(set(info).await, false, "{algorithm}");
        assert_eq!(set(json!({"image_source": url, "image_checksum": sum})).await, false, "{algorithm}");
    }
    let good = json!({"image_source": url, "image_os_hash_algo": "sha256", "image_os_hash_value": "0".repeat(64)});
    assert_eq!(set(good).await, true);
}
