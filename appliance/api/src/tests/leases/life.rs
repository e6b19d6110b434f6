//! From offer to return: what each sees at each moment.

use super::*;

#[tokio::test]
async fn the_version_is_told_without_credentials_and_no_more() {
    let market = Market::new().await;
    for path in ["/lease", "/lease/", "/lease/v1", "/lease/v1/"] {
        let answer = market.rig.ask("GET", path, Value::Null, &[]).await;
        assert_eq!(
            (answer.status, &answer.body["default_version"]["version"]),
            (StatusCode::OK, &json!("1.0")),
            "{path}"
        );
    }
    for path in ["nodes", "offers", "leases", "events"] {
        let answer = market.rig.ask("GET", &format!("/lease/v1/{path}"), Value::Null, &[]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(!words(&answer.body).is_empty());
    }
    let (status, answer) = market.ask(&market.owner, "DELETE", "/offers", Value::Null).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{answer}");
    let token = json!({"node_uuid_or_name": "n1"});
    let (status, answer) = market.ask(&market.owner, "POST", "/console_auth_tokens", token).await;
    assert_eq!(status, StatusCode::NOT_IMPLEMENTED);
    assert!(words(&answer).contains("baremetal node console"), "what to do instead: {answer}");
}

#[tokio::test]
async fn an_offer_says_what_is_offered_and_what_of_it_is_free() {
    let market = Market::new().await;
    let offer = market.offer("off1").await;
    let expected = json!({
        "uuid": offer["uuid"], "name": "off1", "status": "available",
        "project_id": market.owner.project, "project": "owner", "lessee_id": null, "lessee": "",
        "resource_type": "ironic_node", "resource_uuid": market.node, "resource": "n1", "resource_class": "gpu",
        "resource_properties": {"cpus": 8}, "properties": {}, "parent_lease_uuid": null,
        "start_time": DAY, "end_time": "2090-01-31T00:00:00", "availabilities": [[DAY, "2090-01-31T00:00:00"]],
    });
    assert_eq!(offer, expected);
    let claim = json!({
        "start_time": "2090-01-05T00:00:00+01:00", "end_time": "2090-01-07T00:00:00", "name": "l1",
        "purpose": "a course", "properties": {"a": [1, null]},
    });
    let lease = market.made(&market.lessee, "/offers/off1/claim", claim).await;
    let expected = json!({
        "uuid": lease["uuid"], "name": "l1", "status": "created", "purpose": "a course", "properties": {"a": [1, null]},
        "project_id": market.lessee.project, "project": "lessee", "owner_id": market.owner.project, "owner": "owner",
        "resource_type": "ironic_node", "resource_uuid": market.node, "resource": "n1", "resource_class": "gpu",
        "resource_properties": {"cpus": 8}, "offer_uuid": offer["uuid"], "parent_lease_uuid": null,
        "start_time": "2090-01-04T23:00:00", "end_time": "2090-01-07T00:00:00", "fulfill_time": null, "expire_time": null,
    });
    assert_eq!(lease, expected);
    let shown = market.get(&market.stranger, &format!("/offers/{}", uuid(&offer))).await;
    let free = json!([[DAY, "2090-01-04T23:00:00"], ["2090-01-07T00:00:00", "2090-01-31T00:00:00"]]);
    assert_eq!(shown["availabilities"], free);
    // A claim that names no end goes on until somebody else has it.
    let claim = json!({"start_time": "2090-01-03T00:00:00"});
    let next = market.made(&market.lessee, &format!("/offers/{}/claim", uuid(&offer)), claim).await;
    assert_eq!(next["end_time"], "2090-01-04T23:00:00");
    // What was claimed is not offered any more; what was not, is.
    for (range, listed) in [
        ("available_start_time=2090-01-08T00:00:00&available_end_time=2090-01-09T00:00:00", 1),
        ("available_start_time=2090-01-06T00:00:00&available_end_time=2090-01-09T00:00:00", 0),
        ("start_time=2090-01-06T00:00:00&end_time=2090-01-09T00:00:00", 1),
        ("start_time=2089-12-31T00:00:00&end_time=2090-01-09T00:00:00", 0),
        ("resource_uuid=n1&resource_class=gpu&project_id=owner", 1),
        ("resource_class=cpu", 0),
        ("resource_uuid=n2", 0),
        ("project_id=lessee", 0),
        ("project_id=nobody", 0),
        ("available_start_time=2090-01-08T00:00:00&available_end_time=9999-12-31T00:00:00", 0),
        ("status=expired", 0),
    ] {
        let list = market.get(&market.lessee, &format!("/offers?{range}")).await;
        assert_eq!(list["offers"].as_array().map(Vec::len), Some(listed), "{range}: {list}");
    }
}

#[tokio::test]
async fn a_node_is_the_lessees_for_his_time_and_comes_back_wiped() {
    let market = Market::new().await;
    let lease = market.active_lease().await;
    let id = uuid(&lease);
    let node = || market.rig.api.engine.view().node_by_name("n1").expect("there").clone();
    assert_eq!(node().settings.lessee.as_deref(), Some(market.lessee.project.as_str()));
    let nodes = market.get(&market.lessee, "/nodes").await;
    let row = &nodes["nodes"][0];
    assert_eq!((&row["lessee"], &row["owner"], &row["lease_uuid"]), (&json!("lessee"), &json!("owner"), &json!(id)));
    assert_eq!((&row["maintenance"], &row["properties"]), (&json!("False"), &json!({"cpus": 8})));
    let shown = market.get(&market.lessee, "/leases/mine").await;
    assert_eq!(shown["status"], "active");
    assert!(shown["fulfill_time"].is_string(), "{shown}");
    let (status, answer) = market.ask(&market.lessee, "DELETE", "/leases/mine", Value::Null).await;
    assert_eq!((status, answer), (StatusCode::OK, Value::Null));
    let over = market.after(&market.lessee, &lease).await;
    assert_eq!(over["status"], "deleted");
    assert!(over["expire_time"].is_string(), "{over}");
    let back = node();
    assert_eq!((back.settings.lessee.clone(), back.wiped, back.provision_state.name()), (None, true, "available"));
    assert_eq!(market.get(&market.lessee, "/nodes").await["nodes"], json!([]), "it is not there for him any more");
    let again = market.ask(&market.lessee, "DELETE", &format!("/leases/{id}"), Value::Null).await;
    assert_eq!(again.0, StatusCode::NOT_FOUND);
    assert_eq!(names(&market.get(&market.lessee, "/leases").await, "leases"), [""; 0]);
    for status in ["any", "deleted"] {
        assert_eq!(names(&market.get(&market.lessee, &format!("/leases?status={status}")).await, "leases"), ["mine"]);
    }
}

#[tokio::test]
async fn a_lessee_lets_on_what_is_his() {
    let market = Market::new().await;
    let lease = market.active_lease().await;
    let soon = json!({"resource_uuid": "n1", "lessee_id": "sublessee", "name": "sub"});
    let offer = market.made(&market.lessee, "/offers", soon).await;
    assert_eq!((&offer["parent_lease_uuid"], &offer["end_time"]), (&lease["uuid"], &lease["end_time"]));
    assert_eq!(names(&market.get(&market.sublessee, "/offers").await, "offers"), ["sub"]);
    let sub = market.made(&market.sublessee, "/offers/sub/claim", json!({"name": "below"})).await;
    assert_eq!((&sub["parent_lease_uuid"], &sub["owner"]), (&lease["uuid"], &json!("lessee")));
    market.until_lease_is(&sub, LeaseState::Active).await;
    let row = &market.get(&market.sublessee, "/nodes").await["nodes"][0];
    assert_eq!((&row["lessee"], &row["lease_uuid"]), (&json!("sublessee"), &sub["uuid"]));
    // One level only.
    let deeper = json!({"resource_uuid": "n1", "name": "deeper"});
    let (status, answer) = market.ask(&market.sublessee, "POST", "/offers", deeper).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    // The end of the lease above is the end of those below it.
    assert_eq!(market.ask(&market.owner, "DELETE", "/leases/mine", Value::Null).await.0, StatusCode::OK);
    assert_eq!(market.after(&market.sublessee, &sub).await["status"], "deleted");
    assert_eq!(market.after(&market.lessee, &lease).await["status"], "deleted");
    let withdrawn = market.get(&market.lessee, &format!("/offers/{}", uuid(&offer))).await;
    assert_eq!((&withdrawn["status"], &withdrawn["availabilities"]), (&json!("deleted"), &json!([])));
}

#[tokio::test]
async fn the_end_of_a_lease_is_moved_within_what_is_free() {
    let market = Market::new().await;
    market.offer("off1").await;
    for (name, start, end) in [("a", "2090-01-02", "2090-01-04"), ("b", "2090-01-10", "2090-01-12")] {
        let claim =
            json!({"name": name, "start_time": format!("{start}T00:00:00"), "end_time": format!("{end}T00:00:00")});
        market.made(&market.lessee, "/offers/off1/claim", claim).await;
    }
    let moved = async |who: &Tenant, end: &str| {
        market.ask(who, "PATCH", "/leases/a", json!({"end_time": format!("{end}T00:00:00")})).await
    };
    let (status, lease) = moved(&market.lessee, "2090-01-10").await;
    assert_eq!((status, &lease["end_time"]), (StatusCode::OK, &json!("2090-01-10T00:00:00")));
    let (status, answer) = moved(&market.lessee, "2090-01-11").await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    assert!(
        words(&answer).contains("2090-01-10T00:00:00Z until 2090-01-12T00:00:00Z"),
        "the range that is taken: {answer}"
    );
    assert_eq!(moved(&market.lessee, "2090-01-03").await.0, StatusCode::OK, "earlier");
    assert_eq!(moved(&market.sublessee, "2090-01-03").await.0, StatusCode::NOT_FOUND);
    // To Neutron's and esi-leap's defaults only an administrator does this.
    market.rig.api.policy.store(Arc::default());
    assert_eq!(moved(&market.lessee, "2090-01-04").await.0, StatusCode::FORBIDDEN);
    assert_eq!(moved(&market.admin, "2090-01-04").await.0, StatusCode::OK);
}

#[tokio::test]
async fn nobody_is_held_to_the_longest_time_but_administrators() {
    let market = Market::new().await;
    let body = |days: u32| {
        json!({
            "resource_uuid": "n1", "project_id": "lessee", "start_time": DAY, "end_time": format!("2090-01-{:02}T00:00:00", days + 1),
        })
    };
    assert_eq!(market.ask(&market.owner, "POST", "/leases", body(22)).await.0, StatusCode::FORBIDDEN);
    let lease = market.made(&market.owner, "/leases", body(21)).await;
    let path = format!("/leases/{}", uuid(&lease));
    let longer = json!({"end_time": "2090-01-30T00:00:00"});
    assert_eq!(market.ask(&market.lessee, "PATCH", &path, longer.clone()).await.0, StatusCode::FORBIDDEN);
    assert_eq!(market.ask(&market.admin, "PATCH", &path, longer).await.0, StatusCode::OK);
    // An administrator lets in the owner's name.
    let body = json!({"resource_uuid": "n1", "project_id": "lessee", "start_time": "2091-01-01T00:00:00"});
    let lease = market.made(&market.admin, "/leases", body).await;
    assert_eq!((&lease["owner"], &lease["end_time"]), (&json!("owner"), &json!("2091-01-08T00:00:00")), "seven days");
}
