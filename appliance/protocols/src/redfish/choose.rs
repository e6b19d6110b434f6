//! Which of a BMC's systems is the machine that is meant.

/// Why no system was chosen. Each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SystemChoiceError {
    #[error("it manages no system")]
    NoSystem,
    #[error("it manages {} systems: name one of them as system_id: {}", .0.len(), .0.join(", "))]
    Several(Vec<String>),
    #[error("it manages no system {wanted}, but: {}", .known.join(", "))]
    Unknown { wanted: String, known: Vec<String> },
}

/// Chooses among the paths of a systems collection: the one that `system_id` names by its path or by its last
/// segment (the `Id`, which is the last segment on every BMC seen), or the only one.
pub fn choose_system<'a>(members: &'a [String], system_id: Option<&str>) -> Result<&'a str, SystemChoiceError> {
    let wanted = system_id.map(str::trim).filter(|id| !id.is_empty());
    match (members, wanted) {
        ([], _) => Err(SystemChoiceError::NoSystem),
        (members, Some(wanted)) => members
            .iter()
            .find(|member| trimmed(member) == trimmed(wanted))
            .or_else(|| members.iter().find(|member| last_segment(member) == wanted))
            .map(String::as_str)
            .ok_or_else(|| SystemChoiceError::Unknown { wanted: wanted.to_owned(), known: members.to_vec() }),
        ([only], None) => Ok(only),
        (members, None) => Err(SystemChoiceError::Several(members.to_vec())),
    }
}

fn trimmed(path: &str) -> &str {
    path.trim_end_matches('/')
}

fn last_segment(path: &str) -> &str {
    trimmed(path).rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Vec<String> {
        vec!["/redfish/v1/Systems/left".to_owned(), "/redfish/v1/Systems/right/".to_owned()]
    }

    #[test]
    fn the_only_system_needs_no_name() {
        let one = vec!["/redfish/v1/Systems/1".to_owned()];
        assert_eq!(choose_system(&one, None), Ok("/redfish/v1/Systems/1"));
        assert_eq!(choose_system(&one, Some(" ")), Ok("/redfish/v1/Systems/1"));
    }

    #[test]
    fn one_of_several_is_named_by_path_or_id() {
        assert_eq!(choose_system(&two(), Some("/redfish/v1/Systems/right")), Ok("/redfish/v1/Systems/right/"));
        assert_eq!(choose_system(&two(), Some("left")), Ok("/redfish/v1/Systems/left"));
    }

    #[test]
    fn a_refusal_lists_what_there_is() {
        let several = choose_system(&two(), None).unwrap_err().to_string();
        assert!(several.contains("2 systems") && several.contains("left") && several.contains("right"), "{several}");
        let unknown = choose_system(&two(), Some("middle")).unwrap_err().to_string();
        assert!(unknown.contains("no system middle") && unknown.contains("/redfish/v1/Systems/left"), "{unknown}");
        assert_eq!(choose_system(&[], Some("1")), Err(SystemChoiceError::NoSystem));
    }

    #[test]
    fn a_wrong_name_is_refused_even_when_there_is_only_one() {
        let one = vec!["/redfish/v1/Systems/1".to_owned()];
        assert!(matches!(choose_system(&one, Some("2")), Err(SystemChoiceError::Unknown { .. })));
    }
}
