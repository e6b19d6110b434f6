//! Webhooks against a receiver that listens, fails, is slow, sends elsewhere, and stands where nothing may be sent.

use super::*;
use jiff::Timestamp;
use leasehold_domain::View;
use leasehold_domain::command::NodeStart;
use leasehold_domain::id::NodeId;
use leasehold_domain::identity::{IdentityCommand, Project, id_text};
use leasehold_domain::node::NodeSettings;
use leasehold_domain::notice::Webhook;
use leasehold_store::{KeySource, Options};
use serde_json::Value;
use std::collections::HashMap as Headers;
use std::path::Path;
use std::sync::Mutex;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use uuid::Uuid;

mod fair;
mod probes;

/// Longer than any of these waits should ever be.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a receiver got.
#[derive(Clone, Debug)]
struct Got {
    headers: Headers<String, String>,
    body: String,
}

impl Got {
    fn document(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// The name of the node that was made.
    fn name(&self) -> String {
        self.document()["data"]["name"].as_str().unwrap_or_default().to_owned()
    }
}

/// What a receiver says to its so-manieth request; empty: it never says anything.
type Script = Arc<Mutex<dyn FnMut(usize) -> String + Send>>;

struct Receiver {
    url: String,
    got: mpsc::UnboundedReceiver<Got>,
}

fn answer(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

impl Receiver {
    async fn new(script: impl FnMut(usize) -> String + Send + 'static) -> Receiver {
        Receiver::at("127.0.0.1", script).await
    }

    async fn at(host: &str, script: impl FnMut(usize) -> String + Send + 'static) -> Receiver {
        let listener = TcpListener::bind((host, 0)).await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let (told, got) = mpsc::unbounded_channel();
        let script: Script = Arc::new(Mutex::new(script));
        tokio::spawn(async move {
            let mut count = 0;
            while let Ok((stream, _)) = listener.accept().await {
                count += 1;
                tokio::spawn(serve(stream, count, script.clone(), told.clone()));
            }
        });
        Receiver { url, got }
    }

    async fn next(&mut self) -> Got {
        tokio::time::timeout(PATIENCE, self.got.recv()).await.expect("it comes to that").expect("it listens")
    }

    fn has_more(&mut self) -> bool {
        self.got.try_recv().is_ok()
    }
}

async fn serve(mut stream: TcpStream, count: usize, script: Script, told: mpsc::UnboundedSender<Got>) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    let (head, length) = loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            let lines = text[..end].lines().filter_map(|line| line.split_once(": "));
            let headers: Headers<String, String> =
                lines.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
            let length: usize = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            break (headers, (end + 4, length));
        }
        if read == 0 {
            return;
        }
    };
    while bytes.len() < length.0 + length.1 {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
    let body = String::from_utf8(bytes[length.0..].to_vec()).expect("text");
    let said = (script.lock().expect("nobody panicked"))(count);
    let _ = told.send(Got { headers: head, body });
    if said.is_empty() {
        // It says nothing as long as the other side waits.
        let _ = stream.read(&mut buffer).await;
        return;
    }
    let _ = stream.write_all(said.as_bytes()).await;
}

fn network(text: &str) -> Network {
    text.parse().expect("a network")
}

struct Rig {
    store: Store,
    rules: Rules,
    sealer: Arc<Sealer>,
    settings: Settings,
    folder: TempDir,
    task: Option<tokio::task::JoinHandle<()>>,
}

fn open(folder: &Path) -> Store {
    Store::open(folder, Options::default()).expect("a store")
}

impl Rig {
    /// Receivers on loopback addresses are let through, but one.
    fn new(change: impl FnOnce(&mut Settings)) -> Rig {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = Settings {
            forbidden: never_sent_to().into_iter().chain([network("127.0.0.66")]).collect(),
            allowed: vec![network("127.0.0.0/8")],
            plain_http: true,
            patience: Duration::from_secs(20),
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(4),
            ..Settings::default()
        };
        change(&mut settings);
        let sealer = Arc::new(Sealer::open(&KeySource::File(folder.path().join("key"))).expect("a key"));
        let rules: Rules = Arc::new(|| Arc::new(Policy::default()));
        let mut rig = Rig { store: open(folder.path()), rules, sealer, settings, folder, task: None };
        rig.start();
        rig
    }

    fn start(&mut self) {
        let (store, sealer, rules) = (self.store.clone(), self.sealer.clone(), self.rules.clone());
        self.task = Some(tokio::spawn(run(store, sealer, rules, self.settings.clone())));
    }

    /// Nobody is told anything.
    async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// The appliance is down, and comes up again.
    async fn again(&mut self) {
        self.stop().await;
        self.store.close().await;
        self.store = open(self.folder.path());
        self.start();
    }

    async fn give(&self, command: Command) {
        self.store.submit(command, Actor::System("test")).await.expect("carried out");
    }

    async fn add(&self, url: &str, project: Option<&str>, kinds: &[&str]) -> (WebhookId, String) {
        let id = WebhookId(Uuid::new_v4());
        let secret = new_secret().expect("random numbers");
        let context = seal_context(id);
        let context: Vec<&[u8]> = context.iter().map(Vec::as_slice).collect();
        let webhook = Webhook {
            id,
            project: project.map(str::to_owned),
            url: url.to_owned(),
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            secret: self.sealer.seal(secret.as_bytes(), &context).expect("sealed"),
            created_by: "anna".into(),
            created_at: Timestamp::now(),
        };
        let done = self.store.newest_cursor().number();
        self.give(Command::Notice(NoticeCommand::AddWebhook { webhook: Box::new(webhook), done, most: 10 })).await;
        (id, secret)
    }

    /// A node is made, which is one event.
    async fn node(&self, name: &str, owner: Option<&str>) {
        let settings = NodeSettings {
            name: Some(name.into()),
            owner: owner.map(str::to_owned),
            driver: "fake-hardware".into(),
            ..NodeSettings::default()
        };
        let (settings, start) = (Box::new(settings), NodeStart::default());
        self.give(Command::CreateNode { id: NodeId(Uuid::new_v4()), settings, start }).await;
    }

    /// A project of its own.
    async fn project(&self, name: &str) -> String {
        let id = ProjectId(Uuid::new_v4());
        let project = Project {
            id,
            name: name.into(),
            description: String::new(),
            domain: id,
            parent: None,
            enabled: true,
            tags: Vec::new(),
            created_at: Timestamp::now(),
        };
        self.give(Command::Identity(IdentityCommand::CreateProject(Box::new(project)))).await;
        id_text(id.0)
    }

    async fn until(&self, is_so: impl Fn(&View) -> bool) {
        let mut feed = self.store.subscribe();
        let comes = async {
            while !is_so(&self.store.view()) {
                feed.next().await.expect("the store is open");
            }
        };
        tokio::time::timeout(PATIENCE, comes).await.expect("it comes to that");
    }

    fn failing(&self, id: WebhookId) -> Option<String> {
        let view = self.store.view();
        view.notices.delivery(id).and_then(|delivery| Some(delivery.failing.as_ref()?.why.clone()))
    }

    /// Why a delivery to this URL fails.
    async fn failure(&self, url: &str) -> String {
        let (id, _) = self.add(url, None, &["node"]).await;
        self.node(&format!("n{}", Uuid::new_v4().simple()), None).await;
        let fails = |view: &View| view.notices.delivery(id).is_some_and(|delivery| delivery.failing.is_some());
        self.until(fails).await;
        let why = self.failing(id).expect("it fails");
        self.give(Command::Notice(NoticeCommand::RemoveWebhook { id })).await;
        why
    }
}

#[tokio::test]
async fn events_come_in_order_signed_once_each_and_over_a_restart() {
    let mut receiver = Receiver::new(|_| answer("204 No Content")).await;
    let mut rig = Rig::new(|_| {});
    rig.node("before", None).await;
    let (id, secret) = rig.add(&receiver.url, None, &["node.created"]).await;
    for name in ["a", "b", "c"] {
        rig.node(name, None).await;
    }
    for name in ["a", "b", "c"] {
        let got = receiver.next().await;
        assert_eq!(got.name(), name);
        let header = |name: &str| got.headers.get(name).expect("a header").clone();
        let timestamp: i64 = header("webhook-timestamp").parse().expect("seconds");
        assert!((Timestamp::now().as_second() - timestamp).abs() < 300);
        let signed = sign::signature(&secret, &header("webhook-id"), timestamp, &got.body);
        assert_eq!(Some(header("webhook-signature")), signed);
        assert_eq!(got.document()["id"], Value::from(header("webhook-id")));
        assert!(!got.body.contains("whsec_"));
    }
    let end = rig.store.newest_cursor().number();
    rig.until(|view| view.notices.delivery(id).is_some_and(|delivery| delivery.done == end)).await;
    rig.again().await;
    rig.node("d", None).await;
    assert_eq!(receiver.next().await.name(), "d", "what was told is not told again");
}

#[tokio::test]
async fn a_project_is_told_of_its_own_only() {
    let mut receiver = Receiver::new(|_| answer("200 OK")).await;
    let rig = Rig::new(|_| {});
    let (own, other) = (rig.project("own").await, rig.project("other").await);
    rig.add(&receiver.url, Some(&own), &[]).await;
    for (name, owner) in [("a", Some(&own)), ("b", Some(&other)), ("c", None), ("d", Some(&own))] {
        rig.node(name, owner.map(String::as_str)).await;
    }
    assert_eq!([receiver.next().await.name(), receiver.next().await.name()], ["a", "d"]);
}

#[tokio::test]
async fn what_fails_is_tried_again_in_order_and_then_goes_on() {
    let mut receiver =
        Receiver::new(|count| answer(if count <= 4 { "503 Service Unavailable" } else { "200 OK" })).await;
    let rig = Rig::new(|_| {});
    let (id, _) = rig.add(&receiver.url, None, &["node"]).await;
    rig.node("a", None).await;
    rig.node("b", None).await;
    let mut ids = Vec::new();
    for name in ["a", "a", "a", "a", "a", "b"] {
        let got = receiver.next().await;
        assert_eq!(got.name(), name);
        ids.push(got.headers["webhook-id"].clone());
    }
    assert!(ids[..5].iter().all(|id| *id == ids[0]), "by its id a receiver knows what it has already");
    rig.until(|view| view.notices.delivery(id).is_some_and(|delivery| delivery.failing.is_none())).await;
    assert_eq!(rig.store.view().notices.dead_letters(id).count(), 0);
}

#[tokio::test]
async fn what_is_given_up_is_kept_and_can_be_sent_once_more() {
    let mut receiver = Receiver::new(|count| answer(if count <= 4 { "500 No" } else { "200 OK" })).await;
    let rig = Rig::new(|settings| settings.give_up = Duration::ZERO);
    let (id, _) = rig.add(&receiver.url, None, &["node"]).await;
    rig.node("a", None).await;
    rig.until(|view| view.notices.dead_letters(id).count() == 1).await;
    let letter = rig.store.view().notices.dead_letters(id).next().expect("given up").clone();
    assert_eq!((letter.tries, letter.kind.as_str()), (3, "node.created"));
    assert!(letter.why.contains("500"), "{}", letter.why);
    for _ in 0..3 {
        assert_eq!(receiver.next().await.name(), "a");
    }
    let again = || Command::Notice(NoticeCommand::Redeliver { id, event: None });
    rig.give(again()).await;
    let tried = |view: &View| view.notices.dead_letters(id).all(|letter| !letter.again && letter.tries == 4);
    rig.until(tried).await;
    assert_eq!(receiver.next().await.name(), "a");
    rig.give(again()).await;
    rig.until(|view| view.notices.dead_letters(id).count() == 0).await;
    assert_eq!(receiver.next().await.name(), "a");
    rig.node("b", None).await;
    assert_eq!(receiver.next().await.name(), "b", "the next one's turn");
}

#[tokio::test]
async fn a_receiver_that_is_slow_holds_up_nobody_else() {
    let mut slow = Receiver::new(|_| String::new()).await;
    let mut quick = Receiver::new(|_| answer("200 OK")).await;
    let rig = Rig::new(|settings| settings.patience = PATIENCE);
    let (of_slow, _) = rig.add(&slow.url, None, &["node"]).await;
    rig.add(&quick.url, None, &["node"]).await;
    rig.node("a", None).await;
    slow.next().await;
    rig.node("b", None).await;
    assert_eq!([quick.next().await.name(), quick.next().await.name()], ["a", "b"]);
    assert!(!slow.has_more(), "one at a time, in order");
    rig.give(Command::Notice(NoticeCommand::RemoveWebhook { id: of_slow })).await;
}

#[tokio::test]
async fn nothing_is_sent_where_nothing_may_be_sent() {
    let mut inner = Receiver::at("127.0.0.66", |_| answer("200 OK")).await;
    let place = inner.url.clone();
    let redirect = move |_| format!("HTTP/1.1 307 Elsewhere\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n");
    let redirecting = Receiver::new(redirect).await;
    let rig = Rig::new(|settings| settings.patience = Duration::from_millis(200));
    let why = rig.failure(&inner.url).await;
    assert_eq!(why, "the receiver's address is none that events may be sent to");
    let why = rig.failure(&redirecting.url).await;
    assert!(why.contains("307") && why.contains("not followed"), "{why}");
    assert!(!inner.has_more(), "somebody came to it");
    for (url, settings) in [
        ("http://example.org/", Settings::default()),
        ("ftp://example.org/", rig.settings.clone()),
        ("https://user:word@example.org/", Settings::default()),
        ("https://127.0.0.1/", Settings::default()),
        ("https://[::ffff:169.254.169.254]/", Settings::default()),
        ("https:///x", Settings::default()),
        ("nonsense", Settings::default()),
    ] {
        assert!(check_url(&settings, url).is_err(), "{url}");
    }
    assert_eq!(check_url(&Settings::default(), "https://example.org/hook?x=1"), Ok(()));
}

#[tokio::test]
async fn a_project_that_is_gone_takes_its_webhooks_along() {
    let rig = Rig::new(|_| {});
    let own = rig.project("own").await;
    let (id, _) = rig.add("http://127.0.0.1:1/", Some(&own), &[]).await;
    let project = ProjectId(parse_id(&own).expect("an id"));
    let closed = rig.store.view().identity.project(project).expect("there").clone();
    let after = Box::new(Project { enabled: false, ..(*closed).clone() });
    rig.give(Command::Identity(IdentityCommand::ChangeProject { before: closed, after })).await;
    rig.give(Command::Identity(IdentityCommand::DeleteProject { id: project })).await;
    rig.until(|view| view.notices.webhook(id).is_none()).await;
}
