//! What is wrong is refused clearly and changes nothing.

use super::*;

/// Bodies whose times are wrong.
fn times() -> Vec<Value> {
    let with = |name: &str, time: Value| json!({"resource_uuid": "n1", "project_id": "lessee", name: time});
    let mut bodies: Vec<Value> = [
        "0000-01-01T00:00:00",
        "0001-01-01T00:00:00",
        "9999-01-01T00:00:00",
        "10000-01-01T00:00:00",
        "2090-12-31T23:59:60",
        "2090-02-30T00:00:00",
        "2090-01-01",
        "tomorrow",
        "",
        "2090-01-01T00:00:00+99:00",
        "1.5",
        "\u{0}",
    ]
    .into_iter()
    .flat_map(|time| [with("start_time", json!(time)), with("end_time", json!(time))])
    .collect();
    bodies.extend([
        with("end_time", json!(7)),
        with("start_time", json!(["2090-01-01T00:00:00"])),
        with("end_time", json!(true)),
    ]);
    for (start, end) in [
        ("2090-01-02T00:00:00", "2090-01-01T00:00:00"),
        ("2090-01-01T00:00:00", "2090-01-01T00:00:00"),
        ("2020-01-01T00:00:00", "2020-01-02T00:00:00"),
    ] {
        bodies.push(json!({"resource_uuid": "n1", "project_id": "lessee", "start_time": start, "end_time": end}));
    }
    bodies
}

/// The members that a call does not know taken out of a body.
fn without(body: &Value, members: &[&str]) -> Value {
    let mut body = body.clone();
    if let Some(map) = body.as_object_mut() {
        members.iter().for_each(|member| drop(map.remove(*member)));
    }
    body
}

#[tokio::test]
async fn bad_requests_are_refused_and_change_nothing() {
    let market = Market::new().await;
    let offer = market.offer("off1").await;
    let lease = json!({"name": "l1", "start_time": DAY, "end_time": "2090-01-03T00:00:00"});
    let lease = market.made(&market.lessee, "/offers/off1/claim", lease).await;
    let (offer, lease) = (format!("/offers/{}", uuid(&offer)), format!("/leases/{}", uuid(&lease)));
    let claim = format!("{offer}/claim");
    let before = market.everything().await;

    let mut rows: Vec<(&Tenant, &str, &str, Value)> = Vec::new();
    for body in times() {
        rows.push((&market.owner, "POST", "/offers", without(&body, &["project_id"])));
        rows.push((&market.owner, "POST", "/leases", body.clone()));
        rows.push((&market.lessee, "POST", &claim, without(&body, &["project_id", "resource_uuid"])));
        if body.get("start_time").is_none() {
            rows.push((&market.lessee, "PATCH", &lease, without(&body, &["project_id", "resource_uuid"])));
        }
    }
    let with = |name: &str, value: Value| {
        let mut body = json!({"resource_uuid": "n1", "project_id": "lessee", "start_time": "2091-01-01T00:00:00"});
        body[name] = value;
        body
    };
    let (deep, large) = (json!({"a": "x".repeat(20_000)}), "x".repeat(256));
    for (name, value) in [
        ("colour", json!("red")),
        ("status", json!("active")),
        ("uuid", json!(Uuid::new_v4())),
        ("offer_uuid", json!(Uuid::new_v4())),
        ("parent_lease_uuid", json!(Uuid::new_v4())),
        ("owner_id", json!(market.lessee.project)),
        ("name", json!(7)),
        ("name", json!("two\nlines")),
        ("name", json!("\u{1b}[2J")),
        ("name", json!("pay \u{202e}eve")),
        ("purpose", json!("two\u{2028}lines")),
        ("name", json!(large)),
        ("properties", json!([])),
        ("properties", json!("x")),
        ("properties", deep),
        ("resource_type", json!("dummy_node")),
        ("resource_type", json!(7)),
    ] {
        rows.push((&market.owner, "POST", "/leases", with(name, value.clone())));
        rows.push((&market.owner, "POST", "/offers", without(&with(name, value.clone()), &["project_id"])));
        rows.push((&market.lessee, "POST", &claim, json!({"start_time": "2090-01-04T00:00:00", name: value})));
    }
    rows.extend([
        (&market.owner, "POST", "/offers", json!([])),
        (&market.owner, "POST", "/offers", json!("x")),
        (&market.owner, "POST", "/offers", json!({})),
        (&market.owner, "POST", "/offers", json!({"resource_uuid": null})),
        (&market.owner, "POST", "/offers", json!({"resource_uuid": ""})),
        (&market.owner, "POST", "/offers", json!({"resource_uuid": 7})),
        (&market.owner, "POST", "/offers", json!({"resource_uuid": "n1", "project_id": market.lessee.project})),
        (&market.owner, "POST", "/offers", json!({"resource_uuid": "n1", "lessee_id": "nobody"})),
        (&market.owner, "POST", "/offers", json!({"resource_uuid": "n1", "lessee_id": Uuid::new_v4()})),
        (&market.owner, "POST", "/offers", json!({"resource_uuid": "n1", "purpose": "x"})),
        (&market.owner, "POST", "/leases", json!({"resource_uuid": "n1"})),
        (&market.owner, "POST", "/leases", json!({"project_id": "lessee"})),
        (&market.owner, "POST", "/leases", with("project_id", json!("nobody"))),
        (&market.owner, "POST", "/leases", with("purpose", json!({}))),
        (&market.lessee, "POST", &claim, json!([])),
        (&market.lessee, "POST", &claim, json!({"project_id": market.lessee.project})),
        (&market.admin, "POST", &claim, json!({"start_time": "2090-01-04T00:00:00"})),
        (&market.lessee, "PATCH", &lease, json!({})),
        (&market.lessee, "PATCH", &lease, json!([])),
        (
            &market.lessee,
            "PATCH",
            &lease,
            json!([{"op": "replace", "path": "/end_time", "value": "2090-01-02T00:00:00"}]),
        ),
        (&market.lessee, "PATCH", &lease, json!({"end_time": null})),
        (&market.lessee, "PATCH", &lease, json!({"end_time": "2090-01-02T00:00:00", "name": "x"})),
        (&market.lessee, "PATCH", &lease, json!({"start_time": "2090-01-02T00:00:00"})),
        (&market.lessee, "PATCH", &lease, json!({"status": "deleted"})),
        (&market.lessee, "PATCH", &lease, json!({"project_id": market.sublessee.project})),
    ]);
    for (who, method, path, body) in rows {
        let (status, answer) = market.ask(who, method, path, body.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{method} {path} {body}: {answer}");
        assert!(!words(&answer).is_empty());
    }
    for query in [
        "/offers?colour=red",
        "/offers?status=gone",
        "/offers?start_time=2090-01-01T00:00:00",
        "/offers?available_end_time=2090-01-01T00:00:00",
        "/offers?start_time=2090-01-02T00:00:00&end_time=2090-01-01T00:00:00",
        "/offers?start_time=now&end_time=then",
        "/offers?resource_type=dummy_node",
        "/offers?status=any&status=any",
        "/leases?colour=red",
        "/leases?status=gone",
        "/leases?view=some",
        "/leases?end_time=2090-01-01T00:00:00",
        "/leases?resource_type=dummy_node",
        "/nodes?colour=red",
        "/events?last_event_id=x",
        "/events?last_event_id=-1",
        "/events?last_event_id=99999999999999999999999",
        "/events?last_event_time=now",
        "/events?event_type=esi_leap.lease.fulfil",
        "/events?colour=red",
    ] {
        let (status, answer) = market.ask(&market.lessee, "GET", query, Value::Null).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {answer}");
        assert!(!words(&answer).is_empty());
    }
    for body in ["{", "", "nul", "{\"resource_uuid\": \"n1\"", "\u{feff}{}"] {
        let headers = [("x-auth-token", market.owner.token.as_str()), ("authorization", "")];
        let request = Request::post("/lease/v1/offers")
            .header(headers[0].0, headers[0].1)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .expect("a request");
        let (status, answer) = market.rig.send(public(market.rig.api.clone()), request).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
    }
    assert_eq!(market.everything().await, before);
}

#[tokio::test]
async fn a_time_that_is_taken_is_refused_with_who_takes_it() {
    let market = Market::new().await;
    market.offer("off1").await;
    let claim = json!({"start_time": "2090-01-05T00:00:00", "end_time": "2090-01-07T00:00:00"});
    market.made(&market.lessee, "/offers/off1/claim", claim.clone()).await;
    let before = market.everything().await;
    let span = |start: &str, end: &str| json!({"start_time": start, "end_time": end});
    let on_node = |start: &str, end: &str| json!({"resource_uuid": "n1", "start_time": start, "end_time": end});
    let mut lease = on_node("2090-01-30T00:00:00", "2090-02-03T00:00:00");
    lease["project_id"] = json!("lessee");
    for (who, path, body, range) in [
        (&market.lessee, "/offers/off1/claim", claim, "2090-01-05T00:00:00Z until 2090-01-07T00:00:00Z"),
        (&market.lessee, "/offers/off1/claim", span("2090-01-06T23:59:59", "2090-01-08T00:00:00"), "2090-01-05"),
        (&market.lessee, "/offers/off1/claim", span("2089-12-31T00:00:00", "2090-01-02T00:00:00"), "2090-01-31"),
        (&market.owner, "/offers", on_node("2090-01-30T00:00:00", "2090-02-03T00:00:00"), "2090-01-31T00:00:00Z"),
        (&market.owner, "/leases", lease, "2090-01-31T00:00:00Z"),
    ] {
        let (status, answer) = market.ask(who, "POST", path, body.clone()).await;
        assert_eq!(status, StatusCode::CONFLICT, "{path} {body}: {answer}");
        assert!(words(&answer).contains(range), "{answer}");
    }
    assert_eq!(market.everything().await, before);
    // Half-open: who begins as another ends is not in his way.
    let next = span("2090-01-07T00:00:00", "2090-01-08T00:00:00");
    market.made(&market.lessee, "/offers/off1/claim", next).await;
    market.made(&market.owner, "/offers", on_node("2090-01-31T00:00:00", "2090-02-03T00:00:00")).await;
    assert_eq!(market.ask(&market.owner, "DELETE", "/offers/off1", Value::Null).await.0, StatusCode::OK);
    let late = market.ask(&market.lessee, "POST", "/offers/off1/claim", json!({"start_time": DAY})).await;
    assert_eq!(late.0, StatusCode::NOT_FOUND, "by its name it is gone");
}

#[tokio::test]
async fn nothing_is_said_twice_and_no_domain_has_a_lease() {
    let market = Market::new().await;
    let before = market.everything().await;
    let twice = r#"{"resource_uuid": "n1", "project_id": "sublessee", "project_id": "lessee"}"#;
    let headers = [("x-auth-token", market.owner.token.as_str()), ("content-type", "application/json")];
    let mut request = axum::http::Request::builder().method("POST").uri("/lease/v1/leases");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(axum::body::Body::from(twice)).expect("a request");
    let (status, answer) = market.rig.send(public(market.rig.api.clone()), request).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert!(words(&answer).contains("'project_id' is there twice"), "{answer}");
    let view = market.rig.api.engine.view();
    let domain = view.identity.projects().find(|project| project.is_domain()).expect("one").id_text();
    let body = json!({"resource_uuid": "n1", "project_id": domain});
    let (status, answer) = market.ask(&market.owner, "POST", "/leases", body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert!(words(&answer).contains("is a domain"), "{answer}");
    assert_eq!(market.everything().await, before);
}
