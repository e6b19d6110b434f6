//! Whatever way an image came in: what is shown of it is true of the bytes that a download gives.

use super::glance::OCTETS;
use super::identity::system;
use super::tenants::{Scene, Tenant};
use super::*;
use crate::local;
use leasehold_domain::id::ImageId;
use leasehold_domain::image::{Checksum, WantedImage};
use leasehold_engine::images::Network;
use ring::digest::{Algorithm, SHA256, SHA512, digest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Everything here must have happened by then.
const DEADLINE: Duration = Duration::from_secs(30);
const CLUSTER: usize = 1 << 16;

/// How bytes become an image.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// `PUT …/file` of a project's member.
    Upload,
    /// `PUT …/stage`, then `glance-direct`.
    Parts,
    /// `web-download` of a URL.
    Web,
    /// `web-download` of a file in the import folder, by the box's administrator.
    WebFolder,
    /// `leasehold image add FILE`, by SHA-256.
    Local,
    /// The same by SHA-512.
    Local512,
    /// `leasehold image add URL`.
    LocalUrl,
    /// The same of a file in the import folder, by SHA-512.
    LocalFolder,
    /// `leasehold image import FILE`, of which nobody knows a digest.
    Folder,
    /// The same by SHA-512.
    Folder512,
    /// A deployment's `image_source`, which gets a name afterwards.
    Deployment,
}

const WAYS: [Way; 11] = [
    Way::Upload,
    Way::Parts,
    Way::Web,
    Way::WebFolder,
    Way::Local,
    Way::Local512,
    Way::LocalUrl,
    Way::LocalFolder,
    Way::Folder,
    Way::Folder512,
    Way::Deployment,
];

/// A disk with a partition table, another for each number.
fn disk(number: u8) -> Vec<u8> {
    let mut bytes = vec![0; 8 * CLUSTER];
    bytes[..CLUSTER].fill(number);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

/// The disk as qcow2: version 3, one table of each kind, the first cluster of data and no other.
fn qcow2(disk: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 3 * CLUSTER];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb\0\0\0\x03");
    put(20, &16_u32.to_be_bytes());
    put(24, &(disk.len() as u64).to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    for at in [40, 48] {
        put(at, &(CLUSTER as u64).to_be_bytes());
    }
    put(56, &1_u32.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    for (at, to) in [(CLUSTER, 2 * CLUSTER), (2 * CLUSTER, 3 * CLUSTER)] {
        put(at, &(to as u64 | (1 << 63)).to_be_bytes());
    }
    file.extend_from_slice(&disk[..CLUSTER]);
    file
}

fn hex_digest(algorithm: &'static Algorithm, bytes: &[u8]) -> String {
    hex::encode(digest(algorithm, bytes))
}

/// Answers one request with these bytes; its URL.
async fn served(bytes: Vec<u8>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a client");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(socket.read_u8().await.expect("a request"));
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
        socket.write_all(head.as_bytes()).await.expect("sent");
        socket.write_all(&bytes).await.expect("sent");
    });
    format!("http://{address}/image")
}

/// A box that may fetch from this machine, its administrator and its import folder.
struct Stand {
    scene: Scene,
    root: Tenant,
    import: tempfile::TempDir,
}

impl Stand {
    async fn new() -> Stand {
        let import = tempfile::tempdir().expect("a folder");
        let rig = Rig::with_images(|images| {
            images.import_folder = Some(import.path().to_owned());
            images.allowed = vec![Network::around("127.0.0.1".parse().expect("an address"), 32)];
        });
        let scene = Scene::at(rig.await, "member", "member").await;
        let token = scene.rig.token("admin", PASSWORD, system()).await;
        Stand { scene, root: Tenant { project: String::new(), token }, import }
    }

    /// On the local socket; the image's id.
    async fn local(&self, path: &str, kind: &str, body: impl Into<Body>) -> String {
        let request = Request::post(format!("/appliance/v1/{path}"))
            .header(header::CONTENT_TYPE, kind)
            .extension(Connection { peer: None, uid: Some(0), secure: false })
            .body(body.into())
            .expect("a request");
        let (status, image) = self.scene.rig.send(local(self.scene.rig.api.clone()), request).await;
        assert!(status.is_success(), "{path}: {status} {image}");
        image["id"].as_str().expect("an id").to_owned()
    }

    async fn import(&self, who: &Tenant, id: &str, method: Value) {
        let (status, said) =
            self.scene.image(who, "POST", &format!("/images/{id}/import"), json!({ "method": method })).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{said}");
    }

    /// Has the bytes, which are of this format, become an image of this name; its id.
    async fn bring(&self, way: Way, name: &str, format: &str, bytes: Vec<u8>) -> String {
        let Stand { scene, root, .. } = self;
        let owner = &scene.owner;
        let lies = self.import.path().join(name);
        std::fs::write(&lies, &bytes).expect("written");
        let by_file = format!("file://{}", lies.display());
        let (sha256, sha512) = (hex_digest(&SHA256, &bytes), hex_digest(&SHA512, &bytes));
        let by_url = |url: &str, checksum: &str| json!({"url": url, "checksum": checksum, "name": name}).to_string();
        let put = async |id: &str, place: &str, bytes: Vec<u8>| {
            let (status, _, said) = scene.sent(owner, "PUT", &format!("/images/{id}/{place}"), bytes, &[OCTETS]).await;
            assert_eq!(status, StatusCode::NO_CONTENT, "{}", String::from_utf8_lossy(&said));
        };
        match way {
            Way::Upload => {
                let id = scene.empty(owner, "private", format).await;
                put(&id, "file", bytes).await;
                id
            }
            Way::Parts => {
                let id = scene.empty(owner, "private", format).await;
                put(&id, "stage", bytes).await;
                self.import(owner, &id, json!({"name": "glance-direct"})).await;
                id
            }
            Way::Web => {
                let id = scene.empty(owner, "private", format).await;
                self.import(owner, &id, json!({"name": "web-download", "uri": served(bytes).await})).await;
                id
            }
            Way::WebFolder => {
                let body = json!({"name": name, "disk_format": format, "container_format": "bare"});
                let (status, image) = scene.image(root, "POST", "/images", body).await;
                assert_eq!(status, StatusCode::CREATED, "{image}");
                let id = image["id"].as_str().expect("an id").to_owned();
                self.import(root, &id, json!({"name": "web-download", "uri": by_file})).await;
                id
            }
            Way::Local => self.local(&format!("images?name={name}&checksum={sha256}"), OCTETS.1, bytes).await,
            Way::Local512 => self.local(&format!("images?name={name}&checksum={sha512}"), OCTETS.1, bytes).await,
            Way::LocalUrl => self.local("images", "application/json", by_url(&served(bytes).await, &sha256)).await,
            Way::LocalFolder => self.local("images", "application/json", by_url(&by_file, &sha512)).await,
            Way::Folder => self.local("import-folder", "application/json", json!({ "file": name }).to_string()).await,
            Way::Folder512 => {
                let asked = json!({"file": name, "checksum": sha512}).to_string();
                self.local("import-folder", "application/json", asked).await
            }
            Way::Deployment => {
                let engine = &scene.rig.api.engine;
                let source = served(bytes).await;
                let wanted = WantedImage { source, checksum: Checksum::parse(None, &sha256) };
                let came = engine.images.provide(&engine.store, &wanted, JobId(Uuid::new_v4())).await.expect("fetched");
                let named = self.local("images", "application/json", by_url("http://127.0.0.1/gone", &sha256)).await;
                assert_eq!(named, came.id.to_string(), "the same file gets a name");
                named
            }
        }
    }

    async fn until_active(&self, id: &str) {
        let store = &self.scene.rig.api.engine.store;
        let id = ImageId(Uuid::parse_str(id).expect("a UUID"));
        let mut feed = store.subscribe();
        let active = async {
            loop {
                let view = store.view();
                let image = view.image(id).expect("there");
                assert_eq!(image.card.reason, None);
                match image.status.name() {
                    "active" => return,
                    "queued" => feed.next().await.expect("open"),
                    other => panic!("{other}: {:?}", image.status),
                };
            }
        };
        tokio::time::timeout(DEADLINE, active).await.expect("in time");
    }
}

/// `raw` or `qcow2`, as the first bytes say.
fn format_of(bytes: &[u8]) -> &'static str {
    if bytes.starts_with(b"QFI\xfb") { "qcow2" } else { "raw" }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_of_an_image_is_true_of_its_download() {
    let stand = Stand::new().await;
    let scene = &stand.scene;
    for (number, way) in (1..).zip(WAYS) {
        for format in ["raw", "qcow2"] {
            let name = format!("{way:?}-{format}");
            let disk = disk(2 * number + u8::from(format == "raw"));
            let bytes = if format == "raw" { disk.clone() } else { qcow2(&disk) };
            let id = stand.bring(way, &name, format, bytes.clone()).await;
            stand.until_active(&id).await;
            let who = if way == Way::WebFolder { &stand.root } else { &scene.owner };
            let (_, image) = scene.image(who, "GET", &format!("/images/{id}"), Value::Null).await;
            let (status, headers, came) = scene.sent(who, "GET", &format!("/images/{id}/file"), "", &[]).await;
            assert_eq!(status, StatusCode::OK, "{name}");
            assert!(came == bytes || came == disk, "{name}: neither the file nor its disk");
            assert_eq!(image["disk_format"], format_of(&came), "{name}: {image}");
            assert_eq!(image["size"], json!(came.len()), "{name}: {image}");
            assert_eq!(image["virtual_size"], json!(disk.len()), "{name}: {image}");
            let algorithm = match image["os_hash_algo"].as_str() {
                Some("sha256") => &SHA256,
                Some("sha512") => &SHA512,
                other => panic!("{name}: {other:?}"),
            };
            assert_eq!(image["os_hash_value"], hex_digest(algorithm, &came), "{name}: {image}");
            let md5 = headers.get("content-md5").map(|value| value.to_str().expect("ASCII"));
            assert_eq!(image["checksum"].as_str(), md5, "{name}");
            // The list says the same, and finds it by what it says.
            let query =
                format!("/images?visibility=all&id={id}&disk_format={}&size_max={}", format_of(&came), came.len());
            let (_, list) = scene.image(who, "GET", &query, Value::Null).await;
            assert_eq!(list["images"], json!([image]), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_gets_its_own_file_back() {
    let stand = Stand::new().await;
    for way in [Way::Upload, Way::Parts, Way::Web] {
        let bytes = qcow2(&disk(1));
        let id = stand.bring(way, "kept", "qcow2", bytes.clone()).await;
        stand.until_active(&id).await;
        let file = format!("/images/{id}/file");
        let (_, _, came) = stand.scene.sent(&stand.scene.owner, "GET", &file, "", &[]).await;
        assert!(came == bytes, "{way:?}");
    }
}
