//! What must fail: each test is named after the attack and asks the running routers as the attacker would.
//!
//! In: owner, lessee and stranger at one box, and what the box keeps from each. Out: a refusal, and a state that is what
//! it was. Every test also makes the rightful request beside the attack, so that it fails when nothing is answered at all.

use super::identity::{Answer, by_password, system};
use super::tenants::{Scene, Tenant};
use super::{PASSWORD, VERSION};
use axum::http::StatusCode;
use leasehold_domain::id::NodeId;
use leasehold_domain::node::NodeSettings;
use serde_json::{Value, json};
use uuid::Uuid;

mod children;
mod creation;
mod headers;
mod hidden;
mod images;
mod machines;
mod masks;
mod names;
mod patches;
mod tokens;

/// The password of the BMC: it is in no answer.
const SECRET: &str = "sesame-of-the-bmc";
/// A node that nobody has.
const NOWHERE: &str = "00000000-0000-0000-0000-000000000001";

impl Scene {
    /// A node with a BMC's password that is owned and lent like the scene's own: its UUID.
    async fn guarded(&self, name: &str) -> String {
        let node = json!({
            "driver": "ipmi", "name": name, "owner": self.owner.project, "lessee": self.lessee.project,
            "driver_info": {"ipmi_address": "10.0.0.9", "ipmi_username": "root", "ipmi_password": SECRET},
            "extra": {"note": "the owner's"},
        });
        let (status, node) = self.rig.call("POST", "/nodes", node).await;
        assert_eq!(status, StatusCode::CREATED, "{node}");
        node["uuid"].as_str().expect("a UUID").to_owned()
    }

    /// A node of the stranger.
    async fn strangers(&self) -> String {
        let (status, node) = self.ask(&self.stranger, "POST", "/nodes", json!({"driver": "fake-hardware"})).await;
        assert_eq!(status, StatusCode::CREATED, "{node}");
        node["uuid"].as_str().expect("a UUID").to_owned()
    }

    fn kept(&self, node: &str) -> NodeSettings {
        let id = NodeId(Uuid::parse_str(node).expect("a UUID"));
        self.rig.api.engine.view().node(id).expect("there").settings.clone()
    }

    /// A request to any service with a token.
    async fn with(&self, who: &Tenant, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let answer = self.rig.ask(method, path, body, &[("x-auth-token", &who.token), (VERSION, "1.115")]).await;
        (answer.status, answer.body)
    }
}
