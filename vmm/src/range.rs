//! Numbers that the configuration may choose within bounds.

use std::ops::RangeInclusive;

/// A number of the configuration lies outside its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {value}, but must be from {least} to {most}")]
pub struct OutOfRange {
    what: String,
    value: u64,
    least: u64,
    most: u64,
}

/// Checks that `value`, which a message calls `what`, lies within `bounds`.
///
/// # Errors
/// When it does not.
pub fn check(what: &str, value: u64, bounds: RangeInclusive<u64>) -> Result<(), OutOfRange> {
    if bounds.contains(&value) {
        return Ok(());
    }
    Err(OutOfRange { what: what.to_owned(), value, least: *bounds.start(), most: *bounds.end() })
}
