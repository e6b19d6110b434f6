//! What is another's is not there, and a name is nobody's weapon.

use super::*;

#[tokio::test]
async fn an_offer_is_there_for_whom_it_is_meant() {
    let market = Market::new().await;
    let root = &market.admin.token;
    let below = json!({"project": {"name": "below", "parent_id": market.lessee.project}});
    let (status, below) = market.rig.keystone("POST", "/projects", below, root).await;
    assert_eq!(status, StatusCode::CREATED, "{below}");
    let body = json!({"resource_uuid": market.node, "name": "meant", "lessee_id": "lessee", "start_time": DAY});
    let offer = market.made(&market.owner, "/offers", body).await;
    assert_eq!(
        (&offer["lessee"], &offer["end_time"]),
        (&json!("lessee"), &json!("9999-12-31T23:59:59.999999")),
        "for ever"
    );
    for (who, sees) in [
        (&market.owner, true),
        (&market.lessee, true),
        (&market.admin, true),
        (&market.sublessee, false),
        (&market.stranger, false),
    ] {
        let listed = names(&market.get(who, "/offers").await, "offers");
        assert_eq!(listed == ["meant"], sees, "{listed:?}");
        for ident in ["meant", uuid(&offer)] {
            let (status, answer) = market.ask(who, "GET", &format!("/offers/{ident}"), Value::Null).await;
            assert_eq!(status == StatusCode::OK, sees, "{status} {answer}");
            if sees {
                continue;
            }
            for (method, tail) in [("GET", ""), ("DELETE", ""), ("POST", "/claim")] {
                let hidden = market.ask(who, method, &format!("/offers/{ident}{tail}"), json!({})).await;
                let nobody = Uuid::new_v4().to_string();
                let missing = market.ask(who, method, &format!("/offers/{nobody}{tail}"), json!({})).await;
                assert_eq!((hidden.0, missing.0), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND), "{method}");
                assert_eq!(words(&hidden.1).replace(ident, &nobody), words(&missing.1));
            }
        }
    }
    assert_eq!(market.ask(&market.lessee, "DELETE", "/offers/meant", Value::Null).await.0, StatusCode::FORBIDDEN);
    // Who stands below the project that is meant is meant, too.
    let view = market.rig.api.engine.view();
    let below = below["project"]["id"].as_str().expect("an id");
    assert!(leasehold_domain::lease::search::is_within(&view.identity, below, &market.lessee.project));
    assert!(!leasehold_domain::lease::search::is_within(&view.identity, &market.lessee.project, below));
}

#[tokio::test]
async fn a_lease_is_there_for_both_sides_of_it() {
    let market = Market::new().await;
    let body = json!({"resource_uuid": "n1", "project_id": market.lessee.project, "name": "l", "start_time": DAY});
    let lease = market.made(&market.owner, "/leases", body).await;
    for (who, sees) in [
        (&market.owner, true),
        (&market.lessee, true),
        (&market.admin, true),
        (&market.sublessee, false),
        (&market.stranger, false),
    ] {
        let listed = names(&market.get(who, "/leases").await, "leases");
        assert_eq!(listed == ["l"], sees, "{listed:?}");
        for ident in ["l", uuid(&lease)] {
            let path = format!("/leases/{ident}");
            assert_eq!(market.ask(who, "GET", &path, Value::Null).await.0 == StatusCode::OK, sees);
            if !sees {
                let later = json!({"end_time": "2090-01-03T00:00:00"});
                for (method, body) in [("PATCH", later), ("PATCH", json!([])), ("DELETE", Value::Null)] {
                    let (status, answer) = market.ask(who, method, &path, body).await;
                    assert_eq!(status, StatusCode::NOT_FOUND, "{method}: {answer}");
                }
            }
        }
    }
    for query in ["view=all", "owner_id=owner", "project_id=lessee", "owner_id=nobody"] {
        let (status, answer) = market.ask(&market.stranger, "GET", &format!("/leases?{query}"), Value::Null).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{query}: {answer}");
    }
    for (who, query) in [
        (&market.owner, "owner_id=owner"),
        (&market.owner, "owner_id=owner&project_id=lessee"),
        (&market.lessee, "project_id=lessee"),
        (&market.lessee, "resource_uuid=n1&resource_class=gpu"),
        (&market.lessee, "start_time=2090-01-02T00:00:00&end_time=2090-01-03T00:00:00"),
        (&market.admin, "view=all"),
        (&market.admin, "project_id=lessee"),
    ] {
        assert_eq!(names(&market.get(who, &format!("/leases?{query}")).await, "leases"), ["l"], "{query}");
    }
    for query in [
        "resource_uuid=n2",
        "status=active",
        "purpose=none",
        "start_time=2089-01-02T00:00:00&end_time=2089-01-03T00:00:00",
    ] {
        assert_eq!(market.get(&market.lessee, &format!("/leases?{query}")).await["leases"], json!([]), "{query}");
    }
    // The node itself is there for its owner only, until the lease begins.
    assert_eq!(names(&market.get(&market.owner, "/nodes").await, "nodes"), ["n1"]);
    assert_eq!(market.get(&market.owner, "/nodes").await["nodes"][0]["future_leases"], json!([uuid(&lease)]));
    for who in [&market.lessee, &market.stranger] {
        assert_eq!(market.get(who, "/nodes").await["nodes"], json!([]));
    }
    market.rig.node("nobodys").await;
    for (who, query, seen) in [
        (&market.admin, "", &["n1", "nobodys"][..]),
        (&market.admin, "?resource_class=gpu", &["n1"]),
        (&market.admin, "?owner=owner", &["n1"]),
        (&market.admin, "?owner=lessee", &[]),
        (&market.admin, "?owner=none", &[]),
        (&market.owner, "?resource_class=gpu&owner=owner", &["n1"]),
        (&market.owner, "?resource_class=cpu", &[]),
        (&market.owner, "?lessee=owner", &[]),
        (&market.stranger, "?owner=owner", &[]),
    ] {
        assert_eq!(names(&market.get(who, &format!("/nodes{query}")).await, "nodes"), seen, "{query}");
    }
}

#[tokio::test]
async fn only_who_has_a_node_lets_others_have_it() {
    let market = Market::new().await;
    let offer = json!({"resource_uuid": "n1", "name": "stolen", "start_time": DAY});
    let lease = json!({"resource_uuid": "n1", "project_id": "stranger", "start_time": DAY});
    for who in [&market.stranger, &market.sublessee] {
        for (path, body) in [("/offers", &offer), ("/leases", &lease)] {
            let (status, answer) = market.ask(who, "POST", path, body.clone()).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "the node is not there for him: {answer}");
        }
    }
    // A lessee to be, who sees the node since it was lent to him without a lease, has none to let on.
    let lent = json!([{"op": "add", "path": "/lessee", "value": market.sublessee.project}]);
    assert_eq!(market.rig.call("PATCH", "/nodes/n1", lent).await.0, StatusCode::OK);
    for (path, body) in [("/offers", offer), ("/leases", lease)] {
        let (status, answer) = market.ask(&market.sublessee, "POST", path, body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    }
    assert_eq!(market.everything().await[0]["offers"], json!([]));
}

#[tokio::test]
async fn a_name_means_what_is_ones_own_to_act_on() {
    let market = Market::new().await;
    let mine = market.offer("the one").await;
    market.rig.call("PATCH", "/nodes/n1", json!([{"op": "add", "path": "/extra/a", "value": 1}])).await;
    // A stranger with a node of his own calls his offer as the owner's is called, and by its UUID.
    let (status, node) = {
        let body = json!({"driver": "fake-hardware", "name": "n2", "owner": market.stranger.project});
        market.rig.call("POST", "/nodes", body).await
    };
    assert_eq!(status, StatusCode::CREATED, "{node}");
    for name in ["the one", uuid(&mine)] {
        let start = if name == "the one" { "2090-01-01T00:00:00" } else { "2092-01-01T00:00:00" };
        let body = json!({
            "resource_uuid": "n2", "name": name, "start_time": start, "end_time": start.replace("-01-01T", "-01-09T"),
        });
        market.made(&market.stranger, "/offers", body).await;
    }
    let (status, answer) =
        market.ask(&market.lessee, "POST", "/offers/the%20one/claim", json!({"start_time": DAY})).await;
    assert_eq!(status, StatusCode::CONFLICT, "which of the two? {answer}");
    assert!(words(&answer).contains("UUID"), "{answer}");
    let shown = market.get(&market.lessee, &format!("/offers/{}", uuid(&mine))).await;
    assert_eq!(shown["project"], "owner", "a UUID is nobody's name");
    assert_eq!(
        market.ask(&market.owner, "DELETE", "/offers/the%20one", Value::Null).await.0,
        StatusCode::OK,
        "his own"
    );
    let left = names(&market.get(&market.lessee, "/offers").await, "offers");
    assert_eq!(left.len(), 2, "the stranger's stand: {left:?}");
    // Any letters of the world, but none that a terminal would obey.
    for (name, path) in [("Büro №7 🚀", "B%C3%BCro%20%E2%84%967%20%F0%9F%9A%80"), ("a/b?c", "a%2Fb%3Fc")] {
        let body = json!({"resource_uuid": "n1", "name": name, "start_time": "2093-01-01T00:00:00", "end_time": "2093-01-02T00:00:00"});
        market.made(&market.owner, "/offers", body).await;
        assert_eq!(market.get(&market.owner, &format!("/offers/{path}")).await["name"], name);
        assert_eq!(
            market.ask(&market.owner, "DELETE", &format!("/offers/{path}"), Value::Null).await.0,
            StatusCode::OK
        );
    }
}

#[tokio::test]
async fn readers_look_on() {
    let market = Market::new().await;
    let reader = tenant(&market.rig, "reader", "reader").await;
    market.offer("off1").await;
    assert_eq!(names(&market.get(&reader, "/offers").await, "offers"), ["off1"]);
    for path in ["/leases", "/nodes", "/events", "/offers/off1"] {
        market.get(&reader, path).await;
    }
    let claim = market.ask(&reader, "POST", "/offers/off1/claim", json!({"start_time": DAY})).await;
    assert_eq!(claim.0, StatusCode::FORBIDDEN, "{}", claim.1);
}
