//! What a lessee leaves behind: on his node's record, in lists of what is over, and of a project that is to go.

use super::*;

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
