//! `moat start`.

use std::process::ExitCode;

use anyhow::bail;
use moat::engine::container::Container;
use moat::engine::state::Verb;
use moat::engine::{Engine, EngineError, Purpose, Reached};
use moat::monitor::Connection;
use moat::monitor::wire::ClientMessage;
use moat::root::Root;

use super::detach_keys::{self, DetachKeys};
use super::each::{ATTEMPTS, each};
use super::session::{End, Manners, Session};
use super::{run, terminal};

/// Start containers that do not run
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat start web
  moat start -ai shell")]
pub struct Args {
    /// Connect its output, and wait for its end
    #[arg(short, long)]
    attach: bool,
    /// Connect its stdin as well
    #[arg(short, long)]
    interactive: bool,
    /// The keys that leave the container's terminal
    #[arg(long, value_name = "KEYS", default_value = detach_keys::DEFAULT)]
    detach_keys: DetachKeys,
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Starts each container; with `-a` one, and stays with it, also when it ran already.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    if !args.attach && !args.interactive {
        return Ok(each(&engine, &args.containers, |container| start(&engine, container)));
    }
    let [wanted] = args.containers.as_slice() else {
        bail!("you cannot start and attach multiple containers at once");
    };
    let container = engine.find(wanted)?;
    let tty = container.config.process.terminal;
    let connection = start_or_join(&engine, &container)?;
    let request = ClientMessage::Attach {
        stdin: args.interactive,
        output: true,
        size: if tty { terminal::size() } else { None },
    };
    let manners = Manners { terminal: tty, signals: true, detach_keys: args.detach_keys };
    let end = Session::begin(connection, &request, manners)?.carry()?;
    Ok(run::report(end, wanted))
}

/// The connection to a container's monitor, which is started unless the container runs.
fn start_or_join(engine: &Engine, container: &Container) -> anyhow::Result<Connection> {
    for _ in 0..ATTEMPTS {
        if let Some(held) = engine.hold_to_start(container)? {
            return Ok(Connection::new(engine.start_monitor(held, Purpose::Run, false)?));
        }
        match engine.reach(container, Verb::Attach) {
            Ok(Reached::Monitor(stream)) => return Ok(Connection::new(stream)),
            // It ended since it was seen to run.
            Ok(Reached::Idle(_) | Reached::Already(_)) => {}
            Err(EngineError::Illegal { illegal, .. }) if !illegal.status.is_live() => {}
            Err(e) => return Err(e.into()),
        }
    }
    bail!("container {} comes and goes; try again", container.config.name)
}

/// Starts a container and leaves it to itself; one that runs is no error.
///
/// # Errors
/// When it cannot be started.
pub fn start(engine: &Engine, container: &Container) -> anyhow::Result<()> {
    let Some(held) = engine.hold_to_start(container)? else { return Ok(()) };
    let mut connection = Connection::new(engine.start_monitor(held, Purpose::Run, false)?);
    let request = ClientMessage::Attach { stdin: false, output: false, size: None };
    match Session::answer(connection.ask(&request)?)? {
        Some(End::Failed { message, .. }) => {
            bail!("cannot start container {}: {message}", container.config.name)
        }
        _ => Ok(()),
    }
}
