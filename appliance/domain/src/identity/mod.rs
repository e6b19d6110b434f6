//! Who may speak to the appliance, and as what: domains, projects, users, groups, roles, and what stands on them.
//!
//! In: commands about them. Out: rows, and what a user is within a scope ([`Directory::credentials`]). Keystone's model:
//! a domain is the root of a tree of projects; a role is assigned to a user or group on a project, a domain or the whole
//! system; tokens and application credentials stand on such assignments and fall with them.

mod access;
mod account;
mod command;
mod grant;
mod name;
mod project;
mod rows;
#[cfg(test)]
mod tests;
mod token;

pub use access::{Scope, TokenFault};
pub use account::{Group, Membership, User};
pub use command::{Bootstrap, BuiltInRole, IdentityCommand, built_in_roles};
pub use grant::{Assignment, Implication, Party, Place, Role};
pub use name::{check_name, check_text, folded, id_text, parse_id};
pub use project::{DEFAULT_DOMAIN, Project};
pub use rows::{Directory, IdentityKey, IdentityRow};
pub use token::{ApplicationCredential, Digest, Feed, Invitation, SecretHash, Token};
