//! A class of characters in brackets.

use super::error::{Mistake, PatternError};
use super::escape::{self, Escape};

/// The classes that have names, such as `[:alpha:]`.
const NAMED: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// Translates the class at the beginning of `rest` and moves past it.
pub fn translate(rest: &mut &str, output: &mut String) -> Result<(), PatternError> {
    let start = *rest;
    let unclosed = || Mistake::Bracket.at(start);
    output.push('[');
    *rest = &rest[1..];
    if let Some(after) = rest.strip_prefix('^') {
        output.push('^');
        *rest = after;
    }
    let mut first = true;
    loop {
        match rest.chars().next() {
            None => return Err(unclosed()),
            // As the first character, it stands for itself.
            Some(']') if !first => {
                output.push(']');
                *rest = &rest[1..];
                return Ok(());
            }
            Some('[') if rest.starts_with("[:") && named(rest, output)? => {}
            Some(_) => range(rest, output, start)?,
        }
        first = false;
    }
}

/// Translates `[:name:]`, if `rest` begins with one.
fn named(rest: &mut &str, output: &mut String) -> Result<bool, PatternError> {
    let Some((name, _)) = rest[2..].split_once(":]") else { return Ok(false) };
    let whole = &rest[..name.len() + 4];
    if !NAMED.contains(&name.strip_prefix('^').unwrap_or(name)) {
        return Err(Mistake::Range.at(whole));
    }
    output.push_str(whole);
    *rest = &rest[whole.len()..];
    Ok(true)
}

/// Translates one character, a range of them, or a class such as `\d`.
fn range(rest: &mut &str, output: &mut String, class: &str) -> Result<(), PatternError> {
    let start = *rest;
    let first = match item(rest, class)? {
        Item::Char(first) => first,
        Item::Class(letter) => {
            output.extend(['\\', letter]);
            return Ok(());
        }
    };
    let mut last = first;
    if let Some(after) = rest.strip_prefix('-').filter(|after| !after.starts_with(']')) {
        *rest = after;
        match item(rest, class)? {
            Item::Char(end) if end >= first => last = end,
            Item::Char(_) => return Err(Mistake::Range.at(&start[..start.len() - rest.len()])),
            Item::Class(_) => return Err(Mistake::Escape.at(&after[..after.len() - rest.len()])),
        }
    }
    push(output, first);
    if last > first {
        output.push('-');
        push(output, last);
    }
    Ok(())
}

/// Writes a character so that it stands for itself. Letters stay as they are: under `(?i)`, the engine takes no numbers
/// at the ends of a range.
fn push(output: &mut String, c: char) {
    if c.is_ascii_alphanumeric() {
        output.push(c);
    } else {
        output.push_str(&format!("\\x{{{:x}}}", u32::from(c)));
    }
}

enum Item {
    Char(char),
    Class(char),
}

fn item(rest: &mut &str, class: &str) -> Result<Item, PatternError> {
    let start = *rest;
    match start.chars().next() {
        None => Err(Mistake::Bracket.at(class)),
        Some('\\') => match escape::read(rest)? {
            Escape::Char(c) => Ok(Item::Char(c)),
            Escape::Class(letter) => Ok(Item::Class(letter)),
            Escape::Place(_) | Escape::Quote => Err(Mistake::Escape.at(&start[..start.len() - rest.len()])),
        },
        Some(c) => {
            *rest = &start[c.len_utf8()..];
            Ok(Item::Char(c))
        }
    }
}
