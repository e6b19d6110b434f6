//! Roles given to a user or group on a project, a domain or the system, also for all projects below (`OS-INHERIT`).

use super::access::Facts;
use super::base::Base;
use super::document;
use super::fault::{Asker, Fault};
use super::{groups, roles, users};
use crate::Api;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use leasehold_domain::command::Command;
use leasehold_domain::id::ProjectId;
use leasehold_domain::identity::{Assignment, Directory, IdentityCommand, Party, Place, id_text, parse_id};
use serde::Deserialize;
use serde_json::{Value, json};

/// What the path says.
#[derive(Deserialize)]
pub(super) struct Named {
    place: Option<String>,
    party: String,
    role: Option<String>,
}

/// Who, where, and whether for what lies below, with what rules want to know.
struct Meant {
    party: Party,
    place: Place,
    inherited: bool,
    facts: Facts,
}

fn meant(asker: &Asker, directory: &Directory, uri: &Uri, named: &Named) -> Result<Meant, Fault> {
    // The literal parts of the route say which kinds of things the variable ones are.
    let path = uri.path();
    let (party, facts) = if path.contains("/groups/") {
        let group = groups::find(asker, directory, &named.party)?;
        (Party::Group(group.id), Facts::group(&group))
    } else {
        let user = users::find(asker, directory, &named.party)?;
        (Party::User(user.id), Facts::user(&user))
    };
    let is_domain = path.contains("/domains/");
    let (place, facts) = match &named.place {
        None => (Place::System, facts),
        Some(id) => {
            let what = if is_domain { "domain" } else { "project" };
            let found = parse_id(id).and_then(|id| directory.project(ProjectId(id)));
            let found = found.filter(|project| project.is_domain() == is_domain);
            let project = found.ok_or_else(|| Fault::not_found(what, id))?;
            let of_place = if is_domain { Facts::domain(project.id) } else { Facts::project(project) };
            (Place::Project(project.id), facts.and(of_place))
        }
    };
    Ok(Meant { party, place, inherited: path.contains("/OS-INHERIT/"), facts })
}

/// Keystone's rules for a project or domain and for the system have different names.
fn rule(meant: &Meant, verb: &str) -> String {
    match (meant.place, meant.party) {
        (Place::Project(_), _) => format!("identity:{verb}_grant"),
        (Place::System, Party::User(_)) => format!("identity:{verb}_system_grant_for_user"),
        (Place::System, Party::Group(_)) => format!("identity:{verb}_system_grant_for_group"),
    }
}

fn asked(asker: &Asker, rule: &str, facts: &Facts) -> Result<(), Fault> {
    if asker.asks(rule, facts, None) { Ok(()) } else { Err(Fault::forbidden(rule)) }
}

pub(super) async fn list(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    uri: Uri,
    Path(named): Path<Named>,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let meant = meant(&asker, &view.identity, &uri, &named)?;
    let rule = match (meant.place, meant.party) {
        (Place::Project(_), _) => "identity:list_grants",
        (Place::System, Party::User(_)) => "identity:list_system_grants_for_user",
        (Place::System, Party::Group(_)) => "identity:list_system_grants_for_group",
    };
    asked(&asker, rule, &meant.facts)?;
    let held = view.identity.assignments_of(meant.party);
    let held = held.filter(|held| held.place == meant.place && held.inherited == meant.inherited);
    let roles = held.filter_map(|held| view.identity.role(held.role)).map(|role| document::role(role, &base));
    let link = format!("{base}{}{}", super::V3, uri.path());
    Ok(Json(json!({"roles": roles.collect::<Vec<_>>(), "links": {"self": link, "previous": null, "next": null}})))
}

fn assignment(
    asker: &Asker,
    directory: &Directory,
    meant: &Meant,
    named: &Named,
) -> Result<(Assignment, Facts), Fault> {
    let role = roles::find(asker, directory, named.role.as_deref().unwrap_or_default())?;
    let row = Assignment { party: meant.party, place: meant.place, inherited: meant.inherited, role: role.id };
    Ok((row, Facts::role(&role)))
}

pub(super) async fn check(
    State(api): State<Api>,
    asker: Asker,
    uri: Uri,
    Path(named): Path<Named>,
) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let meant = meant(&asker, &view.identity, &uri, &named)?;
    let (row, _) = assignment(&asker, &view.identity, &meant, &named)?;
    asked(&asker, &rule(&meant, "check"), &meant.facts)?;
    let missing = || Fault::not_found("role assignment with role", &id_text(row.role.0));
    view.identity.has_assignment(&row).then_some(StatusCode::NO_CONTENT).ok_or_else(missing)
}

pub(super) async fn give(state: State<Api>, asker: Asker, uri: Uri, named: Path<Named>) -> Result<StatusCode, Fault> {
    alter(state, asker, uri, named, "create", IdentityCommand::Assign).await
}

pub(super) async fn take(state: State<Api>, asker: Asker, uri: Uri, named: Path<Named>) -> Result<StatusCode, Fault> {
    alter(state, asker, uri, named, "revoke", IdentityCommand::EndAssignment).await
}

async fn alter(
    State(api): State<Api>,
    asker: Asker,
    uri: Uri,
    Path(named): Path<Named>,
    verb: &str,
    command: fn(Assignment) -> IdentityCommand,
) -> Result<StatusCode, Fault> {
    let view = api.engine.view();
    let meant = meant(&asker, &view.identity, &uri, &named)?;
    let (row, of_role) = assignment(&asker, &view.identity, &meant, &named)?;
    let rule = rule(&meant, verb);
    asked(&asker, &rule, &meant.facts.and(of_role))?;
    asker.may_give(&view.identity, row.place, row.role)?;
    api.submit(Command::Identity(command(row)), asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
