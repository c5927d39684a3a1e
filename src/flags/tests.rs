use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, CommandFactory};

use super::read::canonical;
use super::usage::{Usage, name_of};
use crate::Cli;

/// What clap is given for a line, or what the user is told.
fn read(words: &[&str]) -> Result<String, String> {
    let words: Vec<OsString> = std::iter::once("moat").chain(words.iter().copied()).map(Into::into).collect();
    match canonical(Cli::command(), words.into_iter()) {
        Ok(read) => {
            Ok(read.words[1..].iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" "))
        }
        Err(Usage::Mistake { mistake, .. }) => Err(format!("{mistake:?}")),
        Err(Usage::Absent(sentence)) => Err(sentence.to_owned()),
        Err(Usage::Clap(error, _)) => Err(error.to_string()),
    }
}

fn line(line: &str) -> Result<String, String> {
    read(&line.split(' ').collect::<Vec<_>>())
}

#[test]
fn flags_are_read_as_pflag_reads_them() {
    for (typed, read) in [
        ("ps -aq", "ps --all --quiet"),
        ("ps -aq=false", "ps --all"),
        ("ps -a=T --all=0", "ps"),
        ("ps --quiet=false -q", "ps --quiet"),
        ("ps -n5", "ps --last=5"),
        ("ps -n=5 -n -1", "ps --last=-1"),
        ("run -m 1g -m=2g -e A=1 -e -x=1 img", "run --env=A=1 --env=-x=1 --memory=2g"),
        ("run -it=false img", "run --interactive"),
        ("run --sig-proxy=0 img", "run --sig-proxy=false"),
        ("run --sig-proxy img", "run --sig-proxy=true"),
        ("run --health-cmd -x img", "run --health-cmd=-x"),
        ("run --name -- img", "run --name=--"),
        ("run --net none img", "run --network=none"),
        ("commit -m - box", "commit --message=-"),
        ("commit box -m last", "commit --message=last"),
    ] {
        // The same order, so that what is compared reads well.
        let sorted = |text: String| {
            let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
            words.truncate(end);
            words[1..].sort();
            words.join(" ")
        };
        assert_eq!(sorted(line(typed).unwrap()), sorted(read.to_owned()), "{typed}");
    }
}

#[test]
fn arguments_stand_behind_flags_and_a_program_keeps_its_own() {
    for (typed, read) in [
        ("rm web -f db", "rm --force -- web db"),
        ("rm -- -f", "rm -- -f"),
        ("run img -d", "run -- img -d"),
        ("run -d img sh -c -- x", "run --detach -- img sh -c -- x"),
        ("exec -i box -x", "exec --interactive -- box -x"),
        ("top box -ef", "top -- box -ef"),
        ("cp - box:/", "cp -- - box:/"),
        ("--root /x ps", "--root=/x ps"),
        ("ps --root=/x", "ps --root=/x"),
        ("image", "image --help"),
        ("image ls -q", "image ls --quiet"),
        ("run --help", "run --help"),
        ("help", "--help"),
        ("help image ls", "image ls --help"),
        ("container list", "container ls"),
        ("ps -h", "ps --help"),
    ] {
        assert_eq!(line(typed).unwrap(), read, "{typed}");
    }
}

/// What Docker's own client answered to the same lines.
#[test]
fn mistakes_are_told_in_dockers_words() {
    for (typed, message, code) in [
        ("ps --bad", "unknown flag: --bad", 125),
        ("run -z img", "unknown shorthand flag: 'z' in -z", 125),
        ("run --name", "flag needs an argument: --name", 125),
        ("run -h", "flag needs an argument: 'h' in -h", 125),
        ("kill -s", "flag needs an argument: 's' in -s", 125),
        (
            "ps --no-trunc=maybe",
            r#"invalid argument "maybe" for "--no-trunc" flag: strconv.ParseBool: parsing "maybe": invalid syntax"#,
            125,
        ),
        ("ps ---x", "bad flag syntax: ---x", 125),
        ("image --bad", "unknown flag: --bad", 125),
        ("--bad ps", "unknown flag: --bad", 125),
        ("nosuch", "moat: unknown command: moat nosuch", 1),
        ("image nosuch", "moat: unknown command: moat image nosuch", 1),
    ] {
        assert_eq!(line(typed).unwrap_err(), format!("Mistake {{ message: {message:?}, code: {code} }}"));
    }
}

/// Calls `check` with every verb and the words that lead to it.
fn every_verb(command: &mut Command, path: &[String], check: &mut impl FnMut(&Command, &[String])) {
    for verb in command.get_subcommands_mut() {
        let path = [path, &[verb.get_name().to_owned()]].concat();
        if verb.has_subcommands() {
            every_verb(verb, &path, check);
        } else {
            check(verb, &path);
        }
    }
}

/// Every flag of every verb, in every way that it can be typed.
#[test]
fn every_flag_is_read_in_every_form() {
    let mut command = Cli::command();
    command.build();
    let mut seen = 0;
    every_verb(&mut command, &[], &mut |verb, path| {
        let flags = verb.get_arguments().filter(|flag| !flag.is_positional() && !flag.is_global_set());
        for flag in flags.filter(|flag| !matches!(flag.get_action(), ArgAction::Help | ArgAction::HelpLong)) {
            check_flag(flag, path);
            seen += 1;
        }
    });
    assert!(seen > 200, "{seen} flags");
}

fn check_flag(flag: &Arg, path: &[String]) {
    let long = flag.get_long().unwrap_or_else(|| panic!("{path:?}: {} has a long name", name_of(flag)));
    let read = |words: &[&str]| {
        let words: Vec<&str> = path.iter().map(String::as_str).chain(words.iter().copied()).collect();
        let read = super::tests::read(&words).unwrap_or_else(|why| panic!("{words:?}: {why}"));
        read[path.join(" ").len()..].trim_start().to_owned()
    };
    let (dashed, equal) = (format!("--{long}"), |value: &str| format!("--{long}={value}"));
    let short = flag.get_short().map(|letter| format!("-{letter}"));
    let is_value = flag.get_action().takes_values();
    if !is_value || flag.get_num_args().is_some_and(|number| number.min_values() == 0) {
        let on = if is_value { equal("true") } else { dashed.clone() };
        let off = if is_value { equal("false") } else { String::new() };
        for typed in [dashed.clone(), equal("true"), equal("1")].into_iter().chain(short.clone()) {
            assert_eq!(read(&[&typed]), on, "{typed}");
            assert_eq!(read(&[&typed, &equal("false")]), off, "the last one wins: {typed}");
            assert_eq!(read(&[&equal("F"), &typed]), on, "the last one wins: {typed}");
        }
        if let Some(short) = short {
            assert_eq!(read(&[&format!("{short}=false")]), off, "{short}");
            assert_eq!(read(&[&format!("{short}=true")]), on, "{short}");
        }
        return;
    }
    let expected = equal("-x=1");
    assert_eq!(read(&[&dashed, "-x=1"]), expected);
    assert_eq!(read(&[&expected]), expected);
    let twice = read(&[&equal("a"), &dashed, "-x=1"]);
    let repeats = matches!(flag.get_action(), ArgAction::Append);
    assert_eq!(twice, if repeats { format!("{} {expected}", equal("a")) } else { expected.clone() });
    if let Some(short) = short {
        assert_eq!(read(&[&short, "-x=1"]), expected);
        assert_eq!(read(&[&format!("{short}=-x=1")]), expected);
        assert_eq!(read(&[&format!("{short}-x=1")]), expected);
    }
}

#[test]
fn flags_and_verbs_without_effect_are_passed_over_or_refused_with_a_sentence() {
    for (typed, read) in [
        ("-D -l debug ps", "ps"),
        ("run --runtime=runc --memory-swap -1 -c 512 --pid= --oom-kill-disable=false img", "run -- img"),
        ("container run --uts private img", "container run -- img"),
        ("image rm --platform linux/amd64 img", "image rm -- img"),
        ("image import --platform linux/amd64 -", "image import -- -"),
    ] {
        assert_eq!(line(typed).unwrap(), read, "{typed}");
    }
    for (typed, why) in [
        (
            "run --pid host img",
            r#"invalid argument \"host\" for \"--pid\" flag: every container is a machine"#,
        ),
        ("run -v a:/b img", r#"for \"-v, --volume\" flag: Moat has no volumes"#),
        ("run --oom-kill-disable img", "more memory than it was given"),
        ("-H tcp://x ps", "no daemon"),
        ("ps -D", "unknown shorthand flag: 'D' in -D"),
        ("history --platform linux/arm64 img", "one platform"),
        ("search nginx", "does not search registries"),
        ("swarm init --force-new-cluster", "no swarm"),
        ("image build .", "builds no images yet"),
    ] {
        let told = line(typed).unwrap_err();
        assert!(told.contains(why), "{typed}: {told}");
    }
    let mut command = Cli::command();
    command.build();
    for (verb, _) in moat_docker::absent::VERBS {
        let found = verb.split(' ').try_fold(&command, |command, word| command.find_subcommand(word));
        assert!(found.is_none(), "there is a verb {verb}");
    }
}

/// Each flag of Docker's client, which `tests/cli/docker-flags` keeps, is known here, or refused with a sentence of its
/// own. It has Docker's letter, and a value where Docker's has one.
#[test]
fn every_flag_of_dockers_is_known() {
    let lists = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/docker-flags");
    let mut seen = 0;
    for file in std::fs::read_dir(lists).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let verb = file.file_stem().unwrap().to_str().unwrap().replacen('_', " ", 1);
        let path: Vec<&str> = verb.split(' ').filter(|word| *word != "docker").collect();
        for flag in std::fs::read_to_string(&file).unwrap().lines() {
            check_dockers(&path, flag);
            seen += 1;
        }
    }
    assert!(seen > 250, "{seen} flags");
}

/// `flag` is a line of a list: `-n --last int`.
fn check_dockers(path: &[&str], flag: &str) {
    let words: Vec<&str> = flag.split(' ').collect();
    let (letter, words) = match words.as_slice() {
        [letter, rest @ ..] if !letter.starts_with("--") => (Some(*letter), rest),
        rest => (None, rest),
    };
    let read = |flag: &str| super::tests::read(&[path, &[flag]].concat());
    let is_refused = |told: &String| told.contains("invalid argument");
    let alone = read(words[0]);
    let is_switch = alone.as_ref().map_or_else(is_refused, |_| true);
    assert_eq!(is_switch, words.len() == 1, "{path:?} {flag}: {alone:?}");
    let value = if is_switch { "" } else { "=1" };
    let whole = read(&format!("{}{value}", words[0]));
    assert!(whole.as_ref().map_or_else(is_refused, |_| true), "{path:?} {flag}: {whole:?}");
    if let Some(letter) = letter {
        assert_eq!(read(&format!("{letter}{value}")), whole, "{path:?} {flag}");
    }
}
