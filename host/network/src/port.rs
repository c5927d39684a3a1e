//! Published ports: what a user asks for, and what came of it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a text is refused as a port, in Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PortError {
    /// The protocol has ports, and Moat does not publish them.
    #[error("sctp cannot be published: tcp and udp can")]
    Sctp,
    /// There is no such protocol.
    #[error("invalid proto: {0}")]
    Protocol(String),
    /// The container's port is missing.
    #[error("no port specified: {0}")]
    NoPort(String),
    /// The host's address is not an address.
    #[error("invalid IP address: {0}")]
    Address(String),
    /// The container's port is not a number or a range of numbers.
    #[error("invalid containerPort: {0}")]
    ContainerPort(String),
    /// The same of the host's port.
    #[error("invalid hostPort: {0}")]
    HostPort(String),
    /// The ranges have different lengths.
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges {
        /// The container's ports.
        container: String,
        /// The host's ports.
        host: String,
    },
    /// A property of the long form has no value.
    #[error("invalid publish opts format (should be name=value but got '{0}')")]
    Property(String),
    /// The long form has no such property.
    #[error("invalid field '{property}' in {text}: there are published, target and protocol")]
    UnknownProperty {
        /// The property.
        property: String,
        /// The whole value.
        text: String,
    },
    /// `--expose` has no number, and no range of numbers.
    #[error("invalid range format for --expose: {0}")]
    Exposed(String),
}

/// The protocols that have ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl FromStr for Protocol {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Err(PortError::Sctp),
            _ => Err(PortError::Protocol(text.to_owned())),
        }
    }
}

/// A container's port, such as `80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerPort {
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl fmt::Display for ContainerPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

/// What a user asks for: one port of the container, and where it is to be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortRequest {
    /// The container's port.
    pub container: ContainerPort,
    /// The host's address; all of them when there is none.
    pub host_ip: Option<IpAddr>,
    /// The ports of which the first free one is taken, the first and the last; any when there is none.
    pub host_ports: Option<(u16, u16)>,
}

/// A port that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedPort {
    /// The protocol.
    pub protocol: Protocol,
    /// The host's address, unspecified for all of its family.
    pub host_ip: IpAddr,
    /// The host's port.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
}

impl PublishedPort {
    /// The container's port.
    pub fn container(&self) -> ContainerPort {
        ContainerPort { port: self.container_port, protocol: self.protocol }
    }

    /// The host's address and port as Docker writes them.
    pub fn host(&self) -> String {
        std::net::SocketAddr::new(self.host_ip, self.host_port).to_string()
    }
}

impl PortRequest {
    /// The addresses at which the port is to be reached.
    pub fn addresses(&self) -> Vec<IpAddr> {
        match self.host_ip {
            Some(ip) => vec![ip],
            None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        }
    }

    /// Reads one value of `-p`: `[[ADDRESS:][PORTS]:]PORTS[/PROTOCOL]`, where PORTS are one, or the first and the last,
    /// and the host's 0 is any; or `published=PORTS,target=PORTS[,protocol=PROTOCOL]`.
    ///
    /// # Errors
    /// In Docker's words.
    pub fn parse(text: &str) -> Result<Vec<Self>, PortError> {
        if text.contains('=') {
            return Self::parse(&in_short(text)?);
        }
        let (address, host, container) = split(text)?;
        let (container, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
        if container.is_empty() {
            return Err(PortError::NoPort(format!("{text}<empty>")));
        }
        let protocol = protocol.parse()?;
        let host_ip = match address {
            "" => None,
            address => Some(address.parse().map_err(|_| PortError::Address(address.to_owned()))?),
        };
        let container_ports =
            range(container).ok_or_else(|| PortError::ContainerPort(container.to_owned()))?;
        let host_ports = match host {
            "" | "0" => None,
            host => Some(range(host).ok_or_else(|| PortError::HostPort(host.to_owned()))?),
        };
        let one = container_ports.len() == 1;
        let pairs = host_ports.as_ref().is_none_or(|host| host.len() == container_ports.len());
        if !one && !pairs {
            return Err(PortError::Ranges { container: container.to_owned(), host: host.to_owned() });
        }
        let request = |(at, port)| Self {
            container: ContainerPort { port, protocol },
            host_ip,
            host_ports: host_ports.as_ref().map(|host| match one {
                true => (*host.start(), *host.end()),
                // Both ranges are equally long, so the sum is a port of the second.
                false => (host.start() + at, host.start() + at),
            }),
        };
        Ok((0u16..).zip(container_ports).map(request).collect())
    }
}

/// The long form of `-p` in the short one.
fn in_short(text: &str) -> Result<String, PortError> {
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for property in text.split(',') {
        let (key, value) = property
            .split_once('=')
            .filter(|(_, value)| !value.contains('='))
            .ok_or_else(|| PortError::Property(property.to_owned()))?;
        match key {
            "published" => published = value,
            "target" => target = value,
            "protocol" => protocol = value,
            // There is one host, and it publishes the port itself.
            "mode" if ["host", "ingress"].contains(&value) => {}
            _ => {
                return Err(PortError::UnknownProperty {
                    property: property.to_owned(),
                    text: text.to_owned(),
                });
            }
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// The address, the host's ports and the container's.
fn split(text: &str) -> Result<(&str, &str, &str), PortError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or_else(|| PortError::Address(text.to_owned()))?;
        let rest = rest.strip_prefix(':').ok_or_else(|| PortError::NoPort(text.to_owned()))?;
        let (host, container) = rest.split_once(':').unwrap_or(("", rest));
        return Ok((address, host, container));
    }
    Ok(match text.rsplit_once(':') {
        None => ("", "", text),
        Some((before, container)) => match before.rsplit_once(':') {
            None => ("", before, container),
            Some((address, host)) => (address, host, container),
        },
    })
}

/// One port, or `FIRST-LAST`.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u16>().ok().filter(|&port| port > 0 && !text.starts_with('+'));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first..=last)
}

/// Reads one value of `--expose`, or of an image's EXPOSE: `PORTS[/PROTOCOL]`.
///
/// # Errors
/// In Docker's words.
pub fn parse_exposed(text: &str) -> Result<Vec<ContainerPort>, PortError> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.parse()?;
    let ports = range(ports).ok_or_else(|| PortError::Exposed(text.to_owned()))?;
    Ok(ports.map(|port| ContainerPort { port, protocol }).collect())
}

/// Whether two addresses are the same to a program that binds.
pub(super) fn clash(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4() && (a == b || a.is_unspecified() || b.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> PortRequest {
        let mut all = PortRequest::parse(text).unwrap();
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0)
    }

    #[test]
    fn every_form_is_read() {
        let request = |ip: Option<&str>, host_ports, port, protocol| PortRequest {
            container: ContainerPort { port, protocol },
            host_ip: ip.map(|ip| ip.parse().unwrap()),
            host_ports,
        };
        use Protocol::{Tcp, Udp};
        assert_eq!(one("80"), request(None, None, 80, Tcp));
        assert_eq!(one("8080:80"), request(None, Some((8080, 8080)), 80, Tcp));
        assert_eq!(one("53:53/udp"), request(None, Some((53, 53)), 53, Udp));
        assert_eq!(one("127.0.0.1:3306:3306"), request(Some("127.0.0.1"), Some((3306, 3306)), 3306, Tcp));
        assert_eq!(one("127.0.0.1::80"), request(Some("127.0.0.1"), None, 80, Tcp));
        assert_eq!(one("[::1]:80:80"), request(Some("::1"), Some((80, 80)), 80, Tcp));
        assert_eq!(one("[::]::80"), request(Some("::"), None, 80, Tcp));
        assert_eq!(one("0:80"), request(None, None, 80, Tcp));
        assert_eq!(one("127.0.0.1:0:80"), request(Some("127.0.0.1"), None, 80, Tcp));
        assert_eq!(one("published=8080,target=80"), request(None, Some((8080, 8080)), 80, Tcp));
        assert_eq!(one("target=53,published=5353,protocol=udp"), request(None, Some((5353, 5353)), 53, Udp));
        assert_eq!(one("target=80,mode=host"), request(None, None, 80, Tcp));
        assert_eq!(one("8000-8010:80"), request(None, Some((8000, 8010)), 80, Tcp));
        let many = PortRequest::parse("8000-8010:80-90/udp").unwrap();
        assert_eq!(many.len(), 11);
        assert_eq!(many[3], request(None, Some((8003, 8003)), 83, Udp));
        assert_eq!(PortRequest::parse("80-81").unwrap().len(), 2);
    }

    #[test]
    fn mistakes_are_told_in_dockers_words() {
        for (text, words) in [
            ("", "no port specified"),
            ("80:", "no port specified"),
            ("x", "invalid containerPort: x"),
            ("0", "invalid containerPort: 0"),
            ("65536", "invalid containerPort: 65536"),
            ("90-80", "invalid containerPort: 90-80"),
            ("x:80", "invalid hostPort: x"),
            ("80/icmp", "invalid proto: icmp"),
            ("1.2.3:80:80", "invalid IP address: 1.2.3"),
            ("80-81:80-82", "invalid ranges specified"),
            ("[::1:80:80", "invalid IP address"),
            ("0-5:80", "invalid hostPort: 0-5"),
            ("published=8080", "no port specified"),
            ("published=8080,80", "should be name=value but got '80'"),
            ("published=8080=1,target=80", "should be name=value"),
            ("target=80,colour=red", "invalid field 'colour=red'"),
        ] {
            let error = PortRequest::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in ".{0,40}") {
            let _ = PortRequest::parse(&text);
            let _ = parse_exposed(&text);
        }

        #[test]
        fn ranges_pair_up(first in 1u16..60_000, host in 1u16..60_000, length in 0u16..100) {
            let text = format!("{host}-{}:{first}-{}", host + length, first + length);
            for (at, request) in (0..).zip(PortRequest::parse(&text).unwrap()) {
                prop_assert_eq!(request.container.port, first + at);
                // A range for one port is a choice.
                let wanted = if length == 0 { (host, host) } else { (host + at, host + at) };
                prop_assert_eq!(request.host_ports, Some(wanted));
            }
        }
    }
}
