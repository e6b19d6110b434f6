//! Too much is turned away: with the right status, in the form of the service that was asked, and with nobody else in the
//! way of it.

use super::{PASSWORD, Reply, Rig, fault};
use crate::limits::{Limits, Rate, Settings};
use crate::public;
use crate::serve::{Connection, Door, tcp};
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

const PATIENCE: Duration = Duration::from_secs(60);

/// A rig whose limits are the usual ones but for what is changed.
async fn rig(change: impl FnOnce(&mut Settings)) -> Rig {
    let mut rig = Rig::new().await;
    let mut settings = Settings::default();
    change(&mut settings);
    rig.api.limits = Arc::new(Limits::new(settings));
    rig
}

fn basic() -> String {
    format!("Basic {}", STANDARD.encode(format!("admin:{PASSWORD}")))
}

/// A request from somewhere; with the administrator's password, or with nothing.
fn request(path: &str, from: [u8; 4], known: bool) -> Request<Body> {
    let peer = Some(from.into());
    let request = Request::get(path).extension(Connection { peer, uid: None, secure: true });
    let request = if known { request.header(header::AUTHORIZATION, basic()) } else { request };
    request.body(Body::empty()).expect("a request")
}

async fn answer(rig: &Rig, request: Request<Body>) -> Response {
    public(rig.api.clone()).call(request).await.expect("routers do not fail")
}

/// Status, `Retry-After` and document.
async fn told(answer: Response) -> (StatusCode, Option<u64>, Value) {
    let status = answer.status();
    let after = answer.headers().get(header::RETRY_AFTER).and_then(|text| text.to_str().ok()?.parse().ok());
    let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
    (status, after, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

fn limited(rig: &Rig, why: &str) -> u64 {
    let mut text = String::new();
    rig.api.limits.write_metrics(&mut text);
    let line = format!("leasehold_requests_limited_total{{why=\"{why}\"}} ");
    text.lines().find_map(|row| row.strip_prefix(&line)?.parse().ok()).expect("the metric")
}

/// Refills only after an hour: no test takes so long.
const ONCE: fn(u32) -> Rate = |burst| Rate { per_second: 0, burst };

const EVE: [u8; 4] = [192, 0, 2, 66];
const ADA: [u8; 4] = [192, 0, 2, 1];

#[tokio::test]
async fn a_user_has_a_rate_of_his_own_whatever_his_address() {
    let rig = rig(|settings| settings.user_rate = ONCE(3)).await;
    for from in [EVE, ADA, EVE] {
        assert_eq!(answer(&rig, request("/baremetal/v1/nodes", from, true)).await.status(), StatusCode::OK);
    }
    let (status, after, body) = told(answer(&rig, request("/baremetal/v1/nodes", ADA, true)).await).await;
    assert_eq!((status, after.is_some_and(|after| after >= 1)), (StatusCode::TOO_MANY_REQUESTS, true));
    assert!(fault(&body).contains("requests a second of one user: try again in"), "{body}");
    let (status, _, body) = told(answer(&rig, request("/network/v2.0/networks", ADA, true)).await).await;
    assert_eq!((status, body["NeutronError"]["message"].is_string()), (StatusCode::TOO_MANY_REQUESTS, true));
    let (status, _, body) = told(answer(&rig, request("/identity/v3/users", ADA, true)).await).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::TOO_MANY_REQUESTS, &429.into()));
    let (status, _, body) = told(answer(&rig, request("/image/v2/images", ADA, true)).await).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::TOO_MANY_REQUESTS, &429.into()));
    assert_eq!(limited(&rig, "user_rate"), 4);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(answer(&rig, request(path, EVE, false)).await.status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn who_is_not_known_shares_the_rate_of_his_address_and_is_in_nobodys_way() {
    let rig = rig(|settings| settings.address_rate = ONCE(3)).await;
    // A first look at the password, before there is anything in its way.
    assert_eq!(answer(&rig, request("/baremetal/v1/nodes", EVE, true)).await.status(), StatusCode::OK);
    let wrong = |from| {
        let mut wrong = request("/baremetal/v1/nodes", from, false);
        wrong.headers_mut().insert("x-auth-token", header::HeaderValue::from_static("lh-none"));
        wrong
    };
    for _ in 0..3 {
        assert_eq!(answer(&rig, wrong(EVE)).await.status(), StatusCode::UNAUTHORIZED);
    }
    let (status, after, body) = told(answer(&rig, wrong(EVE)).await).await;
    assert_eq!((status, after.is_some_and(|after| after >= 1)), (StatusCode::TOO_MANY_REQUESTS, true), "{body}");
    for (path, pointer) in [
        ("/identity/", "/error/message"),
        ("/network/v2.0/networks", "/NeutronError/message"),
        ("/image/versions", "/error/message"),
        ("/baremetal/", "/error_message"),
        ("/elsewhere", "/error_message"),
    ] {
        let (status, _, body) = told(answer(&rig, request(path, EVE, false)).await).await;
        assert_eq!((status, body.pointer(pointer).is_some()), (StatusCode::TOO_MANY_REQUESTS, true), "{path}: {body}");
    }
    let login = Request::post("/identity/v3/auth/tokens").header("x-auth-token", "whatever").extension(Connection {
        peer: Some(EVE.into()),
        uid: None,
        secure: true,
    });
    let login = answer(&rig, login.body(Body::from("{}")).expect("a request")).await;
    assert_eq!(login.status(), StatusCode::TOO_MANY_REQUESTS, "a header does not make a login free");
    assert_eq!(answer(&rig, request("/baremetal/v1/nodes", EVE, true)).await.status(), StatusCode::OK, "who is known");
    assert_eq!(answer(&rig, request("/identity/", ADA, false)).await.status(), StatusCode::MULTIPLE_CHOICES);
}

#[tokio::test]
async fn so_many_at_a_time_until_their_answers_are_sent() {
    let rig = rig(|settings| settings.user_requests = 1).await;
    let open = answer(&rig, request("/baremetal/v1/nodes", ADA, true)).await;
    assert_eq!(open.status(), StatusCode::OK);
    let (status, after, body) = told(answer(&rig, request("/baremetal/v1/nodes", EVE, true)).await).await;
    assert_eq!((status, after), (StatusCode::TOO_MANY_REQUESTS, Some(1)));
    assert!(fault(&body).contains("of this user at a time"), "{body}");
    drop(open);
    assert_eq!(answer(&rig, request("/baremetal/v1/nodes", EVE, true)).await.status(), StatusCode::OK);

    let rig = self::rig(|settings| settings.address_requests = 1).await;
    let open = answer(&rig, request("/baremetal/", EVE, false)).await;
    assert_eq!(answer(&rig, request("/baremetal/", EVE, false)).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer(&rig, request("/baremetal/", ADA, false)).await.status(), StatusCode::OK);
    drop(open);

    let rig = self::rig(|settings| settings.requests = 1).await;
    let open = answer(&rig, request("/baremetal/v1/nodes", ADA, true)).await;
    let (status, after, body) = told(answer(&rig, request("/network/v2.0/ports", EVE, true)).await).await;
    assert_eq!((status, after), (StatusCode::SERVICE_UNAVAILABLE, Some(1)));
    assert!(body["NeutronError"]["message"].as_str().is_some_and(|text| text.contains("as many requests")), "{body}");
    assert_eq!(answer(&rig, request("/healthz", EVE, false)).await.status(), StatusCode::OK);
    drop(open);
    assert_eq!(limited(&rig, "requests"), 1);
}

const NEWS: &str = "/appliance/v1/nodes/n1/trace?wait=60&after=2100-01-01T00:00:00Z";

/// A stream that has begun, and lasts until it is aborted.
async fn streaming(rig: &Rig) -> tokio::task::AbortHandle {
    rig.node("n1").await;
    let waiting = tokio::spawn(public(rig.api.clone()).call(request(NEWS, ADA, true)));
    let begun = async {
        loop {
            let mut text = String::new();
            rig.api.limits.write_metrics(&mut text);
            if text.contains("leasehold_streams 1\n") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.expect("it waits");
    waiting.abort_handle()
}

#[tokio::test]
async fn streams_are_counted_apart() {
    let rig = rig(|settings| (settings.user_streams, settings.user_requests, settings.requests) = (1, 1, 1)).await;
    let waiting = streaming(&rig).await;
    assert_eq!(answer(&rig, request("/baremetal/v1/nodes", ADA, true)).await.status(), StatusCode::OK);
    let (status, after, body) = told(answer(&rig, request(NEWS, ADA, true)).await).await;
    assert_eq!((status, after), (StatusCode::TOO_MANY_REQUESTS, Some(1)));
    assert!(fault(&body).contains("uploads, downloads and feeds"), "{body}");
    waiting.abort();
}

#[tokio::test]
async fn streams_of_all_have_a_bound_of_their_own() {
    let rig = rig(|settings| settings.streams = 1).await;
    let waiting = streaming(&rig).await;
    assert_eq!(answer(&rig, request("/baremetal/v1/nodes", ADA, true)).await.status(), StatusCode::OK);
    let (status, after, _) = told(answer(&rig, request(NEWS, ADA, true)).await).await;
    assert_eq!((status, after), (StatusCode::SERVICE_UNAVAILABLE, Some(1)));
    assert_eq!((limited(&rig, "streams"), limited(&rig, "requests")), (1, 0));
    waiting.abort();
}

#[tokio::test]
async fn what_is_too_large_is_told_so_by_the_service_that_was_asked() {
    let rig = rig(|_| {}).await;
    let length = |path: &str, length: u64| {
        let mut request = request(path, ADA, true);
        *request.method_mut() = axum::http::Method::POST;
        request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        request
    };
    for (path, bytes, pointer) in [
        ("/identity/v3/users", (64 << 10) + 1, "/error/message"),
        ("/network/v2.0/networks", (256 << 10) + 1, "/NeutronError/message"),
        ("/image/v2/images", (1 << 20) + 1, "/error/message"),
        ("/baremetal/v1/nodes", (5 << 20) + 1, "/error_message"),
    ] {
        let (status, _, body) = told(answer(&rig, length(path, bytes)).await).await;
        let text = body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        assert_eq!((status, text.contains("has more than")), (StatusCode::PAYLOAD_TOO_LARGE, true), "{path}: {body}");
    }
    let mut large = request("/baremetal/v1/nodes", ADA, true);
    let value = header::HeaderValue::from_str(&"x".repeat(33 << 10)).expect("ASCII");
    large.headers_mut().insert("x-large", value);
    assert_eq!(answer(&rig, large).await.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let long = format!("/baremetal/v1/nodes?description_contains={}", "x".repeat(17 << 10));
    assert_eq!(answer(&rig, request(&long, ADA, true)).await.status(), StatusCode::URI_TOO_LONG);
    for why in ["body", "headers", "target"] {
        assert!(limited(&rig, why) >= 1, "{why}");
    }
}

#[tokio::test]
async fn a_page_has_so_many_rows_and_the_rest_is_on_the_next() {
    let rig = rig(|settings| settings.page_rows = 2).await;
    for name in ["a", "b", "c"] {
        rig.node(name).await;
    }
    let rows = |reply: &Reply| reply.1["nodes"].as_array().map(Vec::len);
    for path in ["/nodes", "/nodes?limit=1000", "/nodes/detail"] {
        let reply = rig.call("GET", path, Value::Null).await;
        assert_eq!((rows(&reply), reply.1["next"].is_string()), (Some(2), true), "{path}");
    }
}

/// An answer over a socket: the first line, or nothing where the connection was closed.
async fn first_line(socket: &mut TcpStream, request: &str) -> String {
    let mut text = Vec::new();
    if socket.write_all(request.as_bytes()).await.is_ok() {
        let mut buffer = [0; 1024];
        while !text.contains(&b'\n') {
            match tokio::time::timeout(PATIENCE, socket.read(&mut buffer)).await.expect("in time") {
                Ok(count) if count > 0 => text.extend_from_slice(&buffer[..count]),
                _ => break,
            }
        }
    }
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn over_a_socket_an_address_has_so_many_connections_and_gets_them_back() {
    let rig = rig(|settings| settings.address_connections = 2).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let served = tokio::spawn(tcp(listener, None, public(rig.api.clone()), Door::for_users(&rig.api.limits)));
    let get = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(address).await.expect("connected");
        assert_eq!(first_line(&mut socket, get).await, "HTTP/1.1 200 OK");
        open.push(socket);
    }
    let mut third = TcpStream::connect(address).await.expect("connected");
    assert_eq!(first_line(&mut third, get).await, "", "closed");
    assert_eq!(limited(&rig, "address_connections"), 1);
    open.pop();
    let again = async {
        loop {
            let mut socket = TcpStream::connect(address).await.expect("connected");
            if first_line(&mut socket, get).await == "HTTP/1.1 200 OK" {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("a place is free again");
    // Long before a client has sent more than can be kept, it is told.
    let mut large = open.pop().expect("a connection");
    let head = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(200 << 10));
    let line = first_line(&mut large, &head).await;
    assert!(line.is_empty() || line.starts_with("HTTP/1.1 431"), "{line}");
    served.abort();
}
