//! A request that is sent again makes nothing twice.

use super::*;

const KEY: &str = "idempotency-key";

#[tokio::test]
async fn a_repeat_is_answered_with_what_the_first_made() {
    let market = Market::new().await;
    let body = json!({"resource_uuid": "n1", "name": "o", "start_time": DAY});
    let offer = async |who: &Tenant, key: &str, body: &Value| {
        market.with(who, "POST", "/offers", body.clone(), &[(KEY, key)]).await
    };
    let (status, first) = offer(&market.owner, "k", &body).await;
    assert_eq!(status, StatusCode::CREATED, "{first}");
    assert_eq!(offer(&market.owner, "k", &body).await, (StatusCode::CREATED, first.clone()));
    let other = json!({"resource_uuid": "n1", "name": "o", "start_time": "2090-01-02T00:00:00"});
    assert_eq!(offer(&market.owner, "k", &other).await.0, StatusCode::CONFLICT, "another wish");

    let wish = json!({"name": "l", "start_time": DAY, "end_time": "2090-01-02T00:00:00"});
    let claim = async |who: &Tenant, key: &str, body: &Value| {
        market.with(who, "POST", &format!("/offers/{}/claim", uuid(&first)), body.clone(), &[(KEY, key)]).await
    };
    let both = tokio::join!(claim(&market.lessee, "k", &wish), claim(&market.lessee, "k", &wish));
    assert_eq!((both.0.0, both.1.0), (StatusCode::CREATED, StatusCode::CREATED), "at the same time: {both:?}");
    let lease = both.0.1;
    assert_eq!(uuid(&lease), uuid(&both.1.1));
    assert_eq!(claim(&market.sublessee, "k", &wish).await.0, StatusCode::CONFLICT, "another's key is another key");
    assert_eq!(claim(&market.lessee, "k2", &wish).await.0, StatusCode::CONFLICT, "the time is taken");
    let otherwise = json!({"name": "other", "start_time": DAY, "end_time": "2090-01-02T00:00:00"});
    assert_eq!(claim(&market.lessee, "k", &otherwise).await.0, StatusCode::CONFLICT);

    // Its end moved, then given back: it is still the lease that this request made.
    let path = format!("/leases/{}", uuid(&lease));
    let moved = json!({"end_time": "2090-01-03T00:00:00"});
    assert_eq!(market.ask(&market.lessee, "PATCH", &path, moved).await.0, StatusCode::OK);
    assert_eq!(claim(&market.lessee, "k", &wish).await.1["end_time"], "2090-01-03T00:00:00");
    assert_eq!(market.ask(&market.lessee, "DELETE", &path, Value::Null).await.0, StatusCode::OK);
    let late = claim(&market.lessee, "k", &wish).await;
    assert_eq!((late.0, &late.1["status"], uuid(&late.1)), (StatusCode::CREATED, &json!("deleted"), uuid(&lease)));
    let listed = market.get(&market.lessee, "/leases?status=any").await;
    assert_eq!(names(&listed, "leases"), ["l"]);

    let outright =
        json!({"resource_uuid": "n1", "project_id": "lessee", "name": "r", "start_time": "2080-01-01T00:00:00"});
    let give = async || market.with(&market.owner, "POST", "/leases", outright.clone(), &[(KEY, "k")]).await;
    let (one, two) = (give().await, give().await);
    assert_eq!((one.0, &one.1), (StatusCode::CREATED, &two.1), "{}", one.1);
    for key in ["", "ä", &"x".repeat(256)] {
        assert_eq!(offer(&market.owner, key, &body).await.0, StatusCode::BAD_REQUEST, "{key:?}");
    }
}

#[tokio::test]
async fn a_repeat_is_answered_also_when_what_it_named_is_there_no_more() {
    let market = Market::new().await;
    let offer = market.offer("spring").await;
    let wish = json!({"name": "l", "start_time": DAY, "end_time": "2090-01-02T00:00:00"});
    let claim = async |ident: &str| {
        market.with(&market.lessee, "POST", &format!("/offers/{ident}/claim"), wish.clone(), &[(KEY, "k")]).await
    };
    let (status, lease) = claim("spring").await;
    assert_eq!(status, StatusCode::CREATED, "{lease}");
    let path = format!("/offers/{}", uuid(&offer));
    assert_eq!(market.ask(&market.owner, "DELETE", &path, Value::Null).await.0, StatusCode::OK);
    for ident in ["spring", uuid(&offer)] {
        assert_eq!(claim(ident).await, (StatusCode::CREATED, lease.clone()), "{ident}");
    }
    for ident in ["summer".to_owned(), Uuid::new_v4().to_string()] {
        assert_eq!(claim(&ident).await.0, StatusCode::CONFLICT, "another offer");
    }

    // What its owner gave of a node that is another's since.
    let given = json!({"resource_uuid": "n1", "project_id": "lessee", "start_time": "2080-01-01T00:00:00"});
    let offered = json!({"resource_uuid": "n1", "name": "o", "start_time": "2085-01-01T00:00:00", "end_time": "2085-02-01T00:00:00"});
    let give = async || market.with(&market.owner, "POST", "/leases", given.clone(), &[(KEY, "k")]).await;
    let offer = async || market.with(&market.owner, "POST", "/offers", offered.clone(), &[(KEY, "k")]).await;
    let (one, two) = (give().await, offer().await);
    assert_eq!((one.0, two.0), (StatusCode::CREATED, StatusCode::CREATED), "{one:?} {two:?}");
    let path = format!("/leases/{}", uuid(&lease));
    assert_eq!(market.ask(&market.lessee, "DELETE", &path, Value::Null).await.0, StatusCode::OK);
    for path in [format!("/leases/{}", uuid(&one.1)), format!("/offers/{}", uuid(&two.1))] {
        assert_eq!(market.ask(&market.owner, "DELETE", &path, Value::Null).await.0, StatusCode::OK);
    }
    let theirs = json!([{"op": "replace", "path": "/owner", "value": market.stranger.project}]);
    assert_eq!(market.rig.call("PATCH", "/nodes/n1", theirs).await.0, StatusCode::OK);
    for (first, again) in [(one, give().await), (two, offer().await)] {
        assert_eq!((again.0, uuid(&again.1)), (StatusCode::CREATED, uuid(&first.1)), "{again:?}");
        assert_eq!(again.1["status"], "deleted");
    }
    let hidden = market.with(&market.owner, "POST", "/leases", given.clone(), &[(KEY, "k2")]).await;
    assert_eq!(hidden.0, StatusCode::NOT_FOUND, "another request");
}
