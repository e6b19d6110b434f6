//! A disk that is full or fails: changes are refused with a reason, reads go on, nothing is half done, and it ends by
//! itself.

use crate::common::{DEADLINE, ENGINE, FakeDisk, cases, create, node_id, options, rows, user, wait_for};
use crate::random::{any_wish, command};
use leasehold_domain::id::ImageId;
use leasehold_domain::{Command, Refusal};
use leasehold_store::{DiskAccess, Health, OpenError, Options, RealDisk, Store, SubmitError};
use proptest::prelude::*;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

fn on(disk: &Arc<FakeDisk>) -> Options {
    Options { disk: disk.clone(), ..options() }
}

fn open(dir: &Path, disk: &Arc<FakeDisk>) -> Store {
    Store::open(dir, on(disk)).expect("the store opens")
}

async fn ready(store: &Store, ballast: &Path) {
    wait_for(store, |health| *health == Health::Ready).await;
    let taken = async {
        while !ballast.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, taken).await.expect("the ballast is taken");
}

#[tokio::test]
async fn what_is_acknowledged_was_synced() {
    let dir = tempfile::tempdir().expect("a folder");
    let disk = Arc::new(FakeDisk::default());
    let store = open(dir.path(), &disk);
    for number in 1..20 {
        store.submit(create(number, &format!("n{number}")), user()).await.expect("carried out");
        assert_eq!(disk.last(), Some(DiskAccess::Sync), "power may fail now");
    }
}

#[tokio::test]
async fn little_space_is_refused_in_time_and_ends_by_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let disk = Arc::new(FakeDisk::default());
    let store = open(dir.path(), &disk);
    store.submit(create(1, "one"), user()).await.expect("carried out");
    disk.set_available(1000);
    let error = store.submit(create(2, "two"), user()).await.expect_err("refused");
    assert!(matches!(&error, SubmitError::DiskFull { reason } if reason.contains("free some space")), "{error}");
    assert!(store.view().node(node_id(1)).is_some(), "reads go on");
    assert_eq!(store.audit(10).await.expect("read").len(), 1);

    // What makes room is let through, to the rules.
    let id = ImageId(Uuid::from_u128(1));
    let relief = store.submit(Command::DeleteImage { id }, user()).await;
    assert!(matches!(relief, Err(SubmitError::Refused(Refusal::NotFound { .. }))), "{relief:?}");

    disk.set_available(u64::MAX);
    wait_for(&store, |health| *health == Health::Ready).await;
    store.submit(create(2, "two"), user()).await.expect("carried out");
    assert_eq!(disk.failures(), 0);
}

/// How many accesses to the file a commit makes, at most.
const ACCESSES: u64 = 40;

#[tokio::test]
async fn the_ballast_lets_the_commit_under_way_end_well() {
    let mut hit = 0;
    for accesses in 0..ACCESSES {
        let dir = tempfile::tempdir().expect("a folder");
        let disk = Arc::new(FakeDisk::default());
        let store = open(dir.path(), &disk);
        let ballast = dir.path().join("leasehold.ballast");
        ready(&store, &ballast).await;
        store.submit(create(1, "one"), user()).await.expect("carried out");
        disk.full_after_while(accesses, ballast.clone());
        store.submit(create(2, "two"), user()).await.expect("the ballast is enough for this one");
        if disk.failures() == 0 {
            break;
        }
        hit += 1;
        disk.heal();
        ready(&store, &ballast).await;
        store.submit(create(3, "three"), user()).await.expect("carried out");
        let before = rows(&store.view());
        assert_eq!(store.audit(10).await.expect("read").len(), 3);
        store.close().await;
        assert_eq!(rows(&open(dir.path(), &disk).view()), before);
    }
    assert!(hit > 3, "the disk was full at {hit} points only");
}

#[tokio::test]
async fn without_ballast_a_commit_fails_whole_wherever_the_disk_stops() {
    for (kind, accesses) in
        (0..ACCESSES).flat_map(|accesses| [(ErrorKind::StorageFull, accesses), (ErrorKind::Other, accesses)])
    {
        let dir = tempfile::tempdir().expect("a folder");
        let disk = Arc::new(FakeDisk::default());
        let none = Options { ballast_bytes: 0, ..on(&disk) };
        let store = Store::open(dir.path(), none.clone()).expect("open");
        store.submit(create(1, "one"), user()).await.expect("carried out");
        disk.fail_after(accesses, kind);
        let result = store.submit(create(2, "two"), user()).await;
        if disk.failures() == 0 {
            result.expect("nothing failed");
            continue;
        }
        match (&result, kind) {
            (Err(SubmitError::DiskFull { .. }), ErrorKind::StorageFull) => {}
            (Err(SubmitError::Failed { .. }), ErrorKind::Other) => {}
            other => panic!("after {accesses} accesses: {other:?}"),
        }
        assert!(store.view().node(node_id(1)).is_some(), "reads go on");
        let again = store.submit(create(3, "three"), user()).await;
        assert!(again.is_err(), "after {accesses} accesses: {again:?}");
        disk.heal();
        wait_for(&store, |health| *health == Health::Ready).await;
        let landed = store.view().node(node_id(2)).is_some();
        let events = store.events_after(None, 100, |_| true).await.expect("read").events.len();
        assert_eq!(events, if landed { 2 } else { 1 }, "no half of it");
        store.submit(create(4, "four"), user()).await.expect("carried out");
        let before = rows(&store.view());
        store.close().await;
        let store = Store::open(dir.path(), none).expect("open");
        assert_eq!(rows(&store.view()), before);
        assert_eq!(store.audit(10).await.expect("read").len(), if landed { 3 } else { 2 });
    }
}

#[tokio::test]
async fn a_start_on_a_full_disk_is_told_or_serves_reads() {
    let dir = tempfile::tempdir().expect("a folder");
    let disk = Arc::new(FakeDisk::default());
    disk.fail_after(0, ErrorKind::StorageFull);
    assert!(matches!(Store::open(dir.path(), on(&disk)), Err(OpenError::DiskFull { .. })));
    disk.heal();
    let store = open(dir.path(), &disk);
    store.submit(create(1, "one"), user()).await.expect("carried out");
    store.close().await;

    disk.set_available(1000);
    let store = open(dir.path(), &disk);
    wait_for(&store, |health| matches!(health, Health::Full(_))).await;
    assert!(store.view().node(node_id(1)).is_some());
    assert!(matches!(store.submit(create(2, "two"), user()).await, Err(SubmitError::DiskFull { .. })));
}

/// On a real file system that is nearly full. `LEASEHOLD_SMALL_DISK` names an empty folder on one of 24 to 64 MiB, such
/// as a tmpfs that was mounted for it; without it this test has nothing to do.
#[tokio::test]
async fn a_real_disk_that_fills_up() {
    let Ok(dir) = std::env::var("LEASEHOLD_SMALL_DISK") else { return };
    let dir = Path::new(&dir);
    let filler = dir.join("filler");
    // Without headroom the database itself meets the end of the disk.
    for headroom_bytes in [2 << 20, 0] {
        let small = Options { headroom_bytes, ballast_bytes: 1 << 20, disk: Arc::new(RealDisk), ..options() };
        let store = Store::open(dir, small.clone()).expect("open");
        wait_for(&store, |health| *health == Health::Ready).await;
        let mut file = std::fs::File::create(&filler).expect("created");
        while file.write_all(&[7; 4096]).is_ok() {}
        drop(file);
        let mut acknowledged = Vec::new();
        let first = store.view().node_count() as u128;
        let error = loop {
            let number = first + acknowledged.len() as u128;
            match store.submit(create(number, &format!("{}{number}", "n".repeat(200))), user()).await {
                Ok(_) => acknowledged.push(number),
                Err(error) => break error,
            }
            assert!(acknowledged.len() < 100_000, "the disk never becomes full");
        };
        assert!(matches!(error, SubmitError::DiskFull { .. }), "{error}");
        assert!(acknowledged.iter().all(|number| store.view().node(node_id(*number)).is_some()), "reads go on");
        store.events_after(None, 10, |_| true).await.expect("history too");
        assert_eq!(store.metrics().reopened > 0, headroom_bytes == 0, "headroom keeps the database from the end");
        std::fs::remove_file(&filler).expect("removed");
        wait_for(&store, |health| *health == Health::Ready).await;
        store.submit(create(first + acknowledged.len() as u128, "again"), user()).await.expect("carried out");
        store
            .submit(Command::DeleteNode { id: node_id(first + acknowledged.len() as u128) }, user())
            .await
            .expect("done");
        let last = rows(&store.view());
        store.close().await;
        let store = Store::open(dir, small).expect("open");
        assert_eq!(rows(&store.view()), last);
        store.close().await;
    }
}

proptest! {
    #![proptest_config(cases(16))]

    /// Whatever fails whenever: what was acknowledged is there, what memory says is what the disk says.
    #[test]
    fn a_failing_disk_never_divides_memory_and_disk(
        wishes in proptest::collection::vec(any_wish(), 10..60),
        faults in proptest::collection::vec((0_usize..60, 0_u64..30, any::<bool>()), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let dir = tempfile::tempdir().expect("a folder");
            let disk = Arc::new(FakeDisk::default());
            let store = open(dir.path(), &disk);
            for (number, wish) in wishes.iter().enumerate() {
                if let Some((_, accesses, full)) = faults.iter().find(|(at, _, _)| *at == number) {
                    disk.fail_after(*accesses, if *full { ErrorKind::StorageFull } else { ErrorKind::Other });
                }
                let view = store.view();
                let result = store.submit(command(&view, wish, 1000 + number as u128), ENGINE).await;
                match result {
                    Ok(_) | Err(SubmitError::Refused(_)) => {}
                    Err(SubmitError::DiskFull { .. } | SubmitError::Failed { .. }) => {
                        disk.heal();
                        wait_for(&store, |health| *health == Health::Ready).await;
                    }
                    Err(SubmitError::Closed) => panic!("the committer ended"),
                }
            }
            disk.heal();
            wait_for(&store, |health| *health == Health::Ready).await;
            let last = rows(&store.view());
            store.close().await;
            assert_eq!(rows(&open(dir.path(), &disk).view()), last);
        });
    }
}
