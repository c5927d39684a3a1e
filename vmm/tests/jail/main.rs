//! Launching and jailing, for real: this program starts itself as if it were the VMM.
//!
//! It has no test harness, because the jail can be entered only before there are threads. Started as
//! `moat-vmm --config 3` it is a probe that does what the configuration's id says; otherwise it runs the tests and
//! says so in the words of the usual harness.

// A test, though without the harness by which clippy knows one.
#![allow(clippy::unwrap_used)]

mod jailed;
mod launched;
mod probe;
mod rig;

use std::panic::catch_unwind;
use std::process::ExitCode;

/// A test and its name.
pub type Test = (&'static str, fn());

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments == ["moat-vmm", "--config", "3"] {
        return probe::main();
    }
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let filters: Vec<_> = arguments.iter().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let all: Vec<Test> = [launched::TESTS, jailed::TESTS].concat();
    let chosen: Vec<Test> = all
        .iter()
        .filter(|(name, _)| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())))
        .copied()
        .collect();
    if !nix::unistd::geteuid().is_root() {
        return without_root(chosen.len());
    }
    println!("\nrunning {} tests", chosen.len());
    let mut failed = 0;
    for (name, test) in &chosen {
        let passed = catch_unwind(test).is_ok();
        failed += usize::from(!passed);
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    let passed = chosen.len() - failed;
    let out = all.len() - chosen.len();
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {out} filtered out\n"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn without_root(count: usize) -> ExitCode {
    eprintln!("NOT RUN: {count} tests of the jail and of launching need root");
    println!("\ntest result: ok. 0 passed; 0 failed; {count} ignored; 0 measured; 0 filtered out\n");
    if std::env::var_os("MOAT_TEST_WITHOUT_ROOT").is_some_and(|value| value == "1") {
        return ExitCode::SUCCESS;
    }
    eprintln!("that is an error unless MOAT_TEST_WITHOUT_ROOT=1 is set");
    ExitCode::FAILURE
}
