//! The flags of `run` and `create` about a new container's networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use moat_docker::parse::network::{NetworkFlags, Wanted, extra_host, network, word};
use moat_docker::parse::{self, FlagError};
use moat_engine::mac::{self, MacAddress};
use moat_engine::port::{ContainerPort, PortError, PortRequest, parse_exposed};
use moat_engine::request::{ExtraHost, NetworkRequest};

/// The flags.
#[derive(clap::Args)]
pub struct NetworkArgs {
    /// Publish a port: [[ADDRESS:]HOST_PORT:]PORT[/udp]; ports can be ranges such as 8000-8010
    #[arg(short, long, value_name = "PORTS", value_parser = publish)]
    publish: Vec<Requests>,
    /// Publish all exposed ports to free ports of the host
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Say that the container serves a port
    #[arg(long, value_name = "PORT[/udp]", value_parser = expose)]
    expose: Vec<Exposed>,
    /// Join a network; none for no network device at all. Also name=NAME,ip=ADDRESS,ip6=ADDRESS,alias=NAME,mac-address=ADDRESS
    #[arg(long, alias = "net", value_name = "NETWORK", value_parser = network)]
    network: Vec<Wanted>,
    /// A further name of the container on its network
    #[arg(long, alias = "net-alias", value_name = "NAME", value_parser = parse::hostname)]
    network_alias: Vec<String>,
    /// The container's IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,
    /// The container's IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<Ipv6Addr>,
    /// The container's hardware address
    #[arg(long, value_name = "ADDRESS", value_parser = mac::parse)]
    mac_address: Option<MacAddress>,
    /// Ask this server for names
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<IpAddr>,
    /// Look for names without dots in this domain
    #[arg(long, value_name = "DOMAIN", value_parser = word)]
    dns_search: Vec<String>,
    /// An option for the resolver, such as ndots:2
    #[arg(long, alias = "dns-opt", value_name = "OPTION", value_parser = word)]
    dns_option: Vec<String>,
    /// Add a line to /etc/hosts; host-gateway is this host, which the container may then reach
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = extra_host)]
    add_host: Vec<ExtraHost>,
}

/// What one `-p` asks for. A type of its own, because clap takes a plain list for values.
#[derive(Debug, Clone)]
struct Requests(Vec<PortRequest>);

/// What one `--expose` says.
#[derive(Debug, Clone)]
struct Exposed(Vec<ContainerPort>);

impl NetworkArgs {
    /// What the container is to have, and the ports that it says it serves.
    ///
    /// # Errors
    /// When flags do not go together.
    pub fn request(self) -> Result<(NetworkRequest, Vec<ContainerPort>), FlagError> {
        let flags = NetworkFlags {
            publish: self.publish.into_iter().flat_map(|requests| requests.0).collect(),
            publish_all: self.publish_all,
            expose: self.expose.into_iter().flat_map(|exposed| exposed.0).collect(),
            networks: self.network,
            aliases: self.network_alias,
            ipv4: self.ip,
            ipv6: self.ip6,
            mac: self.mac_address,
            dns: self.dns,
            dns_search: self.dns_search,
            dns_options: self.dns_option,
            extra_hosts: self.add_host,
        };
        flags.request()
    }
}

fn publish(text: &str) -> Result<Requests, PortError> {
    PortRequest::parse(text).map(Requests)
}

fn expose(text: &str) -> Result<Exposed, PortError> {
    parse_exposed(text).map(Exposed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use moat_engine::request::Join;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        network: NetworkArgs,
    }

    fn parse(words: &str) -> Result<(NetworkRequest, Vec<ContainerPort>), String> {
        let line = Line::try_parse_from(std::iter::once("x").chain(words.split_whitespace()));
        line.map_err(|e| e.to_string())?.network.request().map_err(|e| e.to_string())
    }

    #[test]
    fn networks_are_dockers() {
        assert_eq!(parse("").unwrap().0, NetworkRequest::usual());
        assert_eq!(parse("--net default").unwrap().0, NetworkRequest::usual());
        assert!(parse("--network none").unwrap().0.networks.is_empty());
        let (request, _) = parse(
            "--network name=red,ip=10.0.0.5,alias=a,mac-address=02:00:00:00:00:01 --network blue --network-alias b",
        )
        .unwrap();
        let red = &request.networks[0];
        assert_eq!((red.network.as_str(), red.ipv4), ("red", Some(Ipv4Addr::new(10, 0, 0, 5))));
        assert_eq!(red.aliases, ["a", "b"]);
        assert_eq!(request.networks[1], Join::new("blue"));
    }

    #[test]
    fn what_cannot_be_says_why() {
        for (words, why) in [
            ("--network host", "a machine of its own"),
            ("--network container:web", "find each other by name"),
            ("--network none --network red", "does not go together"),
            ("--network none --ip 10.0.0.1", "need a network"),
            ("--network name=red,colour=blue", "invalid field key 'colour'"),
            ("-p 80:x", "invalid containerPort: x"),
            ("--add-host web", "bad format for add-host"),
            ("--add-host web:1.2.3", "invalid IP address in add-host"),
            ("--mac-address 01:00:00:00:00:00", "invalid MAC address"),
        ] {
            let error = parse(words).unwrap_err();
            assert!(error.contains(why), "{words}: {error}");
        }
    }

    #[test]
    fn hosts_and_ports_are_read() {
        let (request, exposed) = parse(
            "--add-host a:host-gateway --add-host b=::1 --add-host c:[fd00::1] -p 1-2:3-4 --expose 5-6/udp -P --dns 1.1.1.1",
        )
        .unwrap();
        let addresses: Vec<_> = request.extra_hosts.iter().map(|host| host.address).collect();
        assert_eq!(addresses, [None, Some("::1".parse().unwrap()), Some("fd00::1".parse().unwrap())]);
        assert!(request.wants_host() && request.publish_all);
        assert_eq!((request.ports.len(), exposed.len()), (2, 2));
    }
}
