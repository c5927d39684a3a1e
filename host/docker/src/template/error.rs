//! Mistakes in templates, in Go's words.

use thiserror::Error;

/// A mistake in a template.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// It cannot be read.
    #[error("template parsing error: template: :{line}: {what}")]
    Parse {
        /// The line, from 1 on.
        line: usize,
        /// The mistake.
        what: String,
    },
    /// It cannot be applied to the object.
    #[error("template parsing error: template: :{line}:{column}: executing {name:?} at <{written}>: {what}")]
    Execute {
        /// The line, from 1 on.
        line: usize,
        /// The byte in the line.
        column: usize,
        /// The name of the template that `define` or `block` gave it, if one did.
        name: String,
        /// The beginning of the term.
        written: String,
        /// The mistake.
        what: String,
    },
    /// `range` over something without elements.
    #[error("template parsing error: template: range can't iterate over {0}")]
    Range(String),
}

impl TemplateError {
    /// A mistake at byte `at` of `text`.
    pub(super) fn parse(text: &str, at: usize, what: impl Into<String>) -> Self {
        let line = text[..at.min(text.len())].matches('\n').count() + 1;
        Self::Parse { line, what: what.into() }
    }
}

/// Why a function cannot be called.
#[derive(Debug, Error)]
pub enum FunctionError {
    #[error("wrong number or kind of args for {name}: got {got}")]
    Arguments { name: &'static str, got: usize },
    #[error("incompatible types for comparison")]
    Incomparable,
    #[error("wrong type for value; expected int; got {0}")]
    NotAnInteger(String),
    #[error("index out of range: {0}")]
    OutOfRange(String),
    #[error("index of untyped nil")]
    IndexOfNil,
    #[error("can't index {value} with {key}")]
    NoIndex { value: String, key: String },
    #[error("slice out of range: {from}:{to} of {length}")]
    SliceOutOfRange { from: usize, to: usize, length: usize },
    #[error("slice out of range: {from}:{to} is inside of a character")]
    SliceInCharacter { from: usize, to: usize },
    #[error("can't slice {0}")]
    NoSlice(String),
    #[error("len of type of {0}")]
    NoLength(String),
}
