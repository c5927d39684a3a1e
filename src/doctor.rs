//! `moat doctor`.

use std::path::Path;
use std::process::ExitCode;

use moat_engine::doctor::{Check, check};

/// Check that this host has all that Moat needs, and say what to do about what it lacks
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat doctor
  moat doctor && moat run --rm busybox echo fine

The exit code is 0 when containers can run here.")]
pub struct Args {}

/// Makes every check and prints a line for each.
pub fn run(_args: &Args, root: &Path) -> anyhow::Result<ExitCode> {
    let checks = check(root);
    for Check { name, essential, finding } in &checks {
        match finding {
            Ok(good) => say!("ok    {name}: {good}"),
            Err(problem) => {
                say!("{}  {name}: {}", if *essential { "FAIL" } else { "warn" }, problem.wrong);
                say!("      {}", problem.remedy);
            }
        }
    }
    let healthy = checks.iter().all(|check| check.finding.is_ok() || !check.essential);
    say!("{}", if healthy { "Containers can run here." } else { "Containers cannot run here yet." });
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
