//! The regular expressions of `--filter`: RE2's syntax, as Go and so Docker has it.

mod class;
mod error;
mod escape;
mod syntax;
#[cfg(test)]
mod tests;

use regex_lite::{Regex, RegexBuilder};

pub use error::{Mistake, PatternError};

/// The longest pattern, in bytes. Ids and names, which patterns are for, are far shorter.
pub const MAX_PATTERN: usize = 1024;

/// The most memory of a compiled pattern, in bytes: repeats multiply.
const MAX_COMPILED: usize = 1 << 20;

/// A regular expression. Time and memory of a search grow with the pattern and the text only.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is malformed or too large.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN {
            return Err(PatternError::TooLong);
        }
        let translated = syntax::translate(text)?;
        // The translation is well-formed, so only its size can be refused.
        let regex = RegexBuilder::new(&translated).size_limit(MAX_COMPILED).build();
        regex.map(Self).map_err(|_| PatternError::TooLarge)
    }

    /// Whether the pattern matches some part of `text`.
    pub fn finds(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}
