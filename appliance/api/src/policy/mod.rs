//! The rules in force, as the box's own command line sees and changes them.
//!
//! `GET /appliance/v1/policy` (all rules), `GET /appliance/v1/policy/explain?user=…&action=…&node=…`,
//! `POST /appliance/v1/policy/reload`, on the local socket. A file is read and checked as a whole ([`file`]); only then do
//! its rules replace those in force, at once for every later request.

mod explain;
pub mod file;

use crate::Api;
use crate::error::ApiError;
use crate::images::local_actor;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::policy::{Origin, Policy, Rule};
use leasehold_store::SubmitError;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The rules that come with the program, the same as in the file that is installed with it.
const SHIPPED: &str = include_str!("../../../../config/policy.yaml");

/// Where the rules are from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Upstream's defaults.
    #[default]
    Upstream,
    File(PathBuf),
    /// A file that need not be there: then the rules that come with the program hold.
    FileOrShipped(PathBuf),
}

/// Rules cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the policy file {path} cannot be read: {error}")]
    Read { path: PathBuf, error: std::io::Error },
    #[error("the policy file {path} is not used: {error}")]
    Wrong { path: PathBuf, error: file::FileError },
    #[error("the rules stay as they were, because their change cannot be written to the audit: {0}")]
    Audit(SubmitError),
}

impl Source {
    fn path(&self) -> Option<&Path> {
        match self {
            Source::Upstream => None,
            Source::File(path) | Source::FileOrShipped(path) => Some(path),
        }
    }

    /// The rules, as the source is now.
    pub fn load(&self) -> Result<Policy, LoadError> {
        let Some(path) = self.path() else { return Ok(Policy::default()) };
        let text = match (std::fs::read_to_string(path), self) {
            (Ok(text), _) => text,
            (Err(error), Source::FileOrShipped(_)) if error.kind() == std::io::ErrorKind::NotFound => {
                tracing::info!(file = %path.display(), "no policy file: the rules that come with the program hold");
                SHIPPED.to_owned()
            }
            (Err(error), _) => return Err(LoadError::Read { path: path.to_owned(), error }),
        };
        let policy = file::read(&text).map_err(|error| LoadError::Wrong { path: path.to_owned(), error })?;
        for warning in file::warnings(&policy) {
            tracing::warn!(file = %path.display(), "{warning}");
        }
        Ok(policy)
    }

    /// The rules, for one who has rules already: a file that has gone is an error then.
    fn load_again(&self) -> Result<Policy, LoadError> {
        match self {
            Source::FileOrShipped(path) => Source::File(path.clone()).load(),
            other => other.load(),
        }
    }
}

/// Reads the rules anew and puts them in force; what is wrong with them leaves the old ones. Returns the names of rules
/// that say something else now.
pub async fn reload(api: &Api, actor: &Actor) -> Result<Vec<String>, LoadError> {
    let source = api.policy_source.clone();
    let loaded = tokio::task::spawn_blocking(move || source.load_again()).await.unwrap_or_else(|error| {
        let path = api.policy_source.path().unwrap_or(Path::new("")).to_owned();
        Err(LoadError::Read { path, error: std::io::Error::other(error) })
    });
    let path = api.policy_source.path().unwrap_or(Path::new("")).display().to_string();
    let policy = loaded.inspect_err(|error| {
        tracing::error!(%actor, file = path, "the rules stay as they were: {error}");
        api.engine.store.note_refusal_of(actor, "reload-policy", Some(&path), &error.to_string());
    })?;
    let changed = changed(&api.policy.load(), &policy);
    let noted = Command::NotePolicy { file: path.clone(), changed: changed.clone() };
    // What is not in the audit is not put in force.
    api.submit(noted, actor.clone()).await.map_err(LoadError::Audit)?;
    api.policy.store(Arc::new(policy));
    tracing::info!(%actor, file = path, changed = changed.len(), "the policy file was read; its rules are in force");
    Ok(changed)
}

/// The rules that say something else in `new`, and those that are new or gone.
fn changed(old: &Policy, new: &Policy) -> Vec<String> {
    let texts = |policy: &Policy| -> HashMap<(_, Box<str>), Box<str>> {
        policy.rules().map(|rule| ((rule.service, rule.name.clone()), rule.text.clone())).collect()
    };
    let (before, after) = (texts(old), texts(new));
    let mut names: Vec<String> = before
        .iter()
        .filter(|(key, text)| after.get(*key) != Some(text))
        .map(|(key, _)| key)
        .chain(after.keys().filter(|key| !before.contains_key(*key)))
        .map(|(_, name)| name.to_string())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// For the local socket.
pub(crate) fn local_router() -> Router<Api> {
    Router::new()
        .route("/appliance/v1/policy", get(list))
        .route("/appliance/v1/policy/reload", post(reload_now))
        .route("/appliance/v1/policy/explain", get(explain::explain))
        .layer(middleware::from_fn(local_actor))
}

async fn list(State(api): State<Api>) -> Json<Value> {
    let policy = api.policy.load();
    // A rule of the file that others are made of is every service's, and shown once.
    let mut seen = HashSet::new();
    let once = policy.rules().filter(|rule| !rule.calls.is_empty() || seen.insert((&rule.name, &rule.text)));
    let rules: Vec<Value> = once.map(document).collect();
    Json(json!({"file": api.policy_source.path(), "rules": rules}))
}

fn document(rule: &Rule) -> Value {
    json!({
        "name": rule.name, "service": rule.service.name(), "rule": rule.text, "origin": origin(&rule.origin),
        "scopes": rule.scopes.names(), "calls": rule.calls,
    })
}

/// Where a rule is from, in words.
fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Upstream => "default".into(),
        Origin::File { line } => format!("line {line} of the policy file"),
        Origin::FormerName { name, line } => format!("line {line} of the policy file, by its former name {name}"),
    }
}

async fn reload_now(State(api): State<Api>, Extension(actor): Extension<Actor>) -> Result<Json<Value>, ApiError> {
    let changed = reload(&api, &actor).await;
    let changed = changed.map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let warnings = file::warnings(&api.policy.load());
    Ok(Json(json!({"file": api.policy_source.path(), "changed": changed, "warnings": warnings})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_or_missing_file_is_an_error_and_no_policy() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("policy.yaml");
        let first = Source::FileOrShipped(path.clone());
        assert!(first.load().expect("the shipped rules").knows("works_on_node"));
        assert!(matches!(first.load_again(), Err(LoadError::Read { .. })));
        assert!(matches!(Source::File(path.clone()).load(), Err(LoadError::Read { .. })));
        std::fs::write(&path, "a: 'role:'and'\n").expect("written");
        let error = Source::File(path.clone()).load().expect_err("wrong").to_string();
        assert!(error.contains("policy.yaml is not used: line 1"), "{error}");
        std::fs::write(&path, "").expect("written");
        assert!(!first.load().expect("upstream's rules").knows("works_on_node"));
    }

    #[test]
    fn what_changed_is_named() {
        let (old, new) = (Policy::default(), file::read("mine: '@'\n'baremetal:node:list': '!'\n").expect("a policy"));
        assert_eq!(changed(&old, &new), ["baremetal:node:list", "mine"]);
        assert_eq!(changed(&new, &new), Vec::<String>::new());
    }
}
