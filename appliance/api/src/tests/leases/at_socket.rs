//! The lease API on the local socket: whoever administers the box, for the project that he names.

use super::*;
use crate::local;

impl Market {
    async fn at_socket(&self, project: Option<&str>, method: &str, path: &str, body: Value) -> Reply {
        self.as_uid(Some(0), project, method, path, body).await
    }

    async fn as_uid(&self, uid: Option<u32>, project: Option<&str>, method: &str, path: &str, body: Value) -> Reply {
        let connection = Connection { peer: None, uid, secure: false };
        let mut request = Request::builder().method(method).uri(path).extension(connection);
        request = request.header(header::CONTENT_TYPE, "application/json");
        if let Some(project) = project {
            request = request.header(crate::auth::at_socket::PROJECT_HEADER, project);
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.rig.send(local(self.rig.api.clone()), request.body(body.into()).expect("a request")).await
    }
}

#[tokio::test]
async fn he_acts_for_owners_and_lessees_by_name() {
    let market = Market::new().await;
    let body = json!({"resource_uuid": "n1", "name": "spring", "start_time": DAY});
    let (status, offer) = market.at_socket(None, "POST", "/lease/v1/offers", body).await;
    assert_eq!((status, &offer["project_id"]), (StatusCode::CREATED, &json!(market.owner.project)), "{offer}");
    let claim = "/lease/v1/offers/spring/claim";
    let (status, refused) = market.at_socket(None, "POST", claim, json!({})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "for whom? {refused}");
    let (status, refused) = market.at_socket(Some("nobody"), "POST", claim, json!({})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{refused}");
    let (status, lease) = market.at_socket(Some("lessee"), "POST", claim, json!({"name": "mine"})).await;
    assert_eq!((status, &lease["project_id"]), (StatusCode::CREATED, &json!(market.lessee.project)), "{lease}");
    let audit = market.rig.api.engine.store.audit(1).await.expect("read");
    assert_eq!((audit[0].actor.as_str(), audit[0].what.as_str()), ("local user 0", "claim-offer"));

    let by_id = market.at_socket(Some(&market.lessee.project), "GET", "/lease/v1/leases", Value::Null).await;
    assert_eq!(names(&by_id.1, "leases"), ["mine"]);
    let all = market.at_socket(None, "GET", "/lease/v1/leases?view=all", Value::Null).await;
    assert_eq!(names(&all.1, "leases"), ["mine"]);
    let wish = json!({"nodes": [{"resource_class": "gpu"}], "start_time": "2091-01-01T00:00:00", "name": "team"});
    let (status, made) = market.at_socket(Some("lessee"), "POST", "/appliance/v1/reservations", wish).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    for (project, wanted) in [(None, 1), (Some("lessee"), 1), (Some("stranger"), 0)] {
        let (_, list) = market.at_socket(project, "GET", "/appliance/v1/reservations", Value::Null).await;
        assert_eq!(list["reservations"].as_array().map(Vec::len), Some(wanted), "{project:?}: {list}");
    }
}

#[tokio::test]
async fn a_connection_without_a_unix_user_is_refused_and_the_header_is_nothing_elsewhere() {
    let market = Market::new().await;
    let before = market.everything().await;
    let body = json!({"resource_uuid": "n1", "name": "mine"});
    let (status, _) = market.as_uid(None, Some("owner"), "POST", "/lease/v1/offers", body.clone()).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let header = [(crate::auth::at_socket::PROJECT_HEADER, "owner")];
    let (status, _) = market.with(&market.stranger, "POST", "/offers", body, &header).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "he sees no such node, whatever he says he is");
    assert_eq!(market.everything().await, before);
}
