//! The words of a script: each type lets through only what means itself.

use std::fmt;

/// A word that could mean something else than itself, or nothing at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWord {
    #[error("the {what} is empty")]
    Empty { what: &'static str },
    #[error("the {what} is longer than {most} bytes")]
    TooLong { what: &'static str, most: usize },
    #[error("the {what} '{text}' has the character {character:?}, which a boot script cannot carry")]
    Character { what: &'static str, text: String, character: char },
    #[error("the {what} '{text}' is not an absolute http, https or tftp URL")]
    Scheme { what: &'static str, text: String },
    #[error("the {what} '{text}' would be read as an operator, an option or a comment")]
    Meaning { what: &'static str, text: String },
}

/// Checks one word: printable ASCII without white space, no `$` (which begins a replacement), none of `refused`.
fn check_word(what: &'static str, text: &str, most: usize, refused: &str) -> Result<(), BadWord> {
    if text.is_empty() {
        return Err(BadWord::Empty { what });
    }
    if text.len() > most {
        return Err(BadWord::TooLong { what, most });
    }
    let bad = |c: char| !c.is_ascii_graphic() || c == '$' || refused.contains(c);
    if let Some(character) = text.chars().find(|c| bad(*c)) {
        let text = text.chars().filter(|c| !c.is_control()).take(60).collect();
        return Err(BadWord::Character { what, text, character });
    }
    let meaning = text.starts_with(['#', '-']) || matches!(text, "||" | "&&" | ";");
    if meaning {
        return Err(BadWord::Meaning { what, text: text.into() });
    }
    Ok(())
}

/// An absolute URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(String);

impl Url {
    /// Takes `http`, `https` and `tftp` URLs of characters that need no escaping in a script.
    pub fn new(text: &str) -> Result<Url, BadWord> {
        check_word("URL", text, 1024, "\"'\\#<>^`{|}")?;
        let host = ["http://", "https://", "tftp://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        match host {
            Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(Url(text.into())),
            _ => Err(BadWord::Scheme { what: "URL", text: text.into() }),
        }
    }
}

/// The name under which an image is known after it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName(String);

impl ImageName {
    /// Takes letters, digits, `-`, `_` and `.`; what a kernel finds an initramfs by in UEFI.
    pub fn new(text: &str) -> Result<ImageName, BadWord> {
        check_word("image name", text, 32, "")?;
        match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
            Some(character) => Err(BadWord::Character { what: "image name", text: text.into(), character }),
            None => Ok(ImageName(text.into())),
        }
    }
}

/// One parameter on the kernel's command line: `key` or `key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelArgument(String);

impl KernelArgument {
    /// A parameter with a value.
    pub fn new(key: &str, value: &str) -> Result<KernelArgument, BadWord> {
        let key = KernelArgument::flag(key)?;
        // An empty value is a value: `quiet=`.
        if !value.is_empty() {
            check_word("kernel parameter", &format!("{}={value}", key.0), 1024, "\"")?;
        }
        Ok(KernelArgument(format!("{}={value}", key.0)))
    }

    /// A parameter without a value.
    pub fn flag(key: &str) -> Result<KernelArgument, BadWord> {
        check_word("kernel parameter", key, 64, "\"=")?;
        match key.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
            Some(character) => Err(BadWord::Character { what: "kernel parameter", text: key.into(), character }),
            None => Ok(KernelArgument(key.into())),
        }
    }
}

/// A line to be read by a person at the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// Any text. What a script cannot carry is replaced: the words are for people, and a name that somebody gave a
    /// machine must not be able to stop it from booting.
    #[must_use]
    pub fn new(text: &str) -> Text {
        let mut words = Vec::new();
        for word in text.split_whitespace() {
            let clean = |c: char| if c.is_ascii_graphic() && c != '$' { c } else { '?' };
            let word: String = word.chars().map(clean).take(120).collect();
            match word.as_str() {
                "||" | "&&" | ";" => words.push("+".to_string()),
                other if other.starts_with(['#', '-']) => words.push(format!("'{other}")),
                _ => words.push(word),
            }
        }
        Text(words.join(" ").chars().take(400).collect())
    }
}

macro_rules! shown {
    ($($name:ident),+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

shown!(Url, ImageName, KernelArgument, Text);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_that_could_break_out_are_refused() {
        for text in [
            "http://10.0.0.1/a b",
            "http://10.0.0.1/a\nboot",
            "http://10.0.0.1/${net0/mac}",
            "http://10.0.0.1/a#b",
            "file:///etc/passwd",
            "http:///x",
            "http://",
            "--name",
            "",
        ] {
            assert!(Url::new(text).is_err(), "{text:?}");
        }
        for (key, value) in [
            ("a b", "c"),
            ("a", "b c"),
            ("a", "b\u{a0}c"),
            ("a", "x\"y"),
            ("a", "${x}"),
            ("a=b", "c"),
            ("#a", "c"),
            ("", "c"),
            ("-a", "c"),
            ("a", "b\r"),
        ] {
            assert!(KernelArgument::new(key, value).is_err(), "{key:?}={value:?}");
        }
        assert!(ImageName::new("a/b").is_err());
    }

    #[test]
    fn usual_words_are_taken() {
        assert_eq!(Url::new("http://10.0.0.1:8080/boot/a?x=1").unwrap().to_string(), "http://10.0.0.1:8080/boot/a?x=1");
        assert_eq!(KernelArgument::new("console", "ttyS0,115200").unwrap().to_string(), "console=ttyS0,115200");
        assert_eq!(KernelArgument::new("quiet", "").unwrap().to_string(), "quiet=");
        assert_eq!(KernelArgument::flag("nomodeset").unwrap().to_string(), "nomodeset");
    }

    #[test]
    fn text_for_people_is_made_harmless() {
        assert_eq!(Text::new("node ${x} || reboot\n#!").to_string(), "node ?{x} + reboot '#!");
    }

    proptest! {
        #[test]
        fn a_word_stays_one_word(text in "\\PC{0,40}") {
            let one = |shown: String| {
                !shown.contains(|c: char| c.is_whitespace() || c.is_control())
                    && !shown.contains('$') && !shown.starts_with('#') && !shown.starts_with('-')
            };
            if let Ok(url) = Url::new(&text) {
                prop_assert!(one(url.to_string()));
            }
            if let Ok(argument) = KernelArgument::new("key", &text) {
                prop_assert!(one(argument.to_string()));
                prop_assert_eq!(argument.to_string(), format!("key={text}"));
            }
            let line = Text::new(&text).to_string();
            prop_assert!(line.is_ascii() && !line.contains('$') && !line.contains('\n'));
            prop_assert!(line.split(' ').all(|word| !matches!(word, "||" | "&&" | ";") && !word.starts_with('#')));
        }
    }
}
