//! What `run` and `create` let the user say about a new container's networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::bail;
use moat::network::mac::{self, MacAddress};
use moat::network::port::{ContainerPort, PortRequest, parse_exposed};
use moat::network::record::DEFAULT;
use moat::network::request::{ExtraHost, Join, NetworkRequest};

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
    #[arg(long, alias = "net-alias", value_name = "NAME", value_parser = super::parse::hostname)]
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
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = add_host)]
    add_host: Vec<ExtraHost>,
}

/// What one `-p` asks for. A type of its own, because clap takes a plain list for values.
#[derive(Debug, Clone)]
struct Requests(Vec<PortRequest>);

/// What one `--expose` says.
#[derive(Debug, Clone)]
struct Exposed(Vec<ContainerPort>);

/// What one `--network` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    None,
    Join(Join),
}

impl NetworkArgs {
    /// What the container is to have, and the ports that it says it serves.
    ///
    /// # Errors
    /// When flags do not go together.
    pub fn request(self) -> anyhow::Result<(NetworkRequest, Vec<ContainerPort>)> {
        let mut networks = Vec::new();
        let none = self.network.contains(&Wanted::None);
        if none && self.network.len() > 1 {
            bail!("--network none does not go together with another network");
        }
        for wanted in self.network {
            networks.extend(match wanted {
                Wanted::None => None,
                Wanted::Join(join) => Some(join),
            });
        }
        if networks.is_empty() && !none {
            networks.push(Join::new(DEFAULT));
        }
        let own = self.ip.is_some()
            || self.ip6.is_some()
            || self.mac_address.is_some()
            || !self.network_alias.is_empty();
        match networks.first_mut() {
            Some(first) => {
                first.ipv4 = self.ip.or(first.ipv4);
                first.ipv6 = self.ip6.or(first.ipv6);
                first.mac = self.mac_address.or(first.mac);
                first.aliases.extend(self.network_alias);
            }
            None if own => bail!("--ip, --ip6, --mac-address and --network-alias need a network"),
            None => {}
        }
        let request = NetworkRequest {
            networks,
            ports: self.publish.into_iter().flat_map(|requests| requests.0).collect(),
            publish_all: self.publish_all,
            dns: self.dns,
            dns_search: self.dns_search,
            dns_options: self.dns_option,
            extra_hosts: self.add_host,
        };
        Ok((request, self.expose.into_iter().flat_map(|exposed| exposed.0).collect()))
    }
}

fn publish(text: &str) -> Result<Requests, String> {
    PortRequest::parse(text).map(Requests)
}

fn expose(text: &str) -> Result<Exposed, String> {
    parse_exposed(text).map(Exposed)
}

/// A network's name, or Docker's list of properties.
fn network(text: &str) -> Result<Wanted, String> {
    if !text.contains('=') {
        return match text {
            "" => Err("a network has a name".to_owned()),
            "none" => Ok(Wanted::None),
            "default" => Ok(Wanted::Join(Join::new(DEFAULT))),
            "host" => Err("every container is a machine of its own and cannot have the host's network; publish its \
                           ports with -p, or reach the host with --add-host NAME:host-gateway"
                .to_owned()),
            _ if text.starts_with("container:") => {
                Err("every container is a machine of its own and cannot have another one's network; put both on one \
                     network ('moat network create NAME') and they find each other by name"
                    .to_owned())
            }
            name => Ok(Wanted::Join(Join::new(name))),
        };
    }
    let mut join = Join::new("");
    for property in text.split(',') {
        let (key, value) =
            property.split_once('=').ok_or_else(|| format!("invalid field '{property}': KEY=VALUE"))?;
        let wrong = |_| format!("invalid {key} '{value}' in --network");
        match key.trim() {
            "name" => join.network = value.to_owned(),
            "alias" => join.aliases.push(super::parse::hostname(value)?),
            "ip" => join.ipv4 = Some(value.parse().map_err(wrong)?),
            "ip6" => join.ipv6 = Some(value.parse().map_err(wrong)?),
            "mac-address" => join.mac = Some(mac::parse(value)?),
            other => {
                return Err(format!(
                    "invalid field key '{other}': there are name, alias, ip, ip6, mac-address"
                ));
            }
        }
    }
    match network(&join.network)? {
        Wanted::Join(named) => Ok(Wanted::Join(Join { network: named.network, ..join })),
        Wanted::None => Ok(Wanted::None),
    }
}

/// One word of /etc/resolv.conf.
fn word(text: &str) -> Result<String, String> {
    let plain = !text.is_empty() && text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic());
    if plain { Ok(text.to_owned()) } else { Err("one word without spaces".to_owned()) }
}

/// `NAME:ADDRESS` or, as newer Docker has it, `NAME=ADDRESS`.
fn add_host(text: &str) -> Result<ExtraHost, String> {
    let bad = || format!("bad format for add-host: \"{text}\": NAME:ADDRESS");
    let (name, address) = text.split_once(['=', ':']).ok_or_else(bad)?;
    let name = super::parse::hostname(name).map_err(|_| bad())?;
    if address == "host-gateway" {
        return Ok(ExtraHost { name, address: None });
    }
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().map_err(|_| format!("invalid IP address in add-host: \"{address}\""))?;
    Ok(ExtraHost { name, address: Some(address) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

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
