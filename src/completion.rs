//! `moat completion`.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat completion bash > /etc/bash_completion.d/moat
  moat completion zsh > \"${fpath[1]}/_moat\"")]
pub struct Args {
    /// Which shell
    shell: Shell,
}

/// Prints the script.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    clap_complete::generate(args.shell, &mut super::Cli::command(), "moat", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
