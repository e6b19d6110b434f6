//! Rows about offers, leases and what is told of them.

use super::row::Row;
use super::scene::Making;
use serde_json::{Value, json};

/// A time that has not come, by its year.
fn times(year: u16, mut body: Value) -> Value {
    body["start_time"] = format!("{year}-01-01T00:00:00").into();
    body["end_time"] = format!("{year}-01-15T00:00:00").into();
    body
}

pub(super) async fn make(scene: &mut Making) {
    let body = json!({"driver": "fake-hardware", "name": "leased", "owner": "{owner}", "resource_class": "leased"});
    scene.make("leased", "sys-adm", "/baremetal/v1/nodes", body, "/uuid").await;
    let v1 = "/lease/v1";
    let open = times(2091, json!({"resource_uuid": "{leased}", "name": "open"}));
    scene.make("offer", "own-adm", &format!("{v1}/offers"), open, "/uuid").await;
    let meant = times(2092, json!({"resource_uuid": "{leased}", "name": "meant", "lessee_id": "{lessee}"}));
    scene.make("meant", "own-adm", &format!("{v1}/offers"), meant, "/uuid").await;
    for (name, year) in [("lease", 2090), ("over", 2089)] {
        let body = times(year, json!({"resource_uuid": "{leased}", "project_id": "{lessee}", "name": name}));
        scene.make(name, "own-adm", &format!("{v1}/leases"), body, "/uuid").await;
    }
    let webhook = json!({"url": "https://hooks.example.org/", "types": ["lease"]});
    scene.make("webhook", "les-mem", "/appliance/v1/webhooks", webhook, "/id").await;
    scene.ask("own-adm", "DELETE", &format!("{v1}/leases/{{over}}"), Value::Null).await;
}

fn row(method: &'static str, path: &str) -> Row {
    Row::new("lease", method, path)
}

pub(super) fn rows() -> Vec<Row> {
    let new_lease = times(2093, json!({"resource_uuid": "{leased}", "project_id": "{lessee}"}));
    let mut rows = vec![
        row("POST", "/offers").with(times(2093, json!({"resource_uuid": "{leased}"}))),
        row("DELETE", "/offers/{offer}"),
        row("GET", "/leases").lists("{lease}"),
        row("GET", "/leases?status=any").lists("{over}"),
        row("GET", "/leases?view=all").lists("{lease}"),
        row("GET", "/leases?owner_id={owner}").lists("{lease}"),
        row("GET", "/leases?project_id={lessee}").lists("{lease}"),
        row("POST", "/leases").with(new_lease),
        row("GET", "/leases/{lease}"),
        row("GET", "/leases/{over}"),
        row("PATCH", "/leases/{lease}").with(json!({"end_time": "2090-01-16T00:00:00"})).called("later"),
        row("DELETE", "/leases/{lease}"),
        row("GET", "/nodes").lists("{leased}"),
        row("GET", "/events").lists("{over}"),
        row("GET", "/events?lessee_or_owner_id={lessee}").lists("{over}"),
        row("POST", "/console_auth_tokens").with(json!({"node_uuid_or_name": "{leased}"})),
    ];
    for offer in ["{offer}", "{meant}"] {
        rows.extend([
            row("GET", "/offers").lists(offer),
            row("GET", &format!("/offers/{offer}")),
            row("POST", &format!("/offers/{offer}/claim")).with(json!({"name": "claimed"})),
        ]);
    }
    rows.extend([
        Row::new("appliance", "GET", "/appliance/v1/events?type=lease").lists("{over}"),
        Row::new("appliance", "GET", "/appliance/v1/events?type=node.created").lists("{leased}"),
        Row::new("appliance", "GET", "/appliance/v1/webhooks").lists("{webhook}"),
        Row::new("appliance", "POST", "/appliance/v1/webhooks").with(json!({"url": "https://hooks.example.org/"})),
        Row::new("appliance", "GET", "/appliance/v1/webhooks/{webhook}"),
        Row::new("appliance", "DELETE", "/appliance/v1/webhooks/{webhook}"),
        Row::new("appliance", "GET", "/appliance/v1/webhooks/{webhook}/dead"),
        Row::new("appliance", "POST", "/appliance/v1/webhooks/{webhook}/redeliver"),
    ]);
    rows
}
