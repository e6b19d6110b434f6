//! Leases over HTTP, as owner, lessee, sublessee, stranger and administrator ask for them, with the shipped rules.

use super::tenants::{Tenant, tenant};
use super::*;
use crate::tests::identity::system;
use leasehold_domain::View;
use leasehold_domain::id::LeaseId;
use leasehold_domain::lease::LeaseState;

mod at_socket;
mod bad_input;
mod calendar;
mod events;
mod left_behind;
mod life;
mod once;
mod quarantine;
mod quotas;
mod reservations;
mod told;
mod usage;
mod webhooks;
mod whose;

const SHIPPED: &str = include_str!("../../../../config/policy.yaml");
/// Longer than anything here should ever take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A day that has not come.
const DAY: &str = "2090-01-01T00:00:00";

/// A node of the owner's that is ready, and everybody who has to do with it.
struct Market {
    rig: Rig,
    owner: Tenant,
    lessee: Tenant,
    sublessee: Tenant,
    stranger: Tenant,
    admin: Tenant,
    /// The UUID of `n1`.
    node: String,
    _running: leasehold_engine::Running,
}

impl Market {
    async fn new() -> Market {
        let rig = Rig::new().await;
        rig.api.policy.store(Arc::new(crate::policy::file::read(SHIPPED).expect("a policy file")));
        let _running = rig.api.engine.start();
        let owner = tenant(&rig, "owner", "member").await;
        let lessee = tenant(&rig, "lessee", "member").await;
        let sublessee = tenant(&rig, "sublessee", "member").await;
        let stranger = tenant(&rig, "stranger", "admin").await;
        let admin = Tenant { project: String::new(), token: rig.token("admin", PASSWORD, system()).await };
        let mut market = Market { rig, owner, lessee, sublessee, stranger, admin, node: String::new(), _running };
        market.node = market.ready_node("n1").await;
        market
    }

    /// A node of the owner's that was cleaned.
    async fn ready_node(&self, name: &str) -> String {
        let node = json!({
            "driver": "fake-hardware", "name": name, "owner": self.owner.project, "resource_class": "gpu",
            "properties": {"cpus": 8, "capabilities": "x:y"},
        });
        let (status, node) = self.rig.call("POST", "/nodes", node).await;
        assert_eq!(status, StatusCode::CREATED, "{node}");
        for verb in ["manage", "provide"] {
            let path = format!("/nodes/{name}/states/provision");
            let (status, answer) = self.rig.call("PUT", &path, json!({"target": verb})).await;
            assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
            self.until(|view| view.node_by_name(name).is_some_and(|node| node.job.is_none())).await;
        }
        node["uuid"].as_str().expect("a UUID").to_owned()
    }

    /// Waits for the state to be so.
    async fn until(&self, is_so: impl Fn(&View) -> bool) {
        let mut feed = self.rig.api.engine.store.subscribe();
        let comes = async {
            while !is_so(&self.rig.api.engine.view()) {
                feed.next().await.expect("the store is open");
            }
        };
        tokio::time::timeout(PATIENCE, comes).await.expect("it comes to that");
    }

    async fn ask(&self, who: &Tenant, method: &str, path: &str, body: Value) -> Reply {
        self.with(who, method, path, body, &[]).await
    }

    async fn with(&self, who: &Tenant, method: &str, path: &str, body: Value, more: &[(&str, &str)]) -> Reply {
        let headers: Vec<_> = [("x-auth-token", who.token.as_str())].into_iter().chain(more.iter().copied()).collect();
        let answer = self.rig.ask(method, &format!("/lease/v1{path}"), body, &headers).await;
        (answer.status, answer.body)
    }

    async fn get(&self, who: &Tenant, path: &str) -> Value {
        let (status, answer) = self.ask(who, "GET", path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    async fn made(&self, who: &Tenant, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(who, "POST", path, body).await;
        assert_eq!(status, StatusCode::CREATED, "{path}: {answer}");
        answer
    }

    /// An offer of the owner's from [`DAY`] on, for thirty days.
    async fn offer(&self, name: &str) -> Value {
        let body = json!({
            "resource_uuid": "n1", "name": name, "start_time": DAY, "end_time": "2090-01-31T00:00:00",
        });
        self.made(&self.owner, "/offers", body).await
    }

    /// A lease of `n1`, from now on, that has become active.
    async fn active_lease(&self) -> Value {
        let body = json!({"resource_uuid": "n1", "project_id": "lessee", "name": "mine"});
        let lease = self.made(&self.owner, "/leases", body).await;
        self.until_lease_is(&lease, LeaseState::Active).await;
        lease
    }

    async fn until_lease_is(&self, lease: &Value, state: LeaseState) {
        let id = LeaseId(lease["uuid"].as_str().and_then(|text| Uuid::parse_str(text).ok()).expect("a UUID"));
        self.until(|view| view.lease.lease(id).is_some_and(|lease| lease.state == state)).await;
    }

    /// The lease has gone from what is not over; what has become of it.
    async fn after(&self, who: &Tenant, lease: &Value) -> Value {
        let id = LeaseId(lease["uuid"].as_str().and_then(|text| Uuid::parse_str(text).ok()).expect("a UUID"));
        self.until(|view| view.lease.lease(id).is_none()).await;
        self.get(who, &format!("/leases/{id}")).await
    }

    /// Everything that can be seen of offers and leases.
    async fn everything(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for path in ["/offers?status=any", "/leases?view=all&status=any", "/events"] {
            all.push(self.get(&self.admin, path).await);
        }
        all
    }
}

/// The words of esi-leap's error body.
fn words(answer: &Value) -> &str {
    answer["faultstring"].as_str().expect("esi-leap's error body")
}

fn uuid(thing: &Value) -> &str {
    thing["uuid"].as_str().expect("a UUID")
}

/// The names of what is listed under this member.
fn names(list: &Value, member: &str) -> Vec<String> {
    let rows = list[member].as_array().expect("a list");
    rows.iter().map(|row| row["name"].as_str().unwrap_or_default().to_owned()).collect()
}
