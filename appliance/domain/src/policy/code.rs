//! Rules made ready: names resolved, values taken apart, so that a check compares and looks nothing up.
//!
//! Two rules of safety where oslo.policy compares Python values as text: an attribute that the thing has not, and a
//! credential that the caller has not, are equal to nothing, not even to one another. Only a rule that names `None` asks
//! for their absence: `None:%(target.role.domain_id)s`, `domain_id:None`.

use super::language::LanguageError;
use super::{Credentials, Target};
use std::borrow::Cow;

/// A check, ready to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Always,
    Never,
    Not(Box<Code>),
    All(Box<[Code]>),
    Any(Box<[Code]>),
    /// The rule of this number.
    Rule(u32),
    /// He holds the role; the name is in lower case.
    Role(Box<str>),
    RoleOf(Value),
    /// His credential is this.
    Holds(Claim, Value),
    /// The text is this.
    Says(Box<str>, Value),
    /// The thing has no such attribute.
    Lacks(Box<str>),
    /// The attribute has this value.
    Field(Box<str>, Box<str>),
    /// The attribute begins so.
    FieldBegins(Box<str>, Box<str>),
}

/// What a check compares with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(Box<str>),
    Attribute(Box<str>),
    /// Texts and attributes in turns.
    Mixed(Box<[Piece]>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(Box<str>),
    Attribute(Box<str>),
}

/// A credential that checks may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    UserId,
    UserDomainId,
    ProjectId,
    ProjectDomainId,
    DomainId,
    SystemScope,
    /// He holds the role `admin`.
    IsAdmin,
    /// Always true: no project is the administrators' own.
    IsAdminProject,
    /// Nobody has it.
    Unknown,
}

impl Claim {
    fn named(name: &str) -> Claim {
        match name {
            "user_id" | "token.user.id" => Claim::UserId,
            "user_domain_id" | "token.user.domain.id" => Claim::UserDomainId,
            "project_id" | "tenant_id" | "tenant" | "token.project.id" => Claim::ProjectId,
            "project_domain_id" | "token.project.domain.id" => Claim::ProjectDomainId,
            "domain_id" | "token.domain.id" => Claim::DomainId,
            "system_scope" | "system" => Claim::SystemScope,
            "is_admin" => Claim::IsAdmin,
            "is_admin_project" => Claim::IsAdminProject,
            _ => Claim::Unknown,
        }
    }

    pub(crate) fn of(self, who: &Credentials) -> Option<&str> {
        match self {
            Claim::UserId => Some(who.user_id.as_str()),
            Claim::UserDomainId => Some(who.user_domain_id.as_str()),
            Claim::ProjectId => who.project_id.as_deref(),
            Claim::ProjectDomainId => who.project_domain_id.as_deref(),
            Claim::DomainId => who.domain_id.as_deref(),
            Claim::SystemScope => who.system.then_some("all"),
            Claim::IsAdmin => Some(if who.roles.contains("admin") { "True" } else { "False" }),
            Claim::IsAdminProject => Some("True"),
            Claim::Unknown => None,
        }
        .filter(|text| !text.is_empty())
    }
}

/// Makes a `kind:value` ready; `rule` resolves the name of another rule, if there is one.
pub(crate) fn leaf(kind: &str, value: &str, rule: &mut dyn FnMut(&str) -> Option<u32>) -> Result<Code, LanguageError> {
    match kind {
        "rule" => return Ok(rule(value).map_or(Code::Never, Code::Rule)),
        "http" | "https" => return Err(LanguageError::Remote(format!("{kind}:{value}"))),
        "field" => return field(value),
        _ => {}
    }
    let compared = Value::parse(kind, value)?;
    if kind == "role" {
        return Ok(match compared {
            Value::Text(name) => Code::Role(name.to_lowercase().into()),
            other => Code::RoleOf(other),
        });
    }
    if kind == "None" {
        return Ok(match compared {
            Value::Attribute(name) => Code::Lacks(name),
            other => Code::Says("None".into(), other),
        });
    }
    if let Some(text) = literal(kind) {
        return Ok(Code::Says(text.into(), compared));
    }
    let claim = Claim::named(kind);
    let compared = match compared {
        // In Keystone's own rules numbers stand for yes and no.
        Value::Text(text) if claim == Claim::IsAdmin => Value::Text(truth(&text).into()),
        other => other,
    };
    Ok(Code::Holds(claim, compared))
}

fn truth(text: &str) -> &str {
    match text {
        "1" => "True",
        "0" => "False",
        other => other,
    }
}

/// `'x'`, `"x"`, `True`, `False` and numbers are compared themselves; other kinds are names of credentials.
fn literal(kind: &str) -> Option<&str> {
    for quote in ['\'', '"'] {
        if let Some(inner) = kind.strip_prefix(quote) {
            return inner.strip_suffix(quote);
        }
    }
    let is_literal = matches!(kind, "True" | "False") || kind.parse::<f64>().is_ok_and(f64::is_finite);
    is_literal.then_some(kind)
}

/// `field:networks:shared=True` of Neutron's rules: an attribute of the thing itself.
fn field(value: &str) -> Result<Code, LanguageError> {
    let wrong = || LanguageError::Field(format!("field:{value}"));
    let (_, pair) = value.split_once(':').ok_or_else(wrong)?;
    let (name, wanted) = pair.split_once('=').ok_or_else(wrong)?;
    if name.is_empty() {
        return Err(wrong());
    }
    let Some(pattern) = wanted.strip_prefix('~') else {
        return Ok(Code::Field(name.into(), wanted.into()));
    };
    let prefix = pattern.strip_prefix('^').filter(|prefix| !prefix.contains(['.', '*', '+', '?', '[', '(', '$', '\\']));
    Ok(Code::FieldBegins(name.into(), prefix.ok_or_else(wrong)?.into()))
}

impl Value {
    fn parse(kind: &str, text: &str) -> Result<Value, LanguageError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("%%") {
                plain.push('%');
                rest = after;
                continue;
            }
            let named = from.strip_prefix("%(").and_then(|tail| tail.split_once(")s"));
            let (name, after) = named.ok_or_else(|| LanguageError::Template(format!("{kind}:{text}")))?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
            }
            // The old name of projects.
            let name =
                name.strip_suffix("tenant_id").map_or_else(|| name.to_owned(), |start| format!("{start}project_id"));
            pieces.push(Piece::Attribute(name.into()));
            rest = after;
        }
        plain.push_str(rest);
        if pieces.is_empty() {
            return Ok(Value::Text(plain.into()));
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.into()));
        }
        match <[Piece; 1]>::try_from(pieces) {
            Ok([Piece::Attribute(name)]) => Ok(Value::Attribute(name)),
            Ok([text]) => Ok(Value::Mixed([text].into())),
            Err(pieces) => Ok(Value::Mixed(pieces.into())),
        }
    }

    /// The value for this thing; nothing when it has not all attributes.
    pub(crate) fn of<'a>(&'a self, target: &'a dyn Target) -> Option<Cow<'a, str>> {
        match self {
            Value::Text(text) => Some(Cow::Borrowed(text)),
            Value::Attribute(name) => target.attribute(name),
            Value::Mixed(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(part) => text.push_str(part),
                        Piece::Attribute(name) => text.push_str(&target.attribute(name)?),
                    }
                }
                Some(Cow::Owned(text))
            }
        }
    }
}

/// Texts are equal; truth values also in other cases of letters, since Python and JSON write them differently.
fn equal(wanted: &str, found: &str) -> bool {
    wanted == found || (matches!(wanted, "True" | "False") && wanted.eq_ignore_ascii_case(found))
}

impl Code {
    /// Whether it holds. The compiler has seen to it that rules do not lead back to themselves.
    pub(crate) fn holds(&self, rules: &[Code], who: &Credentials, target: &dyn Target) -> bool {
        match self {
            Code::Always => true,
            Code::Never => false,
            Code::Not(code) => !code.holds(rules, who, target),
            Code::All(codes) => codes.iter().all(|code| code.holds(rules, who, target)),
            Code::Any(codes) => codes.iter().any(|code| code.holds(rules, who, target)),
            Code::Rule(number) => rules.get(*number as usize).is_some_and(|code| code.holds(rules, who, target)),
            Code::Role(name) => who.roles.contains(&**name),
            Code::RoleOf(value) => value.of(target).is_some_and(|name| who.roles.contains(&name.to_lowercase())),
            Code::Holds(claim, value) => match (claim.of(who), value) {
                (Some(held), _) => value.of(target).is_some_and(|wanted| held == wanted),
                (None, Value::Text(text)) => **text == *"None",
                (None, _) => false,
            },
            Code::Says(text, value) => value.of(target).is_some_and(|found| equal(text, &found)),
            Code::Lacks(name) => target.attribute(name).is_none(),
            Code::Field(name, wanted) => target.attribute(name).is_some_and(|found| equal(wanted, &found)),
            Code::FieldBegins(name, prefix) => target.attribute(name).is_some_and(|found| found.starts_with(&**prefix)),
        }
    }
}
