//! Corners of nodes and ports: maintenance by patch, pages of a node's ports.

use super::Rig;
use axum::http::StatusCode;
use serde_json::{Value, json};

fn revision(rig: &Rig) -> u64 {
    rig.api.engine.view().node_by_name("n1").expect("there").revision
}

#[tokio::test]
async fn maintenance_is_what_the_patched_document_says() {
    let rig = Rig::new().await;
    rig.node("n1").await;
    let patch = async |patch: Value| {
        let (status, node) = rig.call("PATCH", "/nodes/n1", patch).await;
        (status, node["maintenance"].clone(), node["maintenance_reason"].clone())
    };
    let before = revision(&rig);
    let set = json!([
        {"op": "replace", "path": "/maintenance", "value": "true"},
        {"op": "add", "path": "/extra/a", "value": 1},
    ]);
    assert_eq!(patch(set).await, (StatusCode::OK, json!(true), Value::Null));
    assert_eq!(revision(&rig), before + 1, "one commit");
    let reason = json!([{"op": "replace", "path": "/maintenance_reason", "value": "disk"}]);
    assert_eq!(patch(reason).await.0, StatusCode::BAD_REQUEST, "it has a call of its own");
    assert_eq!(rig.call("PUT", "/nodes/n1/maintenance", json!({"reason": "disk"})).await.0, StatusCode::ACCEPTED);
    let again = json!([{"op": "replace", "path": "/maintenance", "value": true}]);
    assert_eq!(patch(again).await, (StatusCode::OK, json!(true), json!("disk")), "nothing new");
    assert_eq!(
        patch(json!([{"op": "remove", "path": "/maintenance"}])).await,
        (StatusCode::OK, json!(false), Value::Null)
    );
    let test = json!([{"op": "test", "path": "/maintenance", "value": true}]);
    assert_eq!(patch(test).await.0, StatusCode::BAD_REQUEST, "a test changes nothing");
    let bad = json!([{"op": "replace", "path": "/maintenance", "value": 7}]);
    assert_eq!(patch(bad).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(rig.call("GET", "/nodes/n1", Value::Null).await.1["maintenance"], json!(false));
    let born = json!({"driver": "ipmi", "name": "n2", "maintenance": true});
    assert_eq!(rig.call("POST", "/nodes", born).await.1["maintenance"], json!(true));
}

#[tokio::test]
async fn the_next_page_of_a_nodes_ports_is_still_that_nodes() {
    let rig = Rig::new().await;
    let (one, two) = (rig.node("n1").await, rig.node("n2").await);
    for (node, mac) in [(&one, "52:54:00:00:00:01"), (&two, "52:54:00:00:00:02"), (&one, "52:54:00:00:00:03")] {
        assert_eq!(rig.port(node, mac).await.0, StatusCode::CREATED);
    }
    let (_, first) = rig.call("GET", "/nodes/n1/ports?limit=1", Value::Null).await;
    let next = first["next"].as_str().expect("more");
    let (_, second) = rig.raw("GET", next.split_once("localhost").expect("a URL").1, "", &[]).await;
    assert_eq!(second["ports"][0]["address"], "52:54:00:00:00:03", "{second}");
    let next = second["next"].as_str().expect("a full page may have a next one");
    let (_, third) = rig.raw("GET", next.split_once("localhost").expect("a URL").1, "", &[]).await;
    assert_eq!((&third["ports"], third.get("next")), (&json!([]), None));
}

#[tokio::test]
async fn a_mask_is_never_taken_for_a_secret() {
    let rig = Rig::new().await;
    let born = json!({"driver": "ipmi", "driver_info": {"ipmi_password": "******"}});
    assert_eq!(rig.call("POST", "/nodes", born).await.0, StatusCode::BAD_REQUEST);
    rig.node("n1").await;
    let set = async |url: &str| {
        let patch = json!([{"op": "add", "path": "/instance_info/image_source", "value": url}]);
        rig.call("PATCH", "/nodes/n1", patch).await.0
    };
    let stored = || rig.api.engine.view().node_by_name("n1").expect("there").settings.instance_info.clone();
    assert_eq!(set("http://u:secret@server/image").await, StatusCode::OK);
    assert_eq!(set("http://******@server/image").await, StatusCode::OK, "as it was shown");
    assert_eq!(set("http://******@server/another").await, StatusCode::BAD_REQUEST);
    assert_eq!(stored()["image_source"], "http://u:secret@server/image");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_patch_is_lost_among_others() {
    let rig = std::sync::Arc::new(Rig::new().await);
    rig.node("n1").await;
    let patches: Vec<_> = (0..4)
        .map(|writer| {
            let rig = rig.clone();
            tokio::spawn(async move {
                let mut accepted = Vec::new();
                for number in 0..5 {
                    let name = format!("w{writer}n{number}");
                    let patch = json!([{"op": "add", "path": format!("/extra/{name}"), "value": number}]);
                    let (status, answer) = rig.call("PATCH", "/nodes/n1", patch).await;
                    match status {
                        StatusCode::OK => accepted.push(name),
                        // Overtaken again and again: said so, and nothing written.
                        StatusCode::CONFLICT => {}
                        _ => panic!("{status}: {answer}"),
                    }
                }
                accepted
            })
        })
        .collect();
    let mut accepted = Vec::new();
    for patch in patches {
        accepted.extend(patch.await.expect("no panic"));
    }
    accepted.sort();
    assert!(!accepted.is_empty());
    let (_, node) = rig.call("GET", "/nodes/n1", Value::Null).await;
    let kept: Vec<_> = node["extra"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    assert_eq!(kept, accepted);
}
