//! What a node keeps from whom: masks, what stands in them, and what comes back through them.

use super::tenants::{Scene, Tenant};
use super::*;

/// The masks of a member of the lessee's project, as Ironic words them.
fn masks() -> Value {
    json!({
        "driver_info": {"content": "** Redacted - requires baremetal:node:get:driver_info permission. **"},
        "driver_internal_info":
            {"content": "** Redacted - Requires baremetal:node:get:driver_internal_info permission. **"},
        "last_error": "** Value Redacted - Requires baremetal:node:get:last_error permission. **",
        "reservation": "** Redacted - requires baremetal:node:get:reservation permission. **",
    })
}

impl Scene {
    /// These members of the node, by itself and in the list of all details.
    async fn members(&self, who: &Tenant, names: &[&str]) -> Value {
        let (status, node) = self.ask(who, "GET", &format!("/nodes/{}", self.node), Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{node}");
        let (_, list) = self.ask(who, "GET", "/nodes/detail", Value::Null).await;
        let chosen = format!("/nodes?fields={}", names.join(","));
        let (_, fields) = self.ask(who, "GET", &chosen, Value::Null).await;
        let only =
            |node: &Value| -> Value { names.iter().map(|name| ((*name).to_owned(), node[*name].clone())).collect() };
        for other in [&list, &fields] {
            assert_eq!(only(&other["nodes"][0]), only(&node));
        }
        only(&node)
    }
}

const MASKED: [&str; 4] = ["driver_info", "driver_internal_info", "last_error", "reservation"];

#[tokio::test]
async fn a_mask_does_not_tell_whether_there_is_anything() {
    let scene = Scene::new("member", "member").await;
    let set = async |path: &str, value: Value| {
        let patch = json!([{"op": "add", "path": path, "value": value}]);
        assert_eq!(scene.rig.call("PATCH", "/nodes/n1", patch).await.0, StatusCode::OK);
    };
    set("/driver_info", json!({})).await;
    let empty = json!({"driver_info": {}, "driver_internal_info": {}, "last_error": null, "reservation": null});
    assert_eq!(scene.members(&scene.owner, &MASKED).await, empty);
    assert_eq!(scene.members(&scene.lessee, &MASKED).await, masks(), "nothing is there");

    // At work.
    set("/driver_info", json!({"fake_verify_fail": "no cable"})).await;
    let manage = json!({"target": "manage"});
    assert_eq!(scene.rig.call("PUT", "/nodes/n1/states/provision", manage).await.0, StatusCode::ACCEPTED);
    let full = scene.members(&scene.owner, &MASKED).await;
    assert!(full["reservation"].is_string() && full["driver_internal_info"]["job"].is_object(), "{full}");
    assert_eq!(scene.members(&scene.lessee, &MASKED).await, masks(), "the node is at work");

    // And failed.
    let _running = scene.rig.api.engine.start();
    scene.rig.at_rest().await;
    let full = scene.members(&scene.owner, &MASKED).await;
    assert!(full["last_error"].as_str().is_some_and(|error| error.contains("no cable")), "{full}");
    assert_eq!(scene.members(&scene.lessee, &MASKED).await, masks(), "an error is there");
}
