//! Containers as the agent sets them up, on this machine's kernel. Needs root and /bin/busybox.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod changes;
mod exec;
mod extract;
mod failures;
mod guest;
mod host;
mod hostile;
mod machine;
mod network;
mod options;
mod process;
mod read;
mod setup;
mod specs;
mod streams;
mod tar;
mod terminal;
mod usage;

use std::process::ExitCode;

fn main() -> ExitCode {
    let modules = [
        changes::TESTS,
        exec::TESTS,
        extract::TESTS,
        failures::TESTS,
        hostile::TESTS,
        network::TESTS,
        options::TESTS,
        process::TESTS,
        read::TESTS,
        setup::TESTS,
        streams::TESTS,
        terminal::TESTS,
        usage::TESTS,
    ];
    moat_test_harness::run("sets a container up", &modules)
}
