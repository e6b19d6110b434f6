//! The network API: Neutron's v2.0 under `/network`, as far as tenants of bare machines need it.
//!
//! In: requests of unmodified clients. Out: Neutron's documents and error bodies. Rules say who may see and do what, per
//! call and per attribute; what conflicts is decided in the domain. What Neutron has and this box has not is refused
//! with the reason, never taken and ignored.

mod discovery;
mod fault;
mod list;
mod members;
mod networks;
mod ports;
mod quotas;
mod subnets;
mod tags;
mod target;
mod trunks;

use crate::Api;
use crate::error::ApiError;
use crate::identity::base::Base;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use fault::{Asker, Fault};
use jiff::Timestamp;
use leasehold_domain::network::{About, TenantPort};
use leasehold_domain::policy::Target;
use leasehold_domain::{View, policy::Credentials};
use list::Document;
use members::{Members, Said};
use serde_json::{Value, json};
use std::fmt::Display;
use uuid::Uuid;

/// A refusal that comes before any handler, in this service's form.
pub(crate) fn refused(error: crate::error::ApiError) -> axum::response::Response {
    axum::response::IntoResponse::into_response(fault::Fault::from(error))
}

pub(crate) fn router(api: &Api) -> Router<Api> {
    let v2 = Router::new()
        .route("/extensions", get(discovery::extensions))
        .route("/extensions/{alias}", get(discovery::extension))
        .route("/networks", get(networks::list).post(networks::create))
        .route("/networks/{id}", get(networks::show).put(networks::change).delete(networks::remove))
        .route("/subnets", get(subnets::list).post(subnets::create))
        .route("/subnets/{id}", get(subnets::show).put(subnets::change).delete(subnets::remove))
        .route("/ports", get(ports::list).post(ports::create))
        .route("/ports/{id}", get(ports::show).put(ports::change).delete(ports::remove))
        .route("/trunks", get(trunks::list).post(trunks::create))
        .route("/trunks/{id}", get(trunks::show).put(trunks::change).delete(trunks::remove))
        .route("/trunks/{id}/add_subports", put(trunks::add))
        .route("/trunks/{id}/remove_subports", put(trunks::take))
        .route("/trunks/{id}/get_subports", get(trunks::subports_of))
        .route("/{kind}/{id}/tags", get(tags::list).put(tags::replace).delete(tags::clear))
        .route("/{kind}/{id}/tags/{tag}", get(tags::show).put(tags::add).delete(tags::remove))
        .route("/quotas", get(quotas::list))
        .route("/quotas/{project}", get(quotas::show).put(quotas::set).delete(quotas::reset))
        .route("/quotas/{project}/default", get(quotas::show_usual))
        .route("/quotas/{project}/details", get(quotas::details))
        .route("/floatingips", get(discovery::no_floating_ips))
        .route("/agents", get(discovery::no_agents))
        .fallback(fault::no_such_path);
    Router::new()
        .route("/network", get(discovery::versions))
        .route("/network/", get(discovery::versions))
        .route("/network/v2.0", get(discovery::resources))
        .route("/network/v2.0/", get(discovery::resources))
        .nest("/network/v2.0", v2)
        .method_not_allowed_fallback(fault::no_such_method)
        .layer(DefaultBodyLimit::max(api.limits.settings.network_body))
}

/// The rules about networks' ports, for calls of other services.
pub(crate) fn allows_port(
    policy: &leasehold_domain::policy::Policy,
    credentials: &Credentials,
    rule: &str,
    view: &View,
    port: &TenantPort,
) -> bool {
    policy.allows(rule, credentials, &ports::target(view, port))
}

/// A UUID in a path; other text names nothing: Neutron finds by id, and by name only in lists.
fn parsed(ident: &str) -> Option<Uuid> {
    Uuid::parse_str(ident).ok()
}

fn may(asker: &Asker, rule: &str, target: &dyn Target) -> Result<(), Fault> {
    if asker.allows(rule, target) { Ok(()) } else { Err(Fault::forbidden(&format!("rule:{rule}"))) }
}

fn listed_at(base: &Base, name: &str) -> String {
    format!("{}/network/v2.0/{name}", base.0)
}

/// What all objects show first.
fn about(about: &About, id: impl Display) -> Document {
    let members = [
        ("id", json!(id.to_string())),
        ("name", json!(about.name)),
        ("description", json!(about.description)),
        ("project_id", json!(about.project)),
        ("tenant_id", json!(about.project)),
        ("tags", json!(about.tags)),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What all objects show last.
fn history(document: &mut Document, revision: u64, created_at: Timestamp, updated_at: Option<Timestamp>) {
    let time = |at: Timestamp| json!(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    document.insert("created_at".into(), time(created_at));
    document.insert("updated_at".into(), time(updated_at.unwrap_or(created_at)));
    document.insert("revision_number".into(), json!(revision));
}

/// What a body says of a new object; it is of the caller's project unless an administrator says another. As in Neutron
/// that is asked before the rules, some of which (`create_port` on a shared network) do not ask whose the object is.
fn new_about(members: &mut Members, asker: &Asker) -> Result<About, Fault> {
    let own = asker.credentials.project_id.clone().unwrap_or_default();
    let older = members.text("tenant_id")?.over(own.clone(), own.clone());
    let project = members.text("project_id")?.over(older.clone(), older);
    if project != own {
        may(asker, "context_is_admin", &())?;
    }
    Ok(About {
        name: members.text("name")?.over(String::new(), String::new()),
        description: members.text("description")?.over(String::new(), String::new()),
        project,
        tags: members.tags()?.over(Default::default(), Default::default()),
    })
}

/// What a body says of an object that is there; its project stays.
fn changed_about(members: &mut Members, now: &About, id: impl Display) -> Result<About, Fault> {
    members.fixed("id", &json!(id.to_string()))?;
    for name in ["project_id", "tenant_id"] {
        members.fixed(name, &json!(now.project))?;
    }
    if !matches!(members.take("tags"), Said::Nothing) {
        return Err(Fault::bad_request("Cannot update read-only attribute tags: PUT …/tags."));
    }
    Ok(About {
        name: members.text("name")?.over(now.name.clone(), String::new()),
        description: members.text("description")?.over(now.description.clone(), String::new()),
        ..now.clone()
    })
}

/// `If-Match: revision_number=N`: only if the object is still that.
fn if_match(headers: &HeaderMap, revision: u64) -> Result<(), Fault> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default().trim_matches('"');
    let wanted = text.strip_prefix("revision_number=").and_then(|number| number.parse::<u64>().ok());
    match wanted {
        Some(wanted) if wanted == revision => Ok(()),
        Some(_) => Err(Fault::another_revision()),
        None => Err(Fault::bad_request("If-Match is written revision_number=N.")),
    }
}

fn made(name: &str, document: Document) -> Response {
    (StatusCode::CREATED, Json(json!({name: Value::Object(document)}))).into_response()
}

fn no_answer() -> Fault {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The change brought no object.").into()
}
