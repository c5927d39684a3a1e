//! Launching and jailing, for real: this program starts itself as if it were the VMM.
//!
//! It has a main of its own, because the jail can be entered only before there are threads. Started as
//! `moat-vmm --config 3` it is a probe that does what the configuration's id says; otherwise it runs the tests.

// A test, though without the harness by which clippy knows one.
#![allow(clippy::unwrap_used)]

mod jailed;
mod launched;
mod probe;
mod rig;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().eq(["moat-vmm", "--config", "3"]) {
        return probe::main();
    }
    moat_test_harness::run_in_turn("builds a jail", &[launched::TESTS, jailed::TESTS])
}
