//! Why a rule says yes or no: its text, and what each part of it says.

use super::code::leaf;
use super::compile::code;
use super::language::Check;
use super::{Credentials, Origin, Policy, Rule, Scopes, Target};

/// The answer of a rule, with its grounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub allowed: bool,
    /// The rule that spoke: the one that was asked, or `default` for one that is not known.
    pub rule: String,
    pub text: String,
    pub origin: Origin,
    /// The token's scope is one of those that the rule is for.
    pub in_scope: bool,
    pub scopes: Scopes,
    pub parts: Vec<Part>,
}

/// A part of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub text: String,
    pub holds: bool,
    /// What the thing's attributes in it are: `node.owner is nothing`.
    pub detail: Option<String>,
    /// What it is made of, where it is made of several or refers to another rule.
    pub inside: Vec<Part>,
}

impl Policy {
    /// Why a rule says what it says; `None` when it is not known and there is no `default`: that is a no.
    pub fn explain(&self, rule: &str, who: &Credentials, target: &dyn Target) -> Option<Explanation> {
        let found = self.rule(self.number(rule)?)?;
        let part = self.part(found, &found.check, who, target);
        let in_scope = found.scopes.admit(who);
        Some(Explanation {
            allowed: in_scope && part.holds,
            rule: found.name.to_string(),
            text: found.text.to_string(),
            origin: found.origin.clone(),
            in_scope,
            scopes: found.scopes,
            parts: if part.inside.is_empty() { vec![part] } else { part.inside },
        })
    }

    fn part(&self, rule: &Rule, check: &Check, who: &Credentials, target: &dyn Target) -> Part {
        let rules = self.0.services.get(&rule.service);
        let mut resolve =
            |name: &str| rules.and_then(|rules| rules.get(name).or_else(|| rules.get("default"))).copied();
        let inside = match check {
            Check::Always | Check::Never => Vec::new(),
            Check::Not(check) => vec![self.part(rule, check, who, target)],
            Check::All(checks) | Check::Any(checks) => {
                checks.iter().map(|check| self.part(rule, check, who, target)).collect()
            }
            Check::Is { kind, value } if kind == "rule" => match resolve(value).and_then(|number| self.rule(number)) {
                Some(other) => vec![self.part(other, &other.check, who, target)],
                None => Vec::new(),
            },
            Check::Is { .. } => Vec::new(),
        };
        let ready = code(check, &mut resolve);
        let holds = ready.is_ok_and(|code| code.holds(&self.0.codes, who, target));
        Part { text: check.to_string(), holds, detail: detail(check, who, target), inside }
    }
}

/// What is compared in a single check, in the caller's and the thing's own values.
fn detail(check: &Check, who: &Credentials, target: &dyn Target) -> Option<String> {
    let Check::Is { kind, value } = check else { return None };
    let mut said = Vec::new();
    let mut rest = value.as_str();
    while let Some((_, tail)) = rest.split_once("%(") {
        let (name, after) = tail.split_once(")s")?;
        let found = target.attribute(name);
        said.push(format!("{name} is {}", found.as_deref().unwrap_or("nothing")));
        rest = after;
    }
    if let Ok(super::code::Code::Holds(claim, _)) = leaf(kind, value, &mut |_| None) {
        said.insert(0, format!("{kind} is {}", claim.of(who).unwrap_or("nothing")));
    }
    (!said.is_empty()).then(|| said.join(", "))
}
