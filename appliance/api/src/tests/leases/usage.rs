//! Node-time over HTTP: whose figures who sees, in which form.

use super::*;

const PATH: &str = "/appliance/v1/usage";

impl Market {
    async fn text(&self, query: &str, accept: &str) -> String {
        let mut request = Request::builder().uri(format!("{PATH}{query}")).header("x-auth-token", &self.admin.token);
        if !accept.is_empty() {
            request = request.header(header::ACCEPT, accept);
        }
        let request = request.body(Body::empty()).expect("a request");
        let answer = public(self.rig.api.clone()).call(request).await.expect("routers do not fail");
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8(bytes.to_vec()).expect("a text")
    }

    async fn usage(&self, who: &Tenant, query: &str) -> Reply {
        let headers = [("x-auth-token", who.token.as_str())];
        let answer = self.rig.ask("GET", &format!("{PATH}{query}"), Value::Null, &headers).await;
        (answer.status, answer.body)
    }
}

/// What a lease and its offer come to; seconds pass while the test runs.
fn total(answer: &Value) -> [i64; 4] {
    let total = &answer["total"][0];
    ["offered_seconds", "leased_seconds", "used_seconds", "idle_seconds"]
        .map(|name| total[name].as_i64().expect("a figure"))
}

#[tokio::test]
async fn everybody_sees_what_is_his() {
    let market = Market::new().await;
    market.made(&market.owner, "/offers", json!({"resource_uuid": "n1", "name": "now"})).await;
    let lease = market.made(&market.lessee, "/offers/now/claim", json!({})).await;
    market.until_lease_is(&lease, LeaseState::Active).await;
    let now = market.rig.api.engine.store.now();
    market.rig.pass(3600);

    let (status, all) = market.usage(&market.admin, "?by=project,owner,class,node,day").await;
    assert_eq!(status, StatusCode::OK, "{all}");
    let [offered, leased, used, idle] = total(&all);
    assert!(leased >= 3600 && used == 0 && offered == leased + idle, "{all}");
    let rows = all["usage"].as_array().expect("a list");
    let row = rows.iter().find(|row| row["project"] == "lessee").expect("the lessee's");
    assert_eq!((&row["owner"], &row["resource_class"], &row["node"]), (&json!("owner"), &json!("gpu"), &json!("n1")));
    assert_eq!((&row["node_uuid"], &row["as"]), (&json!(market.node), &json!("all")));
    assert!(row["day"].as_str() >= Some(&now.to_string()[..10]), "{row}");

    for (who, wanted) in [(&market.owner, ["owner", "lessee"]), (&market.lessee, ["owner", "lessee"])] {
        let (status, own) = market.usage(who, "?by=project").await;
        assert_eq!(status, StatusCode::OK, "{own}");
        let names: Vec<_> = own["total"].as_array().expect("a list").iter().map(|row| row["as"].clone()).collect();
        assert_eq!(names, wanted);
    }
    let (_, owned) = market.usage(&market.owner, "?owner=owner&by=").await;
    assert!(total(&owned)[1] >= 3600, "{owned}");
    let (_, had) = market.usage(&market.lessee, &format!("?project={}&by=owner", market.lessee.project)).await;
    assert!(total(&had)[1] >= 3600 && total(&had)[3] == 0, "{had}");
    let (_, none) = market.usage(&market.sublessee, "").await;
    assert_eq!((&none["usage"], total(&none)), (&json!([]), [0; 4]));

    for (who, query) in [
        (&market.lessee, "?project=owner"),
        (&market.lessee, "?owner=owner"),
        (&market.stranger, "?project=lessee"),
        (&market.stranger, "?project=there-is-none"),
    ] {
        assert_eq!(market.usage(who, query).await.0, StatusCode::FORBIDDEN, "{query}");
    }
    // The next day has no figures yet, and the day before had none.
    let (_, later) = market.usage(&market.admin, "?from=2090-01-01&to=2090-01-02").await;
    assert_eq!(total(&later), [0; 4]);
    let (_, before) = market.usage(&market.admin, "?from=2020-01-01&to=2020-01-02").await;
    assert_eq!(total(&before), [0; 4]);
}

#[tokio::test]
async fn what_has_ended_counts_from_the_disk_and_a_deployment_as_use() {
    let market = Market::new().await;
    let lease = market.active_lease().await;
    let deploy = json!({"target": "active"});
    let token = [("x-auth-token", market.lessee.token.as_str()), (VERSION, "1.115")];
    let patch = json!([{"op": "add", "path": "/instance_info/image_source", "value": "x"}]);
    assert_eq!(market.rig.ask("PATCH", "/baremetal/v1/nodes/n1", patch, &token).await.status, StatusCode::OK);
    let done = market.rig.ask("PUT", "/baremetal/v1/nodes/n1/states/provision", deploy, &token).await;
    assert_eq!(done.status, StatusCode::ACCEPTED, "{}", done.body);
    market.until(|view| view.lease.leases().any(|lease| lease.past.used.is_now())).await;
    market.rig.pass(3600);
    let (_, running) = market.usage(&market.admin, "").await;
    assert!(total(&running)[2] >= 3600, "{running}");
    assert_eq!(market.ask(&market.lessee, "DELETE", "/leases/mine", Value::Null).await.0, StatusCode::OK);
    market.after(&market.owner, &lease).await;
    let (_, over) = market.usage(&market.admin, "?by=node").await;
    market.rig.pass(3600);
    let (_, later) = market.usage(&market.admin, "?by=node").await;
    assert_eq!(over["usage"], later["usage"], "what is over grows no more");
    let [offered, leased, used, idle] = total(&over);
    assert!(used >= 3600 && leased >= used && offered == leased && idle == 0, "{over}");
}

#[tokio::test]
async fn csv_by_name_or_by_header() {
    let market = Market::new().await;
    market.active_lease().await;
    market.rig.pass(3600);
    let answer = market.text("?format=csv&by=project,node", "").await;
    let lines: Vec<&str> = answer.split("\r\n").collect();
    assert!(lines[0].starts_with("as,project_id,project,node_uuid,node,offered_seconds,"), "{answer}");
    assert!(lines[1].starts_with(&format!("all,{},lessee,{},n1,", market.lessee.project, market.node)), "{answer}");
    assert!(market.text("", "text/csv").await.starts_with("as,day,project_id,"), "by header");
    assert!(market.text("", "application/json, text/csv;q=0.5").await.starts_with('{'));
}

#[tokio::test]
async fn what_is_no_question_is_refused() {
    let market = Market::new().await;
    for query in [
        "?from=yesterday",
        "?from=2026-02-30",
        "?from=2026-11-02&to=2026-11-02",
        "?from=2026-11-02&to=2026-11-01",
        "?from=1970-01-01&to=2026-11-01",
        "?from=0000-01-01&to=9999-01-01",
        "?from=2026-11-01T00:00:00",
        "?by=hour",
        "?format=xml",
        "?project=lessee&owner=owner",
        "?project=there-is-none",
        "?limit=3",
        "?from=2026-11-01&from=2026-11-02",
    ] {
        let (status, answer) = market.usage(&market.admin, query).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {answer}");
    }
    assert_eq!(market.rig.ask("GET", PATH, Value::Null, &[]).await.status, StatusCode::UNAUTHORIZED);
}
