//! The language of rules: text to [`Check`] and back.
//!
//! It is oslo.policy's: `and`, `or`, `not`, parentheses, `@` (always), `!` (never), and checks of the form `kind:value`.
//! `not` binds closest, then `and`, then `or`. The empty text says yes to everybody. What oslo.policy would turn into a
//! silent "never" (a text that cannot be understood) is an error here.

use std::fmt;

/// Parentheses and `not`s inside one another in one rule.
const DEEPEST: usize = 48;
/// Bytes of one rule.
const LONGEST: usize = 64 << 10;

/// A rule, as a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    Always,
    Never,
    Not(Box<Check>),
    /// Two or more.
    All(Vec<Check>),
    /// Two or more.
    Any(Vec<Check>),
    /// `kind:value`.
    Is {
        kind: String,
        value: String,
    },
}

/// A text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LanguageError {
    #[error("'{0}' is no check: write kind:value, such as role:member, or @ or !")]
    NotACheck(String),
    #[error("{0} is a quoted word alone: write what it is compared with, such as 'public':%(visibility)s")]
    QuotedAlone(String),
    #[error("a quote is not closed: {0}")]
    OpenQuote(String),
    #[error("'{0}' stands where a check is expected")]
    Unexpected(String),
    #[error("the rule ends where a check is expected")]
    EndsEarly,
    #[error("'{0}' stands where 'and', 'or' or ')' is expected")]
    NotJoined(String),
    #[error("a ')' is missing")]
    Unclosed,
    #[error("a rule has at most {LONGEST} bytes, and parentheses at most {DEEPEST} deep")]
    TooLarge,
    #[error(
        "the value of '{0}' has a '%' that is not %(name)s: name the attribute in parentheses, followed by s; a plain \
         per cent sign is %%"
    )]
    Template(String),
    #[error("'{0}' would ask another server, which is not done: write the rule itself")]
    Remote(String),
    #[error("'{0}' is read as field:KIND:NAME=VALUE, where VALUE may be ~^PREFIX")]
    Field(String),
    #[error("a rule is a text, or (old form) a list of lists of checks")]
    Form,
}

impl Check {
    /// Reads a rule.
    pub fn parse(text: &str) -> Result<Check, LanguageError> {
        if text.len() > LONGEST {
            return Err(LanguageError::TooLarge);
        }
        let tokens = tokens(text)?;
        if tokens.is_empty() {
            return Ok(Check::Always);
        }
        let mut parser = Parser { tokens: &tokens, at: 0 };
        let check = parser.any(0)?;
        match parser.peek() {
            None => Ok(check),
            Some(token) => Err(LanguageError::NotJoined(token.to_string())),
        }
    }

    /// Reads the old form: a list of alternatives, each a list of checks that must all hold.
    pub fn parse_list(alternatives: &[Vec<String>]) -> Result<Check, LanguageError> {
        if alternatives.is_empty() {
            return Ok(Check::Always);
        }
        let mut any = Vec::new();
        for alternative in alternatives.iter().filter(|checks| !checks.is_empty()) {
            let all: Result<Vec<Check>, LanguageError> = alternative.iter().map(|text| one(text.trim())).collect();
            any.extend(joined(all?, Check::All));
        }
        Ok(joined(any, Check::Any).unwrap_or(Check::Never))
    }
}

/// Nothing, the one, or all of them under one roof.
fn joined(mut checks: Vec<Check>, roof: fn(Vec<Check>) -> Check) -> Option<Check> {
    if checks.len() > 1 { Some(roof(checks)) } else { checks.pop() }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, checks: &[Check], word: &str| {
            f.write_str("(")?;
            for (at, check) in checks.iter().enumerate() {
                if at > 0 {
                    write!(f, " {word} ")?;
                }
                write!(f, "{check}")?;
            }
            f.write_str(")")
        };
        match self {
            Check::Always => f.write_str("@"),
            Check::Never => f.write_str("!"),
            Check::Not(check) => write!(f, "not {check}"),
            Check::All(checks) => list(f, checks, "and"),
            Check::Any(checks) => list(f, checks, "or"),
            Check::Is { kind, value } => write!(f, "{kind}:{value}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token<'a> {
    Open,
    Close,
    And,
    Or,
    Not,
    Word(&'a str),
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Token::Open => "(",
            Token::Close => ")",
            Token::And => "and",
            Token::Or => "or",
            Token::Not => "not",
            Token::Word(word) => word,
        })
    }
}

/// Words are parted by white space. Parentheses count at a word's ends only, because they are in `%(name)s` too; a word
/// that begins with a quote goes on to the closing one, white space included.
fn tokens(text: &str) -> Result<Vec<Token<'_>>, LanguageError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '(' {
            tokens.push(Token::Open);
            rest = rest.get(1..).unwrap_or_default().trim_start();
            continue;
        }
        let quoted = match first {
            '\'' | '"' => {
                let close = rest.char_indices().skip(1).find(|(_, letter)| *letter == first);
                close.ok_or_else(|| LanguageError::OpenQuote(rest.to_owned()))?.0 + 1
            }
            _ => 0,
        };
        let tail = rest.get(quoted..).unwrap_or_default();
        let end = tail.find(char::is_whitespace).unwrap_or(tail.len()) + quoted;
        let (word, after) = rest.split_at(end);
        let clean = word.trim_end_matches(')');
        if !clean.is_empty() {
            tokens.push(token(clean)?);
        }
        tokens.extend(std::iter::repeat_n(Token::Close, word.len() - clean.len()));
        rest = after.trim_start();
    }
    Ok(tokens)
}

fn token(word: &str) -> Result<Token<'_>, LanguageError> {
    let is = |name: &str| word.eq_ignore_ascii_case(name);
    if is("and") {
        return Ok(Token::And);
    }
    if is("or") {
        return Ok(Token::Or);
    }
    if is("not") {
        return Ok(Token::Not);
    }
    let quoted = |quote: char| word.len() > 1 && word.starts_with(quote) && word.ends_with(quote);
    if (quoted('\'') || quoted('"')) && split(word).is_none() {
        return Err(LanguageError::QuotedAlone(word.to_owned()));
    }
    Ok(Token::Word(word))
}

/// Kind and value. The colon that parts them is the first one, or the first one after a quoted kind.
fn split(word: &str) -> Option<(&str, &str)> {
    if let Some(quote) = word.chars().next().filter(|first| matches!(first, '\'' | '"')) {
        let close = word.char_indices().skip(1).find(|(_, letter)| *letter == quote)?.0;
        let value = word.get(close + 1..)?.strip_prefix(':')?;
        return Some((word.get(..=close)?, value));
    }
    word.split_once(':')
}

fn one(word: &str) -> Result<Check, LanguageError> {
    match word {
        "@" => Ok(Check::Always),
        "!" => Ok(Check::Never),
        _ => match split(word) {
            Some((kind, value)) if !kind.is_empty() => Ok(Check::Is { kind: kind.into(), value: value.into() }),
            _ => Err(LanguageError::NotACheck(word.to_owned())),
        },
    }
}

struct Parser<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token<'_>> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, token: &Token<'_>) -> bool {
        let there = self.peek() == Some(token);
        self.at += usize::from(there);
        there
    }

    fn any(&mut self, depth: usize) -> Result<Check, LanguageError> {
        let mut checks = vec![self.all(depth)?];
        while self.take(&Token::Or) {
            checks.push(self.all(depth)?);
        }
        joined(checks, Check::Any).ok_or(LanguageError::EndsEarly)
    }

    fn all(&mut self, depth: usize) -> Result<Check, LanguageError> {
        let mut checks = vec![self.single(depth)?];
        while self.take(&Token::And) {
            checks.push(self.single(depth)?);
        }
        joined(checks, Check::All).ok_or(LanguageError::EndsEarly)
    }

    fn single(&mut self, depth: usize) -> Result<Check, LanguageError> {
        if depth > DEEPEST {
            return Err(LanguageError::TooLarge);
        }
        let token = self.tokens.get(self.at).ok_or(LanguageError::EndsEarly)?;
        self.at += 1;
        match token {
            Token::Not => Ok(Check::Not(Box::new(self.single(depth + 1)?))),
            Token::Open => {
                let inner = self.any(depth + 1)?;
                if self.take(&Token::Close) { Ok(inner) } else { Err(self.unclosed()) }
            }
            Token::Word(word) => one(word),
            Token::Close | Token::And | Token::Or => Err(LanguageError::Unexpected(token.to_string())),
        }
    }

    fn unclosed(&self) -> LanguageError {
        self.peek().map_or(LanguageError::Unclosed, |token| LanguageError::NotJoined(token.to_string()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn is(kind: &str, value: &str) -> Check {
        Check::Is { kind: kind.into(), value: value.into() }
    }

    #[test]
    fn not_binds_closest_then_and_then_or() {
        let parsed = Check::parse("role:a or role:b and not role:c").expect("a rule");
        let and = Check::All(vec![is("role", "b"), Check::Not(Box::new(is("role", "c")))]);
        assert_eq!(parsed, Check::Any(vec![is("role", "a"), and]));
        assert_eq!(Check::parse("NOT NOT @").expect("a rule").to_string(), "not not @");
    }

    #[test]
    fn parentheses_of_attributes_are_no_parentheses_of_rules() {
        let parsed = Check::parse("(role:member and (project_id:%(node.owner)s))").expect("a rule");
        assert_eq!(parsed, Check::All(vec![is("role", "member"), is("project_id", "%(node.owner)s")]));
    }

    #[test]
    fn quoted_kinds_may_have_white_space_and_colons() {
        assert_eq!(Check::parse("'a: b':%(x)s"), Ok(is("'a: b'", "%(x)s")));
        assert_eq!(Check::parse("(\"public\":%(v)s)"), Ok(is("\"public\"", "%(v)s")));
    }

    #[test]
    fn the_empty_rule_is_for_everybody_and_the_old_form_is_read() {
        assert_eq!(Check::parse(" \n "), Ok(Check::Always));
        let list = |rows: &[&[&str]]| -> Vec<Vec<String>> {
            rows.iter().map(|row| row.iter().map(|text| (*text).to_owned()).collect()).collect()
        };
        assert_eq!(Check::parse_list(&[]), Ok(Check::Always));
        assert_eq!(Check::parse_list(&list(&[&[]])), Ok(Check::Never));
        let parsed = Check::parse_list(&list(&[&["role:a", "role:b"], &["rule:c"]])).expect("a rule");
        assert_eq!(parsed.to_string(), "((role:a and role:b) or rule:c)");
    }

    #[test]
    fn what_is_no_rule_is_said_to_be_none() {
        for (text, start) in [
            ("role", "'role' is no check"),
            (":x", "':x' is no check"),
            ("'public'", "'public' is a quoted word alone"),
            ("'public", "a quote is not closed"),
            ("role:a role:b", "'role:b' stands where 'and'"),
            ("role:a and", "the rule ends"),
            ("or role:a", "'or' stands where a check"),
            ("(role:a", "a ')' is missing"),
            ("role:a)", "')' stands where 'and'"),
            ("(role:a role:b)", "'role:b' stands where"),
            ("()", "')' stands where a check"),
        ] {
            let error = Check::parse(text).expect_err(text).to_string();
            assert!(error.starts_with(start), "{text}: {error}");
        }
        assert_eq!(Check::parse(&"(".repeat(10_000)), Err(LanguageError::TooLarge));
        assert_eq!(Check::parse(&"not ".repeat(10_000)), Err(LanguageError::TooLarge));
    }

    fn any_leaf() -> impl Strategy<Value = Check> {
        let kind = prop_oneof!["[a-z_.]{1,8}", "'[a-z :()]{0,6}'", "\"[a-z ']{0,6}\""];
        let word =
            kind.clone().prop_filter("and, or, not are words", |kind| !["and", "or", "not"].contains(&kind.as_str()));
        prop_oneof![
            Just(Check::Always),
            Just(Check::Never),
            (word, "[a-zA-Z_:.=~^-]{0,6}(%\\([a-z.:]{1,6}\\)s)?").prop_map(|(kind, value)| is(&kind, &value)),
        ]
    }

    pub(crate) fn any_check(leaf: impl Strategy<Value = Check> + 'static) -> impl Strategy<Value = Check> {
        leaf.prop_recursive(5, 40, 4, |inner| {
            prop_oneof![
                inner.clone().prop_map(|check| Check::Not(Box::new(check))),
                proptest::collection::vec(inner.clone(), 2..4).prop_map(Check::All),
                proptest::collection::vec(inner, 2..4).prop_map(Check::Any),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(check in any_check(any_leaf())) {
            prop_assert_eq!(Check::parse(&check.to_string()), Ok(check));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "([()'\" :@!%]|and|or|not|role:a|[^\\x00]){0,60}") {
            if let Ok(check) = Check::parse(&text) {
                prop_assert_eq!(Check::parse(&check.to_string()), Ok(check));
            }
        }
    }
}
