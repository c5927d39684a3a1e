//! `moat top`.

use std::io::{self, Write};
use std::process::ExitCode;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use moat_docker::top::{Context, Layout, table};
use moat_engine::Engine;
use moat_engine::Root;

/// Show the processes of a container
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat top web
  moat top web aux
  moat top web -eo pid,user,etime,args

The options are those of ps that choose columns: -ef, aux, and -o with names, each with a header of its own if need be.")]
pub struct Args {
    /// Name, id, or the beginning of an id
    container: String,
    /// Options of ps
    #[arg(value_name = "PS OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Prints a line for each process.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let layout = Layout::parse(&args.options)?;
    let engine = Engine::open(root)?;
    let container = engine.find(&args.container)?;
    let processes = engine.processes(&container)?;
    let context = Context {
        now: Timestamp::now(),
        zone: TimeZone::system(),
        memory_kib: u64::from(container.config.resources.memory_mib) << 10,
    };
    io::stdout().write_all(table(&layout, &processes, &context).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
