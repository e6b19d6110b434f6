//! Who may do what: rules in oslo.policy's language, decided on the caller's credentials and the thing he means.
//!
//! In: upstream's rules ([`upstream`]), what a file says differently ([`Override`]), [`Credentials`], a [`Target`]. Out:
//! yes or no, and by which rule ([`Policy::explain`]). Rules are made ready once ([`compile`]); nothing else in the
//! program says yes.

mod code;
mod compile;
mod explain;
mod language;
pub mod upstream;

pub use compile::{Override, PolicyError, Text, Warning};
pub use explain::{Explanation, Part};
pub use language::{Check, LanguageError};
pub use upstream::{Row, Scopes, Service};

use code::Code;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

/// What a caller is, as rules see it. Ids are Keystone's: 32 hex digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    pub user_id: String,
    pub user_domain_id: String,
    /// The project that the token is for.
    pub project_id: Option<String>,
    pub project_domain_id: Option<String>,
    /// The domain that the token is for.
    pub domain_id: Option<String>,
    /// The token is for the whole system (`system_scope:all`).
    pub system: bool,
    /// Role names, implied ones included, in lower case.
    pub roles: BTreeSet<String>,
}

/// The thing that is meant: its attributes under the names that rules use (`node.owner`, `project_id`).
pub trait Target {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>>;
}

/// No thing in particular.
impl Target for () {
    fn attribute(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }
}

/// A list of names and values.
impl Target for &[(&str, &str)] {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| Cow::Borrowed(*value))
    }
}

impl<const N: usize> Target for [(&str, &str); N] {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| Cow::Borrowed(*value))
    }
}

/// Where a rule's text is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Upstream's default.
    Upstream,
    /// The file, at this line.
    File { line: usize },
    /// The file says it, at this line, under a name that the rule had earlier.
    FormerName { name: &'static str, line: usize },
}

/// A rule in force.
#[derive(Clone, Debug)]
pub struct Rule {
    pub name: Box<str>,
    pub service: Service,
    /// The rule as it was written.
    pub text: Box<str>,
    pub origin: Origin,
    /// Tokens of other scopes are turned away before the rule is asked.
    pub scopes: Scopes,
    /// The calls that the rule guards; none of a rule that others are made of.
    pub calls: &'static str,
    check: Check,
}

/// The rules in force. A clone costs nothing.
#[derive(Clone, Debug)]
pub struct Policy(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    /// By number; `codes` has their ready forms at the same places.
    rules: Vec<Rule>,
    codes: Vec<Code>,
    /// Calls' rules, and those that are made for others, by name. Of a name that several services have, the first.
    names: HashMap<Box<str>, u32>,
    /// The numbers of each service's rules.
    services: HashMap<Service, HashMap<Box<str>, u32>>,
    /// The file's rule `default`: for what no rule is known.
    fallback: Option<u32>,
    warnings: Vec<Warning>,
}

/// Upstream's defaults, which an empty file leaves in force.
impl Default for Policy {
    fn default() -> Policy {
        static UPSTREAM: LazyLock<Policy> = LazyLock::new(|| match Policy::with(&[]) {
            Ok(policy) => policy,
            // Shown impossible by the tests of the tables; were it not so, nobody would be let in.
            Err(_) => Policy(Arc::new(Rules::none())),
        });
        UPSTREAM.clone()
    }
}

impl Policy {
    /// Whether the rule says yes. For a rule that is not known the file's `default` speaks; without one the answer is no.
    pub fn allows(&self, rule: &str, who: &Credentials, target: &dyn Target) -> bool {
        let Some(number) = self.number(rule) else { return false };
        let in_scope = self.rule(number).is_some_and(|rule| rule.scopes.admit(who));
        in_scope && self.0.codes.get(number as usize).is_some_and(|code| code.holds(&self.0.codes, who, target))
    }

    /// All rules in force, by service and name.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.0.rules.iter()
    }

    /// What in the file is probably not as it was meant.
    pub fn warnings(&self) -> &[Warning] {
        &self.0.warnings
    }

    /// The rule of this name is known.
    pub fn knows(&self, rule: &str) -> bool {
        self.0.names.contains_key(rule)
    }

    fn number(&self, rule: &str) -> Option<u32> {
        self.0.names.get(rule).copied().or(self.0.fallback)
    }

    fn rule(&self, number: u32) -> Option<&Rule> {
        self.0.rules.get(number as usize)
    }
}

#[cfg(test)]
mod tests;
