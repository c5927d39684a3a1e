//! `moat diff`.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use moat::archive::{ArchiveError, Files, changes};
use moat::engine::Engine;
use moat::engine::state::Verb;
use moat::root::Root;
use moat_protocol::ArchiveTask;

use super::human;

/// List what a container has changed in its file system
///
/// Each line is a letter and a path: A for added, C for changed, D for deleted.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat diff web
  moat diff web | grep '^A'")]
pub struct Args {
    /// Name, id, or the beginning of an id
    container: String,
}

/// Prints the list.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    let container = engine.find(&args.container)?;
    let mut files = Files::new(&engine, container, Verb::Diff);
    let mut transfer = files.begin(ArchiveTask::Changes)?;
    let terminal = io::stdout().is_terminal();
    let mut output = BufWriter::new(io::stdout().lock());
    let listed = changes::read(&mut transfer, |kind, path| {
        write!(output, "{} ", kind.letter())
            .and_then(|()| match terminal {
                // The guest chose these names.
                true => output.write_all(human::harmless(&String::from_utf8_lossy(path)).as_bytes()),
                false => output.write_all(path),
            })
            .and_then(|()| output.write_all(b"\n"))
            .map_err(ArchiveError::Output)
    });
    match listed {
        Ok(()) => transfer.finish()?,
        Err(e) => return Err(transfer.reason(e).into()),
    };
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}
