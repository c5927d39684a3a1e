//! What a user is told who typed something that cannot be, in Docker's words.

use std::error::Error;
use std::ffi::OsStr;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};
use moat_docker::human;
use moat_docker::idle::Idle;

/// Docker's exit code for a flag that cannot be, with every verb.
const BAD_FLAG: u8 = 125;

/// The verbs whose every flag Docker's client reads itself.
const MAKERS: [&str; 2] = ["run", "create"];

/// The flags of other verbs whose value Docker's client hands on as text. What is wrong with it is no mistake in a flag
/// there, and ends with 1.
const TEXTS: [&str; 13] = [
    "since",
    "until",
    "tail",
    "signal",
    "change",
    "type",
    "ip",
    "ip6",
    "subnet",
    "ip-range",
    "gateway",
    "restart",
    "detach-keys",
];

/// What is wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    message: String,
    code: u8,
}

impl Mistake {
    fn flag(message: String) -> Self {
        Self { message, code: BAD_FLAG }
    }

    /// There is no `--name`.
    pub fn unknown_flag(name: &str) -> Self {
        Self::flag(format!("unknown flag: --{name}"))
    }

    /// There is no flag of the first of `letters`.
    pub fn unknown_letter(letters: &[u8]) -> Self {
        let letters = String::from_utf8_lossy(letters);
        let first = letters.chars().next().unwrap_or_default();
        Self::flag(format!("unknown shorthand flag: '{first}' in -{letters}"))
    }

    /// The words end where the value of `flag` is expected.
    pub fn needs_argument(flag: &str) -> Self {
        Self::flag(format!("flag needs an argument: {flag}"))
    }

    /// `word` follows two dashes and has no name.
    pub fn bad_syntax(word: &[u8]) -> Self {
        Self::flag(format!("bad flag syntax: --{}", String::from_utf8_lossy(word)))
    }

    /// A switch is true or false, and `value` is neither.
    pub fn no_truth(flag: &str, value: &OsStr) -> Self {
        let value = value.to_string_lossy();
        let reason = format!("strconv.ParseBool: parsing \"{value}\": invalid syntax");
        Self::bad_value(flag, &value, &reason)
    }

    /// `flag` cannot have `value`.
    pub fn bad_value(flag: &str, value: &str, reason: &str) -> Self {
        Self::flag(format!("invalid argument \"{value}\" for \"{flag}\" flag: {reason}"))
    }

    /// `path` has no verb of this name.
    pub fn unknown_command(path: &str, verb: &str) -> Self {
        Self { message: format!("moat: unknown command: {path} {verb}"), code: 1 }
    }
}

/// What is printed instead of doing something.
pub enum Usage {
    /// A mistake, and how the command is used.
    Mistake {
        /// What is wrong.
        mistake: Mistake,
        /// The command's usage in a line or two.
        usage: String,
        /// The command.
        path: String,
    },
    /// Docker has such a verb. This says why it is not here.
    Absent(&'static str),
    /// What clap has to say, with Docker's exit code for it.
    Clap(clap::Error, u8),
}

impl Usage {
    /// `mistake` in the words that follow `command`.
    pub fn new(mistake: Mistake, command: &mut Command) -> Self {
        let path = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
        Self::Mistake { mistake, usage: command.render_usage().to_string(), path }
    }

    /// What clap found in the words of the command at `path`, whose flags themselves are known.
    pub fn from_clap(error: clap::Error, root: &mut Command, path: &[String]) -> Self {
        let command = path.iter().try_fold(root, |command, verb| command.find_subcommand_mut(verb));
        let words = path.strip_prefix(&["container".to_owned()]).unwrap_or(path);
        let makes = matches!(words, [verb] if MAKERS.contains(&verb.as_str()));
        let code = match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
            ErrorKind::ArgumentConflict if makes => BAD_FLAG,
            // As with Docker, the number of arguments is no matter of flags.
            _ => 1,
        };
        match command.and_then(|command| Some((bad_value(&error, command, makes)?, command))) {
            Some((mistake, command)) => Self::new(mistake, command),
            None => Self::Clap(error, code),
        }
    }

    /// Prints it and answers with the exit code.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Mistake { mistake: Mistake { message, code }, usage, path } => {
                let message = human::harmless(message);
                eprintln!("{message}\n\n{}\n\nRun '{path} --help' for more information", usage.trim_end());
                ExitCode::from(*code)
            }
            Self::Absent(sentence) => {
                crate::complain(sentence);
                ExitCode::FAILURE
            }
            Self::Clap(error, code) => {
                let _ = error.print();
                ExitCode::from(*code)
            }
        }
    }
}

/// Docker's words for a value that a flag of `command` cannot have, if that is what clap found. `makes` is whether the
/// command is one of [`MAKERS`].
fn bad_value(error: &clap::Error, command: &Command, makes: bool) -> Option<Mistake> {
    let text = |kind| match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        _ => None,
    };
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return None;
    }
    let (shown, value) = (text(ContextKind::InvalidArg)?, text(ContextKind::InvalidValue)?);
    let reason = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(reason), _) => reason.to_string(),
        (None, Some(ContextValue::Strings(valid))) => format!("must be one of {}", valid.join(", ")),
        _ => return None,
    };
    let flag = command.get_opts().find(|known| known.to_string() == *shown)?;
    let mistake = Mistake::bad_value(&name_of(flag), value, &reason);
    let is_text = flag.get_long().is_some_and(|long| TEXTS.contains(&long));
    Some(if is_text && !makes { Mistake { code: 1, ..mistake } } else { mistake })
}

/// A flag as pflag names it: `-m, --memory`. An argument has the name that its command's usage shows.
pub fn name_of(flag: &Arg) -> String {
    match (flag.get_short(), flag.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (None, Some(long)) => format!("--{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, None) => flag.to_string(),
    }
}

/// As [`name_of`].
pub fn name_of_idle(flag: &Idle) -> String {
    flag.short.map_or_else(String::new, |letter| format!("-{letter}, ")) + "--" + flag.long
}
