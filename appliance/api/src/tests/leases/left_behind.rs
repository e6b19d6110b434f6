//! What a lessee leaves behind: on his node's record, in lists of what is over, and of a project that is to go.

use super::*;
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::id::{NodeId, OfferId};
use leasehold_domain::lease::{Label, LeaseCommand, NewOffer, Terms};

impl Market {
    async fn patch(&self, who: &Tenant, path: &str, value: Value) -> Reply {
        let patch = json!([{"op": "add", "path": path, "value": value}]);
        let headers = [("x-auth-token", who.token.as_str()), (VERSION, "1.115")];
        let answer = self.rig.ask("PATCH", "/baremetal/v1/nodes/n1", patch, &headers).await;
        (answer.status, answer.body)
    }
}

#[tokio::test]
async fn the_next_lessee_finds_the_owners_words() {
    let market = Market::new().await;
    assert_eq!(market.patch(&market.owner, "/description", json!("rack 7")).await.0, StatusCode::OK);
    let lease = market.active_lease().await;
    for (path, value) in [("/description", json!("ask eve")), ("/extra", json!({"login": "http://eve/"}))] {
        let (status, answer) = market.patch(&market.lessee, path, value).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    let (status, answer) = market.patch(&market.lessee, "/resource_class", json!("large")).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    assert_eq!(market.patch(&market.owner, "/automated_clean", json!(true)).await.0, StatusCode::OK);
    let path = format!("/leases/{}", uuid(&lease));
    assert_eq!(market.ask(&market.lessee, "DELETE", &path, Value::Null).await.0, StatusCode::OK);
    market.after(&market.owner, &lease).await;
    let (_, node) = market.rig.call("GET", "/nodes/n1", Value::Null).await;
    assert_eq!((&node["description"], &node["extra"]), (&json!("rack 7"), &json!({})));
    assert_eq!((&node["resource_class"], &node["automated_clean"]), (&json!("gpu"), &json!(true)), "the owner's word");
}

#[tokio::test]
async fn what_is_hidden_takes_no_place_in_a_list() {
    let market = Market::new().await;
    let mine = json!({"resource_uuid": "n1", "name": "mine", "start_time": DAY});
    let mine = market.made(&market.owner, "/offers", mine).await;
    let path = format!("/offers/{}", uuid(&mine));
    assert_eq!(market.ask(&market.owner, "DELETE", &path, Value::Null).await.0, StatusCode::OK);
    // So many that were meant for another came after it.
    let node = NodeId(Uuid::parse_str(&market.node).expect("a UUID"));
    let offer = |number: u128| {
        let id = OfferId(Uuid::from_u128(number));
        let label = Label { name: Some("another's".into()), ..Label::default() };
        let (project, lessee) = (market.owner.project.clone(), Some(market.sublessee.project.clone()));
        let wanted = Box::new(NewOffer { label, project, lessee, ..NewOffer::default() });
        let made = LeaseCommand::Offer { id, node, wanted, terms: Terms::default() };
        [Command::Lease(made), Command::Lease(LeaseCommand::Withdraw { id })]
    };
    let commands: Vec<_> = (1..=1100).flat_map(offer).collect();
    let store = &market.rig.api.engine.store;
    assert!(store.submit_all(commands, &Actor::System("test")).await.iter().all(Result::is_ok));
    for path in ["/offers?status=any".to_owned(), format!("/offers?status=deleted&resource_uuid={node}")] {
        assert_eq!(names(&market.get(&market.lessee, &path).await, "offers"), ["mine"], "{path}");
    }
    let nowhere = format!("/offers?status=any&resource_uuid={}", Uuid::new_v4());
    assert_eq!(market.get(&market.lessee, &nowhere).await, json!({"offers": []}));
}

#[tokio::test]
async fn a_project_with_leases_ahead_or_offers_is_not_deleted() {
    let market = Market::new().await;
    let root = &market.admin.token;
    let offer = market.offer("spring").await;
    let lease = market.made(&market.lessee, "/offers/spring/claim", json!({"start_time": DAY, "name": "mine"})).await;
    let path = format!("/projects/{}", market.lessee.project);
    let (status, answer) = market.rig.keystone("DELETE", &path, Value::Null, root).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    assert!(answer.to_string().contains("1 leases (mine)"), "{answer}");
    let owners = format!("/projects/{}", market.owner.project);
    let (status, answer) = market.rig.keystone("DELETE", &owners, Value::Null, root).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    assert!(answer.to_string().contains("1 leases that it gave (mine); 1 offers (spring)"), "{answer}");
    for path in [format!("/leases/{}", uuid(&lease)), format!("/offers/{}", uuid(&offer))] {
        assert_eq!(market.ask(&market.admin, "DELETE", &path, Value::Null).await.0, StatusCode::OK);
    }
    assert_eq!(market.rig.keystone("DELETE", &path, Value::Null, root).await.0, StatusCode::NO_CONTENT);
}
