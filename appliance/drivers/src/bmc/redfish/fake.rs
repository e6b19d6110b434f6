//! A Redfish BMC for tests: one machine with power, boot override, sensors and logs, and every misbehaviour on demand.

use super::{Config, Limits};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub(super) const USER: &str = "admin";
pub(super) const PASSWORD: &str = "secret";
pub(super) const SYSTEM: &str = "/redfish/v1/Systems/1";
pub(super) const RESET: &str = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
pub(super) const EJECT: &str = "/Actions/VirtualMedia.EjectMedia";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// How one path answers instead of properly.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// Takes the request and stays silent.
    Silent,
    /// Begins an answer and ends the connection in its middle.
    Cut,
    /// Sends JSON without end.
    Endless,
    /// A byte now and then, without end.
    Drip,
    /// This status, these headers and this body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// The answer of `Answer`, this many times, then the proper one.
    AnswerTimes(u32, u16, String),
}

/// The machine and what was asked of it.
pub(super) struct State {
    pub(super) resources: HashMap<String, Value>,
    pub(super) faults: HashMap<String, Fault>,
    pub(super) requests: Vec<String>,
    pub(super) sessions: HashMap<String, String>,
    pub(super) sessions_made: usize,
    pub(super) basic_requests: usize,
    /// The entity tag that PATCH wants; `None`: it wants none.
    pub(super) etag: Option<u32>,
    /// Each PATCH finds the resource changed by another, this many times.
    pub(super) rivals: u32,
    /// What PATCH does with a `Once`.
    pub(super) once_reads_as: &'static str,
    /// PATCH is accepted and forgotten.
    pub(super) forgetful: bool,
    /// Non-maskable interrupts that the machine has got.
    pub(super) interrupts: usize,
}

pub(super) struct FakeBmc {
    pub(super) address: SocketAddr,
    pub(super) fingerprint: Option<super::Fingerprint>,
    pub(super) certificate_pem: Option<String>,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for FakeBmc {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A certificate with its key.
pub(super) struct Certificate {
    pub(super) der: CertificateDer<'static>,
    pem: String,
    key: Vec<u8>,
}

impl Certificate {
    pub(super) fn self_signed() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        Certificate { der: made.cert.der().clone(), pem: made.cert.pem(), key: made.signing_key.serialize_der() }
    }

    /// One that a CA of ours has issued, and the CA's certificate as PEM.
    pub(super) fn issued() -> (Self, String) {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = leaf.signed_by(&key, &issuer).unwrap();
        (
            Certificate { der: certificate.der().clone(), pem: certificate.pem(), key: key.serialize_der() },
            ca_certificate.pem(),
        )
    }
}

impl FakeBmc {
    pub(super) async fn http() -> Self {
        Self::start(None).await
    }

    pub(super) async fn https() -> Self {
        Self::start(Some(Certificate::self_signed())).await
    }

    pub(super) async fn start(certificate: Option<Certificate>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::listen(listener, certificate)
    }

    fn listen(listener: TcpListener, certificate: Option<Certificate>) -> Self {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::new()));
        let fingerprint = certificate.as_ref().map(|certificate| Sha256::digest(certificate.der.as_ref()).into());
        let certificate_pem = certificate.as_ref().map(|certificate| certificate.pem.clone());
        let tls = certificate.map(acceptor);
        let task = tokio::spawn(accept(listener, tls, state.clone()));
        FakeBmc { address, fingerprint, certificate_pem, state, task }
    }

    /// The same address with another certificate, as after a swap of the board (or an attack).
    pub(super) async fn replace(self, certificate: Certificate) -> Self {
        let address = self.address;
        self.task.abort();
        // The listener is closed when its task is gone.
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        Self::listen(socket.listen(16).unwrap(), Some(certificate))
    }

    pub(super) fn config(&self) -> Config {
        let scheme = if self.fingerprint.is_some() { "https" } else { "http" };
        let mut config = Config::new(format!("{scheme}://{}", self.address), USER, PASSWORD);
        config.limits = Limits { pause: Duration::from_millis(5), ..Limits::default() };
        config
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Changes a resource: the members of `change` replace the ones that are there, `null` removes.
    pub(super) fn edit(&self, path: &str, change: Value) {
        merge(self.state().resources.entry(path.to_owned()).or_insert_with(|| json!({})), change);
    }

    pub(super) fn fault(&self, path: &str, fault: Fault) {
        self.state().faults.insert(path.to_owned(), fault);
    }

    pub(super) fn power(&self) -> String {
        self.state().resources[SYSTEM]["PowerState"].as_str().unwrap_or_default().to_owned()
    }

    /// Sessions made so far, sessions open now, requests with Basic authentication.
    pub(super) fn logins(&self) -> (usize, usize, usize) {
        let state = self.state();
        (state.sessions_made, state.sessions.len(), state.basic_requests)
    }

    pub(super) fn count(&self, request: &str) -> usize {
        self.state().requests.iter().filter(|seen| seen.starts_with(request)).count()
    }
}

fn merge(into: &mut Value, change: Value) {
    for (name, value) in change.as_object().cloned().unwrap_or_default() {
        match value {
            Value::Null => {
                into.as_object_mut().unwrap().remove(&name);
            }
            Value::Object(_) if into[&name].is_object() => merge(&mut into[&name], value),
            value => into[name] = value,
        }
    }
}

fn acceptor(certificate: Certificate) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(certificate.key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
    // Connections end with the server.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        connections.spawn(connection(tcp, tls.clone(), state.clone()));
    }
}

async fn connection(tcp: TcpStream, tls: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
    let service = service_fn(move |request| answer(request, state.clone()));
    let server = hyper::server::conn::http1::Builder::new();
    // A client that goes away is what some tests are about.
    let _ = match tls {
        None => server.serve_connection(TokioIo::new(tcp), service).await,
        Some(tls) => match tls.accept(tcp).await {
            Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
            Err(_) => return,
        },
    };
}

async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Result<Response<FakeBody>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let fault = {
        let mut state = state.lock().unwrap();
        state.requests.push(format!("{} {}", parts.method, parts.uri));
        match state.faults.get_mut(&path) {
            Some(Fault::AnswerTimes(0, ..)) => None,
            Some(Fault::AnswerTimes(times, status, body)) => {
                *times -= 1;
                Some(Fault::Answer(*status, Vec::new(), body.clone()))
            }
            other => other.cloned(),
        }
    };
    let body_of = |kind| Response::builder().header(header::CONTENT_TYPE, "application/json").body(kind).unwrap();
    Ok(match fault {
        Some(Fault::Silent) => std::future::pending().await,
        Some(Fault::Cut) => body_of(FakeBody::Cut(0)),
        Some(Fault::Endless) => body_of(FakeBody::Endless(None)),
        Some(Fault::Drip) => body_of(FakeBody::Endless(Some(Box::pin(tokio::time::sleep(Duration::ZERO))))),
        Some(Fault::Answer(status, headers, body)) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(FakeBody::Whole(Some(body.into()))).unwrap()
        }
        Some(Fault::AnswerTimes(..)) | None => {
            let (status, headers, body) = state.lock().unwrap().handle(&parts, &body);
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
            response.body(FakeBody::Whole(Some(body))).unwrap()
        }
    })
}

type Headers = Vec<(&'static str, String)>;

impl State {
    fn new() -> Self {
        State {
            resources: machine(),
            faults: HashMap::new(),
            requests: Vec::new(),
            sessions: HashMap::new(),
            sessions_made: 0,
            basic_requests: 0,
            etag: None,
            rivals: 0,
            once_reads_as: "Once",
            forgetful: false,
            interrupts: 0,
        }
    }

    fn handle(&mut self, parts: &http::request::Parts, body: &[u8]) -> (StatusCode, Headers, Value) {
        let path = parts.uri.path();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if parts.method == Method::POST && path == SESSIONS && self.resources.contains_key("/redfish/v1/SessionService")
        {
            if body["UserName"] != USER || body["Password"] != PASSWORD {
                return refuse(401, "The session login was refused.");
            }
            self.sessions_made += 1;
            let token = format!("token-{}", self.sessions_made);
            let place = format!("{SESSIONS}/{}", self.sessions_made);
            self.sessions.insert(token.clone(), place.clone());
            // Real BMCs put a name of their own here.
            let headers = vec![("X-Auth-Token", token), ("Location", format!("https://bmc.internal{place}"))];
            return (StatusCode::CREATED, headers, json!({"@odata.id": place}));
        }
        if path != "/redfish/v1/" && !self.authenticated(parts) {
            return refuse(401, "There is no valid session.");
        }
        match parts.method {
            Method::GET => match self.resources.get(path) {
                Some(resource) => {
                    let tag = self.etag.filter(|_| path == SYSTEM).map(|tag| ("ETag", format!("W/\"{tag}\"")));
                    (StatusCode::OK, tag.into_iter().collect(), resource.clone())
                }
                None => refuse(404, "The resource was not found."),
            },
            Method::DELETE => {
                self.sessions.retain(|_, place| place != path);
                (StatusCode::NO_CONTENT, Vec::new(), Value::Null)
            }
            Method::POST if path == RESET => self.reset(body["ResetType"].as_str().unwrap_or_default()),
            // `DRIVE/Actions/VirtualMedia.EjectMedia`
            Method::POST if path.ends_with(EJECT) => match self.resources.get_mut(path.trim_end_matches(EJECT)) {
                Some(drive) => {
                    merge(drive, json!({"Image": null, "Inserted": false}));
                    (StatusCode::NO_CONTENT, Vec::new(), Value::Null)
                }
                None => refuse(404, "The resource was not found."),
            },
            Method::PATCH if self.resources.contains_key(path) => {
                let wanted = parts.headers.get(header::IF_MATCH).and_then(|tag| tag.to_str().ok());
                self.patch(path, wanted, body)
            }
            _ => refuse(405, "That method is not allowed."),
        }
    }

    fn authenticated(&mut self, parts: &http::request::Parts) -> bool {
        if let Some(token) = parts.headers.get("x-auth-token") {
            return self.sessions.contains_key(token.to_str().unwrap());
        }
        self.basic_requests += 1;
        parts.headers.get(header::AUTHORIZATION).is_some_and(|basic| basic == "Basic YWRtaW46c2VjcmV0")
    }

    fn reset(&mut self, reset_type: &str) -> (StatusCode, Headers, Value) {
        let system = self.resources.get_mut(SYSTEM).unwrap();
        let allowed = &system["Actions"]["#ComputerSystem.Reset"]["ResetType@Redfish.AllowableValues"];
        let known = ["On", "ForceOff", "ForceRestart", "PowerCycle", "GracefulShutdown", "PushPowerButton", "Nmi"];
        let taken = match allowed.as_array() {
            Some(allowed) => allowed.contains(&reset_type.into()),
            None => known.contains(&reset_type),
        };
        if !taken {
            return refuse(400, "The value is not in the list of acceptable values.");
        }
        if reset_type == "Nmi" {
            self.interrupts += 1;
            return (StatusCode::NO_CONTENT, Vec::new(), Value::Null);
        }
        let off = system["PowerState"] == "Off";
        system["PowerState"] = match reset_type {
            "PushPowerButton" => (if off { "On" } else { "Off" }).into(),
            "ForceOff" | "GracefulShutdown" => "Off".into(),
            _ => "On".into(),
        };
        (StatusCode::NO_CONTENT, Vec::new(), Value::Null)
    }

    fn patch(&mut self, path: &str, if_match: Option<&str>, mut body: Value) -> (StatusCode, Headers, Value) {
        if let Some(tag) = self.etag {
            if self.rivals > 0 {
                self.rivals -= 1;
                self.etag = Some(tag + 1);
                return refuse(412, "The ETag does not match.");
            }
            // Like the BMCs that compare the inner part of a weak tag.
            if if_match.map(|tag| tag.trim_start_matches("W/")) != Some(&format!("\"{tag}\"")) {
                return refuse(if if_match.is_some() { 412 } else { 428 }, "The ETag is missing or does not match.");
            }
            self.etag = Some(tag + 1);
        }
        if body["Boot"]["BootSourceOverrideEnabled"] == "Once" {
            body["Boot"]["BootSourceOverrideEnabled"] = self.once_reads_as.into();
        }
        if !self.forgetful {
            merge(self.resources.get_mut(path).unwrap(), body);
        }
        (StatusCode::OK, Vec::new(), json!({}))
    }
}

fn refuse(status: u16, message: &str) -> (StatusCode, Headers, Value) {
    let body = json!({"error": {"code": "Base.1.8.GeneralError", "message": "see @Message.ExtendedInfo",
        "@Message.ExtendedInfo": [{"MessageId": "Base.1.8.Refused", "Message": message, "Resolution": "None"}]}});
    (StatusCode::from_u16(status).unwrap(), Vec::new(), body)
}

fn machine() -> HashMap<String, Value> {
    let link = |path: &str| json!({"@odata.id": path});
    let collection = |paths: &[&str]| json!({"Members": paths.iter().map(|path| link(path)).collect::<Vec<_>>()});
    let resources = [
        (
            "/redfish/v1/",
            json!({"RedfishVersion": "1.11.0", "Vendor": "Contoso",
            "Systems": link("/redfish/v1/Systems"), "Managers": link("/redfish/v1/Managers"),
            "Chassis": link("/redfish/v1/Chassis"), "SessionService": link("/redfish/v1/SessionService"),
            "Links": {"Sessions": link(SESSIONS)}}),
        ),
        ("/redfish/v1/SessionService", json!({"ServiceEnabled": true, "Sessions": link(SESSIONS)})),
        ("/redfish/v1/Systems", collection(&[SYSTEM])),
        (
            SYSTEM,
            json!({"@odata.id": SYSTEM, "Id": "1", "UUID": "6F0CA1B2-0000-4000-8000-0123456789AB",
            "Manufacturer": "Contoso", "Model": " Model 3 ", "SerialNumber": "To be filled by O.E.M.",
            "BiosVersion": "2.1", "PowerState": "Off",
            "Boot": {"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None",
                "BootSourceOverrideMode": "Legacy",
                "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe", "Hdd", "Cd", "BiosSetup"]},
            "Actions": {"#ComputerSystem.Reset": {"target": RESET, "ResetType@Redfish.AllowableValues":
                ["On", "ForceOff", "ForceRestart", "GracefulShutdown", "Nmi"]}},
            "LogServices": link("/redfish/v1/Systems/1/LogServices"),
            "Links": {"ManagedBy": [link("/redfish/v1/Managers/1")], "Chassis": [link("/redfish/v1/Chassis/1")]}}),
        ),
        ("/redfish/v1/Managers/1", json!({"Id": "1", "FirmwareVersion": "7.7"})),
        (
            "/redfish/v1/Chassis/1",
            json!({"Thermal": link("/redfish/v1/Chassis/1/Thermal"),
            "Power": link("/redfish/v1/Chassis/1/Power"), "Sensors": link("/redfish/v1/Chassis/1/Sensors")}),
        ),
        (
            "/redfish/v1/Chassis/1/Thermal",
            json!({"Temperatures": [
            {"Name": "CPU", "ReadingCelsius": 41, "Status": {"Health": "OK"}}]}),
        ),
        ("/redfish/v1/Chassis/1/Power", json!({"Voltages": [{"Name": "12V", "ReadingVolts": 12.1}]})),
        ("/redfish/v1/Chassis/1/Sensors", collection(&["/redfish/v1/Chassis/1/Sensors/inlet"])),
        ("/redfish/v1/Chassis/1/Sensors/inlet", json!({"Name": "Inlet", "Reading": 22, "ReadingUnits": "Cel"})),
        (
            "/redfish/v1/Systems/1/LogServices",
            collection(&["/redfish/v1/Systems/1/LogServices/Audit", "/redfish/v1/Systems/1/LogServices/SEL"]),
        ),
        ("/redfish/v1/Systems/1/LogServices/Audit", json!({"Id": "Audit", "Entries": link("/audit")})),
        ("/redfish/v1/Systems/1/LogServices/SEL", json!({"Id": "SEL", "Entries": link("/sel")})),
        (
            "/sel",
            json!({"Members": [
            {"@odata.id": "/sel/1", "Id": "1", "Created": "2026-01-01T00:00:00Z", "Severity": "OK", "Message": "first"},
            {"@odata.id": "/sel/2", "Id": "2", "Created": "2026-01-02T00:00:00Z", "Message": "second"}],
            "Members@odata.nextLink": "/sel2"}),
        ),
        ("/sel2", json!({"Members": [{"Id": "3", "Created": "2026-01-03T00:00:00Z", "Message": "third"}]})),
    ];
    resources.into_iter().map(|(path, resource)| (path.to_owned(), resource)).collect()
}

enum FakeBody {
    Whole(Option<Bytes>),
    /// How often it was asked so far.
    Cut(u8),
    Endless(Option<Pin<Box<tokio::time::Sleep>>>),
}

impl Body for FakeBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let data = |bytes: &'static [u8]| Some(Ok(Frame::data(Bytes::from_static(bytes))));
        match &mut *self {
            FakeBody::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            FakeBody::Cut(asked) => {
                *asked = asked.saturating_add(1);
                match asked {
                    1 => Poll::Ready(data(b"{\"Id\": \"1\", ")),
                    // Lets the beginning leave before the end comes.
                    2 => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    _ => Poll::Ready(Some(Err(std::io::Error::other("cut")))),
                }
            }
            FakeBody::Endless(None) => Poll::Ready(data(&[b' '; 16 << 10])),
            FakeBody::Endless(Some(pause)) => {
                std::task::ready!(pause.as_mut().poll(cx));
                pause.as_mut().reset(tokio::time::Instant::now() + Duration::from_millis(10));
                Poll::Ready(data(b" "))
            }
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            FakeBody::Whole(bytes) => hyper::body::SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            _ => hyper::body::SizeHint::default(),
        }
    }
}
