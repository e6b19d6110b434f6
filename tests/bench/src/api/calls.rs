//! What is asked: the calls that are compared with the peer's, and those that are compared at different numbers of nodes.

use super::Proof;
use super::fleet::{self, Tenant};
use crate::client::Client;
use crate::lab::Lab;
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// One kind of call: what is sent the n-th time.
pub(super) type Call = Box<dyn Fn(usize) -> (&'static str, String, String) + Send + Sync>;

/// The calls that both sides get.
pub(super) struct First {
    base: &'static str,
    proof: Proof,
    count: u32,
}

pub(super) fn first(base: &'static str, proof: Proof, count: u32) -> First {
    First { base, proof, count }
}

impl First {
    /// Each with its name.
    pub(super) fn made(&self, lab: &Lab, client: &Client) -> Result<Vec<(String, Call)>> {
        let (base, count) = (self.base, self.count);
        let (word, mark) = match self.proof {
            Proof::Token => ("token", "t"),
            Proof::Basic => ("Basic", "b"),
        };
        let (shown, run) = (uuids(lab, client, base)?, std::process::id());
        let changed = shown.clone();
        let get = |path: &'static str| -> Call { Box::new(move |_| ("GET", format!("{base}{path}"), String::new())) };
        let calls: [(&str, Call); 6] = [
            ("GET /v1/nodes", get("/v1/nodes")),
            ("GET /v1/nodes/detail", get("/v1/nodes/detail")),
            ("GET /v1/nodes?limit=50", get("/v1/nodes?limit=50")),
            (
                "GET /v1/nodes/UUID",
                Box::new(move |number| ("GET", format!("{base}/v1/nodes/{}", of(number, &shown)), String::new())),
            ),
            (
                "PATCH /v1/nodes/UUID",
                Box::new(move |number| {
                    let patch = json!([{"op": "add", "path": "/extra/position", "value": number}]);
                    ("PATCH", format!("{base}/v1/nodes/{}", of(number, &changed)), patch.to_string())
                }),
            ),
            (
                "POST /v1/nodes",
                Box::new(move |number| {
                    let body = fleet::node(&format!("new-{mark}-{run}-{number}-{}", nanos()));
                    ("POST", format!("{base}/v1/nodes"), body.to_string())
                }),
            ),
        ];
        Ok(calls.into_iter().map(|(name, call)| (format!("{name}, {word}, {count} nodes"), call)).collect())
    }
}

/// A name once used is not used again, in no round.
fn nanos() -> u128 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos())
}

fn of(number: usize, uuids: &[String]) -> &str {
    &uuids[number % uuids.len()]
}

/// The oldest nodes, a thousand at most.
fn uuids(lab: &Lab, client: &Client, base: &'static str) -> Result<Vec<String>> {
    let first = super::in_lab(lab, client, move |client| {
        client.json("GET", &format!("{base}/v1/nodes?limit=1000"), &Value::Null)
    })?;
    let rows = first["nodes"].as_array().context("no nodes")?;
    Ok(rows.iter().filter_map(|node| Some(node["uuid"].as_str()?.to_owned())).collect())
}

/// What a list costs beside what it shows: each call's name, whether the lessee asks, and the call.
pub(super) fn growing(lab: &Lab, client: &Client, tenant: &Tenant, count: u32) -> Result<Vec<(String, bool, Call)>> {
    let base = "/baremetal/v1/nodes";
    let middle = super::in_lab(lab, client, move |client| {
        client.json("GET", &format!("{base}/node{}?fields=uuid,instance_uuid", fleet::spread(500, count)), &Value::Null)
    })?;
    let text = |name: &str| middle[name].as_str().map(str::to_owned).context("the node in the middle lacks something");
    let (marker, instance) = (text("uuid")?, text("instance_uuid")?);
    let (project, owner) = (&tenant.project, &tenant.owner);
    let asked: Vec<(&str, bool, String)> = vec![
        ("limit=1000", false, "?limit=1000".into()),
        ("limit=1000, marker in the middle", false, format!("?limit=1000&marker={marker}")),
        ("limit=100, marker in the middle", false, format!("?limit=100&marker={marker}")),
        ("limit=100, newest first", false, "?limit=100&sort_dir=desc".into()),
        ("detail, limit=1000", false, "/detail?limit=1000".into()),
        ("detail, limit=100, marker in the middle", false, format!("/detail?limit=100&marker={marker}")),
        ("limit=1000, by name", false, "?limit=1000&sort_key=name".into()),
        ("limit=100, by name, marker in the middle", false, format!("?limit=100&sort_key=name&marker={marker}")),
        ("limit=100, by updated_at, newest first", false, "?limit=100&sort_key=updated_at&sort_dir=desc".into()),
        ("limit=100, by resource_class", false, "?limit=100&sort_key=resource_class".into()),
        ("owner (20)", false, format!("?owner={owner}")),
        ("lessee (10)", false, format!("?lessee={project}")),
        ("provision_state (10)", false, "?provision_state=available".into()),
        ("resource_class (20)", false, "?resource_class=rare".into()),
        ("resource_class (20), by name", false, "?resource_class=rare&sort_key=name".into()),
        ("instance_uuid", false, format!("?instance_uuid={instance}")),
        ("associated (20)", false, "?associated=true".into()),
        ("maintenance (none)", false, "?maintenance=true".into()),
        ("driver (all), limit=100", false, "?driver=fake-hardware&limit=100".into()),
        ("conductor_group (20)", false, "?conductor_group=far".into()),
        ("description_contains (20; no index)", false, "?description_contains=here".into()),
        ("one node", false, format!("/{marker}")),
        ("lessee's list (10)", true, String::new()),
        ("lessee's detail (10)", true, "/detail".into()),
        ("lessee's list by name (10)", true, "?sort_key=name".into()),
        ("lessee's one node", true, format!("/node{}", fleet::spread(fleet::LENT, count))),
    ];
    let made = asked.into_iter().map(|(name, by_lessee, path)| {
        let call: Call = Box::new(move |_| ("GET", format!("{base}{path}"), String::new()));
        (name.to_owned(), by_lessee, call)
    });
    Ok(made.collect())
}
