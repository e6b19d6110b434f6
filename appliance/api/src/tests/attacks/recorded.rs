//! What the audit has of all this: each row with its request, hidden refusals with their true reason, and no secret.

use super::*;
use axum::body::Body;
use axum::http::Request;
use leasehold_store::{AuditEntry, Options, Outcome, Store};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use tower_service::Service;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

impl Scene {
    /// Ends the program and reads its whole audit, with the refusals that were gathered last.
    async fn audited(&self) -> Vec<AuditEntry> {
        // What is noted apart from the answers comes first: each turn lets the tasks that wait run.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.rig.api.engine.store.close().await;
        let store = Store::open(self.rig._folder.path(), Options::default()).expect("the store again");
        let entries = store.audit(10_000).await.expect("read");
        assert!(store.audit_verify(None).await.expect("read").faults.is_empty());
        store.close().await;
        entries
    }
}

fn refusals<'a>(entries: &'a [AuditEntry], actor: &'a str) -> impl Iterator<Item = (&'a AuditEntry, &'a str, u64)> {
    entries.iter().filter(move |entry| entry.actor == actor).filter_map(|entry| match &entry.outcome {
        Outcome::Refused { reason, count, .. } => Some((entry, reason.as_str(), *count)),
        Outcome::Done => None,
    })
}

#[tokio::test]
async fn a_change_is_in_the_audit_without_its_request() {
    let scene = Scene::new("admin", "admin").await;
    let root = scene.rig.token("admin", PASSWORD, system()).await;
    let root = Tenant { project: String::new(), token: root };
    let extra = json!([{"op": "add", "path": "/extra/a", "value": 1}]);
    let login = json!({"auth": {"identity": by_password("owner", "a sentence of one's own")}});
    let wrong = json!({"auth": {"identity": by_password("owner", "not his sentence at all")}});
    let node = format!("/baremetal/v1/nodes/{}", scene.node);
    let mut ids = Vec::new();
    for (who, method, path, body, expected) in [
        (&scene.owner, "PATCH", node.as_str(), extra, 200),
        (&scene.owner, "POST", "/network/v2.0/networks", json!({"network": {"name": "a"}}), 201),
        (&scene.owner, "POST", "/image/v2/images", json!({"name": "a"}), 201),
        (&root, "POST", "/identity/v3/projects", json!({"project": {"name": "p"}}), 201),
        (&root, "POST", "/identity/v3/roles", json!({"role": {"name": "r"}}), 201),
        (&root, "POST", "/identity/v3/groups", json!({"group": {"name": "g"}}), 201),
        (&root, "POST", "/identity/v3/auth/tokens", login, 201),
        (&scene.stranger, "POST", "/identity/v3/auth/tokens", wrong, 401),
        (&scene.lessee, "DELETE", "/appliance/v1/session", Value::Null, 404),
        (&scene.owner, "DELETE", "/network/v2.0/networks/00000000-0000-0000-0000-000000000001", Value::Null, 404),
        (&scene.owner, "DELETE", "/image/v2/images/00000000-0000-0000-0000-000000000001", Value::Null, 404),
        (&scene.stranger, "DELETE", node.as_str(), Value::Null, 404),
    ] {
        let headers = [("x-auth-token", who.token.as_str()), (VERSION, "1.115")];
        let answer = scene.rig.ask(method, path, body, &headers).await;
        assert_eq!(answer.status.as_u16(), expected, "{method} {path}: {}", answer.body);
        let ids_of = answer.headers.get_all("x-openstack-request-id").iter().collect::<Vec<_>>();
        assert_eq!(ids_of.len(), 1, "{path}: one id");
        ids.push((path.to_owned(), ids_of[0].to_str().expect("ASCII").to_owned()));
    }
    let entries = scene.audited().await;
    for (path, id) in ids {
        let rows = entries.iter().filter(|entry| entry.source.request.as_deref() == Some(&id)).collect::<Vec<_>>();
        assert!(!rows.is_empty(), "no row has the request {id}, {path}");
        assert!(rows.iter().all(|row| row.source.user.is_some() || path.ends_with("/auth/tokens")), "{rows:?}");
    }
    let bare = entries.iter().filter(|entry| entry.source.request.is_none()).collect::<Vec<_>>();
    assert!(bare.is_empty(), "rows without a request: {bare:?}");
}

#[tokio::test]
async fn a_refusal_that_hides_is_not_in_the_audit() {
    let scene = Scene::new("admin", "member").await;
    let shipped = crate::policy::file::read(include_str!("../../../../../config/policy.yaml")).expect("a policy file");
    scene.rig.api.policy.store(Arc::new(shipped));
    let network = json!({"network": {"name": "private"}});
    let (_, network) = scene.with(&scene.owner, "POST", "/network/v2.0/networks", network).await;
    let network = network["network"]["id"].as_str().expect("an id").to_owned();
    let (_, image) = scene.with(&scene.owner, "POST", "/image/v2/images", json!({"name": "private"})).await;
    let image = image["id"].as_str().expect("an id").to_owned();
    let node = format!("/baremetal/v1/nodes/{}", scene.node);
    let port = json!({"node_uuid": scene.node, "address": "52:54:00:00:07:07"});
    for (method, path, body, told) in [
        ("DELETE", node.clone(), Value::Null, 404),
        ("PUT", format!("{node}/states/power"), json!({"target": "power off"}), 404),
        ("DELETE", format!("/network/v2.0/networks/{network}"), Value::Null, 404),
        ("DELETE", format!("/image/v2/images/{image}"), Value::Null, 404),
        ("POST", "/baremetal/v1/ports".to_owned(), port, 403),
        ("DELETE", format!("/baremetal/v1/nodes/{NOWHERE}"), Value::Null, 404),
    ] {
        let (status, answer) = scene.with(&scene.stranger, method, &path, body).await;
        assert_eq!(status.as_u16(), told, "{method} {path}: {answer}");
    }
    // A scan: by UUID and by name, of what is hidden and of what nobody has.
    for number in 0..300 {
        for ident in [scene.node.clone(), "n1".into(), Uuid::from_u128(number).to_string(), format!("x{number}")] {
            let path = format!("/nodes/{ident}");
            assert_eq!(scene.ask(&scene.stranger, "GET", &path, Value::Null).await.0, StatusCode::NOT_FOUND);
        }
    }
    let entries = scene.audited().await;
    let rows: Vec<_> = refusals(&entries, "stranger").collect();
    let of = |what: &str, subject: Option<&str>| {
        let fits = |row: &&(&AuditEntry, &str, u64)| row.0.what == what && row.0.subject.as_deref() == subject;
        let found = rows.iter().find(fits).unwrap_or_else(|| panic!("no row of {what} {subject:?}: {rows:?}"));
        (found.1.to_owned(), found.2)
    };
    let hidden =
        |rule: &str, id: &str, told: u16| (format!("{rule} hides {id} from the caller, who was told {told}"), 1);
    for (what, subject, rule, id, told) in [
        ("DELETE /baremetal/v1/nodes/{node}", node.clone(), "baremetal:node:get", &scene.node, 404),
        (
            "PUT /baremetal/v1/nodes/{node}/states/power",
            format!("{node}/states/power"),
            "baremetal:node:get",
            &scene.node,
            404,
        ),
        (
            "DELETE /network/v2.0/networks/{id}",
            format!("/network/v2.0/networks/{network}"),
            "get_network",
            &network,
            404,
        ),
        ("DELETE /image/v2/images/{id}", format!("/image/v2/images/{image}"), "get_image", &image, 404),
    ] {
        assert_eq!(of(what, Some(&subject)), hidden(rule, id, told));
    }
    // Nobody of his kind may create a port, wherever: that hides nothing, and is a refusal like any other.
    let (reason, count) = of("POST /baremetal/v1/ports", Some("/baremetal/v1/ports"));
    assert_eq!((reason.as_str(), count), ("forbidden by policy", 1));
    let nobodys = format!("/baremetal/v1/nodes/{NOWHERE}");
    assert_eq!(of("DELETE /baremetal/v1/nodes/{node}", Some(&nobodys)), ("there is no such thing".to_owned(), 1));
    let (reason, looks) = of("GET /baremetal/v1/nodes/{node}", None);
    assert!(reason.contains(&scene.node), "{reason}");
    let scans = rows.iter().filter(|row| row.0.what.starts_with("GET ")).map(|row| row.2).collect::<Vec<_>>();
    assert_eq!((scans.iter().sum::<u64>(), looks <= 600), (600, true), "looks at what is hidden, and no others");
    assert!(scans.len() <= 10, "a scan is a few rows, whatever it asks for: {}", scans.len());
}

/// Everything that is logged, of every level, with all its fields.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(&format!("{field}={value:?} "));
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Secrets, each with a mark of its own.
fn seed(name: &str) -> String {
    format!("Zq7-{name}-planted-Zq7")
}

#[tokio::test]
async fn a_secret_comes_out_by_audit_log_metrics_or_trace() {
    let log = Log::default();
    // From every thread: no other test sets one.
    tracing::subscriber::set_global_default(log.clone()).expect("the first");
    let scene = Scene::new("admin", "admin").await;
    let root = scene.rig.token("admin", PASSWORD, system()).await;
    let root = Tenant { project: String::new(), token: root };
    let ask = async |who: &Tenant, method: &str, path: &str, body: Value, expected: u16| {
        let (status, answer) = scene.with(who, method, path, body).await;
        assert_eq!(status.as_u16(), expected, "{method} {path}: {answer}");
        answer
    };
    // Accounts.
    let user = json!({"user": {"name": "eve", "password": seed("user")}});
    let eve =
        ask(&root, "POST", "/identity/v3/users", user, 201).await["user"]["id"].as_str().expect("an id").to_owned();
    let again = json!({"user": {"password": seed("reset")}});
    ask(&root, "PATCH", &format!("/identity/v3/users/{eve}"), again, 200).await;
    let own = json!({"user": {"original_password": seed("reset"), "password": seed("own")}});
    let headers = [(VERSION, "1.115")];
    let changed = scene.rig.ask("POST", &format!("/identity/v3/users/{eve}/password"), own, &headers).await;
    assert!(matches!(changed.status.as_u16(), 204 | 401), "{}", changed.body);
    let guess = json!({"auth": {"identity": by_password("eve", &seed("guess"))}});
    ask(&root, "POST", "/identity/v3/auth/tokens", guess, 401).await;
    let (_, users) = scene.rig.keystone("GET", "/users?name=owner", Value::Null, &root.token).await;
    let owner = users["users"][0]["id"].as_str().expect("an id").to_owned();
    let path = format!("/identity/v3/users/{owner}/application_credentials");
    let chosen = json!({"application_credential": {"name": "a", "secret": seed("credential")}});
    ask(&scene.owner, "POST", &path, chosen, 201).await;
    let random = json!({"application_credential": {"name": "b"}});
    let random = ask(&scene.owner, "POST", &path, random, 201).await;
    let random = random["application_credential"]["secret"].as_str().expect("a secret").to_owned();
    let link = ask(&root, "POST", "/appliance/v1/invitations", json!({"user": {"name": "mallory"}}), 201).await;
    let link = link["token"].as_str().expect("a token").to_owned();
    let accept = json!({"token": link, "password": seed("accepted")});
    ask(&root, "POST", "/appliance/v1/invitations/accept", accept, 200).await;
    // A node, with all that is secret about one.
    let info = json!({"ipmi_address": "10.0.0.9", "ipmi_username": "root", "ipmi_password": seed("bmc")});
    let node = json!({"driver": "ipmi", "name": "guarded", "owner": scene.owner.project, "driver_info": info});
    let node = ask(&root, "POST", "/baremetal/v1/nodes", node, 201).await["uuid"].as_str().expect("a UUID").to_owned();
    let node = format!("/baremetal/v1/nodes/{node}");
    let source = format!("http://ada:{}@images.example/x?signature={}", seed("url"), seed("signature"));
    let patch = json!([
        {"op": "replace", "path": "/driver_info/ipmi_password", "value": seed("newbmc")},
        {"op": "add", "path": "/instance_info/image_source", "value": source},
        {"op": "add", "path": "/instance_info/rescue_password", "value": seed("rescue")},
        {"op": "add", "path": "/instance_info/configdrive", "value": seed("drive")},
        {"op": "add", "path": "/extra/api_token", "value": seed("extra")},
        {"op": "add", "path": "/properties/deep", "value": {"login": [{"password": seed("deep")}]}},
    ]);
    ask(&root, "PATCH", &node, patch, 200).await;
    let moved = json!([{"op": "replace", "path": "/driver_info/ipmi_address", "value": seed("address")}]);
    ask(&root, "PATCH", &node, moved, 400).await;
    let drive = json!({"user_data": format!("#cloud-config\npassword: {}\n", seed("cloudconfig"))});
    let deploy = json!({"target": "active", "configdrive": drive});
    ask(&root, "PUT", &format!("{node}/states/provision"), deploy, 400).await;
    let rescue = json!({"target": "rescue", "rescue_password": seed("rescue2")});
    ask(&root, "PUT", &format!("{node}/states/provision"), rescue, 400).await;
    ask(&scene.stranger, "PATCH", &node, json!([{"op": "add", "path": "/extra/a", "value": seed("refused")}]), 404)
        .await;
    let target = json!({
        "node_uuid": node.rsplit('/').next(), "volume_type": "iscsi", "boot_index": 0, "volume_id": "v",
        "properties": {"auth_username": "u", "auth_password": seed("volume")},
    });
    ask(&root, "POST", "/baremetal/v1/volume/targets", target, 201).await;
    // Images by URL.
    let image = ask(
        &scene.owner,
        "POST",
        "/image/v2/images",
        json!({"name": "x", "disk_format": "raw", "container_format": "bare"}),
        201,
    )
    .await;
    let import = format!("/image/v2/images/{}/import", image["id"].as_str().expect("an id"));
    for uri in
        [format!("http://ada:{}@127.0.0.1/x?t={}", seed("import"), seed("query")), format!("file:///{}", seed("file"))]
    {
        ask(&scene.owner, "POST", &import, json!({"method": {"name": "web-download", "uri": uri}}), 400).await;
    }
    // An agent.
    let (id, job) = scene.rig.inspected_node("booting", "52:54:00:00:00:77").await;
    let ticket = scene.rig.api.engine.tickets.boot_token(&job);
    let beat = json!({"callback_url": "https://10.0.0.7:9999", "agent_token": ticket, "agent_version": "1"});
    let (status, _) = scene.rig.agent("POST", &format!("/v1/heartbeat/{id}"), beat, "10.0.0.7").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let guess = format!("/v1/continue_inspection?node_uuid={id}&agent_token={}", seed("agent"));
    assert_eq!(scene.rig.agent("POST", &guess, json!({}), "10.0.0.7").await.0, StatusCode::UNAUTHORIZED);
    // What comes out.
    let metrics = Request::get("/metrics").header("x-auth-token", &root.token).body(Body::empty()).expect("a request");
    let metrics = crate::public(scene.rig.api.clone()).call(metrics).await.expect("routers do not fail");
    assert_eq!(metrics.status(), StatusCode::OK);
    let metrics = http_body_util::BodyExt::collect(metrics.into_body()).await.expect("a body").to_bytes();
    let mut out = vec![("metrics", String::from_utf8_lossy(&metrics).into_owned())];
    for (name, path) in [
        ("trace", format!("/appliance/v1/nodes/{id}/trace")),
        ("trace of the guarded", "/appliance/v1/nodes/guarded/trace".to_owned()),
        ("node as told", "/appliance/v1/nodes/guarded".to_owned()),
        ("history", format!("{node}/history?detail=true")),
        ("users", "/identity/v3/users".to_owned()),
        ("credentials", path.clone()),
    ] {
        let who = if name == "credentials" { &scene.owner } else { &root };
        out.push((name, ask(who, "GET", &path, Value::Null, 200).await.to_string()));
    }
    let entries = scene.audited().await;
    let audit = entries.iter().map(|entry| serde_json::to_string(entry).expect("JSON")).collect::<Vec<_>>().join("\n");
    // They went in, and stand there as such.
    assert!(audit.contains("***") && audit.contains("settings.driver_secrets"), "{audit}");
    assert!(
        entries.len() > 30 && out[0].1.contains("leasehold_nodes") && out[1].1.contains("agent-heartbeat"),
        "{out:?}"
    );
    let logged = log.text();
    assert!(logged.len() > 100, "{logged}");
    out.extend([("audit", audit), ("log", logged)]);
    let hashes = ["$argon2id$".to_owned()];
    let secrets = [PASSWORD.to_owned(), random, link, ticket, root.token.clone(), scene.owner.token.clone()];
    for (name, text) in &out {
        for secret in secrets.iter().chain(&hashes) {
            assert!(!text.contains(secret.as_str()), "{name} has {secret}: {}", near(text, secret));
        }
        if let Some(at) = text.find("-planted-Zq7") {
            let shown = &text[text[..at].rfind("Zq7-").expect("the mark")..at];
            panic!("{name} has the secret {shown}: {}", near(text, &format!("{shown}-planted")));
        }
    }
}

/// What stands around a text.
fn near(text: &str, secret: &str) -> String {
    let at = text.find(secret).unwrap_or_default();
    text.chars().skip(text[..at].chars().count().saturating_sub(300)).take(700).collect()
}
