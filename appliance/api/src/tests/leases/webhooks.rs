//! Webhooks over HTTP: whose they are, what is refused, and that a secret is shown once.

use super::*;
use leasehold_domain::id::WebhookId;
use leasehold_domain::notice::{DeadLetter, NoticeCommand};

const PATH: &str = "/appliance/v1/webhooks";
const URL: &str = "https://hooks.example.org/x?key=sesame";

impl Market {
    async fn hooks(&self, who: &Tenant, method: &str, path: &str, body: Value) -> Reply {
        let headers = [("x-auth-token", who.token.as_str())];
        let answer = self.rig.ask(method, &format!("{PATH}{path}"), body, &headers).await;
        (answer.status, answer.body)
    }

    async fn hook(&self, who: &Tenant, body: Value) -> Value {
        let (status, made) = self.hooks(who, "POST", "", body).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        made
    }
}

fn id(made: &Value) -> String {
    format!("/{}", made["id"].as_str().expect("an id"))
}

#[tokio::test]
async fn a_webhook_is_its_projects_and_its_secret_is_shown_once() {
    let market = Market::new().await;
    let made = market.hook(&market.lessee, json!({"url": URL, "types": ["lease"]})).await;
    assert!(made["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")));
    assert_eq!((&made["project_id"], &made["types"]), (&json!(market.lessee.project), &json!(["lease"])));
    let (status, shown) = market.hooks(&market.lessee, "GET", &id(&made), Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{shown}");
    let (_, listed) = market.hooks(&market.lessee, "GET", "", Value::Null).await;
    assert_eq!(listed["webhooks"].as_array().map(Vec::len), Some(1));
    for text in [shown.to_string(), listed.to_string()] {
        assert!(!text.contains("whsec_") && !text.contains("sesame"), "{text}");
        assert!(text.contains("hooks.example.org"), "{text}");
    }
    for (method, path) in [("GET", ""), ("GET", "/dead"), ("DELETE", ""), ("POST", "/redeliver")] {
        let others = market.hooks(&market.owner, method, &format!("{}{path}", id(&made)), Value::Null).await;
        let nobodys = format!("/{}{path}", Uuid::new_v4());
        let none = market.hooks(&market.owner, method, &nobodys, Value::Null).await;
        assert_eq!((others.0, none.0), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND), "{method} {path}");
    }
    assert_eq!(market.hooks(&market.owner, "GET", "", Value::Null).await.1["webhooks"], json!([]));
    let foreign = json!({"url": URL, "project_id": market.lessee.project});
    assert_eq!(market.hooks(&market.owner, "POST", "", foreign.clone()).await.0, StatusCode::FORBIDDEN);
    let by_admin = market.hook(&market.admin, foreign).await;
    assert_eq!(by_admin["project_id"], json!(market.lessee.project));
    let of_all = market.hook(&market.admin, json!({"url": URL})).await;
    assert_eq!(of_all["project_id"], Value::Null);
    assert_eq!(market.hooks(&market.lessee, "GET", &id(&of_all), Value::Null).await.0, StatusCode::NOT_FOUND);
    assert_eq!(market.hooks(&market.lessee, "DELETE", &id(&made), Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(market.hooks(&market.lessee, "GET", &id(&made), Value::Null).await.0, StatusCode::NOT_FOUND);
    let audit = market.rig.api.engine.store.audit(100).await.expect("read");
    let audit = serde_json::to_string(&audit).expect("JSON");
    assert!(audit.contains("create-webhook") && audit.contains("delete-webhook"));
    let secret = made["secret"].as_str().expect("a secret");
    assert!(!audit.contains("whsec_") && !audit.contains("sesame") && !audit.contains(secret), "{audit}");
}

#[tokio::test]
async fn what_makes_no_webhook_is_refused_and_makes_none() {
    let market = Market::new().await;
    for body in [
        json!({}),
        json!({"url": 7}),
        json!({"url": "http://hooks.example.org/"}),
        json!({"url": "ftp://hooks.example.org/"}),
        json!({"url": "https://127.0.0.1/"}),
        json!({"url": "https://[::1]/"}),
        json!({"url": "https://169.254.169.254/latest"}),
        json!({"url": "https://user:word@hooks.example.org/"}),
        json!({"url": format!("https://hooks.example.org/{}", "x".repeat(3000))}),
        json!({"url": URL, "types": ["nonsense"]}),
        json!({"url": URL, "types": vec!["lease"; 65]}),
        json!({"url": URL, "colour": "red"}),
    ] {
        let (status, answer) = market.hooks(&market.lessee, "POST", "", body.clone()).await;
        assert!(status.is_client_error(), "{body}: {status} {answer}");
    }
    let unknown = json!({"url": URL, "project_id": "7".repeat(32)});
    assert_eq!(market.hooks(&market.admin, "POST", "", unknown).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(market.rig.api.engine.view().notices.webhooks().count(), 0);
    for _ in 0..market.rig.api.webhooks.most {
        market.hook(&market.lessee, json!({"url": URL})).await;
    }
    let (status, answer) = market.hooks(&market.lessee, "POST", "", json!({"url": URL})).await;
    assert_eq!((status, fault(&answer).contains("may be 10")), (StatusCode::CONFLICT, true), "{answer}");
}

#[tokio::test]
async fn what_was_given_up_is_listed_and_asked_for_once_more() {
    let market = Market::new().await;
    let made = market.hook(&market.lessee, json!({"url": URL})).await;
    let webhook = WebhookId(made["id"].as_str().and_then(|text| Uuid::parse_str(text).ok()).expect("a UUID"));
    let event = market.rig.api.engine.store.newest_cursor().number() + 1;
    let letter = DeadLetter {
        webhook,
        event,
        kind: "lease.active".into(),
        at: Timestamp::UNIX_EPOCH,
        tries: 9,
        died_at: Timestamp::UNIX_EPOCH,
        why: "the receiver answers 500".into(),
        again: false,
    };
    let bury = NoticeCommand::Bury { letter: Box::new(letter), keep: 10 };
    let store = &market.rig.api.engine.store;
    store.submit(Command::Notice(bury), Actor::System("test")).await.expect("buried");
    let (_, dead) = market.hooks(&market.lessee, "GET", &format!("{}/dead", id(&made)), Value::Null).await;
    let letter = &dead["dead"][0];
    assert_eq!(
        (&letter["type"], &letter["tries"], &letter["again"]),
        (&json!("lease.active"), &json!(9), &json!(false))
    );
    let redeliver = format!("{}/redeliver?event={}", id(&made), letter["event"].as_str().expect("a cursor"));
    assert_eq!(market.hooks(&market.lessee, "POST", &redeliver, Value::Null).await.0, StatusCode::ACCEPTED);
    let (_, dead) = market.hooks(&market.lessee, "GET", &format!("{}/dead", id(&made)), Value::Null).await;
    assert_eq!(dead["dead"][0]["again"], json!(true));
    for (bad, status) in [("?event=7", StatusCode::BAD_REQUEST), ("?colour=red", StatusCode::BAD_REQUEST)] {
        let path = format!("{}/redeliver{bad}", id(&made));
        assert_eq!(market.hooks(&market.lessee, "POST", &path, Value::Null).await.0, status, "{bad}");
    }
}
