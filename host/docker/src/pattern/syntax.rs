//! RE2's syntax in that of the engine that searches.
//!
//! The two differ in details: which characters may stand unescaped, how far a count may go, what is an error. Here a
//! pattern is read by RE2's rules, and what is written has one meaning in both. Nothing asks for the text of groups, so
//! none is captured.

use super::class;
use super::error::{Mistake, PatternError};
use super::escape::{self, Escape};

/// The largest count of a repeat, RE2's.
const MAX_COUNT: u32 = 1000;

/// How deep groups may lie in each other: the engine walks them by functions that call themselves.
const MAX_DEPTH: usize = 40;

/// Translates a pattern.
pub fn translate(pattern: &str) -> Result<String, PatternError> {
    let mut translator =
        Translator { pattern, rest: pattern, output: String::new(), depth: 0, last: Last::Nothing };
    while let Some(c) = translator.rest.chars().next() {
        translator.step(c)?;
    }
    if translator.depth > 0 {
        return Err(Mistake::Parenthesis.at(pattern));
    }
    Ok(translator.output)
}

/// What stands before the current place.
enum Last<'p> {
    /// The beginning of the pattern, of a group or of an alternative.
    Nothing,
    /// What can be repeated.
    Atom,
    /// A repeat, as it is written with all that follows.
    Repeat(&'p str),
}

struct Translator<'p> {
    pattern: &'p str,
    /// What is not translated yet.
    rest: &'p str,
    output: String,
    /// How many groups are open.
    depth: usize,
    last: Last<'p>,
}

impl<'p> Translator<'p> {
    fn step(&mut self, c: char) -> Result<(), PatternError> {
        match c {
            '\\' => return self.escape(),
            '[' => class::translate(&mut self.rest, &mut self.output)?,
            '(' => return self.open(),
            ')' => {
                if self.depth == 0 {
                    return Err(Mistake::UnexpectedParenthesis.at(self.pattern));
                }
                self.depth -= 1;
                self.copy(1);
            }
            '|' => {
                self.copy(1);
                self.last = Last::Nothing;
                return Ok(());
            }
            '*' | '+' | '?' => return self.repeat(1),
            '{' => match count(self.rest)? {
                Some(length) => return self.repeat(length),
                None => self.literal('{'),
            },
            '.' | '^' | '$' => self.copy(1),
            c => self.literal(c),
        }
        self.last = Last::Atom;
        Ok(())
    }

    /// Takes `length` bytes over as they are.
    fn copy(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at(length);
        self.output.push_str(taken);
        self.rest = rest;
    }

    /// Takes over a character that stands for itself.
    fn literal(&mut self, c: char) {
        self.output.push_str(&regex_lite::escape(c.encode_utf8(&mut [0; 4])));
        self.rest = &self.rest[c.len_utf8()..];
    }

    fn escape(&mut self) -> Result<(), PatternError> {
        match escape::read(&mut self.rest)? {
            Escape::Char(c) => self.output.push_str(&regex_lite::escape(c.encode_utf8(&mut [0; 4]))),
            Escape::Class(letter) => self.output.extend(['\\', letter]),
            // In a group of its own: the engine would read a count behind `\b` as a part of it.
            Escape::Place(letter) => self.output.push_str(&format!("(?:\\{letter})")),
            Escape::Quote => {
                let (text, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
                self.output.push_str(&regex_lite::escape(text));
                self.rest = rest;
                if text.is_empty() {
                    self.pause();
                    return Ok(());
                }
            }
        }
        self.last = Last::Atom;
        Ok(())
    }

    /// A repeat that is written in `length` bytes.
    fn repeat(&mut self, length: usize) -> Result<(), PatternError> {
        let start = self.rest;
        // Behind it, a question mark chooses the shortest match.
        let length = length + usize::from(start[length..].starts_with('?'));
        match self.last {
            Last::Nothing => return Err(Mistake::NothingToRepeat.at(&start[..length])),
            Last::Repeat(before) => {
                let both = before.len() - start.len() + length;
                return Err(Mistake::NestedRepeat.at(&before[..both]));
            }
            Last::Atom => {}
        }
        self.copy(length);
        self.last = Last::Repeat(start);
        Ok(())
    }

    /// Something stands here that matches nothing of its own. RE2 takes one more repeat behind it.
    fn pause(&mut self) {
        if matches!(self.last, Last::Repeat(_)) {
            self.last = Last::Atom;
        }
    }

    /// A group begins, or flags for the rest of the group do.
    fn open(&mut self) -> Result<(), PatternError> {
        let flags = match self.rest.strip_prefix("(?") {
            None => {
                self.rest = &self.rest[1..];
                ""
            }
            Some(inner) if inner.starts_with("P<") || inner.starts_with('<') => {
                self.rest = past_name(self.rest, inner)?;
                ""
            }
            Some(inner) => {
                let end = inner.find(|c| !"imsU-".contains(c)).unwrap_or(inner.len());
                let (flags, after) = inner.split_at(end);
                let wrong = || {
                    let shown = after.chars().next().map_or(0, char::len_utf8);
                    Mistake::Perl.at(&self.rest[..2 + end + shown])
                };
                // There is one minus at most, and flags behind it.
                if flags.matches('-').count() > 1 || flags.ends_with('-') {
                    return Err(wrong());
                }
                if let Some(rest) = after.strip_prefix(')') {
                    self.rest = rest;
                    if !flags.is_empty() {
                        self.output.push_str(&format!("(?{})", once(flags)));
                    }
                    self.pause();
                    return Ok(());
                }
                self.rest = after.strip_prefix(':').ok_or_else(wrong)?;
                flags
            }
        };
        if self.depth == MAX_DEPTH {
            return Err(Mistake::Depth.at(self.pattern));
        }
        self.depth += 1;
        self.output.push_str(&format!("(?{}:", once(flags)));
        self.last = Last::Nothing;
        Ok(())
    }
}

/// What follows the name of a group. `inner` is `group` without `(?`.
fn past_name<'p>(group: &'p str, inner: &'p str) -> Result<&'p str, PatternError> {
    let (name, after) = inner
        .trim_start_matches('P')
        .strip_prefix('<')
        .and_then(|name| name.split_once('>'))
        .ok_or_else(|| Mistake::GroupName.at(group))?;
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(Mistake::GroupName.at(&group[..group.len() - after.len()]));
    }
    Ok(after)
}

/// The flags without those that are written twice: RE2 does not mind them.
fn once(flags: &str) -> String {
    let (on, off) = flags.split_once('-').unwrap_or((flags, ""));
    let has = |text: &str, flag| text.contains(flag);
    // What is turned on and off in one go is off in the end.
    let on: String = "imsU".chars().filter(|&flag| has(on, flag) && !has(off, flag)).collect();
    let off: String = "imsU".chars().filter(|&flag| has(off, flag)).collect();
    if off.is_empty() { on } else { format!("{on}-{off}") }
}

/// The length of the count at the beginning of `text`: `{2}`, `{2,}` or `{2,3}`. Any other brace stands for itself.
fn count(text: &str) -> Result<Option<usize>, PatternError> {
    let Some(end) = text.find('}') else { return Ok(None) };
    let inner = &text[1..end];
    let (least, most) = inner.split_once(',').map_or((inner, None), |(least, most)| (least, Some(most)));
    let is_number = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        plain && (text.len() == 1 || !text.starts_with('0'))
    };
    let most = most.filter(|most| !most.is_empty());
    if !is_number(least) || !most.is_none_or(is_number) {
        return Ok(None);
    }
    let number = |text: &str| text.parse().ok().filter(|number: &u32| *number <= MAX_COUNT);
    let sound = match (number(least), most) {
        (Some(_), None) => true,
        (Some(least), Some(most)) => number(most).is_some_and(|most| least <= most),
        (None, _) => false,
    };
    if sound { Ok(Some(end + 1)) } else { Err(Mistake::Count.at(&text[..=end])) }
}
