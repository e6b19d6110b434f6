//! The nodes that are asked for, and the tenant to whom ten of them are lent.
//!
//! Of a thousand nodes some are special, of a hundred thousand as many, spread among the others: what a filter finds is
//! the same, only what it must not look at grows.

use super::in_lab;
use crate::client::Client;
use crate::lab::Lab;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Connections that fill a server with nodes.
const FILLERS: u32 = 16;
/// The special ones are counted in thousandths of all.
const PARTS: u32 = 1_000;
/// Each hundredth part from this on is lent.
pub(super) const LENT: u32 = 7;
const WORDS: &str = "ten machines of a thousand";

/// A user with a project, to which ten nodes are lent, and a project that owns twenty.
pub(super) struct Tenant {
    pub(super) project: String,
    pub(super) owner: String,
}

/// A node as an operator enrolls one.
pub(super) fn node(name: &str) -> Value {
    json!({
        "name": name,
        "driver": "fake-hardware",
        "driver_info": {"address": "192.0.2.1", "username": "admin"},
        "properties": {"cpus": 64, "memory_mb": 262_144, "local_gb": 3600, "cpu_arch": "x86_64"},
        "resource_class": "baremetal",
        "extra": {"rack": "r1", "position": 17},
    })
}

/// The number of the node at this thousandth part.
pub(super) fn spread(part: u32, count: u32) -> u32 {
    part * (count / PARTS).max(1) % count
}

/// The scope of the administrator's token.
pub(super) fn system() -> Value {
    json!({"system": {"all": true}})
}

/// Makes nodes with a port each. With `special` also the tenant and what is lent to him.
pub(super) fn fill(
    lab: &Lab,
    base: &'static str,
    client: &Client,
    count: u32,
    special: bool,
) -> Result<Option<Tenant>> {
    let special = special && count >= PARTS;
    let tenant = if special { Some(in_lab(lab, client, tenant)?) } else { None };
    let names = tenant.as_ref().map(|tenant| (tenant.project.clone(), tenant.owner.clone()));
    in_lab(lab, client, move |client| {
        let one = |lane: u32, client: &mut Client| -> Result<()> {
            for number in (lane..count).step_by(FILLERS as usize) {
                enroll(client, base, number, count, names.as_ref())?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let one = &one;
            let lanes: Vec<_> = (0..FILLERS)
                .map(|lane| {
                    let mut client = client.sibling();
                    scope.spawn(move || one(lane, &mut client))
                })
                .collect();
            lanes.into_iter().try_for_each(|lane| lane.join().unwrap_or_else(|_| anyhow::bail!("a client failed")))
        })
    })?;
    Ok(tenant)
}

fn enroll(client: &mut Client, base: &str, number: u32, count: u32, names: Option<&(String, String)>) -> Result<()> {
    let mut body = node(&format!("node{number}"));
    let step = (count / PARTS).max(1);
    let part = number / step;
    let mut early = false;
    if let Some((project, owner)) = names.filter(|_| number.is_multiple_of(step) && part < PARTS) {
        if part.is_multiple_of(50) {
            body["instance_uuid"] = uuid::Uuid::new_v4().to_string().into();
        }
        match part % 100 {
            LENT => body["lessee"] = project.as_str().into(),
            20 | 70 => body["owner"] = owner.as_str().into(),
            30 | 80 => body["resource_class"] = "rare".into(),
            40 | 90 => body["conductor_group"] = "far".into(),
            10 | 60 => body["description"] = "words are here".into(),
            // Until 1.10 a new node was free at once; its class came later.
            55 => early = true,
            _ => {}
        }
    }
    let answer = if early {
        body.as_object_mut().context("an object")?.remove("resource_class");
        client.older().json("POST", &format!("{base}/v1/nodes"), &body)?
    } else {
        client.json("POST", &format!("{base}/v1/nodes"), &body)?
    };
    let [_, a, b, c] = number.to_be_bytes();
    let mac = format!("02:ee:00:{a:02x}:{b:02x}:{c:02x}");
    client.json("POST", &format!("{base}/v1/ports"), &json!({"node_uuid": answer["uuid"], "address": mac}))?;
    Ok(())
}

/// Makes the tenant, as the administrator.
fn tenant(client: &mut Client) -> Result<Tenant> {
    let mut client = client.with_token(system())?;
    let mut make = |kind: &str, body: Value| -> Result<String> {
        let made = client.json("POST", &format!("/identity/v3/{kind}s"), &json!({ kind: body }))?;
        Ok(made[kind]["id"].as_str().context("no id")?.to_owned())
    };
    let project = make("project", json!({"name": "lessee"}))?;
    let owner = make("project", json!({"name": "owner"}))?;
    let user = make("user", json!({"name": "lessee", "password": WORDS, "default_project_id": project}))?;
    let roles = client.json("GET", "/identity/v3/roles?name=member", &Value::Null)?;
    let role = roles["roles"][0]["id"].as_str().context("no role")?;
    client.good("PUT", &format!("/identity/v3/projects/{project}/users/{user}/roles/{role}"), "")?;
    Ok(Tenant { project, owner })
}

impl Tenant {
    /// His client, with a token for his project, who is shown ten nodes.
    pub(super) fn client(&self, lab: &Lab, any: &Client) -> Result<Client> {
        let scope = json!({"project": {"id": self.project}});
        in_lab(lab, any, move |client| {
            let mut his = client.of_user("lessee", WORDS).with_token(scope)?;
            let shown = his.json("GET", "/baremetal/v1/nodes", &Value::Null)?;
            let count = shown["nodes"].as_array().map_or(0, Vec::len);
            ensure!(count == 10, "the lessee is shown {count} nodes");
            Ok(his)
        })
    }
}
