//! `moat network create`.

use std::net::IpAddr;
use std::process::ExitCode;

use ipnet::IpNet;
use moat_engine::networks::{CreateNetwork, MTU_OPTION};
use moat_engine::{Engine, Root};

use crate::parse;

/// Make a network
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat network create shop
  moat network create --subnet 10.5.0.0/16 --gateway 10.5.0.1 shop
  moat network create --internal vault
  moat network create --ipv6 -o com.docker.network.driver.mtu=1400 shop")]
pub struct Args {
    /// Its addresses, such as 10.5.0.0/16; one network of IPv4 and one of IPv6
    #[arg(long, value_name = "SUBNET")]
    subnet: Vec<IpNet>,
    /// The host's address on it [default: the first]
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<IpAddr>,
    /// The addresses that containers get, a part of the subnet
    #[arg(long, value_name = "SUBNET")]
    ip_range: Vec<IpNet>,
    /// Give it IPv6, too
    #[arg(long)]
    ipv6: bool,
    /// Nothing outside can be reached
    #[arg(long)]
    internal: bool,
    /// Say something about it
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = parse::label)]
    label: Vec<(String, String)>,
    /// An option: com.docker.network.driver.mtu, .bridge.name or .bridge.enable_ip_masquerade
    #[arg(short = 'o', long = "opt", value_name = "NAME=VALUE")]
    options: Vec<String>,
    /// There is one, bridge
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge")]
    driver: String,
    /// For those who know it from Docker; every container can join a network anyway
    #[arg(long)]
    attachable: bool,
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
}

/// Makes it and prints its id.
pub fn run(args: Args, root: &Root) -> anyhow::Result<ExitCode> {
    let options = args.options.iter().map(|option| {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let key = if key == "mtu" { MTU_OPTION } else { key };
        (key.to_owned(), value.to_owned())
    });
    let wanted = CreateNetwork {
        name: args.name,
        subnets: args.subnet,
        ranges: args.ip_range,
        gateways: args.gateway,
        ipv6: args.ipv6,
        internal: args.internal,
        labels: args.label.into_iter().collect(),
        options: options.collect(),
    };
    let network = Engine::open(root.clone())?.create_network(&args.driver, wanted)?;
    say!("{}", network.id);
    Ok(ExitCode::SUCCESS)
}
