//! A node that could not be wiped when its lease ended: who may try again, and what comes of it.

use super::*;

impl Market {
    /// What of the node `n1` fails from now on, if anything.
    async fn breaks(&self, what: Value) {
        let patch = json!([{"op": "add", "path": "/driver_info", "value": what}]);
        let (status, answer) = self.rig.call("PATCH", "/nodes/n1", patch).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    async fn quarantine(&self, who: &Tenant, verb: &str) -> Reply {
        let path = format!("/appliance/v1/nodes/n1/quarantine/{verb}");
        let answer = self.rig.ask("POST", &path, Value::Null, &[("x-auth-token", &who.token)]).await;
        (answer.status, answer.body)
    }

    /// The lease is over and its node was not wiped.
    async fn fails_to_wipe(&self) {
        let lease = self.active_lease().await;
        self.breaks(json!({"fake_clean_fail": "the disk does not answer"})).await;
        let (status, answer) =
            self.ask(&self.lessee, "DELETE", &format!("/leases/{}", uuid(&lease)), Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let over = self.after(&self.owner, &lease).await;
        assert_eq!(over["status"], "error");
        assert_eq!(over["leasehold_reason"], "The node could not be taken back, and nobody gets it.");
        self.until(|view| view.node_by_name("n1").is_some_and(|node| node.is_in_quarantine() && node.job.is_none()))
            .await;
        let (_, node) = self.rig.call("GET", "/nodes/n1", Value::Null).await;
        assert!(node["maintenance_reason"].as_str().is_some_and(|why| why.contains("disk does not answer")), "{node}");
    }
}

#[tokio::test]
async fn its_owner_tries_again_and_nobody_else() {
    let market = Market::new().await;
    assert_eq!(market.quarantine(&market.owner, "retry").await.0, StatusCode::BAD_REQUEST, "it is in none");
    market.fails_to_wipe().await;
    let offer = json!({"resource_uuid": "n1"});
    assert_eq!(market.ask(&market.owner, "POST", "/offers", offer.clone()).await.0, StatusCode::CONFLICT);
    for verb in ["retry", "release"] {
        assert_eq!(market.quarantine(&market.lessee, verb).await.0, StatusCode::NOT_FOUND, "the former lessee");
        assert_eq!(market.quarantine(&market.stranger, verb).await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(market.quarantine(&market.owner, "burn").await.0, StatusCode::NOT_FOUND);
    assert_eq!(market.quarantine(&market.owner, "retry").await.0, StatusCode::ACCEPTED);
    // It failed again.
    market.until(|view| view.node_by_name("n1").is_some_and(|node| node.is_in_quarantine() && node.maintenance)).await;
    market.breaks(json!({})).await;
    assert_eq!(market.quarantine(&market.owner, "retry").await.0, StatusCode::ACCEPTED);
    market.until(|view| view.node_by_name("n1").is_some_and(|node| !node.is_in_quarantine() && node.wiped)).await;
    market.made(&market.owner, "/offers", offer).await;
}

#[tokio::test]
async fn its_owner_takes_it_and_nobody_gets_it_before_it_was_wiped() {
    let market = Market::new().await;
    market.fails_to_wipe().await;
    assert_eq!(market.quarantine(&market.owner, "release").await.0, StatusCode::ACCEPTED);
    let view = market.rig.api.engine.view();
    let node = view.node_by_name("n1").expect("it is there");
    assert!(!node.maintenance && node.is_in_quarantine());
    let offer = json!({"resource_uuid": "n1"});
    let (status, answer) = market.ask(&market.owner, "POST", "/offers", offer.clone()).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    market.breaks(json!({})).await;
    let (status, answer) = market.rig.call("PUT", "/nodes/n1/states/provision", json!({"target": "provide"})).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    market.until(|view| view.node_by_name("n1").is_some_and(|node| !node.is_in_quarantine() && node.wiped)).await;
    market.made(&market.owner, "/offers", offer).await;
}
