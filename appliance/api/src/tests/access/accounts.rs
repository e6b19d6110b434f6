//! Rows about accounts, and about the box's own API.

use super::row::Row;
use super::scene::Making;
use serde_json::{Value, json};

pub(super) async fn make(scene: &mut Making) {
    let v3 = "/identity/v3";
    let roles = scene.ask("sys-adm", "GET", "/identity/v3/roles", Value::Null).await;
    for (thing, name) in [("admin-role", "admin"), ("member-role", "member"), ("reader-role", "reader")] {
        let rows = roles["roles"].as_array().expect("a list");
        let found = rows.iter().find(|row| row["name"] == name).expect("the role");
        scene.things.insert(thing, found["id"].as_str().expect("an id").to_owned());
    }
    scene.make("role", "sys-adm", &format!("{v3}/roles"), json!({"role": {"name": "keeper"}}), "/role/id").await;
    scene.make("user", "sys-adm", &format!("{v3}/users"), json!({"user": {"name": "ada"}}), "/user/id").await;
    scene.make("group", "sys-adm", &format!("{v3}/groups"), json!({"group": {"name": "g"}}), "/group/id").await;
    scene.make("domain", "sys-adm", &format!("{v3}/domains"), json!({"domain": {"name": "d"}}), "/domain/id").await;
    let body = json!({"application_credential": {"name": "c"}});
    let path = format!("{v3}/users/{{les-mem}}/application_credentials");
    scene.make("credential", "les-mem", &path, body, "/application_credential/id").await;
}

fn row(method: &'static str, path: &str) -> Row {
    Row::new("identity", method, path)
}

pub(super) fn rows() -> Vec<Row> {
    [projects(), people(), roles(), the_box()].concat()
}

fn projects() -> Vec<Row> {
    let project = |body: Value| json!({ "project": body });
    vec![
        row("GET", "/projects").lists("{lessee}"),
        row("POST", "/projects").with(project(json!({"name": "n"}))).called("at the top"),
        row("POST", "/projects").with(project(json!({"name": "n", "parent_id": "{lessee}"}))).called("below {lessee}"),
        row("GET", "/projects/{lessee}"),
        row("PATCH", "/projects/{lessee}").with(project(json!({"description": "x"}))).called("description"),
        row("PATCH", "/projects/{lessee}").with(project(json!({"enabled": false}))).called("enabled"),
        row("DELETE", "/projects/{lessee}"),
        row("DELETE", "/projects/{other}"),
        row("GET", "/domains").lists("{domain}"),
        row("POST", "/domains").with(json!({"domain": {"name": "n"}})),
        row("GET", "/domains/{domain}"),
        row("PATCH", "/domains/{domain}").with(json!({"domain": {"description": "x"}})),
        row("GET", "/auth/projects"),
        row("GET", "/auth/catalog"),
        row("GET", "/services"),
        row("GET", "/endpoints"),
        row("GET", "/regions"),
    ]
}

fn people() -> Vec<Row> {
    let mine = "/users/{les-mem}/application_credentials";
    let mut rows = vec![
        row("GET", "/users").lists("{les-mem}"),
        row("POST", "/users").with(json!({"user": {"name": "n"}})),
        row("GET", "/users/{les-mem}"),
        row("PATCH", "/users/{les-mem}").with(json!({"user": {"description": "x"}})).called("description"),
        row("PATCH", "/users/{les-mem}").with(json!({"user": {"enabled": false}})).called("enabled"),
        row("DELETE", "/users/{user}"),
        row("GET", "/users/{les-mem}/projects"),
        row("GET", "/users/{les-mem}/groups"),
        row("GET", mine).lists("{credential}"),
        row("POST", mine).with(json!({"application_credential": {"name": "n"}})),
        row("GET", &format!("{mine}/{{credential}}")),
        row("DELETE", &format!("{mine}/{{credential}}")),
        row("GET", "/groups").lists("{group}"),
        row("POST", "/groups").with(json!({"group": {"name": "n"}})),
        row("GET", "/groups/{group}"),
        row("PATCH", "/groups/{group}").with(json!({"group": {"description": "x"}})),
        row("DELETE", "/groups/{group}"),
        row("GET", "/groups/{group}/users"),
        row("PUT", "/groups/{group}/users/{user}"),
    ];
    let link = |body: Value| Row::new("appliance", "POST", "/appliance/v1/invitations").with(body);
    rows.extend([
        link(json!({"user": {"name": "n"}})).called("a new account"),
        link(json!({"user": {"name": "n"}, "project_id": "{lessee}", "roles": ["member"]}))
            .called("a member of {lessee}"),
        link(json!({"user_id": "{user}"})).called("another's password"),
    ]);
    rows
}

fn roles() -> Vec<Row> {
    let mut rows = vec![
        row("GET", "/roles").lists("{role}"),
        row("POST", "/roles").with(json!({"role": {"name": "n"}})),
        row("GET", "/roles/{role}"),
        row("PATCH", "/roles/{role}").with(json!({"role": {"description": "x"}})),
        row("DELETE", "/roles/{role}"),
        row("GET", "/roles/{member-role}/implies"),
        row("PUT", "/roles/{reader-role}/implies/{role}"),
        row("GET", "/role_inferences"),
        row("GET", "/role_assignments").lists("{les-mem}"),
        row("GET", "/role_assignments?scope.project.id={lessee}").lists("{les-mem}"),
        row("PUT", "/domains/{domain}/users/{user}/roles/{member-role}"),
    ];
    for role in ["{reader-role}", "{member-role}", "{admin-role}"] {
        rows.push(row("PUT", &format!("/projects/{{lessee}}/users/{{user}}/roles/{role}")));
        rows.push(row("PUT", &format!("/system/users/{{user}}/roles/{role}")));
    }
    rows.extend([
        row("GET", "/projects/{lessee}/users/{les-mem}/roles").lists("{member-role}"),
        row("DELETE", "/projects/{lessee}/users/{les-mem}/roles/{member-role}"),
        row("DELETE", "/system/users/{sys-rea}/roles/{reader-role}"),
    ]);
    rows
}

/// The box's own API; that of rules and of accounts is on the local socket only.
fn the_box() -> Vec<Row> {
    let own = |method, path: &str| Row::new("appliance", method, path);
    vec![
        own("GET", "/appliance/v1/audit"),
        own("GET", "/appliance/v1/audit/export"),
        own("GET", "/appliance/v1/policy"),
        own("POST", "/appliance/v1/policy/reload"),
        own("GET", "/appliance/v1/policy/explain?user=les-mem&action=node:get"),
        own("GET", "/appliance/v1/accounts"),
        own("GET", "/appliance/v1/nodes").lists("{node}"),
        own("GET", "/appliance/v1/nodes/{node}"),
        own("GET", "/appliance/v1/nodes/{node}/trace"),
        own("GET", "/appliance/v1/images").lists("{image}"),
        own("GET", "/appliance/v1/images/{image}"),
        own("DELETE", "/appliance/v1/images/{image}"),
        own("POST", "/appliance/v1/images?name=n").with("another".into()),
        own("GET", "/appliance/v1/session"),
        own("GET", "/healthz"),
        own("GET", "/readyz"),
        own("GET", "/metrics"),
    ]
}
