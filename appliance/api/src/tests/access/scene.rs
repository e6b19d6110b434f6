//! Who asks, and the box that is asked: made once, then opened as it was for each cell that something has changed.

use super::row::{Row, disk};
use crate::auth::{Guard, secret};
use crate::tests::{PASSWORD, Rig, VERSION};
use crate::{Api, public};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::id::{ProjectId, UserId};
use leasehold_domain::identity::{Assignment, IdentityCommand, Party, Place, Scope, Token, User, parse_id};
use leasehold_domain::policy::Policy;
use leasehold_engine::Engine;
use leasehold_engine::bmcs::Bmcs;
use leasehold_engine::images::{ImageSettings, ImageStore, Patience, never_fetched_from};
use leasehold_store::{Options, Store, Trace, TraceOptions};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tower_service::Service;
use uuid::Uuid;

/// A column.
pub(super) struct Person {
    pub(super) name: &'static str,
    /// The project, `None` for the system; and the role there. Nobody has neither.
    role: Option<(Option<&'static str>, &'static str)>,
}

const fn person(name: &'static str, project: Option<&'static str>, role: &'static str) -> Person {
    Person { name, role: Some((project, role)) }
}

pub(super) const PEOPLE: [Person; 14] = [
    person("sys-adm", None, "admin"),
    person("sys-mem", None, "member"),
    person("sys-rea", None, "reader"),
    person("own-adm", Some("owner"), "admin"),
    person("own-man", Some("owner"), "manager"),
    person("own-mem", Some("owner"), "member"),
    person("own-rea", Some("owner"), "reader"),
    person("les-adm", Some("lessee"), "admin"),
    person("les-man", Some("lessee"), "manager"),
    person("les-mem", Some("lessee"), "member"),
    person("les-rea", Some("lessee"), "reader"),
    person("oth-adm", Some("other"), "admin"),
    person("oth-mem", Some("other"), "member"),
    Person { name: "nobody", role: None },
];

/// Longer than making a node ready should ever take.
const PATIENCE: Duration = Duration::from_secs(60);

type Things = BTreeMap<&'static str, String>;

/// The box as every cell finds it.
pub(super) struct Scene {
    /// Of a store that has been closed.
    api: Api,
    folder: TempDir,
    tokens: Vec<String>,
    things: Things,
}

/// While it is made.
pub(super) struct Making {
    pub(super) rig: Rig,
    tokens: Vec<String>,
    pub(super) things: Things,
}

impl Scene {
    pub(super) async fn new() -> Scene {
        let mut making = Making { rig: Rig::new().await, tokens: Vec::new(), things: Things::new() };
        making.people().await;
        let running = making.rig.api.engine.start();
        super::nodes::make(&mut making).await;
        super::hardware::make(&mut making).await;
        super::tenants::make(&mut making).await;
        super::accounts::make(&mut making).await;
        super::leases::make(&mut making).await;
        drop(running);
        let Making { rig, tokens, things } = making;
        rig.api.engine.store.close().await;
        Scene { api: rig.api, folder: rig._folder, tokens, things }
    }

    /// The box as it was made, with these rules.
    pub(super) fn open<'a>(&'a self, policy: &Arc<Policy>) -> Stage<'a> {
        let folder = memory_folder();
        copy(self.folder.path(), folder.path());
        let state = folder.path();
        let options = Options { ballast_bytes: 0, headroom_bytes: 0, cache_bytes: 1 << 20, ..Options::default() };
        let store = Store::open(state, options).expect("a store");
        let images = ImageSettings {
            folder: state.join("images"),
            import_folder: None,
            max_size: 1 << 30,
            reserve: 0,
            quota: None,
            forbidden: never_fetched_from(),
            allowed: Vec::new(),
            patience: Patience::default(),
        };
        let engine = Engine {
            trace: Trace::open(state, TraceOptions::default()).expect("a trace"),
            images: Arc::new(ImageStore::open(images, &store.view()).expect("a folder of images")),
            bmcs: Arc::new(Bmcs::new(self.api.engine.sealer.clone())),
            store,
            ..self.api.engine.clone()
        };
        let api = Api {
            engine,
            guard: Arc::new(Guard::default()),
            limits: Arc::default(),
            policy: Arc::new(arc_swap::ArcSwap::new(policy.clone())),
            ..self.api.clone()
        };
        let snapshot = api.engine.store.snapshot();
        Stage { scene: self, router: public(api.clone()), api, snapshot, changed: false, _folder: folder }
    }
}

/// A folder in memory where there is such a thing: what is not to last need not wait for a disk.
fn memory_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

/// Copies what is in a folder, but for the space that is held.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            std::fs::create_dir(&target).expect("a new folder");
            copy(&path, &target);
        } else if path.extension().is_none_or(|extension| extension != "ballast") {
            std::fs::copy(&path, &target).expect("a copy");
        }
    }
}

/// The box, until something has changed it.
pub(super) struct Stage<'a> {
    scene: &'a Scene,
    router: Router,
    api: Api,
    snapshot: u64,
    changed: bool,
    _folder: TempDir,
}

impl Stage<'_> {
    pub(super) fn is_changed(&self) -> bool {
        self.changed || self.api.engine.store.snapshot() != self.snapshot
    }

    pub(super) async fn ask(&mut self, person: usize, row: &Row) -> String {
        let things = &self.scene.things;
        let mut request = Request::builder()
            .method(row.method)
            .uri(row.url(things))
            .header(header::CONTENT_TYPE, row.content_type())
            .header(VERSION, "1.115");
        if let Some(token) = self.scene.tokens.get(person) {
            request = request.header("x-auth-token", token);
        }
        let request = request.body(Body::from(row.body(things))).expect("a request");
        let answer = self.router.call(request).await.expect("routers do not fail");
        let status = answer.status();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        // Some of a machine is not in the store.
        self.changed |= status.is_success() && row.method != "GET";
        row.cell(status, &String::from_utf8_lossy(&bytes), things)
    }
}

impl Making {
    /// Projects, and a user with a token for each column but the last.
    async fn people(&mut self) {
        let root = self.rig.token("admin", PASSWORD, json!({"system": {"all": true}})).await;
        for name in ["owner", "lessee", "other"] {
            let (_, made) = self.rig.keystone("POST", "/projects", json!({"project": {"name": name}}), &root).await;
            self.things.insert(name, made["project"]["id"].as_str().expect("an id").to_owned());
        }
        let hash = crate::auth::hash(PASSWORD).expect("hashed");
        for person in &PEOPLE {
            let Some((project, role)) = person.role else { continue };
            let id = UserId(Uuid::new_v4());
            let project = project.map(|name| ProjectId(parse_id(&self.things[name]).expect("an id")));
            let (place, scope) = match project {
                Some(project) => (Place::Project(project), Scope::Project(project)),
                None => (Place::System, Scope::System),
            };
            let user = User::new(id, person.name, hash.clone(), Timestamp::UNIX_EPOCH);
            self.give(IdentityCommand::CreateUser(Box::new(user))).await;
            let role = self.rig.api.engine.view().identity.role_by_name(role).expect("a role").id;
            let assignment = Assignment { party: Party::User(id), place, inherited: false, role };
            self.give(IdentityCommand::Assign(assignment)).await;
            let token = self.token(id, scope).await;
            self.tokens.push(token);
            self.things.insert(person.name, id.0.simple().to_string());
        }
    }

    async fn give(&self, command: IdentityCommand) {
        let actor = Actor::System("test");
        self.rig.api.engine.store.submit(Command::Identity(command), actor).await.expect("taken");
    }

    /// A token as a login gives it, without the dear look at the password.
    async fn token(&self, id: UserId, scope: Scope) -> String {
        let view = self.rig.api.engine.view();
        let user = view.identity.user(id).expect("the user").clone();
        let (text, digest) = secret::make().expect("random bits");
        let issued_at = Timestamp::now();
        let token = Token {
            digest,
            user: id,
            scope,
            roles: view.identity.grounds(&user, scope).expect("a role"),
            issued_at,
            expires_at: issued_at + SignedDuration::from_hours(1),
            methods: vec!["password".into()],
            credential: None,
            parent: None,
            audit_id: secret::audit_id(),
            session: false,
        };
        self.give(IdentityCommand::IssueToken { token: Box::new(token), user }).await;
        text
    }

    /// What somebody asks for while the scene is made, and is given.
    pub(super) async fn ask(&self, who: &str, method: &'static str, path: &str, body: Value) -> Value {
        let row = Row::new("", method, path).with(body);
        let person = PEOPLE.iter().position(|person| person.name == who).expect("a column");
        let headers = [("x-auth-token", self.tokens[person].as_str()), (VERSION, "1.115")];
        let body: Value = serde_json::from_slice(&row.body(&self.things)).unwrap_or_default();
        let answer = self.rig.ask(method, &row.url(&self.things), body, &headers).await;
        assert!(answer.status.is_success(), "{method} {path}: {} {}", answer.status, answer.body);
        answer.body
    }

    /// Makes a thing, which has this name from now on; its id is at the pointer.
    pub(super) async fn make(&mut self, name: &'static str, who: &str, path: &str, body: Value, pointer: &str) {
        let made = self.ask(who, "POST", path, body).await;
        let id = made.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{path}: {made}"));
        self.things.insert(name, id.to_owned());
    }

    /// Fills an image.
    pub(super) async fn upload(&self, who: &str, path: &str, name: &str) {
        let person = PEOPLE.iter().position(|person| person.name == who).expect("a column");
        let request = Request::put(path)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header("x-auth-token", &self.tokens[person])
            .body(Body::from(disk(name)))
            .expect("a request");
        let (status, answer) = self.rig.send(public(self.rig.api.clone()), request).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
    }

    /// Takes a node through a verb.
    pub(super) async fn verb(&self, node: &str, body: Value) {
        self.ask("sys-adm", "PUT", &format!("/baremetal/v1/nodes/{node}/states/provision"), body).await;
        let mut feed = self.rig.api.engine.store.subscribe();
        let at_work = || self.rig.api.engine.view().node_by_name(node).is_some_and(|node| node.job.is_some());
        let rest = async {
            while at_work() {
                feed.next().await;
            }
        };
        tokio::time::timeout(PATIENCE, rest).await.expect("the job ends");
    }
}
