//! Names and ids as Keystone shows them.
//!
//! Names are printable ASCII and unique without regard to case: two accounts whose names look alike would be taken for
//! one another in rules, lists and log lines. Whatever else a person wants to say has its place in the description.

use crate::refusal::Refusal;
use uuid::Uuid;

/// The id of the domain that is always there.
const DEFAULT: &str = "default";

/// An id in Keystone's form: 32 hex digits; the nil id is the default domain's, `default`.
pub fn id_text(id: Uuid) -> String {
    if id.is_nil() { DEFAULT.to_owned() } else { id.simple().to_string() }
}

/// Reads an id in exactly the form that [`id_text`] gives.
pub fn parse_id(text: &str) -> Option<Uuid> {
    if text == DEFAULT {
        return Some(Uuid::nil());
    }
    let canonical = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    canonical.then(|| Uuid::parse_str(text).ok()).flatten().filter(|id| !id.is_nil())
}

/// A name as names are compared.
pub fn folded(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// A name that may be given to a thing of this kind, or why not.
pub fn check_name(what: &str, name: &str, longest: usize) -> Result<(), Refusal> {
    let wrong = |why: &str| Err(Refusal::Invalid(format!("The name of a {what} {why}.")));
    if name.is_empty() || name.len() > longest {
        return wrong(&format!("has 1 to {longest} characters"));
    }
    if !name.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return wrong("consists of letters, digits, blanks and signs of ASCII, so that no two names look alike");
    }
    if name.trim() != name {
        return wrong("neither begins nor ends with a blank");
    }
    if Uuid::parse_str(name).is_ok() || folded(name) == DEFAULT {
        return wrong("must not look like an id");
    }
    Ok(())
}

/// A description, an email address and the like: any text on one or more lines, up to a length.
pub fn check_text(what: &str, text: &str, longest: usize) -> Result<(), Refusal> {
    if text.len() > longest || text.chars().any(|letter| letter.is_control() && !matches!(letter, '\n' | '\t')) {
        return Err(Refusal::Invalid(format!("{what} has at most {longest} bytes and no control characters.")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_look_like_something_else_are_refused() {
        for bad in ["", " a", "a\n", "аdmin", "default", "Default", "00000000000000000000000000000001", "x\u{202e}y"] {
            assert!(check_name("user", bad, 64).is_err(), "{bad:?}");
        }
        for good in ["admin", "Ada Lovelace", "ci-bot_7@lab"] {
            assert!(check_name("user", good, 64).is_ok(), "{good}");
        }
    }

    proptest! {
        #[test]
        fn an_id_is_read_back_and_nothing_else_is_one(number in any::<u128>(), text in "[0-9a-fA-F-]{0,40}") {
            let id = Uuid::from_u128(number);
            prop_assert_eq!(parse_id(&id_text(id)), Some(id));
            if let Some(read) = parse_id(&text) {
                prop_assert_eq!(id_text(read), text);
            }
        }
    }
}
