//! `moat network connect` and `moat network disconnect`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

use moat_engine::Root;
use moat_engine::mac::{self, MacAddress};
use moat_engine::request::Join;
use moat_engine::{Engine, EngineError};

use crate::parse;

/// Connect a container to a network
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat network connect shop web
  moat network connect --alias db --ip 10.5.0.7 shop mariadb

A container that runs gets the network's card at once, as its next interface: its virtual machine has
room for four more than it was started with. One that does not run gets it when it starts.")]
pub struct ConnectArgs {
    /// The container's IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,
    /// The container's IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<Ipv6Addr>,
    /// The container's hardware address
    #[arg(long, value_name = "ADDRESS", value_parser = mac::parse)]
    mac_address: Option<MacAddress>,
    /// A further name of the container on this network
    #[arg(long, value_name = "NAME", value_parser = parse::hostname)]
    alias: Vec<String>,
    /// Name, id, or the beginning of an id
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Name, id, or the beginning of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Disconnect a container from a network
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat network disconnect shop web")]
pub struct DisconnectArgs {
    /// Also when the network is gone
    #[arg(short, long)]
    force: bool,
    /// Name, id, or the beginning of an id
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Name, id, or the beginning of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Has the container join at once if it runs, and at its start otherwise.
pub fn connect(args: ConnectArgs, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    let container = engine.find(&args.container)?;
    let network = engine.networks().find(&args.network).map_err(EngineError::from)?;
    let join = Join {
        network: network.name,
        ipv4: args.ip,
        ipv6: args.ip6,
        mac: args.mac_address,
        aliases: args.alias,
    };
    engine.connect(&container, join)?;
    Ok(ExitCode::SUCCESS)
}

/// Has the container leave at once if it runs, and start without it otherwise.
pub fn disconnect(args: &DisconnectArgs, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    let container = engine.find(&args.container)?;
    let network = match engine.networks().find(&args.network) {
        Ok(network) => network.name,
        Err(_) if args.force => args.network.clone(),
        Err(e) => return Err(EngineError::from(e).into()),
    };
    engine.disconnect(&container, &network)?;
    Ok(ExitCode::SUCCESS)
}
