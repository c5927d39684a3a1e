//! What a new container asks of networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use moat_network::mac::{self, MacAddress};
use moat_network::port::{ContainerPort, PortRequest};
use moat_network::record::DEFAULT;
use moat_network::request::{ExtraHost, Join, NetworkRequest};

use super::{FlagError, hostname};

/// What one `--network` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// No network device at all.
    None,
    /// A place on a network.
    Join(Join),
}

/// The values of the flags, in the order of the command line.
#[derive(Debug, Clone, Default)]
pub struct NetworkFlags {
    /// `--publish`
    pub publish: Vec<PortRequest>,
    /// `--publish-all`
    pub publish_all: bool,
    /// `--expose`
    pub expose: Vec<ContainerPort>,
    /// `--network`
    pub networks: Vec<Wanted>,
    /// `--network-alias`
    pub aliases: Vec<String>,
    /// `--ip`
    pub ipv4: Option<Ipv4Addr>,
    /// `--ip6`
    pub ipv6: Option<Ipv6Addr>,
    /// `--mac-address`
    pub mac: Option<MacAddress>,
    /// `--dns`
    pub dns: Vec<IpAddr>,
    /// `--dns-search`
    pub dns_search: Vec<String>,
    /// `--dns-option`
    pub dns_options: Vec<String>,
    /// `--add-host`
    pub extra_hosts: Vec<ExtraHost>,
}

impl NetworkFlags {
    /// The request to the networks, and the exposed ports.
    ///
    /// # Errors
    /// When flags do not go together.
    pub fn request(self) -> Result<(NetworkRequest, Vec<ContainerPort>), FlagError> {
        let none = self.networks.contains(&Wanted::None);
        if none && self.networks.len() > 1 {
            return Err(FlagError::NoneAndAnother);
        }
        let joins = self.networks.into_iter().filter_map(|wanted| match wanted {
            Wanted::None => None,
            Wanted::Join(join) => Some(join),
        });
        let mut networks: Vec<Join> = joins.collect();
        if networks.is_empty() && !none {
            networks.push(Join::new(DEFAULT));
        }
        let own =
            self.ipv4.is_some() || self.ipv6.is_some() || self.mac.is_some() || !self.aliases.is_empty();
        match networks.first_mut() {
            Some(first) => {
                first.ipv4 = self.ipv4.or(first.ipv4);
                first.ipv6 = self.ipv6.or(first.ipv6);
                first.mac = self.mac.or(first.mac);
                first.aliases.extend(self.aliases);
            }
            None if own => return Err(FlagError::NeedsNetwork),
            None => {}
        }
        let request = NetworkRequest {
            networks,
            ports: self.publish,
            publish_all: self.publish_all,
            dns: self.dns,
            dns_search: self.dns_search,
            dns_options: self.dns_options,
            extra_hosts: self.extra_hosts,
        };
        Ok((request, self.expose))
    }
}

/// A network's name, or properties: `name=NAME,alias=NAME,ip=ADDRESS`.
pub fn network(text: &str) -> Result<Wanted, FlagError> {
    if !text.contains('=') {
        return named(text);
    }
    let mut join = Join::new("");
    for property in text.split(',') {
        let (key, value) =
            property.split_once('=').ok_or_else(|| FlagError::NetworkProperty(property.to_owned()))?;
        let wrong = |_| FlagError::NetworkAddress { key: key.to_owned(), value: value.to_owned() };
        match key.trim() {
            "name" => join.network = value.to_owned(),
            "alias" => join.aliases.push(hostname(value)?),
            "ip" => join.ipv4 = Some(value.parse().map_err(wrong)?),
            "ip6" => join.ipv6 = Some(value.parse().map_err(wrong)?),
            "mac-address" => join.mac = Some(mac::parse(value)?),
            other => return Err(FlagError::NetworkKey(other.to_owned())),
        }
    }
    match named(&join.network)? {
        Wanted::Join(named) => Ok(Wanted::Join(Join { network: named.network, ..join })),
        Wanted::None => Ok(Wanted::None),
    }
}

fn named(name: &str) -> Result<Wanted, FlagError> {
    match name {
        "" => Err(FlagError::NoNetwork),
        "none" => Ok(Wanted::None),
        "default" => Ok(Wanted::Join(Join::new(DEFAULT))),
        "host" => Err(FlagError::HostNetwork),
        _ if name.starts_with("container:") => Err(FlagError::ContainerNetwork),
        name => Ok(Wanted::Join(Join::new(name))),
    }
}

/// One word of /etc/resolv.conf.
pub fn word(text: &str) -> Result<String, FlagError> {
    let plain = !text.is_empty() && text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic());
    if plain { Ok(text.to_owned()) } else { Err(FlagError::Word) }
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`.
pub fn extra_host(text: &str) -> Result<ExtraHost, FlagError> {
    let bad = || FlagError::ExtraHost(text.to_owned());
    let (name, address) = text.split_once(['=', ':']).ok_or_else(bad)?;
    let name = hostname(name).map_err(|_| bad())?;
    if address == "host-gateway" {
        return Ok(ExtraHost { name, address: None });
    }
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().map_err(|_| FlagError::ExtraHostAddress(address.to_owned()))?;
    Ok(ExtraHost { name, address: Some(address) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_names_or_properties() {
        assert_eq!(network("none"), Ok(Wanted::None));
        assert_eq!(network("name=none,ip=10.0.0.1"), Ok(Wanted::None));
        assert_eq!(network("default"), Ok(Wanted::Join(Join::new(DEFAULT))));
        let Ok(Wanted::Join(red)) = network("name=red,ip=10.0.0.5,ip6=fd00::5,alias=a,alias=b") else {
            panic!("a network");
        };
        assert_eq!((red.network.as_str(), red.ipv4), ("red", Some(Ipv4Addr::new(10, 0, 0, 5))));
        assert_eq!(red.aliases, ["a", "b"]);
        for (text, why) in [
            ("", "has a name"),
            ("ip=10.0.0.1", "has a name"),
            ("name=host", "a machine of its own"),
            ("name=red,x", "invalid field 'x': KEY=VALUE"),
            ("name=red,ip=x", "invalid ip 'x' in --network"),
            ("name=red,mac-address=01:00:00:00:00:00", "invalid MAC address"),
        ] {
            let error = network(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn words_and_hosts_are_checked() {
        assert!(word("ndots:2").is_ok() && word("a b").is_err() && word("").is_err());
        assert_eq!(extra_host("a:host-gateway").unwrap().address, None);
        assert!(
            extra_host("a:1.2.3").is_err()
                && extra_host("web").is_err()
                && extra_host("a b:1.1.1.1").is_err()
        );
    }

    #[test]
    fn addresses_are_the_first_networks() {
        let flags = |networks: &[&str]| NetworkFlags {
            networks: networks.iter().map(|name| network(name).unwrap()).collect(),
            ipv4: Some(Ipv4Addr::LOCALHOST),
            ..NetworkFlags::default()
        };
        let (request, exposed) = flags(&["red", "blue"]).request().unwrap();
        assert_eq!((request.networks[0].ipv4, request.networks[1].ipv4), (Some(Ipv4Addr::LOCALHOST), None));
        assert!(exposed.is_empty());
        assert_eq!(flags(&[]).request().unwrap().0.networks[0].network, DEFAULT);
        assert_eq!(flags(&["none"]).request().unwrap_err(), FlagError::NeedsNetwork);
        assert_eq!(flags(&["none", "red"]).request().unwrap_err(), FlagError::NoneAndAnother);
    }
}
