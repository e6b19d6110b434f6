//! The HTTP face of the registry: ironic-python-agent's paths, each connection one request, a bounded number at once.

use super::registry::Registry;
use crate::failure::{Failure, Kind};
use crate::http::{Framing, MAX_HEAD, RequestHead, framing_of_request, head_end, query_pairs};
use leasehold_wire::agent::{CommandRequest, Fault};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const AT_ONCE: usize = 16;
/// The longest silence of a caller.
const SILENCE: Duration = Duration::from_secs(30);
/// The longest a caller may take for its whole request.
const REQUEST_WITHIN: Duration = Duration::from_secs(120);
/// A config drive of 64 MiB in base64 within JSON.
const MAX_BODY: u64 = 96 << 20;
/// What is read and thrown away so that a refused caller sees its answer.
const MAX_DRAIN: u64 = 1 << 20;

/// What the service answers with.
#[derive(Clone)]
pub struct Service {
    /// Commands.
    pub registry: Registry,
    /// The token of this boot, once known.
    pub token: Arc<Mutex<Option<String>>>,
    /// Seconds since 1970.
    pub started_at: f64,
}

/// The listening service. It ends when it is closed, or with the process.
pub struct Server {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Listens and serves in the background; without `tls` in the clear.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub fn start(address: SocketAddr, tls: Option<Arc<ServerConfig>>, service: Service) -> io::Result<Server> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let open = Arc::new(AtomicUsize::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let closing = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if closing.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else {
                    // Out of descriptors or memory: let the ones that are open finish.
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                };
                if open.fetch_add(1, Ordering::AcqRel) >= AT_ONCE {
                    open.fetch_sub(1, Ordering::AcqRel);
                    continue;
                }
                let (open, tls, service) = (Arc::clone(&open), tls.clone(), service.clone());
                std::thread::spawn(move || {
                    // A caller that breaks off has nobody to be told.
                    let _ = serve(stream, tls, &service);
                    open.fetch_sub(1, Ordering::AcqRel);
                });
            }
        });
        Ok(Server { address, over, thread })
    }

    /// Takes nothing any more; returns when the port is free.
    pub fn close(self) {
        self.over.store(true, Ordering::Release);
        let own =
            if self.address.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
        // The thread looks when somebody calls. Should this call not come through, the next stranger's is the one that it
        // is not answered to.
        if TcpStream::connect_timeout(&SocketAddr::new(own, self.address.port()), SILENCE).is_ok() {
            let _ = self.thread.join();
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn serve(tcp: TcpStream, tls: Option<Arc<ServerConfig>>, service: &Service) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(SILENCE))?;
    tcp.set_write_timeout(Some(SILENCE))?;
    match tls {
        None => {
            let mut stream = tcp;
            exchange(&mut stream, service)?;
            stream.shutdown(Shutdown::Write)
        }
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            let mut stream = StreamOwned::new(connection, tcp);
            exchange(&mut stream, service)?;
            stream.conn.send_close_notify();
            stream.flush()?;
            stream.sock.shutdown(Shutdown::Write)
        }
    }
}

/// One request, one answer.
fn exchange(stream: &mut (impl Read + Write), service: &Service) -> io::Result<()> {
    let deadline = Instant::now() + REQUEST_WITHIN;
    let mut buffer = Vec::new();
    let mut chunk = [0u8; 16 * 1024];
    let end = loop {
        if let Some(end) = head_end(&buffer) {
            break end;
        }
        if buffer.len() > MAX_HEAD {
            return answer(stream, 431, &fault(431, "the request's head is too long"));
        }
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            count => buffer.extend_from_slice(&chunk[..count]),
        }
        if Instant::now() > deadline {
            return Ok(());
        }
    };
    let mut body = buffer.split_off(end);
    let head = match RequestHead::parse(&buffer) {
        Ok(head) => head,
        Err(error) => return answer(stream, 400, &fault(400, &error.to_string())),
    };
    let length = match framing_of_request(&head) {
        Ok(Framing::Length(length)) => length,
        _ => return answer(stream, 411, &fault(411, "the request needs a Content-Length")),
    };
    let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
    let query = query_pairs(query);
    let route = match route(&head.method, path) {
        Ok(route) => route,
        Err((status, why)) => {
            drain(stream, length.saturating_sub(body.len() as u64))?;
            return answer(stream, status, &fault(status, why));
        }
    };
    // Before the body, so that a stranger cannot fill the memory.
    if route.needs_token()
        && !service.token_is(query.iter().find(|(key, _)| key == "agent_token").map(|(_, value)| value))
    {
        drain(stream, length.saturating_sub(body.len() as u64))?;
        return answer(stream, 401, &fault(401, "Token invalid."));
    }
    if length > MAX_BODY {
        return answer(stream, 413, &fault(413, "the request is longer than 96 MiB"));
    }
    if head.field("expect").is_some_and(|expect| expect.eq_ignore_ascii_case("100-continue"))
        && (body.len() as u64) < length
    {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        stream.flush()?;
    }
    while (body.len() as u64) < length {
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            count => body.extend_from_slice(&chunk[..count]),
        }
        if Instant::now() > deadline {
            return answer(stream, 408, &fault(408, "the request took too long"));
        }
    }
    body.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    let wait = query.iter().any(|(key, value)| key == "wait" && value.eq_ignore_ascii_case("true"));
    let (status, value) = service.handle(&route, wait, &body);
    answer(stream, status, &value)
}

fn drain(stream: &mut impl Read, length: u64) -> io::Result<()> {
    let mut chunk = [0u8; 16 * 1024];
    let mut left = length.min(MAX_DRAIN);
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(chunk.len()).min(chunk.len());
        match stream.read(&mut chunk[..want])? {
            0 => return Ok(()),
            count => left -= count as u64,
        }
    }
    Ok(())
}

fn answer(stream: &mut impl Write, status: u16, value: &Value) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        _ => "Error",
    };
    let body = value.to_string();
    let message = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(message.as_bytes())?;
    stream.flush()
}

fn fault(status: u16, text: &str) -> Value {
    let faultcode = if status >= 500 { "Server" } else { "Client" };
    json!(Fault { faultcode: faultcode.to_owned(), faultstring: text.to_owned() })
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Route {
    Root,
    Version,
    Status,
    Commands,
    Command(String),
    Run,
}

impl Route {
    fn needs_token(&self) -> bool {
        matches!(self, Route::Commands | Route::Command(_) | Route::Run)
    }
}

/// With or without a slash at the end, and with or without the version, as the stock agent allows.
fn route(method: &str, path: &str) -> Result<Route, (u16, &'static str)> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let parts = match parts.as_slice() {
        ["v1", rest @ ..] if !rest.is_empty() => rest,
        other => other,
    };
    let found = match parts {
        [] => Route::Root,
        ["v1"] => Route::Version,
        ["status"] => Route::Status,
        ["commands"] if method == "POST" => Route::Run,
        ["commands"] => Route::Commands,
        ["commands", id] => Route::Command((*id).to_owned()),
        _ => return Err((404, "The requested URL was not found on the server.")),
    };
    match (&found, method) {
        (Route::Run, "POST") | (_, "GET") => Ok(found),
        _ => Err((405, "The method is not allowed for the requested URL.")),
    }
}

impl Service {
    fn token_is(&self, given: Option<&String>) -> bool {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        match (token.as_ref(), given) {
            (Some(token), Some(given)) => same(token.as_bytes(), given.as_bytes()),
            _ => false,
        }
    }

    fn handle(&self, route: &Route, wait: bool, body: &[u8]) -> (u16, Value) {
        let refused = |failure: &Failure| (failure.status(), fault(failure.status(), &failure.to_string()));
        match route {
            Route::Root => (
                200,
                json!({
                    "name": "OpenStack Ironic Python Agent API",
                    "description": "Leasehold's deploy agent, a peer of ironic-python-agent",
                    "versions": [{"id": "v1"}],
                    "default_version": {"id": "v1"},
                }),
            ),
            Route::Version => (200, json!({"id": "v1"})),
            Route::Status => (200, json!({"started_at": self.started_at, "version": env!("CARGO_PKG_VERSION")})),
            Route::Commands => (200, json!(self.registry.list())),
            Route::Command(id) => {
                let result = if wait { self.registry.wait(id) } else { self.registry.get(id) };
                match result {
                    Some(result) => (200, json!(result)),
                    None => refused(&Failure::new(Kind::NotFound, format!("Command Result with id {id} not found."))),
                }
            }
            Route::Run => {
                let request: CommandRequest = match serde_json::from_slice(body) {
                    Ok(request) => request,
                    Err(error) => return (400, fault(400, &format!("Missing or invalid name or params: {error}"))),
                };
                match self.registry.submit(&request) {
                    Ok(result) if wait => match self.registry.wait(&result.id) {
                        Some(result) => (200, json!(result)),
                        None => (200, json!(result)),
                    },
                    Ok(result) => (200, json!(result)),
                    Err(failure) => refused(&failure),
                }
            }
        }
    }
}

/// Compares in a time that tells nothing about where two texts differ: both are hashed first, so that lengths are
/// equal, then every byte is looked at.
fn same(a: &[u8], b: &[u8]) -> bool {
    use ring::digest::{SHA256, digest};
    let (a, b) = (digest(&SHA256, a), digest(&SHA256, b));
    a.as_ref().iter().zip(b.as_ref()).fold(0u8, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_the_stock_agents() {
        for (method, path, want) in [
            ("GET", "/", Route::Root),
            ("GET", "/v1/", Route::Version),
            ("GET", "/v1/status", Route::Status),
            ("GET", "/status", Route::Status),
            ("GET", "/v1/commands/", Route::Commands),
            ("POST", "/v1/commands/", Route::Run),
            ("POST", "/v1/commands", Route::Run),
            ("GET", "/v1/commands/abc", Route::Command("abc".into())),
        ] {
            assert_eq!(route(method, path), Ok(want), "{method} {path}");
        }
        assert_eq!(route("DELETE", "/v1/commands/abc").unwrap_err().0, 405);
        assert_eq!(route("GET", "/v1/commands/a/b").unwrap_err().0, 404);
        assert_eq!(route("GET", "/v2").unwrap_err().0, 404);
    }

    struct NoWork;

    impl crate::service::Work for NoWork {
        fn run(
            &self,
            _command: crate::service::Command,
            _node: Option<leasehold_wire::agent::LookupNode>,
        ) -> Result<Value, Failure> {
            Ok(Value::Null)
        }

        fn ended(&self) {}
    }

    /// A caller whose bytes are all there already.
    struct Caller {
        sends: io::Cursor<Vec<u8>>,
        hears: Vec<u8>,
    }

    impl Read for Caller {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.sends.read(out)
        }
    }

    impl Write for Caller {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.hears.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn answered(bytes: &[u8]) -> String {
        let registry = Registry::new(Box::new(NoWork), crate::console::Console::to(vec![]));
        let token = Arc::new(Mutex::new(Some("secret".to_owned())));
        let service = Service { registry, token, started_at: 0.0 };
        let mut caller = Caller { sends: io::Cursor::new(bytes.to_vec()), hears: Vec::new() };
        exchange(&mut caller, &service).unwrap();
        String::from_utf8(caller.hears).unwrap()
    }

    #[test]
    fn bad_requests_are_answered_by_their_kind() {
        let sync = r#"{"name":"standby.sync","params":{}}"#;
        for (request, status) in [
            ("GET /v1/status HTTP/1.1\r\n\r\n".to_owned(), 200),
            ("nonsense\r\n\r\n".to_owned(), 400),
            ("POST /v1/commands/?agent_token=secret HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), 411),
            (
                format!("POST /v1/commands/?agent_token=secret HTTP/1.1\r\nContent-Length: {}\r\n\r\n", MAX_BODY + 1),
                413,
            ),
            ("POST /v1/commands/?agent_token=no HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n".to_owned(), 401),
            (format!("POST /v1/commands/?agent_token=secret HTTP/1.1\r\nContent-Length: 3\r\n\r\n{sync}"), 400),
            (
                format!(
                    "POST /v1/commands/?agent_token=secret HTTP/1.1\r\nContent-Length: {}\r\n\r\n{sync}",
                    sync.len()
                ),
                200,
            ),
            (format!("GET /{} HTTP/1.1\r\n", "x".repeat(MAX_HEAD)), 431),
        ] {
            let answer = answered(request.as_bytes());
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
        }
        // A caller who hangs up half-way gets nothing, and does no harm.
        assert_eq!(answered(b"POST /v1/commands/?agent_token=secret HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"), "");
        assert_eq!(answered(b"GET"), "");
    }

    proptest::proptest! {
        #[test]
        fn any_request_is_survived(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), proper in proptest::prelude::any::<bool>()) {
            let head = format!("POST /v1/commands/?agent_token=secret HTTP/1.1\r\nContent-Length: {}\r\n\r\n", bytes.len());
            let request = if proper { [head.into_bytes(), bytes].concat() } else { bytes };
            let answer = answered(&request);
            proptest::prop_assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{}", answer);
        }
    }

    #[test]
    fn tokens_are_compared_whole() {
        assert!(same(b"secret", b"secret"));
        for other in [&b"secre"[..], b"secret ", b"Secret", b""] {
            assert!(!same(b"secret", other));
        }
    }
}
