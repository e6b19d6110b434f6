//! The body of `POST /v3/auth/tokens`: who somebody says he is, how he proves it, and for what he wants a token.

use super::fault::Fault;
use crate::auth::login::Claim;
use axum::http::StatusCode;
use leasehold_domain::id::ProjectId;
use leasehold_domain::identity::{Directory, Scope, parse_id};
use serde_json::Value;

/// How somebody proves who he is.
#[derive(Debug)]
pub(super) enum Proof {
    Password { claim: Claim, password: String },
    Token(String),
    ApplicationCredential { which: Which, secret: String },
}

/// Which application credential.
#[derive(Debug)]
pub(super) enum Which {
    Id(String),
    Name { user: Claim, name: String },
}

/// What the token is to be for.
#[derive(Debug)]
pub(super) enum Wanted {
    /// Not said.
    Usual,
    Scope(Scope),
    /// A project or domain that is not there.
    Nothing,
}

fn wrong(path: &str) -> Fault {
    Fault::bad_request(format!("Expecting to find a usable '{path}' in the request body."))
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// A domain by `id` or `name`; `Ok(None)`: there is no such.
fn domain(directory: &Directory, value: &Value, path: &str) -> Result<Option<ProjectId>, Fault> {
    if let Some(id) = text(value, "id") {
        return Ok(parse_id(&id).and_then(|id| directory.domain(ProjectId(id))).map(|domain| domain.id));
    }
    let name = text(value, "name").ok_or_else(|| wrong(path))?;
    Ok(directory.domain_by_name(&name).map(|domain| domain.id))
}

/// A user by `id`, or by `name` and `domain`.
fn user(directory: &Directory, value: &Value, path: &str) -> Result<Claim, Fault> {
    if let Some(id) = text(value, "id") {
        return Ok(Claim::Id(id));
    }
    let name = text(value, "name").ok_or_else(|| wrong(path))?;
    let of = value.get("domain").ok_or_else(|| wrong(&format!("{path}.domain")))?;
    Ok(Claim::Name(domain(directory, of, &format!("{path}.domain"))?, name))
}

/// Reads the identity part. There is one method at a time here.
pub(super) fn proof(directory: &Directory, body: &Value) -> Result<Proof, Fault> {
    let identity = body.pointer("/auth/identity").ok_or_else(|| wrong("auth.identity"))?;
    let methods = identity.get("methods").and_then(Value::as_array).ok_or_else(|| wrong("auth.identity.methods"))?;
    let [method] = methods.as_slice() else {
        return Err(Fault::bad_request("Name exactly one method in 'auth.identity.methods'."));
    };
    let method = method.as_str().ok_or_else(|| wrong("auth.identity.methods"))?;
    let part = identity.get(method);
    let path = format!("auth.identity.{method}");
    match method {
        "password" => {
            let part = part.and_then(|part| part.get("user")).ok_or_else(|| wrong("auth.identity.password.user"))?;
            let claim = user(directory, part, "auth.identity.password.user")?;
            let password = text(part, "password").ok_or_else(|| wrong("auth.identity.password.user.password"))?;
            Ok(Proof::Password { claim, password })
        }
        "token" => {
            let id = part.and_then(|part| text(part, "id")).ok_or_else(|| wrong("auth.identity.token.id"))?;
            Ok(Proof::Token(id))
        }
        "application_credential" => {
            let part = part.ok_or_else(|| wrong(&path))?;
            let secret = text(part, "secret").ok_or_else(|| wrong(&format!("{path}.secret")))?;
            let which = match text(part, "id") {
                Some(id) => Which::Id(id),
                None => {
                    let name = text(part, "name").ok_or_else(|| wrong(&format!("{path}.name")))?;
                    let of = part.get("user").ok_or_else(|| wrong(&format!("{path}.user")))?;
                    Which::Name { user: user(directory, of, &format!("{path}.user"))?, name }
                }
            };
            Ok(Proof::ApplicationCredential { which, secret })
        }
        _ => Err(Fault::new(StatusCode::UNAUTHORIZED, "Attempted to authenticate with an unsupported method.")),
    }
}

/// Reads the scope part.
pub(super) fn wanted(directory: &Directory, body: &Value) -> Result<Wanted, Fault> {
    let scope = match body.pointer("/auth/scope") {
        None | Some(Value::Null) => return Ok(Wanted::Usual),
        Some(Value::String(text)) if text == "unscoped" => return Ok(Wanted::Scope(Scope::Unscoped)),
        Some(Value::Object(scope)) => scope,
        Some(_) => return Err(wrong("auth.scope")),
    };
    let mut parts = scope.iter();
    let (Some((kind, part)), None) = (parts.next(), parts.next()) else {
        return Err(Fault::bad_request("A token is for one thing: a project, a domain or the system."));
    };
    let found = match kind.as_str() {
        "project" => project(directory, part)?.map(Scope::Project),
        "domain" => domain(directory, part, "auth.scope.domain")?.map(Scope::Domain),
        "system" => match part.get("all") {
            Some(Value::Bool(true)) => Some(Scope::System),
            _ => return Err(wrong("auth.scope.system.all")),
        },
        "unscoped" => Some(Scope::Unscoped),
        _ => return Err(wrong("auth.scope")),
    };
    Ok(found.map_or(Wanted::Nothing, Wanted::Scope))
}

fn project(directory: &Directory, part: &Value) -> Result<Option<ProjectId>, Fault> {
    if let Some(id) = text(part, "id") {
        return Ok(parse_id(&id).map(ProjectId));
    }
    let name = text(part, "name").ok_or_else(|| wrong("auth.scope.project"))?;
    let of = part.get("domain").ok_or_else(|| wrong("auth.scope.project.domain"))?;
    let domain = domain(directory, of, "auth.scope.project.domain")?;
    Ok(domain.and_then(|domain| directory.project_by_name(domain, &name)).map(|project| project.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), "[a-z]{0,6}".prop_map(Value::from)];
        leaf.prop_recursive(5, 40, 4, |inner| {
            let names = "auth|identity|methods|password|token|user|domain|id|name|scope|project|system|all|secret|\
                         application_credential|[a-z]{1,3}";
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map(names, inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(identity in any_json(), scope in any_json()) {
            let body = json!({"auth": {"identity": identity, "scope": scope}});
            let _either_is_fine = (proof(&Directory::default(), &body), wanted(&Directory::default(), &body));
        }
    }

    #[test]
    fn a_scope_is_one_thing() {
        let of = |scope: Value| wanted(&Directory::default(), &json!({"auth": {"scope": scope}}));
        assert!(matches!(of(json!({"system": {"all": true}})), Ok(Wanted::Scope(Scope::System))));
        assert!(matches!(of(json!("unscoped")), Ok(Wanted::Scope(Scope::Unscoped))));
        assert!(matches!(of(Value::Null), Ok(Wanted::Usual)));
        assert!(matches!(of(json!({"domain": {"name": "none"}})), Ok(Wanted::Nothing)));
        assert!(of(json!({"system": {"all": true}, "domain": {"id": "default"}})).is_err());
        assert!(of(json!({"system": {"all": "yes"}})).is_err());
        assert!(of(json!([])).is_err());
    }
}
