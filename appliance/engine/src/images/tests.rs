//! Images over a real store and servers on the loopback: good ones come once, bad ones leave nothing.

mod folder;

use super::*;
use jiff::{SignedDuration, Timestamp};
use leasehold_domain::command::Context;
use leasehold_domain::image::{Card, ImageCommand, Visibility};
use leasehold_domain::{Change, decide};
use leasehold_store::Options;
use sha2::{Digest, Sha256, Sha512};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

mod inner;

const MIB: usize = 1 << 20;
/// Everything here must have happened by then.
const DEADLINE: Duration = Duration::from_secs(30);

struct Rig {
    images: Arc<ImageStore>,
    store: Store,
    folder: tempfile::TempDir,
}

fn settings(folder: &Path) -> ImageSettings {
    ImageSettings {
        folder: folder.join("images"),
        import_folder: Some(folder.join("import")),
        max_size: 64 << 20,
        reserve: 0,
        quota: None,
        forbidden: vec![Network::around("127.0.0.66".parse().expect("an address"), 32)],
        allowed: Vec::new(),
        patience: Patience { silence: Duration::from_secs(10), ..Patience::default() },
    }
}

impl Rig {
    fn new(change: impl FnOnce(&mut ImageSettings)) -> Rig {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("import")).expect("a folder");
        let store = Store::open(folder.path(), Options::default()).expect("a store");
        let mut settings = settings(folder.path());
        change(&mut settings);
        let images = Arc::new(ImageStore::open(settings, &store.view()).expect("a folder of images"));
        Rig { images, store, folder }
    }

    /// What the next start of the program finds.
    fn restarted(&self) -> Arc<ImageStore> {
        Arc::new(ImageStore::open(settings(self.folder.path()), &self.store.view()).expect("opened"))
    }

    async fn provide(&self, source: &str, checksum: Option<Checksum>) -> Result<Arc<Image>, ImageError> {
        let wanted = WantedImage { source: source.into(), checksum };
        let provided = self.images.provide(&self.store, &wanted, JobId(Uuid::new_v4()));
        tokio::time::timeout(DEADLINE, provided).await.expect("in time")
    }

    async fn upload(&self, name: &str, bytes: &[u8], checksum: Checksum) -> Result<Arc<Image>, ImageError> {
        let length = Some(bytes.len() as u64);
        let mut upload = self.images.begin_upload(&self.store, user(), name, checksum, length).await?;
        for piece in bytes.chunks(MIB * 2 / 3) {
            upload.take(piece).await?;
        }
        upload.finish().await
    }

    fn incoming(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("images/incoming")).expect("a folder").count()
    }

    /// Folders of images.
    fn kept(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("images")).expect("a folder").count() - 1
    }

    /// Waits until no import has left anything: neither files nor space.
    async fn nothing_is_left(&self) {
        until(|| self.incoming() == 0 && self.usage().temporary == 0).await;
    }

    fn usage(&self) -> Usage {
        self.images.usage(&self.store.view()).expect("known")
    }

    async fn until_status(&self, id: ImageId, wanted: &str) -> Arc<Image> {
        let mut feed = self.store.subscribe();
        let seen = async {
            loop {
                if let Some(image) = self.store.view().image(id).filter(|image| image.status.name() == wanted) {
                    return image.clone();
                }
                feed.next().await.expect("open");
            }
        };
        tokio::time::timeout(DEADLINE, seen).await.expect("in time")
    }
}

async fn until(mut condition: impl FnMut() -> bool) {
    let held = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, held).await.expect("in time");
}

fn user() -> Actor {
    Actor::named("ada")
}

/// A disk with a partition table and noise up to `filled`; empty from there on.
fn disk(size: usize, filled: usize, seed: u32) -> Vec<u8> {
    let mut bytes = vec![0; size];
    let mut noise = seed;
    bytes[..filled].chunks_exact_mut(4).for_each(|word| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        word.copy_from_slice(&noise.to_be_bytes());
    });
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

fn sha256(bytes: &[u8]) -> Checksum {
    Checksum { algorithm: HashAlgorithm::Sha256, hex: hex::encode(Sha256::digest(bytes)) }
}

/// What a server does after it has read a request; the connection ends with it.
type Script = Arc<dyn Fn(TcpStream) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A server that answers every request by `script`; how many came.
async fn server(script: Script) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (counter, script) = (counter.clone(), script.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match socket.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                counter.fetch_add(1, Ordering::SeqCst);
                script(socket).await;
            });
        }
    });
    (address, requests)
}

/// A script that sends these bytes and hangs up.
fn sends(bytes: Vec<u8>) -> Script {
    let bytes = Arc::new(bytes);
    Arc::new(move |mut socket: TcpStream| {
        let bytes = bytes.clone();
        Box::pin(async move { drop(socket.write_all(&bytes).await) })
    })
}

/// A whole answer.
fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn good_answer(body: &[u8]) -> Vec<u8> {
    answer("200 OK", &format!("Content-Length: {}\r\n", body.len()), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_deployments_of_one_image_share_one_import() {
    let rig = Rig::new(|_| {});
    let bytes = disk(9 * MIB, 5 * MIB, 1);
    let (address, requests) = server(sends(good_answer(&bytes))).await;
    let url = format!("http://ada:secret@{address}/image?signature=secret");
    let checksum = Some(sha256(&bytes));
    let (one, other) = tokio::join!(rig.provide(&url, checksum.clone()), rig.provide(&url, checksum.clone()));
    let (one, other) = (one.expect("provided"), other.expect("provided"));
    assert_eq!((one.id, requests.load(Ordering::SeqCst)), (other.id, 1));
    let content = one.content.as_ref().expect("active");
    assert_eq!((content.raw_size, &content.raw_sha256), (bytes.len() as u64, &sha256(&bytes).hex));
    assert_eq!(one.source_url.as_deref(), Some(&*format!("http://******@{address}/image?…")), "no secret is kept");
    let stored = rig.images.stored(one.id).expect("opened");
    let mut read = vec![0; bytes.len()];
    stored.read_raw(&mut read, 0).expect("read");
    assert!(read == bytes);
    assert_eq!((rig.kept(), rig.usage().stored), (1, stored.data_size()));
    rig.nothing_is_left().await;
    // A third finds it, also after a restart, also by its id.
    assert_eq!(rig.provide(&url, checksum).await.expect("here").id, one.id);
    let again = rig.restarted();
    let wanted = WantedImage { source: one.id.to_string(), checksum: None };
    let job = JobId(Uuid::new_v4());
    assert_eq!(again.provide(&rig.store, &wanted, job).await.expect("here").id, one.id);
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_fail_are_named_and_leave_nothing() {
    let bytes = disk(3 * MIB, 3 * MIB, 2);
    let cut = bytes.len() / 2;
    let chunked = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n", &bytes[..MIB / 2]].concat();
    let redirect = |to: &str| answer("302 Found", &format!("Location: {to}\r\nContent-Length: 0\r\n"), b"");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("stopped half-way", answer("200 OK", &format!("Content-Length: {}\r\n", bytes.len()), &bytes[..cut])),
        ("stopped half-way", chunked),
        ("does not match its checksum", answer("200 OK", &format!("Content-Length: {cut}\r\n"), &bytes)),
        ("does not match its checksum", answer("200 OK", "", &bytes[..cut])),
        ("404", answer("404 Not Found", "Content-Length: 0\r\n", b"")),
        ("206", answer("206 Partial Content", "Content-Length: 0\r\n", b"")),
        ("more than 5 redirects", redirect("/again")),
        ("redirect to nowhere", redirect("")),
        ("management address", redirect("http://127.0.0.66:1/x")),
        ("redirect to nowhere", redirect("file:///etc/shadow")),
        ("only http, https", redirect("ftp://box/image")),
        ("larger than 64 MiB", answer("200 OK", "Content-Length: 99999999999\r\n", b"")),
        ("could not be fetched", b"SSH-2.0-OpenSSH\r\n".to_vec()),
        ("could not be fetched", Vec::new()),
    ];
    let rig = Rig::new(|_| {});
    for (words, reply) in cases {
        let (address, requests) = server(sends(reply)).await;
        let url = format!("http://ada:secret@{address}/image");
        let error = rig.provide(&url, Some(sha256(&bytes))).await.expect_err(words).to_string();
        assert!(error.contains(words), "{words}: {error}");
        assert!(!error.contains("secret"), "{error}");
        assert!((1..=6).contains(&requests.load(Ordering::SeqCst)), "{words}");
        rig.nothing_is_left().await;
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    for (words, url) in [
        ("could not be fetched", format!("http://{closed}/")),
        ("management address", "http://127.0.0.66/".to_owned()),
        ("management address", "http://[::ffff:127.0.0.66]/".to_owned()),
        ("only http", "ftp://box/image".to_owned()),
        ("no URL", "http://bad host/".to_owned()),
    ] {
        let error = rig.provide(&url, Some(sha256(&bytes))).await.expect_err(words).to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    rig.nothing_is_left().await;
    assert_eq!((rig.kept(), rig.store.view().images().count()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_be_neither_silent_nor_slow_nor_endless() {
    let silent: Script = Arc::new(|socket: TcpStream| {
        Box::pin(async move {
            // Held open until the other end gives up.
            let mut socket = socket;
            drop(socket.read_u8().await);
        })
    });
    let silent_body: Script = Arc::new(|mut socket: TcpStream| {
        Box::pin(async move {
            drop(socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome").await);
            drop(socket.read_u8().await);
        })
    });
    let drips: Script = Arc::new(|mut socket: TcpStream| {
        Box::pin(async move {
            drop(socket.set_nodelay(true));
            drop(socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 60000000\r\n\r\n").await);
            while socket.write_all(b"x").await.is_ok() {}
        })
    });
    let endless: Script = Arc::new(|mut socket: TcpStream| {
        Box::pin(async move {
            drop(socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await);
            let noise = disk(MIB, MIB, 3);
            while socket.write_all(&noise).await.is_ok() {}
        })
    });
    let patient = Duration::from_secs(20);
    for (words, script, silence, stretch, least) in [
        ("sent nothing for", silent, Duration::from_millis(50), patient, 1),
        ("sent nothing for", silent_body, Duration::from_millis(50), patient, 1),
        ("too slow", drips, patient, Duration::from_millis(50), 60 << 20),
        ("larger than 64 MiB", endless, patient, patient, 1),
    ] {
        let rig = Rig::new(|settings| settings.patience = Patience { silence, stretch, least });
        let (address, _) = server(script).await;
        let refused = rig.provide(&format!("http://{address}/"), Some(sha256(b"x"))).await.expect_err(words);
        assert!(refused.to_string().contains(words), "{words}: {refused}");
        rig.nothing_is_left().await;
        assert_eq!(rig.kept(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_image_comes_from_inside_by_default() {
    let rig = Rig::new(|settings| settings.forbidden = never_fetched_from());
    let (address, requests) = server(sends(good_answer(b"x"))).await;
    for host in ["127.0.0.1", "localhost", "[::ffff:7f00:1]", "127.1", "2130706433"] {
        let url = format!("http://{host}:{}/", address.port());
        let refused = rig.provide(&url, Some(sha256(b"x"))).await.expect_err(host).to_string();
        assert!(refused.contains("loopback"), "{host}: {refused}");
    }
    assert_eq!(requests.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_from_the_import_folder_only() {
    let rig = Rig::new(|_| {});
    let bytes = disk(MIB, MIB, 4);
    let import = rig.folder.path().join("import");
    std::fs::write(import.join("good.img"), &bytes).expect("written");
    std::fs::write(rig.folder.path().join("outside.img"), &bytes).expect("written");
    std::os::unix::fs::symlink(rig.folder.path().join("outside.img"), import.join("link.img")).expect("linked");
    let url = |name: &str| format!("file://{}/{name}", import.display());
    for bad in ["../outside.img", "link.img", "none.img", ""] {
        let refused = rig.provide(&url(bad), Some(sha256(&bytes))).await;
        assert!(matches!(refused, Err(ImageError::Fetch { .. })), "{bad}");
    }
    let image = rig.provide(&url("good.img"), Some(sha256(&bytes))).await.expect("provided");
    assert_eq!(image.content.as_ref().map(|content| content.raw_size), Some(bytes.len() as u64));
    let none = Rig::new(|settings| settings.import_folder = None);
    let refused = none.provide(&url("good.img"), Some(sha256(&bytes))).await.expect_err("a refusal");
    assert!(refused.to_string().contains("import_folder"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_kept_under_its_name_or_leaves_nothing() {
    let rig = Rig::new(|_| {});
    let bytes = disk(6 * MIB + 512, 2 * MIB, 5);
    let sha512 = Checksum { algorithm: HashAlgorithm::Sha512, hex: hex::encode(Sha512::digest(&bytes)) };

    assert!(matches!(rig.upload("debian", &bytes, sha256(b"other")).await, Err(ImageError::Checksum { .. })));
    assert!(matches!(rig.upload("debian", b"text", sha256(b"text")).await, Err(ImageError::Format(_))));
    let mut cut = rig.images.begin_upload(&rig.store, user(), "debian", sha512.clone(), None).await.expect("begun");
    cut.take(&bytes[..3 * MIB]).await.expect("taken");
    drop(cut);
    let huge = rig.images.begin_upload(&rig.store, user(), "debian", sha512.clone(), Some(1 << 40)).await;
    assert!(matches!(huge, Err(ImageError::TooLarge { .. })));
    let mut endless = rig.images.begin_upload(&rig.store, user(), "debian", sha512.clone(), None).await.expect("begun");
    let refused = async {
        loop {
            endless.take(&bytes).await?;
        }
    };
    let refused: Result<(), ImageError> = refused.await;
    assert!(matches!(refused, Err(ImageError::TooLarge { .. })));
    drop(endless);
    rig.nothing_is_left().await;
    assert_eq!((rig.kept(), rig.store.view().images().count()), (0, 0));

    let image = rig.upload("debian", &bytes, sha512.clone()).await.expect("kept");
    assert_eq!((image.name.as_deref(), image.source_url.as_deref()), (Some("debian"), None));
    assert_eq!(rig.provide("debian", None).await.expect("found").id, image.id);
    assert!(matches!(rig.provide("debian", Some(sha256(b"other"))).await, Err(ImageError::Checksum { .. })));
    assert_eq!(rig.upload("debian", &bytes, sha512.clone()).await.expect("the same").id, image.id);
    let renamed = rig.upload("other", &bytes, sha512).await.expect_err("a refusal").to_string();
    assert!(renamed.contains("already, as 'debian'"), "{renamed}");
    let another = disk(MIB, MIB, 6);
    assert!(matches!(rig.upload("debian", &another, sha256(&another)).await, Err(ImageError::Store(_))));
    for bad in ["", "a\nb", "http://x", "00000000-0000-0000-0000-000000000000"] {
        assert!(matches!(rig.upload(bad, &another, sha256(&another)).await, Err(ImageError::Store(_))), "{bad}");
    }
    rig.nothing_is_left().await;
    assert_eq!(rig.kept(), 1);

    rig.images.delete(&rig.store, image.id, user()).await.expect("deleted");
    assert_eq!((rig.kept(), rig.usage().stored), (0, 0));
    assert!(matches!(rig.provide("debian", None).await, Err(ImageError::Unknown(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_uploads_at_a_time() {
    let rig = Rig::new(|_| {});
    let begin = |name: String| {
        let (images, store) = (rig.images.clone(), rig.store.clone());
        async move { images.begin_upload(&store, user(), &name, sha256(b"x"), None).await }
    };
    let mut held = Vec::new();
    for number in 0..UPLOADS {
        held.push(begin(format!("image-{number}")).await.expect("begun"));
    }
    assert!(matches!(begin("more".into()).await, Err(ImageError::Busy(_))));
    held.pop();
    assert!(begin("more".into()).await.is_ok());
}

/// Writes an image's row, as of `hours` ago, with a folder.
fn old_image(rig: &Rig, name: Option<&str>, source_url: Option<&str>, stored_size: u64, hours: i64) -> Arc<Image> {
    let then = Timestamp::now().checked_sub(SignedDuration::from_hours(hours)).expect("in range");
    let content = ImageContent { raw_size: 512, raw_sha256: "0".repeat(64), stored_size, given_format: "raw".into() };
    let image = Image {
        id: ImageId(Uuid::new_v4()),
        name: name.map(str::to_owned),
        source_url: source_url.map(str::to_owned),
        checksum: Some(sha256(Uuid::new_v4().as_bytes())),
        status: ImageStatus::Active,
        content: Some(content),
        created_at: then,
        used_at: then,
        card: Card::default(),
    };
    let folder = rig.folder.path().join("images").join(image.id.to_string());
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("map.json"), b"{}").expect("written");
    Arc::new(image)
}

#[tokio::test(flavor = "multi_thread")]
async fn when_space_is_short_what_was_unused_longest_goes_and_nothing_else() {
    const QUOTA: u64 = 100 << 20;
    let rig = Rig::new(|settings| settings.quota = Some(QUOTA));
    let third = QUOTA / 10 * 3;
    let url = Some("http://box/image");
    let oldest = old_image(&rig, None, url, third, 50);
    let older = old_image(&rig, None, url, third, 40);
    let named = old_image(&rig, Some("kept"), url, QUOTA / 10, 90);
    let uploaded = old_image(&rig, None, None, QUOTA / 10, 90);
    let fresh = old_image(&rig, None, url, QUOTA / 10, 1);
    for image in [&oldest, &older, &named, &uploaded, &fresh] {
        let added = Command::AddImage(Box::new((**image).clone()));
        rig.store.submit(added, Actor::System("test")).await.expect("added");
    }
    let usage = rig.usage();
    assert_eq!((usage.stored, usage.evictable, usage.quota), (QUOTA / 10 * 9, third * 2, Some(QUOTA)));
    let there = |image: &Image| rig.store.view().image(image.id).is_some();

    // 12 MiB of noise, given and packed: more than the 10 MiB left, less than with one image gone.
    let bytes = disk(12 * MIB, 12 * MIB, 7);
    rig.upload("new", &bytes, sha256(&bytes)).await.expect("room was made");
    assert!(!there(&oldest) && there(&older), "one was enough");
    rig.nothing_is_left().await;

    // 40 MiB: more than everything that may go. It is refused before anything goes.
    let bytes = disk(60 * MIB, 60 * MIB, 8);
    let refused = rig.upload("large", &bytes, sha256(&bytes)).await.expect_err("a refusal");
    assert!(matches!(refused, ImageError::NoSpace { needed: 60, .. }), "{refused}");
    assert!(there(&older));

    // The same without an announced length: refused in the middle.
    let mut upload = rig.images.begin_upload(&rig.store, user(), "large", sha256(&bytes), None).await.expect("begun");
    let refused: Result<(), ImageError> = async {
        for piece in bytes.chunks(MIB) {
            upload.take(piece).await?;
        }
        Ok(())
    }
    .await;
    assert!(matches!(refused, Err(ImageError::NoSpace { .. })), "{refused:?}");
    drop(upload);
    assert!(!there(&older));
    assert!([&named, &uploaded, &fresh].into_iter().all(|image| there(image)));
    rig.nothing_is_left().await;
    assert_eq!(rig.kept(), 4, "three of old and the new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_leaves_nothing() {
    let rig = Rig::new(|settings| settings.reserve = u64::MAX);
    let bytes = disk(2 * MIB, 2 * MIB, 9);
    assert!(matches!(rig.upload("x", &bytes, sha256(&bytes)).await, Err(ImageError::NoSpace { free: 0, .. })));
    let (address, _) = server(sends(good_answer(&bytes))).await;
    let refused = rig.provide(&format!("http://{address}/"), Some(sha256(&bytes))).await;
    assert!(matches!(refused, Err(ImageError::NoSpace { .. })));
    rig.nothing_is_left().await;

    // Room for the file, none for what it is packed into.
    let rig = Rig::new(|settings| settings.quota = Some(3 << 20));
    assert!(matches!(rig.upload("x", &bytes, sha256(&bytes)).await, Err(ImageError::NoSpace { .. })));
    rig.nothing_is_left().await;
    assert_eq!((rig.kept(), rig.store.view().images().count()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_is_swept_and_what_has_a_row_stays() {
    let rig = Rig::new(|_| {});
    let bytes = disk(MIB, MIB, 10);
    let image = rig.upload("debian", &bytes, sha256(&bytes)).await.expect("kept");
    rig.nothing_is_left().await;
    let images = rig.folder.path().join("images");
    // Killed between the rename and the row; in the middle of an import; and a folder of somebody else.
    let left_by_a_sweep = format!("{SWEPT}{}", Uuid::new_v4());
    let half_an_import = format!("incoming/{}", Uuid::new_v4());
    for name in [Uuid::new_v4().to_string(), half_an_import, left_by_a_sweep, "lost+found".into()] {
        std::fs::create_dir(images.join(&name)).expect("a folder");
        std::fs::write(images.join(&name).join("data"), &bytes).expect("written");
    }
    drop(rig.restarted());
    assert_eq!(rig.incoming(), 0);
    until(|| rig.kept() == 2).await;
    assert!(images.join(image.id.to_string()).join("map.json").exists() && images.join("lost+found/data").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_somebody_took_away_are_noticed() {
    let rig = Rig::new(|_| {});
    let bytes = disk(MIB, MIB, 11);
    let (address, requests) = server(sends(good_answer(&bytes))).await;
    let url = format!("http://{address}/image");
    let first = rig.provide(&url, Some(sha256(&bytes))).await.expect("provided");
    std::fs::remove_dir_all(rig.folder.path().join("images").join(first.id.to_string())).expect("removed");
    let by_id = rig.provide(&first.id.to_string(), None).await;
    assert!(matches!(by_id, Err(ImageError::NotReady(..))));
    let second = rig.provide(&url, Some(sha256(&bytes))).await.expect("fetched again");
    assert_ne!(first.id, second.id);
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_a_user_adds_by_url_comes_in_the_background() {
    let rig = Rig::new(|_| {});
    let bytes = disk(MIB, MIB, 12);
    let (good, requests) = server(sends(good_answer(&bytes))).await;
    let (bad, _) = server(sends(answer("404 Not Found", "Content-Length: 0\r\n", b""))).await;
    let add = async |name: &str, from: SocketAddr| {
        let url = format!("http://{from}/image");
        rig.images.add_by_url(&rig.store, user(), name, &url, sha256(&bytes)).await
    };
    let queued = add("debian", bad).await.expect("queued");
    assert_eq!(queued.status, ImageStatus::Queued);
    let failed = rig.until_status(queued.id, "failed").await;
    assert!(matches!(&failed.status, ImageStatus::Failed(why) if why.contains("404")));
    // Another attempt under the same name.
    let queued = add("debian", good).await.expect("queued");
    rig.until_status(queued.id, "active").await;
    assert!(rig.store.view().image(failed.id).is_none());
    assert_eq!(add("debian", good).await.expect("the same").id, queued.id);
    let other = add("other", good).await.expect_err("a refusal").to_string();
    assert!(other.contains("as 'debian'"), "{other}");
    assert_eq!(requests.load(Ordering::SeqCst), 1);
    for bad in ["http://127.0.0.66/", "ftp://x/", "nonsense"] {
        let refused = rig.images.add_by_url(&rig.store, user(), "x", bad, sha256(b"x")).await;
        assert!(matches!(refused, Err(ImageError::Fetch { .. })), "{bad}");
    }

    // One that came for a deployment gets a name, and is kept from then on.
    let bytes = disk(MIB, MIB, 13);
    let (address, requests) = server(sends(good_answer(&bytes))).await;
    let url = format!("http://{address}/");
    let came = rig.provide(&url, Some(sha256(&bytes))).await.expect("provided");
    let named = rig.images.add_by_url(&rig.store, user(), "mine", &url, sha256(&bytes)).await.expect("named");
    assert_eq!((named.id, named.name.as_deref(), requests.load(Ordering::SeqCst)), (came.id, Some("mine"), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_a_restart_cut_off_goes_on_and_a_deleted_one_does_not() {
    let rig = Rig::new(|_| {});
    let bytes = disk(MIB, MIB, 14);
    let (address, _) = server(sends(good_answer(&bytes))).await;
    let row = |name: &str, url: String| {
        let id = ImageId(Uuid::new_v4());
        import::new_image(id, Some(name.into()), Some(url), sha256(&bytes), ImageStatus::Queued)
    };
    let (plain, secret) =
        (row("plain", format!("http://{address}/")), row("secret", format!("http://******@{address}/")));
    for image in [&plain, &secret] {
        rig.store.submit(Command::AddImage(Box::new(image.clone())), user()).await.expect("queued");
    }
    rig.restarted().resume(&rig.store);
    rig.until_status(plain.id, "active").await;
    let failed = rig.until_status(secret.id, "failed").await;
    assert!(matches!(&failed.status, ImageStatus::Failed(why) if why.contains("add the image again")));

    // A server that never ends its answer: the import lasts until its image is deleted.
    let (gone, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let waits: Script = Arc::new(move |mut socket: TcpStream| {
        let gone = gone.clone();
        Box::pin(async move {
            drop(socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx").await);
            drop(socket.read_u8().await);
            gone.send(()).expect("heard");
        })
    });
    let (address, requests) = server(waits).await;
    let url = format!("http://{address}/");
    let queued = rig.images.add_by_url(&rig.store, user(), "waits", &url, sha256(b"x")).await.expect("queued");
    until(|| requests.load(Ordering::SeqCst) == 1 && rig.incoming() == 1).await;
    rig.images.delete(&rig.store, queued.id, user()).await.expect("deleted");
    tokio::time::timeout(DEADLINE, hears.recv()).await.expect("in time").expect("the connection ended");
    rig.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_deployment_stops_its_import() {
    let rig = Rig::new(|_| {});
    let bytes = disk(60 * MIB, 60 * MIB, 15);
    std::fs::write(rig.folder.path().join("import/disk"), &bytes).expect("written");
    let wanted = WantedImage {
        source: format!("file://{}/import/disk", rig.folder.path().display()),
        checksum: Some(sha256(&bytes)),
    };
    // Stopped as it begins, while the file comes, while it is packed.
    for reached in [0, 10 << 20, 63 << 20] {
        let (images, store, wanted) = (rig.images.clone(), rig.store.clone(), wanted.clone());
        let task = tokio::spawn(async move { images.provide(&store, &wanted, JobId(Uuid::new_v4())).await });
        until(|| rig.incoming() == 1 && rig.usage().temporary >= reached).await;
        task.abort();
        assert!(task.await.expect_err("aborted").is_cancelled());
        rig.nothing_is_left().await;
    }
    assert_eq!((rig.kept(), rig.store.view().images().count()), (0, 0));
    assert_eq!(rig.images.worker.available_permits(), 1);
}

#[test]
fn a_row_is_found_by_id_or_name() {
    let mut view = View::default();
    let id = ImageId(Uuid::new_v4());
    let image = import::new_image(id, Some("debian".into()), None, sha256(b"x"), ImageStatus::Active);
    let context = Context { actor: user(), now: Timestamp::now() };
    let decision = decide(&view, &Command::AddImage(Box::new(image)), &context).expect("added");
    decision.changes.iter().for_each(|change: &Change| view.apply(change));
    for ident in ["debian".to_owned(), id.to_string(), id.0.simple().to_string()] {
        assert_eq!(find(&view, &ident).map(|image| image.id), Some(id), "{ident}");
    }
    assert!(find(&view, "fedora").is_none());
}

/// An image that its project made and that waits for its data.
async fn waiting(rig: &Rig, format: &str) -> ImageId {
    let id = ImageId(Uuid::new_v4());
    let card = Card {
        owner: Some("a".into()),
        visibility: Visibility::Private,
        disk_format: Some(format.into()),
        container_format: Some("bare".into()),
        ..Card::default()
    };
    let create = ImageCommand::Create { id, name: Some("x".into()), card: Box::new(card), limit: -1 };
    rig.store.submit(Command::Image(create), user()).await.expect("made");
    id
}

fn read_back(images: &ImageStore, id: ImageId) -> Vec<u8> {
    let stored = images.stored(id).expect("there");
    let mut bytes = vec![0; stored.given_size().expect("known") as usize];
    stored.read_given(&mut bytes, 0).expect("read");
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_comes_back_as_it_was_given_also_where_it_is_unpacked() {
    let rig = Rig::new(|_| {});
    let mut first = vec![0x5a; 1 << 16];
    first[510..512].copy_from_slice(&[0x55, 0xaa]);
    let packed = super::qcow2::made::qcow2(4 << 20, &[super::qcow2::made::Cluster::Data(first)]);
    let raw = disk(3 * MIB, MIB, 3);
    for (format, bytes) in [("qcow2", &packed), ("raw", &raw)] {
        let id = waiting(&rig, format).await;
        let begin = rig.images.begin_deposit(&rig.store, user(), id, Some(bytes.len() as u64), -1).await;
        let mut deposit = begin.expect("begun");
        assert!(rig.images.is_being_filled(id));
        let second = rig.images.begin_deposit(&rig.store, user(), id, None, -1).await;
        assert!(matches!(second, Err(ImageError::Filling)), "{format}");
        deposit.take(bytes).await.expect("taken");
        let image = deposit.finish().await.expect("filled");
        assert!(!rig.images.is_being_filled(id));
        let given = image.card.given.clone().expect("known");
        assert_eq!((given.size, image.status.name()), (bytes.len() as u64, "active"));
        assert_eq!(image.checksum, Some(sha256(bytes)));
        assert!(read_back(&rig.images, id) == *bytes, "{format}");
        assert!(read_back(&rig.restarted(), id) == *bytes, "{format}");
    }
    let usage = rig.usage();
    assert!(usage.stored >= packed.len() as u64 && usage.temporary == 0, "{usage:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_here_is_meant_by_the_digest_of_its_file_and_of_its_disk() {
    use super::qcow2::made::{Cluster, qcow2};
    let rig = Rig::new(|_| {});
    let bytes = disk(1 << 16, 1 << 16, 30);
    let file = qcow2(1 << 16, &[Cluster::Data(bytes.clone())]);
    let image = rig.upload("debian", &file, sha256(&file)).await.expect("uploaded");
    for digest in [sha256(&file), sha256(&bytes)] {
        assert_eq!(rig.provide("debian", Some(digest)).await.expect("it is meant").id, image.id);
    }
    let other = rig.provide("debian", Some(sha256(b"other"))).await;
    assert!(matches!(other, Err(ImageError::Checksum { .. })), "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_outlive_a_restart_and_go_with_their_image() {
    let rig = Rig::new(|_| {});
    let (kept, gone) = (waiting(&rig, "raw").await, waiting(&rig, "raw").await);
    let bytes = disk(2 * MIB, MIB, 2);
    for id in [kept, gone] {
        let mut part = rig.images.begin_part(&rig.store, id, Some(0), None).await.expect("begun");
        part.take(&bytes[..MIB]).await.expect("taken");
        assert_eq!(part.finish().await.expect("here"), MIB as u64);
    }
    assert_eq!(rig.usage().temporary, 2 * MIB as u64);
    rig.images.delete(&rig.store, gone, user()).await.expect("deleted");
    assert_eq!(rig.usage().temporary, MIB as u64);
    let images = rig.restarted();
    assert_eq!(images.staged(kept).await.expect("known"), Some(MIB as u64));
    let again = images.begin_part(&rig.store, kept, Some(7), None).await;
    assert!(matches!(again, Err(ImageError::Offset { at }) if at == MIB as u64));
    let mut part = images.begin_part(&rig.store, kept, Some(MIB as u64), None).await.expect("begun");
    part.take(&bytes[MIB..]).await.expect("taken");
    part.finish().await.expect("here");
    images.deposit_staged(&rig.store, user(), kept, -1).await.expect("begun");
    rig.until_status(kept, "active").await;
    assert!(read_back(&images, kept) == bytes);
    until(|| images.usage(&rig.store.view()).expect("known").temporary == 0).await;
    assert_eq!(images.staged(kept).await.expect("known"), None);
}
