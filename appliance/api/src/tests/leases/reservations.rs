//! Several nodes at once, or none.

use super::*;

const PATH: &str = "/appliance/v1/reservations";

impl Market {
    async fn reserve(&self, who: &Tenant, method: &str, more: &str, body: Value) -> Reply {
        let headers = [("x-auth-token", who.token.as_str()), ("idempotency-key", "k")];
        let headers = if method == "POST" { &headers[..] } else { &headers[..1] };
        let answer = self.rig.ask(method, &format!("{PATH}{more}"), body, headers).await;
        (answer.status, answer.body)
    }

    /// Two more nodes, and an offer of each of the three from [`DAY`] on.
    async fn three(&self) {
        for name in ["n2", "n3"] {
            self.ready_node(name).await;
        }
        for name in ["n1", "n2", "n3"] {
            self.made(&self.owner, "/offers", json!({"resource_uuid": name, "start_time": DAY})).await;
        }
    }
}

fn wish(count: usize, end: &str) -> Value {
    json!({"nodes": [{"count": count, "resource_class": "gpu", "properties": {"cpus": "8"}}],
           "start_time": DAY, "end_time": end, "name": "team"})
}

#[tokio::test]
async fn all_or_nothing_and_moved_and_given_back_as_one() {
    let market = Market::new().await;
    market.three().await;
    let before = market.everything().await;
    let (status, answer) = market.reserve(&market.lessee, "POST", "", wish(4, "2090-01-03T00:00:00")).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    assert!(words(&answer).starts_with("3 of 4 `gpu` free from 2090-01-01"), "{answer}");
    assert!(words(&answer).contains("no offer has 4 for so long"), "{answer}");
    assert_eq!(market.everything().await, before);

    let (status, first) = market.reserve(&market.lessee, "POST", "", wish(2, "2090-01-03T00:00:00")).await;
    assert_eq!(status, StatusCode::CREATED, "{first}");
    let again = market.reserve(&market.lessee, "POST", "", wish(2, "2090-01-03T00:00:00")).await;
    assert_eq!(again, (StatusCode::CREATED, first.clone()), "sent again");
    assert_eq!(first["leases"].as_array().map(Vec::len), Some(2));
    assert!(first["leases"].as_array().expect("a list").iter().all(|lease| {
        lease["leasehold_reservation_uuid"] == first["uuid"] && lease["project_id"] == market.lessee.project
    }));
    let short = market.reserve(&market.sublessee, "POST", "", wish(2, "2090-01-02T00:00:00")).await;
    assert_eq!(short.0, StatusCode::CONFLICT);
    assert!(words(&short.1).starts_with("1 of 2 `gpu`"), "{}", short.1);
    assert!(words(&short.1).ends_with("2 from 2090-01-03T00:00:00 UTC."), "{}", short.1);

    let one = format!("/{}", uuid(&first));
    for who in [&market.sublessee, &market.stranger] {
        for (method, body) in
            [("GET", Value::Null), ("PATCH", json!({"end_time": "2090-01-02T00:00:00"})), ("DELETE", Value::Null)]
        {
            assert_eq!(market.reserve(who, method, &one, body).await.0, StatusCode::NOT_FOUND, "{method}");
        }
        let (_, list) = market.reserve(who, "GET", "", Value::Null).await;
        assert_eq!(list, json!({"reservations": []}));
    }
    let moved = market.reserve(&market.admin, "PATCH", &one, json!({"end_time": "2090-01-04T00:00:00"})).await;
    assert_eq!((moved.0, &moved.1["end_time"]), (StatusCode::OK, &json!("2090-01-04T00:00:00")), "{}", moved.1);
    let gone = market.reserve(&market.lessee, "DELETE", &one, Value::Null).await;
    assert_eq!(gone, (StatusCode::OK, Value::Null));
    assert_eq!(market.reserve(&market.lessee, "GET", &one, Value::Null).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_key_is_for_one_wish_and_answers_it_for_ever() {
    let market = Market::new().await;
    market.three().await;
    let body = wish(2, "2090-01-03T00:00:00");
    let (status, first) = market.reserve(&market.lessee, "POST", "", body.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{first}");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut body = body.clone();
        change(&mut body);
        body
    };
    let others = [
        changed(&|body| body["end_time"] = json!("2090-01-04T00:00:00")),
        changed(&|body| body["start_time"] = json!("2090-01-02T00:00:00")),
        changed(&|body| body["nodes"][0]["resource_class"] = Value::Null),
        changed(&|body| body["nodes"][0]["properties"] = json!({"cpus": "16"})),
        changed(&|body| body["nodes"][0]["count"] = json!(3)),
    ];
    let used_otherwise = async || {
        for other in &others {
            let (status, answer) = market.reserve(&market.lessee, "POST", "", other.clone()).await;
            assert_eq!(status, StatusCode::CONFLICT, "{other}: {answer}");
            assert!(words(&answer).contains("Idempotency-Key"), "{answer}");
        }
    };
    used_otherwise().await;
    let leases: Vec<_> = first["leases"].as_array().expect("a list").iter().map(uuid).collect();
    for (over, lease) in leases.iter().enumerate() {
        let path = format!("/leases/{lease}");
        assert_eq!(market.ask(&market.lessee, "DELETE", &path, Value::Null).await.0, StatusCode::OK);
        let (status, again) = market.reserve(&market.lessee, "POST", "", body.clone()).await;
        assert_eq!((status, &again["uuid"]), (StatusCode::CREATED, &first["uuid"]), "{again}");
        let states: Vec<_> = again["leases"].as_array().expect("a list").iter().map(|one| &one["status"]).collect();
        assert_eq!((states.len(), states.iter().filter(|state| **state == "deleted").count()), (2, over + 1));
        used_otherwise().await;
    }
}

#[tokio::test]
async fn an_owner_has_no_say_in_the_leases_of_another() {
    let market = Market::new().await;
    let other = &market.sublessee;
    market.ready_node("n2").await;
    let theirs = json!([{"op": "replace", "path": "/owner", "value": other.project}]);
    assert_eq!(market.rig.call("PATCH", "/nodes/n2", theirs).await.0, StatusCode::OK);
    for (who, node) in [(&market.owner, "n1"), (other, "n2")] {
        market.made(who, "/offers", json!({"resource_uuid": node})).await;
    }
    let wish = json!({"nodes": [{"count": 2}], "name": "team"});
    let (status, made) = market.reserve(&market.lessee, "POST", "", wish).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let leases = made["leases"].as_array().expect("a list");
    for lease in leases {
        market.until_lease_is(lease, LeaseState::Active).await;
    }
    let of = |owner: &Tenant| leases.iter().find(|lease| lease["owner_id"] == owner.project).expect("one of each");
    let one = format!("/{}", uuid(&made));
    let soon = json!({"end_time": "2090-01-01T00:00:00"});
    for who in [&market.owner, other] {
        let (_, shown) = market.reserve(who, "GET", &one, Value::Null).await;
        let uuids: Vec<_> = shown["leases"].as_array().expect("a list").iter().map(uuid).collect();
        assert_eq!(uuids, [uuid(of(who))], "his own");
        for (method, body) in [("PATCH", soon.clone()), ("DELETE", Value::Null)] {
            let (status, answer) = market.reserve(who, method, &one, body).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{method}: {answer}");
        }
    }
    // Nor when his own has ended.
    let path = format!("/leases/{}", uuid(of(&market.owner)));
    assert_eq!(market.ask(&market.owner, "DELETE", &path, Value::Null).await.0, StatusCode::OK);
    for (method, body) in [("PATCH", soon), ("DELETE", Value::Null)] {
        let (status, answer) = market.reserve(&market.owner, method, &one, body).await;
        assert!(matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND), "{method}: {answer}");
    }
    let lease = market.get(other, &format!("/leases/{}", uuid(of(other)))).await;
    assert_eq!((&lease["status"], &lease["end_time"]), (&json!("active"), &of(other)["end_time"]));
    // Whoever has all of them has a say in them.
    assert_eq!(market.reserve(&market.lessee, "DELETE", &one, Value::Null).await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_wish_is_refused_and_changes_nothing() {
    let market = Market::new().await;
    market.three().await;
    let before = market.everything().await;
    let bodies = [
        json!({}),
        json!({"nodes": []}),
        json!({"nodes": 3}),
        json!({"nodes": [1]}),
        json!({"nodes": [{"count": 0}]}),
        json!({"nodes": [{"count": -1}]}),
        json!({"nodes": [{"count": 1.5}]}),
        json!({"nodes": [{"count": 101}]}),
        json!({"nodes": [{"count": 60}, {"count": 60}]}),
        json!({"nodes": [{"count": 1, "node": "n1"}]}),
        json!({"nodes": [{"resource_class": 3}]}),
        json!({"nodes": [{"traits": "CUSTOM_A"}]}),
        json!({"nodes": [{"properties": []}]}),
        json!({"nodes": vec![json!({}); 9]}),
        json!({"nodes": [{}], "project_id": "owner"}),
        json!({"nodes": [{}], "start_time": DAY, "end_time": DAY}),
        json!({"nodes": [{}], "start_time": "2090-02-01T00:00:00", "end_time": DAY}),
        json!({"nodes": [{}], "start_time": "soon"}),
        json!([]),
    ];
    for body in bodies {
        let (status, answer) = market.reserve(&market.lessee, "POST", "", body.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
    }
    let too_long = market.reserve(&market.lessee, "POST", "", wish(1, "2090-02-01T00:00:00")).await;
    assert_eq!(too_long.0, StatusCode::FORBIDDEN, "{}", too_long.1);
    assert_eq!(market.everything().await, before);
}
