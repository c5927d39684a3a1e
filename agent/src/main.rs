//! `moat-agent`: PID 1 of the guest.
//!
//! There is no `fn main`: Rust's start-up code opens missing standard descriptors as /dev/null and aborts without that
//! file. The kernel starts PID 1 of a guest that has no console with neither.
#![no_main]

use std::path::Path;

use moat_agent::dial::Vsock;
use moat_agent::place::{self, Place};
use moat_agent::sys::process;
use moat_agent::{boot, kmsg, power, serve};

/// Called by the C library.
// SAFETY: no other crate in the program defines `main`.
#[unsafe(no_mangle)]
pub extern "C" fn main() -> i32 {
    if std::process::id() != 1 {
        eprintln!("moat-agent is PID 1 of a Moat guest; it does nothing elsewhere");
        return 125;
    }
    match boot::run(&Vsock) {
        Ok(control) => {
            // No OOM score is set, because the OOM killer never picks PID 1. The precedence keeps the order of stdout
            // and stderr, see `streams`.
            if let Err(error) = process::take_precedence() {
                kmsg::log(format_args!("cannot run before everything else: {error}"));
            }
            serve::serve(control, &Vsock, &Place::of_guest());
        }
        Err(error) => kmsg::log(format_args!("boot failed in phase {:?}: {error}", error.phase())),
    }
    // After a failed boot there may be no layer, and then this fails too.
    if let Err(error) = boot::settle(Path::new(place::LAYER)) {
        kmsg::log(error);
    }
    power::off()
}
