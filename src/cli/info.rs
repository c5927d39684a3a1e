//! `moat info`.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use moat::engine::Engine;
use moat::engine::artifacts::Artifacts;
use moat::engine::state::Status;
use moat::root::Root;
use nix::sys::sysinfo::sysinfo;
use nix::sys::utsname::uname;

use super::version::architecture;

/// Show what Moat has and where it runs
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat info")]
pub struct Args {}

/// Prints counts, places and the host.
pub fn run(_args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    let containers = engine.containers()?;
    let count = |status| containers.iter().filter(|container| container.state.status == status).count();
    let host = uname().context("cannot ask the kernel who it is")?;
    let memory = sysinfo().context("cannot ask the kernel for its memory")?.ram_total();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut output = io::stdout().lock();
    writeln!(output, "Containers: {}", containers.len())?;
    writeln!(output, " Running: {}", count(Status::Running) + count(Status::Restarting))?;
    writeln!(output, " Paused: {}", count(Status::Paused))?;
    writeln!(output, " Stopped: {}", count(Status::Exited) + count(Status::Created))?;
    writeln!(output, "Images: {}", engine.store().list()?.len())?;
    writeln!(output, "Server Version: {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(output, "Kernel Version: {}", host.release().to_string_lossy())?;
    writeln!(output, "OSType: {}", std::env::consts::OS)?;
    writeln!(output, "Architecture: {}", architecture())?;
    writeln!(output, "CPUs: {processors}")?;
    writeln!(output, "Total Memory: {:.2}GiB", memory as f64 / f64::from(1u32 << 30))?;
    writeln!(output, "Name: {}", host.nodename().to_string_lossy())?;
    writeln!(output, "Moat Root Dir: {}", engine.root().path().display())?;
    writeln!(output, "Guest Kernel: {}", Artifacts::find()?.kernel().display())?;
    Ok(ExitCode::SUCCESS)
}
