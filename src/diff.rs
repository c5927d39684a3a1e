//! `moat diff`.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use moat_engine::{Engine, Root};

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
    let terminal = io::stdout().is_terminal();
    let mut output = BufWriter::new(io::stdout().lock());
    engine.changes(&container, |kind, path| {
        write!(output, "{} ", kind.letter())?;
        match terminal {
            // The guest chose these names.
            true => output.write_all(human::harmless(&String::from_utf8_lossy(path)).as_bytes())?,
            false => output.write_all(path)?,
        }
        output.write_all(b"\n")
    })?;
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}
