//! `GET /v3/role_assignments`: who has which role where, as assigned or as it works out (`effective`).

use super::access::Facts;
use super::base::Base;
use super::document::domain_named;
use super::fault::{Asker, Fault};
use super::list::Filters;
use crate::Api;
use axum::Json;
use axum::extract::State;
use leasehold_domain::id::{ProjectId, UserId};
use leasehold_domain::identity::{Assignment, Directory, Party, Place, Scope, id_text};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

pub(super) async fn list(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    filters: Filters,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let directory = &view.identity;
    // Everybody may look at what he has himself.
    let own = filters.get("user.id") == Some(id_text(asker.user.id.0).as_str());
    let within = match asker.scope {
        Scope::Domain(domain) => Some(domain),
        _ => None,
    };
    let facts = within.map(Facts::domain).unwrap_or_default();
    if !own && !asker.asks("identity:list_role_assignments", &facts, within) {
        return Err(Fault::forbidden("identity:list_role_assignments"));
    }
    let rows: BTreeSet<Assignment> = if filters.has("effective") {
        directory.assignments().flat_map(|row| effective(directory, row)).collect()
    } else {
        directory.assignments().copied().collect()
    };
    let inside = |place: Place| match (within, place) {
        (None, _) => true,
        (Some(own), Place::Project(id)) => directory.project(id).is_some_and(|project| project.domain == own),
        (Some(_), Place::System) => false,
    };
    let rows = rows.iter().filter(|row| inside(row.place) && takes(&filters, directory, row));
    let names = filters.has("include_names");
    let rows: Vec<Value> = rows.map(|row| document(directory, row, names, &base)).collect();
    let link = format!("{base}/identity/v3/role_assignments");
    Ok(Json(json!({"role_assignments": rows, "links": {"self": link, "previous": null, "next": null}})))
}

/// What an assignment works out to: for each user, in each project that it reaches, with each role that it implies.
fn effective(directory: &Directory, row: &Assignment) -> Vec<Assignment> {
    let users: Vec<UserId> = match row.party {
        Party::User(id) => vec![id],
        Party::Group(id) => directory.members_of(id).collect(),
    };
    let places: Vec<Place> = match (row.place, row.inherited) {
        (Place::Project(id), true) => directory.below(id).iter().map(|below| Place::Project(below.id)).collect(),
        (place, _) => vec![place],
    };
    let roles = directory.with_implied([row.role]);
    let mut found = Vec::new();
    for user in users {
        for place in &places {
            let of = |role| Assignment { party: Party::User(user), place: *place, inherited: false, role };
            found.extend(roles.iter().copied().map(of));
        }
    }
    found
}

fn takes(filters: &Filters, directory: &Directory, row: &Assignment) -> bool {
    let (user, group) = match row.party {
        Party::User(id) => (id_text(id.0), String::new()),
        Party::Group(id) => (String::new(), id_text(id.0)),
    };
    let (project, domain, system) = match row.place {
        Place::System => (String::new(), String::new(), true),
        Place::Project(id) if directory.domain(id).is_some() => (String::new(), id_text(id.0), false),
        Place::Project(id) => (id_text(id.0), String::new(), false),
    };
    let in_tree = |wanted: &str| {
        project == wanted
            || matches!(row.place, Place::Project(id)
                if filters.has("include_subtree") && directory.ancestors(id).any(|above| above.id_text() == wanted))
    };
    filters.takes("user.id", &user)
        && filters.takes("group.id", &group)
        && filters.takes("role.id", &id_text(row.role.0))
        && filters.get("scope.project.id").is_none_or(in_tree)
        && filters.takes("scope.domain.id", &domain)
        && filters.get("scope.system").is_none_or(|_| system)
        && filters.get("scope.OS-INHERIT:inherited_to").is_none_or(|_| row.inherited)
}

fn document(directory: &Directory, row: &Assignment, names: bool, base: &str) -> Value {
    let named = |id: String, name: Option<&str>, domain: Option<ProjectId>| {
        if !names {
            return json!({"id": id});
        }
        let mut named = json!({"id": id, "name": name});
        if let Some(domain) = domain {
            named["domain"] = domain_named(directory, domain);
        }
        named
    };
    let mut document = Map::new();
    let role = directory.role(row.role);
    document.insert("role".into(), named(id_text(row.role.0), role.map(|role| role.name.as_str()), None));
    match row.party {
        Party::User(id) => {
            let user = directory.user(id);
            let user = named(id_text(id.0), user.map(|user| user.name.as_str()), user.map(|user| user.domain));
            document.insert("user".into(), user);
        }
        Party::Group(id) => {
            let group = directory.group(id);
            let group = named(id_text(id.0), group.map(|group| group.name.as_str()), group.map(|group| group.domain));
            document.insert("group".into(), group);
        }
    }
    let mut scope = match row.place {
        Place::System => json!({"system": {"all": true}}),
        Place::Project(id) => {
            let project = directory.project(id);
            let name = project.map(|project| project.name.as_str());
            let is_domain = project.is_some_and(|project| project.is_domain());
            let domain = project.filter(|_| !is_domain).map(|project| project.domain);
            json!({if is_domain { "domain" } else { "project" }: named(id_text(id.0), name, domain)})
        }
    };
    if row.inherited {
        scope["OS-INHERIT:inherited_to"] = "projects".into();
    }
    document.insert("scope".into(), scope);
    document.insert("links".into(), json!({"assignment": format!("{base}/identity/v3/role_assignments")}));
    Value::Object(document)
}
