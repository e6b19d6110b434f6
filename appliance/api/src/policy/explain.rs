//! Why may a user do something to a node, or why not: asked of each scope in which he has a role.

use super::origin;
use crate::Api;
use crate::access::OfNode;
use crate::error::ApiError;
use crate::named::find;
use axum::Json;
use axum::extract::{Query, State};
use leasehold_domain::identity::{Directory, Scope, User};
use leasehold_domain::node::Node;
use leasehold_domain::policy::{Credentials, Explanation, Part, Policy, Target};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;

/// Who, what and which.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// Name (of the default domain, or `name@domain`) or id.
    user: String,
    /// The name of a rule; without its service's prefix it is the bare-metal one: `node:get`.
    action: String,
    /// Name, UUID or MAC address. Without it the action is about a thing of the user's own project.
    node: Option<String>,
}

/// A node, and an offer or a lease of it: its owner's, to its lessee.
struct AboutNode<'a>(&'a Node);

impl Target for AboutNode<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        let settings = &self.0.settings;
        match name {
            "offer.project_id" | "lease.owner_id" => settings.owner.as_deref().map(Cow::Borrowed),
            "lease.project_id" => settings.lessee.as_deref().map(Cow::Borrowed),
            name => OfNode(self.0).attribute(name).map(|value| Cow::Owned(value.into_owned())),
        }
    }
}

/// What is meant where no node is: a thing of the caller's own project, and of himself.
struct Own<'a>(&'a Credentials);

impl Target for Own<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "project_id" | "owner" | "network:project_id" | "offer.project_id" | "lease.owner_id"
            | "lease.project_id" => self.0.project_id.as_deref().map(Cow::Borrowed),
            "user_id" | "target.user.id" => Some(Cow::Borrowed(&self.0.user_id)),
            _ => None,
        }
    }
}

pub(super) async fn explain(
    State(api): State<Api>,
    question: Result<Query<Question>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(question) = question.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let view = api.engine.view();
    let policy = api.policy.load();
    let user = user_named(&view.identity, &question.user)
        .ok_or_else(|| ApiError::not_found(format!("There is no user '{}'.", question.user)))?;
    let node = question.node.as_deref().map(|ident| find(&view, ident)).transpose()?;
    let rule = known(&policy, &question.action)?;
    let answers: Vec<Value> = scopes(&view.identity, user)
        .into_iter()
        .map(|scope| {
            let who = view.identity.credentials(user, scope);
            answer(&policy, &rule, &view.identity, scope, who.as_ref(), node.map(|node| &**node))
        })
        .collect();
    let thing = node.map(|node| {
        json!({
            "uuid": node.id, "name": node.settings.name, "owner": node.settings.owner, "lessee": node.settings.lessee,
        })
    });
    Ok(Json(json!({"user": user.name, "action": rule, "node": thing, "answers": answers})))
}

/// The full name of a rule.
fn known(policy: &Policy, action: &str) -> Result<String, ApiError> {
    let names = ["", "baremetal:", "esi_leap:", "identity:"].map(|prefix| format!("{prefix}{action}"));
    if let Some(name) = names.into_iter().find(|name| policy.knows(name)) {
        return Ok(name);
    }
    let near = |known: &str| strsim::jaro_winkler(known.trim_start_matches("baremetal:"), action);
    let nearest = policy.rules().map(|rule| &*rule.name).max_by(|a, b| near(a).total_cmp(&near(b)));
    let hint = nearest.map(|name| format!(" Did you mean '{name}'?")).unwrap_or_default();
    Err(ApiError::not_found(format!("There is no rule '{action}'.{hint} `leasehold policy list` shows all.")))
}

fn user_named<'a>(directory: &'a Directory, text: &str) -> Option<&'a Arc<User>> {
    let by_id = || {
        let id = uuid::Uuid::parse_str(text).ok()?;
        directory.user(leasehold_domain::id::UserId(id))
    };
    let in_domain = || {
        let (name, domain) = text.rsplit_once('@')?;
        directory.user_by_name(directory.domain_by_name(domain)?.id, name)
    };
    directory.user_of_default_domain(text).or_else(in_domain).or_else(by_id)
}

/// Every scope in which he has a role; nothing, where he has none.
fn scopes(directory: &Directory, user: &User) -> Vec<Scope> {
    let projects = directory.projects_of(user.id).into_iter().map(|project| Scope::Project(project.id));
    let domains = directory.domains_of(user.id).into_iter().map(|domain| Scope::Domain(domain.id));
    let all = std::iter::once(Scope::System).chain(domains).chain(projects);
    let found: Vec<Scope> = all.filter(|scope| directory.credentials(user, *scope).is_some()).collect();
    if found.is_empty() { vec![Scope::Unscoped] } else { found }
}

fn answer(
    policy: &Policy,
    rule: &str,
    directory: &Directory,
    scope: Scope,
    who: Option<&Credentials>,
    node: Option<&Node>,
) -> Value {
    let place = match scope {
        Scope::Unscoped => "nowhere".to_owned(),
        Scope::System => "the system".to_owned(),
        Scope::Project(id) | Scope::Domain(id) => {
            let kind = if matches!(scope, Scope::Project(_)) { "project" } else { "domain" };
            directory.project(id).map_or_else(|| format!("{kind} {id:?}"), |found| format!("{kind} {}", found.name))
        }
    };
    let Some(who) = who else {
        return json!({
            "in": place, "allowed": false,
            "why": "The user or his domain is disabled: nobody asks a rule for him.",
        });
    };
    let mut document = json!({"in": place, "allowed": false, "credentials": credentials(who)});
    let explanation = match node {
        Some(node) => policy.explain(rule, who, &AboutNode(node)),
        None => policy.explain(rule, who, &Own(who)),
    };
    match explanation {
        Some(explanation) => explained(&mut document, &explanation),
        None => document["why"] = "The rule is not known, and there is no rule 'default'.".into(),
    }
    document
}

fn explained(document: &mut Value, explanation: &Explanation) {
    document["allowed"] = explanation.allowed.into();
    document["rule"] = explanation.rule.as_str().into();
    document["text"] = explanation.text.as_str().into();
    document["origin"] = origin(&explanation.origin).into();
    document["parts"] = explanation.parts.iter().map(part).collect();
    if !explanation.in_scope {
        let wanted = explanation.scopes.names().join(" or ");
        document["why"] = format!("The rule is for tokens of scope {wanted}; this scope is another.").into();
    }
}

fn part(part: &Part) -> Value {
    let inside: Vec<Value> = part.inside.iter().map(self::part).collect();
    json!({"check": part.text, "holds": part.holds, "detail": part.detail, "inside": inside})
}

fn credentials(who: &Credentials) -> Value {
    json!({
        "user_id": who.user_id, "user_domain_id": who.user_domain_id, "project_id": who.project_id,
        "project_domain_id": who.project_domain_id, "domain_id": who.domain_id,
        "system_scope": who.system.then_some("all"), "roles": who.roles,
    })
}
