//! Events as the appliance's own API tells them: in pages, and as they happen.

use super::*;
use axum::http::HeaderMap;
use axum::response::Response;

const PATH: &str = "/appliance/v1/events";

impl Market {
    async fn told(&self, who: &Tenant, query: &str) -> Reply {
        let path = format!("{PATH}?{query}");
        let answer = self.rig.ask("GET", &path, Value::Null, &[("x-auth-token", &who.token)]).await;
        (answer.status, answer.body)
    }

    async fn page(&self, who: &Tenant, query: &str) -> Value {
        let (status, page) = self.told(who, query).await;
        assert_eq!(status, StatusCode::OK, "{query}: {page}");
        page
    }

    async fn stream(&self, who: &Tenant, query: &str, last: Option<&str>) -> Stream {
        let mut request = Request::get(format!("{PATH}?{query}"))
            .header("x-auth-token", &who.token)
            .header(header::ACCEPT, "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request.body(Body::empty()).expect("a request");
        Stream::of(public(self.rig.api.clone()).call(request).await.expect("routers do not fail"))
    }
}

/// A stream as a browser reads it.
struct Stream {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
    text: String,
}

/// What came: an id, and the data if it is more than a heartbeat.
#[derive(Debug)]
struct Message {
    id: String,
    data: Option<Value>,
}

impl Stream {
    fn of(response: Response) -> Stream {
        let (status, headers) = (response.status(), response.headers().clone());
        Stream { status, headers, body: response.into_body(), text: String::new() }
    }

    /// The next message; `None`: the stream has ended.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    message.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
                };
                let data = field("data:").map(|data| serde_json::from_str(&data).expect("JSON"));
                let message = Message { id: field("id:").unwrap_or_default(), data };
                self.text = rest.to_owned();
                return Some(message);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("it comes to that")?;
            let bytes = frame.expect("a stream that goes on").into_data().expect("data");
            self.text.push_str(std::str::from_utf8(&bytes).expect("text"));
        }
    }

    /// The next event, past heartbeats.
    async fn event(&mut self) -> Option<(String, Value)> {
        loop {
            let message = self.next().await?;
            if let Some(data) = message.data {
                return Some((message.id, data));
            }
        }
    }
}

fn types(page: &Value) -> Vec<&str> {
    let rows = page["events"].as_array().expect("events");
    rows.iter().map(|row| row["type"].as_str().expect("a type")).collect()
}

/// Gives the lease back, and waits until its node is free again.
async fn end(market: &Market, lease: &Value) {
    let (status, answer) = market.ask(&market.lessee, "DELETE", "/leases/mine", Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    market.after(&market.owner, lease).await;
}

#[tokio::test]
async fn each_reads_what_was_his_and_the_owner_how_it_was_kept() {
    let market = Market::new().await;
    let lease = market.active_lease().await;
    end(&market, &lease).await;
    let of_lease = "type=lease";
    let life = ["lease.deleted", "lease.wait_cancel", "lease.active", "lease.wait_fulfill", "lease.created"];
    for who in [&market.owner, &market.lessee, &market.admin] {
        assert_eq!(types(&market.page(who, of_lease).await), life);
    }
    let (owners, lessees) = (market.page(&market.owner, "").await, market.page(&market.lessee, "").await);
    assert!(types(&owners).contains(&"step.ended") && types(&owners).contains(&"node.created"), "{owners}");
    assert!(!types(&lessees).iter().any(|kind| ["step", "job", "bmc"].contains(&kind.split('.').next().unwrap())));
    assert_eq!(market.page(&market.stranger, "").await["events"], json!([]));
    assert_eq!(market.page(&market.sublessee, "type=lease").await["events"], json!([]));
    // Whoever names another's things learns nothing by it.
    let others = format!("node={}&project={}", market.node, market.lessee.project);
    assert_eq!(market.page(&market.stranger, &others).await["events"], json!([]));
    assert_eq!(market.told(&market.stranger, "node=n1").await.0, StatusCode::NOT_FOUND);
    let named = market.page(&market.admin, &format!("project={}&type=lease", market.lessee.project)).await;
    assert_eq!(types(&named), life);
    let first = &named["events"][0];
    assert_eq!((&first["data"]["lease"], &first["data"]["node"]), (&lease["uuid"], &json!(market.node)));
    assert_eq!(first["data"]["lessee"], json!(market.lessee.project));
}

#[tokio::test]
async fn pages_go_on_either_way_and_cursors_tell_nothing() {
    let market = Market::new().await;
    let lease = market.active_lease().await;
    end(&market, &lease).await;
    let all = market.page(&market.lessee, "type=lease").await;
    let (mut found, mut before) = (Vec::new(), String::new());
    loop {
        let page = market.page(&market.lessee, &format!("type=lease&limit=2{before}")).await;
        found.extend(page["events"].as_array().expect("events").iter().cloned());
        before = format!("&before={}", page["next"].as_str().expect("a cursor"));
        if page["more"] == json!(false) {
            break;
        }
    }
    assert_eq!(json!(found), all["events"]);
    let third = all["events"][2]["id"].as_str().expect("an id");
    let after = market.page(&market.lessee, &format!("type=lease&after={third}")).await;
    assert_eq!(types(&after), ["lease.wait_cancel", "lease.deleted"]);
    // Where nothing has come, two places are not to be told apart from two between which others had events.
    let next = async || market.page(&market.stranger, "").await["next"].clone();
    assert_ne!(next().await, next().await);
    for bad in ["after=1", "before=x", "before=a&after=b", "limit=0", "type=nonsense", "colour=red", "since=noon"] {
        assert_eq!(market.told(&market.lessee, bad).await.0, StatusCode::BAD_REQUEST, "{bad}");
    }
    let request = Request::get(PATH).body(Body::empty()).expect("a request");
    assert_eq!(market.rig.send(public(market.rig.api.clone()), request).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_stream_tells_what_happens_and_goes_on_where_its_reader_was() {
    let market = Market::new().await;
    let mut stream = market.stream(&market.lessee, "type=lease", None).await;
    assert_eq!(stream.status, StatusCode::OK);
    assert_eq!(stream.headers[header::CONTENT_TYPE], "text/event-stream");
    let begin = stream.next().await.expect("where it begins");
    assert!(begin.data.is_none() && begin.id.len() == 48, "{begin:?}");
    let mut strangers = market.stream(&market.stranger, "", None).await;
    strangers.next().await.expect("where it begins");

    let lease = market.active_lease().await;
    let mut seen = Vec::new();
    for expected in ["lease.created", "lease.wait_fulfill", "lease.active"] {
        let (id, event) = stream.event().await.expect("it goes on");
        assert_eq!((&event["type"], &event["id"]), (&json!(expected), &json!(id)));
        seen.push(id);
    }
    drop(stream);
    end(&market, &lease).await;
    // As a browser comes back: by the header, whatever the address says.
    let mut again = market.stream(&market.lessee, &format!("type=lease&after={}", begin.id), Some(&seen[2])).await;
    for expected in ["lease.wait_cancel", "lease.deleted"] {
        assert_eq!(again.event().await.expect("it goes on").1["type"], expected);
    }
    // From a heartbeat's place on, nothing is missing.
    let mut all = market.stream(&market.lessee, "type=lease", Some(&begin.id)).await;
    let same = market.page(&market.lessee, "type=lease").await;
    for event in same["events"].as_array().expect("events").iter().rev() {
        assert_eq!(&all.event().await.expect("it goes on").1, event);
    }
    // Who says from when on, and names no place, begins with the oldest.
    let mut oldest = market.stream(&market.lessee, "type=lease&since=1970-01-01T00:00:00Z", None).await;
    for event in same["events"].as_array().expect("events").iter().rev() {
        assert_eq!(&oldest.event().await.expect("it goes on").1, event);
    }
    let nothing = tokio::time::timeout(Duration::from_millis(50), strangers.next()).await;
    assert!(nothing.is_err(), "a stranger is woken by nothing of others: {nothing:?}");
    assert_eq!(market.stream(&market.lessee, "", Some("nonsense")).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_stream_ends_with_what_its_reader_was_let_in_by() {
    let market = Market::new().await;
    let mut of_token = market.stream(&market.lessee, "", None).await;
    let mut of_role = market.stream(&market.owner, "", None).await;
    let mut other = market.stream(&market.sublessee, "", None).await;
    for stream in [&mut of_token, &mut of_role, &mut other] {
        stream.next().await.expect("where it begins");
    }
    let token = market.lessee.token.as_str();
    let headers = [("x-auth-token", token), ("x-subject-token", token)];
    let revoked = market.rig.ask("DELETE", "/identity/v3/auth/tokens", Value::Null, &headers).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT, "{}", revoked.body);
    assert!(of_token.next().await.is_none(), "his token is over");

    let view = market.rig.api.engine.view();
    let user = view.identity.users().find(|user| user.name == "owner").expect("there");
    let disable = format!("/identity/v3/users/{}", leasehold_domain::identity::id_text(user.id.0));
    let off = json!({"user": {"enabled": false}});
    let done = market.rig.ask("PATCH", &disable, off, &[("x-auth-token", &market.admin.token)]).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    assert!(of_role.next().await.is_none(), "his account is closed");
    let goes_on = tokio::time::timeout(Duration::from_millis(50), other.next()).await;
    assert!(goes_on.is_err(), "another's stream goes on: {goes_on:?}");
}
