//! Patterns of images' names with the rules of Go's `path.Match`.

/// A pattern. `*` matches any characters but `/`, `?` one of them, `[a-z]` and `[^a-z]` one character of a class. A
/// character behind `\` stands for itself.
#[derive(Debug)]
pub struct Glob(Vec<Element>);

#[derive(Debug)]
enum Element {
    /// Any number of characters.
    Star,
    /// One character.
    Any,
    /// This character.
    One(char),
    /// A character in one of these ranges or, if negated, in none.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Reads a pattern; nothing when it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let mut elements = Vec::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            elements.push(match c {
                '*' => Element::Star,
                '?' => Element::Any,
                '[' => class(&mut rest)?,
                '\\' => Element::One(rest.next()?),
                c => Element::One(c),
            });
        }
        Some(Self(elements))
    }

    /// Whether the pattern matches the whole of `text`.
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        // Where to resume when the rest does not match: the last star takes one more character.
        let mut retry: Option<(usize, usize)> = None;
        let (mut p, mut t) = (0, 0);
        loop {
            match (self.0.get(p), text.get(t)) {
                (None, None) => return true,
                (Some(Element::Star), _) => {
                    retry = Some((p + 1, t));
                    p += 1;
                    continue;
                }
                (Some(element), Some(&c)) if element.takes(c) => {}
                _ => match retry {
                    Some((after, taken)) if text.get(taken).is_some_and(|c| *c != '/') => {
                        retry = Some((after, taken + 1));
                        (p, t) = (after, taken + 1);
                        continue;
                    }
                    _ => return false,
                },
            }
            (p, t) = (p + 1, t + 1);
        }
    }
}

impl Element {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Star | Self::Any => c != '/',
            Self::One(one) => *one == c,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|&(first, last)| (first..=last).contains(&c)) != *negated
            }
        }
    }
}

/// Reads what follows a `[`.
fn class(rest: &mut std::str::Chars<'_>) -> Option<Element> {
    let negated = rest.as_str().starts_with('^');
    if negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && rest.as_str().starts_with(']') {
            rest.next();
            return Some(Element::Class { negated, ranges });
        }
        let first = end(rest)?;
        let last = if rest.as_str().starts_with('-') {
            rest.next();
            end(rest)?
        } else {
            first
        };
        ranges.push((first, last));
    }
}

/// Reads one end of a range.
fn end(rest: &mut std::str::Chars<'_>) -> Option<char> {
    match rest.next()? {
        '-' | ']' => None,
        '\\' => rest.next(),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_paths() {
        for (pattern, text, expected) in [
            ("busybox", "busybox", true),
            ("busybox", "busybox:1", false),
            ("busy*", "busybox", true),
            ("*box", "busybox", true),
            ("*", "localhost/busybox", false),
            ("*/*", "localhost/busybox", true),
            ("localhost/*:1", "localhost/a:11", false),
            ("localhost/*:1*", "localhost/a:11", true),
            ("b?sybox", "busybox", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("", "", true),
            ("web:[0-9]", "web:7", true),
            ("web:[0-9]", "web:x", false),
            ("web:[^0-9]", "web:x", true),
            ("*[ab]:[1-35]", "a/web:5", false),
            ("*/*[ab]:[1-35]", "a/web:5", true),
            ("*/*[ab]:[1-35]", "a/web:4", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("[\\]a]", "]", true),
        ] {
            assert_eq!(Glob::parse(pattern).unwrap().matches(text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn malformed_patterns_are_none() {
        for pattern in ["[", "[]", "[]a]", "[a", "[a-", "[a-]", "[-a]", "a\\", "[^]", "[^bc"] {
            assert!(Glob::parse(pattern).is_none(), "{pattern}");
        }
    }
}
