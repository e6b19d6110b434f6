//! Events of leases: who was concerned is told, and nobody else.

use super::*;

fn kinds(list: &Value) -> Vec<String> {
    let rows = list["events"].as_array().expect("events");
    rows.iter().map(|row| row["event_type"].as_str().expect("a type").replace("esi_leap.lease.", "")).collect()
}

#[tokio::test]
async fn a_leases_life_is_told_to_both_sides_of_it() {
    let market = Market::new().await;
    let lease = market.active_lease().await;
    let moved = json!({"end_time": "2026-01-01T00:00:00"});
    assert_eq!(market.ask(&market.lessee, "PATCH", "/leases/mine", moved).await.0, StatusCode::BAD_REQUEST, "over");
    assert_eq!(market.ask(&market.owner, "DELETE", "/leases/mine", Value::Null).await.0, StatusCode::OK);
    market.after(&market.owner, &lease).await;
    let all = market.get(&market.lessee, "/events").await;
    assert_eq!(kinds(&all), ["fulfill.start", "fulfill.end", "delete.start", "delete.end"]);
    let first = &all["events"][0];
    assert_eq!(
        (&first["object_type"], &first["object_uuid"], &first["resource_type"], &first["resource_uuid"]),
        (&json!("lease"), &lease["uuid"], &json!("ironic_node"), &json!(market.node))
    );
    assert_eq!(
        (&first["lessee_id"], &first["owner_id"]),
        (&json!(market.lessee.project), &json!(market.owner.project))
    );
    assert!(first["event_time"].is_string());
    for who in [&market.owner, &market.admin] {
        assert_eq!(market.get(who, "/events").await, all);
    }
    for who in [&market.stranger, &market.sublessee] {
        assert_eq!(market.get(who, "/events").await["events"], json!([]));
        let others = market.ask(who, "GET", "/events?lessee_or_owner_id=lessee", Value::Null).await;
        assert_eq!(others.0, StatusCode::FORBIDDEN, "{}", others.1);
    }
    let id = |index: usize| all["events"][index]["id"].as_u64().expect("a whole number");
    assert!((0..3).all(|index| id(index) < id(index + 1)));
    for (query, expected) in [
        (format!("last_event_id={}", id(1)), &["delete.start", "delete.end"][..]),
        (format!("last_event_id={}", id(3)), &[]),
        ("last_event_id=0&event_type=esi_leap.lease.fulfill.end".into(), &["fulfill.end"]),
        (format!("last_event_time={}", all["events"][3]["event_time"].as_str().expect("a time")), &[]),
        (
            "last_event_time=2020-01-01T00:00:00&resource_uuid=n1&event_type=esi_leap.lease.delete.end".into(),
            &["delete.end"],
        ),
        ("resource_uuid=n2".into(), &[]),
        (
            format!("lessee_or_owner_id={}&resource_type=ironic_node&last_event_id={}", market.lessee.project, id(2)),
            &["delete.end"],
        ),
    ] {
        assert_eq!(kinds(&market.get(&market.lessee, &format!("/events?{query}")).await), expected, "{query}");
    }
    assert_eq!(kinds(&market.get(&market.admin, "/events?lessee_or_owner_id=stranger").await), [""; 0]);
}

#[tokio::test]
async fn what_was_asked_and_refused_is_in_the_audit() {
    let market = Market::new().await;
    let offer = market.offer("off1").await;
    market.made(&market.lessee, "/offers/off1/claim", json!({"start_time": DAY, "name": "l"})).await;
    let refused = market.ask(&market.lessee, "DELETE", &format!("/offers/{}", uuid(&offer)), Value::Null).await;
    assert_eq!(refused.0, StatusCode::FORBIDDEN);
    assert_eq!(market.ask(&market.stranger, "DELETE", "/leases/l", Value::Null).await.0, StatusCode::NOT_FOUND);
    // What is hidden is noted apart from the answer: each turn lets the tasks that wait run.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    market.rig.api.engine.store.close().await;
    let reopened = Store::open(market.rig._folder.path(), Options::default()).expect("a store");
    let entries = reopened.audit(40).await.expect("the audit");
    let has = |what: &str, actor: &str| entries.iter().any(|entry| entry.what == what && entry.actor == actor);
    assert!(has("create-offer", "owner") && has("claim-offer", "lessee"), "{entries:?}");
    assert!(
        has("DELETE /lease/v1/offers/{ident}", "lessee") && has("DELETE /lease/v1/leases/{ident}", "stranger"),
        "{entries:?}"
    );
}
