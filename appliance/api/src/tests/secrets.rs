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

/// What is planted, all of it secret.
const SECRET: &str = "Zq7-planted";

impl Scene {
    /// Somebody with this role for the whole system.
    async fn of_system(&self, name: &str, role: &str) -> Tenant {
        let word = "a sentence of the system's";
        let root = self.rig.token("admin", PASSWORD, super::identity::system()).await;
        let (status, made) =
            self.rig.keystone("POST", "/users", json!({"user": {"name": name, "password": word}}), &root).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        let user = made["user"]["id"].as_str().expect("an id").to_owned();
        let (_, roles) = self.rig.keystone("GET", &format!("/roles?name={role}"), Value::Null, &root).await;
        let role = roles["roles"][0]["id"].as_str().expect("a role").to_owned();
        let path = format!("/system/users/{user}/roles/{role}");
        assert_eq!(self.rig.keystone("PUT", &path, Value::Null, &root).await.0, StatusCode::NO_CONTENT);
        Tenant { project: String::new(), token: self.rig.token(name, word, super::identity::system()).await }
    }

    async fn patched(&self, who: &Tenant, patch: Value) -> (StatusCode, Value) {
        self.ask(who, "PATCH", &format!("/nodes/{}", self.node), patch).await
    }

    fn settings(&self) -> leasehold_domain::node::NodeSettings {
        self.rig.api.engine.view().node_by_name("n1").expect("there").settings.clone()
    }
}

#[tokio::test]
async fn logins_in_urls_are_shown_to_whose_the_node_is() {
    let scene = Scene::new("reader", "reader").await;
    let admin = scene.of_system("root2", "admin").await;
    let reader = scene.of_system("auditor", "reader").await;
    let member = scene.of_system("hand", "member").await;
    let url = format!("http://ada:{SECRET}@images.example/x?signature={SECRET}");
    let masked = "http://******@images.example/x?******";
    let info = |url: &str| json!({"image_source": url, "kernels": [{"at": url}], "image_checksum": "plain"});
    let driver = |url: &str| json!({"deploy_kernel": url, "fake_deploy_delay": 0, "fake_password": "******"});
    let (status, said) = scene
        .patched(
            &admin,
            json!([
                {"op": "add", "path": "/instance_info", "value": info(&url)},
                {"op": "add", "path": "/driver_info/deploy_kernel", "value": url},
                {"op": "add", "path": "/driver_info/fake_password", "value": SECRET},
            ]),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{said}");
    let names = ["driver_info", "instance_info"];
    for (who, name) in [(&admin, "admin"), (&scene.owner, "owner")] {
        assert_eq!(
            scene.members(who, &names).await,
            json!({"driver_info": driver(&url), "instance_info": info(&url)}),
            "{name}"
        );
    }
    let seen = scene.members(&scene.lessee, &names).await;
    assert_eq!((&seen["instance_info"], &seen["driver_info"]), (&info(&url), &masks()["driver_info"]));
    for (who, name) in [(&reader, "reader"), (&member, "member")] {
        let seen = scene.members(who, &names).await;
        assert_eq!(seen, json!({"driver_info": driver(masked), "instance_info": info(masked)}), "{name}");
    }
    let (status, said) = scene.ask(&scene.stranger, "GET", &format!("/nodes/{}", scene.node), Value::Null).await;
    assert!(status == StatusCode::NOT_FOUND && !said.to_string().contains(SECRET), "{said}");

    // Who may change what he is not shown: it neither gets lost nor is shown to him, nor goes to another place.
    let before = scene.settings();
    for (patch, expected) in [
        (json!([{"op": "add", "path": "/extra/a", "value": 1}]), 200),
        (json!([{"op": "replace", "path": "/instance_info", "value": info(masked)}]), 200),
        (json!([{"op": "replace", "path": "/driver_info", "value": driver(masked)}]), 200),
        (json!([{"op": "add", "path": "/instance_info/image_b", "value": masked}]), 400),
        (json!([{"op": "add", "path": "/instance_info/image_source", "value": masked.replace("images", "mine")}]), 400),
        (json!([{"op": "add", "path": "/driver_info/deploy_kernel", "value": masked.replace("images", "mine")}]), 400),
    ] {
        let (status, said) = scene.patched(&member, patch.clone()).await;
        assert_eq!(status.as_u16(), expected, "{patch}: {said}");
        assert!(!said.to_string().contains(SECRET), "{patch}: {said}");
    }
    let after = scene.settings();
    assert_eq!((&after.instance_info, &after.driver_info), (&before.instance_info, &before.driver_info));
    assert_eq!(after.driver_secrets, before.driver_secrets);
}

#[tokio::test]
async fn the_address_of_a_bmc_that_comes_back_masked_is_where_it_was() {
    let scene = Scene::new("member", "member").await;
    let member = scene.of_system("hand", "member").await;
    let born = json!({
        "driver": "redfish", "name": "r1",
        "driver_info": {"redfish_address": format!("https://bmc.example/?key={SECRET}"), "redfish_password": SECRET},
    });
    let (status, node) = scene.rig.call("POST", "/nodes", born).await;
    assert_eq!(status, StatusCode::CREATED, "{node}");
    let path = format!("/nodes/{}", node["uuid"].as_str().expect("a UUID"));
    let (_, seen) = scene.ask(&member, "GET", &path, Value::Null).await;
    assert!(!seen.to_string().contains(SECRET), "{seen}");
    let back = json!([{"op": "replace", "path": "/driver_info", "value": seen["driver_info"]}]);
    let (status, said) = scene.ask(&member, "PATCH", &path, back).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    let kept = scene.rig.api.engine.view().node_by_name("r1").expect("there").settings.driver_info.clone();
    assert_eq!(kept["redfish_address"], format!("https://bmc.example/?key={SECRET}"));
}
