//! What a session is opened with, and why it could not be or ended.

use std::fmt;

use super::super::handshake::{PASSWORD_MAX, Status, USER_MAX};
use super::super::message::{Completion, Privilege};

/// User and password, within the lengths that IPMI 2.0 has room for.
#[derive(Clone)]
pub struct Credentials {
    user: Vec<u8>,
    password: Vec<u8>,
    bmc_key: Option<Vec<u8>>,
    privilege: Privilege,
}

/// Credentials that no BMC can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    #[error("the user name has {0} bytes, IPMI allows at most {USER_MAX}")]
    UserTooLong(usize),
    #[error("the password has {0} bytes, IPMI allows at most {PASSWORD_MAX}: shorten it on the BMC too")]
    PasswordTooLong(usize),
    #[error("the BMC key has {0} bytes, IPMI allows at most {PASSWORD_MAX}")]
    KeyTooLong(usize),
    #[error("user name and password must not contain a zero byte")]
    ZeroByte,
}

impl Credentials {
    /// # Errors
    /// [`CredentialsError`]: longer than 16 and 20 bytes, or with a zero byte, which BMCs take for the end.
    pub fn new(user: &str, password: &str) -> Result<Credentials, CredentialsError> {
        if user.len() > USER_MAX {
            return Err(CredentialsError::UserTooLong(user.len()));
        }
        if password.len() > PASSWORD_MAX {
            return Err(CredentialsError::PasswordTooLong(password.len()));
        }
        if user.bytes().chain(password.bytes()).any(|byte| byte == 0) {
            return Err(CredentialsError::ZeroByte);
        }
        Ok(Credentials {
            user: user.into(),
            password: password.into(),
            bmc_key: None,
            privilege: Privilege::Administrator,
        })
    }

    /// With the BMC key (K_G) of a BMC that has one set.
    ///
    /// # Errors
    /// [`CredentialsError::KeyTooLong`] above 20 bytes.
    pub fn with_bmc_key(mut self, key: &[u8]) -> Result<Credentials, CredentialsError> {
        if key.len() > PASSWORD_MAX {
            return Err(CredentialsError::KeyTooLong(key.len()));
        }
        self.bmc_key = Some(key.to_vec());
        Ok(self)
    }

    /// With another privilege than administrator, for a user who may not more.
    pub fn with_privilege(mut self, privilege: Privilege) -> Credentials {
        self.privilege = privilege;
        self
    }

    pub fn privilege(&self) -> Privilege {
        self.privilege
    }

    pub fn user(&self) -> &[u8] {
        &self.user
    }

    pub(super) fn password(&self) -> &[u8] {
        &self.password
    }

    /// What the session integrity key is made with.
    pub(super) fn session_key(&self) -> &[u8] {
        self.bmc_key.as_deref().unwrap_or(&self.password)
    }

    pub(super) fn has_bmc_key(&self) -> bool {
        self.bmc_key.is_some()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, {:?})", String::from_utf8_lossy(&self.user), self.privilege)
    }
}

/// Which question was asked when something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Capabilities,
    Open,
    Rakp1,
    Rakp3,
    /// A command of the open session, by its number.
    Command(u8),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Capabilities => f.write_str("the first question (authentication capabilities)"),
            Step::Open => f.write_str("the request to open a session"),
            Step::Rakp1 => f.write_str("the user name (some BMCs keep silent when they do not know it)"),
            Step::Rakp3 => f.write_str("the proof of the password (some BMCs keep silent when it is wrong)"),
            Step::Command(number) => write!(f, "command {number:#04x} of the open session"),
        }
    }
}

/// Why there is no session (any more).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Nothing usable came, however often it was asked. `heard`: earlier questions were answered.
    #[error("no answer to {step}")]
    NoAnswer { step: Step, heard: bool },
    /// The BMC speaks IPMI 1.5 only.
    #[error("it speaks IPMI 1.5 only, without encryption: IPMI 2.0 (RMCP+, \"IPMI over LAN\") must be switched on")]
    NotIpmi2,
    /// None of our cipher suites is taken.
    #[error("it takes none of the cipher suites that were tried ({tried}); it offers {offered}: {status}")]
    NoSuite { tried: String, offered: String, status: Status },
    /// The proof of RAKP 2 does not come from somebody who knows our password.
    #[error("the password is wrong")]
    WrongPassword,
    /// The BMC refused user, password or privilege.
    #[error("{0}")]
    Unauthorized(Status),
    /// The BMC proved the password but not the session key.
    #[error("its session key is another one: it has a BMC key (K_G) set, which must be given")]
    WrongKey,
    /// The BMC refused for another reason.
    #[error("it refused {step}: {status}")]
    Refused { step: Step, status: Status },
    /// The session was opened but may not be raised to the privilege.
    #[error("the user may not act as {privilege:?}: {completion}")]
    Privilege { privilege: Privilege, completion: Completion },
    /// The sequence numbers of the session are used up.
    #[error("the session's sequence numbers are used up")]
    Exhausted,
}

impl SessionError {
    /// User name, password, key or privilege are at fault; trying again is useless.
    pub fn is_about_credentials(&self) -> bool {
        matches!(
            self,
            SessionError::WrongPassword
                | SessionError::Unauthorized(_)
                | SessionError::WrongKey
                | SessionError::Privilege { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_have_the_lengths_of_ipmi() {
        assert!(Credentials::new(&"u".repeat(16), &"p".repeat(20)).is_ok());
        assert_eq!(Credentials::new(&"u".repeat(17), "").err(), Some(CredentialsError::UserTooLong(17)));
        assert_eq!(Credentials::new("", &"p".repeat(21)).err(), Some(CredentialsError::PasswordTooLong(21)));
        // Bytes count, not characters.
        assert_eq!(Credentials::new("", &"ü".repeat(11)).err(), Some(CredentialsError::PasswordTooLong(22)));
        assert_eq!(Credentials::new("a\0b", "").err(), Some(CredentialsError::ZeroByte));
    }

    #[test]
    fn a_password_is_never_shown() {
        let credentials = Credentials::new("admin", "secret").unwrap();
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
