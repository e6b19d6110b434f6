//! The routers over a real store, without sockets: what goes wrong is answered clearly and changes nothing.

use crate::auth::{self, Passwords};
use crate::serve::Connection;
use crate::{Api, boot, public};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use leasehold_domain::command::{Actor, Command, StepEnd};
use leasehold_domain::id::{JobId, NodeId, UserId};
use leasehold_domain::identity::{IdentityCommand, User};
use leasehold_domain::job::{Job, JobInput, StepName};
use leasehold_domain::provision::Verb;
use leasehold_engine::bmcs::Bmcs;
use leasehold_engine::images::{ImageSettings, ImageStore, Patience, never_fetched_from};
use leasehold_engine::tickets::Tickets;
use leasehold_engine::{Engine, Settings, Wipe};
use leasehold_store::{KeySource, Options, Sealer, Store, Trace, TraceOptions};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tower_service::Service;
use uuid::Uuid;

mod access;
mod attacks;
mod bmcs;
mod cables;
mod doors;
mod downloads;
mod glance;
mod hardware;
mod identity;
mod images;
mod leases;
mod limits;
mod lives;
mod microversions;
mod networks;
mod nodes;
mod policy;
mod secrets;
mod tenants;

const PASSWORD: &str = "a long enough password";

struct Rig {
    api: Api,
    /// Seconds by which the store's clock is ahead.
    ahead: Arc<AtomicI64>,
    _folder: tempfile::TempDir,
}

/// An answer: status and JSON body (null when empty or no JSON).
type Reply = (StatusCode, Value);

impl Rig {
    async fn new() -> Rig {
        Rig::with_images(|_| {}).await
    }

    async fn with_images(change: impl FnOnce(&mut ImageSettings)) -> Rig {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path();
        let ahead = Arc::new(AtomicI64::new(0));
        let by = ahead.clone();
        let clock = move || Timestamp::now() + SignedDuration::from_secs(by.load(Ordering::Relaxed));
        let options = Options { clock: Arc::new(clock), ..Options::default() };
        let store = Store::open(state, options).expect("a store");
        let sealer = Arc::new(Sealer::open(&KeySource::File(state.join("key"))).expect("a key"));
        let mut images = ImageSettings {
            folder: state.join("images"),
            import_folder: None,
            max_size: 1 << 30,
            reserve: 0,
            quota: None,
            forbidden: never_fetched_from(),
            allowed: Vec::new(),
            patience: Patience::default(),
        };
        change(&mut images);
        let images = ImageStore::open(images, &store.view());
        let settings = Settings {
            agent_url: "https://10.0.0.1:8444".into(),
            wipe: Wipe::Full,
            power_sync_every: Duration::from_secs(60),
            soft_off_patience: Duration::from_secs(1),
            silence_patience: Duration::from_secs(600),
            lease: leasehold_engine::leases::LeaseSettings::default(),
        };
        let engine = Engine {
            trace: Trace::open(state, TraceOptions::default()).expect("a trace"),
            bmcs: Arc::new(Bmcs::new(sealer.clone())),
            images: Arc::new(images.expect("a folder of images")),
            tickets: Arc::new(Tickets::new(sealer.clone())),
            switches: Arc::default(),
            sealer,
            settings: Arc::new(settings),
            store,
        };
        let id = UserId(Uuid::new_v4());
        let hash = auth::hash(PASSWORD).expect("hashed");
        let user = User::new(id, "admin", hash, Timestamp::UNIX_EPOCH);
        let made = crate::identity::bootstrap(&engine.store, Some(user)).await;
        made.expect("a user");
        let api = Api {
            engine,
            passwords: Arc::new(Passwords::new().expect("a key")),
            guard: Arc::default(),
            policy: Arc::default(),
            policy_source: Arc::default(),
            limits: Arc::default(),
            tenants: Arc::default(),
            webhooks: Arc::default(),
            orders: Arc::default(),
            hostname: "box".into(),
            started: Timestamp::UNIX_EPOCH,
            password_file: Arc::new(state.join("admin-password")),
        };
        Rig { api, ahead, _folder: folder }
    }

    /// Time goes by, by the store's clock.
    fn pass(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }

    async fn send(&self, mut router: Router, request: Request<Body>) -> Reply {
        let answer = router.call(request).await.expect("routers do not fail");
        let status = answer.status();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn raw(&self, method: &str, path: &str, body: impl Into<Body>, headers: &[(&str, &str)]) -> Reply {
        let credentials = STANDARD.encode(format!("admin:{PASSWORD}"));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Basic {credentials}"))
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !headers.iter().any(|(name, _)| *name == VERSION) {
            request = request.header(VERSION, "1.115");
        }
        self.send(public(self.api.clone()), request.body(body.into()).expect("a request")).await
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.raw(method, &format!("/baremetal/v1{path}"), body, &[]).await
    }

    async fn node(&self, name: &str) -> Value {
        let info = json!({"ipmi_address": "10.0.0.9", "ipmi_username": "u", "ipmi_password": "sesame"});
        let node = json!({"name": name, "driver": "ipmi", "driver_info": info});
        let (status, node) = self.call("POST", "/nodes", node).await;
        assert_eq!(status, StatusCode::CREATED, "{node}");
        node
    }

    async fn port(&self, node: &Value, address: &str) -> Reply {
        self.call("POST", "/ports", json!({"node_uuid": node["uuid"], "address": address})).await
    }

    /// A node whose inspection waits for its agent: the job, with the machine started once.
    async fn inspected_node(&self, name: &str, mac: &str) -> (NodeId, Arc<Job>) {
        let node = self.node(name).await;
        assert_eq!(self.port(&node, mac).await.0, StatusCode::CREATED);
        let id = NodeId(node["uuid"].as_str().and_then(|text| Uuid::parse_str(text).ok()).expect("a UUID"));
        let give = async |command: Command| {
            let done = self.api.engine.store.submit(command, Actor::System("test")).await;
            done.expect("taken");
        };
        for verb in [Verb::Manage, Verb::Inspect] {
            let job = JobId(Uuid::new_v4());
            give(Command::Provision { node: id, verb, job, input: Box::new(JobInput::default()) }).await;
            let steps: &[StepName] = match verb {
                Verb::Manage => &[StepName::CheckBmc, StepName::ReadPower],
                _ => &[StepName::BootFromNetwork, StepName::PowerCycle],
            };
            for step in steps {
                give(Command::StartStep { job, step: *step }).await;
                give(Command::EndStep { job, step: *step, end: StepEnd::Done(None) }).await;
            }
        }
        let view = self.api.engine.view();
        let job = view.running_job(view.node(id).expect("the node")).expect("running").clone();
        give(Command::StartStep { job: job.id, step: StepName::AwaitInventory }).await;
        (id, job)
    }

    async fn agent(&self, method: &str, path: &str, body: Value, peer: &str) -> Reply {
        let peer: Option<IpAddr> = peer.parse().ok();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .extension(Connection { peer, uid: None, secure: true })
            .body(Body::from(body.to_string()))
            .expect("a request");
        self.send(boot(self.api.clone()), request).await
    }
}

const VERSION: &str = "x-openstack-ironic-api-version";

/// The words of Ironic's error body.
fn fault(body: &Value) -> String {
    let inner = body["error_message"].as_str().expect("Ironic's error body");
    let inner: Value = serde_json::from_str(inner).expect("JSON inside the string");
    inner["faultstring"].as_str().expect("words").to_owned()
}

#[tokio::test]
async fn who_is_unknown_gets_nothing() {
    let rig = Rig::new().await;
    let request = Request::get("/baremetal/v1/nodes").body(Body::empty()).expect("a request");
    assert_eq!(rig.send(public(rig.api.clone()), request).await.0, StatusCode::UNAUTHORIZED);
    let wrong = Request::get("/baremetal/v1/nodes")
        .header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode("admin:wrong")))
        .body(Body::empty())
        .expect("a request");
    assert_eq!(rig.send(public(rig.api.clone()), wrong).await.0, StatusCode::UNAUTHORIZED);
    let discovery = Request::get("/baremetal/").body(Body::empty()).expect("a request");
    let (status, document) = rig.send(public(rig.api.clone()), discovery).await;
    assert_eq!((status, &document["default_version"]["version"]), (StatusCode::OK, &json!("1.115")));
}

#[tokio::test]
async fn a_version_decides_what_is_shown() {
    let rig = Rig::new().await;
    rig.node("n1").await;
    let at = async |version: &str| rig.raw("GET", "/baremetal/v1/nodes/detail", "", &[(VERSION, version)]).await;
    let (_, old) = at("1.1").await;
    assert!(old["nodes"][0].get("name").is_none() && old["nodes"][0].get("lessee").is_none());
    let (_, new) = at("1.115").await;
    assert_eq!((&new["nodes"][0]["name"], new["nodes"][0].get("lessee")), (&json!("n1"), Some(&Value::Null)));
    assert_eq!(at("1.999").await.0, StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn bad_bodies_are_refused_and_change_nothing() {
    let rig = Rig::new().await;
    let node = rig.node("n1").await;
    let before = rig.call("GET", "/nodes/n1", Value::Null).await.1;
    let path = "/baremetal/v1/nodes/n1";
    for (method, path, body) in [
        ("POST", "/baremetal/v1/nodes", "{".to_owned()),
        ("POST", "/baremetal/v1/nodes", "[]".to_owned()),
        ("POST", "/baremetal/v1/nodes", json!({"driver": "ipmi", "colour": "red"}).to_string()),
        ("POST", "/baremetal/v1/nodes", json!({"driver": "ipmi", "power_state": "power on"}).to_string()),
        ("POST", "/baremetal/v1/nodes", json!({"driver": "ipmi", "uuid": "7"}).to_string()),
        ("POST", "/baremetal/v1/nodes", json!({"driver": "ipmi", "properties": "x"}).to_string()),
        ("POST", "/baremetal/v1/nodes", json!({"driver": "hammer"}).to_string()),
        ("POST", "/baremetal/v1/nodes", json!({"name": "no driver"}).to_string()),
        ("PATCH", path, json!({"op": "add"}).to_string()),
        ("PATCH", path, json!([{"op": "replace", "path": "/uuid", "value": "x"}]).to_string()),
        ("PATCH", path, json!([{"op": "replace", "path": "/provision_state", "value": "active"}]).to_string()),
        ("PATCH", path, json!([{"op": "add", "path": "/colour", "value": "red"}]).to_string()),
        ("PATCH", path, json!([{"op": "remove", "path": "/extra/none"}]).to_string()),
        ("PATCH", path, json!([{"op": "move", "from": "/name", "path": "/description"}]).to_string()),
        ("PATCH", path, json!([{"op": "replace", "path": "", "value": {}}]).to_string()),
        ("PUT", "/baremetal/v1/nodes/n1/states/provision", json!({"target": "fly"}).to_string()),
        ("PUT", "/baremetal/v1/nodes/n1/states/provision", json!({"target": "manage", "colour": 1}).to_string()),
        ("PUT", "/baremetal/v1/nodes/n1/states/power", json!({"target": "power up"}).to_string()),
        ("PUT", "/baremetal/v1/nodes/n1/traits", json!({"traits": "A"}).to_string()),
        ("PUT", "/baremetal/v1/nodes/n1/traits/lower", String::new()),
        ("POST", "/baremetal/v1/ports", json!({"node_uuid": node["uuid"], "address": "no"}).to_string()),
        ("POST", "/baremetal/v1/ports", json!({"address": "52:54:00:00:00:01"}).to_string()),
        ("GET", "/baremetal/v1/nodes?limit=-1", String::new()),
        ("GET", "/baremetal/v1/nodes?colour=red", String::new()),
        ("GET", "/baremetal/v1/nodes?fields=colour", String::new()),
        ("GET", "/baremetal/v1/nodes?sort_key=extra", String::new()),
    ] {
        let (status, answer) = rig.raw(method, path, body.clone(), &[]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{method} {path} {body}: {answer}");
        assert!(!fault(&answer).is_empty());
    }
    assert_eq!(rig.call("GET", "/nodes/n1", Value::Null).await.1, before);
    assert_eq!(rig.call("GET", "/nodes", Value::Null).await.1["nodes"].as_array().map(Vec::len), Some(1));
    let large = "x".repeat(rig.api.limits.settings.bare_metal_body + 1);
    assert_eq!(rig.raw("POST", "/baremetal/v1/nodes", large, &[]).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    for path in ["/nodes/none", "/nodes/00000000-0000-0000-0000-000000000000", "/ports/none", "/drivers/hammer"] {
        assert_eq!(rig.call("GET", path, Value::Null).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(rig.raw("GET", "/elsewhere", "", &[]).await.0, StatusCode::NOT_FOUND);
    let (status, answer) = rig.raw("DELETE", "/baremetal/v1/drivers", "", &[]).await;
    assert_eq!((status, fault(&answer).contains("does not take DELETE")), (StatusCode::METHOD_NOT_ALLOWED, true));
}

#[tokio::test]
async fn names_and_addresses_are_unique() {
    let rig = Rig::new().await;
    let node = rig.node("n1").await;
    let (status, answer) = rig.call("POST", "/nodes", json!({"driver": "ipmi", "name": "n1"})).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    assert_eq!(rig.port(&node, "52:54:00:00:00:01").await.0, StatusCode::CREATED);
    assert_eq!(rig.port(&node, "52-54-00-00-00-01").await.0, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_verb_that_the_state_does_not_allow_names_those_that_it_does() {
    let rig = Rig::new().await;
    rig.node("n1").await;
    let (status, answer) = rig.call("PUT", "/nodes/n1/states/provision", json!({"target": "active"})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(fault(&answer).contains("Allowed now: manage."), "{answer}");
}

#[tokio::test]
async fn a_node_at_work_is_locked_and_shows_it() {
    let rig = Rig::new().await;
    rig.node("n1").await;
    let manage = rig.call("PUT", "/nodes/n1/states/provision", json!({"target": "manage"})).await;
    assert_eq!(manage.0, StatusCode::ACCEPTED);
    let node = rig.call("GET", "/nodes/n1", Value::Null).await.1;
    assert_eq!(node["provision_state"], "verifying");
    assert_eq!((&node["target_provision_state"], &node["reservation"]), (&json!("manageable"), &json!("box")));
    let power = rig.call("PUT", "/nodes/n1/states/power", json!({"target": "power on"})).await;
    assert_eq!(power.0, StatusCode::CONFLICT);
    assert!(fault(&power.1).contains("locked by its job \"check-bmc\""), "{}", power.1);
    assert_eq!(rig.call("DELETE", "/nodes/n1", Value::Null).await.0, StatusCode::CONFLICT);
}

#[tokio::test]
async fn secrets_are_sealed_masked_and_kept() {
    let rig = Rig::new().await;
    let node = rig.node("n1").await;
    assert_eq!(node["driver_info"]["ipmi_password"], "******");
    let secrets = || rig.api.engine.view().node_by_name("n1").expect("there").settings.driver_secrets.clone();
    let sealed = secrets();
    let patch = json!([{"op": "add", "path": "/driver_info/ipmi_cipher_suite", "value": 17}]);
    assert_eq!(rig.call("PATCH", "/nodes/n1", patch).await.0, StatusCode::OK);
    assert_eq!(secrets(), sealed, "the mask that came back is not a new password");
    for key in ["ipmi_address", "ipmi_port"] {
        let moved = json!({"op": "add", "path": format!("/driver_info/{key}"), "value": "10.0.0.8"});
        let (status, answer) = rig.call("PATCH", "/nodes/n1", json!([moved])).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "the stored password would go to a new place: {answer}");
        let again = json!({"op": "add", "path": "/driver_info/ipmi_password", "value": "sesame"});
        assert_eq!(rig.call("PATCH", "/nodes/n1", json!([moved, again])).await.0, StatusCode::OK);
    }
    let sealed = secrets();
    let patch = json!([{"op": "replace", "path": "/driver_info/ipmi_password", "value": "another"}]);
    assert_eq!(rig.call("PATCH", "/nodes/n1", patch).await.0, StatusCode::OK);
    assert_ne!(secrets(), sealed);
    let url = "http://u:secret@server/image";
    let patch = json!([{"op": "add", "path": "/instance_info/image_source", "value": url}]);
    let (_, shown) = rig.call("PATCH", "/nodes/n1", patch).await;
    assert_eq!(shown["instance_info"]["image_source"], url, "to the administrator");
    let stored = rig.api.engine.view().node_by_name("n1").expect("there").settings.instance_info.clone();
    assert_eq!(stored["image_source"], url);
}

#[tokio::test]
async fn a_patch_sets_and_unsets() {
    let rig = Rig::new().await;
    rig.node("n1").await;
    let patch = json!([
        {"op": "add", "path": "/extra/a", "value": 1},
        {"op": "add", "path": "/resource_class", "value": "gpu"},
        {"op": "replace", "path": "/maintenance", "value": true},
    ]);
    let (status, node) = rig.call("PATCH", "/nodes/n1", patch).await;
    assert_eq!(status, StatusCode::OK, "{node}");
    assert_eq!(
        (&node["extra"]["a"], &node["resource_class"], &node["maintenance"]),
        (&json!(1), &json!("gpu"), &json!(true))
    );
    let patch = json!([{"op": "remove", "path": "/extra/a"}, {"op": "remove", "path": "/resource_class"}]);
    let (_, node) = rig.call("PATCH", "/nodes/n1", patch).await;
    assert_eq!((&node["extra"], &node["resource_class"]), (&json!({}), &Value::Null));
}

#[tokio::test]
async fn lists_are_paged_filtered_and_sorted() {
    let rig = Rig::new().await;
    for name in ["a", "b", "c"] {
        rig.node(name).await;
    }
    let (_, first) = rig.call("GET", "/nodes?limit=2&fields=name,uuid", Value::Null).await;
    assert_eq!(first["nodes"].as_array().map(Vec::len), Some(2));
    let next = first["next"].as_str().expect("more");
    let (_, second) = rig.raw("GET", next.split_once("localhost").expect("a URL").1, "", &[]).await;
    assert_eq!(second["nodes"].as_array().map(Vec::len), Some(1), "not full: the last");
    assert!(second.get("next").is_none());
    let (_, sorted) = rig.call("GET", "/nodes?sort_key=name&sort_dir=desc", Value::Null).await;
    assert_eq!(sorted["nodes"][0]["name"], "c");
    let (_, none) = rig.call("GET", "/nodes?provision_state=active", Value::Null).await;
    assert_eq!(none["nodes"], json!([]));
}

#[tokio::test]
async fn an_agent_proves_its_boot_or_changes_nothing() {
    let rig = Rig::new().await;
    let (id, job) = rig.inspected_node("n1", "52:54:00:00:00:01").await;
    let (other, other_job) = rig.inspected_node("n2", "52:54:00:00:00:02").await;
    let token = rig.api.engine.tickets.boot_token(&job);
    let foreign = rig.api.engine.tickets.boot_token(&other_job);
    let old = rig.api.engine.tickets.boot_token(&Job { boots: job.boots + 1, ..(*job).clone() });
    let peer = "10.0.0.7";
    let call = json!({"callback_url": "https://10.0.0.7:9999", "agent_token": token, "agent_version": "1"});
    let with = |key: &str, value: &str| {
        let mut call = call.clone();
        call[key] = value.into();
        call
    };
    let path = format!("/v1/heartbeat/{id}");
    for bad in [foreign.as_str(), old.as_str(), "", "x"] {
        let answer = rig.agent("POST", &path, with("agent_token", bad), peer).await;
        assert_eq!(answer.0, StatusCode::UNAUTHORIZED, "{bad}");
    }
    let answer = rig.agent("POST", &format!("/v1/heartbeat/{other}"), call.clone(), peer).await;
    assert_eq!(answer.0, StatusCode::UNAUTHORIZED, "another node's");
    let answer = rig.agent("POST", &path, with("callback_url", "https://10.0.0.66:9999"), peer).await;
    assert_eq!(answer.0, StatusCode::BAD_REQUEST, "a foreign callback");
    assert!(rig.api.engine.view().node(id).is_some_and(|node| node.agent.is_none()));
    assert_eq!(rig.agent("POST", &path, call.clone(), peer).await.0, StatusCode::ACCEPTED);

    let inspection = |token: &str| format!("/v1/continue_inspection?node_uuid={id}&agent_token={token}");
    let report = |mac: &str| json!({"inventory": {"interfaces": [{"mac_address": mac}], "cpu": {"count": 2}}});
    let stranger = rig.agent("POST", &inspection(&token), report("52:54:00:00:00:99"), peer).await;
    assert_eq!(stranger.0, StatusCode::BAD_REQUEST, "another machine's cards");
    let foreign = rig.agent("POST", &inspection(&foreign), report("52:54:00:00:00:01"), peer).await;
    assert_eq!(foreign.0, StatusCode::UNAUTHORIZED);
    let good = rig.agent("POST", &inspection(&token), report("52:54:00:00:00:01"), peer).await;
    assert_eq!(good.0, StatusCode::ACCEPTED);
    let replay = rig.agent("POST", &inspection(&token), report("52:54:00:00:00:01"), peer).await;
    assert_eq!(replay.0, StatusCode::UNAUTHORIZED, "the secret ended with its use");
    let (status, inventory) = rig.call("GET", "/nodes/n1/inventory", Value::Null).await;
    assert_eq!((status, &inventory["inventory"]["cpu"]["count"]), (StatusCode::OK, &json!(2)));
}

#[tokio::test]
async fn a_lookup_tells_nothing_secret_and_nothing_to_strangers() {
    let rig = Rig::new().await;
    let (id, job) = rig.inspected_node("n1", "52:54:00:00:00:01").await;
    let lookup = async |query: &str| rig.agent("GET", &format!("/v1/lookup?{query}"), Value::Null, "10.0.0.7").await;
    let (status, answer) = lookup("addresses=aa:aa:aa:aa:aa:aa,52:54:00:00:00:01").await;
    assert_eq!((status, &answer["node"]["uuid"]), (StatusCode::OK, &json!(id.to_string())));
    assert!(!answer.to_string().contains(&rig.api.engine.tickets.boot_token(&job)));
    assert_eq!(lookup("addresses=52:54:00:00:00:09").await.0, StatusCode::NOT_FOUND);
    assert_eq!(lookup("addresses=").await.0, StatusCode::NOT_FOUND);
    let other = Uuid::new_v4();
    assert_eq!(lookup(&format!("addresses=52:54:00:00:00:01&node_uuid={other}")).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_image_needs_its_ticket() {
    let rig = Rig::new().await;
    for path in ["/images/0000/map", "/images/x/data", "/images/../key"] {
        assert_eq!(rig.agent("GET", path, Value::Null, "10.0.0.7").await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn the_one_time_password_ends_at_its_first_change() {
    let rig = Rig::new().await;
    let user = rig.api.engine.view().identity.user_of_default_domain("admin").expect("there").clone();
    let given =
        IdentityCommand::SetPassword { user: user.id, password_hash: user.password_hash.clone(), one_time: true };
    rig.api.engine.store.submit(Command::Identity(given), Actor::System("test")).await.expect("given");
    assert_eq!(rig.call("GET", "/nodes", Value::Null).await.0, StatusCode::FORBIDDEN, "good for its change only");
    std::fs::write(rig.api.password_file.as_path(), PASSWORD).expect("written");
    let change = |old: &str, new: &str| json!({"old": old, "new": new}).to_string();
    let send = async |body: String| rig.raw("POST", "/appliance/v1/password", body, &[]).await.0;
    assert_eq!(send(change("wrong", "a new long password")).await, StatusCode::FORBIDDEN);
    assert_eq!(send(change(PASSWORD, "short")).await, StatusCode::BAD_REQUEST);
    assert_eq!(send(change(PASSWORD, PASSWORD)).await, StatusCode::BAD_REQUEST);
    assert!(rig.api.password_file.exists());
    assert_eq!(send(change(PASSWORD, "a new long password")).await, StatusCode::NO_CONTENT);
    assert!(!rig.api.password_file.exists());
    assert_eq!(rig.call("GET", "/nodes", Value::Null).await.0, StatusCode::UNAUTHORIZED, "the old one is over");
}
