//! A table that stays in its place on the terminal.

use std::fmt::Write as _;

/// `text` over what the terminal shows, in one piece and without clearing first, so that nothing flickers. Lines that
/// have no room would scroll it away.
pub fn frame(text: &str, rows: Option<u16>) -> String {
    let mut frame = String::from("\u{1b}[H");
    for line in text.lines().take(rows.map_or(usize::MAX, |rows| usize::from(rows).saturating_sub(1))) {
        let _ = writeln!(frame, "{line}\u{1b}[K");
    }
    frame + "\u{1b}[J"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fits_the_terminal() {
        assert_eq!(frame("a\nb\n", None), "\u{1b}[Ha\u{1b}[K\nb\u{1b}[K\n\u{1b}[J");
        assert_eq!(frame("a\nb\nc\n", Some(3)), "\u{1b}[Ha\u{1b}[K\nb\u{1b}[K\n\u{1b}[J");
    }
}
