//! The log of events, by whose they are: nobody's page lacks one of his or has one of another's, and what is trimmed is
//! gone from every page.

use crate::common::{DEADLINE, ENGINE, cases, create, options};
use leasehold_domain::command::Answer;
use leasehold_domain::event::{Event, What};
use leasehold_domain::id::OfferId;
use leasehold_domain::lease::OfferState;
use leasehold_domain::{Command, Context, Decision, Refusal, View};
use leasehold_store::{CursorError, EventsBy, EventsFrom, Options, ReadError, Recorded, Retention, Store};
use proptest::prelude::*;
use std::path::Path;
use uuid::Uuid;

/// Each command is one event: whose is in the node's settings, and a resource class makes it one of an offer.
fn only_events(_: &View, command: &Command, context: &Context) -> Result<Decision, Refusal> {
    let Command::CreateNode { id, settings, .. } = command else { unreachable!() };
    let what = match settings.resource_class {
        Some(_) => What::OfferChanged { offer: OfferId(Uuid::nil()), state: OfferState::Available },
        None => What::NodeChanged,
    };
    let (owner, lessee) = (settings.owner.clone(), settings.lessee.clone());
    let events = vec![Event { at: context.now, node: Some(*id), owner, lessee, what }];
    Ok(Decision { changes: Vec::new(), events, answer: Answer::Done })
}

fn open(dir: &Path, options: Options) -> Store {
    Store::open(dir, Options { rules: only_events, ..options }).expect("the store opens")
}

/// An event of these projects.
fn event(owner: Option<u8>, lessee: Option<u8>, of_offer: bool) -> Command {
    let Command::CreateNode { id, mut settings, start } = create(1, "n") else { unreachable!() };
    let project = |number: u8| format!("p{number}");
    (settings.owner, settings.lessee) = (owner.map(project), lessee.map(project));
    settings.resource_class = of_offer.then(|| "x".into());
    Command::CreateNode { id, settings, start }
}

async fn tell(store: &Store, commands: Vec<Command>) {
    for result in store.submit_all(commands, &ENGINE).await {
        result.expect("carried out");
    }
}

/// All pages, of so many.
async fn all(store: &Store, by: &EventsBy, newest_first: bool, limit: usize) -> Vec<Recorded> {
    let (mut found, mut place) = (Vec::new(), None);
    loop {
        let from = if newest_first { EventsFrom::Before(place) } else { EventsFrom::After(place) };
        let page = store.events_of(by.clone(), from, limit, |_| true).await.expect("read");
        assert!(page.events.len() <= limit);
        found.extend(page.events);
        place = Some(page.next);
        if !page.more {
            return found;
        }
    }
}

fn is_wanted(by: &EventsBy, event: &Event) -> bool {
    let whose = |project: &Option<String>| match &by.whose {
        None => true,
        Some(projects) => project.as_ref().is_some_and(|project| projects.contains(project)),
    };
    (whose(&event.owner) || whose(&event.lessee))
        && (!by.leases || matches!(event.what, What::OfferChanged { .. }))
        && by.since.is_none_or(|since| event.at >= since)
        && by.until.is_none_or(|until| event.at < until)
}

proptest! {
    #![proptest_config(cases(24))]
    #[test]
    fn a_page_has_whose_it_is_and_nobody_elses(
        told in prop::collection::vec((prop::option::of(0..3_u8), prop::option::of(0..3_u8), any::<bool>()), 0..60),
        whose in prop::option::of(prop::collection::vec(0..4_u8, 0..3)),
        (leases, newest_first) in any::<(bool, bool)>(),
        (since, until) in (prop::option::of(0..60_usize), prop::option::of(0..60_usize)),
        limit in 1..20_usize,
        keep in 5..80_u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let dir = tempfile::tempdir().expect("a folder");
            let events = Retention { at_most: keep, at_least: 1, days: 90 };
            let store = open(dir.path(), Options { events, ..options() });
            tell(&store, told.into_iter().map(|(owner, lessee, offer)| event(owner, lessee, offer)).collect()).await;
            let log = all(&store, &EventsBy::default(), false, 1000).await;
            let time = |at: Option<usize>| at.and_then(|at| log.get(at)).map(|recorded| recorded.event.at);
            let whose = whose.map(|numbers| numbers.iter().map(|number| format!("p{number}")).collect());
            let by = EventsBy { whose, leases, since: time(since), until: time(until) };
            let mut wanted: Vec<_> = log.iter().filter(|recorded| is_wanted(&by, &recorded.event)).cloned().collect();
            if newest_first {
                wanted.reverse();
            }
            assert_eq!(all(&store, &by, newest_first, limit).await, wanted);
            store.close().await;
        });
    }
}

#[tokio::test]
async fn a_reader_of_few_goes_on_where_the_others_have_come_to() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), Options { events: Retention { at_most: 5, at_least: 1, days: 1 }, ..options() });
    let by = EventsBy { whose: Some(vec!["p1".into()]), ..EventsBy::default() };
    let mut place = store.newest_cursor();
    for _ in 0..5 {
        tell(&store, vec![event(Some(2), None, false); 3]).await;
        let page = store.events_of(by.clone(), EventsFrom::After(Some(place)), 10, |_| true).await.expect("kept");
        assert!(page.events.is_empty() && !page.more);
        // Else he would be told that his place is too old, who has missed nothing.
        place = page.next;
    }
    tell(&store, vec![event(Some(2), Some(1), false)]).await;
    let page = store.events_of(by.clone(), EventsFrom::After(Some(place)), 10, |_| true).await.expect("kept");
    assert_eq!(page.events.len(), 1);
    tell(&store, vec![event(Some(2), None, false); 6]).await;
    let late = store.events_of(by, EventsFrom::After(Some(place)), 10, |_| true).await;
    assert_eq!(late, Err(ReadError::Cursor(CursorError::TooOld)));
}

#[tokio::test]
async fn the_log_keeps_to_its_size_and_the_index_to_the_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let small = Options { events_bytes: 20_000, ..options() };
    let store = open(dir.path(), small);
    for _ in 0..20 {
        tell(&store, vec![event(Some(1), Some(2), true); 50]).await;
    }
    let own = EventsBy { whose: Some(vec!["p2".into()]), ..EventsBy::default() };
    let (log, found) = (all(&store, &EventsBy::default(), false, 1000).await, all(&store, &own, false, 1000).await);
    assert!((20..500).contains(&log.len()), "{} of a thousand", log.len());
    assert_eq!(log, found);
    assert_eq!(log.last().map(|recorded| recorded.cursor), Some(store.newest_cursor()));
    store.close().await;

    // A smaller bound of a later start is kept to without anything that happens.
    let less = Options { events_bytes: 4_000, trim_every: std::time::Duration::ZERO, ..options() };
    let store = open(dir.path(), less);
    let trimmed = async { while all(&store, &EventsBy::default(), false, 1000).await.len() > 40 {} };
    tokio::time::timeout(DEADLINE, trimmed).await.expect("in time");
    assert_eq!(all(&store, &own, false, 1000).await, all(&store, &EventsBy::default(), false, 1000).await);
}
