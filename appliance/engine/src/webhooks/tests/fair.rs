//! Webhooks beside others: slow ones, dead ones, quiet ones, and those who are told no more.

use super::*;
use leasehold_domain::policy::{Override, Text};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

#[tokio::test]
async fn a_project_has_a_few_requests_under_way_and_no_more() {
    let mut slow = Receiver::new(|_| String::new()).await;
    let patience = Duration::from_secs(2);
    let rig = Rig::new(|settings| settings.patience = patience);
    let own = rig.project("own").await;
    for _ in 0..=OF_A_PROJECT {
        rig.add(&slow.url, Some(&own), &["node"]).await;
    }
    rig.node("a", Some(&own)).await;
    slow.next().await;
    let first = Instant::now();
    for _ in 1..OF_A_PROJECT {
        slow.next().await;
    }
    slow.next().await;
    assert!(first.elapsed() >= patience / 2, "all of them came at once");
}

#[tokio::test]
async fn of_a_receiver_that_is_dead_the_old_events_are_each_tried_once() {
    let dead = Receiver::new(|_| answer("500 No")).await;
    let rig = Rig::new(|settings| settings.give_up = Duration::ZERO);
    let (id, _) = rig.add(&dead.url, None, &["node"]).await;
    for name in ["a", "b", "c"] {
        rig.node(name, None).await;
    }
    rig.until(|view| view.notices.dead_letters(id).count() == 3).await;
    let tries: Vec<u32> = rig.store.view().notices.dead_letters(id).map(|letter| letter.tries).collect();
    assert_eq!(tries, [3, 1, 1]);
}

#[tokio::test]
async fn the_place_of_a_quiet_project_does_not_stay_behind() {
    let rig = Rig::new(|settings| settings.look_every = Duration::from_millis(20));
    let quiet = rig.project("quiet").await;
    let (id, _) = rig.add("http://127.0.0.1:1/", Some(&quiet), &[]).await;
    rig.node("a", Some(&"7".repeat(32))).await;
    let end = rig.store.newest_cursor().number();
    rig.until(|view| view.notices.delivery(id).is_some_and(|delivery| delivery.done == end)).await;
}

#[tokio::test]
async fn the_rules_that_count_are_those_of_the_moment_of_each_delivery() {
    let closed = Arc::new(AtomicBool::new(false));
    let close = closed.clone();
    let mut receiver = Receiver::new(move |_| {
        close.store(true, Ordering::SeqCst);
        answer("200 OK")
    })
    .await;
    let mut rig = Rig::new(|_| {});
    let own = rig.project("own").await;
    let (id, _) = rig.add(&receiver.url, Some(&own), &["node.created"]).await;
    rig.stop().await;
    for name in ["a", "b"] {
        rig.node(name, Some(&own)).await;
    }
    let nobody = [Override { name: crate::events::EVENT.into(), text: Text::Rule("!".into()), line: 1 }];
    let shut = Arc::new(Policy::with(&nobody).expect("rules"));
    rig.rules = Arc::new(move || if closed.load(Ordering::SeqCst) { shut.clone() } else { Arc::default() });
    let end = rig.store.newest_cursor().number();
    rig.start();
    rig.until(|view| view.notices.delivery(id).is_some_and(|delivery| delivery.done == end)).await;
    assert_eq!(receiver.next().await.name(), "a");
    assert!(!receiver.has_more(), "it was told what is its no more");
}
