//! Networks on the host without a virtual machine: each test is a host in a network namespace of its own, and a guest is
//! the test that holds the tap.
//!
//! That something is dropped is proved by what comes after it: on one cable frames keep their order.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod addresses;
mod change;
mod crash;
mod flows;
mod frame;
mod host;
mod ports;
mod tables;
mod v6;
mod walls;

use std::process::ExitCode;

fn main() -> ExitCode {
    let modules = [
        addresses::TESTS,
        change::TESTS,
        crash::TESTS,
        flows::TESTS,
        ports::TESTS,
        tables::TESTS,
        v6::TESTS,
        walls::TESTS,
    ];
    moat_test_harness::run("makes a network namespace", &modules)
}
