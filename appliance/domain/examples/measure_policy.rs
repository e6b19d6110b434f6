//! How long a rule takes to say yes or no: `cargo run --release -p leasehold-domain --example measure_policy`.

#![allow(clippy::print_stdout)]

use leasehold_domain::policy::{Credentials, Policy};
use std::hint::black_box;
use std::time::Instant;

const CHECKS: u32 = 1_000_000;

fn who(project: Option<&str>, roles: &[&str]) -> Credentials {
    Credentials {
        user_id: "0123456789abcdef0123456789abcdef".into(),
        project_id: project.map(str::to_owned),
        system: project.is_none(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..Credentials::default()
    }
}

fn main() {
    let (owner, lessee) = ("00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100");
    let policy = Policy::default();
    let node = [("node.owner", owner), ("node.lessee", lessee)];
    for (title, who, rule) in [
        ("system reader sees a node", who(None, &["reader"]), "baremetal:node:get"),
        ("lessee's member sees it", who(Some(lessee), &["member", "reader"]), "baremetal:node:get"),
        ("stranger does not", who(Some("aabb"), &["member", "reader"]), "baremetal:node:get"),
        (
            "lessee's manager deploys",
            who(Some(lessee), &["manager", "member", "reader"]),
            "baremetal:node:set_provision_state",
        ),
        (
            "stranger may not",
            who(Some("aabb"), &["admin", "manager", "member", "reader"]),
            "baremetal:node:set_provision_state",
        ),
        ("his own network", who(Some(owner), &["member", "reader"]), "create_network"),
    ] {
        let target = [("project_id", owner), node[0], node[1]];
        let start = Instant::now();
        let mut yes = 0_u32;
        for _ in 0..CHECKS {
            yes += u32::from(policy.allows(black_box(rule), black_box(&who), black_box(&target)));
        }
        let each = start.elapsed() / CHECKS;
        println!("{title:<28} {rule:<36} {:>4} ns  {}", each.as_nanos(), if yes == 0 { "no" } else { "yes" });
    }
    let start = Instant::now();
    let rules = black_box(Policy::with(&[])).map_or(0, |policy| policy.rules().count());
    println!("{rules} rules made ready in {:?}", start.elapsed());
}
