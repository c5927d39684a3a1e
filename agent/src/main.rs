//! `moat-agent`: PID 1 of the guest.
//!
//! There is no `fn main`: Rust's own start-up code insists on open standard descriptors and aborts without
//! /dev/null, and the kernel starts PID 1 of a guest that has no console with neither.
#![no_main]

use std::path::Path;

use moat_agent::boot::{self, place};
use moat_agent::dial::Vsock;
use moat_agent::serve::{self, Place};
use moat_agent::{kmsg, power};

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
            let place = Place {
                root: Path::new(place::ROOT).to_owned(),
                etc: Path::new(place::ETC).to_owned(),
                cgroup: Path::new(place::CGROUP).join("container"),
            };
            serve::serve(control, &Vsock, &place);
        }
        Err(error) => kmsg::log(format_args!("boot failed in phase {:?}: {error}", error.phase)),
    }
    // After a failed boot there may be no layer to settle, and that is no news.
    if let Err(error) = boot::settle(Path::new(place::LAYER)) {
        kmsg::log(error);
    }
    power::off()
}
