//! A template's text in pieces, and an action's text in tokens.

use super::TemplateError;

/// Text or an action.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'t> {
    /// Printed as it is.
    Text(&'t str),
    /// The text between the braces, and its offset in the template.
    Action(&'t str, usize),
}

/// Cuts a template at its braces. Blanks next to `{{-` and `-}}` are dropped, and so are comments.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let (mut rest, mut trim_start) = (text, false);
    loop {
        let (literal, action) =
            rest.split_once("{{").map_or((rest, None), |(text, action)| (text, Some(action)));
        let trims_end = action.is_some_and(|action| {
            action.strip_prefix('-').is_some_and(|action| action.starts_with(char::is_whitespace))
        });
        let literal = if trim_start { literal.trim_start() } else { literal };
        pieces.push(Piece::Text(if trims_end { literal.trim_end() } else { literal }));
        let Some(action) = action else { return Ok(pieces) };
        let at = text.len() - action.len() + usize::from(trims_end);
        let action = &text[at..];
        let end = end_of_action(action).ok_or_else(|| TemplateError::parse(text, at, "unclosed action"))?;
        let inner = &action[..end];
        rest = &action[end + 2..];
        let trimmed = inner.strip_suffix('-').filter(|inner| inner.ends_with(char::is_whitespace));
        trim_start = trimmed.is_some();
        let inner = trimmed.unwrap_or(inner);
        if !inner.trim().starts_with("/*") {
            pieces.push(Piece::Action(inner, at));
        }
    }
}

/// The offset of `}}` outside of quotes and comments.
fn end_of_action(text: &str) -> Option<usize> {
    if text.trim_start().starts_with("/*") {
        let end = text.find("*/")? + 2;
        return Some(end + text[end..].find("}}")?);
    }
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        at += match rest.as_bytes()[0] {
            b'}' if rest.starts_with("}}") => return Some(at),
            b'"' | b'`' => quoted_length(rest)?,
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
    }
    None
}

/// The length of the quoted text at the beginning of `text`, its quotes included.
fn quoted_length(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    let (_, quote) = bytes.next()?;
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if quote == b'"' => drop(bytes.next()),
            _ if byte == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// A word, a quoted text or a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'t> {
    /// As it is written.
    pub text: &'t str,
    /// Where in the template.
    pub at: usize,
    /// Whether nothing separates it from the token before.
    pub glued: bool,
}

/// The tokens of an action that begins at `start` of `whole`.
pub fn tokens<'t>(whole: &str, action: &'t str, start: usize) -> Result<Vec<Token<'t>>, TemplateError> {
    const SIGNS: &str = "()|,=";
    let mut found: Vec<Token> = Vec::new();
    let mut at = 0;
    while let Some(begin) = action[at..].find(|c: char| !c.is_whitespace()).map(|skip| at + skip) {
        let rest = &action[begin..];
        let length = match rest.chars().next() {
            Some('"' | '`') => quoted_length(rest)
                .ok_or_else(|| TemplateError::parse(whole, start + begin, "unterminated quoted string"))?,
            Some(c) if SIGNS.contains(c) => 1,
            _ if rest.starts_with(":=") => 2,
            Some(c) if c.is_alphanumeric() || "._$-+".contains(c) => {
                rest.find(|c: char| !(c.is_alphanumeric() || "._$-+".contains(c))).unwrap_or(rest.len())
            }
            other => {
                let what = format!("unexpected {:?} in command", other.unwrap_or(' '));
                return Err(TemplateError::parse(whole, start + begin, what));
            }
        };
        found.push(Token {
            text: &rest[..length],
            at: start + begin,
            glued: begin == at && !found.is_empty(),
        });
        at = begin + length;
    }
    Ok(found)
}

/// The content of a quoted text.
pub fn unquote(text: &str) -> Option<String> {
    if let Some(raw) = text.strip_prefix('`') {
        return raw.strip_suffix('`').map(str::to_owned);
    }
    let mut chars = text.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut said = String::new();
    while let Some(c) = chars.next() {
        said.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'v' => '\u{b}',
                'x' => code_point(&mut chars, 2)?,
                'u' => code_point(&mut chars, 4)?,
                'U' => code_point(&mut chars, 8)?,
                same @ ('\\' | '"' | '\'') => same,
                _ => return None,
            },
            c => c,
        });
    }
    Some(said)
}

fn code_point(chars: &mut std::str::Chars, digits: usize) -> Option<char> {
    let text: String = chars.take(digits).collect();
    (text.len() == digits).then(|| u32::from_str_radix(&text, 16).ok().and_then(char::from_u32))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_braces() {
        assert_eq!(pieces("").unwrap(), [Piece::Text("")]);
        assert_eq!(
            pieces("a {{- .B -}} c{{/* }} */}}d").unwrap(),
            [Piece::Text("a"), Piece::Action(" .B ", 5), Piece::Text("c"), Piece::Text("d")]
        );
        assert_eq!(pieces("{{-3}}").unwrap()[1], Piece::Action("-3", 2));
        assert_eq!(pieces("{{\"}}\\\"\"}}").unwrap()[1], Piece::Action("\"}}\\\"\"", 2));
        for bad in ["{{", "{{.A}", "{{\"}}", "{{/* }}", "{{`}}"] {
            let error = format!("{:#}", pieces(bad).unwrap_err());
            assert_eq!(error, "template parsing error: template: :1: unclosed action", "{bad}");
        }
    }

    #[test]
    fn actions_have_tokens() {
        let texts = |action: &'static str| -> Vec<&str> {
            tokens(action, action, 0).unwrap().iter().map(|token| token.text).collect()
        };
        assert_eq!(texts("$i, $e := .A.B"), ["$i", ",", "$e", ":=", ".A.B"]);
        assert_eq!(texts("(index .A 0).B | json"), ["(", "index", ".A", "0", ")", ".B", "|", "json"]);
        assert_eq!(texts("printf \"a b\" `c`"), ["printf", "\"a b\"", "`c`"]);
        assert!(tokens("(x).B", "(x).B", 0).unwrap()[3].glued);
        assert!(!tokens("(x) .B", "(x) .B", 0).unwrap()[3].glued);
        assert!(tokens("a # b", "a # b", 0).unwrap_err().to_string().contains("unexpected '#' in command"));
    }

    #[test]
    fn quotes_are_gos() {
        assert_eq!(unquote("\"a\\t\\\"\\\\\\u00e9\\x41\"").unwrap(), "a\t\"\\éA");
        assert_eq!(unquote("`a\\t`").unwrap(), "a\\t");
        for bad in ["\"\\z\"", "\"\\u12\"", "\"\\", "\""] {
            assert_eq!(unquote(bad), None, "{bad}");
        }
    }
}
