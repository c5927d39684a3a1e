//! The words of an instruction: quotes, escapes and variables, as a Dockerfile has them.

use thiserror::Error;

/// Knows the values of variables.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A line that cannot be taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WordsError {
    /// A quotation mark without another one.
    #[error("the quote {0} has no end")]
    OpenQuote(char),
    /// A variable whose brace is not closed.
    #[error("a ${{ has no }}")]
    OpenBrace,
    /// Braces without a name in them.
    #[error("${{{0}}} names no variable")]
    NoName(String),
    /// A variable that is changed in a way that is not known.
    #[error("${{{0}}} is not supported, only ${{NAME}}, ${{NAME:-WORD}} and ${{NAME:+WORD}}")]
    Unsupported(String),
}

/// Splits `line` at blanks outside quotes. `$NAME`, `${NAME}`, `${NAME:-WORD}` and `${NAME:+WORD}` are replaced outside
/// single quotes.
///
/// # Errors
/// When a quote or a brace has no end.
pub fn split(line: &str, variables: Variables<'_>) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, after) = next(rest, true, variables)?;
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

/// The whole of `line` as one word.
///
/// # Errors
/// As [`split`].
pub fn whole(line: &str, variables: Variables<'_>) -> Result<String, WordsError> {
    Ok(next(line.trim(), false, variables)?.0)
}

/// Reads a word, to the first blank if `split`, and gives what comes after it.
fn next<'a>(line: &'a str, split: bool, variables: Variables<'_>) -> Result<(String, &'a str), WordsError> {
    let mut word = String::new();
    let mut quote = None;
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if quote.is_none() && split && c.is_whitespace() {
            break;
        }
        rest = &rest[c.len_utf8()..];
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => {
                let Some(escaped) = rest.chars().next() else {
                    word.push('\\');
                    continue;
                };
                rest = &rest[escaped.len_utf8()..];
                // Within quotes, only what means something there needs it.
                if quote.is_some() && !matches!(escaped, '"' | '\\' | '$') {
                    word.push('\\');
                }
                word.push(escaped);
            }
            ('$', None | Some('"')) => {
                let (value, after) = expand(rest, variables)?;
                word.push_str(&value);
                rest = after;
            }
            (c, _) => word.push(c),
        }
    }
    match quote {
        None => Ok((word, rest)),
        Some(quote) => Err(WordsError::OpenQuote(quote)),
    }
}

/// What follows a `$`: its value, and what comes after it.
fn expand<'a>(text: &'a str, variables: Variables<'_>) -> Result<(String, &'a str), WordsError> {
    let length = |text: &str| {
        let first = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
        if first { end } else { 0 }
    };
    let value = |name: &str| variables(name).unwrap_or_default();
    let Some(braced) = text.strip_prefix('{') else {
        let (name, after) = text.split_at(length(text));
        // A dollar sign alone is one.
        return Ok((if name.is_empty() { "$".to_owned() } else { value(name) }, after));
    };
    let (inner, after) = braced.split_once('}').ok_or(WordsError::OpenBrace)?;
    let (name, rest) = inner.split_at(length(inner));
    let value = value(name);
    match (name, rest.get(..2), rest.get(2..)) {
        ("", ..) => Err(WordsError::NoName(inner.to_owned())),
        _ if rest.is_empty() => Ok((value, after)),
        (_, Some(":-"), Some(word)) => Ok((if value.is_empty() { word.to_owned() } else { value }, after)),
        (_, Some(":+"), Some(word)) => {
            Ok((if value.is_empty() { String::new() } else { word.to_owned() }, after))
        }
        _ => Err(WordsError::Unsupported(inner.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        match name {
            "HOME" => Some("/root".to_owned()),
            "TWO" => Some("a b".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn words_are_those_of_a_dockerfile() {
        for (line, words) in [
            ("", &[][..]),
            ("  a  b ", &["a", "b"]),
            (r#"A="x y" B='$HOME "q"' C=x\ y"#, &["A=x y", "B=$HOME \"q\"", "C=x y"]),
            (r#"$HOME/x ${HOME}y "$HOME" \$HOME"#, &["/root/x", "/rooty", "/root", "$HOME"]),
            ("$TWO", &["a b"]),
            ("${NONE:-d}${HOME:-d} x${NONE:+s}${HOME:+s}", &["d/root", "xs"]),
            (r#""a\nb" 5$ é"#, &["a\\nb", "5$", "é"]),
        ] {
            assert_eq!(split(line, &variables).unwrap(), words, "{line}");
        }
        assert_eq!(whole(r#"a  "b c" $HOME"#, &variables).unwrap(), "a  b c /root");
        for line in ["'a", "\"a", "${A", "${}", "${A:?x}"] {
            split(line, &variables).unwrap_err();
        }
    }
}
