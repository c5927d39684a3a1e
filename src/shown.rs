//! Text on standard output whose parts come from images and containers.

use std::io::{self, IsTerminal, Write};

use moat_docker::human;

/// Writes text to standard output. Programs get it as it is. On a terminal nothing of it acts: characters that could become
/// U+FFFD.
pub fn write(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    if output.is_terminal() {
        output.write_all(human::harmless_lines(text).as_bytes())?;
    } else {
        output.write_all(text.as_bytes())?;
    }
    output.flush()
}
