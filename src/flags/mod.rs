//! Reads every command line as Docker's client does.
//!
//! Docker's client reads flags with Go's pflag: `--rm=true` and `-it=false` are switches with a value, a flag that is
//! given twice has its last value, and what follows a flag is its value even when it begins with a dash. clap has other
//! rules. So the words are read here, by the flags that clap's own tree describes, and written again in the one form
//! that clap cannot take in two ways: `--flag=value` each, then `--`, then the arguments.

mod read;
mod usage;

use std::ffi::OsString;

use clap::Parser;
use read::Canonical;

pub use usage::Usage;

/// Parses the command line of this process.
///
/// # Errors
/// What there is to say instead: a mistake, or the help that was asked for.
pub fn parse<T: Parser>() -> Result<T, Usage> {
    parse_words(std::env::args_os().collect())
}

fn parse_words<T: Parser>(words: Vec<OsString>) -> Result<T, Usage> {
    let Canonical { words, verb } = read::canonical(T::command(), words.into_iter())?;
    T::try_parse_from(&words).or_else(|_| {
        // What clap says tells of all verbs, so it needs to know them.
        let mut command = T::command();
        command.build();
        let matches = command.try_get_matches_from_mut(words);
        let parsed = matches.and_then(|mut matches| T::from_arg_matches_mut(&mut matches));
        parsed.map_err(|error| Usage::from_clap(error.format(&mut command), &mut command, &verb))
    })
}

#[cfg(test)]
mod tests;
