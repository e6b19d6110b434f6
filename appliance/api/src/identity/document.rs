//! Keystone's documents of rows.

use jiff::Timestamp;
use leasehold_domain::id::ProjectId;
use leasehold_domain::identity::{ApplicationCredential, Directory, Group, Project, Role, User, id_text};
use serde_json::{Value, json};

/// A moment as Keystone writes it.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn links(base: &str, path: &str, id: &str) -> Value {
    json!({"self": format!("{base}/identity/v3/{path}/{id}")})
}

/// A project; a domain is one, too, that lies in no domain.
pub(super) fn project(row: &Project, base: &str) -> Value {
    let id = row.id_text();
    json!({
        "id": id,
        "name": row.name,
        "description": row.description,
        "domain_id": (!row.is_domain()).then(|| id_text(row.domain.0)),
        "parent_id": row.parent.map(|parent| id_text(parent.0)),
        "enabled": row.enabled,
        "is_domain": row.is_domain(),
        "tags": row.tags,
        "options": {},
        "links": links(base, "projects", &id),
    })
}

pub(super) fn domain(row: &Project, base: &str) -> Value {
    let id = row.id_text();
    json!({
        "id": id,
        "name": row.name,
        "description": row.description,
        "enabled": row.enabled,
        "tags": row.tags,
        "options": {},
        "links": links(base, "domains", &id),
    })
}

pub(super) fn user(row: &User, base: &str) -> Value {
    let id = id_text(row.id.0);
    let mut document = json!({
        "id": id,
        "name": row.name,
        "domain_id": id_text(row.domain.0),
        "enabled": row.enabled,
        "password_expires_at": row.one_time.then(|| time(row.password_changed_at)),
        "options": {},
        "links": links(base, "users", &id),
    });
    // Keystone leaves out what is not set.
    for (name, value) in [
        ("default_project_id", row.default_project.map(|project| id_text(project.0))),
        ("email", row.email.clone()),
        ("description", row.description.clone()),
    ] {
        if let Some(value) = value {
            document[name] = value.into();
        }
    }
    document
}

pub(super) fn group(row: &Group, base: &str) -> Value {
    let id = id_text(row.id.0);
    json!({
        "id": id,
        "name": row.name,
        "domain_id": id_text(row.domain.0),
        "description": row.description,
        "links": links(base, "groups", &id),
    })
}

pub(super) fn role(row: &Role, base: &str) -> Value {
    let id = id_text(row.id.0);
    json!({
        "id": id,
        "name": row.name,
        "domain_id": null,
        "description": row.description,
        "options": if row.built_in { json!({"immutable": true}) } else { json!({}) },
        "links": links(base, "roles", &id),
    })
}

/// Without its secret, which nobody sees twice.
pub(super) fn application_credential(row: &ApplicationCredential, directory: &Directory, base: &str) -> Value {
    let (id, user) = (id_text(row.id.0), id_text(row.user.0));
    let roles: Vec<Value> = row.roles.iter().filter_map(|id| directory.role(*id)).map(|row| role(row, base)).collect();
    json!({
        "id": id,
        "name": row.name,
        "description": row.description,
        "user_id": user,
        "project_id": id_text(row.project.0),
        "roles": roles,
        "expires_at": row.expires_at.map(time),
        "unrestricted": row.unrestricted,
        "system": null,
        "links": links(base, &format!("users/{user}/application_credentials"), &id),
    })
}

/// `{"id", "name"}` of a domain.
pub(super) fn domain_named(directory: &Directory, id: ProjectId) -> Value {
    json!({"id": id_text(id.0), "name": directory.project(id).map(|domain| domain.name.as_str())})
}
