//! `moat port`.

use std::process::ExitCode;

use anyhow::bail;
use moat_engine::Engine;
use moat_engine::Root;
use moat_engine::port::ContainerPort;

use super::parse;

/// Show where a container's ports are published
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat port web
  moat port web 80
  moat port dns 53/udp")]
pub struct Args {
    /// Name, id, or the beginning of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Only this port of the container
    #[arg(value_name = "PORT[/PROTOCOL]", value_parser = parse::container_port)]
    port: Option<ContainerPort>,
}

/// Prints a line for each.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    let container = engine.find(&args.container)?;
    let attachment = engine.attachment(&container)?;
    let ports = attachment.map(|attachment| attachment.ports).unwrap_or_default();
    let Some(wanted) = args.port else {
        ports.iter().for_each(|port| say!("{} -> {}", port.container(), port.host()));
        return Ok(ExitCode::SUCCESS);
    };
    let mut found = ports.iter().filter(|port| port.container() == wanted).peekable();
    if found.peek().is_none() {
        bail!("no public port '{wanted}' published for {}", args.container);
    }
    found.for_each(|port| say!("{}", port.host()));
    Ok(ExitCode::SUCCESS)
}
