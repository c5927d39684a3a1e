//! Text of a guest, an image or a peer, made fit for a terminal, a log and a message.
//!
//! Such text may hold escape sequences, line ends, and marks that change the direction in which letters are shown. With
//! them a reader can be made to see another text than the one that is there. Every such character becomes U+FFFD, the
//! replacement character. Ordinary text stays as it is.

/// Returns `text` with U+FFFD in the place of every character that can act on a terminal, end a line, or change the
/// order in which the text around it is shown.
pub fn harmless(text: &str) -> String {
    text.chars().map(replaced).collect()
}

/// Returns `bytes` as text, as [`harmless`] does. What is not UTF-8 becomes U+FFFD too.
pub fn harmless_bytes(bytes: &[u8]) -> String {
    harmless(&String::from_utf8_lossy(bytes))
}

/// Returns the first `most` characters of `text`, as [`harmless`] does, and `mark` behind them if more follow.
pub fn harmless_start(text: &str, most: usize, mark: &str) -> String {
    let mut characters = text.chars();
    let mut start: String = characters.by_ref().take(most).map(replaced).collect();
    if characters.next().is_some() {
        start.push_str(mark);
    }
    start
}

/// Returns `text`, which has lines and columns, as [`harmless`] does; line feeds and tabs stay.
pub fn harmless_lines(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\n' | '\t') { c } else { replaced(c) }).collect()
}

fn replaced(c: char) -> char {
    if is_hostile(c) { char::REPLACEMENT_CHARACTER } else { c }
}

/// Whether a character can act on a terminal, end a line, or change the order in which the text around it is shown.
pub fn is_hostile(c: char) -> bool {
    // C0, DEL and C1.
    c.is_control()
        || matches!(
            c,
            // The Arabic letter mark.
            '\u{61c}'
            // The left-to-right and right-to-left marks.
            | '\u{200e}' | '\u{200f}'
            // The line and paragraph separators, then the embeddings and overrides of direction.
            | '\u{2028}'..='\u{202e}'
            // The isolates of direction.
            | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every character that is replaced, as ranges of code points.
    const HOSTILE: [(u32, u32); 6] =
        [(0, 0x1f), (0x7f, 0x9f), (0x61c, 0x61c), (0x200e, 0x200f), (0x2028, 0x202e), (0x2066, 0x2069)];

    #[test]
    fn every_character_is_kept_or_replaced() {
        for c in '\0'..=char::MAX {
            let point = u32::from(c);
            let hostile = HOSTILE.iter().any(|(first, last)| (*first..=*last).contains(&point));
            let expected = if hostile { char::REPLACEMENT_CHARACTER } else { c };
            let text = c.to_string();
            assert_eq!(harmless(&text), expected.to_string(), "U+{point:04x}");
            assert_eq!(harmless_bytes(text.as_bytes()), expected.to_string(), "U+{point:04x}");
            assert_eq!(harmless_start(&text, 1, "..."), expected.to_string(), "U+{point:04x}");
        }
    }

    #[test]
    fn ordinary_text_stays() {
        for text in ["", "sh -c 'a b'", "naïve", "日本語", "שלום", "👩‍👩‍👧", "a\u{301}"] {
            assert_eq!(harmless(text), text);
        }
    }

    #[test]
    fn sequences_and_directions_are_broken() {
        for (text, expected) in [
            ("\x1b[31mred\n", "\u{fffd}[31mred\u{fffd}"),
            ("\u{9b}31m", "\u{fffd}31m"),
            ("gpj.\u{202e}exe", "gpj.\u{fffd}exe"),
            ("a\u{2028}b", "a\u{fffd}b"),
        ] {
            assert_eq!(harmless(text), expected);
        }
        assert_eq!(harmless_lines("a\tb\n\r\x1b"), "a\tb\n\u{fffd}\u{fffd}");
        assert_eq!(harmless_bytes(b"\xff\x9ba\0"), "\u{fffd}\u{fffd}a\u{fffd}");
    }

    #[test]
    fn a_start_is_counted_in_characters() {
        assert_eq!(harmless_start("äöü", 3, "…"), "äöü");
        assert_eq!(harmless_start("äöü", 2, "…"), "äö…");
        assert_eq!(harmless_start("\n\n\n", 2, "..."), "\u{fffd}\u{fffd}...");
        assert_eq!(harmless_start("a", 0, "…"), "…");
        assert_eq!(harmless_start("", 0, "…"), "");
    }
}
