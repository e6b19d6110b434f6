//! A node's way from enrolment to a deployed system, over the appliance's API, with a line for every step.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::client::{Client, text};
use crate::image::Image;
use crate::plan::{self, BmcKind, NodePlan};
use crate::say;
use crate::stop::Stop;
use crate::table::Column;

const BASE: &str = "/baremetal/v1";
const POLL: Duration = Duration::from_millis(300);

/// A step of the way: the verb, the state it must end in, and its limit under TCG with two nodes at once.
struct Step {
    name: &'static str,
    verb: &'static str,
    ends_in: &'static str,
    limit: Duration,
}

const STEPS: [Step; 4] = [
    Step { name: "manage", verb: "manage", ends_in: "manageable", limit: Duration::from_secs(60) },
    Step { name: "inspect", verb: "inspect", ends_in: "manageable", limit: Duration::from_secs(300) },
    Step { name: "clean", verb: "provide", ends_in: "available", limit: Duration::from_secs(300) },
    Step { name: "deploy", verb: "active", ends_in: "active", limit: Duration::from_secs(600) },
];

/// What one node goes through.
pub struct Journey<'a> {
    pub client: Client,
    pub node: NodePlan,
    pub bmc_password: &'a str,
    pub image: &'a Image,
    pub config_drive: Value,
    pub stop: &'a Stop,
}

impl Journey<'_> {
    /// Goes the whole way; the column has the seconds of each step, also of those before a failure.
    ///
    /// # Errors
    /// The step that failed and why, in the appliance's words.
    pub fn go(&self, column: &mut Column) -> Result<()> {
        self.timed(column, "enrol", || self.enrol())?;
        for step in STEPS {
            self.timed(column, step.name, || self.take(&step))?;
        }
        Ok(())
    }

    fn timed(&self, column: &mut Column, name: &'static str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.stop.check()?;
        let begin = Instant::now();
        let result = work();
        column.steps.push((name, begin.elapsed()));
        if result.is_ok() {
            say::step(self.node.name, &format!("{name}: done in {:.1} s", begin.elapsed().as_secs_f64()));
        }
        result.with_context(|| format!("{} of {}", name, self.node.name))
    }

    fn enrol(&self) -> Result<()> {
        let (driver, info) = driver(&self.node, self.bmc_password);
        let body = json!({"name": self.node.name, "driver": driver, "driver_info": info});
        let node = self.client.post(&format!("{BASE}/nodes"), &body)?;
        let port = json!({"node_uuid": text(&node, "uuid")?, "address": self.node.mac});
        self.client.post(&format!("{BASE}/ports"), &port).map(drop)
    }

    fn take(&self, step: &Step) -> Result<()> {
        let mut body = json!({"target": step.verb});
        if step.verb == "active" {
            let wanted = json!({
                "image_source": self.image.url(),
                "image_os_hash_algo": self.image.algorithm,
                "image_os_hash_value": self.image.checksum,
            });
            let patch = json!([{"op": "add", "path": "/instance_info", "value": wanted}]);
            self.client.patch(&self.node_path(""), &patch)?;
            body["configdrive"] = self.config_drive.clone();
        }
        say::step(self.node.name, &format!("{} …", step.name));
        self.client.put(&self.node_path("/states/provision"), &body)?;
        self.wait_for(step)
    }

    fn wait_for(&self, step: &Step) -> Result<()> {
        let mut shown = String::new();
        let what = format!("{} → {}", step.name, step.ends_in);
        self.stop.until(&what, step.limit, POLL, || {
            let node = self.client.get(&self.node_path(""))?;
            let state = text(&node, "provision_state")?;
            if state != shown {
                say::step(self.node.name, state);
                shown = state.to_owned();
            }
            outcome(&node, step.ends_in)
        })
    }

    fn node_path(&self, rest: &str) -> String {
        format!("{BASE}/nodes/{}{rest}", self.node.name)
    }
}

/// Whether a node has come to rest in `wanted`; an error when it rests elsewhere.
fn outcome(node: &Value, wanted: &str) -> Result<Option<()>> {
    let state = text(node, "provision_state")?;
    let underway = node["target_provision_state"].as_str().is_some_and(|target| !target.is_empty());
    let reason = node["last_error"].as_str().unwrap_or("no reason given");
    if state.ends_with("failed") || state == "error" {
        bail!("{state}: {reason}");
    }
    match (state == wanted, underway) {
        (true, false) => Ok(Some(())),
        (_, true) => Ok(None),
        // `enroll` without a target: verification ended badly.
        (false, false) => bail!("it came to rest in {state} instead of {wanted}: {reason}"),
    }
}

/// The driver and its settings.
pub fn driver(node: &NodePlan, password: &str) -> (&'static str, Value) {
    match node.bmc {
        BmcKind::Ipmi => (
            "ipmi",
            json!({
                "ipmi_address": node.bmc_address.to_string(),
                "ipmi_port": node.bmc_port,
                "ipmi_username": plan::BMC_USER,
                "ipmi_password": password,
            }),
        ),
        BmcKind::Redfish => (
            "redfish",
            json!({
                "redfish_address": format!("https://{}:{}", node.bmc_address, node.bmc_port),
                "redfish_username": plan::BMC_USER,
                "redfish_password": password,
                // Self-signed, as on a real BMC; the appliance pins it at enrolment.
                "redfish_verify_ca": false,
            }),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_waited_for_until_it_rests() {
        let node = |state: &str, target: Value| json!({"provision_state": state, "target_provision_state": target, "last_error": "the BMC is silent"});
        assert_eq!(outcome(&node("manageable", Value::Null), "manageable").unwrap(), Some(()));
        assert_eq!(outcome(&node("inspecting", json!("manageable")), "manageable").unwrap(), None);
        assert_eq!(outcome(&node("manageable", json!("available")), "manageable").unwrap(), None);
        for (state, target) in [("enroll", Value::Null), ("deploy failed", json!("active")), ("error", Value::Null)] {
            let error = outcome(&node(state, target), "manageable").unwrap_err().to_string();
            assert!(error.contains("the BMC is silent") && error.contains(state), "{error}");
        }
    }
}
