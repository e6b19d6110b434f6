//! BMCs on loopback: the protocol crate's simulated IPMI one, and a Redfish one that does as it is told and remembers it.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use leasehold_protocols::ipmi::sim::{Config, Machine, Sim};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

/// A BMC that tells what arrived there.
pub(super) struct Peer {
    pub(super) info: Value,
    told: Box<dyn Fn() -> String + Send>,
    script: Option<Arc<Mutex<Script>>>,
    task: JoinHandle<()>,
}

impl Peer {
    /// What has arrived so far.
    pub(super) fn told(&self) -> String {
        (self.told)()
    }

    /// Something of a Redfish BMC changes by itself.
    pub(super) fn edit(&self, path: &str, change: Value) {
        let mut script = self.script.as_ref().expect("IPMI has no resources").lock().expect("not poisoned");
        merge(script.resources.get_mut(path).expect("a resource"), change);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An IPMI BMC whose machine is on.
pub(super) async fn ipmi() -> Peer {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = socket.local_addr().expect("an address").port();
    let machine = Machine { power_on: true, ..Machine::default() };
    let sim = Arc::new(Mutex::new(Sim::<SocketAddr>::new(Config::default(), machine, [7; 32])));
    let serving = sim.clone();
    let task = tokio::spawn(async move {
        let (start, mut buffer) = (Instant::now(), [0; 2048]);
        while let Ok((len, peer)) = socket.recv_from(&mut buffer).await {
            let mut answers = Vec::new();
            {
                let mut sim = serving.lock().expect("not poisoned");
                sim.handle(start.elapsed(), peer, &buffer[..len]);
                while let Some(answer) = sim.transmit() {
                    answers.push(answer);
                }
            }
            for (peer, answer) in answers {
                let _gone = socket.send_to(&answer, peer).await;
            }
        }
    });
    let told = move || {
        let machine = &sim.lock().expect("not poisoned").machine;
        format!("{:?} boot {:?} resets {:?}", machine.controls, machine.boot.source, machine.bmc_resets)
    };
    let info =
        json!({"ipmi_address": "127.0.0.1", "ipmi_port": port, "ipmi_username": "admin", "ipmi_password": "password"});
    Peer { info, told: Box::new(told), script: None, task }
}

#[derive(Default)]
struct Script {
    resources: HashMap<String, Value>,
    told: Vec<String>,
}

/// A Redfish BMC with everything, whose machine is on.
pub(super) async fn redfish() -> Peer {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let script = Arc::new(Mutex::new(Script { resources: machine(), told: Vec::new() }));
    let router = Router::new().fallback(answer).with_state(script.clone());
    let task = tokio::spawn(async move {
        let _ended = axum::serve(listener, router).await;
    });
    let script = Some(script);
    let telling = script.clone();
    let told =
        move || telling.as_ref().map(|script| script.lock().expect("not poisoned").told.join("\n")).unwrap_or_default();
    let info =
        json!({"redfish_address": format!("http://{address}"), "redfish_username": "u", "redfish_password": "p"});
    Peer { info, told: Box::new(told), script, task }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, method: Method, uri: Uri, body: Bytes) -> Response {
    let mut script = script.lock().expect("not poisoned");
    let path = uri.path().to_owned();
    if method == Method::GET {
        return match script.resources.get(&path) {
            Some(resource) => axum::Json(resource.clone()).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        };
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    script.told.push(format!("{method} {path} {body}"));
    if let (true, Some(resource)) = (method == Method::PATCH, script.resources.get_mut(&path)) {
        merge(resource, body.clone());
    }
    let power = match body["ResetType"].as_str() {
        Some("On") => "On",
        Some("ForceOff") => "Off",
        _ => return StatusCode::NO_CONTENT.into_response(),
    };
    if let (true, Some(system)) = (path == "/reset", script.resources.get_mut("/system")) {
        system["PowerState"] = power.into();
    }
    StatusCode::NO_CONTENT.into_response()
}

fn merge(into: &mut Value, change: Value) {
    for (name, value) in change.as_object().cloned().unwrap_or_default() {
        match value {
            Value::Object(_) if into[&name].is_object() => merge(&mut into[&name], value),
            value => into[name] = value,
        }
    }
}

fn machine() -> HashMap<String, Value> {
    let link = |path: &str| json!({"@odata.id": path});
    let members = |path: &str| json!({"Members": [{"@odata.id": path}]});
    let reset = json!({"target": "/reset", "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "Nmi"]});
    let system = json!({
        "Id": "1", "UUID": "u-1", "PowerState": "On", "IndicatorLED": "Off", "BiosVersion": "2.1",
        "Boot": {"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None",
            "BootSourceOverrideMode": "Legacy"},
        "Actions": {"#ComputerSystem.Reset": reset},
        "Links": {"ManagedBy": [link("/bmc")]},
        "Bios": link("/bios"), "SecureBoot": link("/secure"),
    });
    let resources = [
        (
            "/redfish/v1/",
            json!({"Systems": link("/systems"), "Managers": link("/bmcs"), "UpdateService": link("/update")}),
        ),
        ("/update", json!({"Actions": {"#UpdateService.SimpleUpdate": {"target": "/update/simple"}}})),
        ("/systems", members("/system")),
        ("/system", system),
        ("/bmc", json!({"FirmwareVersion": "7.7", "Model": "iBMC", "VirtualMedia": link("/media")})),
        (
            "/bios",
            json!({"Attributes": {"NumLock": "On", "Cores": 8},
                "Actions": {"#Bios.ResetBios": {"target": "/bios/reset"}}}),
        ),
        ("/secure", json!({"SecureBootEnable": false})),
        ("/media", members("/media/cd")),
        (
            "/media/cd",
            json!({"Inserted": true, "MediaTypes": ["CD"],
                "Actions": {"#VirtualMedia.EjectMedia": {"target": "/media/cd/eject"}}}),
        ),
    ];
    resources.into_iter().map(|(path, resource)| (path.to_owned(), resource)).collect()
}
