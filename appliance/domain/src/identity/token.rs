//! What stands in for a password: tokens, application credentials, one-time links. None of them is stored as it is
//! given, only its digest.

use super::access::Scope;
use crate::id::{CredentialId, ProjectId, RoleId, UserId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// SHA-256 of a secret that has 256 random bits.
pub type Digest = [u8; 32];

/// A token, or the session of a browser.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub digest: Digest,
    pub user: UserId,
    pub scope: Scope,
    /// The roles it was issued with, implied ones included. Should its user lose one, the token ends; what he gains
    /// later it does not have.
    pub roles: BTreeSet<RoleId>,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    /// How its user proved who he is: Keystone's names.
    pub methods: Vec<String>,
    /// The application credential that it was issued for.
    pub credential: Option<CredentialId>,
    /// The token that it was issued for: it ends with that.
    pub parent: Option<Digest>,
    /// A name for it that opens nothing.
    pub audit_id: String,
    /// It is a browser's: taken from a cookie only, never from a header.
    pub session: bool,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Token");
        shown.field("audit_id", &self.audit_id).field("user", &self.user).field("scope", &self.scope);
        shown.finish_non_exhaustive()
    }
}

/// A secret as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretHash {
    /// Made by the appliance, with 256 random bits: a plain digest is enough.
    Random(Digest),
    /// Chosen by a person: an Argon2id hash in PHC format.
    Chosen(String),
}

/// A credential for programs: some of a user's roles in one project, without his password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationCredential {
    pub id: CredentialId,
    pub user: UserId,
    pub project: ProjectId,
    pub name: String,
    pub description: Option<String>,
    pub secret: SecretHash,
    /// The roles it was made with; it has those that its user still has.
    pub roles: BTreeSet<RoleId>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// It may make and delete application credentials.
    pub unrestricted: bool,
}

impl std::fmt::Debug for ApplicationCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("ApplicationCredential");
        shown.field("id", &self.id).field("name", &self.name).field("user", &self.user).finish_non_exhaustive()
    }
}

/// A secret URL under which a program reads a calendar of a project's leases, as one of its users sees them. It ends with
/// his last role in the project.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feed {
    pub digest: Digest,
    pub user: UserId,
    pub project: ProjectId,
    pub created_at: Timestamp,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("user", &self.user).field("project", &self.project).finish_non_exhaustive()
    }
}

/// A one-time link with which somebody sets the password of an account: a new one, or one whose password is forgotten.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    pub digest: Digest,
    pub user: UserId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for Invitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invitation").field("user", &self.user).finish_non_exhaustive()
    }
}
