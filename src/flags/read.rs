//! The words of a command line, by the rules of pflag.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, ArgAction, Command, Id};
use moat_docker::absent;
use moat_docker::idle::{self, Idle};

use super::usage::{Mistake, Usage, name_of, name_of_idle};

/// A command line as clap takes it without doubt.
pub struct Canonical {
    /// Every word, from the program's name on.
    pub words: Vec<OsString>,
    /// The verb, below its nouns.
    pub verb: Vec<String>,
}

/// Writes `words` as clap takes them. The first word is the program's name.
///
/// # Errors
/// When pflag would refuse a flag.
pub fn canonical(mut root: Command, mut words: std::vec::IntoIter<OsString>) -> Result<Canonical, Usage> {
    let _program = words.next();
    let everywhere: Vec<Arg> = root.get_arguments().filter(|flag| flag.is_global_set()).cloned().collect();
    let mut written = vec![OsString::from(root.get_name())];
    let mut path = vec![root.get_name().to_owned()];
    let mut level = &mut root;
    loop {
        let flags: Vec<&Arg> =
            level.get_arguments().filter(|flag| !flag.is_positional()).chain(&everywhere).collect();
        let mut line =
            Line { verb: short_form(&path[1..]), flags, written: Vec::new(), arguments: Vec::new() };
        let has_verbs = level.has_subcommands();
        let ends_at_argument = has_verbs || level.get_positionals().any(Arg::is_trailing_var_arg_set);
        let read = line.read(&mut words, ends_at_argument);
        let Line { written: flags, arguments, .. } = line;
        if let Err(mistake) = read {
            return Err(Usage::new(mistake, level));
        }
        written.extend(flags.into_iter().map(|(_, word)| word));
        let mut arguments = arguments.into_iter();
        if !has_verbs {
            if arguments.len() > 0 {
                written.push("--".into());
            }
            written.extend(arguments.chain(words));
            break;
        }
        let Some(verb) = arguments.next().map(|verb| verb.to_string_lossy().into_owned()) else {
            // A noun alone is a question what it can do.
            if written.last().is_none_or(|word| word != "--help") {
                written.push("--help".into());
            }
            break;
        };
        if path.len() == 1 && verb == "help" {
            // `help VERB` is `VERB --help`.
            let program = OsString::from(root.get_name());
            let asked = arguments.chain(words).chain(["--help".into()]);
            return canonical(root, [program].into_iter().chain(asked).collect::<Vec<_>>().into_iter());
        }
        let Some(name) = level.find_subcommand(&verb).map(|found| found.get_name().to_owned()) else {
            let full = [&path[1..], std::slice::from_ref(&verb)].concat().join(" ");
            if let Some(sentence) = absent::sentence(&full) {
                return Err(Usage::Absent(sentence));
            }
            return Err(Usage::new(Mistake::unknown_command(&path.join(" "), &verb), level));
        };
        written.push(name.clone().into());
        path.push(name);
        // Looked up twice: a loan that leaves the loop would last for all of it.
        let Some(found) = path.last().and_then(|verb| level.find_subcommand_mut(verb)) else { break };
        level = found;
        level.set_bin_name(path.join(" "));
        level.build();
    }
    Ok(Canonical { words: written, verb: path.split_off(1) })
}

/// The flags and arguments that follow the name of one command.
struct Line<'command> {
    /// The command, as [`idle`] names it.
    verb: String,
    flags: Vec<&'command Arg>,
    /// The flags as clap takes them. One that cannot be repeated is in here once at most.
    written: Vec<(Id, OsString)>,
    arguments: Vec<OsString>,
}

impl Line<'_> {
    /// Reads `words` until they end, or, when `ends_at_argument`, the first argument.
    fn read(
        &mut self,
        words: &mut impl Iterator<Item = OsString>,
        ends_at_argument: bool,
    ) -> Result<(), Mistake> {
        while let Some(word) = words.next() {
            match word.as_bytes() {
                b"--" => {
                    self.arguments.extend(words);
                    return Ok(());
                }
                [b'-', b'-', name @ ..] => self.long(name, words)?,
                [b'-', letters @ ..] if !letters.is_empty() => self.short(letters, words)?,
                _ => {
                    self.arguments.push(word);
                    if ends_at_argument {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// What follows `--`: a name, and a value after `=` or in the next word.
    fn long(&mut self, word: &[u8], words: &mut impl Iterator<Item = OsString>) -> Result<(), Mistake> {
        let end = word.iter().position(|byte| *byte == b'=').unwrap_or(word.len());
        let name = String::from_utf8_lossy(&word[..end]).into_owned();
        let value = word.get(end + 1..).map(|value| OsStr::from_bytes(value).to_owned());
        if name.is_empty() || name.starts_with('-') {
            return Err(Mistake::bad_syntax(word));
        }
        let listed = self.flags.iter().copied().find(|flag| is_long(flag, &name)).map(Flag::Clap);
        let Some(flag) = listed.or_else(|| idle::long(&self.verb, &name).map(Flag::Idle)) else {
            return if name == "help" { self.help() } else { Err(Mistake::unknown_flag(&name)) };
        };
        match value {
            value if flag.is_switch() => self.switch(flag, value.as_deref()),
            Some(value) => self.set(flag, &value),
            None => {
                let value = words.next().ok_or_else(|| Mistake::needs_argument(&format!("--{name}")))?;
                self.set(flag, &value)
            }
        }
    }

    /// What follows `-`: letters of switches, and at the end one that may have a value.
    fn short(
        &mut self,
        mut letters: &[u8],
        words: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), Mistake> {
        while let [letter, rest @ ..] = letters {
            let letter = char::from(*letter);
            let listed = self.flags.iter().copied().find(|flag| is_short(flag, letter)).map(Flag::Clap);
            let Some(flag) = listed.or_else(|| idle::short(&self.verb, letter).map(Flag::Idle)) else {
                return if letter == 'h' { self.help() } else { Err(Mistake::unknown_letter(letters)) };
            };
            match rest {
                [b'=', value @ ..] if flag.is_switch() => {
                    return self.switch(flag, Some(OsStr::from_bytes(value)));
                }
                _ if flag.is_switch() => self.switch(flag, None)?,
                [b'=', value @ ..] => return self.set(flag, OsStr::from_bytes(value)),
                [] => {
                    let none = || Mistake::needs_argument(&format!("'{letter}' in -{letter}"));
                    return self.set(flag, &words.next().ok_or_else(none)?);
                }
                value => return self.set(flag, OsStr::from_bytes(value)),
            }
            letters = rest;
        }
        Ok(())
    }

    fn help(&mut self) -> Result<(), Mistake> {
        self.written.push((Id::from("help"), "--help".into()));
        Ok(())
    }

    /// Turns a switch on or off.
    fn switch(&mut self, flag: Flag<'_>, value: Option<&OsStr>) -> Result<(), Mistake> {
        let on = match value {
            None => true,
            Some(value) => truth(value).ok_or_else(|| Mistake::no_truth(&flag.name(), value))?,
        };
        let flag = match flag {
            Flag::Clap(flag) => flag,
            Flag::Idle(idle) => return pass_over(idle, if on { "true" } else { "false" }),
        };
        self.written.retain(|(id, _)| id != flag.get_id());
        let mut word = OsString::from(dashed(flag));
        if flag.get_action().takes_values() {
            word.push(if on { "=true" } else { "=false" });
        } else if !on {
            return Ok(());
        }
        self.written.push((flag.get_id().clone(), word));
        Ok(())
    }

    fn set(&mut self, flag: Flag<'_>, value: &OsStr) -> Result<(), Mistake> {
        let flag = match flag {
            Flag::Clap(flag) => flag,
            Flag::Idle(idle) => return pass_over(idle, &value.to_string_lossy()),
        };
        if !matches!(flag.get_action(), ArgAction::Append) {
            self.written.retain(|(id, _)| id != flag.get_id());
        }
        let word = [dashed(flag).as_bytes(), b"=", value.as_bytes()].concat();
        self.written.push((flag.get_id().clone(), OsString::from_vec(word)));
        Ok(())
    }
}

/// A flag that a verb has.
#[derive(Clone, Copy)]
enum Flag<'command> {
    Clap(&'command Arg),
    Idle(&'static Idle),
}

impl Flag<'_> {
    /// Whether it is true when it has no value. pflag gives such a flag no value but one after `=`.
    fn is_switch(self) -> bool {
        match self {
            Flag::Clap(flag) => {
                let is_optional = |number: clap::builder::ValueRange| number.min_values() == 0;
                !flag.get_action().takes_values() || flag.get_num_args().is_some_and(is_optional)
            }
            Flag::Idle(flag) => flag.is_switch,
        }
    }

    fn name(self) -> String {
        match self {
            Flag::Clap(flag) => name_of(flag),
            Flag::Idle(flag) => name_of_idle(flag),
        }
    }
}

/// Lets a flag without effect go by, or says why it cannot.
fn pass_over(flag: &Idle, value: &str) -> Result<(), Mistake> {
    flag.take(value).map_err(|sentence| Mistake::bad_value(&name_of_idle(flag), value, sentence))
}

/// The name of a verb as [`idle`] has it: without `container`, and in the short form where Docker has two.
fn short_form(path: &[String]) -> String {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["container", "ls"] => "ps".to_owned(),
        ["image", "ls"] => "images".to_owned(),
        ["image", "rm"] => "rmi".to_owned(),
        ["container", verb] => (*verb).to_owned(),
        ["image", verb] if !matches!(*verb, "inspect" | "prune") => (*verb).to_owned(),
        path => path.join(" "),
    }
}

/// A flag as it is written for clap.
fn dashed(flag: &Arg) -> String {
    match (flag.get_long(), flag.get_short()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) => name_of(flag),
    }
}

fn is_long(flag: &Arg, name: &str) -> bool {
    flag.get_long() == Some(name) || flag.get_all_aliases().is_some_and(|others| others.contains(&name))
}

fn is_short(flag: &Arg, letter: char) -> bool {
    flag.get_short() == Some(letter)
        || flag.get_all_short_aliases().is_some_and(|others| others.contains(&letter))
}

/// Go's words for true and false.
fn truth(text: &OsStr) -> Option<bool> {
    match text.to_str()? {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}
