//! `moat system check`.

use std::process::ExitCode;

use moat_engine::{Engine, Root};

use crate::human;

/// Read every byte of every image and compare it with its digest
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat system check && echo sound

Exit code 1 means that something is damaged; the lines on stderr say what. A damaged
index of an image's layers is made again from them.")]
pub struct Args {}

/// Checks, and tells what is wrong.
pub fn run(_args: &Args, root: &Root) -> anyhow::Result<ExitCode> {
    let checked = Engine::open(root.clone())?.check()?;
    checked.faults.iter().for_each(crate::complain);
    let (images, blobs, bytes) = (checked.images, checked.blobs, human::size(checked.bytes));
    let verdict = match checked.faults.len() {
        0 => "all sound".to_owned(),
        n => format!("{n} damaged"),
    };
    say!("{images} images, {blobs} blobs, {bytes}: {verdict}");
    Ok(if checked.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
