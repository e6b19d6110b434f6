//! What is another's is not there: neither status nor words tell it from what nobody has.

use super::*;
use std::sync::Arc;

#[tokio::test]
async fn hidden_and_missing_things_are_told_apart() {
    let scene = Scene::new("admin", "admin").await;
    // As shipped: to Neutron's own defaults an admin of any project is one of the whole cloud.
    let shipped = crate::policy::file::read(include_str!("../../../../../config/policy.yaml")).expect("a policy file");
    scene.rig.api.policy.store(Arc::new(shipped));
    let network = json!({"network": {"name": "private"}});
    let (_, network) = scene.with(&scene.owner, "POST", "/network/v2.0/networks", network).await;
    let (_, image) = scene.with(&scene.owner, "POST", "/image/v2/images", json!({"name": "private"})).await;
    let (_, ports) = scene.ask(&scene.owner, "GET", "/ports", Value::Null).await;
    let wanted = json!({"resource_class": "c", "name": "mine"});
    let (_, allocation) = scene.ask(&scene.owner, "POST", "/allocations", wanted).await;
    let mut lease =
        json!({"resource_uuid": "n1", "start_time": "2090-01-01T00:00:00", "end_time": "2090-01-02T00:00:00"});
    lease["project_id"] = json!(scene.lessee.project);
    let (_, lease) = scene.with(&scene.owner, "POST", "/lease/v1/leases", lease).await;
    let mut offer = json!({"resource_uuid": "n1", "start_time": "2091-01-01T00:00:00"});
    offer["lessee_id"] = json!(scene.lessee.project);
    let (_, offer) = scene.with(&scene.owner, "POST", "/lease/v1/offers", offer).await;
    for (place, id) in [
        ("/baremetal/v1/nodes", &json!(scene.node)),
        ("/baremetal/v1/ports", &ports["ports"][0]["uuid"]),
        ("/baremetal/v1/allocations", &allocation["uuid"]),
        ("/network/v2.0/networks", &network["network"]["id"]),
        ("/image/v2/images", &image["id"]),
        ("/lease/v1/leases", &lease["uuid"]),
        ("/lease/v1/offers", &offer["uuid"]),
        ("/identity/v3/projects", &json!(scene.owner.project)),
    ] {
        let id = id.as_str().expect("an id");
        let nobody = if place.starts_with("/identity") { NOWHERE.replace('-', "") } else { NOWHERE.to_owned() };
        let mut shown = false;
        for (method, body) in [
            ("GET", Value::Null),
            ("DELETE", Value::Null),
            ("PATCH", json!([{"op": "replace", "path": "/name", "value": "x"}])),
            ("PATCH", json!([])),
            ("PUT", json!({"network": {"name": "x"}})),
        ] {
            let hidden = scene.with(&scene.stranger, method, &format!("{place}/{id}"), body.clone()).await;
            let missing = scene.with(&scene.stranger, method, &format!("{place}/{nobody}"), body).await;
            let words = hidden.1.to_string().replace(id, &nobody);
            assert_eq!((hidden.0, words), (missing.0, missing.1.to_string()), "{method} {place}");
            // Of projects Keystone says 403, whether they are there or not.
            let refused = if place.starts_with("/identity") { StatusCode::FORBIDDEN } else { StatusCode::NOT_FOUND };
            shown |= hidden.0 == refused;
        }
        assert!(shown, "{place}");
        let (status, answer) = scene.with(&scene.owner, "GET", &format!("{place}/{id}"), Value::Null).await;
        assert_eq!(status, StatusCode::OK, "its owner: {answer}");
    }
}
