//! A node's way from enrolment to a deployed system, over the appliance's API, with a line for every step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
        let follower = Follower::start(self.client.sibling()?, self.node.name);
        for step in STEPS {
            self.timed(column, step.name, || self.take(&step))?;
        }
        drop(follower);
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

/// Prints what happens to a node, as the appliance's trace tells it, until it is dropped.
struct Follower(Arc<AtomicBool>);

impl Follower {
    /// Not waited for at the end: its request may last for some seconds more, and it holds nothing but a connection.
    fn start(client: Client, node: &'static str) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let flag = ended.clone();
        std::thread::spawn(move || {
            let mut cursor = String::new();
            while !flag.load(Ordering::SeqCst) {
                // The appliance may be restarting: the states of the node tell what matters.
                let Ok(answer) = client.get(&trace_path(node, &cursor)) else {
                    std::thread::sleep(POLL);
                    continue;
                };
                for row in answer["trace"].as_array().into_iter().flatten() {
                    if flag.load(Ordering::SeqCst) {
                        return;
                    }
                    say::step(node, &trace_line(row));
                }
                answer["cursor"].as_str().unwrap_or_default().clone_into(&mut cursor);
            }
        });
        Self(ended)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn trace_path(node: &str, cursor: &str) -> String {
    let cursor = if cursor.is_empty() { String::new() } else { format!("&cursor={}", cursor.replace('+', "%2B")) };
    format!("/appliance/v1/nodes/{node}/trace?wait=5{cursor}")
}

fn trace_line(row: &Value) -> String {
    let field = |name: &str| row[name].as_str().unwrap_or_default();
    format!("  {:<4} {:<22} {}", field("source"), field("what"), detail(&row["detail"])).trim_end().to_owned()
}

/// The particulars of a row on one line: words as they are, fields as `name=value`.
fn detail(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            fields.map(|(name, value)| format!("{name}={}", detail(value))).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
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
    fn a_trace_row_becomes_a_line() {
        let row = json!({"at": "2026-01-01T00:00:00Z", "source": "boot", "what": "DISCOVER", "detail": "arch 7"});
        assert_eq!(trace_line(&row), "  boot DISCOVER               arch 7");
        let row = json!({"source": "boot", "what": "tftp-done", "detail": {"file": "a", "bytes": 7, "why": null}});
        assert_eq!(trace_line(&row), "  boot tftp-done              bytes=7 file=a");
        assert_eq!(trace_line(&json!({"source": "job", "what": "wipe began"})), "  job  wipe began");
        assert_eq!(trace_path("node0", "x+1"), "/appliance/v1/nodes/node0/trace?wait=5&cursor=x%2B1");
    }

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
