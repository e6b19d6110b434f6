//! What the rest of the program relies on.

use crate::common::{DEADLINE, ENGINE, create, node_id, open, options, rows, user};
use leasehold_domain::id::{JobId, PortId};
use leasehold_domain::job::{JobInput, StepName};
use leasehold_domain::port::PortSettings;
use leasehold_domain::power::PowerTarget;
use leasehold_domain::provision::Verb;
use leasehold_domain::view::View;
use leasehold_domain::{Answer, Command, Context, Decision, Refusal};
use leasehold_store::{CursorError, News, OpenError, Options, Outcome, ReadError, Retention, Store, SubmitError};
use serde_json::json;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use uuid::Uuid;

#[tokio::test]
async fn a_caller_reads_his_own_writes_and_so_does_the_next_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let committed = store.submit(create(1, "one"), user()).await.expect("carried out");
    assert!(matches!(committed.answer, Answer::Node(node) if node.id == node_id(1)));
    assert!(committed.view.node_by_name("one").is_some());
    assert!(store.view().node_by_name("one").is_some());
    let before = rows(&store.view());
    store.close().await;
    assert!(matches!(store.submit(create(2, "two"), user()).await, Err(SubmitError::Closed)));
    assert_eq!(rows(&open(dir.path()).view()), before);
}

#[tokio::test]
async fn a_second_start_is_told_whose_the_folder_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let error = Store::open(dir.path(), options()).err().expect("in use");
    assert!(matches!(error, OpenError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
    store.submit(create(1, "one"), user()).await.expect("the first one goes on");
    store.close().await;
    open(dir.path());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told_and_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("leasehold.redb");
    std::fs::write(&file, "something else").expect("written");
    assert!(Store::open(dir.path(), options()).is_err());
    assert_eq!(std::fs::read(&file).expect("there"), b"something else");
    assert!(matches!(Store::open(&dir.path().join("absent"), options()), Err(OpenError::Io { .. })));
}

#[tokio::test]
async fn a_refused_command_writes_nothing_and_is_counted_in_the_audit() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    store.submit(create(1, "one"), user()).await.expect("carried out");
    let (view, commits) = (store.view(), store.metrics().commits);
    for number in 2..50 {
        let refused = store.submit(create(number, "one"), user()).await;
        assert!(matches!(refused, Err(SubmitError::Refused(Refusal::Exists { .. }))));
        store.note_refusal("eve", "login", None, "wrong password");
    }
    assert_eq!(store.metrics().commits, commits);
    assert!(Arc::ptr_eq(&view, &store.view()));
    store.close().await;

    let store = open(dir.path());
    let audit = store.audit(100).await.expect("read");
    let of = |actor: &str| audit.iter().filter(|entry| entry.actor == actor).collect::<Vec<_>>();
    assert_eq!(of("anna").len(), 49, "one done, and refusals of 48 different nodes");
    let [login] = of("eve")[..] else { panic!("{audit:?}") };
    assert!(matches!(&login.outcome, Outcome::Refused { count: 48, reason, .. } if reason == "wrong password"));
    let done = audit.iter().filter(|entry| entry.outcome == Outcome::Done).collect::<Vec<_>>();
    assert_eq!((done.len(), done[0].what.as_str()), (1, "create-node"));
}

#[tokio::test]
async fn what_the_appliance_says_to_itself_is_not_audited() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    store.submit(create(1, "one"), ENGINE).await.expect("carried out");
    assert_eq!(store.audit(10).await, Ok(Vec::new()));
}

#[tokio::test]
async fn followers_find_what_they_are_told_of_and_hear_of_the_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let mut feed = store.subscribe();
    let first = store.submit(create(1, "one"), user()).await.expect("carried out");
    let Some(News::Update(update)) = feed.next().await else { panic!("an update was due") };
    assert_eq!(update.snapshot, first.snapshot);
    assert_eq!((update.changes.len(), update.events.len()), (1, 1));
    assert!(store.view().node(node_id(1)).is_some());
    let mut answer = None;
    while store.snapshot() < first.snapshot + 1100 {
        let on = answer.is_none_or(|on: bool| !on);
        answer = Some(on);
        let command = Command::SetMaintenance { node: node_id(1), on, reason: None };
        store.submit(command, ENGINE).await.expect("carried out");
    }
    assert!(matches!(feed.next().await, Some(News::Missed)), "who is slow is told");
    let Some(News::Update(update)) = feed.next().await else { panic!("it goes on after that") };
    assert!(update.snapshot <= store.snapshot());
    store.close().await;
    while feed.next().await.is_some() {}
    assert!(store.subscribe().next().await.is_none());
}

#[tokio::test]
async fn events_are_paged_filtered_and_trimmed() {
    let dir = tempfile::tempdir().expect("a folder");
    let events = Retention { at_most: 10, at_least: 5, days: 1 };
    let store = Store::open(dir.path(), Options { events, ..options() }).expect("open");
    let begin = store.newest_cursor();
    for number in 1..=8 {
        store.submit(create(number, &format!("n{number}")), user()).await.expect("carried out");
    }
    let page = store.events_after(Some(begin), 3, |_| true).await.expect("read");
    assert_eq!((page.events.len(), page.more), (3, true));
    let next = store.cursor_from_text(&store.cursor_text(page.next)).expect("our own");
    let rest = store.events_after(Some(next), 100, |event| event.node == Some(node_id(8))).await.expect("read");
    assert_eq!((rest.events.len(), rest.more), (1, false));
    assert_eq!(rest.next, store.newest_cursor());
    let end = store.events_after(Some(rest.next), 100, |_| true).await.expect("read");
    assert_eq!((end.events.len(), end.next, end.more), (0, rest.next, false));

    for number in 9..=30 {
        store.submit(create(number, &format!("n{number}")), user()).await.expect("carried out");
    }
    assert_eq!(store.events_after(None, 100, |_| true).await.expect("read").events.len(), 10);
    let error = store.events_after(Some(begin), 100, |_| true).await.expect_err("gone");
    assert_eq!(error, ReadError::Cursor(CursorError::TooOld));
    assert_eq!(store.cursor_from_text("x"), Err(CursorError::Unknown));

    let (text, newest) = (store.cursor_text(store.newest_cursor()), store.newest_cursor());
    store.close().await;
    let store = open(dir.path());
    assert_eq!(store.cursor_from_text(&text), Ok(newest), "cursors outlive a restart");
}

#[tokio::test]
async fn old_events_go_but_a_clock_that_jumps_does_not_empty_the_history() {
    use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
    let dir = tempfile::tempdir().expect("a folder");
    let second = Arc::new(AtomicI64::new(1_800_000_000));
    let clock = second.clone();
    let keep = Retention { at_most: 100, at_least: 4, days: 1 };
    let store = Store::open(
        dir.path(),
        Options {
            clock: Arc::new(move || jiff::Timestamp::from_second(clock.load(SeqCst)).expect("a time")),
            events: keep,
            audit: keep,
            trim_every: Duration::ZERO,
            ..options()
        },
    )
    .expect("open");
    for number in 1..=9 {
        store.submit(create(number, &format!("n{number}")), user()).await.expect("carried out");
    }
    assert_eq!(store.events_after(None, 100, |_| true).await.expect("read").events.len(), 9);
    second.fetch_add(40 * 86_400, SeqCst);
    store.submit(create(10, "n10"), user()).await.expect("carried out");
    let trimmed = async {
        while store.events_after(None, 100, |_| true).await.expect("read").events.len() > 4 {}
        while store.audit(100).await.expect("read").len() > 4 {}
    };
    tokio::time::timeout(DEADLINE, trimmed).await.expect("in time");
    assert_eq!(store.events_after(None, 100, |_| true).await.expect("read").events.len(), 4);
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused_in_words_and_left_alone() {
    const META: redb::TableDefinition<&str, &[u8]> = redb::TableDefinition::new("meta");
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    store.submit(create(1, "one"), user()).await.expect("carried out");
    store.close().await;
    let write = |schema: u32| {
        let database = redb::Database::open(dir.path().join("leasehold.redb")).expect("open");
        let transaction = database.begin_write().expect("begun");
        let mut table = transaction.open_table(META).expect("there");
        table.insert("schema", schema.to_be_bytes().as_slice()).expect("written");
        drop(table);
        transaction.commit().expect("committed");
    };
    write(99);
    let error = Store::open(dir.path(), options()).err().expect("refused");
    assert!(matches!(error, OpenError::Newer { found: 99, known, .. } if known < 99), "{error}");
    assert!(error.to_string().contains("newer version of the program"), "{error}");
    write(5);
    assert!(open(dir.path()).view().node(node_id(1)).is_some());
}

async fn node_with_port(store: &Store) {
    store.submit(create(1, "one"), user()).await.expect("carried out");
    let settings = PortSettings::new(node_id(1), "52:54:00:00:00:01".parse().expect("an address"));
    let command = Command::CreatePort { id: PortId(Uuid::from_u128(1)), settings: Box::new(settings) };
    store.submit(command, user()).await.expect("carried out");
}

/// Runs the power job with this number to its end.
async fn power_job(store: &Store, number: u128) {
    use leasehold_domain::command::StepEnd;
    let job = JobId(Uuid::from_u128(number));
    let step = StepName::ChangePower;
    let power = Command::Power { node: node_id(1), target: PowerTarget::On, job, soft_timeout: None };
    for command in [power, Command::StartStep { job, step }, Command::EndStep { job, step, end: StepEnd::Done(None) }] {
        store.submit(command, ENGINE).await.expect("carried out");
    }
}

#[tokio::test]
async fn ended_jobs_leave_memory_and_stay_in_the_timeline() {
    let dir = tempfile::tempdir().expect("a folder");
    let few = Options { jobs_per_node: 3, ..options() };
    let store = Store::open(dir.path(), few.clone()).expect("open");
    node_with_port(&store).await;
    for number in 1..=6 {
        power_job(&store, number).await;
    }
    assert_eq!(store.view().jobs().count(), 1);
    let numbers = |jobs: Vec<Arc<leasehold_domain::job::Job>>| -> Vec<u128> {
        jobs.iter().map(|job| job.id.0.as_u128()).collect()
    };
    assert_eq!(numbers(store.jobs_of(node_id(1), 10).await.expect("read")), [6, 5, 4, 3], "the last and three older");
    assert_eq!(numbers(store.jobs_of(node_id(1), 2).await.expect("read")), [6, 5]);
    store.close().await;
    let store = Store::open(dir.path(), few).expect("open");
    assert_eq!(numbers(store.jobs_of(node_id(1), 10).await.expect("read")), [6, 5, 4, 3]);
    store.submit(Command::DeleteNode { id: node_id(1) }, user()).await.expect("carried out");
    assert_eq!(numbers(store.jobs_of(node_id(1), 10).await.expect("read")), [0_u128; 0]);
}

#[tokio::test]
async fn a_config_drive_is_there_while_its_job_runs_and_not_in_history() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    node_with_port(&store).await;
    let input = JobInput { config_drive: Some("SECRETDRIVE".repeat(1000)), ..JobInput::default() };
    let job = JobId(Uuid::from_u128(1));
    let verb = Command::Provision { node: node_id(1), verb: Verb::Manage, job, input: Box::new(input.clone()) };
    store.submit(verb, user()).await.expect("carried out");
    let progress = Command::StartStep { job, step: StepName::CheckBmc };
    store.submit(progress, ENGINE).await.expect("carried out");
    store.close().await;
    let store = open(dir.path());
    assert_eq!(store.view().job(job).expect("it runs").input, input);
    let end = leasehold_domain::command::StepEnd::Failed("no".into());
    store.submit(Command::EndStep { job, step: StepName::CheckBmc, end }, ENGINE).await.expect("carried out");
    power_job(&store, 2).await;
    let jobs = store.jobs_of(node_id(1), 10).await.expect("read");
    assert_eq!(jobs.iter().map(|job| job.input.config_drive.is_some()).collect::<Vec<_>>(), [false, false]);
}

/// The live rows on disk that hold these bytes.
async fn rows_with(dir: &std::path::Path, bytes: &[u8]) -> Vec<usize> {
    let database = redb::Database::open(dir.join("leasehold.redb")).expect("a database");
    let read = redb::ReadableDatabase::begin_read(&database).expect("a transaction");
    let mut found = Vec::new();
    for name in ["live", "cold"] {
        let table = read.open_table(redb::TableDefinition::<&[u8], &[u8]>::new(name)).expect("a table");
        for row in redb::ReadableTable::iter(&table).expect("rows") {
            let (_, value) = row.expect("a row");
            found.extend(value.value().windows(bytes.len()).any(|part| part == bytes).then(|| value.value().len()));
        }
    }
    found
}

#[tokio::test]
async fn a_config_drive_that_a_node_keeps_lies_beside_it_and_goes_with_its_user() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    node_with_port(&store).await;
    let drive = format!("H4sI{}", "SECRETDRIVE".repeat(1000));
    let change = |view: &View, drive: Option<&str>, lessee: Option<&str>| {
        let node = view.node(node_id(1)).expect("there");
        let mut settings = node.settings.clone();
        settings.lessee = lessee.map(str::to_owned);
        drive.map(|drive| settings.instance_info.insert("configdrive".into(), drive.into()));
        Command::ChangeNode { id: node.id, revision: node.revision, settings: Box::new(settings), maintenance: None }
    };
    let given = change(&store.view(), Some(&drive), None);
    store.submit(given, user()).await.expect("carried out");
    power_job(&store, 2).await;
    let before = rows(&store.view());
    store.close().await;
    let [length] = rows_with(dir.path(), b"SECRETDRIVE").await[..] else { panic!("it is there once") };
    assert!(length < drive.len() + 100, "beside the node's row, not in it");
    let store = open(dir.path());
    assert_eq!(rows(&store.view()), before, "as before the start");
    assert_eq!(store.view().node(node_id(1)).expect("there").settings.instance_info["configdrive"], drive.as_str());
    let lent = change(&store.view(), None, Some("ada"));
    store.submit(lent, user()).await.expect("carried out");
    store.close().await;
    assert_eq!(rows_with(dir.path(), b"SECRETDRIVE").await, [0_usize; 0], "another's");
    let store = open(dir.path());
    let again = change(&store.view(), Some(&drive), Some("ada"));
    store.submit(again, user()).await.expect("carried out");
    store.submit(Command::DeleteNode { id: node_id(1) }, user()).await.expect("carried out");
    store.close().await;
    assert_eq!(rows_with(dir.path(), b"SECRETDRIVE").await, [0_usize; 0], "the node is gone");
}

#[tokio::test]
async fn the_newest_binding_is_a_clients_also_after_a_restart() {
    use leasehold_domain::address::{Binding, ClientKey, Hold};
    use leasehold_domain::mac::Mac;
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let client = ClientKey::Mac(mac);
    for (second, last) in [(1, 5), (2, 3), (3, 4)] {
        let time = jiff::Timestamp::from_second(second).expect("a time");
        let hold = Hold::Bound { client: client.clone(), mac };
        let address = std::net::Ipv4Addr::new(10, 0, 0, last);
        let binding = Binding { address, hold, since: time, expires: time };
        store.submit(Command::Bind(binding), ENGINE).await.expect("carried out");
    }
    let address = |store: &Store| store.view().binding_of(&client).map(|binding| binding.address.octets()[3]);
    assert_eq!(address(&store), Some(4));
    store.close().await;
    assert_eq!(address(&open(dir.path())), Some(4));
}

#[tokio::test]
async fn an_inventory_is_read_from_disk() {
    fn rules(view: &View, command: &Command, context: &Context) -> Result<Decision, Refusal> {
        use leasehold_domain::view::Change;
        let mut decision = leasehold_domain::decide(view, command, context)?;
        if let Command::CreateNode { id, .. } = command {
            decision.changes.push(Change::PutInventory(*id, Arc::new(json!({ "cpu": { "count": 4 } }))));
        }
        Ok(decision)
    }
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path(), Options { rules, ..options() }).expect("open");
    store.submit(create(1, "one"), user()).await.expect("carried out");
    assert_eq!(store.inventory(node_id(1)).await, Ok(Some(json!({ "cpu": { "count": 4 } }))));
    assert_eq!(store.inventory(node_id(2)).await, Ok(None));
    store.submit(Command::DeleteNode { id: node_id(1) }, user()).await.expect("carried out");
    assert_eq!(store.inventory(node_id(1)).await, Ok(None));
}

/// Holds the committer in a decision, so that what comes meanwhile becomes one batch.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    moved: Condvar,
}

impl Gate {
    fn pass(&self) {
        let open = self.open.lock().expect("locked");
        let (open, late) = self.moved.wait_timeout_while(open, DEADLINE, |open| !*open).expect("locked");
        drop(open);
        assert!(!late.timed_out(), "the gate stayed closed");
    }

    fn open(&self) {
        *self.open.lock().expect("locked") = true;
        self.moved.notify_all();
    }
}

async fn queued(store: &Store, number: u64) {
    let full = async {
        while store.metrics().queued < number {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), full).await.expect("they are queued in time");
}

#[tokio::test]
async fn of_two_that_conflict_in_one_batch_one_wins_and_a_panic_harms_nobody() {
    static GATE: Gate = Gate { open: Mutex::new(false), moved: Condvar::new() };
    fn rules(view: &View, command: &Command, context: &Context) -> Result<Decision, Refusal> {
        if let Command::CreateNode { settings, .. } = command {
            match settings.name.as_deref() {
                Some("gate") => GATE.pass(),
                Some("panic") => panic!("a defect, as this test wants it"),
                _ => {}
            }
        }
        leasehold_domain::decide(view, command, context)
    }
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path(), Options { rules, ..options() }).expect("open");
    let submit = |number: u128, name: &'static str| {
        let store = store.clone();
        tokio::spawn(async move { store.submit(create(number, name), user()).await })
    };
    let gate = submit(1, "gate");
    queued(&store, 1).await;
    let mut rest = Vec::new();
    for (number, name) in [(2, "same"), (3, "panic"), (4, "same"), (5, "other")] {
        rest.push(submit(number, name));
        queued(&store, number as u64).await;
    }
    GATE.open();
    gate.await.expect("no panic").expect("carried out");
    let mut results = Vec::new();
    for handle in rest {
        results.push(handle.await.expect("no panic"));
    }
    assert!(results[0].is_ok(), "{results:?}");
    assert!(matches!(&results[1], Err(SubmitError::Failed { .. })), "{results:?}");
    assert!(matches!(&results[2], Err(SubmitError::Refused(Refusal::Exists { .. }))), "{results:?}");
    assert!(results[3].is_ok(), "{results:?}");
    assert!(store.metrics().commits <= 2, "they were one batch: {:?}", store.metrics());
    store.close().await;
    let view = open(dir.path()).view();
    assert_eq!(view.nodes_after(None).map(|node| node.id).collect::<Vec<_>>(), [node_id(1), node_id(2), node_id(5)]);
}
