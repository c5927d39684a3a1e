//! Who is on a container's networks, by which names.

use std::net::IpAddr;

use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{Name, RData, RecordType};

use super::message::Request;

/// A network that the asking container is on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Whether it has no way out.
    pub internal: bool,
    /// The containers that run on it, the asking one included. On the default network containers have no names: there
    /// this is empty.
    pub endpoints: Vec<Endpoint>,
}

/// A container on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// What it is called there: its name first, then its aliases and its short id.
    pub names: Vec<String>,
    /// Its addresses there.
    pub addresses: Vec<IpAddr>,
}

/// What the resolver knows of the containers beside its own.
pub trait Directory {
    /// The networks that the asking container is on now, in the order in which they are looked through. It is asked once
    /// for each query, so that what a restart changes is seen.
    fn networks(&self) -> Vec<Network>;
}

/// What is known of a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// The answer.
    Records(Vec<RData>),
    /// It is known, and there is nothing of the type that was asked for.
    Nothing,
    /// No container here has it.
    Unknown,
}

/// Looks up what a request asks for.
pub fn look_up(networks: &[Network], request: &Request) -> Found {
    match request.kind() {
        RecordType::PTR => pointer(networks, request),
        kind => addresses(networks, request, kind),
    }
}

fn addresses(networks: &[Network], request: &Request, kind: RecordType) -> Found {
    let Some(name) = request.host_name() else { return Found::Unknown };
    // The first network on which a container has the name.
    let Some(mut addresses) = networks.iter().find_map(|network| by_name(network, &name)) else {
        return Found::Unknown;
    };
    addresses.retain(|address| match kind {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        _ => false,
    });
    if addresses.is_empty() {
        return Found::Nothing;
    }
    // Where several share a name, not all clients are to go to the first of them.
    let first = request.chance() % addresses.len();
    addresses.rotate_left(first);
    let record = |address| match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    Found::Records(addresses.into_iter().map(record).collect())
}

/// The addresses behind a name in small letters, plain or followed by the network's.
fn by_name(network: &Network, name: &str) -> Option<Vec<IpAddr>> {
    let suffix = format!(".{}", network.name.to_ascii_lowercase());
    let plain = name.strip_suffix(suffix.as_str());
    let is_meant =
        |own: &String| own.eq_ignore_ascii_case(name) || plain.is_some_and(|it| own.eq_ignore_ascii_case(it));
    let mut found =
        network.endpoints.iter().filter(|endpoint| endpoint.names.iter().any(is_meant)).peekable();
    found.peek()?;
    Some(found.flat_map(|endpoint| &endpoint.addresses).copied().collect())
}

fn pointer(networks: &[Network], request: &Request) -> Found {
    let Some(address) = request.address() else { return Found::Unknown };
    let names = networks.iter().find_map(|network| {
        let endpoint = network.endpoints.iter().find(|endpoint| endpoint.addresses.contains(&address))?;
        Some(format!("{}.{}", endpoint.names.first()?, network.name))
    });
    let Some(text) = names else { return Found::Unknown };
    // A name that DNS cannot have is a name that no query can ask for either.
    match Name::from_labels(text.split('.').map(str::as_bytes)) {
        Ok(name) => Found::Records(vec![RData::PTR(PTR(name))]),
        Err(_) => Found::Nothing,
    }
}
