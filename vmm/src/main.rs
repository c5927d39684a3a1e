//! `moat-vmm --config FD`: boots the one VM that the configuration on the inherited descriptor describes, and says on
//! the descriptor named there how it went.

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use moat_vmm::config::{Fd, VmConfig};
use moat_vmm::fds::{Access, InheritedFds};
use moat_vmm::report::{MAX_REPORT_LINE, Report, StopReason};
use moat_vmm::vm::{self, BootError};

const USAGE: &str = "usage: moat-vmm --config FD";

/// The most a configuration can have, in bytes: disks of many hundred segments.
const MAX_CONFIG_BYTES: u64 = 256 << 10;

/// The VM ended in a fault.
const EXIT_FAULT: u8 = 1;
/// The VM never ran.
const EXIT_FAILED: u8 = 2;

fn main() -> ExitCode {
    keep_small();
    match start() {
        Ok(StopReason::Fault { .. }) => EXIT_FAULT.into(),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "moat-vmm: {error}");
            EXIT_FAILED.into()
        }
    }
}

fn start() -> Result<StopReason, BootError> {
    let mut fds = InheritedFds::default();
    let config = read_config(&mut fds)?;
    let report = fds.take(config.report, "report", Access::Write);
    let mut report = File::from(report.map_err(|error| BootError::new("config", error))?);
    let outcome = vm::run(config, fds, || send(&mut report, &Report::Running));
    send(
        &mut report,
        &match &outcome {
            Ok(reason) => Report::Stopped { reason: reason.clone() },
            Err(error) => Report::Failed { step: error.step.to_owned(), message: error.message.clone() },
        },
    );
    outcome
}

fn read_config(fds: &mut InheritedFds) -> Result<VmConfig, BootError> {
    let wrong = |error: &dyn std::fmt::Display| BootError::new("config", error);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let fd = match arguments.as_slice() {
        [option, number] if option == "--config" => number.parse().map_err(|_| wrong(&USAGE))?,
        _ => return Err(wrong(&USAGE)),
    };
    let file = File::from(fds.take(Fd(fd), "--config", Access::Read).map_err(|error| wrong(&error))?);
    let mut text = Vec::new();
    file.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut text).map_err(|error| wrong(&error))?;
    if text.len() as u64 > MAX_CONFIG_BYTES {
        return Err(wrong(&format!("the configuration is longer than {MAX_CONFIG_BYTES} bytes")));
    }
    serde_json::from_slice(&text).map_err(|error| wrong(&error))
}

/// A launcher that is gone does not read it; the exit status says the rest.
fn send(report: &mut File, line: &Report) {
    let line = match serde_json::to_string(line) {
        Ok(line) if line.len() < MAX_REPORT_LINE => line,
        // A message that quotes something long: the reader is promised a limit.
        _ => r#"{"event":"failed","step":"config","message":"the reason is too long to report"}"#.to_owned(),
    };
    let _ = report.write_all(format!("{line}\n").as_bytes());
}

/// One heap for all threads: the workers allocate next to nothing, and a heap each costs more than that.
fn keep_small() {
    // SAFETY: called before there are threads; the option takes any positive number.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}
