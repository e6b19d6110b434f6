//! From names and texts to rules in force: overrides, former names, references, circles.
//!
//! Each service has rules of its own, as upstream, where each has a file of its own. A name in our one file speaks for
//! every service that knows it; a name that none knows is a rule for others to be made of, and every service sees it.

use super::code::{Code, leaf};
use super::language::{Check, LanguageError};
use super::upstream::{Row, Scopes, Service, tables};
use super::{Origin, Policy, Rule, Rules};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// How long a chain of rules that refer to one another may be.
const LONGEST_CHAIN: usize = 32;
/// Entries of a file.
const MOST: usize = 10_000;

/// One entry of a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    pub name: String,
    pub text: Text,
    /// Where it stands in the file, from 1.
    pub line: usize,
}

/// The text of a rule in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    Rule(String),
    /// The old form.
    List(Vec<Vec<String>>),
}

/// Rules cannot be put in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("line {line}: rule '{name}': {error}")]
    Language { line: usize, name: String, error: LanguageError },
    #[error("line {line}: rule '{name}' is there twice; the first time in line {first}")]
    Twice { line: usize, name: String, first: usize },
    #[error("line {line}: a rule without a name")]
    NoName { line: usize },
    #[error("line {line}: rule '{name}' refers to itself: {way}")]
    Circle { line: usize, name: String, way: String },
    #[error("line {line}: rule '{name}' refers to rules that refer to rules, more than {LONGEST_CHAIN} times")]
    Chain { line: usize, name: String },
    #[error("a file has at most {MOST} rules")]
    TooMany,
}

/// Something in a file is right, and probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// No call asks for it and no rule is made of it.
    Unused { line: usize, name: String },
    /// It refers to a rule that nobody knows: that part says no.
    Dangling { line: usize, name: String, to: String },
    /// It asks for a credential that nobody has.
    NoSuchCredential { line: usize, name: String, check: String },
    /// It also changes these, which were part of it once.
    AlsoChanges { line: usize, name: String, rules: Vec<String> },
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Warning::Unused { line, name } => {
                write!(f, "line {line}: no call asks for rule '{name}', and no rule is made of it")
            }
            Warning::Dangling { line, name, to } => {
                write!(f, "line {line}: rule '{name}' refers to rule '{to}', which is not known: that part says no")
            }
            Warning::NoSuchCredential { line, name, check } => {
                write!(f, "line {line}: rule '{name}' asks for {check}, a credential that nobody has here")
            }
            Warning::AlsoChanges { line, name, rules } => write!(
                f,
                "line {line}: rule '{name}' also changes {}, which had that name earlier; give those a rule of their own \
                 to keep them",
                rules.join(", ")
            ),
        }
    }
}

/// A rule on its way into force.
struct Draft {
    service: Service,
    name: Box<str>,
    text: String,
    check: Check,
    origin: Origin,
    scopes: Scopes,
    calls: &'static str,
}

struct Entry {
    text: String,
    check: Check,
    line: usize,
}

impl Rules {
    pub(super) fn none() -> Rules {
        Rules {
            rules: Vec::new(),
            codes: Vec::new(),
            names: HashMap::new(),
            services: HashMap::new(),
            fallback: None,
            warnings: Vec::new(),
        }
    }
}

impl Policy {
    /// Upstream's rules with what a file says differently.
    pub fn with(overrides: &[Override]) -> Result<Policy, PolicyError> {
        let entries = entries(overrides)?;
        let drafts = drafts(&entries)?;
        let mut services: HashMap<Service, HashMap<Box<str>, u32>> = HashMap::new();
        let mut names: HashMap<Box<str>, u32> = HashMap::new();
        for (draft, number) in drafts.iter().zip(0_u32..) {
            services.entry(draft.service).or_default().insert(draft.name.clone(), number);
            names.entry(draft.name.clone()).or_insert(number);
        }
        let mut warnings = Warnings::default();
        let mut codes = Vec::with_capacity(drafts.len());
        for draft in &drafts {
            codes.push(compiled(draft, &services, &mut warnings)?);
        }
        refuse_circles(&drafts, &codes)?;
        let fallback = entries.contains_key("default").then(|| names.get("default").copied()).flatten();
        let warnings = warnings.all(&entries, &drafts);
        let rule = |draft: Draft| Rule {
            name: draft.name,
            service: draft.service,
            text: draft.text.into(),
            origin: draft.origin,
            scopes: draft.scopes,
            calls: draft.calls,
            check: draft.check,
        };
        let rules = drafts.into_iter().map(rule).collect();
        Ok(Policy(Arc::new(Rules { rules, codes, names, services, fallback, warnings })))
    }
}

fn entries(overrides: &[Override]) -> Result<BTreeMap<&str, Entry>, PolicyError> {
    if overrides.len() > MOST {
        return Err(PolicyError::TooMany);
    }
    let mut entries: BTreeMap<&str, Entry> = BTreeMap::new();
    for Override { name, text, line } in overrides {
        let line = *line;
        if name.trim().is_empty() {
            return Err(PolicyError::NoName { line });
        }
        if let Some(first) = entries.get(name.as_str()) {
            return Err(PolicyError::Twice { line, name: name.clone(), first: first.line });
        }
        let check = match text {
            Text::Rule(text) => Check::parse(text),
            Text::List(alternatives) => Check::parse_list(alternatives),
        };
        let check = check.map_err(|error| PolicyError::Language { line, name: name.clone(), error })?;
        let text = match text {
            Text::Rule(text) => text.clone(),
            Text::List(_) => check.to_string(),
        };
        entries.insert(name, Entry { text, check, line });
    }
    Ok(entries)
}

/// Every service's rules, with the file's texts where it has some.
fn drafts(entries: &BTreeMap<&str, Entry>) -> Result<Vec<Draft>, PolicyError> {
    let mut drafts = Vec::new();
    let mut known = BTreeSet::new();
    for (service, rows) in tables() {
        for row in rows {
            known.insert((service, row.name));
            drafts.push(draft(service, row, entries)?);
        }
    }
    for (name, entry) in entries {
        // A name that some services know is a matter of theirs; "default" is everybody's.
        let is_own = !known.iter().any(|(_, other)| other == name);
        let services = Service::ALL.into_iter().filter(|service| !known.contains(&(*service, *name)));
        for service in services.filter(|_| is_own || *name == "default") {
            drafts.push(Draft {
                service,
                name: (*name).into(),
                text: entry.text.clone(),
                check: entry.check.clone(),
                origin: Origin::File { line: entry.line },
                scopes: Scopes::ANY,
                calls: "",
            });
        }
    }
    Ok(drafts)
}

fn draft(service: Service, row: &Row, entries: &BTreeMap<&str, Entry>) -> Result<Draft, PolicyError> {
    let own = entries.get(row.name).map(|entry| (entry, Origin::File { line: entry.line }));
    let former = || {
        let name = row.former?;
        let entry = entries.get(name)?;
        // A file that only points from the former name to the present one changes nothing.
        let points_here = entry.check == (Check::Is { kind: "rule".into(), value: row.name.into() });
        (!points_here).then_some((entry, Origin::FormerName { name, line: entry.line }))
    };
    let (text, check, origin) = match own.or_else(former) {
        Some((entry, origin)) => (entry.text.clone(), entry.check.clone(), origin),
        None => {
            let wrong = |error| PolicyError::Language { line: 0, name: row.name.into(), error };
            (row.check.to_owned(), Check::parse(row.check).map_err(wrong)?, Origin::Upstream)
        }
    };
    Ok(Draft { service, name: row.name.into(), text, check, origin, scopes: row.scopes, calls: row.calls })
}

#[derive(Default)]
struct Warnings {
    used: BTreeSet<String>,
    list: Vec<Warning>,
}

impl Warnings {
    fn add(&mut self, warning: Warning) {
        if !self.list.contains(&warning) {
            self.list.push(warning);
        }
    }

    fn all(mut self, entries: &BTreeMap<&str, Entry>, drafts: &[Draft]) -> Vec<Warning> {
        let guards: BTreeSet<&str> = drafts
            .iter()
            .filter(|draft| draft.origin == Origin::Upstream || !draft.calls.is_empty())
            .map(|d| &*d.name)
            .collect();
        let mut also: BTreeMap<(usize, &str), Vec<String>> = BTreeMap::new();
        for draft in drafts {
            if let Origin::FormerName { name, line } = draft.origin {
                also.entry((line, name)).or_default().push(draft.name.to_string());
            }
        }
        let known: BTreeSet<&str> = tables().iter().flat_map(|(_, rows)| rows.iter().map(|row| row.name)).collect();
        for (name, entry) in entries {
            let is_former = also.contains_key(&(entry.line, *name));
            let is_used = guards.contains(name) || known.contains(name) || self.used.contains(*name);
            if !is_used && !is_former && *name != "default" {
                self.add(Warning::Unused { line: entry.line, name: (*name).to_owned() });
            }
        }
        for ((line, name), rules) in also {
            if known.contains(name) {
                self.add(Warning::AlsoChanges { line, name: name.to_owned(), rules });
            }
        }
        self.list
    }
}

fn line_of(origin: &Origin) -> usize {
    match origin {
        Origin::Upstream => 0,
        Origin::File { line } | Origin::FormerName { line, .. } => *line,
    }
}

fn compiled(
    draft: &Draft,
    services: &HashMap<Service, HashMap<Box<str>, u32>>,
    warnings: &mut Warnings,
) -> Result<Code, PolicyError> {
    let line = line_of(&draft.origin);
    let rules = services.get(&draft.service);
    let mut resolve = |name: &str| {
        warnings.used.insert(name.to_owned());
        // oslo.policy: a reference to nothing asks the rule "default", where there is one.
        let found = rules.and_then(|rules| rules.get(name).or_else(|| rules.get("default"))).copied();
        if line > 0 && rules.is_none_or(|rules| !rules.contains_key(name)) {
            let elsewhere = services.values().any(|rules| rules.contains_key(name));
            // The file's own rules are there for every service, and may be made of one service's rules.
            if !elsewhere {
                warnings.add(Warning::Dangling { line, name: draft.name.to_string(), to: name.to_owned() });
            }
        }
        found
    };
    let code = code(&draft.check, &mut resolve);
    let code = code.map_err(|error| PolicyError::Language { line, name: draft.name.to_string(), error })?;
    if line > 0 {
        for check in strange(&draft.check) {
            warnings.add(Warning::NoSuchCredential { line, name: draft.name.to_string(), check });
        }
    }
    Ok(code)
}

/// A check made ready, with the numbers of rules that `resolve` finds.
pub(super) fn code(check: &Check, resolve: &mut dyn FnMut(&str) -> Option<u32>) -> Result<Code, LanguageError> {
    let mut each = |checks: &[Check]| -> Result<Box<[Code]>, LanguageError> {
        checks.iter().map(|check| code(check, resolve)).collect()
    };
    Ok(match check {
        Check::Always => Code::Always,
        Check::Never => Code::Never,
        Check::All(checks) => Code::All(each(checks)?),
        Check::Any(checks) => Code::Any(each(checks)?),
        Check::Not(check) => Code::Not(Box::new(code(check, resolve)?)),
        Check::Is { kind, value } => leaf(kind, value, resolve)?,
    })
}

/// Checks in it that ask for a credential that nobody has.
fn strange(check: &Check) -> Vec<String> {
    match check {
        Check::Always | Check::Never => Vec::new(),
        Check::Not(check) => strange(check),
        Check::All(checks) | Check::Any(checks) => checks.iter().flat_map(strange).collect(),
        Check::Is { kind, value } => match leaf(kind, value, &mut |_| None) {
            Ok(Code::Holds(super::code::Claim::Unknown, _)) => vec![check.to_string()],
            _ => Vec::new(),
        },
    }
}

fn references(code: &Code, found: &mut Vec<u32>) {
    match code {
        Code::Rule(number) => found.push(*number),
        Code::Not(code) => references(code, found),
        Code::All(codes) | Code::Any(codes) => codes.iter().for_each(|code| references(code, found)),
        _ => {}
    }
}

/// Refuses rules that lead back to themselves, and chains that are too long to be meant.
fn refuse_circles(drafts: &[Draft], codes: &[Code]) -> Result<(), PolicyError> {
    let mut below = vec![None; codes.len()];
    for number in 0..codes.len() {
        depth(number, codes, &mut below, &mut Vec::new()).map_err(|way| wrong_way(drafts, &way))?;
    }
    Ok(())
}

/// How many rules follow one another below this one. The error is the way that leads too far, or back.
fn depth(at: usize, codes: &[Code], below: &mut [Option<usize>], way: &mut Vec<usize>) -> Result<usize, Vec<usize>> {
    if let Some(known) = below.get(at).copied().flatten() {
        return if known + way.len() > LONGEST_CHAIN { Err(way.clone()) } else { Ok(known) };
    }
    let again = way.contains(&at);
    way.push(at);
    if again || way.len() > LONGEST_CHAIN {
        return Err(way.clone());
    }
    let mut next = Vec::new();
    if let Some(code) = codes.get(at) {
        references(code, &mut next);
    }
    let mut deepest = 0;
    for number in next {
        deepest = deepest.max(1 + depth(number as usize, codes, below, way)?);
    }
    way.pop();
    if let Some(place) = below.get_mut(at) {
        *place = Some(deepest);
    }
    Ok(deepest)
}

fn wrong_way(drafts: &[Draft], way: &[usize]) -> PolicyError {
    let name = |at: &usize| drafts.get(*at).map_or_else(String::new, |draft| draft.name.to_string());
    let last = way.last().copied().unwrap_or_default();
    let start = way.iter().position(|at| *at == last).unwrap_or_default();
    let circle = way.get(start..).unwrap_or_default();
    // The line of a rule of the file, which is the one that closed the circle.
    let of_file = |at: &&usize| drafts.get(**at).is_some_and(|draft| draft.origin != Origin::Upstream);
    let guilty = circle.iter().find(of_file).or_else(|| way.iter().find(of_file)).copied().unwrap_or(last);
    let line = drafts.get(guilty).map_or(0, |draft| line_of(&draft.origin));
    if circle.len() > 1 {
        let way = circle.iter().map(name).collect::<Vec<_>>().join(" → ");
        return PolicyError::Circle { line, name: name(&guilty), way };
    }
    PolicyError::Chain { line, name: name(&guilty) }
}
