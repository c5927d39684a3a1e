//! What follows a backslash in a pattern.

use super::error::{Mistake, PatternError};

/// What an escape sequence stands for.
#[derive(Debug, PartialEq, Eq)]
pub enum Escape {
    /// One character.
    Char(char),
    /// A class of characters: the letter of `\d`, `\s`, `\w` or of their complements.
    Class(char),
    /// A place in the text, by its letter: `\A`, `\z`, `\b`, `\B`.
    Place(char),
    /// The beginning of literal text: `\Q`.
    Quote,
}

/// Reads the escape sequence at the beginning of `rest` and moves past it.
pub fn read(rest: &mut &str) -> Result<Escape, PatternError> {
    let start = *rest;
    let mut chars = start.chars();
    chars.next();
    let Some(letter) = chars.next() else {
        return Err(Mistake::TrailingBackslash.at(""));
    };
    *rest = chars.as_str();
    let wrong = |rest: &str| Mistake::Escape.at(&start[..start.len() - rest.len()]);
    let known = match letter {
        'd' | 'D' | 's' | 'S' | 'w' | 'W' => Escape::Class(letter),
        'A' | 'z' | 'b' | 'B' => Escape::Place(letter),
        'Q' => Escape::Quote,
        'a' => Escape::Char('\u{7}'),
        'f' => Escape::Char('\u{c}'),
        'n' => Escape::Char('\n'),
        'r' => Escape::Char('\r'),
        't' => Escape::Char('\t'),
        'v' => Escape::Char('\u{b}'),
        'p' | 'P' => return Err(Mistake::UnicodeClass.at(&start[..2])),
        'x' => Escape::Char(hexadecimal(rest).ok_or_else(|| wrong(rest))?),
        '0'..='7' => Escape::Char(octal(letter, rest).ok_or_else(|| wrong(rest))?),
        sign if sign.is_ascii() && !sign.is_ascii_alphanumeric() => Escape::Char(sign),
        _ => return Err(wrong(rest)),
    };
    Ok(known)
}

/// Two digits, or any number of them in braces.
fn hexadecimal(rest: &mut &str) -> Option<char> {
    let text = *rest;
    let digits = match text.strip_prefix('{') {
        Some(braced) => {
            let (digits, after) = braced.split_once('}')?;
            *rest = after;
            digits
        }
        None => {
            *rest = text.get(2..)?;
            &text[..2]
        }
    };
    let sound = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    sound.then(|| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32))?
}

/// Up to three octal digits. A single digit other than 0 would be a backreference, which RE2 does not have.
fn octal(first: char, rest: &mut &str) -> Option<char> {
    let more = rest.bytes().take(2).take_while(|digit| (b'0'..=b'7').contains(digit)).count();
    if first != '0' && more == 0 {
        return None;
    }
    let (digits, after) = rest.split_at(more);
    *rest = after;
    u32::from_str_radix(&format!("{first}{digits}"), 8).ok().and_then(char::from_u32)
}
