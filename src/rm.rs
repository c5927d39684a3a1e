//! `moat rm`.

use std::process::ExitCode;

use moat_engine::ErrorKind;
use moat_engine::Root;
use moat_engine::{Engine, EngineError};

use super::each::count_failures;

/// Remove containers
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat rm web
  moat rm -f $(moat ps -aq)")]
pub struct Args {
    /// Kill a container that runs; one that is not there is no failure
    #[arg(short, long)]
    force: bool,
    /// For those who know it from Docker; there are no anonymous volumes to remove
    #[arg(short, long)]
    volumes: bool,
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Removes each container and prints what was typed for it; goes on after an error.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    Ok(if failures(args, &engine) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many could not be removed. By force, what is wanted is that they are gone.
fn failures(args: &Args, engine: &Engine) -> usize {
    let gone = |e: &EngineError| args.force && e.kind() == ErrorKind::NotFound;
    count_failures(engine, &args.containers, gone, |container| engine.remove(container, args.force))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn by_force_only_what_is_still_there_is_a_failure() {
        let temporary = tempfile::tempdir().unwrap();
        let engine = Engine::open(Root::open(temporary.path()).unwrap()).unwrap();
        for (line, expected) in
            [("rm gone", 1), ("rm -v gone gone", 2), ("rm -f gone", 0), ("rm --force --volumes gone", 0)]
        {
            let line = Line::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(failures(&line.args, &engine), expected);
        }
    }
}
