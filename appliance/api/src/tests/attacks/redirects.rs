//! Requests of the box to inner addresses by images that are elsewhere than their URL says. The guard itself, in all
//! spellings and against names that change, is tested where it stands: `engine::images` (`guard`, `tests::inner`).

use super::*;
use leasehold_engine::images::{ImageSettings, ImageStore, Patience, never_fetched_from};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A server that sends everybody elsewhere, and tells when somebody came.
fn sends_to(place: String) -> (u16, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (told, came) = channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("a connection");
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).is_ok_and(|count| count == 1) {
                head.push(byte[0]);
            }
            let answer = format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n");
            drop(socket.write_all(answer.as_bytes()));
            if told.send(()).is_err() {
                return;
            }
        }
    });
    (port, came)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_url_is_redirected_to_an_inner_address() {
    let mut scene = Scene::new("member", "member").await;
    let folder = scene.rig._folder.path().join("other-images");
    let settings = ImageSettings {
        folder,
        import_folder: None,
        max_size: 1 << 30,
        reserve: 0,
        quota: None,
        forbidden: never_fetched_from(),
        // The server of the test, and nothing beside it.
        allowed: vec!["127.0.0.1".parse().expect("a network")],
        patience: Patience::default(),
    };
    let images = ImageStore::open(settings, &scene.rig.api.engine.view()).expect("a folder of images");
    scene.rig.api.engine.images = Arc::new(images);
    let trap = tokio::net::TcpListener::bind("127.0.0.66:0").await.expect("a port");
    let inner = trap.local_addr().expect("an address").port();
    let root = Tenant { project: String::new(), token: scene.rig.token("admin", PASSWORD, system()).await };
    for (number, host) in ["127.0.0.66", "0x7f000042", "[::ffff:7f00:42]", "169.254.169.254"].into_iter().enumerate() {
        let (port, came) = sends_to(format!("http://{host}:{inner}/latest/meta-data"));
        let url = format!("http://127.0.0.1:{port}/x");
        // A tenant's import, and the administrator's.
        let id = scene.queued("raw").await;
        let body = json!({"method": {"name": "web-download", "uri": url}});
        let (status, answer) = scene.with(&scene.owner, "POST", &format!("/image/v2/images/{id}/import"), body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        let body = json!({"url": url, "name": format!("x{number}"), "checksum": format!("sha256:{number:064}")});
        let (status, answer) = scene.with(&root, "POST", "/appliance/v1/images", body).await;
        assert!(status.is_success(), "{answer}");
        for _ in 0..2 {
            came.recv_timeout(Duration::from_secs(30)).expect("the server is asked");
        }
        // What came of both is told by their rows.
        let store = scene.rig.api.engine.store.clone();
        let mut feed = store.subscribe();
        let name = format!("x{number}");
        let over = async {
            loop {
                let view = store.view();
                let refused = |text: &str| text.contains("management address");
                let own = view.image_by_name(&name).is_some_and(|image| refused(&format!("{:?}", image.status)));
                let tenants = view.images().any(|image| {
                    image.id.to_string() == id && refused(&serde_json::to_string(&**image).expect("JSON"))
                });
                if own && tenants {
                    return;
                }
                feed.next().await.expect("open");
            }
        };
        tokio::select! {
            // Who was there is seen before that all is over.
            biased;
            came = trap.accept() => panic!("{host}: somebody came to the trap: {came:?}"),
            over = tokio::time::timeout(Duration::from_secs(30), over) => over.expect("both are refused"),
        }
    }
    let trap = trap.into_std().expect("a listener");
    let reached = trap.accept().map(|(_, from)| from);
    assert!(reached.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "{reached:?}");
}
