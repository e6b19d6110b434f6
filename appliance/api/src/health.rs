//! `/healthz` (the program lives), `/readyz` (it can do its work), `/metrics` (Prometheus text).

use crate::Api;
use crate::auth::known_callers;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use leasehold_domain::provision::ProvisionState;
use leasehold_store::Health;
use std::collections::BTreeMap;
use std::fmt::Write;

fn probes() -> Router<Api> {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

/// Probes for everybody, figures for who is known.
pub(crate) fn public_router(api: &Api) -> Router<Api> {
    let figures = Router::new().route("/metrics", get(metrics));
    probes().merge(figures.layer(from_fn_with_state(api.clone(), known_callers)))
}

/// For the local socket, whose peer has been checked.
pub(crate) fn local_router() -> Router<Api> {
    probes().route("/metrics", get(metrics))
}

/// Ready: the store takes changes.
async fn ready(State(api): State<Api>) -> Response {
    let health = api.engine.store.health().borrow().clone();
    let why = match health {
        Health::Ready => return "ready\n".into_response(),
        Health::Full(why) | Health::Failing(why) => why,
        Health::Closed => "the appliance is stopping".into(),
    };
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response()
}

async fn metrics(State(api): State<Api>) -> Response {
    let view = api.engine.view();
    let mut states: BTreeMap<&str, u64> = ProvisionState::ALL.iter().map(|state| (state.name(), 0)).collect();
    let (mut maintenance, mut oldest) = (0_u64, BTreeMap::<&str, i64>::new());
    let now = Timestamp::now();
    for node in view.nodes_after(None) {
        *states.entry(node.provision_state.name()).or_default() += 1;
        maintenance += u64::from(node.maintenance);
        if node.provision_state.is_busy()
            && let Some(since) = node.provision_updated_at
        {
            let age = now.duration_since(since).as_secs().max(0);
            let longest = oldest.entry(node.provision_state.name()).or_default();
            *longest = age.max(*longest);
        }
    }
    let running = view.jobs().filter(|job| job.is_running()).count();
    let mut text = String::new();
    let mut line = |name: &str, help: &str, rows: Vec<(String, String)>| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in rows {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let by_state = |rows: Vec<(&str, String)>| {
        rows.into_iter().map(|(state, value)| (format!("{{state=\"{state}\"}}"), value)).collect::<Vec<_>>()
    };
    let counts = states.iter().map(|(state, count)| (*state, count.to_string())).collect();
    line("leasehold_nodes", "Nodes by provision state.", by_state(counts));
    let ages = oldest.iter().map(|(state, age)| (*state, age.to_string())).collect();
    line("leasehold_state_age_seconds", "Longest time that a node is in a state of work.", by_state(ages));
    line("leasehold_nodes_maintenance", "Nodes in maintenance.", vec![(String::new(), maintenance.to_string())]);
    line("leasehold_jobs_running", "Jobs at work.", vec![(String::new(), running.to_string())]);
    line(
        "leasehold_dhcp_bindings",
        "Addresses acknowledged to clients.",
        vec![(String::new(), view.bindings().count().to_string())],
    );
    let version = env!("CARGO_PKG_VERSION");
    let looks = api.passwords.looks().to_string();
    line("leasehold_password_checks", "Passwords looked at by Argon2 since the start.", vec![(String::new(), looks)]);
    line("leasehold_info", "The program's version.", vec![(format!("{{version=\"{version}\"}}"), "1".into())]);
    let uptime = now.duration_since(api.started).as_secs().to_string();
    line("leasehold_uptime_seconds", "Seconds since the program started.", vec![(String::new(), uptime)]);
    api.limits.write_metrics(&mut text);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
