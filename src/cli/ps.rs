//! `moat ps`.

use std::io::{self, Write};
use std::process::ExitCode;

use jiff::Timestamp;
use moat::engine::Engine;
use moat::engine::container::Container;
use moat::engine::state::Status;
use moat::root::Root;

use super::{human, table};

/// List containers
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat ps
  moat ps -a
  moat rm -f $(moat ps -aq)")]
pub struct Args {
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,
    /// Only the ids
    #[arg(short, long)]
    quiet: bool,
    /// Whole ids and commands
    #[arg(long)]
    no_trunc: bool,
}

/// How much of a command is shown.
const COMMAND_WIDTH: usize = 20;

/// Prints the containers, the newest first.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    let mut containers = Engine::open(root)?.containers()?;
    containers.retain(|container| args.all || container.state.status == Status::Running);
    let mut output = io::stdout().lock();
    if args.quiet {
        for container in &containers {
            writeln!(output, "{}", id(container, args.no_trunc))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let header = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
    let rows: Vec<_> = containers.iter().map(|container| row(container, args.no_trunc, now)).collect();
    table::print(&mut output, header, &rows)?;
    Ok(ExitCode::SUCCESS)
}

fn id(container: &Container, whole: bool) -> &str {
    if whole { container.id().as_str() } else { container.id().short() }
}

fn row(container: &Container, whole: bool, now: Timestamp) -> [String; 7] {
    let words = container.config.process.args.iter();
    // As Docker shows it: a word with a blank is quoted, nothing is escaped.
    let words = words.map(|word| if word.contains(' ') { format!("'{word}'") } else { word.clone() });
    let command = human::harmless(&words.collect::<Vec<_>>().join(" "));
    let command = if whole { command } else { human::shorten(&command, COMMAND_WIDTH) };
    [
        id(container, whole).to_owned(),
        human::harmless(&container.config.image),
        format!("\"{command}\""),
        human::ago(container.config.created, now),
        status(container, now),
        String::new(),
        container.config.name.clone(),
    ]
}

fn status(container: &Container, now: Timestamp) -> String {
    let state = &container.state;
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => {
            format!("Up {}", human::duration(now.duration_since(state.started.unwrap_or(now))))
        }
        Status::Exited => {
            format!("Exited ({}) {}", state.exit_code, human::ago(state.finished.unwrap_or(now), now))
        }
    }
}
