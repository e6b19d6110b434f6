//! Nodes and their time over HTTP, and a project's leases under a secret URL.

use super::*;
use leasehold_domain::identity::{Assignment, IdentityCommand, Party};

const PATH: &str = "/appliance/v1/calendar";
const WINDOW: &str = "from=2090-01-01T00:00:00&to=2090-02-01T00:00:00";

impl Market {
    async fn of_calendar(&self, who: &Tenant, method: &str, path: &str) -> Reply {
        let headers = [("x-auth-token", who.token.as_str())];
        let answer = self.rig.ask(method, &format!("{PATH}{path}"), Value::Null, &headers).await;
        (answer.status, answer.body)
    }

    async fn nodes(&self, who: &Tenant, more: &str) -> Vec<Value> {
        let (status, answer) = self.of_calendar(who, "GET", &format!("?{WINDOW}{more}")).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["nodes"].as_array().expect("a list").clone()
    }

    /// What comes at a URL for whoever asks.
    async fn read(&self, path: &str) -> (StatusCode, String, String) {
        let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
        let answer = public(self.rig.api.clone()).call(request).await.expect("routers do not fail");
        let (status, kind) = (answer.status(), answer.headers().get(header::CONTENT_TYPE).cloned());
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        let kind = kind.map(|kind| kind.to_str().expect("ASCII").to_owned()).unwrap_or_default();
        (status, kind, String::from_utf8(bytes.to_vec()).expect("a text"))
    }
}

fn spans(node: &Value, member: &str) -> Vec<(String, String, String)> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let rows = node[member].as_array().expect("a list");
    rows.iter().map(|row| (text(row, "start_time"), text(row, "end_time"), text(row, "status"))).collect()
}

fn span(start: &str, end: &str, status: &str) -> (String, String, String) {
    (format!("2090-01-{start}T00:00:00"), format!("2090-01-{end}T00:00:00"), status.to_owned())
}

#[tokio::test]
async fn others_leases_are_busy_times_and_no_more() {
    let market = Market::new().await;
    market.offer("january").await;
    let body = json!({"start_time": "2090-01-05T00:00:00", "end_time": "2090-01-10T00:00:00", "name": "secret plan"});
    market.made(&market.lessee, "/offers/january/claim", body).await;
    let outright = json!({
        "resource_uuid": "n1", "project_id": "sublessee", "start_time": "2090-01-31T00:00:00",
        "end_time": "2090-02-03T00:00:00",
    });
    market.made(&market.owner, "/leases", outright).await;

    let nodes = market.nodes(&market.owner, "").await;
    let [node] = nodes.as_slice() else { panic!("{nodes:?}") };
    assert_eq!((&node["node"], &node["resource_class"], &node["cut"]), (&json!("n1"), &json!("gpu"), &json!(false)));
    assert_eq!(spans(node, "offers"), [span("01", "31", "available")]);
    let last = ("2090-01-31T00:00:00".to_owned(), "2090-02-03T00:00:00".to_owned(), "created".to_owned());
    assert_eq!(spans(node, "leases"), [span("05", "10", "created"), last]);
    assert_eq!(node["leases"][0]["project"], "lessee");
    let free = json!([["2090-01-01T00:00:00", "2090-01-05T00:00:00"], ["2090-01-10T00:00:00", "2090-01-31T00:00:00"]]);
    assert_eq!(node["free"], free);

    // Who sees the offer only, is told of its time only.
    let nodes = market.nodes(&market.stranger, "").await;
    let [node] = nodes.as_slice() else { panic!("{nodes:?}") };
    assert_eq!(spans(node, "leases"), [span("05", "10", "busy")]);
    assert_eq!(node["free"], free);
    let said = node.to_string();
    for hidden in ["secret plan", &market.lessee.project, &market.sublessee.project, "2090-02-03"] {
        assert!(!said.contains(hidden), "{hidden}: {said}");
    }
    let nodes = market.nodes(&market.lessee, "").await;
    assert_eq!(nodes[0]["leases"][0]["name"], "secret plan", "his own");

    for (more, wanted) in [("&class=gpu", 1), ("&class=cpu", 0), ("&nodes=n1,n2", 1), ("&nodes=n2", 0), ("&limit=1", 1)]
    {
        assert_eq!(market.nodes(&market.owner, more).await.len(), wanted, "{more}");
    }
}

#[tokio::test]
async fn a_node_of_which_one_sees_nothing_is_not_there_and_pages_go_on() {
    let market = Market::new().await;
    for name in ["n2", "n3"] {
        market.ready_node(name).await;
    }
    assert_eq!(market.nodes(&market.stranger, "").await, Vec::<Value>::new());
    assert_eq!(market.nodes(&market.stranger, "&nodes=n1").await, Vec::<Value>::new());
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let (_, page) = market.of_calendar(&market.owner, "GET", &format!("?{WINDOW}&limit=2{after}")).await;
        seen.extend(names_of_nodes(&page));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, ["n1", "n2", "n3"]);
}

fn names_of_nodes(page: &Value) -> Vec<String> {
    let nodes = page["nodes"].as_array().expect("a list");
    nodes.iter().map(|node| node["node"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn what_is_over_is_shown_from_the_disk() {
    let market = Market::new().await;
    let lease = market.active_lease().await;
    market.rig.pass(3600);
    assert_eq!(market.ask(&market.lessee, "DELETE", "/leases/mine", Value::Null).await.0, StatusCode::OK);
    market.after(&market.owner, &lease).await;
    market.rig.pass(7200);
    let (status, page) =
        market.of_calendar(&market.owner, "GET", "?from=2020-01-01T00:00:00&to=2020-02-01T00:00:00").await;
    assert_eq!((status, &page["nodes"][0]["leases"]), (StatusCode::OK, &json!([])));
    let from = (market.rig.api.engine.store.now() - jiff::SignedDuration::from_hours(48)).strftime("%FT%T").to_string();
    let (_, page) = market.of_calendar(&market.owner, "GET", &format!("?from={from}")).await;
    let row = &page["nodes"][0]["leases"][0];
    assert_eq!((&row["uuid"], &row["status"]), (&lease["uuid"], &json!("deleted")), "{page}");
    assert!(row["end_time"].as_str() < lease["end_time"].as_str(), "until it was given back: {row}");
}

#[tokio::test]
async fn what_is_no_question_is_refused() {
    let market = Market::new().await;
    for query in [
        "?from=2090-01-02T00:00:00&to=2090-01-01T00:00:00",
        "?from=2090-01-01T00:00:00&to=2091-02-01T00:00:00",
        "?from=tomorrow",
        "?limit=0",
        "?limit=201",
        "?after=n1",
        "?after=00000000-0000-0000-0000-000000000000",
        "?node=n1",
    ] {
        let (status, answer) = market.of_calendar(&market.owner, "GET", query).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {answer}");
    }
}

#[tokio::test]
async fn a_secret_url_shows_a_projects_leases_until_its_user_loses_his_role() {
    let market = Market::new().await;
    market.offer("january").await;
    market.made(&market.lessee, "/offers/january/claim", json!({"start_time": DAY, "name": "mine, ünïque"})).await;
    assert_eq!(market.of_calendar(&market.lessee, "GET", "/feed").await.0, StatusCode::NOT_FOUND);
    let (status, made) = market.of_calendar(&market.lessee, "POST", "/feed").await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let url = made["url"].as_str().expect("a URL");
    let path = url.strip_prefix("http://localhost").expect("this box's").to_owned();
    assert!(path.ends_with(".ics") && path.len() > 75, "{path}");
    let (status, kind, text) = market.read(&path).await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/calendar; charset=utf-8"), "{text}");
    assert!(text.replace("\r\n ", "").contains("SUMMARY:mine\\, ünïque (n1)"), "{text}");
    let (status, shown) = market.of_calendar(&market.lessee, "GET", "/feed").await;
    assert_eq!(status, StatusCode::OK);
    assert!(!shown.to_string().contains("lh-"), "it is told once: {shown}");
    let audit = market.rig.api.engine.store.audit(100).await.expect("read");
    let secret = path.rsplit('/').next().and_then(|name| name.strip_suffix(".ics")).expect("a secret");
    assert!(audit.iter().any(|entry| entry.what == "make-calendar-feed"));
    assert!(!format!("{audit:?}").contains(secret));

    for wrong in
        [path.replace("lh-", "lh_"), format!("{path}x"), path.replace(".ics", ""), format!("{PATH}/feeds/x.ics")]
    {
        assert_eq!(market.read(&wrong).await.0, StatusCode::NOT_FOUND, "{wrong}");
    }
    // A new one takes the place of the old one; another's is another's.
    let (_, second) = market.of_calendar(&market.lessee, "POST", "/feed").await;
    assert_eq!(market.read(&path).await.0, StatusCode::NOT_FOUND);
    let path = second["url"].as_str().expect("a URL").replace("http://localhost", "");
    assert_eq!(market.of_calendar(&market.owner, "DELETE", "/feed").await.0, StatusCode::NOT_FOUND);
    assert_eq!(market.of_calendar(&market.lessee, "DELETE", "/feed").await.0, StatusCode::NO_CONTENT);
    assert_eq!(market.read(&path).await.0, StatusCode::NOT_FOUND);

    let (_, third) = market.of_calendar(&market.lessee, "POST", "/feed").await;
    let path = third["url"].as_str().expect("a URL").replace("http://localhost", "");
    assert_eq!(market.read(&path).await.0, StatusCode::OK);
    let view = market.rig.api.engine.view();
    let user = view.identity.feeds().next().expect("one").user;
    let held: Vec<Assignment> = view.identity.assignments_of(Party::User(user)).copied().collect();
    for row in &held {
        let command = Command::Identity(IdentityCommand::EndAssignment(*row));
        market.rig.api.engine.store.submit(command, Actor::System("test")).await.expect("taken away");
    }
    assert_eq!(market.read(&path).await.0, StatusCode::NOT_FOUND);
    for row in held {
        let command = Command::Identity(IdentityCommand::Assign(row));
        market.rig.api.engine.store.submit(command, Actor::System("test")).await.expect("given back");
    }
    assert_eq!(market.read(&path).await.0, StatusCode::NOT_FOUND, "it does not come back");
}

#[tokio::test]
async fn who_is_of_no_project_has_no_feed() {
    let market = Market::new().await;
    let (status, answer) = market.of_calendar(&market.admin, "POST", "/feed").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
}
