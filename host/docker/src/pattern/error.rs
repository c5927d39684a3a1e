//! Why a pattern is refused, in Go's words.

use thiserror::Error;

use super::MAX_PATTERN;

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// It is malformed.
    #[error("error parsing regexp: {mistake}: `{quoted}`")]
    Syntax {
        /// The mistake.
        mistake: Mistake,
        /// The part of the pattern that it is in.
        quoted: String,
    },
    /// It has too many bytes.
    #[error("the pattern is longer than {MAX_PATTERN} bytes")]
    TooLong,
    /// Its repeats multiply to too much.
    #[error("the pattern repeats too much: use smaller counts")]
    TooLarge,
}

/// A mistake in a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Mistake {
    /// `[z-a]`, or a class of characters that does not exist.
    #[error("invalid character class range")]
    Range,
    /// `\y`
    #[error("invalid escape sequence")]
    Escape,
    /// `(?P<>x)`
    #[error("invalid named capture")]
    GroupName,
    /// `(?=x)`
    #[error("invalid or unsupported Perl syntax")]
    Perl,
    /// `a**`
    #[error("invalid nested repetition operator")]
    NestedRepeat,
    /// `a{1001}`
    #[error("invalid repeat count")]
    Count,
    /// `[a`
    #[error("missing closing ]")]
    Bracket,
    /// `(a`
    #[error("missing closing )")]
    Parenthesis,
    /// `*a`
    #[error("missing argument to repetition operator")]
    NothingToRepeat,
    /// `a\`
    #[error("trailing backslash at end of expression")]
    TrailingBackslash,
    /// `a)`
    #[error("unexpected )")]
    UnexpectedParenthesis,
    /// Groups lie too deep in each other.
    #[error("expression nests too deeply")]
    Depth,
    /// `\p{Greek}`
    #[error("Unicode classes are not supported")]
    UnicodeClass,
}

impl Mistake {
    /// The error that quotes `text`.
    pub(super) fn at(self, text: &str) -> PatternError {
        PatternError::Syntax { mistake: self, quoted: text.to_owned() }
    }
}
