//! The policy file: YAML (or JSON, which is YAML too), a mapping of rules' names to their texts.
//!
//! In: the text of a file. Out: a [`Policy`], or a [`FileError`] that names the line and the rule. Anchors, tags and
//! nested mappings have no meaning here and are refused.

use leasehold_domain::policy::{Override, Policy, PolicyError, Text, Warning};
use saphyr_parser::{Event, Parser, ScanError, StrInput};

/// Bytes of a policy file.
const LARGEST: usize = 4 << 20;

/// A policy file cannot be put in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    #[error("line {line}: this is not YAML: {why}")]
    Yaml { line: usize, why: String },
    #[error("line {line}: a policy file is a mapping of names to rules: \"name\": \"rule\"")]
    NotAMapping { line: usize },
    #[error("line {line}: rule '{name}' is neither a text nor (old form) a list of lists of texts")]
    NotARule { line: usize, name: String },
    #[error("line {line}: anchors, aliases and tags have no meaning in a policy file")]
    Alias { line: usize },
    #[error("line {line}: a second document begins; a policy file has one")]
    SecondDocument { line: usize },
    #[error("a policy file has at most {LARGEST} bytes")]
    TooLarge,
    #[error(transparent)]
    Rules(#[from] PolicyError),
}

/// Reads the text of a policy file. An empty one leaves upstream's defaults in force.
pub fn read(text: &str) -> Result<Policy, FileError> {
    Ok(Policy::with(&overrides(text)?)?)
}

/// What is probably not meant, in words; a misspelt name with the nearest known one.
pub fn warnings(policy: &Policy) -> Vec<String> {
    let nearest = |name: &str| {
        let near = |known: &str| strsim::jaro_winkler(known, name);
        let known = policy.rules().map(|rule| &*rule.name).filter(|known| *known != name);
        known.max_by(|a, b| near(a).total_cmp(&near(b))).filter(|known| near(known) > 0.9)
    };
    let say = |warning: &Warning| {
        let name = match warning {
            Warning::Unused { name, .. } => nearest(name),
            Warning::Dangling { to, .. } => nearest(to),
            Warning::NoSuchCredential { .. } | Warning::AlsoChanges { .. } => None,
        };
        name.map_or_else(|| warning.to_string(), |name| format!("{warning}; did you mean '{name}'?"))
    };
    policy.warnings().iter().map(say).collect()
}

fn overrides(text: &str) -> Result<Vec<Override>, FileError> {
    if text.len() > LARGEST {
        return Err(FileError::TooLarge);
    }
    let mut reader = Reader { parser: Parser::new_from_str(text.trim_start_matches('\u{feff}')) };
    let overrides = reader.document()?;
    match reader.next()? {
        (Event::StreamEnd, _) => Ok(overrides),
        (_, line) => Err(FileError::SecondDocument { line }),
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
}

impl<'a> Reader<'a> {
    /// What comes next, and its line. The end comes again and again.
    fn next(&mut self) -> Result<(Event<'a>, usize), FileError> {
        let wrong = |error: &ScanError| {
            let line = error.marker().line();
            FileError::Yaml { line, why: error.info().to_owned() }
        };
        match self.parser.next_event() {
            Some(Ok((Event::Alias(_), span))) => Err(FileError::Alias { line: span.start.line() }),
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => Err(wrong(&error)),
            None => Ok((Event::StreamEnd, 0)),
        }
    }

    fn document(&mut self) -> Result<Vec<Override>, FileError> {
        loop {
            match self.next()? {
                (Event::Nothing | Event::StreamStart | Event::DocumentStart(_), _) => {}
                (Event::StreamEnd, _) => return Ok(Vec::new()),
                (Event::Scalar(text, ..), line) => {
                    // A document of comments alone is the scalar nothing.
                    let is_nothing = matches!(&*text, "" | "~" | "null");
                    return if is_nothing { self.end(Vec::new()) } else { Err(FileError::NotAMapping { line }) };
                }
                (Event::MappingStart(..), _) => {
                    let overrides = self.mapping()?;
                    return self.end(overrides);
                }
                (_, line) => return Err(FileError::NotAMapping { line }),
            }
        }
    }

    fn end(&mut self, overrides: Vec<Override>) -> Result<Vec<Override>, FileError> {
        match self.next()? {
            (Event::DocumentEnd | Event::StreamEnd, _) => Ok(overrides),
            (_, line) => Err(FileError::NotAMapping { line }),
        }
    }

    fn mapping(&mut self) -> Result<Vec<Override>, FileError> {
        let mut overrides = Vec::new();
        loop {
            let (name, line) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(overrides),
                (Event::Scalar(name, _, 0, None), line) => (name.into_owned(), line),
                (_, line) => return Err(FileError::NotAMapping { line }),
            };
            let text = match self.next()? {
                (Event::Scalar(text, _, 0, None), _) => Text::Rule(text.into_owned()),
                (Event::SequenceStart(0, None), _) => Text::List(self.alternatives(&name)?),
                (_, line) => return Err(FileError::NotARule { line, name }),
            };
            overrides.push(Override { name, text, line });
        }
    }

    /// A list of lists of checks; a check alone stands for a list of one.
    fn alternatives(&mut self, name: &str) -> Result<Vec<Vec<String>>, FileError> {
        let mut alternatives = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(alternatives),
                (Event::Scalar(check, _, 0, None), _) => alternatives.push(vec![check.into_owned()]),
                (Event::SequenceStart(0, None), _) => alternatives.push(self.checks(name)?),
                (_, line) => return Err(FileError::NotARule { line, name: name.to_owned() }),
            }
        }
    }

    fn checks(&mut self, name: &str) -> Result<Vec<String>, FileError> {
        let mut checks = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(checks),
                (Event::Scalar(check, _, 0, None), _) => checks.push(check.into_owned()),
                (_, line) => return Err(FileError::NotARule { line, name: name.to_owned() }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_domain::policy::{Credentials, Origin, Service};
    use proptest::prelude::*;

    const SHIPPED: &str = include_str!("../../../../config/policy.yaml");

    fn person(project: &str, roles: &[&str]) -> Credentials {
        Credentials {
            user_id: "u".into(),
            project_id: Some(project.into()),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            ..Credentials::default()
        }
    }

    #[test]
    fn an_empty_file_leaves_the_defaults() {
        for text in ["", "# nothing\n", "{}", "---\n", "---\n{}\n...\n"] {
            let policy = read(text).expect(text);
            assert!(policy.rules().all(|rule| rule.origin == Origin::Upstream), "{text:?}");
        }
    }

    #[test]
    fn both_forms_and_json_are_read() {
        let policy =
            read("\"a\": [[\"role:x\", \"role:y\"], \"role:z\"]\n\"b\":\n  - - role:x\nc: >-\n  role:x\n  or rule:a\n");
        let policy = policy.expect("a policy");
        assert!(policy.allows("a", &person("p", &["z"]), &()) && !policy.allows("a", &person("p", &["x"]), &()));
        assert!(policy.allows("b", &person("p", &["x"]), &()) && policy.allows("c", &person("p", &["x"]), &()));
        let json = read("{\n  \"a\": \"role:x\",\n  \"b\": \"rule:a\"\n}").expect("a policy");
        assert!(json.allows("b", &person("p", &["x"]), &()));
    }

    #[test]
    fn a_bad_file_names_the_line_and_the_rule() {
        let said = |text: &str| read(text).expect_err(text).to_string();
        assert!(said("a: '@'\nb: 'role:x and'\n").starts_with("line 2: rule 'b': the rule ends"));
        assert_eq!(
            said("a: '@'\nb:\n  c: d\n"),
            "line 3: rule 'b' is neither a text nor (old form) a list of lists of texts"
        );
        assert!(said("- a\n").starts_with("line 1: a policy file is a mapping"));
        assert!(said("a: '@'\na: '!'\n").starts_with("line 2: rule 'a' is there twice"));
        assert!(said("a: &x '@'\nb: *x\n").starts_with("line 1: rule 'a'"));
        assert!(said("a: '@'\n---\nb: '@'\n").starts_with("line 2: a second document"));
        assert!(said("a: 'x\n").contains("this is not YAML"));
    }

    #[test]
    fn a_misspelt_name_gets_the_nearest() {
        let policy = read("baremetal:node:gett: '@'\n").expect("a policy");
        let [warning] = &warnings(&policy)[..] else { panic!("one warning: {:?}", warnings(&policy)) };
        assert!(warning.ends_with("did you mean 'baremetal:node:get'?"), "{warning}");
    }

    #[test]
    fn the_shipped_file_adds_to_upstreams_defaults_and_takes_from_projects_admins_what_is_others() {
        let (shipped, upstream) = (read(SHIPPED).expect("the shipped file"), read("").expect("the defaults"));
        assert_eq!(warnings(&shipped), Vec::<String>::new());
        let steps: [&[&str]; 6] = [
            &[],
            &["reader"],
            &["reader", "member"],
            &["reader", "member", "manager"],
            &["reader", "member", "manager", "admin"],
            &["service"],
        ];
        let mut added = std::collections::BTreeSet::new();
        for rule in upstream.rules().filter(|rule| !rule.calls.is_empty()) {
            for (project, roles) in ["o", "l", "x"].into_iter().flat_map(|project| steps.map(|roles| (project, roles)))
            {
                for system in [false, true] {
                    let mut who = person(project, roles);
                    who.system = system;
                    who.project_id = who.project_id.filter(|_| !system);
                    let node = [
                        ("node.owner", "o"),
                        ("node.lessee", "l"),
                        ("project_id", "o"),
                        ("network:project_id", "l"),
                        ("device_owner", "network:dhcp"),
                        ("offer.project_id", "o"),
                        ("lease.owner_id", "o"),
                        ("lease.project_id", "l"),
                    ];
                    let (was, is) = (upstream.allows(&rule.name, &who, &node), shipped.allows(&rule.name, &who, &node));
                    // Upstream, an admin of any project is administrator of all networks, images and leases; and whoever
                    // has any role where a lease or an offer belongs ends it.
                    let of_all = !system && roles.contains(&"admin");
                    let taken = of_all && matches!(rule.service, Service::Network | Service::Image | Service::Lease);
                    let looks_on = rule.service == Service::Lease && !roles.contains(&"member");
                    let taken = taken || looks_on && rule.name.ends_with(":delete");
                    assert!(is || !was || taken, "{} is taken from {roles:?} of {project}", rule.name);
                    if is && !was {
                        added.insert((rule.name.to_string(), project));
                    }
                }
            }
        }
        for (rule, project) in [
            ("baremetal:node:set_provision_state", "l"),
            ("baremetal:node:vif:attach", "l"),
            ("baremetal:node:get_console", "l"),
            ("create_port:binding:host_id", "o"),
            ("esi_leap:lease:update", "l"),
            ("esi_leap:offer:create", "o"),
            ("get_network:provider:segmentation_id", "o"),
        ] {
            assert!(added.contains(&(rule.to_owned(), project)), "{rule} is not given to {project}");
        }
        let strangers: Vec<_> =
            added.iter().filter(|(rule, project)| *project == "x" && !rule.starts_with("esi_leap:")).collect();
        assert!(strangers.is_empty(), "strangers got {strangers:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([a-c]: |role:x|[\\[\\]{}\"'\\n:#&*!|>,-]| |[^\\x00]){0,60}") {
            let _either_is_fine = read(&text);
        }
    }
}
