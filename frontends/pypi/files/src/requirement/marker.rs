//! Environment markers: their grammar, without evaluating anything.

use crate::quote::quote;

/// One token of a marker, in one form for all spellings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Token {
    Open,
    Close,
    And,
    Or,
    In,
    Not,
    /// A comparison.
    Operator(&'static str),
    /// Something of the environment.
    Variable(&'static str),
    /// A text in quotes.
    Literal(String),
}

/// The names, and those that they had before PEP 508.
const VARIABLES: &[(&str, &str)] = &[
    ("python_version", "python_version"),
    ("python_full_version", "python_full_version"),
    ("os_name", "os_name"),
    ("os.name", "os_name"),
    ("sys_platform", "sys_platform"),
    ("sys.platform", "sys_platform"),
    ("platform_release", "platform_release"),
    ("platform_system", "platform_system"),
    ("platform_version", "platform_version"),
    ("platform.version", "platform_version"),
    ("platform_machine", "platform_machine"),
    ("platform.machine", "platform_machine"),
    ("platform_python_implementation", "platform_python_implementation"),
    ("platform.python_implementation", "platform_python_implementation"),
    ("python_implementation", "platform_python_implementation"),
    ("implementation_name", "implementation_name"),
    ("implementation_version", "implementation_version"),
    ("extra", "extra"),
    ("extras", "extras"),
    ("dependency_groups", "dependency_groups"),
];

const OPERATORS: &[&str] = &["===", "==", "~=", "!=", "<=", ">=", "<", ">"];

/// Reads a marker into its tokens.
pub(super) fn parse(text: &str) -> Result<Vec<Token>, String> {
    let tokens = tokens(text)?;
    grammar(&tokens)?;
    Ok(tokens)
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '(' => (Token::Open, rest.get(1..).unwrap_or_default()),
            ')' => (Token::Close, rest.get(1..).unwrap_or_default()),
            '\'' | '"' => literal(rest, first)?,
            '<' | '>' | '=' | '!' | '~' => operator(rest)?,
            _ => word(rest)?,
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

fn literal(rest: &str, mark: char) -> Result<(Token, &str), String> {
    let inner = rest.get(1..).unwrap_or_default();
    let (text, after) = inner.split_once(mark).ok_or("in its marker a quote is not closed")?;
    Ok((Token::Literal(text.to_owned()), after))
}

fn operator(rest: &str) -> Result<(Token, &str), String> {
    OPERATORS
        .iter()
        .find_map(|one| rest.strip_prefix(one).map(|after| (Token::Operator(one), after)))
        .ok_or_else(|| format!("its marker has no comparison at {}", quote(rest)))
}

fn word(rest: &str) -> Result<(Token, &str), String> {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
    let (word, after) = rest.split_at(rest.find(|c| !inside(c)).unwrap_or(rest.len()));
    let token = match word {
        "and" => Token::And,
        "or" => Token::Or,
        "in" => Token::In,
        "not" => Token::Not,
        _ => match VARIABLES.iter().find(|(name, _)| *name == word) {
            Some((_, name)) => Token::Variable(name),
            None => return Err(format!("its marker has an unknown word at {}", quote(rest))),
        },
    };
    Ok((token, after))
}

/// `comparison (and|or comparison)*` with brackets around any part: what that is does not depend on
/// which of the two binds closer, so a counter of open brackets is enough and nothing recurs.
fn grammar(tokens: &[Token]) -> Result<(), String> {
    let broken = || "its marker is not comparisons joined by \"and\" and \"or\"".to_owned();
    let mut open = 0_usize;
    let mut rest = tokens;
    loop {
        while let [Token::Open, after @ ..] = rest {
            open += 1;
            rest = after;
        }
        rest = comparison(rest).ok_or_else(broken)?;
        while let [Token::Close, after @ ..] = rest {
            open = open.checked_sub(1).ok_or_else(broken)?;
            rest = after;
        }
        match rest {
            [] if open == 0 => return Ok(()),
            [Token::And | Token::Or, after @ ..] => rest = after,
            _ => return Err(broken()),
        }
    }
}

fn comparison(tokens: &[Token]) -> Option<&[Token]> {
    let value = |token: &Token| matches!(token, Token::Variable(_) | Token::Literal(_));
    let ([left, Token::Operator(_) | Token::In, right, rest @ ..]
    | [left, Token::Not, Token::In, right, rest @ ..]) = tokens
    else {
        return None;
    };
    (value(left) && value(right)).then_some(rest)
}
