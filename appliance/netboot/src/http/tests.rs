//! The server on loopback: requests as bytes where the bytes matter, hyper's client where they do not.

use super::*;
use crate::files::tests::write_tree;
use crate::trace::{BootEvent, BootWhat};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

const DEADLINE: Duration = Duration::from_secs(30);

struct Scripts;

impl ScriptSource for Scripts {
    fn script(&self, request: &ScriptRequest) -> ScriptAnswer {
        match request.mac {
            Some([0xde, ..]) => ScriptAnswer::NotFound("no node has this MAC address; enrol it first".to_owned()),
            mac => ScriptAnswer::Script(format!("#!ipxe\n# {mac:?} {:?} {:?}\n", request.client_ip, request.query)),
        }
    }
}

struct Rig {
    address: SocketAddr,
    events: UnboundedReceiver<BootEvent>,
    server: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn rig(files: &[(&str, &[u8])], limits: HttpLimits) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    write_tree(folder.path(), files);
    let (sender, events) = unbounded_channel();
    let site = BootSite {
        files: Arc::new(BootFiles::open(folder.path()).unwrap()),
        scripts: Arc::new(Scripts),
        trace: Arc::new(move |event| drop(sender.send(event))),
        limits,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        serve(listener, Arc::new(site)).await.unwrap();
    });
    Rig { address, events, server, _folder: folder }
}

impl Rig {
    async fn event(&mut self) -> BootEvent {
        tokio::time::timeout(DEADLINE, self.events.recv()).await.expect("an event").unwrap()
    }

    /// Sends bytes and reads all that comes until the server closes.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("an answer").unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Client(sender)
    }
}

/// One connection that is kept alive.
struct Client(hyper::client::conn::http1::SendRequest<Empty<Bytes>>);

impl Client {
    async fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
        let mut request = Request::builder().method(method).uri(path).header("host", "boot");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = self.0.send_request(request.body(Empty::new()).unwrap());
        let response = tokio::time::timeout(DEADLINE, sent).await.expect("an answer").unwrap();
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(DEADLINE, body.collect()).await.expect("a body").unwrap();
        Response::from_parts(parts, body.to_bytes())
    }

    async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
        self.ask("GET", path, headers).await
    }
}

fn header<'a>(response: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

fn patterned(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

#[tokio::test]
async fn files_with_head_ranges_and_conditions_on_one_connection() {
    let kernel = patterned(300_000);
    let rig = rig(&[("ipxe/x.efi", b"MZ loader"), ("vmlinuz", &kernel), ("empty", b"")], HttpLimits::default()).await;
    let mut client = rig.client().await;

    let whole = client.get("/boot/vmlinuz", &[]).await;
    assert_eq!(whole.status(), StatusCode::OK);
    assert!(whole.body()[..] == kernel[..]);
    assert_eq!(header(&whole, "content-length"), Some("300000"));
    assert_eq!(header(&whole, "accept-ranges"), Some("bytes"));
    let etag = header(&whole, "etag").unwrap().to_owned();

    let head = client.ask("HEAD", "/boot/vmlinuz", &[("range", "bytes=0-9")]).await;
    assert_eq!((head.status(), header(&head, "content-length")), (StatusCode::OK, Some("300000")));
    assert!(head.body().is_empty());

    for (range, part) in [("bytes=0-0", 0..1), ("bytes=1000-", 1000..300_000), ("bytes=-70000", 230_000..300_000)] {
        let response = client.get("/boot/vmlinuz", &[("range", range)]).await;
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        let told = format!("bytes {}-{}/300000", part.start, part.end - 1);
        assert_eq!(header(&response, "content-range"), Some(told.as_str()));
        assert_eq!(header(&response, "content-length"), Some(part.len().to_string().as_str()));
        assert!(response.body()[..] == kernel[part]);
    }
    let outside = client.get("/boot/vmlinuz", &[("range", "bytes=300000-")]).await;
    assert_eq!(outside.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(header(&outside, "content-range"), Some("bytes */300000"));

    let stale = client.get("/boot/vmlinuz", &[("range", "bytes=0-9"), ("if-range", "\"other\"")]).await;
    assert_eq!((stale.status(), stale.body().len()), (StatusCode::OK, 300_000));
    let fresh = client.get("/boot/vmlinuz", &[("range", "bytes=0-9"), ("if-range", &etag)]).await;
    assert_eq!((fresh.status(), fresh.body().len()), (StatusCode::PARTIAL_CONTENT, 10));
    let known = client.get("/boot/vmlinuz", &[("if-none-match", &etag)]).await;
    assert_eq!((known.status(), known.body().len()), (StatusCode::NOT_MODIFIED, 0));

    let loader = client.get("/boot/ipxe/x.efi", &[]).await;
    assert_eq!(header(&loader, "content-type"), Some("application/efi"));
    assert_eq!(&loader.body()[..], b"MZ loader");
    let empty = client.get("/boot/empty", &[]).await;
    assert_eq!((empty.status(), header(&empty, "content-length")), (StatusCode::OK, Some("0")));
    let empty = client.get("/boot/empty", &[("range", "bytes=0-")]).await;
    assert_eq!(empty.status(), StatusCode::RANGE_NOT_SATISFIABLE);
}

#[tokio::test]
async fn scripts() {
    let mut rig = rig(&[], HttpLimits::default()).await;
    let mut client = rig.client().await;
    let script = client.get("/boot/script/52:54:00:12:34:56?uuid=a%20b&asset=", &[("user-agent", "iPXE/1.21.1")]).await;
    assert_eq!(script.status(), StatusCode::OK);
    assert_eq!(header(&script, "content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(header(&script, "cache-control"), Some("no-store"));
    let text = std::str::from_utf8(script.body()).unwrap();
    assert_eq!(
        text,
        "#!ipxe\n# Some([82, 84, 0, 18, 52, 86]) Some(127.0.0.1) [(\"uuid\", \"a b\"), (\"asset\", \"\")]\n"
    );
    let event = rig.event().await;
    assert_eq!(event.mac, Some([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
    assert_eq!(event.client_ip, Some(Ipv4Addr::LOCALHOST));
    let BootWhat::HttpServed { path, status: 200, bytes, user_agent, .. } = event.what else { panic!("{event:?}") };
    assert_eq!((path.as_str(), bytes), ("/boot/script/52:54:00:12:34:56", text.len() as u64));
    assert_eq!(user_agent.as_deref(), Some("iPXE/1.21.1"));

    assert_eq!(client.get("/boot/script", &[]).await.status(), StatusCode::OK);
    let head = client.ask("HEAD", "/boot/script", &[]).await;
    assert!(head.body().is_empty() && header(&head, "content-length") != Some("0"));
    let unknown = client.get("/boot/script/de:ad:00:00:00:01", &[]).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    assert_eq!(&unknown.body()[..], b"no node has this MAC address; enrol it first\n");
    assert_eq!(client.get("/boot/script/none", &[]).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn everything_else_is_refused_with_a_sentence() {
    let mut rig = rig(&[("a", b"a")], HttpLimits::default()).await;
    for path in [
        "/",
        "/boot",
        "/boot/",
        "/boot/absent",
        "/v1/nodes",
        "/boot/../a",
        "/boot/%2e%2e/%2e%2e/etc/passwd",
        "/boot/..%2f..%2fetc%2fpasswd",
        "/boot/%252e%252e/etc/passwd",
        "/boot/a%00",
        "/boot/..%5c..%5cboot.ini",
        "/boot/%c0%ae%c0%ae/etc/passwd",
        "/boot/manifest.json",
        "/boot/%",
        "/boot//etc/passwd",
    ] {
        let answer = rig.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        assert!(body.ends_with('\n') && body.len() > 20, "{path}: {answer}");
        let BootEvent { what: BootWhat::HttpServed { status: 404, .. }, .. } = rig.event().await else { panic!() };
    }
    let answer =
        rig.raw(b"POST /boot/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc").await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD"), "{answer}");
    let answer = rig.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not http\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let answer = rig.raw(b"GET /boot/a HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("\r\n\r\na"), "{answer}");
}

#[tokio::test]
async fn heads_are_bounded_in_size_and_time() {
    let limits = HttpLimits { head_time: Duration::from_millis(200), ..HttpLimits::default() };
    let rig = rig(&[("a", b"a")], limits).await;
    let long = format!("GET /boot/a HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n", "c".repeat(20_000));
    assert!(rig.raw(long.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET /boot/a HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100));
    assert!(rig.raw(many.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    // Half a head, then nothing: the server closes on its own.
    assert!(!rig.raw(b"GET /boot/a HTTP/1.1\r\nHost:").await.starts_with("HTTP/1.1 200"));
    assert_eq!(rig.raw(b"").await, "");
}

#[tokio::test]
async fn connections_are_bounded_per_client() {
    let rig = rig(&[("a", b"a")], HttpLimits { connections_per_client: 2, ..HttpLimits::default() }).await;
    let (mut one, mut two) = (rig.client().await, rig.client().await);
    assert_eq!(one.get("/boot/a", &[]).await.status(), StatusCode::OK);
    assert_eq!(two.get("/boot/a", &[]).await.status(), StatusCode::OK);
    let mut third = TcpStream::connect(rig.address).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(DEADLINE, third.read_to_string(&mut answer)).await.expect("an answer").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{answer}");
    assert_eq!(one.get("/boot/a", &[]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_leaves_is_told_of() {
    let mut rig = rig(&[("big", &patterned(32 << 20))], HttpLimits::default()).await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(b"GET /boot/big HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut some = vec![0; 100_000];
    stream.read_exact(&mut some).await.unwrap();
    drop(stream);
    let event = rig.event().await;
    let BootWhat::HttpBroken { path, status: 200, bytes, expected, .. } = event.what else { panic!("{event:?}") };
    assert_eq!((path.as_str(), expected), ("/boot/big", 32 << 20));
    assert!((90_000..32 << 20).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn pipelined_requests_for_different_files_are_answered_in_order() {
    let (one, two) = (patterned(200_000), vec![b'2'; 150_000]);
    let rig = rig(&[("one", &one), ("two", &two)], HttpLimits::default()).await;
    let get = |path: &str, more: &str| format!("GET /boot/{path} HTTP/1.1\r\nHost: x\r\n{more}\r\n");
    let requests = [get("one", ""), get("two", ""), get("one", ""), get("two", "Connection: close\r\n")].concat();
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("an answer").unwrap();
    let mut rest = &answer[..];
    for expected in [&one, &two, &one, &two] {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        assert!(rest[..end].starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert!(rest[end..end + expected.len()] == expected[..]);
        rest = &rest[end + expected.len()..];
    }
    assert!(rest.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_at_once_get_the_same_bytes() {
    let (image, other) = (Arc::new(patterned(8 << 20)), Arc::new(vec![b'o'; 3 << 20]));
    let mut rig = rig(&[("image", &image), ("other", &other)], HttpLimits::default()).await;
    let mut clients = Vec::new();
    for number in 0..48usize {
        let mut client = rig.client().await;
        let (image, other) = (Arc::clone(&image), Arc::clone(&other));
        clients.push(tokio::spawn(async move {
            for round in 0..3 {
                let start = (number * 131_071 + round * 777) % image.len();
                let end = (start + 65_536 * (1 + number % 20)).min(image.len());
                let range = format!("bytes={start}-{}", end - 1);
                let part = client.get("/boot/image", &[("range", &range)]).await;
                assert!(part.body()[..] == image[start..end], "{range}");
                let whole = client.get("/boot/other", &[]).await;
                assert!(whole.body()[..] == other[..]);
            }
            let whole = client.get("/boot/image", &[]).await;
            assert!(whole.body()[..] == image[..]);
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    let mut served = 0;
    for _ in 0..48 * 7 {
        let BootEvent { what: BootWhat::HttpServed { bytes, .. }, .. } = rig.event().await else { panic!() };
        served += bytes;
    }
    assert!(served > 48 * ((8 << 20) + 3 * (3 << 20)));
}
