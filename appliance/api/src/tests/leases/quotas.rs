//! Quotas: who sets and sees them, and what passes one.

use super::*;

const PATH: &str = "/appliance/v1/quotas";

impl Market {
    pub(super) async fn own(&self, who: &Tenant, method: &str, path: &str, body: Value) -> Reply {
        let answer = self.rig.ask(method, path, body, &[("x-auth-token", who.token.as_str())]).await;
        (answer.status, answer.body)
    }

    async fn bound(&self, project: &Tenant, body: Value) {
        let (status, answer) = self.own(&self.admin, "PUT", &format!("{PATH}/{}", project.project), body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
}

fn span(start: &str, end: &str) -> Value {
    json!({"start_time": format!("2090-01-{start}T00:00:00"), "end_time": format!("2090-01-{end}T00:00:00")})
}

#[tokio::test]
async fn administrators_set_them_and_members_see_their_own() {
    let market = Market::new().await;
    let of = |who: &Tenant| format!("{PATH}/{}", who.project);
    let mine = of(&market.lessee);
    let (status, answer) = market.own(&market.lessee, "GET", &mine, Value::Null).await;
    assert_eq!((status, &answer["quotas"]), (StatusCode::OK, &json!([])), "{answer}");
    let (status, set) = market.own(&market.admin, "PUT", &mine, json!({"nodes": 2, "node_hours": 100})).await;
    assert_eq!(status, StatusCode::OK, "{set}");
    let gpu = json!({"resource_class": "gpu", "leases": 1});
    assert_eq!(market.own(&market.admin, "PUT", &mine, gpu).await.0, StatusCode::OK);

    market.offer("off1").await;
    market.made(&market.lessee, "/offers/off1/claim", span("05", "07")).await;
    let (_, seen) = market.own(&market.lessee, "GET", &mine, Value::Null).await;
    assert_eq!(seen["used"], json!({"nodes": 1, "leases": 1, "node_hours": 48}));
    assert_eq!(seen["quotas"][0]["nodes"], 2);
    assert_eq!(seen["quotas"][0]["leases"], Value::Null);
    assert_eq!(seen["quotas"][1]["resource_class"], "gpu");
    assert_eq!(seen["quotas"][1]["used"]["leases"], 1);
    let (_, list) = market.own(&market.lessee, "GET", PATH, Value::Null).await;
    assert_eq!(list["quotas"].as_array().map(Vec::len), Some(2), "{list}");
    let (_, list) = market.own(&market.stranger, "GET", PATH, Value::Null).await;
    assert_eq!(list, json!({"quotas": []}));

    for method in ["PUT", "DELETE"] {
        let body = json!({"nodes": 1000});
        assert_eq!(market.own(&market.lessee, method, &mine, body.clone()).await.0, StatusCode::FORBIDDEN, "{method}");
        assert_eq!(market.own(&market.stranger, method, &mine, body).await.0, StatusCode::NOT_FOUND, "{method}");
    }
    let hidden = market.own(&market.stranger, "GET", &mine, Value::Null).await;
    let nobody = market.own(&market.stranger, "GET", &format!("{PATH}/nobody"), Value::Null).await;
    assert_eq!((hidden.0, nobody.0), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND));
    assert_eq!(words(&nobody.1).replace("nobody", &market.lessee.project), words(&hidden.1));

    assert_eq!(market.own(&market.admin, "DELETE", &mine, Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(market.own(&market.admin, "DELETE", &mine, Value::Null).await.0, StatusCode::NOT_FOUND);
    let one = format!("{mine}?resource_class=gpu");
    assert_eq!(market.own(&market.admin, "DELETE", &one, Value::Null).await.0, StatusCode::NO_CONTENT);
    let (_, list) = market.own(&market.admin, "GET", PATH, Value::Null).await;
    assert_eq!(list, json!({"quotas": []}));
}

#[tokio::test]
async fn what_passes_one_is_refused_with_what_it_is_and_changes_nothing() {
    let market = Market::new().await;
    market.ready_node("n2").await;
    market.offer("off1").await;
    market.made(&market.owner, "/offers", json!({"resource_uuid": "n2", "name": "off2", "start_time": DAY})).await;
    market.bound(&market.lessee, json!({"nodes": 1, "longest_hours": 96})).await;
    let lease = market.made(&market.lessee, "/offers/off1/claim", span("05", "07")).await;
    let reservation = json!({
        "nodes": [{"count": 2}], "start_time": "2090-01-10T00:00:00", "end_time": "2090-01-11T00:00:00",
    });
    let mut owners = span("06", "07");
    owners["resource_uuid"] = json!("n2");
    owners["project_id"] = json!("lessee");
    market.ask(&market.owner, "DELETE", "/offers/off2", Value::Null).await;
    let before = market.everything().await;
    let (status, answer) = market.ask(&market.owner, "POST", "/leases", owners).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    assert!(words(&answer).contains("1 nodes at a time, and would have 2"), "{answer}");
    let path = format!("/leases/{}", uuid(&lease));
    let later = json!({"end_time": "2090-01-10T00:00:00"});
    for who in [&market.lessee, &market.admin] {
        let (status, answer) = market.ask(who, "PATCH", &path, later.clone()).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "a quota is the project's, whoever asks: {answer}");
        assert!(words(&answer).contains("96 hours in a row, and this would be 120"), "{answer}");
    }
    assert_eq!(market.everything().await, before);
    market.made(&market.owner, "/offers", json!({"resource_uuid": "n2", "name": "off2", "start_time": DAY})).await;
    let before = market.everything().await;
    let (status, answer) = market.ask(&market.lessee, "POST", "/offers/off2/claim", span("06", "08")).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    let (status, answer) = market.own(&market.lessee, "POST", "/appliance/v1/reservations", reservation).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    assert_eq!(market.everything().await, before);
}

#[tokio::test]
async fn what_is_no_quota_is_refused() {
    let market = Market::new().await;
    let path = format!("{PATH}/{}", market.lessee.project);
    for body in [
        json!({}),
        json!([]),
        json!({"nodes": null}),
        json!({"nodes": -1}),
        json!({"nodes": 1.5}),
        json!({"nodes": "2"}),
        json!({"leases": 1_000_000_001_u64}),
        json!({"nodes": 1, "cores": 2}),
        json!({"resource_class": 7, "nodes": 1}),
        json!({"resource_class": "g\u{1b}", "nodes": 1}),
        json!({"resource_class": "gpu"}),
    ] {
        let (status, answer) = market.own(&market.admin, "PUT", &path, body.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
    }
    for query in ["?colour=red", "?resource_class=a&resource_class=b"] {
        let answer = market.own(&market.admin, "DELETE", &format!("{path}{query}"), Value::Null).await;
        assert_eq!(answer.0, StatusCode::BAD_REQUEST, "{query}");
    }
    let nobody = market.own(&market.admin, "PUT", &format!("{PATH}/nobody"), json!({"nodes": 1})).await;
    assert_eq!(nobody.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_owner_wishes_and_bad_wishes_are_refused() {
    let market = Market::new().await;
    let offer = |name: &str, value: Value| json!({"resource_uuid": "n1", "start_time": DAY, name: value});
    for (name, value) in [
        ("return_unused_hours", json!(0)),
        ("return_unused_hours", json!(-1)),
        ("return_unused_hours", json!("4")),
        ("return_unused_hours", json!(1e9)),
        ("substitutable", json!("yes")),
        ("properties", json!({"leasehold_return_unused_hours": "soon"})),
    ] {
        let (status, answer) = market.ask(&market.owner, "POST", "/offers", offer(name, value.clone())).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name} {value}: {answer}");
    }
    let made = market.made(&market.owner, "/offers", offer("return_unused_hours", json!(12))).await;
    assert_eq!(made["leasehold_return_unused_hours"], 12);
    let claim = json!({"return_unused_hours": 500});
    let path = format!("/offers/{}/claim", uuid(&made));
    assert_eq!(market.ask(&market.lessee, "POST", &path, claim).await.0, StatusCode::BAD_REQUEST, "the owner's");
    let properties = json!({"properties": {"leasehold_return_unused_hours": 500}});
    let lease = market.made(&market.lessee, &path, properties).await;
    assert_eq!(lease["leasehold_return_unused_hours"], 12);
    market.ask(&market.owner, "DELETE", &format!("/offers/{}", uuid(&made)), Value::Null).await;
    market.ask(&market.lessee, "DELETE", &format!("/leases/{}", uuid(&lease)), Value::Null).await;
    let properties = json!({"leasehold_substitutable": true, "leasehold_return_unused_hours": 3});
    let made = market.made(&market.owner, "/offers", offer("properties", properties)).await;
    assert_eq!((&made["leasehold_substitutable"], &made["leasehold_return_unused_hours"]), (&json!(true), &json!(3)));
}
